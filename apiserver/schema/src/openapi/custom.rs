//! What is published of a custom resource's schema: all that has a structural form, in v2 without what old clients take for
//! more than it is (apiextensions' `controller/openapi` and `apiserver/schema`).

use serde_json::{Map, Value, json};

use super::types::Dialect;
use crate::crd::structural::{is_int_or_string, starts_with_int_or_string};

/// A served version of a definition, as its documents show it.
#[derive(Clone, Debug, Default)]
pub struct Custom {
    /// `openAPIV3Schema`; null where there is none.
    pub schema: Value,
    /// The definition's `spec.preserveUnknownFields`.
    pub preserve_unknown: bool,
    pub list_kind: String,
    /// The JSON paths of fields to select by, without the leading dot.
    pub selectable: Vec<String>,
}

impl Custom {
    /// The fields to select by, as the documents name them.
    pub(super) fn selectable_fields(&self) -> Option<Value> {
        let fields: Vec<Value> = self.selectable.iter().map(|path| json!({ "fieldPath": path })).collect();
        (!fields.is_empty()).then(|| fields.into())
    }

    /// The schema as it is published, but for the fields that every resource has; None: nothing is said of any field.
    pub(super) fn published(&self, dialect: Dialect) -> Option<Map<String, Value>> {
        let schema = self.schema.as_object()?;
        // To old clients named fields would forbid all others.
        if dialect == Dialect::V2 && (self.preserve_unknown || is(schema, PRESERVE)) {
            return None;
        }
        Some(structural(schema, dialect))
    }
}

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const JUNCTORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Values, not schemas: what is empty in them says something.
const VALUES: [&str; 3] = ["default", "example", "enum"];

fn is(schema: &Map<String, Value>, flag: &str) -> bool {
    schema.get(flag) == Some(&Value::Bool(true))
}

/// What is said by not saying it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(_) => false,
    }
}

/// What a schema says of a value itself, without the schemas below.
fn own(schema: &Map<String, Value>) -> Map<String, Value> {
    let below = |name: &str| {
        JUNCTORS.contains(&name) || matches!(name, "not" | "items" | "properties" | "additionalProperties")
    };
    let says = |name: &str, value: &Value| match VALUES.contains(&name) {
        true => !value.is_null() && *value != json!([]),
        false => !is_empty(value),
    };
    let fields = schema.iter().filter(|(name, value)| !below(name) && says(name, value));
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn structural(schema: &Map<String, Value>, dialect: Dialect) -> Map<String, Value> {
    let mut out = own(schema);
    for name in ["items", "additionalProperties"] {
        match schema.get(name) {
            Some(Value::Object(below)) => out.insert(name.to_owned(), structural(below, dialect).into()),
            Some(Value::Bool(any)) => out.insert(name.to_owned(), (*any).into()),
            _ => None,
        };
    }
    if let Some(Value::Object(properties)) = schema.get("properties").filter(|all| !is_empty(all)) {
        let below = properties.iter().filter_map(|(name, below)| Some((name, below.as_object()?)));
        let properties: Map<_, _> =
            below.map(|(name, below)| (name.clone(), structural(below, dialect).into())).collect();
        out.insert("properties".to_owned(), properties.into());
    }
    match dialect {
        Dialect::V2 => simplify(schema, &mut out),
        Dialect::V3 => {
            junctors(schema, &mut out);
            unfold(schema, &mut out);
        }
    }
    out
}

fn junctors(schema: &Map<String, Value>, out: &mut Map<String, Value>) {
    for name in JUNCTORS {
        if let Some(Value::Array(branches)) = schema.get(name).filter(|all| !is_empty(all)) {
            let branches: Vec<Value> = branches.iter().map(branch).collect();
            out.insert(name.to_owned(), branches.into());
        }
    }
    if let Some(not) = schema.get("not") {
        out.insert("not".to_owned(), branch(not));
    }
}

/// What stands in a junctor; of other values of a map nothing is published there.
fn branch(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return json!({}) };
    let mut out = own(schema);
    if let Some(items) = schema.get("items") {
        out.insert("items".to_owned(), branch(items));
    }
    if let Some(Value::Object(properties)) = schema.get("properties").filter(|all| !is_empty(all)) {
        let properties: Map<_, _> = properties.iter().map(|(name, below)| (name.clone(), branch(below))).collect();
        out.insert("properties".to_owned(), properties.into());
    }
    junctors(schema, &mut out);
    out.into()
}

/// Says in standard words that a value is an integer or a string.
fn unfold(schema: &Map<String, Value>, out: &mut Map<String, Value>) {
    let whole = Value::Object(schema.clone());
    if !is(schema, "x-kubernetes-int-or-string") || is_int_or_string(&whole) || starts_with_int_or_string(&whole) {
        return;
    }
    let either = json!([{ "type": "integer" }, { "type": "string" }]);
    if out.contains_key("anyOf") {
        let mut all = vec![json!({ "anyOf": either })];
        if let Some(Value::Array(others)) = out.remove("allOf") {
            all.extend(others);
        }
        out.insert("allOf".to_owned(), all.into());
    } else {
        out.insert("anyOf".to_owned(), either);
    }
}

/// The second version knows neither junctors nor null, and clients of it take fields that are named for all there may be.
fn simplify(schema: &Map<String, Value>, out: &mut Map<String, Value>) {
    out.remove("default");
    let nullable = out.remove("nullable").is_some();
    if nullable {
        out.remove("type");
    }
    if nullable || is(schema, PRESERVE) {
        out.remove("items");
        out.remove("properties");
    }
    let kind = out.get("type").and_then(Value::as_str);
    if (kind == Some("array") && !out.contains_key("items")) || (kind == Some("object") && is(schema, PRESERVE)) {
        out.remove("type");
    }
    // A field that may be null is of no type any more, so that null would be taken for its absence.
    let may_be_null = |below: Option<&Value>| below.and_then(Value::as_object).is_some_and(|s| is(s, "nullable"));
    let values_may = may_be_null(schema.get("additionalProperties"));
    let named = out.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    let nulls: Vec<Value> =
        named.filter(|name| may_be_null(schema["properties"].get(*name))).map(|name| name.as_str().into()).collect();
    if let Some(Value::Array(required)) = out.get_mut("required") {
        required.retain(|name| !values_may && !nulls.contains(name));
        if required.is_empty() {
            out.remove("required");
        }
    }
}

/// What every resource has, wherever it stands.
pub(super) struct ResourceFields {
    pub api_version: Value,
    pub kind: Value,
    pub metadata: Value,
}

impl ResourceFields {
    fn add(&self, schema: &mut Map<String, Value>) {
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        for (name, value) in [("apiVersion", &self.api_version), ("kind", &self.kind), ("metadata", &self.metadata)] {
            properties[name] = value.clone();
        }
    }

    /// Adds them to a resource.
    pub fn add_to_root(&self, schema: &mut Map<String, Value>) {
        self.add(schema);
    }

    /// Adds them to the resources that stand in others' fields.
    pub fn add_to_embedded(&self, schema: &mut Map<String, Value>, dialect: Dialect) {
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            let below = properties.values_mut().filter_map(Value::as_object_mut);
            below.for_each(|below| self.add_to_embedded(below, dialect));
        }
        for name in ["items", "additionalProperties"] {
            if let Some(Value::Object(below)) = schema.get_mut(name) {
                self.add_to_embedded(below, dialect);
            }
        }
        let free = dialect == Dialect::V2 && is(schema, PRESERVE);
        if free || !is(schema, "x-kubernetes-embedded-resource") {
            return;
        }
        self.add(schema);
        let required = schema.entry("required").or_insert_with(|| json!([]));
        if let Value::Array(required) = required {
            for name in ["kind", "apiVersion"].map(Value::from) {
                if !required.contains(&name) {
                    required.push(name);
                }
            }
        }
    }
}
