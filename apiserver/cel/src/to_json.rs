//! Values an expression made, as JSON: what a mutation puts into an object (`apiserver/pkg/cel/mutation`).

use base64::Engine as _;
use schema::apply::{Foreign, Step};
use schema::go::{self, Printed};
use schema::time::Instant;
use serde_json::{Map as Fields, Value as Json};

use crate::{
    escape::unescape,
    value::{ObjectValue, Value},
};

impl Value<'_> {
    /// The JSON of a value, or why it has none.
    pub fn to_json(&self) -> Result<Json, String> {
        Ok(match self {
            Self::Null | Self::Optional(None) => Json::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Uint(value) => (*value).into(),
            Self::Double(value) => (*value).into(),
            Self::String(text) => (**text).into(),
            Self::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
            Self::Duration(_) | Self::Timestamp(_) => self.to_string().into(),
            Self::List(list) => {
                let values = list.iter().map(|value| value.map_err(|error| error.to_string())?.to_json());
                Json::Array(values.collect::<Result<_, String>>()?)
            }
            Self::Map(map) => {
                let mut fields = Fields::new();
                for key in map.keys() {
                    let value = map.get(&key).map_err(|error| error.to_string())?.unwrap_or(Value::Null);
                    fields.insert(name_of(&key)?.to_owned(), value.to_json()?);
                }
                Json::Object(fields)
            }
            Self::Object(object) => object.to_json()?,
            Self::Optional(Some(value)) => value.to_json()?,
            Self::Opaque(json) => (*json).clone(),
            Self::Type(_) | Self::Extension(_) => {
                return Err(format!("unsupported type conversion from '{}' to JSON", self.type_of()));
            }
        })
    }
}

/// What is kept apart while a configuration is made.
#[derive(Default)]
struct Apart {
    path: Vec<Step>,
    foreign: Vec<Foreign>,
}

impl Apart {
    fn below(&mut self, step: Step, value: &Value<'_>) -> Result<Json, String> {
        self.path.push(step);
        let json = self.json(value);
        self.path.pop();
        json
    }

    fn object(&mut self, object: &ObjectValue<'_>) -> Result<Json, String> {
        let mut fields = Fields::new();
        for (name, value) in &object.fields {
            let name = unescape(name).unwrap_or_else(|| name.to_string());
            fields.insert(name.clone(), self.below(Step::Field(name), value)?);
        }
        Ok(Json::Object(fields))
    }

    fn json(&mut self, value: &Value<'_>) -> Result<Json, String> {
        Ok(match value {
            Value::List(list) => {
                let item = |(at, value): (usize, crate::value::EvalResult<'_>)| {
                    self.below(Step::Item(at), &value.map_err(|error| error.to_string())?)
                };
                list.iter().enumerate().map(item).collect::<Result<_, String>>()?
            }
            Value::Map(map) => {
                let mut fields = Fields::new();
                for key in map.keys() {
                    let value = map.get(&key).map_err(|error| error.to_string())?.unwrap_or(Value::Null);
                    let name = name_of(&key)?;
                    fields.insert(name.to_owned(), self.below(Step::Field(name.to_owned()), &value)?);
                }
                Json::Object(fields)
            }
            Value::Object(object) => self.object(object)?,
            Value::Optional(Some(value)) => self.json(value)?,
            // Its name is a string to Go.
            Value::Type(ty) => ty.runtime_name().into(),
            value => match printed(value) {
                Some(printed) => {
                    // What has no JSON at all cannot be kept where anything may be.
                    let json = value.to_json().unwrap_or(Json::Null);
                    self.foreign.push(Foreign { path: self.path.clone(), printed, json });
                    Json::Null
                }
                None => value.to_json()?,
            },
        })
    }
}

/// How Go prints a value that is of no JSON type to it.
fn printed(value: &Value<'_>) -> Option<Printed> {
    let [plain, syntax, kind] = match value {
        Value::Null => [value.to_string(), "0".to_owned(), "structpb.NullValue".to_owned()],
        Value::Uint(number) => [number.to_string(), format!("{number:#x}"), "uint64".to_owned()],
        Value::Bytes(bytes) => {
            let join = |texts: Vec<String>, by: &str| texts.join(by);
            let plain = join(bytes.iter().map(u8::to_string).collect(), " ");
            let syntax = join(bytes.iter().map(|byte| format!("{byte:#x}")).collect(), ", ");
            [format!("[{plain}]"), format!("[]uint8{{{syntax}}}"), "[]uint8".to_owned()]
        }
        Value::Duration(nanos) => [value.to_string(), nanos.to_string(), "time.Duration".to_owned()],
        Value::Timestamp(at) => [moment(*at), moment_syntax(*at), "time.Time".to_owned()],
        Value::Extension(_) => {
            let kind = value.type_of().runtime_name().to_owned();
            [value.to_string(), go::quote(&value.to_string()), kind]
        }
        _ => return None,
    };
    Some(Printed { plain, syntax, kind })
}

/// `time.Time.String`, of UTC.
fn moment(at: Instant) -> String {
    at.to_offset(0).to_string().replacen('T', " ", 1).replacen('Z', " +0000 UTC", 1)
}

/// `time.Time.GoString`, of UTC.
fn moment_syntax(at: Instant) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let shown = at.to_offset(0).civil();
    let month = MONTHS[usize::from(shown.month - 1)];
    let (year, day, hour, minute, second) = (shown.year, shown.day, shown.hour, shown.minute, shown.second);
    format!("time.Date({year}, time.{month}, {day}, {hour}, {minute}, {second}, {}, time.UTC)", shown.nanosecond)
}

fn name_of<'k>(key: &'k Value<'_>) -> Result<&'k str, String> {
    key.as_str().ok_or_else(|| format!("map key {key:?} is of type {}, not string", key.type_of()))
}

impl ObjectValue<'_> {
    /// The object as an apply configuration, and what in it JSON has no type for.
    ///
    /// # Errors
    /// A key that is no string, or a value that could not be evaluated.
    pub fn configuration(&self) -> Result<(Json, Vec<Foreign>), String> {
        let mut apart = Apart::default();
        let json = apart.object(self)?;
        Ok((json, apart.foreign))
    }

    fn to_json(&self) -> Result<Json, String> {
        let field = |(name, value): (&std::sync::Arc<str>, &Value<'_>)| {
            Ok((unescape(name).unwrap_or_else(|| name.to_string()), value.to_json()?))
        };
        self.fields.iter().map(field).collect::<Result<Fields<String, Json>, String>>().map(Json::Object)
    }

    /// That objects within are named after the path to them: `Object.spec.template` stands in the field `template` of an
    /// `Object.spec`. Lists and maps between have no names.
    pub fn check_names(&self) -> Result<(), String> {
        let mut errors = Vec::new();
        check_object(self, &self.name, &mut errors);
        if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
    }
}

fn check_object(object: &ObjectValue<'_>, path: &str, errors: &mut Vec<String>) {
    if *object.name != *path {
        errors.push(format!(
            "unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
            &*object.name
        ));
    }
    for (name, value) in &object.fields {
        check(value, &format!("{path}.{name}"), errors);
    }
}

fn check(value: &Value<'_>, path: &str, errors: &mut Vec<String>) {
    match value {
        Value::Object(object) => check_object(object, path, errors),
        Value::List(list) => list.iter().flatten().for_each(|value| check(&value, path, errors)),
        Value::Map(map) => {
            map.keys()
                .iter()
                .filter_map(|key| map.get(key).ok().flatten())
                .for_each(|value| check(&value, path, errors));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_json_does_not_have_is_kept_apart() {
        let at = Instant::new(1_577_836_800, 5);
        for (value, told) in [
            (Value::Null, Some(["NULL_VALUE", "0", "structpb.NullValue"])),
            (Value::Uint(5), Some(["5", "0x5", "uint64"])),
            (Value::Bytes([1, 98].into()), Some(["[1 98]", "[]uint8{0x1, 0x62}", "[]uint8"])),
            (Value::Duration(1_500_000_000), Some(["1.5s", "1500000000", "time.Duration"])),
            (
                Value::Timestamp(at),
                Some([
                    "2020-01-01 00:00:00.000000005 +0000 UTC",
                    "time.Date(2020, time.January, 1, 0, 0, 0, 5, time.UTC)",
                    "time.Time",
                ]),
            ),
            (Value::Optional(None), None),
            (Value::Int(5), None),
        ] {
            let inner = Value::Object(Arc::new(ObjectValue {
                name: "Object.a".into(),
                fields: [(Arc::from("b"), Value::list(vec![Value::Bool(true), value.clone()]))].into(),
            }));
            let object = ObjectValue { name: "Object".into(), fields: [(Arc::from("a"), inner)].into() };
            let (json, foreign) = object.configuration().unwrap();
            let printed = told.map(|[plain, syntax, kind]| Printed {
                plain: plain.to_owned(),
                syntax: syntax.to_owned(),
                kind: kind.to_owned(),
            });
            assert_eq!(foreign.first().map(|foreign| foreign.printed.clone()), printed, "{value:?}");
            let shown = if printed.is_some() { Json::Null } else { value.to_json().unwrap() };
            assert_eq!(json, json!({ "a": { "b": [true, shown] } }));
            let path = [Step::Field("a".to_owned()), Step::Field("b".to_owned()), Step::Item(1)];
            assert!(foreign.iter().all(|foreign| foreign.path == path));
        }
    }
}
