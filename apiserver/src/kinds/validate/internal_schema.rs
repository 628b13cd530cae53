//! Definitions' versions and schemas as upstream shows them in errors: the JSON of its internal types, with every field.

use schema::field::go_json;
use serde_json::Value;

/// How a field of the internal type is encoded if it is not set, or set.
#[derive(Clone, Copy)]
enum As {
    Text,
    Flag,
    /// null, or the value as it is.
    Plain,
    Schema,
    Schemas,
    Map,
    /// Of `items`: one schema, or several.
    Items,
    /// A schema, or whether anything is allowed.
    OrBool,
    Rules,
}

const SCHEMA: &[(&str, &str, As)] = &[
    ("ID", "id", As::Text),
    ("Schema", "$schema", As::Text),
    ("Ref", "$ref", As::Plain),
    ("Description", "description", As::Text),
    ("Type", "type", As::Text),
    ("Nullable", "nullable", As::Flag),
    ("Format", "format", As::Text),
    ("Title", "title", As::Text),
    ("Default", "default", As::Plain),
    ("Maximum", "maximum", As::Plain),
    ("ExclusiveMaximum", "exclusiveMaximum", As::Flag),
    ("Minimum", "minimum", As::Plain),
    ("ExclusiveMinimum", "exclusiveMinimum", As::Flag),
    ("MaxLength", "maxLength", As::Plain),
    ("MinLength", "minLength", As::Plain),
    ("Pattern", "pattern", As::Text),
    ("MaxItems", "maxItems", As::Plain),
    ("MinItems", "minItems", As::Plain),
    ("UniqueItems", "uniqueItems", As::Flag),
    ("MultipleOf", "multipleOf", As::Plain),
    ("Enum", "enum", As::Plain),
    ("MaxProperties", "maxProperties", As::Plain),
    ("MinProperties", "minProperties", As::Plain),
    ("Required", "required", As::Plain),
    ("Items", "items", As::Items),
    ("AllOf", "allOf", As::Schemas),
    ("OneOf", "oneOf", As::Schemas),
    ("AnyOf", "anyOf", As::Schemas),
    ("Not", "not", As::Schema),
    ("Properties", "properties", As::Map),
    ("AdditionalProperties", "additionalProperties", As::OrBool),
    ("PatternProperties", "patternProperties", As::Map),
    ("Dependencies", "dependencies", As::Plain),
    ("AdditionalItems", "additionalItems", As::OrBool),
    ("Definitions", "definitions", As::Map),
    ("ExternalDocs", "externalDocs", As::Plain),
    ("Example", "example", As::Plain),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", As::Plain),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", As::Flag),
    ("XIntOrString", "x-kubernetes-int-or-string", As::Flag),
    ("XListMapKeys", "x-kubernetes-list-map-keys", As::Plain),
    ("XListType", "x-kubernetes-list-type", As::Plain),
    ("XMapType", "x-kubernetes-map-type", As::Plain),
    ("XValidations", "x-kubernetes-validations", As::Rules),
];
const RULE: &[(&str, &str, As)] = &[
    ("Rule", "rule", As::Text),
    ("Message", "message", As::Text),
    ("MessageExpression", "messageExpression", As::Text),
    ("Reason", "reason", As::Plain),
    ("FieldPath", "fieldPath", As::Text),
    ("OptionalOldSelf", "optionalOldSelf", As::Plain),
];

/// Fields a schema may have set at its root although its status is a subresource, and the field that is none of them.
const AT_ROOT: &[&str] = &[
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];

/// What is said of a root that has other fields besides the status subresource.
pub fn only_at_root() -> String {
    let fields = AT_ROOT.join(" ");
    format!("only [{fields}] fields are allowed at the root of the schema if the status subresource is enabled")
}

/// Whether a schema has only fields that a status subresource tolerates at its root.
pub fn fits_status(schema: &Value) -> bool {
    let set = |json: &str| schema.get(json).is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)));
    SCHEMA.iter().all(|(go, json, _)| AT_ROOT.contains(go) || !set(json))
}

/// A schema, null for none.
pub fn schema(value: &Value) -> String {
    if value.is_object() { object(SCHEMA, value) } else { "null".to_owned() }
}

fn object(fields: &[(&str, &str, As)], value: &Value) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(go, json, form)| format!("\"{go}\":{}", field(*form, value.get(json)))).collect();
    format!("{{{}}}", fields.join(","))
}

fn field(form: As, value: Option<&Value>) -> String {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return match form {
            As::Text => "\"\"",
            As::Flag => "false",
            _ => "null",
        }
        .to_owned();
    };
    let each = |list: &[Value], fields| list.iter().map(|one| object(fields, one)).collect::<Vec<_>>().join(",");
    match (form, value) {
        (As::Schema, value) => schema(value),
        (As::Schemas, Value::Array(list)) => format!("[{}]", each(list, SCHEMA)),
        (As::Rules, Value::Array(list)) => format!("[{}]", each(list, RULE)),
        (As::Map, Value::Object(map)) => {
            let entries = map.iter().map(|(key, value)| format!("{}:{}", go_json(&key.as_str().into()), schema(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
        (As::Items, Value::Array(list)) => format!("{{\"Schema\":null,\"JSONSchemas\":[{}]}}", each(list, SCHEMA)),
        (As::Items, value) => format!("{{\"Schema\":{},\"JSONSchemas\":null}}", schema(value)),
        (As::OrBool, Value::Bool(allows)) => format!("{{\"Allows\":{allows},\"Schema\":null}}"),
        (As::OrBool, value) => format!("{{\"Allows\":true,\"Schema\":{}}}", schema(value)),
        (_, value) => go_json(value),
    }
}
