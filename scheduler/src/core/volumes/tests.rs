//! Pods with claims, and where they go.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::matching::{BIND_COMPLETED, SELECTED_NODE, annotation, claim_ref};
use crate::core::cluster::Cluster;
use crate::core::pod::PodInfo;
use crate::decide::{Decision, decide};

/// Two nodes, a class of each sort, a volume of each node.
fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    for name in ["w1", "w2"] {
        let node = json!({
            "metadata": { "name": name, "labels": { "host": name } },
            "status": { "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "10" } },
        });
        cluster.set_node(Arc::new(serde_json::from_value(node).unwrap()));
    }
    let only_w2 = json!([{ "matchLabelExpressions": [{ "key": "host", "values": ["w2"] }] }]);
    for (name, provisioner, mode, topologies) in [
        ("now", "x", "Immediate", json!(null)),
        ("later", "x", "WaitForFirstConsumer", json!(null)),
        ("w2-later", "x", "WaitForFirstConsumer", only_w2),
        ("by-hand", "kubernetes.io/no-provisioner", "WaitForFirstConsumer", json!(null)),
    ] {
        let class = json!({ "metadata": { "name": name }, "provisioner": provisioner, "volumeBindingMode": mode,
            "allowedTopologies": topologies });
        cluster.storage.set_class(Arc::new(serde_json::from_value(class).unwrap()));
    }
    for (name, node, size) in [("v1", "w1", "1Gi"), ("v2", "w2", "5Gi")] {
        let volume = json!({
            "metadata": { "name": name, "resourceVersion": "1" },
            "spec": {
                "capacity": { "storage": size }, "accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand",
                "nodeAffinity": { "required": { "nodeSelectorTerms": [
                    { "matchExpressions": [{ "key": "host", "operator": "In", "values": [node] }] }] } },
            },
            "status": { "phase": "Available" },
        });
        cluster.storage.set_volume(Arc::new(serde_json::from_value(volume).unwrap()));
    }
    cluster
}

fn claim(cluster: &mut Cluster, name: &str, annotations: Value, spec: Value, more: Value) {
    let mut claim = json!({
        "metadata": { "namespace": "n", "name": name, "uid": name, "annotations": annotations },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        "status": { "phase": "Pending" },
    });
    claim["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    for (key, value) in more.as_object().unwrap() {
        claim[key].as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    }
    cluster.storage.set_claim(Arc::new(serde_json::from_value(claim).unwrap()));
}

fn pod(name: &str, claims: &[&str], selector: Value) -> Arc<PodInfo> {
    // A plus stands for an ephemeral volume.
    let volume = |name: &&str| match name.strip_prefix('+') {
        Some(name) => json!({ "name": name, "ephemeral": {} }),
        None => json!({ "name": name, "persistentVolumeClaim": { "claimName": name } }),
    };
    let volumes: Vec<Value> = claims.iter().map(volume).collect();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "n", "uid": name },
        "spec": { "containers": [{ "name": "c" }], "volumes": volumes, "nodeSelector": selector },
    }))
    .unwrap();
    Arc::new(PodInfo::new(&pod))
}

/// The node, and what is to be done there; or the Event's message.
type Placed = Result<(String, Vec<String>), String>;

fn place(cluster: &Cluster, pod: &Arc<PodInfo>) -> Placed {
    match decide(pod, cluster) {
        Decision::Place(node, bindings) => {
            let name = |name: &Option<String>| name.clone().unwrap_or_default();
            let reserved = bindings
                .reserve
                .iter()
                .map(|(volume, claim)| format!("{}={}", name(&claim.metadata.name), name(&volume.metadata.name)));
            let made = bindings.provision.iter().map(|claim| format!("{}=new", name(&claim.metadata.name)));
            Ok((node, reserved.chain(made).collect()))
        }
        Decision::Evict(diagnosis, _) | Decision::Impossible(diagnosis) => Err(diagnosis.message()),
    }
}

#[test]
fn claims_say_where_a_pod_can_go() {
    let mut cluster = cluster();
    let none = json!({});
    let class = |name: &str| json!({ "storageClassName": name });
    let bound = |volume: &str| json!({ "volumeName": volume });
    let (done, w2) = (json!({ BIND_COMPLETED: "yes" }), json!({ SELECTED_NODE: "w2" }));
    let deleted = json!({ "metadata": { "deletionTimestamp": "2024-01-02T03:04:05Z" } });
    claim(&mut cluster, "on-w2", done.clone(), bound("v2"), none.clone());
    claim(&mut cluster, "on-nothing", done.clone(), bound("gone"), none.clone());
    claim(&mut cluster, "half", none.clone(), bound("v2"), none.clone());
    claim(&mut cluster, "lost", done, bound("gone"), json!({ "status": { "phase": "Lost" } }));
    claim(&mut cluster, "now", none.clone(), class("now"), none.clone());
    claim(&mut cluster, "later", none.clone(), class("later"), none.clone());
    claim(&mut cluster, "chosen", w2, class("later"), none.clone());
    claim(&mut cluster, "w2-later", none.clone(), class("w2-later"), none.clone());
    let large = json!({ "storageClassName": "by-hand", "resources": { "requests": { "storage": "2Gi" } } });
    claim(&mut cluster, "large", none.clone(), large, none.clone());
    claim(&mut cluster, "small", none.clone(), class("by-hand"), none.clone());
    claim(&mut cluster, "leaving", none.clone(), class("later"), deleted);
    let owned = |uid: &str| {
        let owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true });
        json!({ "metadata": { "ownerReferences": [owner] } })
    };
    claim(&mut cluster, "p-mine", none.clone(), class("later"), owned("p"));
    claim(&mut cluster, "p-foreign", none.clone(), class("later"), owned("before"));
    let waiting = "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-none\"";
    let not_helpful = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    let general = |words: &str| Err(format!("0/2 nodes are available: {words}. {not_helpful}"));
    let to = |node: &str, done: &[&str]| Ok((node.to_owned(), done.iter().map(|&text| text.to_owned()).collect()));
    let (w1, anywhere) = (json!({ "host": "w1" }), none);
    let conflict = "1 node(s) didn't match PersistentVolume's node affinity, 1 node(s) didn't match Pod's node \
                    affinity/selector";
    let cases: [(&[&str], &Value, Placed); 18] = [
        (&["on-w2"], &anywhere, to("w2", &[])),
        (&["on-w2"], &w1, general(conflict)),
        (
            &["on-nothing"],
            &anywhere,
            general("2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
        ),
        (&["none"], &anywhere, general("persistentvolumeclaim \"none\" not found")),
        (&["+none"], &anywhere, general(waiting)),
        (&["+mine"], &w1, to("w1", &["p-mine=new"])),
        (&["+foreign"], &anywhere, general("PVC n/p-foreign was not created for pod n/p (pod is not owner)")),
        (&["leaving"], &anywhere, general("persistentvolumeclaim \"leaving\" is being deleted")),
        (
            &["lost"],
            &anywhere,
            general("persistentvolumeclaim \"lost\" bound to non-existent persistentvolume \"gone\""),
        ),
        (&["now"], &anywhere, general("pod has unbound immediate PersistentVolumeClaims")),
        (&["half"], &anywhere, general("pod has unbound immediate PersistentVolumeClaims")),
        (&["later"], &w1, to("w1", &["later=new"])),
        (&["chosen"], &anywhere, to("w2", &["chosen=new"])),
        (&["w2-later"], &anywhere, to("w2", &["w2-later=new"])),
        (&["large"], &anywhere, to("w2", &["large=v2"])),
        (&["small"], &w1, to("w1", &["small=v1"])),
        (&["large", "small"], &anywhere, general("2 node(s) didn't find available persistent volumes to bind")),
        (&["large", "later"], &anywhere, to("w2", &["large=v2", "later=new"])),
    ];
    for (claims, selector, wanted) in cases {
        assert_eq!(place(&cluster, &pod("p", claims, selector.clone())), wanted, "{claims:?}");
    }
}

#[test]
fn one_pod_alone_uses_what_is_its_own() {
    let mut cluster = cluster();
    let alone = json!({ "volumeName": "v1", "accessModes": ["ReadWriteOncePod"] });
    let done = json!({ BIND_COMPLETED: "yes" });
    claim(&mut cluster, "alone", done.clone(), alone, json!({}));
    claim(&mut cluster, "shared", done, json!({ "volumeName": "v1" }), json!({}));
    let with = |name: &str, claim: &str, priority: i32| {
        let mut info = Arc::unwrap_or_clone(pod(name, &[claim], json!({})));
        info.priority = priority;
        Arc::new(info)
    };
    let users = [with("user", "alone", 5), with("sharer", "shared", 5), with("other", "+alone", 0)];
    for user in &users {
        cluster.assume(user, "w1");
    }
    let to_w1 = || Ok(("w1".to_owned(), vec![]));
    assert_eq!(place(&cluster, &with("second", "shared", 0)), to_w1());
    let words = "0/2 nodes are available: 2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access \
                 mode already in-use by another pod. preemption: 0/2 nodes are available: 2 No preemption victims found \
                 for incoming pod.";
    assert_eq!(place(&cluster, &with("second", "alone", 5)), Err(words.to_owned()));
    // Who is more important gets it, and nobody else has to leave.
    let Decision::Evict(_, found) = decide(&with("second", "alone", 9), &cluster) else { panic!("it has the claim") };
    assert_eq!(found.victims.iter().map(|victim| victim.name.as_str()).collect::<Vec<_>>(), ["user"]);
    assert_eq!(found.node, "w1");
    cluster.remove_pod("user");
    assert_eq!(place(&cluster, &with("second", "alone", 0)), to_w1());
    // A pod elsewhere is in the way, too, and its eviction there would not bring the pod to its volume.
    cluster.assume(&users[0], "w2");
    assert!(matches!(decide(&with("second", "alone", 9), &cluster), Decision::Impossible(_)));
}

#[test]
fn what_is_decided_holds_until_it_is_taken_back() {
    let mut cluster = cluster();
    claim(&mut cluster, "a", json!({}), json!({ "storageClassName": "by-hand" }), json!({}));
    claim(&mut cluster, "b", json!({}), json!({ "storageClassName": "by-hand" }), json!({}));
    claim(&mut cluster, "c", json!({}), json!({ "storageClassName": "later" }), json!({}));
    let w1 = json!({ "host": "w1" });
    let Decision::Place(node, bindings) = decide(&pod("a", &["a", "c"], w1.clone()), &cluster) else {
        panic!("there is a volume")
    };
    let assumed = cluster.storage.assume(&bindings, &node);
    assert_eq!(assumed.awaited.len(), 2);
    let taken = place(&cluster, &pod("b", &["b"], w1.clone())).unwrap_err();
    assert!(taken.contains("1 node(s) didn't find available persistent volumes to bind"), "{taken}");
    let chosen = cluster.storage.claim("n/c").unwrap();
    assert_eq!(annotation(&chosen.metadata, SELECTED_NODE), Some("w1"));
    assert_eq!(claim_ref(cluster.storage.volume("v1").unwrap()).unwrap().uid.as_deref(), Some("a"));
    // Newer news is not undone.
    claim(&mut cluster, "c", json!({ "new": "yes" }), json!({ "storageClassName": "later" }), json!({}));
    cluster.storage.forget(assumed);
    assert_eq!(annotation(&cluster.storage.claim("n/c").unwrap().metadata, "new"), Some("yes"));
    assert_eq!(place(&cluster, &pod("b", &["b"], w1)), Ok(("w1".to_owned(), vec!["b=v1".to_owned()])));
}
