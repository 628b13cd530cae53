use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{apply_defaults, builtin};

fn manager(name: &str, operation: Operation) -> Manager {
    Manager {
        name: name.into(),
        operation,
        api_version: "apps/v1".into(),
        subresource: String::new(),
        time: "2026-01-01T00:00:00Z".into(),
    }
}

fn deployment() -> Schema {
    builtin("apps/v1", "Deployment").unwrap()
}

fn config(replicas: i64, labels: Value, containers: Value) -> Value {
    json!({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":labels},
        "spec":{"replicas":replicas,"template":{"spec":{"containers":containers}}}})
}

fn owners(object: &Value, name: &str) -> Value {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).unwrap();
    entries.iter().find(|entry| entry["manager"] == name).map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

#[test]
fn a_create_is_tracked_like_upstream() {
    let mut new = config(
        3,
        json!({"app":"web"}),
        json!([{"name":"nginx","image":"nginx","ports":[{"containerPort":80,"protocol":"TCP"}]}]),
    );
    normalize(&deployment(), &mut new);
    track_update(&deployment(), None, &mut new, &manager("kubectl-create", Operation::Update));
    assert_eq!(
        owners(&new, "kubectl-create"),
        json!({"f:metadata":{"f:labels":{".":{},"f:app":{}}},
            "f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"nginx\"}":{
                ".":{},"f:image":{},"f:name":{},"f:resources":{},
                "f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}}}}}}}})
    );
}

#[test]
fn conflicts_speak_upstream() {
    let schema = deployment();
    let mut live = config(3, json!({"a":"1"}), json!([{"name":"nginx","image":"1"}]));
    track_update(&schema, None, &mut live, &manager("kubectl-client-side-apply", Operation::Update));
    let me = manager("me", Operation::Apply);
    let error =
        apply(&schema, Some(&live), &config(5, json!({"a":"1"}), json!([{"name":"nginx","image":"1"}])), &me, false)
            .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"
    );
    let error =
        apply(&schema, Some(&live), &config(5, json!({"a":"2"}), json!([{"name":"nginx","image":"1"}])), &me, false)
            .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n\
         - .metadata.labels.a\n- .spec.replicas"
    );
    let forced =
        apply(&schema, Some(&live), &config(5, json!({"a":"1"}), json!([{"name":"nginx","image":"1"}])), &me, true)
            .unwrap();
    assert_eq!(forced["spec"]["replicas"], 5);
    assert_eq!(owners(&forced, "me").pointer("/f:spec/f:replicas"), Some(&json!({})));
    assert_eq!(owners(&forced, "kubectl-client-side-apply").pointer("/f:spec/f:replicas"), None);
    // The same value is shared, not fought over.
    assert_eq!(owners(&forced, "kubectl-client-side-apply").pointer("/f:metadata/f:labels/f:a"), Some(&json!({})));
}

#[test]
fn what_is_no_longer_applied_goes() {
    let schema = deployment();
    let me = manager("me", Operation::Apply);
    let two = json!([{"name":"a","image":"1","args":["x"]},{"name":"b","image":"1"}]);
    let first = apply(&schema, None, &config(3, json!({"a":"1","b":"2"}), two), &me, false).unwrap();
    let mut live = first;
    live["spec"]["template"]["spec"]["containers"][1]["terminationMessagePath"] = "/dev/termination-log".into();
    live["metadata"]["labels"]["theirs"] = "x".into();
    let before = live.clone();
    track_update(&schema, Some(&before), &mut live, &manager("other", Operation::Update));
    let second =
        apply(&schema, Some(&live), &config(3, json!({"a":"1"}), json!([{"name":"a","image":"1"}])), &me, false)
            .unwrap();
    assert_eq!(second["metadata"]["labels"], json!({"a":"1","theirs":"x"}));
    assert_eq!(second["spec"]["template"]["spec"]["containers"], json!([{"name":"a","image":"1"}]));
}

#[test]
fn a_name_stays_where_nothing_else_of_the_metadata_is_applied_any_more() {
    let (schema, me) = (builtin("v1", "ConfigMap").unwrap(), manager("me", Operation::Apply));
    let config = |labels: Value| json!({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","labels":labels}});
    let live = apply(&schema, None, &config(json!({"a":"b"})), &me, false).unwrap();
    let bare = json!({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}});
    let applied = apply(&schema, Some(&live), &bare, &me, false).unwrap();
    assert_eq!((&applied["metadata"]["name"], &applied["metadata"]["labels"]), (&json!("c"), &Value::Null));
}

/// A custom kind with a place of each sort.
fn places() -> Schema {
    let text = json!({"type":"string"});
    let schema = json!({"type":"object","properties":{
        "text":text,"object":{"type":"object","properties":{"x":text}},"map":{"type":"object","additionalProperties":text},
        "whole":{"type":"object","x-kubernetes-map-type":"atomic","properties":{"x":text}},
        "list":{"type":"array","items":text},"set":{"type":"array","x-kubernetes-list-type":"set","items":text},
        "keyed":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object",
            "required":["k"],"properties":{"k":text,"v":text}}},
        "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}});
    crate::crd::structural(&crate::field::Path::default(), &schema, false).unwrap()
}

#[test]
fn null_is_a_value_where_nothing_merges_and_somebody_says_it() {
    let (schema, [me, you]) = (places(), ["me", "you"].map(|name| manager(name, Operation::Apply)));
    let object =
        |field: &str, value: &Value| json!({"apiVersion":"g/v1","kind":"K","metadata":{"name":"k"},field:value});
    let none = Value::Null;
    for (field, value, mine, others) in [
        ("text", json!("a"), Some(&none), Some(&none)),
        ("whole", json!({"x":"a"}), Some(&none), Some(&none)),
        ("list", json!(["a"]), Some(&none), Some(&none)),
        ("object", json!({"x":"a"}), Some(&json!({})), None),
        ("map", json!({"x":"a"}), Some(&json!({})), None),
        ("set", json!(["a"]), None, None),
        ("keyed", json!([{"k":"a","v":"b"}]), None, None),
        ("free", json!({"x":{"y":1}}), Some(&json!({})), None),
    ] {
        let live = apply(&schema, None, &object(field, &value), &me, false).unwrap();
        let again = apply(&schema, Some(&live), &object(field, &none), &me, false).unwrap();
        assert_eq!(again.get(field), mine, "{field}, of what was one's own");
        let theirs = apply(&schema, Some(&live), &object(field, &none), &you, false);
        match others {
            Some(_) => assert!(matches!(theirs, Err(ApplyError::Conflicts(_))), "{field}"),
            None => assert_eq!(theirs.unwrap()[field], value, "{field}: it has managers of its own below"),
        }
        let forced = apply(&schema, Some(&live), &object(field, &none), &you, true).unwrap();
        assert_eq!(forced.get(field), others.or(Some(&value)), "{field}, by force");
        assert_eq!(owners(&forced, "you"), json!({format!("f:{field}"):{}}), "{field}");
    }
}

#[test]
fn shared_fields_stay_until_the_last_owner_leaves() {
    let schema = deployment();
    let (one, two) = (manager("one", Operation::Apply), manager("two", Operation::Apply));
    let with = config(3, json!({"a":"1"}), json!([]));
    let without = json!({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":3}});
    let live = apply(&schema, None, &with, &one, false).unwrap();
    let live = apply(&schema, Some(&live), &with, &two, false).unwrap();
    let live = apply(&schema, Some(&live), &without, &one, false).unwrap();
    assert_eq!(live["metadata"]["labels"], json!({"a":"1"}));
    let live = apply(&schema, Some(&live), &without, &two, false).unwrap();
    assert_eq!(live["metadata"].get("labels"), None);
}

#[test]
fn list_types() {
    let service = builtin("v1", "Service").unwrap();
    let me = manager("me", Operation::Apply);
    let ports = |ports: Value| json!({"metadata":{"name":"s"},"spec":{"ports":ports}});
    let live = apply(&service, None, &ports(json!([{"port":53,"protocol":"UDP"},{"port":53}])), &me, false).unwrap();
    assert_eq!(live["spec"]["ports"].as_array().unwrap().len(), 2, "keys are port and protocol, which defaults to TCP");
    let twice =
        apply(&service, None, &ports(json!([{"port":53,"protocol":"TCP"},{"port":53}])), &me, false).unwrap_err();
    assert!(
        twice.to_string().ends_with(".spec.ports: duplicate entries for key [port=53,protocol=\"TCP\"]"),
        "{twice}"
    );

    let nested = crate::crd::structural(
        &crate::field::Path::default(),
        &json!({"type":"object","properties":{"rules":{"type":"array","x-kubernetes-list-type":"atomic","items":{"type":"object",
            "properties":{"headers":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],
                "items":{"type":"object","required":["name"],"properties":{"name":{"type":"string"}}}}}}}}}),
        false,
    );
    let config = json!({"apiVersion":"g/v1","kind":"K","metadata":{"name":"k"},"rules":[{"headers":[{"name":"a"},{"name":"a"}]}]});
    let unclear = super::declared(&nested.unwrap(), &config).unwrap_err();
    assert!(unclear.ends_with(".rules[0].headers: duplicate entries for key [name=\"a\"]"), "{unclear}");

    let pod = builtin("v1", "Pod").unwrap();
    for (item, text) in [
        (json!({"secrets":[{"namespace":"x"}]}), "omits all key fields [\"name\"]"),
        (json!({"secrets":[null]}), "element 0: associative list with keys may not have a null element"),
        (
            json!({"metadata":{"finalizers":[null]}}),
            "element 0: associative list without keys has an element that's an explicit null",
        ),
        (
            json!({"metadata":{"finalizers":[{}]}}),
            "element 0: associative list without keys has an element that's a map type",
        ),
    ] {
        let account = builtin("v1", "ServiceAccount").unwrap();
        let missing = apply(&account, None, &item, &me, false).unwrap_err();
        assert!(missing.to_string().contains(text), "{missing}");
    }
    // Go's text is there, and empty, which is for the validation to tell.
    let nameless = apply(&pod, None, &json!({"spec":{"containers":[{"image":"x"}]}}), &me, false).unwrap();
    let fields = &nameless["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:containers"];
    assert_eq!(fields.as_object().unwrap().keys().collect::<Vec<_>>(), ["k:{\"name\":\"\"}"]);
    let live = json!({"metadata":{"finalizers":["a"],"managedFields":[]},"spec":{"tolerations":[{"key":"x"}]}});
    let merged = apply(
        &pod,
        Some(&live),
        &json!({"metadata":{"finalizers":["b"]},"spec":{"tolerations":[{"key":"y"}]}}),
        &me,
        true,
    )
    .unwrap();
    assert_eq!(merged["metadata"]["finalizers"], json!(["a", "b"]), "a set");
    assert_eq!(merged["spec"]["tolerations"], json!([{"key":"y"}]), "atomic");
}

#[test]
fn an_updater_takes_what_it_changes() {
    let schema = deployment();
    let live =
        apply(&schema, None, &config(3, json!({"a":"1"}), json!([])), &manager("me", Operation::Apply), false).unwrap();
    let mut new = live.clone();
    new["spec"]["replicas"] = 7.into();
    new["metadata"]["labels"] = json!({});
    let hpa = Manager {
        time: "2026-02-02T00:00:00Z".into(),
        subresource: "scale".into(),
        ..manager("hpa", Operation::Update)
    };
    track_update(&schema, Some(&live), &mut new, &hpa);
    assert_eq!(owners(&new, "hpa"), json!({"f:spec":{"f:replicas":{}}}));
    assert_eq!(owners(&new, "me").pointer("/f:spec/f:replicas"), None);
    assert_eq!(owners(&new, "me").pointer("/f:metadata/f:labels/f:a"), None);
    // No change, no new time.
    let before = new.clone();
    track_update(&schema, Some(&before), &mut new, &Manager { time: "2026-03-03T00:00:00Z".into(), ..hpa });
    assert_eq!(new, before);
}

#[test]
fn a_key_given_twice_is_taken_by_nobody_who_does_not_touch_the_list() {
    let pod = builtin("v1", "Pod").unwrap();
    let env = json!([{"name":"A","value":"1"},{"name":"A","value":"2"}]);
    let mut live = json!({"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","env":env}]}});
    track_update(&pod, None, &mut live, &manager("them", Operation::Update));
    let mut new = live.clone();
    new["metadata"]["labels"] = json!({"a":"1"});
    track_update(&pod, Some(&live), &mut new, &manager("me", Operation::Update));
    assert_eq!(owners(&new, "me"), json!({"f:metadata":{"f:labels":{".":{},"f:a":{}}}}));
    assert_eq!(owners(&new, "them"), owners(&live, "them"));
}

#[test]
fn items_given_twice_belong_to_who_gave_them_and_their_fields_to_nobody() {
    let schema = builtin("v1", "Pod").unwrap();
    let by = |name: &str| Manager { api_version: "v1".into(), ..manager(name, Operation::Update) };
    let pod = |env: Value| json!({"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"c","env":env}]}});
    let env = |object: &Value, name: &str| {
        owners(object, name)["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"]["f:env"].clone()
    };
    let (a, b) = (json!({"name":"a","value":"1"}), json!({"name":"a","value":"2"}));
    let (path, whole) = ("k:{\"name\":\"a\"}", json!({".":{},"f:name":{},"f:value":{}}));
    let mut twice = pod(json!([a, b]));
    track_update(&schema, None, &mut twice, &by("me"));
    assert_eq!(env(&twice, "me")[path], json!({}));
    let mut once = pod(json!([a]));
    once["metadata"] = twice["metadata"].clone();
    track_update(&schema, Some(&twice), &mut once, &by("you"));
    assert_eq!((&env(&once, "me")[path], &env(&once, "you")[path]), (&Value::Null, &whole));
    let mut again = pod(json!([b, a]));
    again["metadata"] = twice["metadata"].clone();
    track_update(&schema, Some(&twice), &mut again, &by("you"));
    assert_eq!((&env(&again, "me")[path], &env(&again, "you")[path]), (&Value::Null, &json!({})));
    let config = json!({"metadata":{"finalizers":["a","a","b","b"]}});
    let said = apply(&schema, None, &config, &manager("me", Operation::Apply), false).unwrap_err().to_string();
    assert_eq!(said.matches("duplicate entries").count(), 2, "{said}");
}

#[test]
fn a_list_that_is_given_empty_is_given() {
    let schema = builtin("rbac.authorization.k8s.io/v1", "Role").unwrap();
    let mut role = json!({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","rules":[]});
    normalize(&schema, &mut role);
    track_update(&schema, None, &mut role, &manager("me", Operation::Update));
    assert_eq!(owners(&role, "me"), json!({"f:rules":{}}));
    // Nobody sees one that may be left out.
    let mut pod =
        json!({"apiVersion":"v1","kind":"Pod","metadata":{"labels":{},"finalizers":[]},"spec":{"volumes":[]}});
    let sent = pod.clone();
    track_update(&builtin("v1", "Pod").unwrap(), None, &mut pod, &manager("me", Operation::Update));
    assert_eq!(pod, sent);
}

#[test]
fn a_field_says_how_its_struct_merges() {
    let schema = builtin("v1", "PersistentVolume").unwrap();
    let by = |name: &str| Manager { api_version: "v1".into(), ..manager(name, Operation::Apply) };
    let claim = |reference: Value| json!({"apiVersion":"v1","kind":"PersistentVolume","spec":{"claimRef":reference}});
    let live = apply(&schema, None, &claim(json!({"name":"a"})), &by("one"), false).unwrap();
    let both = apply(&schema, Some(&live), &claim(json!({"namespace":"b"})), &by("two"), false).unwrap();
    assert_eq!(both["spec"]["claimRef"], json!({"name":"a","namespace":"b"}));
    assert_eq!(owners(&both, "one"), json!({"f:spec":{"f:claimRef":{"f:name":{}}}}));
}

#[test]
fn whole_floats_are_no_change() {
    let schema = crate::crd::structural(
        &crate::field::Path::default(),
        &json!({"type":"object","properties":{"n":{"type":"number"},"list":{"type":"array","items":{"type":"object",
            "required":["at"],"properties":{"at":{"type":"integer"}}},"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["at"]}}}),
        false,
    )
    .unwrap();
    let mut live = json!({"apiVersion":"apps/v1","kind":"X","n":1,"list":[{"at":2}]});
    track_update(&schema, None, &mut live, &manager("me", Operation::Update));
    let mut new = live.clone();
    (new["n"], new["list"][0]["at"]) = (json!(1.0), json!(2.0));
    let sent = new.clone();
    track_update(&schema, Some(&live), &mut new, &manager("you", Operation::Update));
    assert_eq!(new, sent);
}

#[test]
fn what_cannot_be_told_apart_is_not_tracked() {
    let schema = builtin("v1", "ServiceAccount").unwrap();
    let by = Manager { api_version: "v1".into(), ..manager("me", Operation::Update) };
    let mut made =
        json!({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"labels":{"a":"b"}},"secrets":[{"name":"a"},{}]});
    track_update(&schema, None, &mut made, &by);
    assert_eq!(made["metadata"].get("managedFields"), None);
    made["secrets"] = json!([{"name":"a"}]);
    track_update(&schema, None, &mut made, &by);
    assert!(made["metadata"]["managedFields"].is_array());
    let mut changed = made.clone();
    changed["secrets"] = json!([{"name":"b"},{}]);
    track_update(&schema, Some(&made), &mut changed, &manager("you", Operation::Update));
    assert_eq!(changed["metadata"].get("managedFields"), None, "it has no managers any more");
}

#[test]
fn kubectl_takes_over_from_its_annotation() {
    let schema = deployment();
    let applied = config(3, json!({}), json!([{"name":"a","image":"1"}]));
    let mut live = applied.clone();
    live["metadata"]["annotations"] = json!({LAST_APPLIED: applied.to_string()});
    track_update(&schema, None, &mut live, &manager("kubectl-client-side-apply", Operation::Update));
    let wanted = config(4, json!({}), json!([{"name":"a","image":"1"}]));
    assert!(apply(&schema, Some(&live), &wanted, &manager("me", Operation::Apply), false).is_err());
    let taken = apply(&schema, Some(&live), &wanted, &manager("kubectl", Operation::Apply), false).unwrap();
    assert_eq!(taken["spec"]["replicas"], 4);
    assert!(taken["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap().contains("\"replicas\":4"));
}

#[test]
fn what_nobody_managed_is_managed_by_the_first_who_applies() {
    let schema = deployment();
    let live = config(1, json!({}), json!([]));
    let mut new = config(2, json!({}), json!([]));
    track_update(&schema, Some(&live), &mut new, &manager("updater", Operation::Update));
    assert_eq!(new.pointer("/metadata/managedFields"), None);
    let error = apply(&schema, Some(&new), &config(3, json!({}), json!([])), &manager("me", Operation::Apply), false);
    let text = "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas";
    assert_eq!(error.unwrap_err().to_string(), text);
    let labelled = config(2, json!({"a":"b"}), json!([]));
    let wanted = json!({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"paused":true}});
    let applied = apply(&schema, Some(&labelled), &wanted, &manager("me", Operation::Apply), false).unwrap();
    assert_eq!(owners(&applied, BEFORE_FIRST_APPLY)["f:metadata"], json!({"f:labels":{".":{},"f:a":{}}}));
    let again = apply(&schema, Some(&applied), &wanted, &manager("other", Operation::Apply), false).unwrap();
    let entries = again.pointer("/metadata/managedFields").and_then(Value::as_array).unwrap();
    let other = entries.iter().find(|entry| entry["manager"] == "other").unwrap();
    assert_eq!(other.get("time"), None, "it changed nothing");
}

#[test]
fn a_client_makes_managers_forgotten() {
    let schema = deployment();
    let mut live = config(1, json!({}), json!([]));
    track_update(&schema, None, &mut live, &manager("first", Operation::Update));
    let of_status = Manager { subresource: "status".into(), ..manager("second", Operation::Update) };
    for (sent, by, kept) in [
        (json!([]), manager("second", Operation::Update), false),
        (json!([{}]), manager("second", Operation::Update), false),
        (json!([]), of_status, true),
    ] {
        let mut new = live.clone();
        new["metadata"]["managedFields"] = sent;
        track_update(&schema, Some(&live), &mut new, &by);
        assert_eq!(new.pointer("/metadata/managedFields").is_some(), kept);
    }
}

#[test]
fn updates_are_capped() {
    let schema = deployment();
    let mut live = config(0, json!({}), json!([]));
    for at in 0..25 {
        let mut new = live.clone();
        new["metadata"]["labels"][format!("l{at}")] = "x".into();
        let me =
            Manager { time: format!("2026-01-01T00:00:{at:02}Z"), ..manager(&format!("m{at:02}"), Operation::Update) };
        let before = live.clone();
        track_update(&schema, (at > 0).then_some(&before), &mut new, &me);
        live = new;
    }
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array).unwrap();
    assert_eq!(entries.len(), 10);
    assert!(entries.iter().any(|entry| entry["manager"] == "ancient-changes"));
}

#[test]
fn order_of_merged_lists() {
    let pod = builtin("v1", "Pod").unwrap();
    let list = |names: &str| json!({"spec":{"containers":names.chars().map(|c| json!({"name":c.to_string()})).collect::<Vec<_>>()}});
    for (live, config, expected) in [
        ("ab", "c", "abc"),
        ("ab", "bc", "abc"),
        ("abx", "cb", "acbx"),
        ("ab", "ba", "ba"),
        ("abc", "cxa", "cxab"),
        ("", "ab", "ab"),
    ] {
        let mut merged = list(live);
        typed::merge(&mut merged, &list(config), &pod.root);
        let names: String = merged["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap())
            .collect();
        let mut sorted: Vec<char> = names.chars().collect();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), names.len(), "{live}+{config}={names}");
        assert_eq!(names.len(), expected.len(), "{live}+{config}={names}");
        if live != "abc" {
            assert_eq!(names, expected, "{live}+{config}");
        }
    }
}

proptest! {
    /// Applying the same thing twice changes nothing, whatever was there.
    #[test]
    fn apply_is_idempotent(
        replicas in 0i64..3,
        labels in prop::collection::btree_map("[a-c]", "[xy]", 0..3),
        mine in prop::collection::btree_map("[a-c]", "[12]", 0..3),
        theirs in prop::collection::btree_map("[a-c]", "[12]", 0..3),
    ) {
        let schema = deployment();
        let containers = |images: std::collections::BTreeMap<String, String>| {
            Value::from(images.into_iter().map(|(name, image)| json!({"name":name,"image":image})).collect::<Vec<_>>())
        };
        let mut live = config(1, json!({"a":"x"}), containers(theirs));
        track_update(&schema, None, &mut live, &manager("them", Operation::Update));
        let wanted = config(replicas, json!(labels), containers(mine));
        let me = manager("me", Operation::Apply);
        let mut once = apply(&schema, Some(&live), &wanted, &me, true).unwrap();
        apply_defaults(&schema, &mut once);
        let later = Manager { time: "2027-01-01T00:00:00Z".into(), ..me };
        let mut twice = apply(&schema, Some(&once), &wanted, &later, false).unwrap();
        apply_defaults(&schema, &mut twice);
        prop_assert_eq!(once, twice);
    }
}

#[test]
fn what_the_model_does_not_declare_is_named() {
    let schema = crate::builtin("apps/v1", "Deployment").unwrap();
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n", "mine": 1},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "imagee": "x"}]}}}});
    assert_eq!(
        declared(&schema, &config).unwrap_err(),
        "failed to create typed patch object (n/d; apps/v1, Kind=Deployment): errors:\n  .metadata.mine: field not declared \
         in schema\n  .spec.template.spec.containers[name=\"c\"].imagee: field not declared in schema"
    );
    for (spec, wrong) in [
        (json!({"replicas": "x"}), ".spec.replicas: expected numeric (int or float), got string"),
        (json!({"paused": 1}), ".spec.paused: expected boolean, got &{1}"),
        (json!({"template": {"spec": {"containers": "x"}}}), ".spec.template.spec.containers: expected list, got &{x}"),
        // One of an object is enough.
        (json!({"a": 1, "b": 2}), ".spec.a: field not declared in schema"),
        (
            json!({"selector": {"matchLabels": {"a": {"x": true}}}}),
            ".spec.selector.matchLabels.a: expected string, got &value.valueUnstructured{Value:map[string]interface \
             {}{\"x\":true}}",
        ),
        (json!({"selector": ["x"]}), ".spec.selector: expected map, got &{[x]}"),
        (
            json!({"selector": {"matchLabels": {"a": 1}}}),
            ".spec.selector.matchLabels.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
    ] {
        let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec});
        let text = format!("failed to create typed patch object (/d; apps/v1, Kind=Deployment): {wrong}");
        assert_eq!(declared(&schema, &config), Err(text));
    }
    let known = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 1}});
    assert_eq!(declared(&schema, &known), Ok(()));
}
