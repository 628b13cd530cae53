//! From bytes to a checked `Value`, as Go's strict JSON decoding of upstream does it (`sigs.k8s.io/json`, KEP-2885).
//!
//! Two passes: [`document`] parses and notes duplicate keys; [`walk`] holds the tree against the model, drops unknown
//! fields and nulls, checks types and brings quantities and times to their canonical form. A custom resource is only
//! pruned here (its `metadata` is checked); its types are the validator's business.

mod document;
mod restore;
mod syntax;
mod walk;
pub use restore::restore_error;
pub use syntax::error as syntax_error;
pub use walk::go_kind;
pub(crate) use walk::zero;

use serde_json::Value;

use crate::{Schema, prune::prune};

/// How deep an object may be. Upstream's limit is 10,000, but everything here that walks values recurses, what is stored must
/// be readable again by serde_json (128 levels), and managedFields mirror an object some levels further down.
pub const MAX_DEPTH: usize = 100;

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
    let document = document::json(bytes)?;
    let twice = document.duplicates.iter().map(|path| (path.clone(), format!("duplicate field {path:?}"))).collect();
    finish(document.value, twice, schema, validation, || document::json_order(bytes))
}

pub fn yaml(bytes: &[u8], schema: Option<&Schema>, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    let document = match as_json(bytes) {
        Some(document) => document,
        None => document::yaml(bytes)?,
    };
    // Upstream turns YAML into JSON first, with an error of the YAML reader for keys given twice, and in order of names.
    let twice = if document.duplicates.is_empty() { None } else { Some(document::yaml_twice(bytes)) };
    finish(document.value, twice.into_iter().map(|text| (String::new(), text)).collect(), schema, validation, Vec::new)
}

/// JSON is YAML, and programs that apply configurations send it: it is read much faster as what it is. Where there is
/// something to complain of, YAML's own reader has the words.
fn as_json(bytes: &[u8]) -> Option<document::Document> {
    document::json(bytes).ok().filter(|document| document.duplicates.is_empty() && fits(&document.value, MAX_DEPTH))
}

/// An already parsed value (from protobuf or a patch) against the schema.
pub fn value(value: Value, schema: &Schema, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    finish(value, Vec::new(), Some(schema), validation, Vec::new)
}

/// `twice`: keys given twice, path and complaint. `order`: every path of the document in order, asked for only where there
/// is something to put in order.
fn finish(
    mut value: Value,
    twice: Vec<(String, String)>,
    schema: Option<&Schema>,
    validation: FieldValidation,
    order: impl FnOnce() -> Vec<String>,
) -> Result<Decoded, DecodeError> {
    if !fits(&value, MAX_DEPTH) {
        return Err(DecodeError::Syntax("exceeded max depth".to_owned()));
    }
    let mut complaints = twice;
    if let Some(schema) = schema {
        let custom = schema.is_custom();
        let unknown = if custom {
            walk::metadata(&mut value)?.into_iter().chain(prune(schema, &mut value)).collect()
        } else {
            walk::typed(&mut value, &schema.root)?
        };
        complaints.extend(unknown.into_iter().map(|path| {
            let text = format!("unknown field {path:?}");
            (path, text)
        }));
        // Go's decoder complains as it reads; custom objects are read first and pruned afterwards.
        if !custom && complaints.len() > 1 {
            let order = order();
            complaints.sort_by_key(|(path, text)| match text.starts_with("duplicate") {
                true => order.iter().rposition(|read| read == path),
                false => order.iter().position(|read| read == path),
            });
        }
    }
    let complaints: Vec<String> = complaints.into_iter().map(|(_, text)| text).collect();
    match validation {
        FieldValidation::Strict if !complaints.is_empty() => Err(DecodeError::Strict(complaints)),
        FieldValidation::Warn => Ok(Decoded { value, warnings: complaints }),
        _ => Ok(Decoded { value, warnings: Vec::new() }),
    }
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
        let twice = super::yaml(b"a: 1\nb: 2\na: 3\n", None, FieldValidation::Strict).unwrap_err().to_string();
        assert_eq!(twice, "strict decoding error: yaml: unmarshal errors:\n  line 3: key \"a\" already set in map");
        let decoded = deployment(text, FieldValidation::Warn).unwrap();
        assert_eq!(decoded.warnings.len(), 3);
        assert_eq!(decoded.value.pointer("/spec/replicas"), Some(&json!(2)));
        assert_eq!(decoded.value.pointer("/spec/foo"), None);
    }

    #[test]
    fn wrong_types_speak_go() {
        for (text, expected) in [
            (
                r#"{"spec":{"replicas":"three"}}"#,
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#,
                "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            (
                r#"{"metadata":{"labels":{"a":1}}}"#,
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (r#"[]"#, "json: cannot unmarshal array into Go value of type v1.Deployment"),
            (
                r#"{"spec":{"replicas":1.5}}"#,
                "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
        ] {
            assert_eq!(deployment(text, FieldValidation::Ignore).unwrap_err().to_string(), expected);
        }
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
