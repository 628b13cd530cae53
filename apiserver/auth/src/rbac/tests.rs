use super::*;
use crate::request::{Attributes, Decision, Resource, Target};
use crate::user::UserInfo;
use proptest::prelude::*;
use serde_json::{Value, json};

fn index(objects: &[Value]) -> Index {
    let mut index = Index::default();
    for object in objects {
        match object["kind"].as_str().unwrap() {
            "Role" | "ClusterRole" => index.apply_role(object.try_into().unwrap()),
            _ => index.apply_binding(object.try_into().unwrap()),
        }
    }
    index
}

fn role(name: &str, rules: Value) -> Value {
    json!({"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

fn binding(namespace: &str, name: &str, role: &str, subject: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    json!({
        "kind": kind, "metadata": {"name": name, "namespace": namespace}, "subjects": [subject],
        "roleRef": {"apiGroup": API_GROUP, "kind": "ClusterRole", "name": role},
    })
}

fn on<'a>(group: &'a str, resource: &'a str, namespace: &'a str, name: &'a str) -> Target<'a> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Target::Resource(Resource { group, resource, subresource, namespace, name })
}

#[test]
fn rules_match_as_upstream() {
    let user = UserInfo::new("u", ["g"]);
    let table = [
        (json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}), "get", on("", "pods", "", ""), true),
        (json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}), "list", on("", "pods", "", ""), false),
        (json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}), "get", on("apps", "pods", "", ""), false),
        (json!({"apiGroups": ["*"], "resources": ["pods"], "verbs": ["*"]}), "get", on("apps", "pods", "", ""), true),
        (json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}), "get", on("", "pods/log", "", ""), false),
        (
            json!({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["*"]}),
            "get",
            on("", "pods/log", "", ""),
            true,
        ),
        (json!({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["*"]}), "get", on("", "pods", "", ""), false),
        (json!({"apiGroups": [""], "resources": ["*"], "verbs": ["*"]}), "get", on("", "pods/log", "", ""), true),
        (
            json!({"apiGroups": ["apps"], "resources": ["*/scale"], "verbs": ["*"]}),
            "get",
            on("apps", "x/scale", "", ""),
            true,
        ),
        (
            json!({"apiGroups": ["apps"], "resources": ["*/scale"], "verbs": ["*"]}),
            "get",
            on("apps", "x/status", "", ""),
            false,
        ),
        (
            json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]}),
            "get",
            on("", "pods", "n", "a"),
            true,
        ),
        (
            json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]}),
            "get",
            on("", "pods", "n", "b"),
            false,
        ),
        (
            json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["list"]}),
            "list",
            on("", "pods", "n", ""),
            false,
        ),
        (json!({"nonResourceURLs": ["/healthz"], "verbs": ["get"]}), "get", Target::Path("/healthz"), true),
        (json!({"nonResourceURLs": ["/healthz"], "verbs": ["get"]}), "get", Target::Path("/healthz/x"), false),
        (json!({"nonResourceURLs": ["/healthz/*"], "verbs": ["get"]}), "get", Target::Path("/healthz/x"), true),
        (json!({"nonResourceURLs": ["*"], "verbs": ["get"]}), "get", Target::Path("/x"), true),
        (json!({"nonResourceURLs": ["*"], "verbs": ["*"]}), "get", on("", "pods", "", ""), false),
        (json!({"apiGroups": null, "resources": ["pods"], "verbs": ["*"]}), "get", on("", "pods", "", ""), false),
    ];
    for (rule, verb, target, allowed) in table {
        let parsed: PolicyRule = serde_json::from_value(rule.clone()).unwrap();
        assert_eq!(parsed.allows(&Attributes { user: &user, verb, target }), allowed, "{rule} {verb} {target:?}");
    }
}

#[test]
fn bindings_grant_where_they_are() {
    let mut index = index(&[
        role("reader", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])),
        binding("", "all", "reader", json!({"kind": "Group", "name": "ops"})),
        binding("web", "here", "reader", json!({"kind": "ServiceAccount", "name": "bot"})),
        binding("web", "dangling", "nothing", json!({"kind": "User", "name": "eve"})),
    ]);
    let ask = |index: &Index, user: &UserInfo, namespace: &str| {
        index.authorize(&Attributes { user, verb: "get", target: on("", "pods", namespace, "a") })
    };
    let ops = UserInfo::new("jane", ["ops"]);
    let reason = r#"RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "reader" to Group "ops""#;
    assert_eq!(ask(&index, &ops, "web"), Decision::Allow(reason.into()));
    assert!(ask(&index, &ops, "").allowed());
    let bot = UserInfo::new("system:serviceaccount:web:bot", ["system:serviceaccounts"]);
    let reason = r#"RBAC: allowed by RoleBinding "here/web" of ClusterRole "reader" to ServiceAccount "bot/web""#;
    assert_eq!(ask(&index, &bot, "web"), Decision::Allow(reason.into()));
    assert_eq!(ask(&index, &bot, "other"), Decision::NoOpinion(String::new()));
    assert_eq!(ask(&index, &bot, ""), Decision::NoOpinion(String::new()));
    let eve = UserInfo::new("eve", ["x"]);
    let missing = r#"RBAC: clusterrole.rbac.authorization.k8s.io "nothing" not found"#;
    assert_eq!(ask(&index, &eve, "web"), Decision::NoOpinion(missing.into()));
    assert!(ask(&index, &UserInfo::new("root", ["system:masters"]), "web").allowed());

    index.remove_binding("", "all");
    assert!(!ask(&index, &ops, "web").allowed());
    index.remove_role("", "reader");
    assert!(!ask(&index, &bot, "web").allowed());
}

#[test]
fn a_changed_binding_forgets_its_old_subjects() {
    let reader = role("reader", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]));
    let mut index = index(&[reader, binding("", "b", "reader", json!({"kind": "User", "name": "a"}))]);
    index.apply_binding((&binding("", "b", "reader", json!({"kind": "User", "name": "b"}))).try_into().unwrap());
    let may = |name| {
        let user = UserInfo::new(name, [""; 0]);
        index.authorize(&Attributes { user: &user, verb: "get", target: on("", "pods", "n", "x") }).allowed()
    };
    assert_eq!((may("a"), may("b")), (false, true));
}

fn rules(value: Value) -> Vec<PolicyRule> {
    serde_json::from_value(value).unwrap()
}

#[test]
fn covering() {
    let table = [
        (
            json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]),
            json!([{"apiGroups": ["a"], "resources": ["b/c"], "verbs": ["d"]}]),
            true,
        ),
        (
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]),
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]),
            true,
        ),
        (
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]),
            false,
        ),
        (
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]),
            json!([{"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get"]}]),
            true,
        ),
        (
            json!([{"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]}]),
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
            false,
        ),
        (
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
            json!([{"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]}]),
            true,
        ),
        (
            json!([{"apiGroups": [""], "resources": ["*/scale"], "verbs": ["get"]}]),
            json!([{"apiGroups": [""], "resources": ["x/scale"], "verbs": ["get"]}]),
            true,
        ),
        (
            json!([{"nonResourceURLs": ["/a/*"], "verbs": ["get"]}]),
            json!([{"nonResourceURLs": ["/a/b"], "verbs": ["get"]}]),
            true,
        ),
        (
            json!([{"nonResourceURLs": ["/a"], "verbs": ["get"]}]),
            json!([{"nonResourceURLs": ["*"], "verbs": ["get"]}]),
            false,
        ),
        (json!([]), json!([]), true),
    ];
    for (have, wanted, covered) in table {
        assert_eq!(uncovered(&rules(have.clone()), &rules(wanted.clone())).is_empty(), covered, "{have} {wanted}");
    }
}

#[test]
fn escalation_is_explained() {
    let index = index(&[
        role("reader", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])),
        binding("", "b", "reader", json!({"kind": "User", "name": "jane"})),
    ]);
    let jane = UserInfo::new("jane", ["dev", "system:authenticated"]);
    let wanted = rules(json!([{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "list"]}]));
    assert_eq!(
        index.confirm_no_escalation(&jane, "", &wanted).unwrap_err(),
        "user \"jane\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}"
    );
    assert_eq!(index.confirm_no_escalation(&jane, "", &wanted[..0]), Ok(()));
    assert_eq!(index.confirm_no_escalation(&UserInfo::new("r", ["system:masters"]), "", &wanted), Ok(()));
}

#[test]
fn reviews_list_rules() {
    let index = index(&[
        role(
            "r",
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, {"nonResourceURLs": ["/x"], "verbs": ["get"]}]),
        ),
        binding("n", "b", "r", json!({"kind": "User", "name": "jane"})),
    ]);
    assert_eq!(
        rules_review(&index, &UserInfo::new("jane", [""; 0]), "n"),
        json!({
            "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}],
            "incomplete": false,
        })
    );
    assert_eq!(rules_review(&index, &UserInfo::new("jane", [""; 0]), "m")["resourceRules"], json!([]));
}

#[test]
fn aggregation_follows_labels() {
    let labelled = |name: &str, label: &str, verb: &str| {
        let mut role: Role =
            (&role(name, json!([{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]))).try_into().unwrap();
        role.labels.insert(label.into(), "true".into());
        role
    };
    let all =
        [labelled("b", "x", "list"), labelled("a", "x", "get"), labelled("c", "x", "get"), labelled("d", "y", "watch")];
    let target = json!({"metadata": {"name": "t"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"x": "true"}}]}});
    let target = Role::try_from(&target).unwrap();
    let rules = aggregated_rules(&target, all.iter()).unwrap();
    assert_eq!(rules.iter().map(|rule| rule.verbs[0].as_str()).collect::<Vec<_>>(), ["get", "list"]);
    let selectors = [json!({"matchLabels": {"y": "true"}}), json!({"matchLabels": {"x": "true"}})];
    let target = Role { aggregation: Some(selectors.to_vec()), ..target };
    let rules = aggregated_rules(&target, all.iter()).unwrap();
    assert_eq!(rules.iter().map(|rule| rule.verbs[0].as_str()).collect::<Vec<_>>(), ["watch", "get", "list"]);
    assert_eq!(aggregated_rules(&all[0], all.iter()), None);
}

fn any_rule() -> impl Strategy<Value = PolicyRule> {
    let some = |values: &'static [&'static str]| proptest::sample::subsequence(values, 0..=values.len());
    let own = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
    (
        some(&["", "apps", "*"]),
        some(&["pods", "pods/log", "*/log", "*"]),
        some(&["a", "b"]),
        some(&["get", "list", "*"]),
        some(&["/x", "/y/*", "*"]),
    )
        .prop_map(move |(groups, resources, names, verbs, paths)| {
            let named = !names.is_empty();
            PolicyRule {
                api_groups: own(groups),
                resources: own(resources),
                resource_names: own(names),
                verbs: own(verbs),
                // As validation demands, names are only for resources.
                non_resource_urls: if named { Vec::new() } else { own(paths) },
            }
        })
}

proptest! {
    /// Whoever has rules that cover others may do everything the others allow.
    #[test]
    fn covering_rules_allow_as_much(
        have in proptest::collection::vec(any_rule(), 0..4),
        wanted in proptest::collection::vec(any_rule(), 0..3),
    ) {
        let user = UserInfo::new("u", [""; 0]);
        prop_assume!(uncovered(&have, &wanted).is_empty());
        for verb in ["get", "list", "watch"] {
            let mut targets = vec![Target::Path("/x"), Target::Path("/y/z"), Target::Path("/z")];
            for group in ["", "apps", "batch"] {
                for resource in ["pods", "pods/log", "nodes", "nodes/log"] {
                    targets.extend(["", "a", "b", "c"].map(|name| on(group, resource, "n", name)));
                }
            }
            for target in targets {
                let request = Attributes { user: &user, verb, target };
                let allowed = |rules: &[PolicyRule]| rules.iter().any(|rule| rule.allows(&request));
                prop_assert!(!allowed(&wanted) || allowed(&have), "{request:?}");
            }
        }
    }

    #[test]
    fn rules_cover_themselves(rules in proptest::collection::vec(any_rule(), 0..4)) {
        prop_assert_eq!(uncovered(&rules, &rules), vec![]);
    }
}
