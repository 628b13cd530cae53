use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::total;

fn quota(spec: Value, hard: Value, used: Value) -> Quota {
    Quota::read(&json!({ "metadata": { "name": "q" }, "spec": spec, "status": { "hard": hard, "used": used } }))
}

fn create(object: &Value) -> Request<'_> {
    Request { operation: Operation::Create, subresource: "", object, old: None }
}

fn verdict(evaluator: &Evaluator, quota: Quota, request: &Request<'_>) -> String {
    match check(evaluator, &[quota], &[], request, Timestamp::UNIX_EPOCH) {
        Ok(used) => used[0].as_ref().map_or_else(|| "unchanged".to_owned(), ToString::to_string),
        Err(why) => why,
    }
}

fn pod(requests: Value, limits: Value) -> Value {
    json!({ "spec": { "containers": [{ "name": "c", "resources": { "requests": requests, "limits": limits } }] } })
}

#[test]
fn pods() {
    let none = || json!({});
    let small = || pod(json!({ "cpu": "100m", "memory": "1Mi" }), json!({ "cpu": "1" }));
    let rows: Vec<(Value, Value, Value, Value, &str)> = vec![
        (none(), json!({ "pods": "2" }), json!({ "pods": "1" }), small(), "pods=2"),
        (
            none(),
            json!({ "pods": "2" }),
            json!({ "pods": "2" }),
            small(),
            "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2",
        ),
        (
            none(),
            json!({ "requests.cpu": "150m", "memory": "1Mi", "pods": "9" }),
            json!({ "requests.cpu": "100m", "memory": "1Mi", "pods": "1" }),
            small(),
            "exceeded quota: q, requested: memory=1Mi,requests.cpu=100m, used: memory=1Mi,requests.cpu=100m, limited: memory=1Mi,requests.cpu=150m",
        ),
        (
            none(),
            json!({ "limits.cpu": "4", "limits.memory": "1Gi" }),
            json!({ "limits.cpu": "0", "limits.memory": "0" }),
            pod(json!({}), json!({})),
            "failed quota: q: must specify limits.cpu for: c; limits.memory for: c",
        ),
        (
            none(),
            json!({ "pods": "2", "cpu": "1" }),
            json!({ "pods": "1" }),
            small(),
            "status unknown for quota: q, resources: cpu,pods",
        ),
        (none(), json!({ "services": "1" }), json!({ "services": "1" }), small(), "unchanged"),
        (
            none(),
            json!({ "requests.example.com/gpu": "2" }),
            json!({ "requests.example.com/gpu": "2" }),
            pod(json!({ "example.com/gpu": "1" }), json!({ "example.com/gpu": "1" })),
            "exceeded quota: q, requested: requests.example.com/gpu=1, used: requests.example.com/gpu=2, limited: requests.example.com/gpu=2",
        ),
        (json!({ "scopes": ["BestEffort"] }), json!({ "pods": "1" }), json!({ "pods": "1" }), small(), "unchanged"),
        (json!({ "scopes": ["NotBestEffort"] }), json!({ "pods": "2" }), json!({ "pods": "1" }), small(), "pods=2"),
        (json!({ "scopes": ["Terminating"] }), json!({ "pods": "1" }), json!({ "pods": "1" }), small(), "unchanged"),
        (json!({ "scopes": ["NotTerminating"] }), json!({ "pods": "2" }), json!({ "pods": "1" }), small(), "pods=2"),
        (
            json!({ "scopes": ["VolumeAttributesClass"] }),
            json!({ "pods": "1" }),
            json!({ "pods": "1" }),
            small(),
            "unchanged",
        ),
    ];
    for (spec, hard, used, pod, expected) in rows {
        let quota = quota(spec.clone(), hard, used);
        assert_eq!(verdict(&Evaluator::Pods, quota, &create(&pod)), expected, "{spec}");
    }
}

#[test]
fn selected_scopes() {
    let select = |scope: &str, operator: &str, values: Value| json!({ "scopeSelector": { "matchExpressions": [{ "scopeName": scope, "operator": operator, "values": values }] } });
    let high = json!({ "spec": { "priorityClassName": "high", "containers": [] } });
    let plain = json!({ "spec": { "containers": [] } });
    let term = json!({ "topologyKey": "x", "namespaces": ["other"] });
    let far = json!({ "spec": { "containers": [], "affinity": { "podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1, "podAffinityTerm": term }] } } } });
    let rows = [
        (select("PriorityClass", "In", json!(["high"])), &high, true),
        (select("PriorityClass", "In", json!(["high"])), &plain, false),
        (select("PriorityClass", "NotIn", json!(["high"])), &plain, true),
        (select("PriorityClass", "Exists", json!([])), &plain, false),
        (select("PriorityClass", "DoesNotExist", json!([])), &plain, true),
        (select("CrossNamespacePodAffinity", "Exists", json!([])), &far, true),
        (select("CrossNamespacePodAffinity", "Exists", json!([])), &plain, false),
    ];
    for (spec, pod, counted) in rows {
        let have = verdict(
            &Evaluator::Pods,
            quota(spec.clone(), json!({ "pods": "9" }), json!({ "pods": "0" })),
            &create(pod),
        );
        assert_eq!(have, if counted { "pods=1" } else { "unchanged" }, "{spec} {pod}");
    }
}

#[test]
fn services_change_their_type() {
    let service = |kind: &str, ports: usize| {
        let ports: Vec<Value> = (0..ports).map(|n| json!({ "port": n })).collect();
        json!({ "spec": { "type": kind, "ports": ports } })
    };
    let (inner, node) = (service("ClusterIP", 2), service("NodePort", 2));
    let hard = json!({ "services": "1", "services.nodeports": "1", "services.loadbalancers": "0" });
    let used = json!({ "services": "1", "services.nodeports": "0", "services.loadbalancers": "0" });
    let fresh = || quota(json!({}), hard.clone(), used.clone());
    let update = |object, old| Request { operation: Operation::Update, subresource: "", object, old: Some(old) };
    assert_eq!(verdict(&Evaluator::Services, fresh(), &update(&inner, &inner)), "unchanged");
    assert_eq!(
        verdict(&Evaluator::Services, fresh(), &update(&node, &inner)),
        "exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1"
    );
    assert_eq!(verdict(&Evaluator::Services, fresh(), &update(&inner, &node)), "unchanged");
    let balancer = service("LoadBalancer", 0);
    assert_eq!(
        verdict(&Evaluator::Services, fresh(), &update(&balancer, &inner)),
        "exceeded quota: q, requested: services.loadbalancers=1, used: services.loadbalancers=0, limited: services.loadbalancers=0"
    );
}

#[test]
fn claims() {
    let claim = |class: &str, size: &str| json!({ "spec": { "storageClassName": class, "resources": { "requests": { "storage": size } } } });
    let hard = json!({ "requests.storage": "3Gi", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1" });
    let used = json!({ "requests.storage": "1Gi", "gold.storageclass.storage.k8s.io/requests.storage": "0",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "0" });
    let fresh = || quota(json!({}), hard.clone(), used.clone());
    assert_eq!(
        verdict(&Evaluator::VolumeClaims, fresh(), &create(&claim("gold", "2Gi"))),
        "exceeded quota: q, requested: gold.storageclass.storage.k8s.io/requests.storage=2Gi, used: gold.storageclass.storage.k8s.io/requests.storage=0, limited: gold.storageclass.storage.k8s.io/requests.storage=1Gi"
    );
    let have = verdict(&Evaluator::VolumeClaims, fresh(), &create(&claim("silver", "2Gi")));
    assert!(have.ends_with("requests.storage=3Gi"), "{have}");
    let devices = json!({ "spec": { "devices": { "requests": [
        { "exactly": { "deviceClassName": "gpu", "count": 2 } },
        { "firstAvailable": [{ "deviceClassName": "gpu", "count": 1 }, { "deviceClassName": "tpu", "allocationMode": "All" }] },
    ] } } });
    let used = Evaluator::DeviceClaims.usage(&devices, Timestamp::UNIX_EPOCH).to_string();
    assert_eq!(
        used,
        "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=3,tpu.deviceclass.resource.k8s.io/devices=32"
    );
}

#[test]
fn who_counts_a_name() {
    let count =
        |group: &str, plural: &str| Some(Evaluator::Count { group: group.to_owned(), plural: plural.to_owned() });
    let rows = [
        ("pods", Some(Evaluator::Pods)),
        ("count/pods", Some(Evaluator::Pods)),
        ("requests.cpu", Some(Evaluator::Pods)),
        ("requests.example.com/gpu", Some(Evaluator::Pods)),
        ("hugepages-2Mi", Some(Evaluator::Pods)),
        ("services.nodeports", Some(Evaluator::Services)),
        ("requests.storage", Some(Evaluator::VolumeClaims)),
        ("gold.storageclass.storage.k8s.io/persistentvolumeclaims", Some(Evaluator::VolumeClaims)),
        ("gpu.deviceclass.resource.k8s.io/devices", Some(Evaluator::DeviceClaims)),
        ("secrets", count("", "secrets")),
        ("count/replicasets.apps", count("apps", "replicasets")),
        ("count/widgets.example.com", count("example.com", "widgets")),
        ("example.com/gpu", None),
        ("fish", None),
    ];
    for (name, expected) in rows {
        assert_eq!(Evaluator::tracking(name), expected, "{name}");
    }
    // A create of any kind is counted, an update is not.
    let object = json!({});
    let sets = Evaluator::of("apps", "replicasets");
    let hard = json!({ "count/replicasets.apps": "1" });
    let full = || quota(json!({}), hard.clone(), hard.clone());
    assert_eq!(
        verdict(&sets, full(), &create(&object)),
        "exceeded quota: q, requested: count/replicasets.apps=1, used: count/replicasets.apps=1, limited: count/replicasets.apps=1"
    );
    let update = Request { operation: Operation::Update, subresource: "", object: &object, old: Some(&object) };
    assert_eq!(verdict(&sets, full(), &update), "unchanged");
}

#[test]
fn a_pod_is_charged_until_it_has_ended() {
    let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
    let rows = [
        (json!({ "status": { "phase": "Running" } }), true),
        (json!({ "status": { "phase": "Succeeded" } }), false),
        (
            json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:50Z", "deletionGracePeriodSeconds": 30 } }),
            true,
        ),
        (
            json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:20Z", "deletionGracePeriodSeconds": 30 } }),
            false,
        ),
    ];
    for (pod, charged) in rows {
        let used = Evaluator::Pods.usage(&pod, now).to_string();
        assert_eq!(used, if charged { "count/pods=1,pods=1" } else { "count/pods=1" }, "{pod}");
    }
}

proptest! {
    /// Admitting objects one by one ends where counting them all at once ends, and never above the limit.
    #[test]
    fn admission_and_the_controller_agree(sizes in prop::collection::vec(1i64..400, 0..20), limit in 1i64..3000) {
        let hard = json!({ "requests.cpu": format!("{limit}m"), "pods": "10" });
        let mut state = quota(json!({}), hard, json!({ "requests.cpu": "0", "pods": "0" }));
        let mut admitted = Vec::new();
        for size in sizes {
            let pod = pod(json!({ "cpu": format!("{size}m") }), json!({}));
            if let Ok(used) = check(&Evaluator::Pods, std::slice::from_ref(&state), &[], &create(&pod), Timestamp::UNIX_EPOCH) {
                state.used = used[0].clone().unwrap();
                admitted.push(pod);
            }
            prop_assert!(state.used.exceeding(&state.hard).is_empty());
        }
        let counted = total(&Evaluator::Pods, &state.hard, &[], admitted.iter(), Timestamp::UNIX_EPOCH);
        prop_assert_eq!(counted, state.used);
    }
}

#[test]
fn what_is_limited_needs_a_quota() {
    let claim = |class: &str, storage: &str| json!({ "spec": { "storageClassName": class, "resources": { "requests": { "storage": storage } } } });
    let limited = [Limited {
        plural: "persistentvolumeclaims".to_owned(),
        contains: vec!["gold.storageclass.storage.k8s.io/requests.storage".to_owned()],
        ..Limited::default()
    }];
    let name = "gold.storageclass.storage.k8s.io/requests.storage";
    let covering = quota(json!({}), json!({ name: "10Gi" }), json!({ name: "0" }));
    let other = quota(json!({}), json!({ "pods": "1" }), json!({ "pods": "0" }));
    let ask = |quotas: &[Quota], object: &Value| {
        check(&Evaluator::VolumeClaims, quotas, &limited, &create(object), Timestamp::UNIX_EPOCH).map(drop)
    };
    let refused = Err(format!("insufficient quota to consume: {name}"));
    assert_eq!(ask(&[], &claim("gold", "1Gi")), refused);
    assert_eq!(ask(std::slice::from_ref(&other), &claim("gold", "1Gi")), refused);
    assert_eq!(ask(&[other, covering], &claim("gold", "1Gi")), Ok(()));
    assert_eq!(ask(&[], &claim("silver", "1Gi")), Ok(()));
    let (big, small) = (claim("gold", "2Gi"), claim("gold", "1Gi"));
    let shrink = Request { operation: Operation::Update, old: Some(&big), ..create(&small) };
    assert_eq!(check(&Evaluator::VolumeClaims, &[], &limited, &shrink, Timestamp::UNIX_EPOCH), Ok(vec![]));
}

#[test]
fn limited_scopes_need_a_quota_of_that_scope() {
    let scope = json!({ "scopeName": "PriorityClass", "operator": "In", "values": ["high"] });
    let limited = [Limited { plural: "pods".to_owned(), scopes: vec![Selector::read(&scope)], ..Limited::default() }];
    let with = |class: &str| json!({ "spec": { "priorityClassName": class, "containers": [] } });
    let ask = |quotas: &[Quota], class: &str| {
        check(&Evaluator::Pods, quotas, &limited, &create(&with(class)), Timestamp::UNIX_EPOCH).map(drop)
    };
    let refused = Err("insufficient quota to match these scopes: [{PriorityClass In [high]}]".to_owned());
    assert_eq!(ask(&[], "high"), refused);
    assert_eq!(ask(&[], "low"), Ok(()));
    let plain = quota(json!({}), json!({ "pods": "5" }), json!({ "pods": "0" }));
    assert_eq!(ask(&[plain], "high"), refused);
    let spec = json!({ "scopeSelector": { "matchExpressions": [scope] } });
    let scoped = quota(spec, json!({ "pods": "5" }), json!({ "pods": "0" }));
    assert_eq!(ask(&[scoped], "high"), Ok(()));
}

/// Who moves into a scope is charged there as a new pod is; everything else about a pod that is there costs nothing.
#[test]
fn deadlines_move_pods_between_scopes() {
    let running = pod(json!({ "cpu": "100m" }), json!({}));
    let mut ending = running.clone();
    ending["spec"]["activeDeadlineSeconds"] = 60.into();
    let scoped = |scope: &str| quota(json!({ "scopes": [scope] }), json!({ "pods": "1" }), json!({ "pods": "0" }));
    let full = quota(json!({ "scopes": ["Terminating"] }), json!({ "pods": "1" }), json!({ "pods": "1" }));
    let update = |old, object| Request { operation: Operation::Update, subresource: "", object, old: Some(old) };
    for (quota, old, new, expected) in [
        (scoped("Terminating"), &running, &ending, "pods=1"),
        (full, &running, &ending, "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"),
        (scoped("NotTerminating"), &running, &ending, "unchanged"),
        (scoped("NotTerminating"), &ending, &running, "pods=1"),
        (scoped("Terminating"), &ending, &ending, "unchanged"),
    ] {
        assert_eq!(verdict(&Evaluator::Pods, quota, &update(old, new)), expected);
    }
}
