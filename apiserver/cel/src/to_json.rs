//! Values an expression made, as JSON: what a mutation puts into an object (`apiserver/pkg/cel/mutation`).

use base64::Engine as _;
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
                    let Self::String(name) = &key else {
                        return Err(format!("map key {key:?} is of type {}, not string", key.type_of()));
                    };
                    fields.insert((**name).to_owned(), value.to_json()?);
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

impl ObjectValue<'_> {
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
