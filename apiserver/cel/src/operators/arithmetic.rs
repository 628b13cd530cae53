//! `+`, `-`, `*`, `/` and `%`, which fail rather than wrap.

use std::sync::Arc;

use super::{MAX_MADE, too_large};
use crate::{
    decl::Call,
    time,
    value::{EvalError, EvalResult, List, Value, failed, no_overload},
};

pub(super) fn overflow<'a>(value: Option<Value<'a>>, what: &str) -> EvalResult<'a> {
    value.ok_or_else(|| EvalError::Failed(format!("{what} overflow")))
}

/// `+`. Takes the left operand over, so that appending to a list nobody else holds copies nothing.
pub(crate) fn add<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let right = std::mem::replace(&mut args[1], Value::Null);
    match (std::mem::replace(&mut args[0], Value::Null), right) {
        (Value::Int(a), Value::Int(b)) => overflow(a.checked_add(b).map(Value::Int), "integer"),
        (Value::Uint(a), Value::Uint(b)) => overflow(a.checked_add(b).map(Value::Uint), "unsigned integer"),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::String(a), Value::String(b)) => {
            if a.len() + b.len() > MAX_MADE {
                return too_large();
            }
            Ok(Value::string(format!("{}{}", &*a, &*b)))
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            if a.len() + b.len() > MAX_MADE {
                return too_large();
            }
            Ok(Value::Bytes([&*a, &*b].concat().into()))
        }
        (Value::List(a), Value::List(b)) => add_lists(a, &b),
        (Value::Duration(a), Value::Duration(b)) => overflow(a.checked_add(b).map(Value::Duration), "duration"),
        (Value::Duration(by), Value::Timestamp(at)) | (Value::Timestamp(at), Value::Duration(by)) => {
            overflow(time::later(at, by).map(Value::Timestamp), "timestamp")
        }
        _ => no_overload(),
    }
}

fn add_lists<'a>(a: List<'a>, b: &List<'a>) -> EvalResult<'a> {
    if a.len() + b.len() > MAX_MADE {
        return too_large();
    }
    let mut values = match a {
        // A set unites, a map's elements are replaced in place (`unstructuredSetList.Add`, `unstructuredMapList.Add`).
        List::Json(list) if *list.kind() != crate::schema::ListType::Atomic => {
            let kind = list.kind();
            let mut values = List::Json(list).to_vec()?;
            for new in b.iter() {
                let new = new?;
                let mut at = None;
                for (index, old) in values.iter().enumerate() {
                    if crate::json::same_identity(old, &new, kind)? {
                        at = Some(index);
                        break;
                    }
                }
                match at {
                    Some(at) => values[at] = new,
                    None => values.push(new),
                }
            }
            return Ok(Value::list(values));
        }
        List::Json(list) => Arc::new(List::Json(list).to_vec()?),
        List::Owned(values) => values,
    };
    let more = b.to_vec()?;
    Arc::make_mut(&mut values).extend(more);
    Ok(Value::List(List::Owned(values)))
}

pub(super) fn subtract<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => overflow(a.checked_sub(*b).map(Value::Int), "integer"),
        (Value::Uint(a), Value::Uint(b)) => overflow(a.checked_sub(*b).map(Value::Uint), "unsigned integer"),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => overflow(a.checked_sub(*b).map(Value::Duration), "duration"),
        (Value::Timestamp(at), Value::Duration(by)) => {
            overflow(by.checked_neg().and_then(|by| time::later(*at, by)).map(Value::Timestamp), "timestamp")
        }
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            let nanos = a.nanoseconds() - b.nanoseconds();
            overflow(i64::try_from(nanos).ok().map(Value::Duration), "duration")
        }
        _ => no_overload(),
    }
}

pub(super) fn multiply<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => overflow(a.checked_mul(*b).map(Value::Int), "integer"),
        (Value::Uint(a), Value::Uint(b)) => overflow(a.checked_mul(*b).map(Value::Uint), "unsigned integer"),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        _ => no_overload(),
    }
}

pub(super) fn divide<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => failed("division by zero"),
        (Value::Int(a), Value::Int(b)) => overflow(a.checked_div(*b).map(Value::Int), "integer"),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a / b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => no_overload(),
    }
}

pub(super) fn modulo<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => failed("modulus by zero"),
        (Value::Int(a), Value::Int(b)) => overflow(a.checked_rem(*b).map(Value::Int), "integer"),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a % b)),
        _ => no_overload(),
    }
}

pub(super) fn negate<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Int(value) => overflow(value.checked_neg().map(Value::Int), "integer"),
        Value::Double(value) => Ok(Value::Double(-value)),
        Value::Duration(value) => overflow(value.checked_neg().map(Value::Duration), "duration"),
        _ => no_overload(),
    }
}
