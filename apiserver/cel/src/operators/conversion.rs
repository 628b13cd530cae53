//! From one type to another: `int("1")`, `string(true)` …

use schema::time::{Instant, layout};

use super::arithmetic::overflow;
use crate::{
    decl::Call,
    library::Extension,
    time,
    types::Type,
    value::{EvalResult, Value, failed},
};

/// What cel-go says of a conversion that a type does not have.
fn no_conversion<'a>(from: &Value<'_>, to: &Type) -> EvalResult<'a> {
    failed(format!("type conversion error from '{}' to '{}'", from.type_of().runtime_name(), to.runtime_name()))
}

pub(super) fn to_bool<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::String(text) => match &**text {
            "1" | "t" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => no_conversion(&args[0], &Type::Bool),
        },
        other => no_conversion(other, &Type::Bool),
    }
}

pub(super) fn to_bytes<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        Value::String(text) => Ok(Value::Bytes(text.as_bytes().into())),
        other => no_conversion(other, &Type::Bytes),
    }
}

pub(super) fn to_double<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Double(value) => Ok(Value::Double(*value)),
        Value::Int(value) => Ok(Value::Double(*value as f64)),
        Value::Uint(value) => Ok(Value::Double(*value as f64)),
        Value::String(text) => match text.parse::<f64>() {
            Ok(value) => Ok(Value::Double(value)),
            Err(_) => no_conversion(&args[0], &Type::Double),
        },
        other => no_conversion(other, &Type::Double),
    }
}

pub(super) fn to_duration<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Duration(value) => Ok(Value::Duration(*value)),
        Value::Int(value) => Ok(Value::Duration(*value)),
        Value::String(text) => match time::parse_duration(text) {
            Ok(nanos) => Ok(Value::Duration(nanos)),
            Err(_) => no_conversion(&args[0], &Type::Duration),
        },
        other => no_conversion(other, &Type::Duration),
    }
}

pub(super) fn to_int<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Int(value) => Ok(Value::Int(*value)),
        Value::Uint(value) => overflow(i64::try_from(*value).ok().map(Value::Int), "integer"),
        Value::Double(value) => overflow(crate::value::whole(value.trunc()).map(Value::Int), "integer"),
        Value::Duration(nanos) => Ok(Value::Int(*nanos)),
        Value::Timestamp(at) => Ok(Value::Int(at.second)),
        Value::String(text) => match text.parse() {
            Ok(value) => Ok(Value::Int(value)),
            Err(_) => no_conversion(&args[0], &Type::Int),
        },
        other => no_conversion(other, &Type::Int),
    }
}

pub(super) fn to_string<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::String(text) => Ok(Value::String(text.clone())),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::string(text)),
            Err(_) => failed("invalid UTF-8 in bytes, cannot convert to string"),
        },
        value @ (Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::Duration(_)
        | Value::Timestamp(_)
        | Value::Type(_)) => Ok(Value::string(value.to_string())),
        Value::Extension(extension @ (Extension::Ip(_) | Extension::Cidr(_))) => {
            Ok(Value::string(extension.to_string()))
        }
        other => no_conversion(other, &Type::String),
    }
}

pub(super) fn to_timestamp<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Timestamp(at) => Ok(Value::Timestamp(*at)),
        Value::Int(seconds) => {
            let at = Some(Instant::new(*seconds, 0)).filter(|at| time::in_range(*at));
            overflow(at.map(Value::Timestamp), "timestamp")
        }
        Value::String(text) => match layout::parse(text, layout::RFC3339) {
            Ok(at) if time::in_range(at) => Ok(Value::Timestamp(at)),
            Ok(_) => failed("timestamp overflow"),
            Err(_) => no_conversion(&args[0], &Type::Timestamp),
        },
        other => no_conversion(other, &Type::Timestamp),
    }
}

pub(super) fn to_uint<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Uint(value) => Ok(Value::Uint(*value)),
        Value::Int(value) => overflow(u64::try_from(*value).ok().map(Value::Uint), "unsigned integer"),
        Value::Double(value) => {
            let fits = (0.0..18_446_744_073_709_551_616.0).contains(value);
            overflow(fits.then_some(Value::Uint(*value as u64)), "unsigned integer")
        }
        Value::String(text) => match text.parse() {
            Ok(value) => Ok(Value::Uint(value)),
            Err(_) => no_conversion(&args[0], &Type::Uint),
        },
        other => no_conversion(other, &Type::Uint),
    }
}
