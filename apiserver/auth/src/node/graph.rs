//! Which node may see which object: the pods, their nodes, and what the pods refer to.
//!
//! ```text
//!  Secret ──────────────────────────────────────> pod ──> node
//!     └────> PersistentVolume ──> its claim ───────┘
//! ```

use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// A namespaced object a pod can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Referred {
    Pod,
    Secret,
    ConfigMap,
    Claim,
    ResourceClaim,
    ServiceAccount,
}

type Id = (Referred, String, String);

/// Fed with pods and PersistentVolumes; answers whether an object belongs to a pod of a node. Changing one pod costs as much as
/// the pod has references.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// (namespace, name) of a pod → its node, and what it refers to.
    pods: HashMap<(String, String), (String, Vec<Id>)>,
    /// Object → node → number of pods there that refer to it.
    nodes: HashMap<Id, HashMap<String, usize>>,
    /// Name of a PersistentVolume → its claim, and the Secrets it needs.
    volumes: HashMap<String, (Named, Vec<Named>)>,
    /// Secret → the PersistentVolumes that need it.
    needed: HashMap<Named, BTreeSet<String>>,
}

/// Namespace and name.
type Named = (String, String);

impl Graph {
    /// Adds or replaces a pod, given as its JSON. A pod without node is of no interest.
    pub fn apply_pod(&mut self, pod: &Value) {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (namespace, name, node) = (text("/metadata/namespace"), text("/metadata/name"), text("/spec/nodeName"));
        self.remove_pod(&namespace, &name);
        if node.is_empty() {
            return;
        }
        let mut objects = vec![(Referred::Pod, namespace.clone(), name.clone())];
        // A mirror pod is made by the node itself: it must not give the node access to anything.
        if pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_none() {
            objects.extend(references(&pod["spec"]).into_iter().map(|(kind, name)| (kind, namespace.clone(), name)));
            let made = list(&pod["spec"]["volumes"]).filter(|volume| volume["ephemeral"].is_object());
            let claims = made.filter_map(|volume| Some(format!("{name}-{}", volume["name"].as_str()?)));
            objects.extend(claims.map(|claim| (Referred::Claim, namespace.clone(), claim)));
            let devices = resource_claims(pod).into_iter();
            objects.extend(devices.map(|claim| (Referred::ResourceClaim, namespace.clone(), claim.to_owned())));
        }
        for object in &objects {
            *self.nodes.entry(object.clone()).or_default().entry(node.clone()).or_default() += 1;
        }
        self.pods.insert((namespace, name), (node, objects));
    }

    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        let Some((node, objects)) = self.pods.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        for object in objects {
            let Some(nodes) = self.nodes.get_mut(&object) else { continue };
            if let Some(count) = nodes.get_mut(&node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&node);
                }
            }
            if nodes.is_empty() {
                self.nodes.remove(&object);
            }
        }
    }

    /// Adds or replaces a PersistentVolume, given as its JSON. One without claim, or Secrets, is of no interest.
    pub fn apply_volume(&mut self, volume: &Value) {
        let text = |pointer: &str| volume.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, claim) = (text("/metadata/name"), (text("/spec/claimRef/namespace"), text("/spec/claimRef/name")));
        self.remove_volume(&name);
        let secrets = super::volumes::secrets(volume);
        if claim.1.is_empty() || secrets.is_empty() {
            return;
        }
        for secret in &secrets {
            self.needed.entry(secret.clone()).or_default().insert(name.clone());
        }
        self.volumes.insert(name, (claim, secrets));
    }

    pub fn remove_volume(&mut self, name: &str) {
        let Some((_, secrets)) = self.volumes.remove(name) else { return };
        for secret in secrets {
            let Some(volumes) = self.needed.get_mut(&secret) else { continue };
            volumes.remove(name);
            if volumes.is_empty() {
                self.needed.remove(&secret);
            }
        }
    }

    /// Begins anew with the pods.
    pub fn forget_pods(&mut self) {
        self.pods.clear();
        self.nodes.clear();
    }

    /// Begins anew with the PersistentVolumes.
    pub fn forget_volumes(&mut self) {
        self.volumes.clear();
        self.needed.clear();
    }

    /// A pod on `node` refers to the object, or is it; or its volumes do.
    pub fn related(&self, node: &str, kind: Referred, namespace: &str, name: &str) -> bool {
        let refers = |kind, named: Named| {
            self.nodes.get(&(kind, named.0, named.1)).is_some_and(|nodes| nodes.contains_key(node))
        };
        let named = || (namespace.to_owned(), name.to_owned());
        if refers(kind, named()) {
            return true;
        }
        let volumes = match kind {
            Referred::Secret => self.needed.get(&named()).into_iter().flatten(),
            _ => None.into_iter().flatten(),
        };
        let mut claims = volumes.filter_map(|volume| self.volumes.get(volume)).map(|(claim, _)| claim.clone());
        claims.any(|claim| refers(Referred::Claim, claim))
    }
}

/// The ResourceClaims of a pod: those it names, and those that were made for it.
fn resource_claims(pod: &Value) -> Vec<&str> {
    let made = |name: &Value| list(&pod["status"]["resourceClaimStatuses"]).find(|made| made["name"] == *name);
    let of_spec = list(&pod["spec"]["resourceClaims"]).filter_map(|claim| {
        claim["resourceClaimName"].as_str().or_else(|| made(&claim["name"])?["resourceClaimName"].as_str())
    });
    let extended = pod["status"]["extendedResourceClaimStatus"]["resourceClaimName"].as_str();
    of_spec.chain(extended).collect()
}

/// The Secrets that a pod's spec refers to by name, each once.
pub fn secrets(spec: &Value) -> impl Iterator<Item = String> + use<> {
    references(spec).into_iter().filter(|(kind, _)| *kind == Referred::Secret).map(|(_, name)| name)
}

/// What a pod's spec refers to by name, each once.
pub(super) fn references(spec: &Value) -> Vec<(Referred, String)> {
    let mut found = Vec::new();
    let mut add = |kind, name: &Value| {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            let reference = (kind, name.to_owned());
            if !found.contains(&reference) {
                found.push(reference);
            }
        }
    };
    add(Referred::ServiceAccount, &spec["serviceAccountName"]);
    for secret in list(&spec["imagePullSecrets"]) {
        add(Referred::Secret, &secret["name"]);
    }
    for containers in ["initContainers", "containers", "ephemeralContainers"] {
        for container in list(&spec[containers]) {
            for source in list(&container["envFrom"]) {
                add(Referred::ConfigMap, &source["configMapRef"]["name"]);
                add(Referred::Secret, &source["secretRef"]["name"]);
            }
            for variable in list(&container["env"]) {
                add(Referred::ConfigMap, &variable["valueFrom"]["configMapKeyRef"]["name"]);
                add(Referred::Secret, &variable["valueFrom"]["secretKeyRef"]["name"]);
            }
        }
    }
    for volume in list(&spec["volumes"]) {
        add(Referred::Secret, &volume["secret"]["secretName"]);
        add(Referred::ConfigMap, &volume["configMap"]["name"]);
        add(Referred::Claim, &volume["persistentVolumeClaim"]["claimName"]);
        for source in list(&volume["projected"]["sources"]) {
            add(Referred::Secret, &source["secret"]["name"]);
            add(Referred::ConfigMap, &source["configMap"]["name"]);
        }
        for driver in ["cephfs", "rbd", "flexVolume", "iscsi", "storageos", "scaleIO", "cinder"] {
            add(Referred::Secret, &volume[driver]["secretRef"]["name"]);
        }
        add(Referred::Secret, &volume["azureFile"]["secretName"]);
        add(Referred::Secret, &volume["csi"]["nodePublishSecretRef"]["name"]);
    }
    found
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
