//! A file becomes a pod (upstream `pkg/kubelet/config/{common,file}.go`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodStatus, Toleration, Volume};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{HASH, SEEN, SOURCE, defaults};

/// The most that is read of a file, in bytes.
const LONGEST: u64 = 10 << 20;

/// The pods of a folder's files, or of a file, by namespace and name; what is no pod is reported and left out. Those
/// among `known` that have not changed are kept as they are.
#[must_use]
pub fn read(path: &Path, node: &str, known: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let mut files: Vec<PathBuf> = if path.is_file() {
        vec![path.to_owned()]
    } else {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    files.retain(|file| !file.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.')) && file.is_file());
    files.sort();
    let mut pods = BTreeMap::new();
    for file in files {
        let found = load(&file).and_then(|text| decode(&text, &file, node));
        let pod = match found {
            Ok(pod) => pod,
            Err(error) => {
                tracing::error!(path = %file.display(), "could not process manifest file: {error}");
                continue;
            }
        };
        let same = known.iter().find(|known| known.metadata.uid == pod.metadata.uid && named(known) == named(&pod));
        // Of several files for one name the last counts.
        pods.insert(named(&pod), same.cloned().unwrap_or_else(|| Arc::new(first_seen(pod, Timestamp::now()))));
    }
    pods.into_values().collect()
}

fn named(pod: &Pod) -> (Option<String>, Option<String>) {
    (pod.metadata.namespace.clone(), pod.metadata.name.clone())
}

fn load(file: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(|error| error.to_string())?;
    opened.take(LONGEST).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn first_seen(mut pod: Pod, now: Timestamp) -> Pod {
    pod.metadata.annotations.get_or_insert_default().insert(SEEN.to_owned(), now.to_string());
    pod
}

/// A file's pod as this node runs it: with defaults, a name and a UID of its own, and on this node.
///
/// # Errors
/// Why it cannot be run, in upstream's words where upstream has them.
pub fn decode(text: &str, file: &Path, node: &str) -> Result<Pod, String> {
    let unparsable =
        |why: String| format!("{}: couldn't parse as pod({why}), please check config file", file.display());
    let value: Value = serde_saphyr::from_str(text).map_err(|error| unparsable(error.to_string()))?;
    let mut pod: Pod = serde_json::from_value(value).map_err(|error| unparsable(error.to_string()))?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    if name.is_empty() {
        return Err("invalid pod: name is needed for the pod".to_owned());
    }
    defaults::fill(&mut pod);
    check(&pod)?;
    let uid = pod.metadata.uid.clone().filter(|uid| !uid.is_empty()).unwrap_or_else(|| {
        let content = serde_json::to_string(&pod).expect("a pod is plain data");
        let digest = Sha256::digest(format!("{content}host:{node}file:{}", file.display()));
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    });
    let meta = &mut pod.metadata;
    meta.name = Some(format!("{name}-{}", node.to_lowercase()));
    meta.namespace.get_or_insert_with(|| "default".to_owned());
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(HASH.to_owned(), uid.clone());
    annotations.insert(SOURCE.to_owned(), "file".to_owned());
    meta.uid = Some(uid);
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node.to_owned());
    // Whatever becomes of the node, it is not driven away.
    let stays = Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.contains(&stays) {
        tolerations.push(stays);
    }
    pod.status = Some(PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() });
    Ok(pod)
}

/// What this node itself must be sure of. The rest is the API server's, who sees the mirror.
fn check(pod: &Pod) -> Result<(), String> {
    let Some(spec) = pod.spec.as_ref().filter(|spec| !spec.containers.is_empty()) else {
        return Err("invalid pod: [spec.containers: Required value]".to_owned());
    };
    let mut names = std::collections::HashSet::new();
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let wrong = |field: &str, why: &str| Err(format!("invalid pod: [spec.containers.{field}: {why}]"));
        match container {
            Container { name, .. } if name.is_empty() => return wrong("name", "Required value"),
            Container { image: None, .. } => return wrong("image", "Required value"),
            Container { name, .. } if !names.insert(name) => {
                return wrong("name", &format!("Duplicate value: {name:?}"));
            }
            Container { .. } => {}
        }
    }
    reference(pod).map_or(Ok(()), |what| Err(format!("static pods may not reference {what}")))
}

/// What of the API a pod needs to run (`HasAPIObjectReference`).
fn reference(pod: &Pod) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    if spec.service_account_name.as_ref().is_some_and(|name| !name.is_empty()) {
        return Some("serviceaccounts");
    }
    let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
    let env =
        || containers().flat_map(|container| container.env.iter().flatten()).filter_map(|env| env.value_from.as_ref());
    let env_from = || containers().flat_map(|container| container.env_from.iter().flatten());
    if spec.image_pull_secrets.iter().flatten().next().is_some()
        || env().any(|source| source.secret_key_ref.is_some())
        || env_from().any(|source| source.secret_ref.is_some())
    {
        return Some("secrets");
    }
    if env().any(|source| source.config_map_key_ref.is_some())
        || env_from().any(|source| source.config_map_ref.is_some())
    {
        return Some("configmaps");
    }
    if spec.resource_claims.iter().flatten().next().is_some() {
        return Some("resourceclaims");
    }
    spec.volumes.iter().flatten().find_map(by_volume)
}

fn by_volume(volume: &Volume) -> Option<&'static str> {
    let whole = [
        (volume.config_map.is_some(), "configmaps (via configmap volumes)"),
        (volume.secret.is_some(), "secrets (via secret volumes)"),
        (volume.csi.is_some(), "csidrivers (via CSI volumes)"),
        (volume.glusterfs.is_some(), "endpoints (via glusterFS volumes)"),
        (volume.persistent_volume_claim.is_some(), "persistentvolumeclaims"),
        (volume.ephemeral.is_some(), "persistentvolumeclaims (via ephemeral volumes)"),
        (volume.azure_file.is_some(), "secrets (via azureFile volumes)"),
    ];
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    let projected = sources.flat_map(|source| {
        [
            (source.config_map.is_some(), "configmaps (via projected volumes)"),
            (source.secret.is_some(), "secrets (via projected volumes)"),
            (source.service_account_token.is_some(), "serviceaccounts (via projected volumes)"),
            (source.cluster_trust_bundle.is_some(), "clustertrustbundles"),
            (source.pod_certificate.is_some(), "podcertificates"),
        ]
    });
    whole.into_iter().chain(projected).find(|(there, _)| *there).map(|(_, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "
apiVersion: v1
kind: Pod
metadata: { name: web, labels: { app: web } }
spec:
  hostNetwork: true
  containers:
  - name: app
    image: nginx
    ports: [{ containerPort: 80 }]
    livenessProbe: { httpGet: { port: 80 } }
    resources: { limits: { cpu: 100m } }
  volumes: [{ name: scratch }]
";

    #[test]
    fn a_file_is_a_pod_of_this_node() {
        let file = Path::new("/etc/kubernetes/manifests/web.yaml");
        let pod = decode(WEB, file, "C0w1").unwrap();
        let uid = pod.metadata.uid.clone().unwrap();
        assert_eq!(
            (pod.metadata.name.as_deref(), pod.metadata.namespace.as_deref()),
            (Some("web-c0w1"), Some("default"))
        );
        assert_eq!((uid.len(), annotation(&pod, HASH)), (32, Some(uid.as_str())));
        assert!(super::super::is_static(&pod) && !super::super::is_mirror(&pod));
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.node_name.as_deref(), Some("C0w1"));
        assert_eq!(spec.restart_policy.as_deref(), Some("Always"));
        assert_eq!(spec.tolerations.as_ref().unwrap()[0].effect.as_deref(), Some("NoExecute"));
        let container = serde_json::to_value(&spec.containers[0]).unwrap();
        assert_eq!(
            container["ports"][0],
            serde_json::json!({ "containerPort": 80, "hostPort": 80, "protocol": "TCP" })
        );
        assert_eq!(container["livenessProbe"]["periodSeconds"], 10);
        assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/");
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["resources"]["requests"]["cpu"], "100m");
        assert!(spec.volumes.as_ref().unwrap()[0].empty_dir.is_some());

        // The same content in the same place is the same pod, and nothing else is.
        let uid_of =
            |text: &str, file: &str, node: &str| decode(text, Path::new(file), node).unwrap().metadata.uid.unwrap();
        let place = "/etc/kubernetes/manifests/web.yaml";
        assert_eq!(uid_of(WEB, place, "C0w1"), uid);
        for (text, file, node) in
            [(WEB.replace("100m", "200m").as_str(), place, "C0w1"), (WEB, "/other", "C0w1"), (WEB, place, "c0w2")]
        {
            assert_ne!(uid_of(text, file, node), uid);
        }
    }

    use super::super::annotation;

    #[test]
    fn what_cannot_be_run() {
        let pod = |spec: &str| format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {spec}}}");
        let app = |more: &str| pod(&format!("{{containers: [{{name: c, image: i}}], {more}}}"));
        let with_env = pod("{containers: [{name: c, image: i, envFrom: [{configMapRef: {name: x}}]}]}");
        let cases = [
            ("{apiVersion: v1, kind: Pod, spec: {}}".to_owned(), "invalid pod: name is needed for the pod"),
            (pod("{}"), "invalid pod: [spec.containers: Required value]"),
            (pod("{containers: [{name: c}]}"), "invalid pod: [spec.containers.image: Required value]"),
            (
                pod("{containers: [{name: c, image: i}, {name: c, image: i}]}"),
                "invalid pod: [spec.containers.name: Duplicate value: \"c\"]",
            ),
            (app("serviceAccountName: x"), "static pods may not reference serviceaccounts"),
            (with_env, "static pods may not reference configmaps"),
            (
                app("volumes: [{name: v, secret: {secretName: s}}]"),
                "static pods may not reference secrets (via secret volumes)",
            ),
            (
                app("volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]"),
                "static pods may not reference serviceaccounts (via projected volumes)",
            ),
        ];
        for (text, words) in cases {
            assert_eq!(decode(&text, Path::new("/f"), "n").unwrap_err(), words);
        }
        let words = decode("{apiVersion: v1, kind: Service}", Path::new("/f"), "n").unwrap_err();
        assert!(
            words.starts_with("/f: couldn't parse as pod(") && words.ends_with("), please check config file"),
            "{words}"
        );
    }

    #[test]
    fn a_folder_is_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put("a.yaml", WEB);
        put(".hidden.yaml", &WEB.replace("name: web,", "name: hidden,"));
        put("broken.yaml", "{");
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let first = read(folder.path(), "n", &[]);
        assert_eq!(first.len(), 1);
        assert!(annotation(&first[0], SEEN).is_some());
        put("b.yaml", &WEB.replace("name: web,", "name: second,"));
        let second = read(folder.path(), "n", &first);
        assert_eq!(second.len(), 2);
        assert!(second.iter().any(|pod| Arc::ptr_eq(pod, &first[0])), "what has not changed is the same");
        // The last file counts.
        put("z.yaml", &WEB.replace("100m", "300m"));
        let third = read(folder.path(), "n", &second);
        assert_eq!(third.len(), 2);
        assert!(!third.iter().any(|pod| Arc::ptr_eq(pod, &first[0])));
    }
}
