use super::*;
use Operation::{Create, Delete, Update};
use serde_json::json;

const NONE: Value = Value::Null;

/// What is said to the kubelet of w1, whose node has the UID n; "" where it may. `at` is `plural[/subresource] [namespace/]name`.
fn said(operation: Operation, at: &str, object: &Value, old: &Value, pod: &Value) -> String {
    let (resource, name) = at.split_once(' ').unwrap_or((at, ""));
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let group = match resource {
        "leases" => "coordination.k8s.io",
        "csinodes" => "storage.k8s.io",
        "resourceslices" => "resource.k8s.io",
        "podcertificaterequests" | "certificatesigningrequests" => "certificates.k8s.io",
        _ => "",
    };
    let resource = Resource { group, resource, subresource, namespace, name };
    let some = |value| if value == &NONE { None } else { Some(value) };
    let node = json!({"metadata": {"uid": "n"}});
    let write = Write { operation, resource, object: some(object), old: some(old), pod: some(pod), node: Some(&node) };
    restrict("w1", &write).map_or_else(|why| why.to_string(), |()| String::new())
}

/// A value with another at a pointer, whose parents are there.
fn with(value: &Value, pointer: &str, inner: Value) -> Value {
    let (mut value, (parent, field)) = (value.clone(), pointer.rsplit_once('/').unwrap());
    value.pointer_mut(parent).unwrap()[field] = inner;
    value
}

fn pod(node: &str) -> Value {
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": "n", "controller": true});
    json!({"metadata": {"uid": "u", "annotations": {crate::node::mirror::MIRROR: "x"}, "ownerReferences": [owner]},
        "spec": {"nodeName": node}, "status": {}})
}

#[test]
fn kubelets_say_whose_they_are() {
    let write = Write {
        operation: Update,
        resource: Resource { resource: "services", ..Resource::default() },
        object: None,
        old: None,
        pod: None,
        node: None,
    };
    assert_eq!(restrict("w1", &write), Ok(()));
    let refused = r#"could not determine node from user "system:node:""#;
    assert_eq!(restrict("", &write), Err(refused.into()));
}

#[test]
fn pods() {
    let (own, other) = (pod("w1"), pod("w2"));
    let plain = with(&own, "/metadata/annotations", NONE);
    let only = "only 'status' and 'eviction' are allowed";
    for (operation, at, object, old, expected) in [
        (Create, "pods a/p", &own, &NONE, ""),
        (Create, "pods a/p", &other, &NONE, r#"node "w1" can only create pods with spec.nodeName set to itself"#),
        (
            Create,
            "pods a/p",
            &plain,
            &NONE,
            r#"pod does not have "kubernetes.io/config.mirror" annotation, node "w1" can only create mirror pods"#,
        ),
        (
            Update,
            "pods a/p",
            &own,
            &own,
            r#"unexpected operation "UPDATE", node "w1" can only create and delete mirror pods"#,
        ),
        (Delete, "pods a/p", &NONE, &own, ""),
        (Delete, "pods a/p", &NONE, &plain, ""),
        (Delete, "pods a/p", &NONE, &other, r#"node "w1" can only delete pods with spec.nodeName set to itself"#),
        (Create, "pods/binding a/p", &NONE, &NONE, &format!("unexpected pod subresource \"binding\", {only}")),
        (Update, "pods/resize a/p", &own, &own, &format!("unexpected pod subresource \"resize\", {only}")),
        (Create, "pods/status a/p", &own, &NONE, r#"unexpected operation "CREATE""#),
        (Delete, "pods/status a/p", &NONE, &own, r#"unexpected operation "DELETE""#),
    ] {
        assert_eq!(said(operation, at, object, old, &NONE), expected, "{operation:?} {at}");
    }
}

#[test]
fn pod_statuses() {
    let own = pod("w1");
    let claims = |claims: Value| with(&own, "/status/resourceClaimStatuses", claims);
    let extended = |requests: Value| {
        let status = json!({"resourceClaimName": "c", "requestMappings": requests});
        with(&own, "/status/extendedResourceClaimStatus", status)
    };
    let labelled = |labels: Value| with(&own, "/metadata/labels", labels);
    let owned = with(&own, "/metadata/ownerReferences", NONE);
    let of_others = "can only update pod status for pods with spec.nodeName set to itself";
    for (object, old, expected) in [
        (own.clone(), own.clone(), ""),
        (with(&own, "/status/phase", json!("Running")), own.clone(), ""),
        // The strategy leaves them as they are.
        (owned, own.clone(), ""),
        (own.clone(), pod("w2"), of_others),
        (labelled(json!({"a": ""})), pod("w2"), of_others),
        (labelled(json!({})), own.clone(), ""),
        (labelled(json!({"a": ""})), own.clone(), "cannot update labels through pod status"),
        (own.clone(), labelled(json!({"a": ""})), "cannot update labels through pod status"),
        (claims(json!([])), own.clone(), ""),
        (claims(json!([{"name": "a"}])), claims(json!([{"name": "a"}])), ""),
        (claims(json!([{"name": "a"}])), own.clone(), "cannot update resource claim statues"),
        (
            claims(json!([{"name": "a", "resourceClaimName": "c"}])),
            claims(json!([{"name": "a"}])),
            "cannot update resource claim statues",
        ),
        (
            claims(json!([{"name": "a"}, {"name": "b"}])),
            claims(json!([{"name": "b"}, {"name": "a"}])),
            "cannot update resource claim statues",
        ),
        (extended(json!([])), extended(NONE), ""),
        (extended(NONE), own.clone(), "cannot update extended resource claim status"),
        (
            extended(json!([{"containerName": "a", "resourceName": "b", "requestName": "c"}])),
            extended(json!([{"containerName": "a", "resourceName": "b", "requestName": "d"}])),
            "cannot update extended resource claim status",
        ),
    ] {
        let expected = if expected.is_empty() { String::new() } else { format!("node \"w1\" {expected}") };
        assert_eq!(said(Update, "pods/status a/p", &object, &old, &NONE), expected);
    }
}

#[test]
fn evictions() {
    let named = json!({"metadata": {"name": "p"}});
    let of_others = "node w1 can only evict pods with spec.nodeName set to itself";
    for (operation, at, object, pod, expected) in [
        (Create, "pods/eviction a/p", json!({}), pod("w1"), ""),
        (Create, "pods/eviction a/p", json!({}), pod("w2"), of_others),
        (Create, "pods/eviction a/p", json!({}), NONE, "pod \"p\" not found"),
        (Create, "pods/eviction", named.clone(), pod("w1"), ""),
        (Create, "pods/eviction", json!({}), NONE, "could not determine pod from request data"),
        (Update, "pods/eviction a/p", named, pod("w1"), "unexpected operation UPDATE"),
        (Delete, "pods/eviction a/p", NONE, NONE, "unexpected operation DELETE"),
    ] {
        assert_eq!(said(operation, at, &object, &NONE, &pod), expected, "{at}");
    }
}

#[test]
fn claims() {
    let only = "may only update PVC status";
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"volumeName": "v"},
        "metadata": {"name": "c", "labels": {"a": "b"}, "resourceVersion": "1", "managedFields": [{"manager": "x"}]},
        "status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}});
    for at in ["persistentvolumeclaims a/c", "persistentvolumeclaims/other a/c"] {
        for operation in [Create, Update, Delete] {
            assert_eq!(said(operation, at, &claim, &claim, &NONE), only, "{operation:?} {at}");
        }
    }
    let at = "persistentvolumeclaims/status a/c";
    assert_eq!(said(Create, at, &claim, &NONE, &NONE), r#"unexpected operation "CREATE""#);
    assert_eq!(said(Delete, at, &NONE, &claim, &NONE), r#"unexpected operation "DELETE""#);
    let others = "node \"w1\" is not allowed to update fields other than status.quantity and status.conditions: ";
    for (pointer, value, allowed) in [
        ("/status/capacity", json!({"storage": "2Gi"}), true),
        ("/status/conditions", json!([{"type": "Resizing"}]), true),
        ("/status/allocatedResources", json!({"storage": "2Gi"}), true),
        ("/status/allocatedResourceStatuses", json!({"storage": "NodeResizePending"}), true),
        ("/metadata/resourceVersion", NONE, true),
        ("/metadata/managedFields", json!([]), true),
        ("/metadata/annotations", json!({}), true),
        ("/status/phase", json!("Lost"), false),
        ("/status/accessModes", json!([]), false),
        ("/status/currentVolumeAttributesClassName", json!("gold"), false),
        ("/metadata/labels", json!({"a": "c"}), false),
        ("/metadata/labels", NONE, false),
        ("/metadata/finalizers", json!(["x"]), false),
        ("/spec/volumeName", json!("w"), false),
        ("/spec/storageClassName", json!(""), false),
    ] {
        let expected = if allowed { "" } else { others };
        assert_eq!(said(Update, at, &with(&claim, pointer, value), &claim, &NONE), expected, "{pointer}");
    }
}

#[test]
fn refused_claims_say_what_was_changed() {
    let resource = Resource { resource: "persistentvolumeclaims", subresource: "status", ..Resource::default() };
    let claim = |label: &str, version: &str| json!({"metadata": {"labels": {"a": label}, "resourceVersion": version}, "status": {"capacity": {}}});
    let (old, new) = (claim("b", "1"), claim("c", "2"));
    let write = Write { operation: Update, resource, object: Some(&new), old: Some(&old), pod: None, node: None };
    let Err(Refusal::Changed { old, new, .. }) = restrict("w1", &write) else { panic!("it may not") };
    let rest = |label: &str| json!({"metadata": {"labels": {"a": label}}, "status": {}});
    assert_eq!((old, new), (rest("b"), rest("c")));
}

#[test]
fn nodes() {
    let node = |labels: Value| json!({"metadata": {"name": "w1", "labels": labels}, "spec": {}});
    let good = node(json!({"kubernetes.io/os": "linux", "disk": "ssd", "a.example/b": "",
        "node.kubernetes.io/a": "", "x.kubelet.kubernetes.io/a": ""}));
    let bad = node(json!({"kubernetes.io/os": "linux", "x.kubernetes.io/y": "", "x.k8s.io/y": "", "k8s.io/y": "",
        "node-role.kubernetes.io/control-plane": "", "a.node-restriction.kubernetes.io/x": ""}));
    let list = "a.node-restriction.kubernetes.io/x, k8s.io/y, node-role.kubernetes.io/control-plane, x.k8s.io/y, \
                x.kubernetes.io/y";
    let bare = node(NONE);
    let tainted = with(&bare, "/spec/taints", json!([{"key": "x"}]));
    let owned = with(&bare, "/metadata/ownerReferences", json!([{"uid": "x"}]));
    let source = |name: &str| with(&bare, "/spec/configSource", json!({"configMap": {"name": name}}));
    let (one, another, empty) = (source("a"), source("b"), with(&bare, "/spec/configSource", json!({})));
    let other = r#"node "w1" is not allowed to modify node"#;
    let own = r#"node "w1" is not allowed to"#;
    for (operation, at, object, old, expected) in [
        (Create, "nodes w1", &good, &NONE, String::new()),
        (Create, "nodes w1", &tainted, &NONE, String::new()),
        (Create, "nodes w2", &good, &NONE, format!("{other} \"w2\"")),
        (Create, "nodes", &good, &NONE, format!("{other} \"\"")),
        (Create, "nodes w1", &bad, &NONE, format!("{own} set the following labels: {list}")),
        (Create, "nodes w1", &one, &NONE, format!("{own} create pods with a non-nil configSource")),
        (Update, "nodes w1", &good, &bare, String::new()),
        (Update, "nodes w1", &bare, &good, String::new()),
        (Update, "nodes w2", &good, &good, format!("{other} \"w2\"")),
        (Update, "nodes/status w1", &bad, &bad, String::new()),
        (Update, "nodes/status w1", &bad, &good, format!("is not allowed to modify labels: {list}")),
        (Update, "nodes w1", &good, &bad, format!("is not allowed to modify labels: {list}")),
        (Update, "nodes w1", &tainted, &bare, format!("{own} modify taints")),
        (Update, "nodes/status w1", &bare, &tainted, format!("{own} modify taints")),
        (Update, "nodes w1", &owned, &bare, format!("{own} modify ownerReferences")),
        (Update, "nodes w1", &with(&bare, "/spec/taints", json!([])), &bare, String::new()),
        (Update, "nodes w1", &one, &one, String::new()),
        (Update, "nodes w1", &bare, &one, String::new()),
        (Update, "nodes w1", &one, &another, format!("{own} update configSource to a new non-nil configSource")),
        (Update, "nodes w1", &empty, &bare, format!("{own} update configSource to a new non-nil configSource")),
        (Delete, "nodes w1", &NONE, &bad, String::new()),
        (Delete, "nodes w2", &NONE, &good, format!("{other} \"w2\"")),
        (Delete, "nodes", &NONE, &good, format!("{other} \"\"")),
        (Update, "nodes/other w2", &good, &good, format!("{other} \"w2\"")),
    ] {
        assert_eq!(said(operation, at, object, old, &NONE), expected, "{operation:?} {at} {object} {old}");
    }
}

#[test]
fn what_bears_a_nodes_name() {
    let named = |name: &str| json!({"metadata": {"name": name}});
    let (own, other) = (named("w1"), named("w2"));
    let namespace = r#"can only access leases in the "kube-node-lease" system namespace"#;
    let lease = "can only access node lease with the same name as the requesting node";
    let csi_node = "can only access CSINode with the same name as the requesting node";
    let gate = "PodCertificateRequest feature gate is disabled";
    for (operation, at, object, old, expected) in [
        (Create, "leases kube-node-lease/w1", &own, &NONE, ""),
        (Create, "leases kube-node-lease/w1", &other, &NONE, lease),
        (Create, "leases default/w1", &own, &NONE, namespace),
        (Update, "leases kube-node-lease/w1", &own, &own, ""),
        (Update, "leases kube-node-lease/w2", &own, &own, lease),
        (Delete, "leases kube-node-lease/w1", &NONE, &own, ""),
        (Delete, "leases kube-node-lease/w2", &NONE, &other, lease),
        (Delete, "leases kube-node-lease/", &NONE, &own, lease),
        (Delete, "leases default/w2", &NONE, &other, namespace),
        (Create, "csinodes w1", &own, &NONE, ""),
        (Create, "csinodes w2", &other, &NONE, csi_node),
        (Update, "csinodes w1", &own, &own, ""),
        (Update, "csinodes w2", &own, &own, csi_node),
        (Delete, "csinodes w2", &NONE, &other, csi_node),
        (Create, "podcertificaterequests a/r", &own, &NONE, gate),
        (Update, "certificatesigningrequests/status r", &own, &own, ""),
    ] {
        assert_eq!(said(operation, at, object, old, &NONE), expected, "{operation:?} {at} {object}");
    }
}

#[test]
fn resource_slices() {
    let slice = |node: Value| json!({"spec": {"nodeName": node}});
    let (own, other, none) = (slice(json!("w1")), slice(json!("w2")), slice(NONE));
    let create = "can only create ResourceSlice with the same NodeName as the requesting node";
    let delete = "can only delete ResourceSlice with the same NodeName as the requesting node";
    for (operation, object, old, expected) in [
        (Create, &own, &NONE, ""),
        (Create, &other, &NONE, create),
        (Create, &none, &NONE, create),
        // The authorizer has seen to it.
        (Update, &other, &other, ""),
        (Delete, &NONE, &own, ""),
        (Delete, &NONE, &other, delete),
        (Delete, &NONE, &none, delete),
    ] {
        assert_eq!(said(operation, "resourceslices s", object, old, &NONE), expected, "{operation:?}");
    }
}

#[test]
fn tokens() {
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u"});
    let elsewhere = "node requested token bound to a pod scheduled on a different node";
    let unbound = "node requested token not bound to a pod";
    let again = "the UID in the bound object reference (v) does not match the UID in record. The object might have been \
                 deleted and then recreated";
    for (reference, pod, expected) in [
        (bound.clone(), pod("w1"), ""),
        (bound.clone(), pod("w2"), elsewhere),
        (bound.clone(), NONE, "pod \"p\" not found"),
        (NONE, NONE, unbound),
        (with(&bound, "/kind", json!("Secret")), pod("w1"), unbound),
        (with(&bound, "/apiVersion", json!("v2")), pod("w1"), unbound),
        (with(&bound, "/name", json!("")), NONE, unbound),
        (with(&bound, "/uid", json!("")), NONE, "node requested token with a pod binding without a uid"),
        (with(&bound, "/uid", json!("v")), pod("w2"), again),
    ] {
        let request = json!({"spec": {"boundObjectRef": reference}});
        assert_eq!(said(Create, "serviceaccounts/token a/s", &request, &NONE, &pod), expected);
    }
    assert_eq!(said(Update, "serviceaccounts a/s", &json!({}), &json!({}), &NONE), "");
    let mounts = json!({"spec": {"volumes": [{"name": "a"}, {"projected": {"sources": [{"serviceAccountToken": {}},
        {"serviceAccountToken": {"audience": "vault"}}]}}]}});
    let asked = ["", "vault", "other"].map(|audience| mounts_token_for(&mounts, audience));
    assert_eq!(asked, [true, true, false]);
}

#[test]
fn pods_that_are_meant() {
    let of = |resource, subresource, name| Resource { resource, subresource, name, ..Resource::default() };
    let eviction = json!({"metadata": {"name": "p"}});
    let request = json!({"spec": {"boundObjectRef": {"name": "p"}}});
    for (resource, object, expected) in [
        (of("pods", "eviction", "q"), &eviction, "q"),
        (of("pods", "eviction", ""), &eviction, "p"),
        (of("serviceaccounts", "token", "s"), &request, "p"),
        (of("pods", "status", "q"), &eviction, ""),
        (Resource { group: "example.com", ..of("pods", "eviction", "q") }, &eviction, ""),
    ] {
        assert_eq!(pod_meant(&resource, object), expected, "{resource:?}");
    }
}
