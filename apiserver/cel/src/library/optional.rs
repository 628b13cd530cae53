//! Optional values (cel-go `cel/library.go`). `or` and `orValue` are evaluated by the interpreter, which skips what is not needed.

use crate::{
    decl::{Call, Row},
    value::{EvalResult, Value, failed, no_overload},
};

pub(crate) const ROWS: &[Row] = &[
    ("optional.of", of, &["optional_of (V) optional<V>"]),
    ("optional.ofNonZeroValue", of_non_zero, &["optional_ofNonZeroValue (V) optional<V>"]),
    ("optional.none", none, &["optional_none () optional<V>"]),
    ("value", value, &["optional_value optional<V>.() V"]),
    ("hasValue", has_value, &["optional_hasValue optional<V>.() bool"]),
    ("or", or, &["optional_or_optional optional<V>.(optional<V>) optional<V>"]),
    ("orValue", or_value, &["optional_orValue_value optional<V>.(V) V"]),
    ("first", first, &["list_first list<V>.() optional<V>"]),
    ("last", last, &["list_last list<V>.() optional<V>"]),
    ("optional.unwrap", unwrap, &["optional_unwrap (list<optional<V>>) list<V>"]),
    ("unwrapOpt", unwrap, &["optional_unwrapOpt list<optional<V>>.() list<V>"]),
];

fn of<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::some(args[0].clone()))
}

fn of_non_zero<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(if args[0].is_zero() { Value::Optional(None) } else { Value::some(args[0].clone()) })
}

fn none<'a>(_: &Call<'_>, _: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Optional(None))
}

fn value<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Optional(Some(value)) => Ok((**value).clone()),
        Value::Optional(None) => failed("optional.none() dereference"),
        _ => no_overload(),
    }
}

fn has_value<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Optional(value) => Ok(Value::Bool(value.is_some())),
        _ => no_overload(),
    }
}

fn or<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Optional(None) => Ok(args[1].clone()),
        some => Ok(some.clone()),
    }
}

fn or_value<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Optional(None) => Ok(args[1].clone()),
        Value::Optional(Some(value)) => Ok((**value).clone()),
        _ => no_overload(),
    }
}

fn at<'a>(args: &[Value<'a>], pick: impl FnOnce(usize) -> usize) -> EvalResult<'a> {
    let Value::List(list) = &args[0] else { return no_overload() };
    match list.get(pick(list.len())) {
        Some(value) => value.map(Value::some),
        None => Ok(Value::Optional(None)),
    }
}

fn first<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    at(args, |_| 0)
}

fn last<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    at(args, |length| length.wrapping_sub(1))
}

fn unwrap<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let Value::List(list) = &args[0] else { return no_overload() };
    let mut out = Vec::new();
    for value in list.iter() {
        match value? {
            Value::Optional(Some(value)) => out.push((*value).clone()),
            Value::Optional(None) => {}
            other => return failed(format!("value {other} is not optional")),
        }
    }
    Ok(Value::list(out))
}
