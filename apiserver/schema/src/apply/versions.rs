//! Managers of one object in several versions of its API. What each has are paths in the version it wrote in, so a change is looked
//! at in all of these (structured-merge-diff's `merge.Converter`).
//!
//! This crate converts nothing, and waits for nobody: what has not been converted yet it asks for ([`Missing::Later`]), and is run
//! again when it is there.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ApplyError;
use super::managers::Managed;
use super::set::Set;
use super::typed::{self, Comparison};
use crate::Schema;

/// An object in one version of its API, and the model of that version.
#[derive(Clone)]
pub struct Versioned {
    pub object: Value,
    pub schema: Schema,
}

/// Why an object is not there in another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// There is no such version, or none any more: nobody manages anything in it.
    Version,
    /// The caller is to get it, and to try again.
    Later(Box<Wanted>),
    Failed(String),
}

/// An object that is asked for in another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub object: Value,
    pub to: String,
}

pub trait Converter {
    /// `object`, whichever version it has now, as one of the apiVersion `to`.
    ///
    /// # Errors
    /// See [`Missing`].
    fn convert(&self, object: &Value, to: &str) -> Result<Versioned, Missing>;
}

/// Objects that are the same in every version but for its name.
pub struct Alike<'a>(pub &'a Schema);

impl Converter for Alike<'_> {
    fn convert(&self, object: &Value, to: &str) -> Result<Versioned, Missing> {
        let mut object = object.clone();
        object["apiVersion"] = to.into();
        Ok(Versioned { object, schema: self.0.clone() })
    }
}

/// What a write does to the fields of one version.
pub(super) struct Change {
    /// Added, or of another value.
    pub changed: Set,
    /// These, and what is removed.
    pub lost: Set,
}

impl From<Comparison> for Change {
    fn from(comparison: Comparison) -> Self {
        let Comparison { added, modified: mut changed, removed, .. } = comparison;
        changed.unite(&added);
        let mut lost = changed.clone();
        lost.unite(&removed);
        Self { changed, lost }
    }
}

/// Whether entries of `managedFields` name a version besides `own`.
pub(super) fn has_others(entries: &Value, own: &str) -> bool {
    entries.as_array().into_iter().flatten().any(|entry| entry["apiVersion"] != own)
}

/// The object that is there, in each other version than `own` that somebody has fields in; who has some in a version that there is
/// not is forgotten.
pub(super) fn views(
    versions: &dyn Converter,
    own: &str,
    managed: &mut Vec<Managed>,
    live: &Value,
) -> Result<BTreeMap<String, Versioned>, Missing> {
    let mut views = BTreeMap::new();
    let mut gone = Vec::new();
    for entry in &*managed {
        let version = &entry.manager.api_version;
        if version == own || views.contains_key(version) || gone.contains(version) {
            continue;
        }
        match versions.convert(live, version) {
            Ok(view) => drop(views.insert(version.clone(), view)),
            Err(Missing::Version) => gone.push(version.clone()),
            Err(other) => return Err(other),
        }
    }
    managed.retain(|entry| !gone.contains(&entry.manager.api_version));
    Ok(views)
}

/// What `new` changes in each of the views.
pub(super) fn changes(
    versions: &dyn Converter,
    views: &BTreeMap<String, Versioned>,
    new: &Value,
) -> Result<BTreeMap<String, Change>, Missing> {
    let change = |(version, old): (&String, &Versioned)| {
        let new = versions.convert(new, version).map_err(|why| why.told("failed to convert new object"))?;
        Ok((version.clone(), typed::compare(&old.object, &new.object, &old.schema.root).into()))
    };
    views.iter().map(change).collect()
}

/// Takes from `merged` what its applier had (`last`, in the version it applied then) and neither says now nor anybody else has.
/// `claims` are the fields of all managers by version, those that are applied now among them.
pub(super) fn prune(
    versions: &dyn Converter,
    merged: Versioned,
    claims: &BTreeMap<String, Set>,
    (last_version, last): (&str, &Set),
) -> Result<Value, Missing> {
    let own = merged.object["apiVersion"].as_str().unwrap_or_default().to_owned();
    let nothing = Set::default();
    let base = match to(versions, merged.clone(), last_version) {
        Err(Missing::Version) => return Ok(merged.object),
        base => base.map_err(|why| why.told("failed to convert merged object to last applied version"))?,
    };
    let mut pruned = base.clone();
    typed::remove(&mut pruned.object, &base.schema.root, last, &nothing);
    // What others have is put back: first in the version at hand, for other versions may not do without it.
    let mut merged = base.clone();
    let first = claims.get_key_value(last_version);
    for (version, claimed) in first.into_iter().chain(claims.iter().filter(|(version, _)| *version != last_version)) {
        let failed =
            |what: &str| format!("failed add back owned items: failed to convert {what} object at version {version}");
        merged = to(versions, merged, version).map_err(|why| why.told(&failed("merged")))?;
        pruned = to(versions, pruned, version).map_err(|why| why.told(&failed("pruned")))?;
        let all = typed::to_set(&merged.object, &merged.schema.root);
        let mut kept = typed::to_set(&pruned.object, &pruned.schema.root);
        kept.unite(claimed);
        pruned = merged.clone();
        typed::remove(&mut pruned.object, &merged.schema.root, &all, &kept);
    }
    // What was never its own stays, whatever has become of it on the way.
    let failed = "failed add back dangling items: failed to convert pruned object to last applied version";
    let pruned = to(versions, pruned, last_version).map_err(|why| why.told(failed))?;
    let kept = typed::to_set(&pruned.object, &pruned.schema.root);
    let mut left = base;
    typed::remove(&mut left.object, &left.schema.root, last, &kept);
    to(versions, left, &own).map(|left| left.object)
}

fn to(versions: &dyn Converter, object: Versioned, version: &str) -> Result<Versioned, Missing> {
    if object.object["apiVersion"] == version { Ok(object) } else { versions.convert(&object.object, version) }
}

impl From<Missing> for ApplyError {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Later(wanted) => Self::Later(wanted),
            Missing::Failed(why) => Self::Invalid(why),
            Missing::Version => Self::Invalid("the object has no such version".to_owned()),
        }
    }
}

impl Missing {
    /// The same, said of one step on the way.
    pub(super) fn told(self, step: &str) -> Self {
        match self {
            Self::Failed(why) => Self::Failed(format!("{step}: {why}")),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Manager, Operation, apply_among, track_update_among};
    use super::*;
    use crate::field::Path;

    /// v1 has `spec.at`, v2 `spec.host` and `spec.port`; v3 is not there yet, v4 cannot be had, and there is no v5.
    struct Places;

    fn schema(fields: &[&str]) -> Schema {
        let text = |name: &&str| ((*name).to_owned(), json!({ "type": "string" }));
        let spec: serde_json::Map<_, _> = fields.iter().map(text).collect();
        let open_api = json!({ "type": "object", "properties": { "spec": { "type": "object", "properties": spec } } });
        crate::crd::structural(&Path::default(), &open_api, false).unwrap()
    }

    fn schema_of(version: &str) -> Schema {
        schema(if version == "g.io/v1" { &["at", "note"] } else { &["host", "port", "note"] })
    }

    impl Converter for Places {
        fn convert(&self, object: &Value, to: &str) -> Result<Versioned, Missing> {
            let mut new = object.clone();
            new["apiVersion"] = to.into();
            let mut none = serde_json::Map::new();
            let spec = new.get_mut("spec").and_then(Value::as_object_mut).unwrap_or(&mut none);
            match to {
                "g.io/v1" => {
                    let mut take = |name: &str| spec.remove(name).and_then(|v| v.as_str().map(str::to_owned));
                    if let (Some(host), port) = (take("host"), take("port").unwrap_or_default()) {
                        spec.insert("at".to_owned(), format!("{host}:{port}").into());
                    }
                }
                "g.io/v2" => {
                    if let Some((host, port)) = spec.remove("at").as_ref().and_then(|at| at.as_str()?.split_once(':')) {
                        spec.insert("host".to_owned(), host.into());
                        spec.insert("port".to_owned(), port.into());
                    }
                }
                "g.io/v3" => {
                    return Err(Missing::Later(Box::new(Wanted { object: object.clone(), to: to.to_owned() })));
                }
                "g.io/v4" => return Err(Missing::Failed("no".to_owned())),
                _ => return Err(Missing::Version),
            }
            Ok(Versioned { object: new, schema: schema_of(to) })
        }
    }

    fn manager(name: &str, operation: Operation, version: &str) -> Manager {
        Manager {
            name: name.into(),
            operation,
            api_version: version.into(),
            subresource: String::new(),
            time: "t".into(),
        }
    }

    fn entry(name: &str, operation: &str, version: &str, fields: &[&str]) -> Value {
        let fields: serde_json::Map<_, _> = fields.iter().map(|name| (format!("f:{name}"), json!({}))).collect();
        json!({ "manager": name, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1", "time": "s",
            "fieldsV1": { "f:spec": fields } })
    }

    fn live(managers: &[Value]) -> Value {
        json!({ "apiVersion": "g.io/v2", "kind": "Place", "metadata": { "name": "a", "managedFields": managers },
            "spec": { "host": "h", "port": "1", "note": "n" } })
    }

    /// Who has what: `manager/version: paths`.
    fn owners(object: &Value) -> Vec<String> {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let show = |entry: &Value| {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            let paths = Set::from_fields_v1(entry["fieldsV1"].clone()).paths().join(" ");
            format!("{} {}: {paths}", text("manager"), text("apiVersion"))
        };
        entries.iter().map(show).collect()
    }

    #[test]
    fn a_change_takes_from_each_manager_in_its_own_version() {
        let theirs = entry("one", "Update", "g.io/v1", &["at", "note"]);
        for (change, expected) in [
            (json!({ "port": "2" }), ["one g.io/v1: .spec.note", "two g.io/v2: .spec.port"].as_slice()),
            (json!({ "note": "m" }), ["one g.io/v1: .spec.at", "two g.io/v2: .spec.note"].as_slice()),
            (json!({}), ["one g.io/v1: .spec.at .spec.note"].as_slice()),
        ] {
            let live = live(std::slice::from_ref(&theirs));
            let mut new = crate::patch::merge_patch(&live, &json!({ "spec": change }), true).unwrap();
            let two = manager("two", Operation::Update, "g.io/v2");
            track_update_among(&Places, &schema_of("g.io/v2"), Some(&live), &mut new, &two).unwrap();
            assert_eq!(owners(&new), expected, "{change}");
        }
    }

    #[test]
    fn versions_that_are_not_there() {
        let two = manager("two", Operation::Update, "g.io/v2");
        let track = |version: &str| {
            let live = live(&[entry("one", "Update", version, &["note"])]);
            let mut new = live.clone();
            new["spec"]["port"] = "2".into();
            let sent = new.clone();
            let told = track_update_among(&Places, &schema_of("g.io/v2"), Some(&live), &mut new, &two);
            assert!(told.is_ok() || new == sent, "it can be tried again");
            told.map(|()| owners(&new))
        };
        assert_eq!(track("g.io/v5"), Ok(vec!["two g.io/v2: .spec.port".to_owned()]), "who managed in it is forgotten");
        assert_eq!(track("g.io/v4"), Err(Missing::Failed("no".to_owned())));
        assert!(matches!(track("g.io/v3"), Err(Missing::Later(wanted)) if wanted.to == "g.io/v3"));
    }

    #[test]
    fn conflicts_are_those_of_the_managers_version() {
        let live = live(&[entry("one", "Update", "g.io/v1", &["at", "note"])]);
        let apply = |spec: Value, force: bool| {
            let config = json!({ "apiVersion": "g.io/v2", "kind": "Place", "metadata": { "name": "a" }, "spec": spec });
            let two = manager("two", Operation::Apply, "g.io/v2");
            apply_among(&Places, &schema_of("g.io/v2"), Some(&live), &config, &two, force)
        };
        let told = apply(json!({ "port": "2" }), false).unwrap_err().to_string();
        assert_eq!(told, r#"Apply failed with 1 conflict: conflict with "one" using g.io/v1: .spec.at"#);
        assert_eq!(
            owners(&apply(json!({ "port": "2" }), true).unwrap()),
            ["two g.io/v2: .spec.port", "one g.io/v1: .spec.note"]
        );
        assert_eq!(
            owners(&apply(json!({ "port": "1" }), false).unwrap()),
            ["two g.io/v2: .spec.port", "one g.io/v1: .spec.at .spec.note"]
        );
    }

    #[test]
    fn what_was_applied_in_another_version_is_given_up() {
        let apply = |others: &[Value], spec: Value| {
            let mut managers = vec![entry("two", "Apply", "g.io/v1", &["at", "note"])];
            managers.extend_from_slice(others);
            let config = json!({ "apiVersion": "g.io/v2", "kind": "Place", "metadata": { "name": "a" }, "spec": spec });
            let two = manager("two", Operation::Apply, "g.io/v2");
            let merged = apply_among(&Places, &schema_of("g.io/v2"), Some(&live(&managers)), &config, &two, true);
            merged.unwrap()["spec"].clone()
        };
        // The place is one field in the version it was applied in, so who says half of it keeps it all.
        assert_eq!(apply(&[], json!({ "host": "h" })), json!({ "host": "h", "port": "1" }));
        assert_eq!(apply(&[], json!({ "note": "n" })), json!({ "note": "n" }));
        let other = entry("one", "Apply", "g.io/v2", &["host", "port"]);
        assert_eq!(apply(&[other], json!({ "note": "n" })), json!({ "host": "h", "port": "1", "note": "n" }));
    }
}
