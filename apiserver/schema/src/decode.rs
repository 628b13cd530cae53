//! From bytes to a checked `Value`, as Go's strict JSON decoding of upstream does it (`sigs.k8s.io/json`, KEP-2885).
//!
//! Two passes: [`document`] parses and notes duplicate keys; [`walk`] holds the tree against the model, drops unknown
//! fields and nulls, checks types and brings quantities and times to their canonical form. A custom resource is only
//! pruned here (its `metadata` is checked); its types are the validator's business.

mod base64;
mod characters;
mod document;
mod embedded;
mod numbers;
mod place;
mod repeated;
mod restore;
mod spans;
mod syntax;
mod walk;
pub use document::{whole_numbers, with_whole_numbers};
pub use restore::restore;
pub use syntax::error as syntax_error;
pub use walk::go_kind;
pub(crate) use walk::zero;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde_json::Value;

use crate::{Schema, drop_nulls, prune};

/// How deep an object may be. Upstream's limit is 10,000, but everything here that walks values recurses, what is stored must
/// be readable again by serde_json (128 levels), and managedFields mirror an object some levels further down.
pub const MAX_DEPTH: usize = 100;

/// So many unknown and repeated fields Go's decoder tells of.
const MAX_COMPLAINTS: usize = 100;

/// How the reader of YAML begins to tell of keys given twice.
const YAML_TWICE: &str = "yaml: unmarshal errors:\n";

/// Whether `value` has at most so many levels; looks no deeper than that.
#[must_use]
pub fn fits(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(list) => levels > 0 && list.iter().all(|value| fits(value, levels - 1)),
        Value::Object(map) => levels > 0 && map.values().all(|value| fits(value, levels - 1)),
        _ => true,
    }
}

/// The `fieldValidation` query parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    /// `None` for an unknown word; an absent parameter means `Warn`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "Ignore" => Some(Self::Ignore),
            "Warn" | "" => Some(Self::Warn),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub value: Value,
    /// For `Warning:` headers: `unknown field "spec.foo"`.
    pub warnings: Vec<String>,
}

/// Display is upstream's text, to be put behind `Deployment in version "v1" cannot be handled as a Deployment: `. All are
/// 400 BadRequest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{0}")]
    Syntax(String),
    #[error("{0}")]
    Type(String),
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
}

/// What Go's decoder says of a value of another shape than `wanted`.
#[must_use]
pub fn unfit(found: &Value, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {wanted}", go_kind(found))
}

/// What a document says it is: its apiVersion and kind, each empty where it says nothing.
///
/// # Errors
/// In upstream's words (`json.SimpleMetaFactory.Interpret`), for a document that cannot say it.
pub fn interpret(value: &Value) -> Result<(&str, &str), String> {
    const FIELDS: &str =
        r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    let wrong =
        |what: String| Err(format!("couldn't get version/kind; json parse error: json: cannot unmarshal {what}"));
    let kind = walk::go_kind(value);
    let map = match value {
        Value::Null => return Ok(("", "")),
        Value::Object(map) => map,
        _ => return wrong(format!("{kind} into Go value of type {FIELDS}")),
    };
    let mut found = ["", ""];
    for (name, found) in ["apiVersion", "kind"].into_iter().zip(&mut found) {
        *found = match map.get(name) {
            None | Some(Value::Null) => "",
            Some(Value::String(text)) => text,
            Some(other) => {
                let kind = walk::go_kind(other);
                return wrong(format!("{kind} into Go struct field .{name} of type string"));
            }
        };
    }
    let [version, kind] = found;
    if version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {version}"));
    }
    Ok((version, kind))
}

/// `schema`: None decodes plainly (duplicates are still noted).
pub fn json(bytes: &[u8], schema: Option<&Schema>, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    let mut document = document::json(bytes)?;
    let bounded = document.bounded;
    if !document.duplicates.is_empty()
        && let Some(schema) = schema.filter(|schema| !schema.is_custom())
        && let Some(together) = repeated::json(bytes, &schema.root)
    {
        document.value = together;
    }
    let decoded = finish(document, Vec::new(), schema, validation, Source::Text(bytes))?;
    // Where fields have types, theirs have said what becomes of a number that is no float; elsewhere it is to be one.
    if bounded && numbers::holds_largest(&decoded.value) {
        return Err(beyond(bytes, "value"));
    }
    Ok(decoded)
}

/// A number that is too large for a place where a float is to be.
fn beyond(text: &[u8], place: &str) -> DecodeError {
    let number = numbers::beyond(text).next().map(|number| String::from_utf8_lossy(&text[number]));
    let number = number.unwrap_or_default();
    DecodeError::Type(format!("json: cannot unmarshal number {number} into Go {place} of type float64"))
}

/// A list of objects (a JSON patch's operations) that have no other fields than these, which may hold anything: of what is
/// unknown or given twice the warnings tell.
///
/// # Errors
/// It is no JSON.
pub fn list_of(bytes: &[u8], fields: &[&str]) -> Result<Decoded, DecodeError> {
    let document::Document { value, mut duplicates, bounded } = document::json(bytes)?;
    if bounded {
        return Err(beyond(bytes, "struct field jsonPatchOp.value"));
    }
    let items = value.as_array().into_iter().flatten().enumerate();
    let unknown: Vec<String> = items
        .flat_map(|(at, item)| {
            item.as_object().into_iter().flat_map(move |item| item.keys().map(move |name| (at, name)))
        })
        .filter(|(_, name)| !fields.contains(&name.as_str()))
        .map(|(at, name)| format!("[{at}].{name}"))
        .collect();
    duplicates.retain(|path| !unknown.iter().any(|above| path == above || within(path, above)));
    Ok(Decoded { warnings: strict(duplicates, unknown, Some(bytes)), value })
}

pub fn yaml(bytes: &[u8], schema: Option<&Schema>, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    let mut document = match as_json(bytes) {
        Some(document) => document,
        None => document::yaml(bytes)?,
    };
    document::whole_numbers(&mut document.value);
    // Upstream turns YAML into JSON first, with an error of the YAML reader for keys given twice, and in order of names.
    let twice = if document.duplicates.is_empty() { Vec::new() } else { vec![document::yaml_twice(bytes)] };
    document.duplicates.clear();
    finish(document, twice, schema, validation, Source::Value)
}

/// JSON is YAML, and programs that apply configurations send it: it is read much faster as what it is. Where there is
/// something to complain of, YAML's own reader has the words.
fn as_json(bytes: &[u8]) -> Option<document::Document> {
    let plain = |document: &document::Document| document.duplicates.is_empty() && !document.bounded;
    document::json(bytes).ok().filter(|document| plain(document) && fits(&document.value, MAX_DEPTH))
}

/// An already parsed value (from protobuf or a patch) against the schema.
pub fn value(value: Value, schema: &Schema, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    finish(value.into(), Vec::new(), Some(schema), validation, Source::Value)
}

/// What upstream's `runtime.DefaultUnstructuredConverter` makes of a merged value of a built-in kind; mistakes are told in its
/// words.
pub fn restored(value: Value, schema: &Schema, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    finish(value.into(), Vec::new(), Some(schema), validation, Source::Unstructured)
}

/// Where a value comes from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// JSON, by which mistakes are put in order; without it that is the order of names.
    Text(&'a [u8]),
    Value,
    /// Go's maps and lists of anything.
    Unstructured,
}

/// The same as [`value`] in its place; returns the warnings. A custom object whose metadata does not fit stays as it was.
///
/// # Errors
/// As there.
pub fn in_place(value: &mut Value, schema: &Schema, validation: FieldValidation) -> Result<Vec<String>, DecodeError> {
    check(value, Vec::new(), Vec::new(), Some(schema), validation, Source::Value)
}

fn finish(
    document: document::Document,
    complaints: Vec<String>,
    schema: Option<&Schema>,
    validation: FieldValidation,
    source: Source<'_>,
) -> Result<Decoded, DecodeError> {
    let document::Document { mut value, duplicates, .. } = document;
    let warnings = check(&mut value, duplicates, complaints, schema, validation, source)?;
    Ok(Decoded { value, warnings })
}

/// `complaints`: those of whoever made JSON of the document.
fn check(
    value: &mut Value,
    mut duplicates: Vec<String>,
    mut complaints: Vec<String>,
    schema: Option<&Schema>,
    validation: FieldValidation,
    source: Source<'_>,
) -> Result<Vec<String>, DecodeError> {
    let text = if let Source::Text(text) = source { text } else { &[] };
    if !fits(value, MAX_DEPTH) {
        return Err(DecodeError::Syntax("exceeded max depth".to_owned()));
    }
    let mut unknown = Vec::new();
    let mut read_in_order = false;
    if let Some(schema) = schema {
        let custom = schema.is_custom();
        if !custom
            && let Source::Unstructured = source
            && let Some(why) = restore::restore(value, schema)
        {
            return Err(DecodeError::Type(why));
        }
        let found = match custom {
            true => walk::metadata(value),
            false => walk::typed(value, &schema.root, !duplicates.is_empty(), text),
        };
        // Go's decoder complains as it reads; custom objects are read first and pruned afterwards.
        read_in_order = !custom;
        if !found.errors.is_empty() {
            // A custom object's metadata is read again, from what was read before.
            return Err(DecodeError::Type(first_error(&found, if custom { &[] } else { text })));
        }
        unknown = found.unknown;
        if custom {
            unknown.extend(prune(schema, value));
            // What is merged before it is validated says its nulls until then.
            if !matches!(source, Source::Unstructured) {
                drop_nulls(schema, value);
            }
            embedded::coerce(value, &schema.root).map_err(|error| DecodeError::Type(error.to_string()))?;
        } else {
            let skipped: Vec<&String> = found.opaque.iter().chain(&unknown).collect();
            duplicates.retain(|path| {
                let unread = |above: &&String| path == *above || within(path, above);
                !skipped.iter().any(unread)
            });
        }
    }
    complaints.extend(strict(duplicates, unknown, read_in_order.then_some(text)));
    match validation {
        FieldValidation::Strict if !complaints.is_empty() => Err(DecodeError::Strict(complaints)),
        FieldValidation::Warn => {
            // What the reader of YAML says in one breath is a warning a line.
            let lines = |text: String| match text.strip_prefix(YAML_TWICE) {
                Some(lines) => lines.lines().map(|line| line.trim().to_owned()).collect(),
                None => vec![text],
            };
            Ok(complaints.into_iter().flat_map(lines).collect())
        }
        _ => Ok(Vec::new()),
    }
}

/// What Go's strict decoder says, each thing once and not too many: in the order of the text that it decodes; of what was read
/// before (`None`) first of what was given twice, and of all that is unknown.
fn strict(duplicates: Vec<String>, unknown: Vec<String>, text: Option<&[u8]>) -> Vec<String> {
    let mut told = HashSet::new();
    let mut all: Vec<(bool, String)> = duplicates.into_iter().map(|path| (true, path)).collect();
    all.retain(|(_, path)| told.insert(path.clone()));
    if text.is_none() {
        all.truncate(MAX_COMPLAINTS);
    }
    all.extend(unknown.into_iter().map(|path| (false, path)));
    if let Some(text) = text.filter(|_| all.len() > 1) {
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        spans::walk(text, &mut |path, place| places.entry(path.to_owned()).or_default().push(place.start));
        all.sort_by_key(|(twice, path)| places.get(path).and_then(|places| places.get(usize::from(*twice)).copied()));
        all.truncate(MAX_COMPLAINTS);
    }
    let words = |(twice, path): (bool, String)| {
        let what = if twice { "duplicate" } else { "unknown" };
        format!("{what} field {}", crate::go::quote(&path))
    };
    all.into_iter().map(words).collect()
}

/// What Go tells of a document whose values do not fit.
fn first_error(found: &walk::Findings<'_>, text: &[u8]) -> String {
    let mut places: HashMap<&str, Range<usize>> = found.errors.iter().map(|wrong| (&*wrong.path, 0..0)).collect();
    spans::walk(text, &mut |path, place| {
        if let Some(known) = places.get_mut(path) {
            *known = place;
        }
    });
    let first = found.error(|path| places.get(path).map(|place| place.start));
    first.map_or_else(String::new, |wrong| {
        let written = places.get(&*wrong.path).and_then(|place| text.get(place.clone())).unwrap_or_default();
        let written = std::str::from_utf8(written).ok().filter(|written| !written.is_empty());
        wrong.text(written)
    })
}

/// Whether a path lies below another.
fn within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| above.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::builtin;

    fn deployment(text: &str, validation: FieldValidation) -> Result<Decoded, DecodeError> {
        json(text.as_bytes(), builtin("apps/v1", "Deployment").as_ref(), validation)
    }

    #[test]
    fn unknown_and_duplicate_fields_are_named() {
        let text = r#"{"kind":"Deployment","spec":{"foo":1,"replicas":1,"replicas":2,
            "template":{"spec":{"containers":[{"name":"a","imagee":"x"}]}}}}"#;
        let error = deployment(text, FieldValidation::Strict).unwrap_err().to_string();
        assert_eq!(
            error,
            "strict decoding error: unknown field \"spec.foo\", duplicate field \"spec.replicas\", \
             unknown field \"spec.template.spec.containers[0].imagee\""
        );
        let document = b"a: 1\nb: {c: 2, c: 3}\na: 3\nb: 4\n---\nc: 1\nc: 2\n";
        let twice = super::yaml(document, None, FieldValidation::Strict).unwrap_err().to_string();
        let lines = ["line 2: key \"c\"", "line 3: key \"a\"", "line 4: key \"b\""]
            .map(|line| format!("{line} already set in map"));
        assert_eq!(twice, format!("strict decoding error: yaml: unmarshal errors:\n  {}", lines.join("\n  ")));
        assert_eq!(super::yaml(document, None, FieldValidation::Warn).unwrap().warnings, lines);
        let decoded = deployment(text, FieldValidation::Warn).unwrap();
        assert_eq!(decoded.warnings.len(), 3);
        assert_eq!(decoded.value.pointer("/spec/replicas"), Some(&json!(2)));
        assert_eq!(decoded.value.pointer("/spec/foo"), None);
    }

    #[test]
    fn lists_of_objects_with_few_fields() {
        let text = br#"[{"a":1,"x":{"y":1,"y":2}},{"b":{"c":1,"c":2},"a":1,"a":2}]"#;
        let decoded = list_of(text, &["a", "b"]).unwrap();
        let told = ["unknown field \"[0].x\"", "duplicate field \"[1].b.c\"", "duplicate field \"[1].a\""];
        assert_eq!(decoded.warnings, told);
        assert_eq!(decoded.value[1]["a"], json!(2));
    }

    #[test]
    fn wrong_types_speak_go() {
        let cannot = |what: &str| format!("json: cannot unmarshal {what}");
        for (text, expected) in [
            (
                r#"{"spec":{"replicas":"three"}}"#,
                cannot("string into Go struct field DeploymentSpec.spec.replicas of type int32"),
            ),
            (
                r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#,
                cannot("object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container"),
            ),
            (
                r#"{"metadata":{"labels":{"a":1}}}"#,
                cannot("number into Go struct field ObjectMeta.metadata.labels of type string"),
            ),
            (r#"[]"#, cannot("array into Go value of type v1.Deployment")),
            // Numbers as they are written, types by their names, inlined structs by theirs.
            (
                r#"{"spec":{"replicas": 1e3 }}"#,
                cannot("number 1e3 into Go struct field DeploymentSpec.spec.replicas of type int32"),
            ),
            (
                r#"{"spec":{"template":{"spec":{"restartPolicy":1}}}}"#,
                cannot("number into Go struct field PodSpec.spec.template.spec.restartPolicy of type v1.RestartPolicy"),
            ),
            (
                r#"{"spec":{"template":{"spec":{"volumes":[{"hostPath":{"path":1}}]}}}}"#,
                cannot(
                    "number into Go struct field HostPathVolumeSource.spec.template.spec.volumes.VolumeSource.hostPath.path of type string",
                ),
            ),
            (
                r#"{"spec":{"template":{"spec":{"containers":[{"securityContext":{"capabilities":{"add":[1]}}}]}}}}"#,
                cannot(
                    "number into Go struct field Capabilities.spec.template.spec.containers.securityContext.capabilities.add of type v1.Capability",
                ),
            ),
            // The first in the text; but types that read themselves have the last word.
            (
                r#"{"spec":{"template":5,"paused":1},"metadata":5}"#,
                cannot("number into Go struct field DeploymentSpec.spec.template of type v1.PodTemplateSpec"),
            ),
            (
                r#"{"metadata":{"name":5,"creationTimestamp":"x","deletionTimestamp":{}}}"#,
                r#"parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#.to_owned(),
            ),
            (
                r#"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":[]}}}}"#,
                cannot(
                    "array into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32",
                ),
            ),
        ] {
            assert_eq!(deployment(text, FieldValidation::Ignore).unwrap_err().to_string(), expected);
        }
        let definition = builtin("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        let text = r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"properties":{"a":{"items":{"maxLength":"x"}}}}}}]}}"#;
        assert_eq!(
            json(text.as_bytes(), definition.as_ref(), FieldValidation::Warn).unwrap_err().to_string(),
            cannot(
                "string into Go struct field JSONSchemaProps.spec.versions.schema.openAPIV3Schema.properties.items.maxLength of type int64"
            )
        );
    }

    #[test]
    fn yaml_errors_are_upstreams() {
        for (text, expected) in [
            ("a:\n  list: [a\n", "line 2: did not find expected ',' or ']'"),
            ("a:\n\ts: a\n", "line 2: found character that cannot start any token"),
            ("a:\n  s: a\n b: 1\n", "line 2: did not find expected key"),
            ("a:\n- b\nc\n", "line 4: could not find expected ':'"),
            ("a: {b: c]\n", "did not find expected ',' or '}'"),
            ("a: &\n", "did not find expected alphabetic or numeric character"),
            ("a:\n  s: b: c\n", "line 2: mapping values are not allowed in this context"),
        ] {
            let error = yaml(text.as_bytes(), None, FieldValidation::Ignore).unwrap_err().to_string();
            assert_eq!(error, format!("error converting YAML to JSON: yaml: {expected}"), "{text}");
        }
    }

    #[test]
    fn embedded_resources_have_typed_metadata() {
        let definition = json!({"type":"object","properties":{"list":{"type":"array","items":
            {"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}}}});
        let schema = crate::crd::structural(&crate::field::Path::default(), &definition, false).unwrap();
        let read = |resource: Value| {
            let text = json!({"apiVersion": "a/v1", "kind": "A", "list": [resource]}).to_string();
            super::json(text.as_bytes(), Some(&schema), FieldValidation::Strict).map_err(|error| error.to_string())
        };
        assert!(read(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "more": 1})).is_ok());
        assert_eq!(
            read(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": 1}}})).unwrap_err(),
            "list[0].metadata: Invalid value: {\"labels\":{\"a\":1}}: json: cannot unmarshal number into Go struct field \
             ObjectMeta.labels of type string"
        );
        assert_eq!(read(json!({"kind": 5})).unwrap_err(), "list[0].kind: Invalid value: 5: must be a string");
    }

    #[test]
    fn a_negative_zero_is_a_whole_number() {
        let schema = crate::builtin("apps/v1", "Deployment").unwrap();
        let read = super::json(br#"{"spec":{"replicas":-0}}"#, Some(&schema), FieldValidation::Strict).unwrap();
        assert_eq!(read.value, json!({"spec": {"replicas": 0}}));
        assert!(super::json(br#"{"spec":{"replicas":-0.0}}"#, Some(&schema), FieldValidation::Strict).is_err());
    }

    #[test]
    fn whole_floats_are_integers_to_go() {
        let text = "a: [1e3, 1.0, 1.5, -0.0, 1e30, 010, 0x10, 1_000]\n";
        let read = yaml(text.as_bytes(), None, FieldValidation::Strict).unwrap().value;
        assert_eq!(read, json!({"a": [1000, 1, 1.5, 0, 1e30, 8, 16, 1000]}));
    }

    #[test]
    fn whole_floats_stay_floats_where_fields_have_no_types() {
        let definition = json!({"type":"object","properties":{"a":{"type":"integer"}}});
        let schema = crate::crd::structural(&crate::field::Path::default(), &definition, false).unwrap();
        let read = super::json(br#"{"a":1.0}"#, Some(&schema), FieldValidation::Strict).unwrap().value;
        assert_eq!(read, json!({"a": 1.0}));
        assert_eq!(*crate::written(&schema, &read), json!({"a": 1}));
    }

    #[test]
    fn numbers_are_what_is_written() {
        let pod = builtin("v1", "Pod");
        let amounts = |limits: &str| {
            let text = format!(r#"{{"spec":{{"containers":[{{"resources":{{"limits":{{{limits}}}}}}}]}}}}"#);
            json(text.as_bytes(), pod.as_ref(), FieldValidation::Strict)
                .map(|read| read.value["spec"]["containers"][0]["resources"]["limits"].clone())
        };
        let read = amounts(r#""cpu":1e1,"memory":1E3,"a/b.c":0.10,"d":1000"#).unwrap();
        assert_eq!(read, json!({"cpu": "10", "memory": "1E3", "a/b.c": "100m", "d": "1k"}));
        let cannot = |what: &str| format!("json: cannot unmarshal number 1e400 into Go {what}");
        let text = r#"{"spec":{"containers":[],"priority":1e400}}"#;
        let told = json(text.as_bytes(), pod.as_ref(), FieldValidation::Warn).unwrap_err().to_string();
        assert_eq!(told, cannot("struct field PodSpec.spec.priority of type int32"));
        let text = r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"maximum":1e400}}}]}}"#;
        let definition = builtin("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        let told = json(text.as_bytes(), definition.as_ref(), FieldValidation::Warn).unwrap_err().to_string();
        let place = "struct field JSONSchemaProps.spec.versions.schema.openAPIV3Schema.maximum of type float64";
        assert_eq!(told, cannot(place));
        let told = json(br#"{"a":1e400}"#, None, FieldValidation::Warn).unwrap_err().to_string();
        assert_eq!(told, cannot("value of type float64"));
        let revision = builtin("apps/v1", "ControllerRevision");
        let told = json(br#"{"data":{"a":1e400}}"#, revision.as_ref(), FieldValidation::Warn).unwrap_err().to_string();
        assert_eq!(told, cannot("value of type float64"));
        let told = list_of(br#"[{"value":1e400}]"#, &["value"]).unwrap_err().to_string();
        assert_eq!(told, cannot("struct field jsonPatchOp.value of type float64"));
        let read = yaml(br#"{"a":1e400}"#, None, FieldValidation::Warn);
        assert!(!read.is_ok_and(|read| read.value["a"].is_number()), "no other number is put in its place");
    }

    #[test]
    fn complaints_are_bounded_and_made_once() {
        let unknown: String = (0..150).map(|n| format!(r#""u{n}":1,"#)).collect();
        let text = format!(
            r#"{{"metadata":{{"labels":{{"a":"1","a":"2","a":"3"}}}},"spec":{{{unknown}"x":{{"y":1,"y":2}}}}}}"#
        );
        let warnings = deployment(&text, FieldValidation::Warn).unwrap().warnings;
        assert_eq!(warnings.len(), MAX_COMPLAINTS);
        assert_eq!(warnings[..2], [r#"duplicate field "metadata.labels.a""#, r#"unknown field "spec.u0""#]);
        // Nothing is said of what is in a field that is not known, nor of what is kept as it is, nor of what reads itself.
        let text = r#"{"spec":{"x":{"a":1,"a":2},"versions":[{"schema":{"openAPIV3Schema":
            {"default":{"a":1,"a":2},"items":{"foo":1,"type":"a","type":"b"},"nope":1}}}]}}"#;
        let definition = builtin("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        let warnings = json(text.as_bytes(), definition.as_ref(), FieldValidation::Warn).unwrap().warnings;
        let place = "spec.versions[0].schema.openAPIV3Schema";
        assert_eq!(warnings, [r#"unknown field "spec.x""#.to_owned(), format!(r#"unknown field "{place}.nope""#)]);
    }

    #[test]
    fn bytes_are_read_as_go_reads_them() {
        let secret = builtin("v1", "Secret");
        let read = |text: &[u8]| json(text, secret.as_ref(), FieldValidation::Strict).unwrap().value;
        assert_eq!(read(br#"{"data":{"a":"YW\nJj","b":[97,98]}}"#), json!({"data": {"a": "YWJj", "b": "YWI="}}));
        assert_eq!(read(b"{\"stringData\":{\"a\":\"\\ud800\xff\"}}"), json!({"stringData": {"a": "\u{fffd}\u{fffd}"}}));
    }

    #[test]
    fn nulls_go_and_numbers_become_canonical() {
        let text = r#"{"spec":{"replicas":null,"template":{"spec":{"containers":[
            {"name":"a","resources":{"limits":{"cpu":0.5,"memory":"1024Mi"}},"livenessProbe":{"httpGet":{"port":80}}}]}}}}"#;
        let value = deployment(text, FieldValidation::Strict).unwrap().value;
        assert_eq!(
            value,
            json!({"spec":{"template":{"spec":{"containers":[
                {"name":"a","resources":{"limits":{"cpu":"500m","memory":"1Gi"}},"livenessProbe":{"httpGet":{"port":80}}}]}}}})
        );
    }

    #[test]
    fn yaml_reads_like_json() {
        let text = "apiVersion: v1\nkind: ConfigMap\ndata:\n  a: \"1\"\n  b: |\n    x\n";
        let decoded = yaml(text.as_bytes(), builtin("v1", "ConfigMap").as_ref(), FieldValidation::Strict).unwrap();
        assert_eq!(decoded.value, json!({"apiVersion":"v1","kind":"ConfigMap","data":{"a":"1","b":"x\n"}}));
        assert!(matches!(yaml(b"a: [", None, FieldValidation::Strict), Err(DecodeError::Syntax(_))));
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<Option<bool>>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i16>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
            "[a-z:#~ \\-\"\\\\\n\té\u{1F600}]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c<#: ]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_read_as_yaml_is_the_same(value in documents(), pretty: bool) {
            let object = json!({ "a": value });
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
            let short = as_json(text.as_bytes()).expect("it is JSON").value;
            prop_assert_eq!(short, document::yaml(text.as_bytes()).unwrap().value, "{}", text);
        }
    }

    #[test]
    fn hostile_depth_is_an_error() {
        let text = "[".repeat(100_000);
        assert!(matches!(json(text.as_bytes(), None, FieldValidation::Ignore), Err(DecodeError::Syntax(_))));
    }
}
