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
            for validate in [rules.validate, rules.validate_create].into_iter().flatten() {
                validate(&object);
            }
            for path in ["", "status", "resize", "ephemeralcontainers"] {
                if let Some(rule) = rules.update_rule(path) {
                    let found = rule(&object, &object.clone());
                    // A status is judged as it is, whatever it was; and what was wrong from the beginning may be told again.
                    let own = [rules.validate, rules.validate_create];
                    let wrong = own.into_iter().flatten().any(|validate| !validate(&object).is_empty());
                    let stays = path == "status" || wrong || found.is_empty();
                    assert!(stays, "{} may stay as it is: {found:?}", kind.kind);
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
    errors.extend([rules.validate, rules.validate_create].into_iter().flatten().flat_map(|f| f(&object)));
    let name = &object["metadata"]["name"];
    assert!(errors.is_empty(), "{} {name} of {}: {:#?}", kind.kind, file.display(), validate::texts(&errors));
}

/// Something for every field a kind has, or for most; words that columns ask for among the texts.
struct Filling(u64);

impl Filling {
    fn below(&mut self, n: usize) -> usize {
        // Knuth's MMIX generator: the same objects in every run.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % n
    }

    fn value(&mut self, node: &schema::model::Node, depth: usize) -> Value {
        use schema::model::{Scalar, Shape};
        const WORDS: &[&str] = &[
            "Always",
            "True",
            "Ready",
            "Initialized",
            "PodScheduled",
            "SchedulingGated",
            "NodeLost",
            "Completed",
            "x",
            "y",
        ];
        match &node.shape {
            Shape::Scalar(Scalar::Bool) => (self.below(2) == 0).into(),
            Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double) => self.below(3).into(),
            Shape::Scalar(Scalar::Time | Scalar::MicroTime) => format!("1970-01-01T00:0{}:00Z", self.below(10)).into(),
            Shape::Scalar(_) => WORDS[self.below(WORDS.len())].into(),
            Shape::Any(_) | Shape::Union(_) => json!({ "any": self.below(3) }),
            Shape::List { items, .. } => (0..self.below(4)).map(|_| self.value(items, depth)).collect(),
            Shape::Map { values, .. } => {
                (0..self.below(3)).map(|n| (format!("key{n}"), self.value(values, depth))).collect()
            }
            Shape::Struct { .. } if depth == 0 => json!({}),
            Shape::Struct { of, .. } => {
                let kept: Vec<_> = of.fields.iter().filter(|_| self.below(4) > 0).collect();
                kept.iter().map(|field| (field.name.to_string(), self.value(&field.node, depth - 1))).collect()
            }
        }
    }
}

#[test]
fn the_columns_look_at_what_they_say_and_at_nothing_else() {
    let mut filling = Filling(1);
    for kind in all().iter().filter(|kind| !kind.columns_read.is_empty()) {
        let schema = schema::builtin(&kind.storage_api_version(), kind.kind).expect("every built-in kind has a schema");
        let pick = crate::registry::pick::Pick::only(kind.columns_read.iter().map(|path| path.split('.')));
        let mut seen: std::collections::BTreeMap<&str, BTreeSet<String>> = std::collections::BTreeMap::new();
        for _ in 0..2000 {
            let whole = filling.value(schema.root(), 8);
            let part = pick.read(whole.to_string().as_bytes()).expect("JSON");
            for column in kind.table_columns() {
                let cell = (column.cell)(&whole, 1000);
                assert_eq!((column.cell)(&part, 1000), cell, "{} of {}: {whole:#}", column.name, kind.kind);
                seen.entry(column.name).or_default().insert(cell.to_string());
            }
        }
        for (column, cells) in seen {
            assert!(cells.len() > 1, "the objects never differ in {column}: {cells:?}");
        }
    }
}

#[test]
fn the_selectable_fields_look_at_what_they_say_and_at_nothing_else() {
    let mut filling = Filling(2);
    for kind in all().iter().filter(|kind| !kind.fields.is_empty()) {
        let schema = schema::builtin(&kind.storage_api_version(), kind.kind).expect("every built-in kind has a schema");
        let pick = crate::registry::pick::Pick::only(kind.fields_paths().map(|path| path.split('.')));
        for _ in 0..1000 {
            let whole = filling.value(schema.root(), 6);
            let part = pick.read(whole.to_string().as_bytes()).expect("JSON");
            for (name, field) in kind.fields {
                assert_eq!(field(&part), field(&whole), "{name} of {}: {whole:#}", kind.kind);
            }
        }
    }
}

/// So an update that nothing is prepared for need not be filled again.
#[test]
fn what_is_filled_is_full() {
    let mut filling = Filling(3);
    for kind in all().iter().filter(|kind| kind.is_stored()) {
        for version in kind.versions {
            let resource = crate::registry::resource::Resource::built_in(kind, version);
            let Some(schema) = resource.schema() else { continue };
            for object in odd_objects().into_iter().chain((0..200).map(|_| filling.value(schema.root(), 6))) {
                let mut once = object.clone();
                crate::registry::create::fill_as(&resource, &mut once);
                let mut twice = once.clone();
                crate::registry::create::fill_as(&resource, &mut twice);
                assert!(twice == once, "{} {}: {object:#}", resource.api_version(), kind.kind);
            }
        }
    }
}
