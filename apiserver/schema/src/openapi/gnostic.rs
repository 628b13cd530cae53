//! A swagger document in gnostic's protobuf form (`openapi.v2.Document`), which kubectl before 1.27 and some client
//! libraries ask for.

use std::convert::Infallible;

use serde_json::{Map, Value};

use crate::protobuf::wire::Writer;

pub(super) type Done = Result<(), Infallible>;

/// `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`.
#[must_use]
pub fn v2_protobuf(document: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    let Ok(()) = write_document(&mut out, document);
    out.0
}

fn write_document(out: &mut Writer, document: &Value) -> Done {
    text(out, 1, document, "swagger");
    out.message(2, |out| {
        text(out, 1, &document["info"], "title");
        text(out, 2, &document["info"], "version");
        Done::Ok(())
    })?;
    out.message(8, |out| {
        entries(&document["paths"]).try_for_each(|(name, item)| named(out, 2, name, |out| path_item(out, item)))
    })?;
    out.message(9, |out| {
        entries(&document["definitions"]).try_for_each(|(name, item)| named(out, 1, name, |out| schema(out, item)))
    })?;
    out.message(10, |out| {
        entries(&document["parameters"]).try_for_each(|(name, item)| named(out, 1, name, |out| parameter(out, item)))
    })?;
    items(document, "security").try_for_each(|requirement| {
        let one = |out: &mut Writer, (name, _): (&String, &Value)| named(out, 1, name, |_| Done::Ok(()));
        out.message(12, |out| entries(requirement).try_for_each(|entry| one(out, entry)))
    })?;
    out.message(13, |out| {
        entries(&document["securityDefinitions"]).try_for_each(|(name, item)| {
            named(out, 1, name, |out| {
                out.message(2, |out| {
                    text(out, 1, item, "type");
                    text(out, 2, item, "name");
                    text(out, 3, item, "in");
                    text(out, 4, item, "description");
                    Ok(())
                })
            })
        })
    })
}

pub(super) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub(super) fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

pub(super) fn text(out: &mut Writer, number: u32, value: &Value, name: &str) {
    if let Some(text) = value.get(name).and_then(Value::as_str) {
        out.bytes(number, text.as_bytes());
    }
}

pub(super) fn texts(out: &mut Writer, number: u32, value: &Value, name: &str) {
    items(value, name).filter_map(Value::as_str).for_each(|text| out.bytes(number, text.as_bytes()));
}

pub(super) fn flag(out: &mut Writer, number: u32, value: &Value, name: &str) {
    if value.get(name) == Some(&Value::Bool(true)) {
        out.integer(number, 1);
    }
}

/// A name and a message: every map of the format is a list of these.
pub(super) fn named(out: &mut Writer, number: u32, name: &str, body: impl FnOnce(&mut Writer) -> Done) -> Done {
    out.message(number, |out| {
        out.bytes(1, name.as_bytes());
        out.message(2, body)
    })
}

/// `Any`: YAML text, and JSON is YAML.
pub(super) fn any(out: &mut Writer, number: u32, value: &Value) -> Done {
    out.message(number, |out| {
        out.bytes(2, format!("{value}\n").as_bytes());
        Ok(())
    })
}

pub(super) fn extensions(out: &mut Writer, number: u32, value: &Value) -> Done {
    entries(value).filter(|(name, _)| name.starts_with("x-")).try_for_each(|(name, value)| {
        out.message(number, |out| {
            out.bytes(1, name.as_bytes());
            any(out, 2, value)
        })
    })
}

fn path_item(out: &mut Writer, item: &Value) -> Done {
    for (number, method) in
        [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")]
    {
        if let Some(value) = item.get(method) {
            out.message(number, |out| operation(out, value))?;
        }
    }
    items(item, "parameters").try_for_each(|value| parameters_item(out, 9, value))
}

fn operation(out: &mut Writer, value: &Value) -> Done {
    texts(out, 1, value, "tags");
    text(out, 3, value, "description");
    text(out, 5, value, "operationId");
    texts(out, 6, value, "produces");
    texts(out, 7, value, "consumes");
    items(value, "parameters").try_for_each(|value| parameters_item(out, 8, value))?;
    out.message(9, |out| {
        entries(&value["responses"]).try_for_each(|(code, answer)| {
            named(out, 1, code, |out| {
                out.message(1, |out| {
                    text(out, 1, answer, "description");
                    match answer.get("schema") {
                        Some(of) => out.message(2, |out| out.message(1, |out| schema(out, of))),
                        None => Ok(()),
                    }
                })
            })
        })
    })?;
    texts(out, 10, value, "schemes");
    extensions(out, 13, value)
}

/// A parameter, or a reference to one.
fn parameters_item(out: &mut Writer, number: u32, value: &Value) -> Done {
    out.message(number, |out| match value.get("$ref") {
        Some(_) => out.message(2, |out| {
            text(out, 1, value, "$ref");
            Ok(())
        }),
        None => out.message(1, |out| parameter(out, value)),
    })
}

fn parameter(out: &mut Writer, value: &Value) -> Done {
    match value["in"].as_str().unwrap_or_default() {
        "body" => out.message(1, |out| {
            text(out, 2, value, "name");
            text(out, 3, value, "in");
            flag(out, 4, value, "required");
            out.message(5, |out| schema(out, &value["schema"]))
        }),
        place => out.message(2, |out| {
            let path = place == "path";
            out.message(if path { 4 } else { 3 }, |out| {
                flag(out, 1, value, "required");
                text(out, 2, value, "in");
                text(out, 3, value, "description");
                text(out, 4, value, "name");
                text(out, if path { 5 } else { 6 }, value, "type");
                flag(out, if path { 19 } else { 20 }, value, "uniqueItems");
                Ok(())
            })
        }),
    }
}

fn schema(out: &mut Writer, value: &Value) -> Done {
    text(out, 1, value, "$ref");
    text(out, 2, value, "format");
    text(out, 3, value, "title");
    text(out, 4, value, "description");
    if let Some(default) = value.get("default") {
        any(out, 5, default)?;
    }
    for (number, name) in [(6, "multipleOf"), (7, "maximum"), (9, "minimum")] {
        if let Some(bound) = value.get(name).and_then(Value::as_f64) {
            out.double(number, bound);
        }
    }
    flag(out, 8, value, "exclusiveMaximum");
    flag(out, 10, value, "exclusiveMinimum");
    let bounds = [
        (11, "maxLength"),
        (12, "minLength"),
        (14, "maxItems"),
        (15, "minItems"),
        (17, "maxProperties"),
        (18, "minProperties"),
    ];
    for (number, name) in bounds {
        if let Some(bound) = value.get(name).and_then(Value::as_i64) {
            out.integer(number, bound);
        }
    }
    text(out, 13, value, "pattern");
    texts(out, 19, value, "required");
    items(value, "enum").try_for_each(|word| any(out, 20, word))?;
    match value.get("additionalProperties") {
        Some(Value::Bool(allowed)) => out.message(21, |out| {
            out.integer(2, i64::from(*allowed));
            Done::Ok(())
        })?,
        Some(values) => out.message(21, |out| out.message(1, |out| schema(out, values)))?,
        None => {}
    }
    if value.get("type").is_some() {
        out.message(22, |out| {
            text(out, 1, value, "type");
            Done::Ok(())
        })?;
    }
    if let Some(item) = value.get("items") {
        out.message(23, |out| out.message(1, |out| schema(out, item)))?;
    }
    items(value, "allOf").try_for_each(|branch| out.message(24, |out| schema(out, branch)))?;
    if let Some(properties) =
        value.get("properties").and_then(Value::as_object).filter(|map: &&Map<_, _>| !map.is_empty())
    {
        out.message(25, |out| {
            properties.iter().try_for_each(|(name, value)| named(out, 1, name, |out| schema(out, value)))
        })?;
    }
    extensions(out, 31, value)
}
