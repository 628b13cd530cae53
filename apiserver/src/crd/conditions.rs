//! What upstream's controllers say of a definition: which of its names are its own, whether it is served, whether its schemas
//! are structural, whether the community has approved of it
//! (`apiextensions-apiserver/pkg/controller/{status,establish,nonstructuralschema,apiapproval}`).
//!
//! A name belongs to whom it was accepted for first, within its group; the others get theirs when it is free again.

use std::collections::{BTreeMap, BTreeSet};

use schema::field::{Error, ErrorList, Path};
use serde_json::{Value, json};

use crate::access::file::aggregate;
use crate::app::text;
use crate::kinds::validate::definition::{Approval, check_ca_bundle};
use crate::registry::object;

const NAMES: &str = "NamesAccepted";
const ESTABLISHED: &str = "Established";
const APPROVED: &str = "KubernetesAPIApprovalPolicyConformant";
const NON_STRUCTURAL: &str = "NonStructuralSchema";
const TERMINATING: &str = "Terminating";

/// The single names: field, what they are among, and the reason when they are taken.
const SINGLE: [(&str, Pool, &str); 4] = [
    ("plural", Pool::Resources, "PluralConflict"),
    ("singular", Pool::Resources, "SingularConflict"),
    ("kind", Pool::Kinds, "KindConflict"),
    ("listKind", Pool::Kinds, "ListKindConflict"),
];
/// Where short names stand among them: of several conflicts the last one is told.
const BEFORE_KINDS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pool {
    Resources,
    Kinds,
}

/// The names that the definitions of a group hold.
struct Taken(BTreeSet<(Pool, String)>);

impl Taken {
    fn of<'a>(definitions: impl Iterator<Item = &'a Value>) -> Self {
        let mut taken = BTreeSet::new();
        for definition in definitions {
            let names = &definition["status"]["acceptedNames"];
            taken.extend(SINGLE.map(|(field, pool, _)| (pool, word(names, field).to_owned())));
            taken.extend(short_names(names).map(|name| (Pool::Resources, name.to_owned())));
        }
        Self(taken)
    }

    fn conflict(&self, pool: Pool, wanted: &str, own: &str) -> Option<String> {
        let taken = wanted != own && self.0.contains(&(pool, wanted.to_owned()));
        taken.then(|| format!("{wanted:?} is already in use"))
    }
}

fn word<'a>(names: &'a Value, field: &str) -> &'a str {
    names[field].as_str().unwrap_or_default()
}

fn short_names(names: &Value) -> impl Iterator<Item = &str> {
    names["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Whether some name it asks for is not its own.
#[must_use]
pub fn wants_names(definition: &Value) -> bool {
    definition["spec"]["names"] != definition["status"]["acceptedNames"]
}

/// Brings the status of a definition up to date; `all` are the definitions there are.
pub fn settle(definition: &mut Value, all: &BTreeMap<String, Value>) {
    if wants_names(definition) {
        names(definition, all);
    }
    structure(definition);
    if is(definition, NAMES) && !is(definition, ESTABLISHED) {
        match check_ca_bundle(definition) {
            Ok(()) => {
                set(definition, ESTABLISHED, true, "InitialNamesAccepted", "the initial names have been accepted");
            }
            Err(_) => {
                let why = "The conversion webhook CABundle is invalid";
                set(definition, ESTABLISHED, false, "InvalidCABundle", why);
            }
        }
    }
    let (yes, reason, why) = match Approval::of(definition) {
        Approval::NotNeeded => return,
        Approval::Approved(why) => (true, "ApprovedAnnotation", why),
        Approval::Bypassed(why) => (false, "UnapprovedAnnotation", why),
        Approval::Invalid(why) => (false, "InvalidAnnotation", why),
        Approval::Missing(why) => (false, "MissingAnnotation", why),
    };
    set(definition, APPROVED, yes, reason, &why);
}

/// Says where schemas are not structural. None can become so by a write of ours, so what is established and keeps no unknown
/// fields has been judged before.
fn structure(definition: &mut Value) {
    let known = find(definition, NON_STRUCTURAL).is_some();
    let preserve = definition["spec"]["preserveUnknownFields"] == true;
    if !known && !preserve && is(definition, ESTABLISHED) {
        return;
    }
    let path = Path::new("spec");
    let mut errors = ErrorList::new();
    if preserve {
        errors.push(Error::invalid(&path.child("preserveUnknownFields"), true, "must be false"));
    }
    for (index, version) in definition["spec"]["versions"].as_array().into_iter().flatten().enumerate() {
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema.is_null() {
            continue;
        }
        let at = path.child("versions").index(index).child("schema").child("openAPIV3Schema");
        match schema::crd::violations(&at, schema) {
            Ok(found) => errors.extend(found),
            Err(why) => {
                let name = text(version, "/name");
                let why = format!("failed to check validation schema for version {name}: {why}");
                return set_as(definition, NON_STRUCTURAL, "Unknown", "StructuralError", &why);
            }
        }
    }
    if !errors.is_empty() {
        set(definition, NON_STRUCTURAL, true, "Violations", &aggregate(&errors));
    } else if known && let Some(conditions) = definition["status"]["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] != NON_STRUCTURAL);
    }
}

/// Accepts what names are free.
fn names(definition: &mut Value, all: &BTreeMap<String, Value>) {
    let group = text(definition, "/spec/group");
    let taken = Taken::of(all.values().filter(|other| text(other, "/spec/group") == group));
    let wanted = definition["spec"]["names"].clone();
    let own = definition["status"]["acceptedNames"].clone();
    let mut accepted = own.clone();
    let mut conflict = None;
    for (at, (field, pool, reason)) in SINGLE.into_iter().enumerate() {
        if at == BEFORE_KINDS {
            match taken_short_names(&taken, &wanted, &own) {
                Some(why) => conflict = Some(("ShortNamesConflict", why)),
                None => put(&mut accepted, "shortNames", &wanted["shortNames"]),
            }
        }
        match taken.conflict(pool, word(&wanted, field), word(&own, field)) {
            Some(why) => conflict = Some((reason, why)),
            None => put(&mut accepted, field, &wanted[field]),
        }
    }
    put(&mut accepted, "categories", &wanted["categories"]);
    for field in ["plural", "kind"] {
        if accepted[field].is_null() {
            accepted[field] = "".into();
        }
    }
    definition["status"]["acceptedNames"] = accepted;
    match conflict {
        None => set(definition, NAMES, true, "NoConflicts", "no conflicts found"),
        Some((reason, why)) => {
            set(definition, NAMES, false, reason, &why);
            if find(definition, ESTABLISHED).is_none() {
                set(definition, ESTABLISHED, false, "NotAccepted", "not all names are accepted");
            }
        }
    }
}

/// Short names are accepted all or none.
fn taken_short_names(taken: &Taken, wanted: &Value, own: &Value) -> Option<String> {
    let foreign = short_names(wanted).filter(|name| !short_names(own).any(|own| own == *name));
    let conflicts: BTreeSet<String> = foreign.filter_map(|name| taken.conflict(Pool::Resources, name, "")).collect();
    let told: Vec<String> = conflicts.into_iter().collect();
    match told.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("[{}]", several.join(", "))),
    }
}

fn put(names: &mut Value, field: &str, value: &Value) {
    if !value.is_null() {
        names[field] = value.clone();
    } else if let Some(names) = names.as_object_mut() {
        names.remove(field);
    }
}

fn find<'a>(definition: &'a Value, name: &str) -> Option<&'a Value> {
    definition["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}

fn is(definition: &Value, name: &str) -> bool {
    find(definition, name).is_some_and(|condition| condition["status"] == "True")
}

#[must_use]
pub fn is_established(definition: &Value) -> bool {
    is(definition, ESTABLISHED)
}

#[must_use]
pub fn is_terminating(definition: &Value) -> bool {
    is(definition, TERMINATING)
}

/// How far the removal of a definition's objects is.
#[derive(Clone, Copy)]
pub enum Removal {
    Pending,
    InProgress,
}

pub fn terminating(definition: &mut Value, removal: Removal) {
    let (reason, why) = match removal {
        Removal::Pending => (
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        ),
        Removal::InProgress => ("InstanceDeletionInProgress", "CustomResource deletion is in progress"),
    };
    set(definition, TERMINATING, true, reason, why);
}

fn set(definition: &mut Value, name: &str, yes: bool, reason: &str, message: &str) {
    set_as(definition, name, if yes { "True" } else { "False" }, reason, message);
}

fn set_as(definition: &mut Value, name: &str, status: &str, reason: &str, message: &str) {
    if !definition["status"]["conditions"].is_array() {
        definition["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = definition["status"]["conditions"].as_array_mut() else { return };
    let Some(condition) = conditions.iter_mut().find(|condition| condition["type"] == name) else {
        conditions.push(json!({
            "type": name, "status": status, "lastTransitionTime": object::now(), "reason": reason, "message": message,
        }));
        return;
    };
    if condition["status"] != status {
        condition["lastTransitionTime"] = object::now().into();
    }
    condition["status"] = status.into();
    condition["reason"] = reason.into();
    condition["message"] = message.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, names: Value) -> Value {
        let mut all = json!({ "plural": plural, "singular": plural.trim_end_matches('s'), "kind": plural, "listKind": format!("{plural}List") });
        all.as_object_mut().unwrap().extend(names.as_object().unwrap().clone());
        json!({ "metadata": { "name": format!("{plural}.x.dev") }, "spec": { "group": "x.dev", "names": all },
            "status": { "conditions": null, "acceptedNames": { "plural": "", "kind": "" } } })
    }

    fn told(definition: &Value, name: &str) -> (String, String, String) {
        let condition = find(definition, name).cloned().unwrap_or_default();
        let field = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
        (field("status"), field("reason"), field("message"))
    }

    #[test]
    fn names_belong_to_who_came_first() {
        let mut first = definition("as", json!({ "kind": "A", "listKind": "AList", "shortNames": ["x", "y"] }));
        settle(&mut first, &BTreeMap::new());
        assert_eq!(first["status"]["acceptedNames"], first["spec"]["names"]);
        assert!(is_established(&first));
        let all = BTreeMap::from([("as.x.dev".to_owned(), first.clone())]);
        for (names, reason, why, accepted) in [
            (
                json!({ "kind": "A", "singular": "as" }),
                "KindConflict",
                "\"A\" is already in use",
                json!({ "plural": "bs", "kind": "", "listKind": "bsList" }),
            ),
            (
                json!({ "shortNames": ["y", "x", "z"] }),
                "ShortNamesConflict",
                "[\"x\" is already in use, \"y\" is already in use]",
                json!({ "plural": "bs", "singular": "b", "kind": "bs", "listKind": "bsList" }),
            ),
            (
                json!({ "singular": "x", "listKind": "A", "categories": ["c"] }),
                "ListKindConflict",
                "\"A\" is already in use",
                json!({ "plural": "bs", "kind": "bs", "categories": ["c"] }),
            ),
        ] {
            let mut second = definition("bs", names);
            settle(&mut second, &all);
            assert_eq!(told(&second, NAMES), ("False".to_owned(), reason.to_owned(), why.to_owned()));
            assert_eq!(told(&second, ESTABLISHED).1, "NotAccepted");
            assert_eq!(second["status"]["acceptedNames"], accepted);
            settle(&mut second, &BTreeMap::new());
            assert_eq!(told(&second, NAMES).1, "NoConflicts");
            assert_eq!(second["status"]["acceptedNames"], second["spec"]["names"]);
            assert!(is_established(&second));
        }
        // Who is established stays so.
        first["spec"]["names"]["shortNames"] = json!(["z"]);
        let other = json!({ "spec": { "group": "x.dev" }, "status": { "acceptedNames": { "shortNames": ["z"] } } });
        settle(&mut first, &BTreeMap::from([("cs.x.dev".to_owned(), other)]));
        assert_eq!(told(&first, NAMES).1, "ShortNamesConflict");
        assert_eq!(first["status"]["acceptedNames"]["shortNames"], json!(["x", "y"]));
        assert!(is_established(&first));
    }

    #[test]
    fn groups_of_the_community() {
        for (word, expected) in [
            ("https://k8s.io/pull/1", ("True", "ApprovedAnnotation", "approved in https://k8s.io/pull/1")),
            ("unapproved, new", ("False", "UnapprovedAnnotation", "not approved: \"unapproved, new\"")),
        ] {
            let mut definition = definition("as", json!({}));
            definition["spec"]["group"] = "x.k8s.io".into();
            definition["metadata"]["annotations"] = json!({ "api-approved.kubernetes.io": word });
            settle(&mut definition, &BTreeMap::new());
            let (status, reason, why) = told(&definition, APPROVED);
            assert_eq!((status.as_str(), reason.as_str(), why.as_str()), expected);
        }
    }

    #[test]
    fn schemas_are_structural_or_not() {
        let field = |name: &str| format!("spec.versions[0].schema.openAPIV3Schema.{name}");
        let typeless = "type: Required value: must not be empty for specified object fields";
        let preserved = "spec.preserveUnknownFields: Invalid value: true: must be false";
        let object = json!({ "type": "object" });
        let loose = json!({ "type": "object", "properties": { "a": {} } });
        let opaque = json!({ "$ref": "a" });
        for (preserve, schema, expected) in [
            (json!(false), &object, None),
            (json!(null), &Value::Null, None),
            (json!(true), &object, Some(("True", "Violations", preserved.to_owned()))),
            (json!(false), &loose, Some(("True", "Violations", field("properties[a].") + typeless))),
            (
                json!(true),
                &loose,
                Some(("True", "Violations", format!("[{preserved}, {}{typeless}]", field("properties[a].")))),
            ),
            (
                json!(true),
                &opaque,
                Some((
                    "Unknown",
                    "StructuralError",
                    "failed to check validation schema for version v1: OpenAPIV3Schema '$ref' is not supported"
                        .to_owned(),
                )),
            ),
        ] {
            let mut definition = definition("as", json!({}));
            definition["spec"]["preserveUnknownFields"] = preserve.clone();
            definition["spec"]["versions"] = json!([{ "name": "v1", "schema": { "openAPIV3Schema": schema } }]);
            settle(&mut definition, &BTreeMap::new());
            let expected = expected.map(|(status, reason, why)| (status.to_owned(), reason.to_owned(), why));
            assert_eq!(told(&definition, NON_STRUCTURAL), expected.unwrap_or_default(), "{preserve} {schema}");
            assert!(is_established(&definition));
            // It goes when there is no reason for it any more.
            definition["spec"]["preserveUnknownFields"] = false.into();
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = object.clone();
            settle(&mut definition, &BTreeMap::new());
            assert!(find(&definition, NON_STRUCTURAL).is_none());
            assert!(is_established(&definition));
        }
    }
}
