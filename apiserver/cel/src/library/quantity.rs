//! Resource quantities.

use schema::quantity::Quantity;

use super::Extension;
use crate::{
    decl::{Call, Row},
    operators::text,
    value::{EvalError, EvalResult, Value, failed, no_overload},
};

pub(crate) const ROWS: &[Row] = &[
    ("quantity", quantity, &["string_to_quantity (string) kubernetes.Quantity"]),
    ("isQuantity", is_quantity, &["is_quantity_string (string) bool"]),
    ("sign", sign, &["quantity_sign (kubernetes.Quantity) int"]),
    ("isGreaterThan", is_greater, &["quantity_is_greater_than kubernetes.Quantity.(kubernetes.Quantity) bool"]),
    ("isLessThan", is_less, &["quantity_is_less_than kubernetes.Quantity.(kubernetes.Quantity) bool"]),
    ("compareTo", compare_to, &["quantity_compare_to kubernetes.Quantity.(kubernetes.Quantity) int"]),
    ("asApproximateFloat", as_float, &["quantity_get_float kubernetes.Quantity.() double"]),
    ("asInteger", as_integer, &["quantity_get_int kubernetes.Quantity.() int"]),
    ("isInteger", is_integer, &["quantity_is_integer kubernetes.Quantity.() bool"]),
    (
        "add",
        add,
        &[
            "quantity_add kubernetes.Quantity.(kubernetes.Quantity) kubernetes.Quantity",
            "quantity_add_int kubernetes.Quantity.(int) kubernetes.Quantity",
        ],
    ),
    (
        "sub",
        sub,
        &[
            "quantity_sub kubernetes.Quantity.(kubernetes.Quantity) kubernetes.Quantity",
            "quantity_sub_int kubernetes.Quantity.(int) kubernetes.Quantity",
        ],
    ),
];

fn of(value: &Value<'_>) -> Result<Quantity, EvalError> {
    match value {
        Value::Extension(Extension::Quantity(quantity)) => Ok(*quantity),
        Value::Int(value) => Quantity::parse(&value.to_string()).map_err(|error| EvalError::Failed(error.to_string())),
        _ => no_overload(),
    }
}

fn quantity<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match Quantity::parse(text(&args[0])?) {
        Ok(quantity) => Ok(Value::Extension(Extension::Quantity(quantity))),
        Err(error) => failed(error.to_string()),
    }
}

fn is_quantity<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Bool(Quantity::parse(text(&args[0])?).is_ok()))
}

fn sign<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let quantity = of(&args[0])?;
    Ok(Value::Int(if quantity.is_zero() {
        0
    } else if quantity.is_negative() {
        -1
    } else {
        1
    }))
}

fn is_greater<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Bool(of(&args[0])? > of(&args[1])?))
}

fn is_less<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Bool(of(&args[0])? < of(&args[1])?))
}

fn compare_to<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Int(of(&args[0])?.cmp(&of(&args[1])?) as i64))
}

fn as_float<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Double(of(&args[0])?.as_f64()))
}

fn as_integer<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match of(&args[0])?.as_i64() {
        Some(value) => Ok(Value::Int(value)),
        None => failed("cannot convert value to integer"),
    }
}

fn is_integer<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Bool(of(&args[0])?.as_i64().is_some()))
}

fn add<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Extension(Extension::Quantity(of(&args[0])?.add(&of(&args[1])?))))
}

fn sub<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Extension(Extension::Quantity(of(&args[0])?.sub(&of(&args[1])?))))
}
