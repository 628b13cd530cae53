//! An OpenAPI v3 document in gnostic's protobuf form (`openapi.v3.Document`). What there is of it in our documents is told by
//! the tables below: the number of a field, its name in JSON, and its form.

use serde_json::Value;

use super::gnostic::{Done, any, entries, extensions, flag, items, named, text, texts};
use crate::protobuf::wire::Writer;

/// `application/com.github.proto-openapi.spec.v3@v1.0+protobuf`.
#[must_use]
pub fn v3_protobuf(document: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    let Ok(()) = message(&mut out, &DOCUMENT, document);
    out.0
}

type Table = &'static Message;

/// What a message is made of.
struct Message {
    fields: &'static [(u32, &'static str, Form)],
    /// The number of its extensions, those fields whose names begin with `x-`; 0: it has none.
    extensions: u32,
}

/// How a value is written.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Texts,
    Flag,
    Integer,
    Double,
    Any,
    Anys,
    One(Table),
    Each(Table),
    /// A message, or a reference to one.
    Or(Table),
    EachOr(Table),
    /// A list of names and messages.
    Map(Table),
    MapOr(Table),
    /// A boolean, or the schema of all values.
    Additional,
    /// The schema of items, which could be several.
    Items,
    /// A number, a boolean, or a text; there is no form for others.
    Default,
    /// Names and lists of texts.
    Requirement,
    /// One for each code.
    Responses,
}

use Form::{
    Additional, Any, Anys, Default, Double, Each, EachOr, Flag, Integer, Items, Map, MapOr, One, Or, Requirement,
    Responses, Text, Texts,
};

static DOCUMENT: Message = Message {
    fields: &[
        (1, "openapi", Text),
        (2, "info", One(&INFO)),
        (4, "paths", Map(&PATH_ITEM)),
        (5, "components", One(&COMPONENTS)),
    ],
    extensions: 9,
};

static INFO: Message =
    Message { fields: &[(1, "title", Text), (2, "description", Text), (6, "version", Text)], extensions: 7 };

static COMPONENTS: Message = Message {
    fields: &[(1, "schemas", MapOr(&SCHEMA)), (7, "securitySchemes", MapOr(&SECURITY_SCHEME))],
    extensions: 10,
};

static SECURITY_SCHEME: Message = Message {
    fields: &[(1, "type", Text), (2, "description", Text), (3, "name", Text), (4, "in", Text)],
    extensions: 9,
};

static PATH_ITEM: Message = Message {
    fields: &[
        (3, "description", Text),
        (4, "get", One(&OPERATION)),
        (5, "put", One(&OPERATION)),
        (6, "post", One(&OPERATION)),
        (7, "delete", One(&OPERATION)),
        (8, "options", One(&OPERATION)),
        (9, "head", One(&OPERATION)),
        (10, "patch", One(&OPERATION)),
        (13, "parameters", EachOr(&PARAMETER)),
    ],
    extensions: 14,
};

static OPERATION: Message = Message {
    fields: &[
        (1, "tags", Texts),
        (3, "description", Text),
        (5, "operationId", Text),
        (6, "parameters", EachOr(&PARAMETER)),
        (7, "requestBody", Or(&REQUEST_BODY)),
        (8, "responses", Responses),
        (10, "deprecated", Flag),
        (11, "security", Each(&SECURITY)),
    ],
    extensions: 13,
};

/// Its fields are what it is about.
static SECURITY: Message = Message { fields: &[(1, "", Requirement)], extensions: 0 };

static PARAMETER: Message = Message {
    fields: &[
        (1, "name", Text),
        (2, "in", Text),
        (3, "description", Text),
        (4, "required", Flag),
        (10, "schema", Or(&SCHEMA)),
    ],
    extensions: 14,
};

static REQUEST_BODY: Message = Message {
    fields: &[(1, "description", Text), (2, "content", Map(&MEDIA_TYPE)), (3, "required", Flag)],
    extensions: 4,
};

static RESPONSE: Message =
    Message { fields: &[(1, "description", Text), (3, "content", Map(&MEDIA_TYPE))], extensions: 5 };

static MEDIA_TYPE: Message = Message { fields: &[(1, "schema", Or(&SCHEMA)), (2, "example", Any)], extensions: 5 };

static SCHEMA: Message = Message {
    fields: &[
        (1, "nullable", Flag),
        (7, "example", Any),
        (8, "deprecated", Flag),
        (9, "title", Text),
        (10, "multipleOf", Double),
        (11, "maximum", Double),
        (12, "exclusiveMaximum", Flag),
        (13, "minimum", Double),
        (14, "exclusiveMinimum", Flag),
        (15, "maxLength", Integer),
        (16, "minLength", Integer),
        (17, "pattern", Text),
        (18, "maxItems", Integer),
        (19, "minItems", Integer),
        (20, "uniqueItems", Flag),
        (21, "maxProperties", Integer),
        (22, "minProperties", Integer),
        (23, "required", Texts),
        (24, "enum", Anys),
        (25, "type", Text),
        (26, "allOf", EachOr(&SCHEMA)),
        (27, "oneOf", EachOr(&SCHEMA)),
        (28, "anyOf", EachOr(&SCHEMA)),
        (29, "not", One(&SCHEMA)),
        (30, "items", Items),
        (31, "properties", MapOr(&SCHEMA)),
        (32, "additionalProperties", Additional),
        (33, "default", Default),
        (34, "description", Text),
        (35, "format", Text),
    ],
    extensions: 36,
};

fn message(out: &mut Writer, table: Table, value: &Value) -> Done {
    for (number, name, form) in table.fields {
        let found = if name.is_empty() { Some(value) } else { value.get(name) };
        if let Some(found) = found {
            field(out, *number, *form, value, name, found)?;
        }
    }
    if table.extensions == 0 { Ok(()) } else { extensions(out, table.extensions, value) }
}

/// A field `name` of `value`, whose own value is `found`.
fn field(out: &mut Writer, number: u32, form: Form, value: &Value, name: &str, found: &Value) -> Done {
    match form {
        Text => text(out, number, value, name),
        Texts => texts(out, number, value, name),
        Flag => flag(out, number, value, name),
        Integer => found.as_i64().into_iter().for_each(|found| out.integer(number, found)),
        Double => found.as_f64().into_iter().for_each(|found| out.double(number, found)),
        Any => any(out, number, found)?,
        Anys => items(value, name).try_for_each(|item| any(out, number, item))?,
        One(table) => out.message(number, |out| message(out, table, found))?,
        Each(table) => {
            items(value, name).try_for_each(|item| out.message(number, |out| message(out, table, item)))?;
        }
        Or(table) => out.message(number, |out| reference_or(out, table, found))?,
        EachOr(table) => {
            items(value, name).try_for_each(|item| out.message(number, |out| reference_or(out, table, item)))?;
        }
        Map(table) => out.message(number, |out| {
            entries(found).try_for_each(|(name, item)| named(out, 1, name, |out| message(out, table, item)))
        })?,
        MapOr(table) => out.message(number, |out| {
            entries(found).try_for_each(|(name, item)| named(out, 1, name, |out| reference_or(out, table, item)))
        })?,
        Additional => out.message(number, |out| match found {
            Value::Bool(allowed) => {
                out.integer(2, i64::from(*allowed));
                Ok(())
            }
            schema => out.message(1, |out| reference_or(out, &SCHEMA, schema)),
        })?,
        Items => out.message(number, |out| out.message(1, |out| reference_or(out, &SCHEMA, found)))?,
        Default => default(out, number, found)?,
        Requirement => entries(found).try_for_each(|(name, scopes)| {
            named(out, number, name, |out| {
                let scopes = scopes.as_array().into_iter().flatten().filter_map(Value::as_str);
                scopes.for_each(|scope| out.bytes(1, scope.as_bytes()));
                Ok(())
            })
        })?,
        Responses => out.message(number, |out| {
            entries(found).try_for_each(|(code, item)| match code.as_str() {
                "default" => out.message(1, |out| reference_or(out, &RESPONSE, item)),
                code => named(out, 2, code, |out| reference_or(out, &RESPONSE, item)),
            })
        })?,
    }
    Ok(())
}

fn reference_or(out: &mut Writer, table: Table, value: &Value) -> Done {
    match value.get("$ref") {
        Some(_) => out.message(2, |out| {
            text(out, 1, value, "$ref");
            text(out, 3, value, "description");
            Ok(())
        }),
        None => out.message(1, |out| message(out, table, value)),
    }
}

fn default(out: &mut Writer, number: u32, value: &Value) -> Done {
    match value {
        Value::Number(value) => out.message(number, |out| {
            out.double(1, value.as_f64().unwrap_or_default());
            Ok(())
        }),
        Value::Bool(value) => out.message(number, |out| {
            out.integer(2, i64::from(*value));
            Ok(())
        }),
        Value::String(value) => out.message(number, |out| {
            out.bytes(3, value.as_bytes());
            Ok(())
        }),
        _ => Ok(()),
    }
}
