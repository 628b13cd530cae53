//! What volumes lead to besides their claims: the Secrets that a kubelet needs to mount them (upstream
//! `pkg/api/v1/persistentvolume`), and the drivers of the Container Storage Interface.

use serde_json::Value;

/// Where a volume's source names Secrets that its kubelet may see; the last word: they are in the claim's namespace unless it
/// says otherwise.
const SECRETS: [(&str, &[&str], bool); 9] = [
    ("cephfs", &["secretRef"], true),
    ("flexVolume", &["secretRef"], true),
    ("rbd", &["secretRef"], true),
    ("scaleIO", &["secretRef"], true),
    ("iscsi", &["secretRef"], true),
    ("cinder", &["secretRef"], false),
    ("storageos", &["secretRef"], false),
    // Those of the controller are not for kubelets.
    ("csi", &["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"], false),
    ("azureFile", &[], true),
];

/// The drivers that have taken over from kinds of volumes of Kubernetes' own (`csi-translation-lib`).
const MIGRATED: [(&str, &str); 7] = [
    ("awsElasticBlockStore", "ebs.csi.aws.com"),
    ("azureDisk", "disk.csi.azure.com"),
    ("azureFile", "file.csi.azure.com"),
    ("cinder", "cinder.csi.openstack.org"),
    ("gcePersistentDisk", "pd.csi.storage.gke.io"),
    ("portworxVolume", "pxd.portworx.com"),
    ("vsphereVolume", "csi.vsphere.vmware.com"),
];

/// The Secrets, by namespace and name, that the kubelets of a PersistentVolume's pods may see.
pub(super) fn secrets(volume: &Value) -> Vec<(String, String)> {
    let spec = &volume["spec"];
    let of_claim = spec["claimRef"]["namespace"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    let mut add = |namespace: &Value, name: &Value, falls_back: bool| {
        let namespace = match namespace.as_str().unwrap_or_default() {
            "" if falls_back => of_claim,
            namespace => namespace,
        };
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            found.push((namespace.to_owned(), name.to_owned()));
        }
    };
    for (source, references, falls_back) in SECRETS {
        let source = &spec[source];
        for reference in references {
            add(&source[reference]["namespace"], &source[reference]["name"], falls_back);
        }
        if references.is_empty() {
            add(&source["secretNamespace"], &source["secretName"], falls_back);
        }
    }
    found
}

/// How a volume of a pod leads to a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Through {
    Driver(String),
    /// By the volume that this claim of the pod's namespace is bound to.
    Claim(String),
}

/// How each volume of a pod leads to a driver.
pub fn drivers(pod: &Value) -> Vec<Through> {
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let through = volumes.filter_map(|volume| {
        let claim = &volume["persistentVolumeClaim"]["claimName"];
        if volume["ephemeral"]["volumeClaimTemplate"].is_object() {
            let name = volume["name"].as_str().unwrap_or_default();
            Some(Through::Claim(format!("{pod_name}-{name}")))
        } else if let Some(claim) = claim.as_str() {
            Some(Through::Claim(claim.to_owned()))
        } else {
            driver(volume).map(|driver| Through::Driver(driver.to_owned()))
        }
    });
    through.collect()
}

/// The driver of a source, be it a pod's volume or a PersistentVolume's spec.
pub fn driver(source: &Value) -> Option<&str> {
    if source["csi"].is_object() {
        return source["csi"]["driver"].as_str().filter(|driver| !driver.is_empty());
    }
    MIGRATED.iter().find(|(kind, _)| source[kind].is_object()).map(|(_, driver)| *driver)
}

/// Whether a driver (a CSIDriver) wants tokens for this audience (empty: the API server's).
pub fn wants_token_for(driver: &Value, audience: &str) -> bool {
    let mut requests = driver["spec"]["tokenRequests"].as_array().into_iter().flatten();
    requests.any(|request| request["audience"].as_str().unwrap_or_default() == audience)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn volumes_name_secrets() {
        let named = json!({"namespace": "vault", "name": "s"});
        let bare = json!({"name": "s"});
        for (source, expected) in [
            (json!({"rbd": {"secretRef": named}}), &[("vault", "s")][..]),
            (json!({"rbd": {"secretRef": bare}}), &[("web", "s")]),
            (json!({"cinder": {"secretRef": bare}}), &[("", "s")]),
            (json!({"azureFile": {"secretName": "s"}}), &[("web", "s")]),
            (json!({"azureFile": {"secretName": "s", "secretNamespace": "vault"}}), &[("vault", "s")]),
            (
                json!({"csi": {"nodeStageSecretRef": named, "controllerPublishSecretRef": {"namespace": "a", "name": "b"},
                    "nodeExpandSecretRef": {"namespace": "vault", "name": "t"}}}),
                &[("vault", "s"), ("vault", "t")],
            ),
            (json!({"nfs": {"path": "/"}}), &[]),
        ] {
            let mut spec = source.clone();
            spec["claimRef"] = json!({"namespace": "web", "name": "data"});
            let found = secrets(&json!({"spec": spec}));
            let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            assert_eq!(found, expected, "{source}");
        }
    }

    #[test]
    fn volumes_lead_to_drivers() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"volumes": [
            {"name": "a", "csi": {"driver": "d"}},
            {"name": "b", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "c", "ephemeral": {"volumeClaimTemplate": {}}},
            {"name": "d", "azureFile": {"secretName": "s"}},
            {"name": "e", "emptyDir": {}},
        ]}});
        let (of, by) = (|name: &str| Through::Driver(name.to_owned()), |name: &str| Through::Claim(name.to_owned()));
        assert_eq!(drivers(&pod), [of("d"), by("data"), by("p-c"), of("file.csi.azure.com")]);
        let wants = json!({"spec": {"tokenRequests": [{"audience": "vault"}, {"audience": ""}]}});
        let asked = ["vault", "", "other"].map(|audience| wants_token_for(&wants, audience));
        assert_eq!(asked, [true, true, false]);
    }
}
