//! Small clusters written down as JSON, and where pods end up in them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::budget::Budget;
use super::cluster::Cluster;
use super::diagnosis::Diagnosis;
use super::pod::PodInfo;
use super::resources::{milli, pod_requests, units};
use crate::decide::{Decision, decide};

fn node(name: &str, cpu: &str, taint: Option<&str>) -> Arc<Node> {
    let taints = taint.map(|key| json!([{ "key": key, "effect": "NoSchedule" }])).unwrap_or(json!([]));
    Arc::new(
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name, "zone": &name[..1] } },
            "spec": { "taints": taints },
            "status": { "allocatable": { "cpu": cpu, "memory": "4Gi", "pods": "10" } },
        }))
        .unwrap(),
    )
}

fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "default", "uid": name, "labels": { "app": name.split('-').next() },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "o",
                                   "uid": name.split('-').next(), "controller": true }] },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": "500m" } } }] },
    });
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let pod: Pod = serde_json::from_value(pod).unwrap();
    Arc::new(PodInfo::new(&pod))
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    cluster.set_node(node("c0-control-plane", "2", Some("node-role.kubernetes.io/control-plane")));
    for name in ["w1", "w2", "w3"] {
        cluster.set_node(node(name, "2", None));
    }
    cluster
}

fn place(cluster: &mut Cluster, pod: &Arc<PodInfo>) -> Result<String, Box<Diagnosis>> {
    match decide(pod, cluster) {
        Decision::Place(node, bindings) => {
            cluster.storage.assume(&bindings, &node);
            cluster.assume(pod, &node);
            Ok(node)
        }
        Decision::Evict(diagnosis, _) | Decision::Impossible(diagnosis) => Err(diagnosis),
    }
}

#[test]
fn quantities() {
    let cases = [
        ("100m", 100),
        ("1", 1000),
        ("0.5", 500),
        ("1k", 1_000_000),
        ("1Ki", 1_024_000),
        ("2e3", 2_000_000),
        ("1n", 1),
    ];
    for (text, expected) in cases {
        assert_eq!(milli(text), Some(expected), "{text}");
    }
    assert_eq!(units("1500m"), Some(2));
    assert_eq!(units("128Mi"), Some(134_217_728));
    assert_eq!(milli("many"), None);
}

#[test]
fn a_pod_needs_what_its_neediest_moment_needs() {
    let container = |cpu: &str, policy: Option<&str>| json!({ "name": "c", "restartPolicy": policy, "resources": { "requests": { "cpu": cpu } } });
    let spec = serde_json::from_value(json!({
        "initContainers": [container("100m", Some("Always")), container("900m", None)],
        "containers": [container("300m", None), container("200m", None)],
        "overhead": { "cpu": "10m" },
    }))
    .unwrap();
    assert_eq!(pod_requests(&spec, None).cpu, 1010);
}

#[test]
fn room_is_free_when_a_resized_pod_has_left_it() {
    let sized = |wanted: &str, actual: &str, reason: &str| {
        let requests = |cpu: &str| json!({ "requests": { "cpu": cpu } });
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "sized", "namespace": "default", "uid": "sized" },
            "spec": { "nodeName": "w1", "containers": [{ "name": "c", "resources": requests(wanted) }] },
            "status": {
                "conditions": [{ "type": "PodResizePending", "status": "True", "reason": reason }],
                "containerStatuses": [{ "name": "c", "ready": true, "restartCount": 0, "image": "", "imageID": "",
                                        "resources": requests(actual), "allocatedResources": { "cpu": actual } }],
            },
        }))
        .unwrap();
        Arc::new(PodInfo::new(&pod))
    };
    let newcomer = pod("new-0", json!({ "nodeName": null, "nodeSelector": { "kubernetes.io/hostname": "w1" } }));
    let cases = [
        // Smaller in its spec, but not yet on its node.
        ("500m", "1800m", "", false),
        ("500m", "500m", "", true),
        // It waits for more: that is promised to it, unless the node can never give it.
        ("1800m", "500m", "Deferred", false),
        ("1800m", "500m", "Infeasible", true),
    ];
    for (wanted, actual, reason, fits) in cases {
        let mut cluster = cluster();
        cluster.set_pod(sized(wanted, actual, reason));
        assert_eq!(place(&mut cluster, &newcomer).is_ok(), fits, "{wanted} {actual} {reason}");
    }
}

#[test]
fn three_replicas_land_on_three_workers() {
    let mut cluster = cluster();
    let mut nodes: Vec<_> =
        (0..3).map(|i| place(&mut cluster, &pod(&format!("web-{i}"), json!({}))).unwrap()).collect();
    nodes.sort();
    assert_eq!(nodes, ["w1", "w2", "w3"]);
}

#[test]
fn the_message_is_upstreams() {
    let mut cluster = cluster();
    let big = pod("big-0", json!({ "containers": [{ "name": "c", "resources": { "requests": { "cpu": "64" } } }] }));
    let diagnosis = place(&mut cluster, &big).unwrap_err();
    assert_eq!(
        diagnosis.message(),
        "0/4 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, \
         3 Insufficient cpu. preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
    );
    let full = pod("full-0", json!({ "containers": [{ "name": "c", "resources": { "requests": { "cpu": "2" } } }] }));
    for i in 0..3 {
        place(&mut cluster, &pod(&format!("web-{i}"), json!({}))).unwrap();
    }
    let message = place(&mut cluster, &full).unwrap_err().message();
    assert!(
        message.ends_with(
            "preemption: 0/4 nodes are available: 1 Preemption is not helpful for scheduling, \
             3 No preemption victims found for incoming pod."
        ),
        "{message}"
    );
    assert_eq!(Diagnosis::default().message(), "no nodes available to schedule pods");
}

#[test]
fn what_a_pod_asks_for_decides() {
    let term =
        |app: &str, key: &str| json!([{ "labelSelector": { "matchLabels": { "app": app } }, "topologyKey": key }]);
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let cases = [
        ("selector", json!({ "nodeSelector": { "kubernetes.io/hostname": "w2" } }), Ok("w2")),
        (
            "toleration",
            json!({ "nodeSelector": { "zone": "c" }, "tolerations": [{ "operator": "Exists" }] }),
            Ok("c0-control-plane"),
        ),
        (
            "near db",
            json!({ "affinity": { "podAffinity": { required: term("db", "kubernetes.io/hostname") } } }),
            Ok("w3"),
        ),
        (
            "first of its kind",
            json!({ "affinity": { "podAffinity": { required: term("x", "kubernetes.io/hostname") } } }),
            Ok("w1"),
        ),
        (
            "near nobody",
            json!({ "affinity": { "podAffinity": { required: term("no", "kubernetes.io/hostname") } } }),
            Err("didn't match pod affinity rules"),
        ),
        (
            "not in db's zone",
            json!({ "affinity": { "podAntiAffinity": { required: term("db", "zone") } } }),
            Err("3 node(s) didn't match pod anti-affinity rules"),
        ),
        (
            "claim",
            json!({ "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] }),
            Err("persistentvolumeclaim \"data\" not found"),
        ),
        (
            "elsewhere",
            json!({ "nodeSelector": { "disk": "ssd" } }),
            Err("3 node(s) didn't match Pod's node affinity/selector"),
        ),
    ];
    for (what, spec, expected) in cases {
        let mut cluster = cluster();
        let db = pod("db-0", json!({ "nodeName": "w3" }));
        cluster.set_pod(db);
        let got = place(&mut cluster, &pod("x-0", spec)).map_err(|diagnosis| diagnosis.message());
        match (got, expected) {
            (Ok(node), Ok(wanted)) => assert_eq!(node, wanted, "{what}"),
            (Err(message), Err(wanted)) => assert!(message.contains(wanted), "{what}: {message}"),
            (got, wanted) => panic!("{what}: {got:?} instead of {wanted:?}"),
        }
    }
}

#[test]
fn host_ports_clash_and_existing_pods_object() {
    let mut cluster = cluster();
    let ports = json!({ "containers": [{ "name": "c", "ports": [{ "containerPort": 80, "hostPort": 8080 }] }] });
    let nodes: std::collections::BTreeSet<_> =
        (0..3).map(|i| place(&mut cluster, &pod(&format!("p-{i}"), ports.clone())).unwrap()).collect();
    assert_eq!(nodes.len(), 3);
    let message = place(&mut cluster, &pod("p-3", ports)).unwrap_err().message();
    assert!(message.contains("3 node(s) didn't have free ports for the requested pod ports"), "{message}");
    let hermit = json!({ "nodeName": "w1", "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
        [{ "labelSelector": { "matchLabels": { "app": "web" } }, "topologyKey": "kubernetes.io/hostname" }] } } });
    cluster.set_pod(pod("hermit-0", hermit));
    for i in 0..4 {
        assert_ne!(place(&mut cluster, &pod(&format!("web-{i}"), json!({}))).unwrap(), "w1");
    }
}

#[test]
fn spreading_keeps_the_skew() {
    let mut cluster = cluster();
    let spec = json!({ "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": { "matchLabels": { "app": "web" } } }],
        "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["w"] }] }] } } } });
    for i in 0..6 {
        place(&mut cluster, &pod(&format!("web-{i}"), spec.clone())).unwrap();
    }
    assert!(["w1", "w2", "w3"].iter().all(|name| cluster.nodes[*name].pods.len() == 2));
}

/// A pod on its way out must not drive its replacement to a node that has a sibling already.
#[test]
fn a_leaving_pod_keeps_no_sibling_away() {
    let mut cluster = cluster();
    for (name, node) in [("web-0", "w1"), ("web-1", "w3")] {
        cluster.set_pod(pod(name, json!({ "nodeName": node })));
    }
    let mut leaving = Arc::into_inner(pod("web-2", json!({ "nodeName": "w2" }))).unwrap();
    leaving.deleting = true;
    cluster.set_pod(Arc::new(leaving));
    assert_eq!(place(&mut cluster, &pod("web-3", json!({}))).unwrap(), "w2");
}

#[test]
fn the_least_important_are_evicted_and_no_more_than_needed() {
    let mut cluster = cluster();
    for (i, (node, priority)) in [("w1", 5), ("w1", 1), ("w2", 9), ("w3", 1), ("w3", 1)].into_iter().enumerate() {
        let spec = json!({ "nodeName": node, "priority": priority, "containers": [{ "name": "c", "resources": { "requests": { "cpu": "1" } } }] });
        cluster.set_pod(pod(&format!("low-{i}"), spec));
    }
    let other = json!({ "nodeName": "w2", "priority": 200, "containers": [{ "name": "c", "resources": { "requests": { "cpu": "1" } } }] });
    cluster.set_pod(pod("high-0", other));
    let important = pod(
        "vip-0",
        json!({ "priority": 100, "containers": [{ "name": "c", "resources": { "requests": { "cpu": "1" } } }] }),
    );
    let Decision::Evict(_, found) = decide(&important, &cluster) else { panic!("there is room only by eviction") };
    assert_eq!((found.node.as_str(), found.victims.len()), ("w1", 1));
    assert_eq!(found.victims[0].name, "low-1");
}

#[test]
fn budgets_are_spared_where_they_can_be() {
    let budget = |allowed: i32, disrupted: Value| {
        serde_json::from_value(json!({
            "metadata": { "name": "b", "namespace": "default" },
            "spec": { "selector": { "matchLabels": { "app": "kept" } } },
            "status": { "disruptionsAllowed": allowed, "disruptedPods": disrupted, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0 },
        }))
        .map(|budget| Budget::new(&budget))
        .unwrap()
    };
    let whole = |name: &str, node: &str, priority: i32| {
        let containers = json!([{ "name": "c", "resources": { "requests": { "cpu": "2" } } }]);
        pod(name, json!({ "nodeName": node, "priority": priority, "containers": containers }))
    };
    let evicted = |budget: Option<Budget>| {
        let mut cluster = cluster();
        cluster.budgets.extend(budget.map(|budget| ("default/b".to_owned(), budget)));
        for (name, node, priority) in [("kept-1", "w1", 1), ("free-1", "w2", 5), ("high-1", "w3", 200)] {
            cluster.set_pod(whole(name, node, priority));
        }
        let containers = json!([{ "name": "c", "resources": { "requests": { "cpu": "1" } } }]);
        let important = pod("vip-0", json!({ "priority": 100, "containers": containers }));
        let Decision::Evict(_, found) = decide(&important, &cluster) else { panic!("there is room only by eviction") };
        (found.victims.iter().map(|victim| victim.name.clone()).collect::<Vec<_>>(), found.violations)
    };
    assert_eq!(evicted(None), (vec!["kept-1".to_owned()], 0));
    assert_eq!(evicted(Some(budget(0, json!({})))), (vec!["free-1".to_owned()], 0), "more important, but no budget's");
    assert_eq!(evicted(Some(budget(1, json!({})))), (vec!["kept-1".to_owned()], 0), "the budget allows one");
    let counted = json!({ "kept-1": "2026-01-01T00:00:00Z" });
    assert_eq!(evicted(Some(budget(0, counted))), (vec!["kept-1".to_owned()], 0), "it is counted already");
}

#[test]
fn a_budget_is_used_up_in_order_and_is_broken_where_nothing_else_helps() {
    let budget = json!({
        "metadata": { "name": "b", "namespace": "default" }, "spec": { "selector": { "matchLabels": { "app": "kept" } } },
        "status": { "disruptionsAllowed": 1, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0 },
    });
    let mut cluster = Cluster::default();
    cluster.set_node(node("w1", "2", None));
    cluster.budgets.insert("default/b".into(), Budget::new(&serde_json::from_value(budget).unwrap()));
    for (name, priority) in [("kept-1", 3), ("kept-2", 2), ("free-1", 1), ("free-2", 1)] {
        cluster.set_pod(pod(name, json!({ "nodeName": "w1", "priority": priority })));
    }
    let evicted = |cpu: &str| {
        let containers = json!([{ "name": "c", "resources": { "requests": { "cpu": cpu } } }]);
        let important = pod("vip-0", json!({ "priority": 100, "containers": containers }));
        let Decision::Evict(_, found) = decide(&important, &cluster) else { panic!("there is room only by eviction") };
        (found.victims.iter().map(|victim| victim.name.clone()).collect::<Vec<_>>().join(" "), found.violations)
    };
    // The first of the budget's pods may go, the second may not: it comes back before all others.
    assert_eq!(evicted("1500m"), ("kept-1 free-1 free-2".to_owned(), 0));
    assert_eq!(evicted("2"), ("kept-1 kept-2 free-1 free-2".to_owned(), 1));
}
