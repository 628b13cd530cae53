//! metadata of every object (`apimachinery/pkg/api/validation/objectmeta.go`). The REST code calls [`create`] and [`update`]
//! for all kinds, custom ones too; the rest serves templates.

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::go::quote;
use schema::names;
use serde_json::Value;

use super::super::NameRule;
use super::super::internal;
use super::super::json::Json;
use super::{immutable, named};

/// All annotations of an object together.
const ANNOTATIONS_SIZE: usize = 256 * 1024;

/// Checks `metadata` by itself, of a kind that is namespaced or not and whose names follow `rule`.
#[must_use]
pub fn create(object: &Value, namespaced: bool, rule: NameRule) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("metadata");
    let meta = object.at("metadata");
    generate_name(&mut errors, object, rule);
    match meta.text("name") {
        "" => errors.push(Error::required(&path.child("name"), "name or generateName is required")),
        name => {
            for message in name_messages(rule, name, false) {
                errors.push(Error::invalid(&path.child("name"), name, message));
            }
        }
    }
    let namespace = meta.text("namespace");
    let at = path.child("namespace");
    match (namespaced, namespace) {
        (true, "") => errors.push(Error::required(&at, "")),
        (true, namespace) => named(&mut errors, &at, namespace, names::dns1123_label),
        (false, "") => {}
        (false, _) => errors.push(Error::forbidden(&at, "not allowed on this type")),
    }
    body(&mut errors, &path, meta);
    errors
}

/// Checks what a name is to begin with.
fn generate_name(errors: &mut ErrorList, object: &Value, rule: NameRule) {
    let prefix = object.text("metadata.generateName");
    for message in if prefix.is_empty() { Vec::new() } else { name_messages(rule, prefix, true) } {
        errors.push(Error::invalid(&Path::new("metadata").child("generateName"), prefix, message));
    }
}

/// Checks the metadata of a resource within another, of whose kind nothing is known.
#[must_use]
pub fn embedded_resource(path: &Path, meta: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["generateName", "name"] {
        let name = meta.text(field);
        for message in if name.is_empty() { Vec::new() } else { names::path_segment(name) } {
            errors.push(Error::invalid(&path.child(field), name, message));
        }
    }
    if !meta.text("namespace").is_empty() {
        named(&mut errors, &path.child("namespace"), meta.text("namespace"), names::dns1123_label);
    }
    body(&mut errors, path, meta);
    errors
}

/// Checks `metadata` of `new`, which is to replace `old`.
#[must_use]
pub fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("metadata");
    let (new, old) = (new.at("metadata"), old.at("metadata"));
    if old.has("deletionTimestamp") {
        let known = old.texts("finalizers");
        let added: Vec<String> =
            new.texts("finalizers").into_iter().filter(|f| !known.contains(f)).map(|f| format!("{f:?}")).collect();
        if !added.is_empty() {
            errors.push(Error::forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.join(", ")
                ),
            ));
        }
    }
    if new.text("resourceVersion").is_empty() {
        errors.push(Error::invalid(&path.child("resourceVersion"), "", "must be specified for an update"));
    }
    if new.int("generation") < old.int("generation") {
        errors.push(Error::invalid(&path.child("generation"), new.int("generation"), "must not be decremented"));
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        immutable(&mut errors, &path.child(field), new.at(field), old.at(field));
    }
    changeable(&mut errors, &path, new);
    errors
}

/// What a name may not be, in upstream's words. A generateName may end where the random part will follow.
#[must_use]
pub fn name_messages(rule: NameRule, name: &str, prefix: bool) -> Vec<String> {
    let masked;
    let name = if prefix && rule != NameRule::PathSegment && name.ends_with('-') {
        // The suffix to come is alphanumeric.
        masked = format!("{}a", &name[..name.len() - 1]);
        &masked
    } else {
        name
    };
    match rule {
        NameRule::Subdomain => names::dns1123_subdomain(name),
        NameRule::Label => names::dns1123_label(name),
        NameRule::Label1035 => names::dns1035_label(name),
        NameRule::PathSegment => names::path_segment(name),
    }
}

fn body(errors: &mut ErrorList, path: &Path, meta: &Value) {
    if meta.int("generation") < 0 {
        errors.push(Error::invalid(&path.child("generation"), meta.int("generation"), super::NOT_NEGATIVE));
    }
    changeable(errors, path, meta);
    finalizers(errors, &path.child("finalizers"), &meta.texts("finalizers"));
}

/// What an update asks of metadata anew.
fn changeable(errors: &mut ErrorList, path: &Path, meta: &Value) {
    labels(errors, &path.child("labels"), meta.at("labels"));
    annotations(errors, &path.child("annotations"), meta.at("annotations"));
    owners(errors, &path.child("ownerReferences"), meta.at("ownerReferences"));
}

pub fn labels(errors: &mut ErrorList, path: &Path, labels: &Value) {
    for (key, value) in labels.entries("") {
        named(errors, path, key, names::qualified_name);
        named(errors, path, value.as_str().unwrap_or_default(), names::label_value);
    }
}

pub fn annotations(errors: &mut ErrorList, path: &Path, annotations: &Value) {
    let mut size = 0;
    for (key, value) in annotations.entries("") {
        // Upper case is tolerated in the prefix of an annotation.
        for message in names::qualified_name(&key.to_lowercase()) {
            errors.push(Error::invalid(path, key.as_str(), message));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_SIZE {
        errors.push(Error::too_long(path, ANNOTATIONS_SIZE));
    }
}

/// Fields of an object's metadata that mean nothing in a template of one, as Go names them.
const NOT_IN_TEMPLATES: [(&str, &str); 13] = [
    ("name", "name"),
    ("generateName", "generateName"),
    ("namespace", "namespace"),
    ("selfLink", "selfLink"),
    ("uid", "uID"),
    ("resourceVersion", "resourceVersion"),
    ("generation", "generation"),
    ("creationTimestamp", "creationTimestamp"),
    ("deletionTimestamp", "deletionTimestamp"),
    ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
    ("ownerReferences", "ownerReferences"),
    ("finalizers", "finalizers"),
    ("managedFields", "managedFields"),
];

/// The metadata of an object that is yet to be made: labels and annotations, and nothing else.
pub fn embedded(errors: &mut ErrorList, path: &Path, meta: &Value) {
    annotations(errors, &path.child("annotations"), meta.at("annotations"));
    labels(errors, &path.child("labels"), meta.at("labels"));
    for (field, shown) in NOT_IN_TEMPLATES {
        let value = meta.at(field);
        // A period of nothing is one.
        let nothing = value == "" || (value == 0 && field != "deletionGracePeriodSeconds");
        if !value.is_null() && !nothing {
            errors.push(Error::forbidden(&path.child(shown), "cannot be set"));
        }
    }
}

const OWNER: &str = "apimachinery.pkg.apis.meta.v1.OwnerReference";

fn owners(errors: &mut ErrorList, path: &Path, owners: &Value) {
    let mut controller: Option<&str> = None;
    for owner in owners.list("") {
        let version = owner.text("apiVersion");
        let parts: Vec<&str> = version.split('/').collect();
        if parts.len() > 2 || parts.last().is_none_or(|version| version.is_empty()) {
            errors.push(Error::invalid(&path.child("apiVersion"), version, "version must not be empty"));
        }
        for field in ["kind", "name", "uid"] {
            if owner.text(field).is_empty() {
                errors.push(Error::invalid(&path.child(field), "", "must not be empty"));
            }
        }
        if version == "v1" && owner.text("kind") == "Event" {
            let shown = internal::compact(owner, OWNER);
            errors.push(Error::invalid_as(path, shown, "/v1, Kind=Event is disallowed from being an owner"));
        }
        if owner.yes("controller") {
            let name = owner.text("name");
            if let Some(first) = controller {
                errors.push(Error::invalid_as(
                    path,
                    internal::compact(owners, &format!("[]{OWNER}")),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and \
                         {name}"
                    ),
                ));
            }
            controller.get_or_insert(name);
        }
    }
}

fn finalizers(errors: &mut ErrorList, path: &Path, finalizers: &[&str]) {
    for finalizer in finalizers {
        named(errors, path, finalizer, names::qualified_name);
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        errors.push(Error::invalid(
            path,
            finalizers.to_vec(),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
}

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// Built-in kinds know what their finalizers are called (`pkg/apis/core/validation`: `validateKubeFinalizerName`).
pub fn built_in_finalizers(errors: &mut ErrorList, object: &Value) {
    let path = Path::new("metadata").child("finalizers");
    for (index, finalizer) in object.at("metadata").texts("finalizers").into_iter().enumerate() {
        let at = path.index(index);
        if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(&at, finalizer, detail));
        }
    }
}

/// Custom ones may be called anything, and who calls a new one so is told (`customresource/validator.go`).
#[must_use]
pub fn new_custom_finalizers(new: &Value, old: Option<&Value>) -> Vec<String> {
    let named = |object: &Value| -> BTreeSet<String> {
        object.at("metadata").texts("finalizers").into_iter().map(str::to_owned).collect()
    };
    let known = old.map(named).unwrap_or_default();
    let mut warnings = Vec::new();
    for finalizer in named(new).difference(&known) {
        let mut warn = |why: &str| warnings.push(format!("metadata.finalizers: {}: {why}", quote(finalizer)));
        names::qualified_name(finalizer).iter().for_each(|why| warn(why));
        if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer.as_str()) {
            let path = if finalizer.contains('.') { " including a path (/)" } else { "" };
            warn(&format!(
                "prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn names_and_namespaces() {
        let check =
            |meta: Value, namespaced| texts(&create(&json!({ "metadata": meta }), namespaced, NameRule::Subdomain));
        assert_eq!(check(json!({"name": "a.b", "namespace": "default"}), true), Vec::<String>::new());
        assert_eq!(check(json!({"generateName": "a-", "name": "a-x", "namespace": "d"}), true), Vec::<String>::new());
        assert_eq!(
            check(json!({}), true),
            ["metadata.name: Required value: name or generateName is required", "metadata.namespace: Required value"]
        );
        assert_eq!(
            check(json!({"name": "a", "namespace": "d"}), false),
            ["metadata.namespace: Forbidden: not allowed on this type"]
        );
        let upper = check(json!({"name": "A_", "namespace": "d"}), true);
        assert!(
            upper[0].starts_with("metadata.name: Invalid value: \"A_\": a lowercase RFC 1123 subdomain"),
            "{upper:?}"
        );
    }

    #[test]
    fn updates() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "3", "deletionTimestamp": "t"}});
        let mut new = old.clone();
        assert_eq!(update(&new, &old), vec![]);
        new["metadata"]["uid"] = json!("2");
        new["metadata"]["finalizers"] = json!(["x/y"]);
        assert_eq!(
            texts(&update(&new, &old)),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
                 finalizers []string{\"x/y\"}",
                "metadata.uid: Invalid value: \"2\": field is immutable"
            ]
        );
    }

    #[test]
    fn names_begin_as_names_do() {
        for (prefix, told) in [("a-", 0), ("", 0), ("BAD_", 1)] {
            let mut errors = ErrorList::new();
            generate_name(
                &mut errors,
                &json!({"metadata": {"name": "a", "generateName": prefix}}),
                NameRule::Subdomain,
            );
            assert_eq!(errors.len(), told, "{prefix}");
        }
    }

    #[test]
    fn finalizers_of_built_in_kinds_are_qualified() {
        let mut errors = ErrorList::new();
        let finalizers = json!(["a.b/c", "orphan", "kubernetes", "x", "/"]);
        built_in_finalizers(&mut errors, &json!({ "metadata": { "finalizers": finalizers } }));
        let expected = "metadata.finalizers[3]: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully \
                        qualified";
        assert_eq!(texts(&errors), [expected]);
    }

    #[test]
    fn owners_say_all() {
        let object = json!({"metadata": {"name": "a", "ownerReferences": [{}]}});
        let errors = texts(&create(&object, false, NameRule::Subdomain));
        let at = |field: &str, what: &str| format!("metadata.ownerReferences.{field}: Invalid value: \"\": {what}");
        let empty = "must not be empty";
        let expected =
            [at("apiVersion", "version must not be empty"), at("kind", empty), at("name", empty), at("uid", empty)];
        assert_eq!(errors, expected);
        let event = |controller: Value| json!({"kind": "Event", "apiVersion": "v1", "name": "e", "uid": "u", "controller": controller});
        let object = json!({"metadata": {"name": "a", "ownerReferences": [event(json!(true)), event(json!(true)),
            {"apiVersion": "a/b/c", "kind": "X", "name": "x", "uid": "v"}]}});
        let shown = r#"{"apiVersion":"v1","kind":"Event","name":"e","uid":"u","controller":true}"#;
        let refused = format!(
            "metadata.ownerReferences: Invalid value: {shown}: /v1, Kind=Event is disallowed from being an owner"
        );
        let errors = texts(&create(&object, false, NameRule::Subdomain));
        assert_eq!(errors[..2], [refused.clone(), refused]);
        assert!(
            errors[2].starts_with(&format!("metadata.ownerReferences: Invalid value: [{shown},{shown},")),
            "{}",
            errors[2]
        );
        assert_eq!(
            errors[3],
            "metadata.ownerReferences.apiVersion: Invalid value: \"a/b/c\": version must not be empty"
        );
    }

    #[test]
    fn a_template_gives_no_lists_be_they_empty() {
        let mut errors = ErrorList::new();
        embedded(&mut errors, &Path::new("metadata"), &json!({"labels": {}, "finalizers": [], "name": ""}));
        assert_eq!(texts(&errors), ["metadata.finalizers: Forbidden: cannot be set"]);
    }

    #[test]
    fn two_controllers() {
        let owner = |name| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "u", "controller": true});
        let object = json!({"metadata": {"name": "a", "ownerReferences": [owner("x"), owner("y")]}});
        let errors = texts(&create(&object, false, NameRule::Subdomain));
        assert_eq!(errors.len(), 1);
        assert!(errors[0].ends_with("Found \"true\" in references for x and y"));
    }
}
