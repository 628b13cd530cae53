//! Promises that hold for the whole table, whatever the kind.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

/// Objects no decoder would let through, and some that it would.
fn odd_objects() -> Vec<Value> {
    let odd = [json!(null), json!(3), json!("x"), json!([]), json!([null]), json!(["x"]), json!({}), json!([{}])];
    let places = [
        "metadata",
        "metadata.labels",
        "metadata.annotations",
        "spec",
        "spec.template",
        "spec.template.spec",
        "spec.containers",
        "spec.initContainers",
        "spec.volumes",
        "spec.ports",
        "spec.rules",
        "spec.selector",
        "spec.type",
        "spec.clusterIPs",
        "spec.versions",
        "spec.metrics",
        "spec.jobTemplate",
        "spec.capacity",
        "spec.limits",
        "spec.affinity",
        "spec.tolerations",
        "spec.strategy",
        "spec.policyTypes",
        "spec.ingress",
        "spec.podCIDRs",
        "status",
        "status.conditions",
        "subsets",
        "endpoints",
        "ports",
        "rules",
        "subjects",
        "roleRef",
        "webhooks",
        "data",
        "stringData",
        "involvedObject",
    ];
    let mut all = odd.to_vec();
    for place in places {
        for value in &odd {
            let mut object = json!({"metadata": {"name": "x"}});
            json::Json::put(&mut object, place, value.clone());
            all.push(object);
        }
    }
    all
}

#[test]
fn names_and_paths_are_unique() {
    let mut urls = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for kind in all() {
        assert!(urls.insert((kind.group, kind.plural)), "{} twice", kind.plural);
        let events = kind.kind == "Event" && !kind.group.is_empty();
        assert!(!kind.is_stored() || events || keys.insert(kind.registry), "two kinds below {}", kind.registry);
        assert!(kind.verbs.is_sorted(), "verbs of {}", kind.plural);
        assert!(kind.subresources.is_sorted_by_key(|s| s.name), "subresources of {}", kind.plural);
        assert!(kind.versions.contains(&kind.storage_version));
        assert_eq!(kind.singular, kind.kind.to_lowercase());
        let status = kind.subresources.iter().any(|s| s.name == "status");
        assert_eq!(kind.strategy.has_status, status, "status of {}", kind.plural);
    }
}

#[test]
fn nothing_panics_and_defaults_settle() {
    let objects = odd_objects();
    for kind in all() {
        let rules = &kind.strategy;
        for object in &objects {
            let mut object = object.clone();
            if let Some(default) = rules.default {
                default(&mut object);
                let once = object.clone();
                default(&mut object);
                assert_eq!(object, once, "defaults of {} do not settle", kind.kind);
            }
            if let Some(prepare) = rules.prepare_create {
                prepare(&mut object);
            }
            let old = object.clone();
            if let Some(prepare) = rules.prepare_update {
                prepare(&mut object, &old);
            }
            if let Some(validate) = rules.validate {
                validate(&object);
            }
            for path in ["", "status", "resize", "ephemeralcontainers"] {
                if let Some(rule) = rules.update_rule(path) {
                    assert_eq!(rule(&object, &object.clone()), vec![], "{} may stay as it is", kind.kind);
                    rule(&object, &json!({}));
                }
            }
            if let Some(warnings) = rules.warnings {
                warnings(&object);
            }
            for column in kind.table_columns() {
                (column.cell)(&object, 0);
            }
            for (_, field) in kind.fields {
                field(&object);
            }
            for version in kind.versions {
                kind.convert(&mut object, &kind.api_version(version));
            }
            kind.convert(&mut object, &kind.storage_api_version());
        }
    }
}

#[test]
fn metadata_checks_are_total() {
    for object in odd_objects() {
        let _ = validate::meta::create(&object, true, NameRule::Subdomain);
        let _ = validate::meta::update(&object, &json!({}));
    }
}

/// What the project itself applies must pass its own rules, field by field.
#[test]
fn the_manifests_of_this_repository_are_valid() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let mut files: Vec<_> = ["system", "demo", "exercises"]
        .iter()
        .filter_map(|name| std::fs::read_dir(folder.join(name)).ok())
        .flat_map(|entries| entries.map(|entry| entry.expect("a readable folder").path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    files.sort();
    for file in files {
        // The launcher fills in what depends on the cluster.
        let text = std::fs::read_to_string(&file).expect("a readable file").replace("@DNS_IP@", "10.96.0.10");
        for document in text.split("\n---") {
            check_manifest(&file, document);
        }
    }
}

fn check_manifest(file: &std::path::Path, document: &str) {
    let head: Value = serde_saphyr::from_str(document).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let version = head["apiVersion"].as_str().unwrap_or_default();
    let kind = all().iter().find(|k| k.kind == head["kind"] && k.versions.iter().any(|v| k.api_version(v) == version));
    let Some(kind) = kind else { return };
    let schema = schema::builtin(version, kind.kind).expect("every built-in kind has a schema");
    let decoded = schema::decode::yaml(document.as_bytes(), Some(&schema), schema::decode::FieldValidation::Strict);
    let mut object = decoded.unwrap_or_else(|e| panic!("{}: {e:?}", file.display())).value;
    schema::apply_defaults(&schema, &mut object);
    let rules = &kind.strategy;
    if let Some(default) = rules.default {
        default(&mut object);
    }
    if let Some(prepare) = rules.prepare_create {
        prepare(&mut object);
    }
    let mut errors = validate::meta::create(&object, false, rules.name);
    errors.retain(|error| error.field.to_string() != "metadata.namespace");
    errors.extend(schema::validate(&schema, &object));
    errors.extend(rules.validate.map(|f| f(&object)).unwrap_or_default());
    let name = &object["metadata"]["name"];
    assert!(errors.is_empty(), "{} {name} of {}: {:#?}", kind.kind, file.display(), validate::texts(&errors));
}
