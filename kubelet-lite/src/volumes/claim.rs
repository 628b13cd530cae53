//! persistentVolumeClaim and ephemeral volumes: the claim must be bound, and its volume be one of this node (upstream
//! `pkg/kubelet/volumemanager/populator`, `pkg/volume/{hostpath,local}`).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::ResourceExt;
use kube::api::Api;
use scheduler::core::volumes::matching::{annotation, is_reachable, volume_name};
use scheduler::core::volumes::used::{Used, is_made_for};

use super::owner::Owner;
use super::{Context, Error, host_path};

/// Who made a volume, and the one whose folders are ours to make.
const PROVISIONED_BY: (&str, &str) = ("pv.kubernetes.io/provisioned-by", "knetsim.dev/local");
const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// What a volume is on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A path, what must be there, and whether anybody may write to what is made there.
    Host { path: PathBuf, type_: String, shared: bool },
    /// A folder of the node's own, which is there already.
    Local(PathBuf),
}

/// Finds the volume behind a claim and makes it ready.
///
/// # Errors
/// When the claim is not bound, or its volume cannot be used here.
pub async fn set_up(context: &Context<'_>, volume: &Volume, used: &Used) -> Result<PathBuf, Error> {
    let (pod, namespace) = (context.pod, context.pod.namespace().unwrap_or_default());
    let unusable = |message: String| Error::Processing { volume: volume.name.clone(), message };
    let failed = |why: String| unusable(format!("error processing PVC {namespace}/{}: {why}", used.name));
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    let claim = claims
        .get(&used.name)
        .await
        .map_err(|error| failed(format!("failed to fetch PVC from API server: {}", words(&error))))?;
    let name = bound_to(&claim).map_err(|why| failed(why.to_owned()))?;
    if used.ephemeral {
        is_made_for(&claim, &namespace, &pod.name_any(), &pod.uid().unwrap_or_default()).map_err(unusable)?;
    }
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    let found = volumes
        .get(name)
        .await
        .map_err(|error| failed(format!("failed to fetch PV {name} from API server: {}", words(&error))))?;
    belongs(&found, &claim).map_err(failed)?;
    mountable(pod, volume, &found).map_err(unusable)?;
    if !is_reachable(&found, context.node) {
        return Err(Error::Affinity { volume: name.to_owned() });
    }
    let set_up = |message: String| Error::SetUp { volume: name.to_owned(), message };
    match place(&found).map_err(set_up)? {
        Place::Host { path, type_, shared } => {
            make(&path, &type_, shared).map_err(set_up)?;
            Ok(path)
        }
        Place::Local(path) => {
            if !path.exists() {
                let message = format!("path {:?} does not exist", path.display().to_string());
                return Err(Error::Mounter { volume: name.to_owned(), message });
            }
            // Once a pod: going through all files of a disk is no part of a refresh.
            let mark = context.dir.join("volumes/kubernetes.io~local-volume").join(name);
            if !mark.exists() {
                let words = |error: std::io::Error| set_up(error.to_string());
                let source = volume.persistent_volume_claim.as_ref();
                let read_only = source.is_some_and(|source| source.read_only == Some(true));
                Owner::of(pod.spec.as_ref()).take(&path, read_only).map_err(words)?;
                std::fs::create_dir_all(&mark).map_err(words)?;
            }
            Ok(path)
        }
    }
}

/// What the API server said, without what the client adds.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn bound_to(claim: &PersistentVolumeClaim) -> Result<&str, &'static str> {
    let protected = claim.metadata.finalizers.iter().flatten().any(|name| name == PROTECTION);
    if claim.metadata.deletion_timestamp.is_some() && !protected {
        return Err("PVC is being deleted");
    }
    if claim.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Bound") {
        return Err("PVC is not bound");
    }
    match volume_name(claim) {
        "" => Err("PVC has empty pvc.Spec.VolumeName"),
        name => Ok(name),
    }
}

fn belongs(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let name = volume.name_any();
    let Some(reference) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else {
        return Err(format!(
            "found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        ));
    };
    let (has, wanted) = (reference.uid.clone().unwrap_or_default(), claim.uid().unwrap_or_default());
    if has == wanted {
        return Ok(());
    }
    Err(format!("found PV object {name} but its pv.Spec.ClaimRef.UID {has} does not point to claim.UID {wanted}"))
}

/// A device is no folder to mount.
fn mountable(pod: &Pod, volume: &Volume, found: &PersistentVolume) -> Result<(), String> {
    let mode = found.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()).unwrap_or("Filesystem");
    let used = |test: fn(&Container, &str) -> bool| {
        let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
        containers.into_iter().any(|container| test(container, &volume.name))
    };
    let mounts = used(|container, name| container.volume_mounts.iter().flatten().any(|mount| mount.name == name));
    let devices = used(|container, name| container.volume_devices.iter().flatten().any(|device| device.name == name));
    match mode {
        "Block" if mounts => {
            Err(format!("volume {} has volumeMode Block, but is specified in volumeMounts", volume.name))
        }
        "Block" => Err("volumeMode Block is not supported by knetsim".to_owned()),
        mode if devices => {
            Err(format!("volume {} has volumeMode {mode}, but is specified in volumeDevices", volume.name))
        }
        _ => Ok(()),
    }
}

fn place(volume: &PersistentVolume) -> Result<Place, String> {
    let spec = volume.spec.as_ref().ok_or("the volume has no spec")?;
    if let Some(host) = &spec.host_path {
        let (key, ours) = PROVISIONED_BY;
        let shared = annotation(&volume.metadata, key) == Some(ours);
        let type_ = host.type_.clone().unwrap_or_default();
        return Ok(Place::Host { path: PathBuf::from(&host.path), type_, shared });
    }
    if let Some(local) = &spec.local {
        return match &local.fs_type {
            None => Ok(Place::Local(PathBuf::from(&local.path))),
            Some(_) => Err("local volumes with a file system type (block devices) are not supported by knetsim".into()),
        };
    }
    // The fields that are no source.
    const OTHERS: [&str; 9] = [
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    let value = serde_json::to_value(spec).unwrap_or_default();
    let kind = value.as_object().and_then(|map| map.keys().find(|key| !OTHERS.contains(&key.as_str())).cloned());
    Err(format!("volume type {} is not supported by knetsim", kind.as_deref().unwrap_or("unknown")))
}

/// A folder of the provisioner is for whomever the pod runs as, as that of other local provisioners.
fn make(path: &Path, type_: &str, shared: bool) -> Result<(), String> {
    let fresh = !path.exists();
    host_path::check(path, type_)?;
    if fresh && shared {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume(spec: Value, annotations: Value) -> PersistentVolume {
        serde_json::from_value(json!({ "metadata": { "name": "v", "annotations": annotations }, "spec": spec }))
            .unwrap()
    }

    #[test]
    fn only_bound_claims_will_do() {
        let claim = |phase: &str, name: &str, meta: Value| -> PersistentVolumeClaim {
            serde_json::from_value(
                json!({ "metadata": meta, "spec": { "volumeName": name }, "status": { "phase": phase } }),
            )
            .unwrap()
        };
        let deleted = "2024-01-02T03:04:05Z";
        let cases = [
            (claim("Bound", "v", json!({})), Ok("v")),
            (claim("Pending", "v", json!({})), Err("PVC is not bound")),
            (claim("Lost", "v", json!({})), Err("PVC is not bound")),
            (claim("Bound", "", json!({})), Err("PVC has empty pvc.Spec.VolumeName")),
            (claim("Bound", "v", json!({ "deletionTimestamp": deleted })), Err("PVC is being deleted")),
            (claim("Bound", "v", json!({ "deletionTimestamp": deleted, "finalizers": [PROTECTION] })), Ok("v")),
        ];
        for (claim, wanted) in cases {
            assert_eq!(bound_to(&claim), wanted);
        }
    }

    #[test]
    fn the_volume_must_be_the_claims() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({ "metadata": { "uid": "u" } })).unwrap();
        let check = |reference: Value| belongs(&volume(json!({ "claimRef": reference }), json!({})), &claim);
        assert_eq!(check(json!({ "uid": "u" })), Ok(()));
        assert!(check(Value::Null).unwrap_err().contains("nil pv.Spec.ClaimRef"));
        assert!(check(json!({ "uid": "x" })).unwrap_err().ends_with("UID x does not point to claim.UID u"));
    }

    #[test]
    fn devices_are_not_mounted() {
        let pod = |field: &str, at: &str| -> Pod {
            serde_json::from_value(
                json!({ "spec": { "containers": [{ "name": "c", field: [{ "name": "data", at: "/x" }] }] } }),
            )
            .unwrap()
        };
        let of: Volume = serde_json::from_value(json!({ "name": "data" })).unwrap();
        let (mounts, devices) = (pod("volumeMounts", "mountPath"), pod("volumeDevices", "devicePath"));
        let (folder, device) = (volume(json!({}), json!({})), volume(json!({ "volumeMode": "Block" }), json!({})));
        let wrong =
            |mode: &str, field: &str| Err(format!("volume data has volumeMode {mode}, but is specified in {field}"));
        assert_eq!(mountable(&mounts, &of, &folder), Ok(()));
        assert_eq!(mountable(&mounts, &of, &device), wrong("Block", "volumeMounts"));
        assert_eq!(mountable(&devices, &of, &folder), wrong("Filesystem", "volumeDevices"));
        assert!(mountable(&devices, &of, &device).is_err());
    }

    #[test]
    fn places() {
        let host = |shared| Place::Host { path: "/data".into(), type_: "Directory".to_owned(), shared };
        let path = json!({ "capacity": {}, "hostPath": { "path": "/data", "type": "Directory" } });
        let ours = json!({ PROVISIONED_BY.0: PROVISIONED_BY.1 });
        assert_eq!(place(&volume(path.clone(), json!({}))), Ok(host(false)));
        assert_eq!(place(&volume(path, ours)), Ok(host(true)));
        assert_eq!(
            place(&volume(json!({ "local": { "path": "/disk" } }), json!({}))),
            Ok(Place::Local("/disk".into()))
        );
        let csi =
            json!({ "accessModes": [], "csi": { "driver": "d", "volumeHandle": "h" }, "volumeMode": "Filesystem" });
        let refused = "volume type csi is not supported by knetsim".to_owned();
        assert_eq!(place(&volume(csi, json!({}))), Err(refused));
    }

    #[test]
    fn folders_of_the_provisioner_are_for_all() {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, shared, mode) in [("ours", true, 0o777), ("theirs", false, 0o755)] {
            let path = dir.path().join(name);
            make(&path, "DirectoryOrCreate", shared).expect("made");
            let found = path.metadata().expect("there").permissions().mode() & 0o777;
            assert_eq!(found, mode, "{name}");
        }
        // What is there stays as it is.
        let theirs = dir.path().join("theirs");
        make(&theirs, "DirectoryOrCreate", true).expect("there");
        assert_eq!(theirs.metadata().expect("there").permissions().mode() & 0o777, 0o755);
    }
}
