//! Values of a file against Go's types, with what Go's reader of JSON says of those that do not fit. Nothing of a text is shown.

use schema::decode::go_kind;
use serde_json::Value;

/// Go's types, as its messages name them.
pub enum Type {
    Text,
    /// Text of a type of its own: `v1.Level`.
    Named(&'static str),
    Bool,
    Int32,
    /// Text to JSON.
    Duration,
    Struct(&'static Struct),
    List(&'static Type),
    /// By texts.
    Map(&'static Type),
    /// What nobody looks at.
    Any,
}

pub struct Struct {
    /// Without its package.
    pub name: &'static str,
    pub fields: &'static [(&'static str, Type)],
}

/// What files may say of themselves and hardly ever do.
pub const OBJECT_META: Struct = Struct {
    name: "ObjectMeta",
    fields: &[
        ("name", Type::Text),
        ("namespace", Type::Text),
        ("labels", Type::Map(&Type::Text)),
        ("annotations", Type::Map(&Type::Text)),
    ],
};

/// Which fields are not known, where all others fit; what there is below `apiVersion` and `kind` is looked at elsewhere.
///
/// # Errors
/// The first that does not fit.
pub fn check(value: &Value, of: &'static Struct) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    fits(value, &Type::Struct(of), &Place { within: of.name, names: "", path: "" }, &mut unknown)?;
    Ok(unknown)
}

/// Where a value stands: in a field of which struct, the names of the fields that lead there, and the same with indices.
struct Place<'a> {
    within: &'a str,
    names: &'a str,
    path: &'a str,
}

/// Whether a value is of its type; fields that are not known are noted.
///
/// # Errors
/// What Go's reader of JSON says.
fn fits(value: &Value, of: &Type, at: &Place<'_>, unknown: &mut Vec<String>) -> Result<(), String> {
    let below = |before: &str, name: &str| if before.is_empty() { name.to_owned() } else { format!("{before}.{name}") };
    let Place { within, names, path } = at;
    match (of, value) {
        (Type::Any, _)
        | (_, Value::Null)
        | (Type::Text | Type::Named(_), Value::String(_))
        | (Type::Bool, Value::Bool(_)) => {}
        (Type::Int32, Value::Number(number)) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {}
        (Type::Duration, Value::String(text)) => drop(schema::time::parse_duration(text)?),
        (Type::Duration, _) => {
            return Err(format!("json: cannot unmarshal {} into Go value of type string", go_kind(value)));
        }
        (Type::Int32, Value::Number(number)) => {
            return Err(format!(
                "json: cannot unmarshal number {number} into Go struct field {within}.{names} of type int32"
            ));
        }
        (Type::List(of), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                fits(item, of, &Place { within, names, path: &format!("{path}[{index}]") }, unknown)?;
            }
        }
        (Type::Map(of), Value::Object(entries)) => {
            for (key, entry) in entries {
                fits(entry, of, &Place { within, names, path: &below(path, key) }, unknown)?;
            }
        }
        (Type::Struct(of), Value::Object(fields)) => {
            for (name, value) in fields {
                let path = below(path, name);
                match of.fields.iter().find(|(known, _)| known == name) {
                    Some((_, field)) => {
                        fits(
                            value,
                            field,
                            &Place { within: of.name, names: &below(names, name), path: &path },
                            unknown,
                        )?;
                    }
                    None => unknown.push(format!("unknown field {path:?}")),
                }
            }
        }
        _ => {
            let (have, wanted) = (go_kind(value), of.name());
            return Err(match names {
                &"" => format!("json: cannot unmarshal {have} into Go value of type {wanted}"),
                names => {
                    format!("json: cannot unmarshal {have} into Go struct field {within}.{names} of type {wanted}")
                }
            });
        }
    }
    Ok(())
}

impl Type {
    fn name(&self) -> String {
        match self {
            Self::Text => "string".to_owned(),
            Self::Named(name) => (*name).to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Map(of) => format!("map[string]{}", of.name()),
            Self::Any => "interface {}".to_owned(),
            Self::Int32 => "int32".to_owned(),
            Self::Duration => "v1.Duration".to_owned(),
            Self::Struct(of) => format!("v1.{}", of.name),
            Self::List(of) => format!("[]{}", of.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const INNER: Struct = Struct { name: "Inner", fields: &[("n", Type::Int32), ("t", Type::Named("v1.Level"))] };
    const OUTER: Struct = Struct {
        name: "Outer",
        fields: &[
            ("metadata", Type::Struct(&OBJECT_META)),
            ("list", Type::List(&Type::Struct(&INNER))),
            ("yes", Type::Bool),
            ("time", Type::Duration),
            ("any", Type::Any),
        ],
    };

    #[test]
    fn what_does_not_fit_is_told_in_gos_words() {
        let told = |what: &str| Err(format!("json: cannot unmarshal {what}"));
        for (value, expected) in [
            (
                json!({ "list": [{ "n": 1, "t": "x" }], "yes": true, "time": "3s", "any": [1], "metadata": null }),
                Ok(vec![]),
            ),
            (json!({ "a": 1, "list": [{}, { "b": 1 }] }), Ok(vec!["a", "list[1].b"])),
            (json!([]), told("array into Go value of type v1.Outer")),
            (json!({ "list": {} }), told("object into Go struct field Outer.list of type []v1.Inner")),
            (json!({ "list": ["x"] }), told("string into Go struct field Outer.list of type v1.Inner")),
            (json!({ "list": [{ "t": true }] }), told("bool into Go struct field Inner.list.t of type v1.Level")),
            (json!({ "list": [{ "n": 1.5 }] }), told("number 1.5 into Go struct field Inner.list.n of type int32")),
            (
                json!({ "list": [{ "n": 3_000_000_000_u32 }] }),
                told("number 3000000000 into Go struct field Inner.list.n of type int32"),
            ),
            (json!({ "yes": "true" }), told("string into Go struct field Outer.yes of type bool")),
            (json!({ "time": 3 }), told("number into Go value of type string")),
            (json!({ "time": "x" }), Err("time: invalid duration \"x\"".to_owned())),
            (json!({ "metadata": 3 }), told("number into Go struct field Outer.metadata of type v1.ObjectMeta")),
            (
                json!({ "metadata": { "labels": { "a": 1 } } }),
                told("number into Go struct field ObjectMeta.metadata.labels of type string"),
            ),
        ] {
            let expected =
                expected.map(|unknown| unknown.iter().map(|path| format!("unknown field {path:?}")).collect());
            assert_eq!(check(&value, &OUTER), expected, "{value}");
        }
    }
}
