//! The FlowSchemas and PriorityLevelConfigurations a cluster starts with (`apiserver/pkg/apis/flowcontrol/bootstrap`).

use serde_json::{Value, json};

/// Queues, hand size, length limit.
type Queuing = (u32, u32, u32);

/// Name, shares, lendable percent, queues.
const LIMITED: &[(&str, u32, u32, Option<Queuing>)] = &[
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("system", 30, 33, Some((64, 6, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
];

fn metadata(name: &str) -> Value {
    json!({ "name": name, "annotations": { "apf.kubernetes.io/autoupdate-spec": "true" } })
}

/// Every object with its resource.
pub fn objects() -> Vec<(&'static str, Value)> {
    let levels = levels().into_iter().map(|object| (super::LEVELS, object));
    levels.chain(schemas().into_iter().map(|object| (super::SCHEMAS, object))).collect()
}

pub fn levels() -> Vec<Value> {
    let exempt = json!({
        "metadata": metadata("exempt"),
        "spec": { "type": "Exempt", "exempt": { "nominalConcurrencyShares": 0, "lendablePercent": 0 } },
    });
    let limited = LIMITED.iter().map(|(name, shares, lendable, queues)| {
        let response = match queues {
            None => json!({ "type": "Reject" }),
            Some((queues, hand, length)) => json!({
                "type": "Queue", "queuing": { "queues": queues, "handSize": hand, "queueLengthLimit": length },
            }),
        };
        let limited =
            json!({ "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response });
        json!({ "metadata": metadata(name), "spec": { "type": "Limited", "limited": limited } })
    });
    std::iter::once(exempt).chain(limited).collect()
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({ "kind": "User", "user": { "name": name } })).collect()
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({ "kind": "Group", "group": { "name": name } })).collect()
}

fn accounts(names: &[&str]) -> Vec<Value> {
    let account = |name: &&str| json!({ "kind": "ServiceAccount", "serviceAccount": { "name": name, "namespace": "kube-system" } });
    names.iter().map(account).collect()
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    json!({
        "verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"], "clusterScope": cluster,
    })
}

fn schema(name: &str, level: &str, precedence: u32, by: &str, rules: Value) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": { "name": level }, "matchingPrecedence": precedence, "rules": [rules],
    });
    if !by.is_empty() {
        spec["distinguisherMethod"] = json!({ "type": by });
    }
    json!({ "metadata": metadata(name), "spec": spec })
}

/// Whatever the subjects do.
fn everything(subjects: Vec<Value>) -> Value {
    json!({
        "subjects": subjects,
        "resourceRules": [resources(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
    })
}

pub fn schemas() -> Vec<Value> {
    const USE: &[&str] = &["get", "create", "update"];
    let of = |subjects: Vec<Value>, rules: Vec<Value>| json!({ "subjects": subjects, "resourceRules": rules });
    let leases = || resources(USE, "coordination.k8s.io", &["leases"], false);
    let all = &["system:unauthenticated", "system:authenticated"];
    let (manager, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let everybody = [users(&[manager, scheduler]), accounts(&["*"])].concat();
    let endpoints =
        [users(&[manager]), accounts(&["endpoint-controller", "endpointslicemirroring-controller"])].concat();
    let probes = json!({
        "subjects": groups(all),
        "nonResourceRules": [{ "verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"] }],
    });
    let nodes = vec![
        resources(&["*"], "", &["nodes", "nodes/status"], true),
        resources(&["*"], "coordination.k8s.io", &["leases"], false),
    ];
    vec![
        schema("exempt", "exempt", 1, "", everything(groups(&["system:masters"]))),
        schema("probes", "exempt", 2, "", probes),
        schema("system-leader-election", "leader-election", 100, "ByUser", of(everybody, vec![leases()])),
        schema(
            "endpoint-controller",
            "workload-high",
            150,
            "ByUser",
            of(endpoints, vec![resources(USE, "", &["endpoints"], false)]),
        ),
        schema("workload-leader-election", "leader-election", 200, "ByUser", of(accounts(&["*"]), vec![leases()])),
        schema("system-node-high", "node-high", 400, "ByUser", of(groups(&["system:nodes"]), nodes)),
        schema("system-nodes", "system", 500, "ByUser", everything(groups(&["system:nodes"]))),
        schema("kube-controller-manager", "workload-high", 800, "ByNamespace", everything(users(&[manager]))),
        schema("kube-scheduler", "workload-high", 800, "ByNamespace", everything(users(&[scheduler]))),
        schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", everything(accounts(&["*"]))),
        schema("service-accounts", "workload-low", 9000, "ByUser", everything(groups(&["system:serviceaccounts"]))),
        schema("global-default", "global-default", 9900, "ByUser", everything(groups(all))),
        schema("catch-all", "catch-all", 10_000, "ByUser", everything(groups(all))),
    ]
}
