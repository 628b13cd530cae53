//! Operators, conversions and the rest of CEL's standard library (cel-go `common/stdlib`).

use std::{cmp::Ordering, sync::Arc};

use crate::{
    decl::{Call, Row},
    library::Extension,
    time,
    types::Type,
    value::{EvalError, EvalResult, List, Map, Str, Value, failed, no_overload},
};

/// No value that an expression makes may be larger, in bytes or elements.
pub(crate) const MAX_MADE: usize = 16 << 20;

/// The overloads of `<`, `<=`, `>` and `>=`, which are named alike.
macro_rules! ordered {
    ($name:literal) => {
        &[
            concat!($name, "_bool (bool, bool) bool"),
            concat!($name, "_int64 (int, int) bool"),
            concat!($name, "_int64_double (int, double) bool"),
            concat!($name, "_int64_uint64 (int, uint) bool"),
            concat!($name, "_uint64 (uint, uint) bool"),
            concat!($name, "_uint64_double (uint, double) bool"),
            concat!($name, "_uint64_int64 (uint, int) bool"),
            concat!($name, "_double (double, double) bool"),
            concat!($name, "_double_int64 (double, int) bool"),
            concat!($name, "_double_uint64 (double, uint) bool"),
            concat!($name, "_string (string, string) bool"),
            concat!($name, "_bytes (bytes, bytes) bool"),
            concat!($name, "_timestamp (timestamp, timestamp) bool"),
            concat!($name, "_duration (duration, duration) bool"),
        ]
    };
}

pub(crate) const ROWS: &[Row] = &[
    // These are evaluated by the interpreter itself; the rows are for the checker.
    ("_?_:_", special, &["conditional (bool, A, A) A"]),
    ("_&&_", special, &["logical_and (bool, bool) bool"]),
    ("_||_", special, &["logical_or (bool, bool) bool"]),
    ("@not_strictly_false", special, &["not_strictly_false (bool) bool"]),
    ("_==_", equal, &["equals (A, A) bool"]),
    ("_!=_", unequal, &["not_equals (A, A) bool"]),
    (
        "_[_]",
        special,
        &[
            "index_list (list<A>, int) A",
            "index_map (map<A, B>, A) B",
            "optional_list_index_int (optional<list<A>>, int) optional<A>",
            "optional_map_index_value (optional<map<A, B>>, A) optional<B>",
        ],
    ),
    (
        "_[?_]",
        special,
        &[
            "list_optindex_optional_int (list<A>, int) optional<A>",
            "optional_list_optindex_optional_int (optional<list<A>>, int) optional<A>",
            "map_optindex_optional_value (map<A, B>, A) optional<B>",
            "optional_map_optindex_optional_value (optional<map<A, B>>, A) optional<B>",
        ],
    ),
    ("!_", not, &["logical_not (bool) bool"]),
    (
        "_+_",
        add,
        &[
            "add_bytes (bytes, bytes) bytes",
            "add_double (double, double) double",
            "add_duration_duration (duration, duration) duration",
            "add_duration_timestamp (duration, timestamp) timestamp",
            "add_timestamp_duration (timestamp, duration) timestamp",
            "add_int64 (int, int) int",
            "add_list (list<A>, list<A>) list<A>",
            "add_string (string, string) string",
            "add_uint64 (uint, uint) uint",
        ],
    ),
    (
        "_-_",
        subtract,
        &[
            "subtract_double (double, double) double",
            "subtract_duration_duration (duration, duration) duration",
            "subtract_int64 (int, int) int",
            "subtract_timestamp_duration (timestamp, duration) timestamp",
            "subtract_timestamp_timestamp (timestamp, timestamp) duration",
            "subtract_uint64 (uint, uint) uint",
        ],
    ),
    (
        "_*_",
        multiply,
        &[
            "multiply_double (double, double) double",
            "multiply_int64 (int, int) int",
            "multiply_uint64 (uint, uint) uint",
        ],
    ),
    (
        "_/_",
        divide,
        &["divide_double (double, double) double", "divide_int64 (int, int) int", "divide_uint64 (uint, uint) uint"],
    ),
    ("_%_", modulo, &["modulo_int64 (int, int) int", "modulo_uint64 (uint, uint) uint"]),
    ("-_", negate, &["negate_double (double) double", "negate_int64 (int) int"]),
    ("_<_", less, ordered!("less")),
    ("_<=_", less_equal, ordered!("less_equals")),
    ("_>_", greater, ordered!("greater")),
    ("_>=_", greater_equal, ordered!("greater_equals")),
    ("@in", within, &["in_list (A, list<A>) bool", "in_map (A, map<A, B>) bool"]),
    (
        "size",
        size,
        &[
            "size_bytes (bytes) int",
            "bytes_size bytes.() int",
            "size_list (list<A>) int",
            "list_size list<A>.() int",
            "size_map (map<A, B>) int",
            "map_size map<A, B>.() int",
            "size_string (string) int",
            "string_size string.() int",
        ],
    ),
    ("type", type_of, &["type (A) type<A>"]),
    ("dyn", identity, &["to_dyn (A) dyn"]),
    ("bool", to_bool, &["bool_to_bool (bool) bool", "string_to_bool (string) bool"]),
    ("bytes", to_bytes, &["bytes_to_bytes (bytes) bytes", "string_to_bytes (string) bytes"]),
    (
        "double",
        to_double,
        &[
            "double_to_double (double) double",
            "int64_to_double (int) double",
            "string_to_double (string) double",
            "uint64_to_double (uint) double",
        ],
    ),
    (
        "duration",
        to_duration,
        &[
            "duration_to_duration (duration) duration",
            "int64_to_duration (int) duration",
            "string_to_duration (string) duration",
        ],
    ),
    (
        "int",
        to_int,
        &[
            "int64_to_int64 (int) int",
            "double_to_int64 (double) int",
            "duration_to_int64 (duration) int",
            "string_to_int64 (string) int",
            "timestamp_to_int64 (timestamp) int",
            "uint64_to_int64 (uint) int",
        ],
    ),
    (
        "string",
        to_string,
        &[
            "string_to_string (string) string",
            "bool_to_string (bool) string",
            "bytes_to_string (bytes) string",
            "double_to_string (double) string",
            "duration_to_string (duration) string",
            "int64_to_string (int) string",
            "timestamp_to_string (timestamp) string",
            "uint64_to_string (uint) string",
            "ip_to_string (net.IP) string",
            "cidr_to_string (net.CIDR) string",
        ],
    ),
    (
        "timestamp",
        to_timestamp,
        &[
            "timestamp_to_timestamp (timestamp) timestamp",
            "int64_to_timestamp (int) timestamp",
            "string_to_timestamp (string) timestamp",
        ],
    ),
    (
        "uint",
        to_uint,
        &[
            "uint64_to_uint64 (uint) uint",
            "double_to_uint64 (double) uint",
            "int64_to_uint64 (int) uint",
            "string_to_uint64 (string) uint",
        ],
    ),
];

/// Functions whose call with a constant is evaluated when the program is made.
pub(crate) fn is_conversion(name: &str) -> bool {
    matches!(name, "bool" | "bytes" | "double" | "duration" | "dyn" | "int" | "string" | "timestamp" | "type" | "uint")
}

fn special<'a>(_: &Call<'_>, _: &mut [Value<'a>]) -> EvalResult<'a> {
    no_overload()
}

fn identity<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(args[0].clone())
}

fn equal<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    args[0].equals(&args[1]).map(Value::Bool)
}

fn unequal<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    args[0].equals(&args[1]).map(|equal| Value::Bool(!equal))
}

fn not<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match args[0] {
        Value::Bool(value) => Ok(Value::Bool(!value)),
        _ => no_overload(),
    }
}

fn ordered<'a>(args: &[Value<'a>], holds: impl Fn(Ordering) -> bool) -> EvalResult<'a> {
    args[0].compare(&args[1]).map(|ordering| Value::Bool(holds(ordering)))
}

fn less<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    ordered(args, Ordering::is_lt)
}

fn less_equal<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    ordered(args, Ordering::is_le)
}

fn greater<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    ordered(args, Ordering::is_gt)
}

fn greater_equal<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    ordered(args, Ordering::is_ge)
}

fn overflow<'a>(value: Option<Value<'a>>, what: &str) -> EvalResult<'a> {
    value.ok_or_else(|| EvalError::Failed(format!("{what} overflow")))
}

pub(crate) fn too_large<'a>() -> EvalResult<'a> {
    failed(format!("value exceeds {MAX_MADE} bytes"))
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
            overflow(time::offset(at, by).map(Value::Timestamp), "timestamp")
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

fn subtract<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => overflow(a.checked_sub(*b).map(Value::Int), "integer"),
        (Value::Uint(a), Value::Uint(b)) => overflow(a.checked_sub(*b).map(Value::Uint), "unsigned integer"),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => overflow(a.checked_sub(*b).map(Value::Duration), "duration"),
        (Value::Timestamp(at), Value::Duration(by)) => {
            overflow(by.checked_neg().and_then(|by| time::offset(*at, by)).map(Value::Timestamp), "timestamp")
        }
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            let nanos = a.as_nanosecond() - b.as_nanosecond();
            overflow(i64::try_from(nanos).ok().map(Value::Duration), "duration")
        }
        _ => no_overload(),
    }
}

fn multiply<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => overflow(a.checked_mul(*b).map(Value::Int), "integer"),
        (Value::Uint(a), Value::Uint(b)) => overflow(a.checked_mul(*b).map(Value::Uint), "unsigned integer"),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        _ => no_overload(),
    }
}

fn divide<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => failed("division by zero"),
        (Value::Int(a), Value::Int(b)) => overflow(a.checked_div(*b).map(Value::Int), "integer"),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a / b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => no_overload(),
    }
}

fn modulo<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => failed("modulus by zero"),
        (Value::Int(a), Value::Int(b)) => overflow(a.checked_rem(*b).map(Value::Int), "integer"),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a % b)),
        _ => no_overload(),
    }
}

fn negate<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Int(value) => overflow(value.checked_neg().map(Value::Int), "integer"),
        Value::Double(value) => Ok(Value::Double(-value)),
        Value::Duration(value) => overflow(value.checked_neg().map(Value::Duration), "duration"),
        _ => no_overload(),
    }
}

fn within<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[1] {
        Value::List(list) => list.contains(&args[0]).map(Value::Bool),
        Value::Map(map) => map.get(&args[0]).map(|found| Value::Bool(found.is_some())),
        _ => no_overload(),
    }
}

fn size<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match args[0].size() {
        Some(size) => Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX))),
        None => no_overload(),
    }
}

fn type_of<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Type(args[0].type_of()))
}

/// What cel-go says of a conversion that a type does not have.
fn no_conversion<'a>(from: &Value<'_>, to: &Type) -> EvalResult<'a> {
    failed(format!("type conversion error from '{}' to '{}'", from.type_of().runtime_name(), to.runtime_name()))
}

fn to_bool<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
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

fn to_bytes<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        Value::String(text) => Ok(Value::Bytes(text.as_bytes().into())),
        other => no_conversion(other, &Type::Bytes),
    }
}

fn to_double<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Double(value) => Ok(Value::Double(*value)),
        Value::Int(value) => Ok(Value::Double(*value as f64)),
        Value::Uint(value) => Ok(Value::Double(*value as f64)),
        Value::String(text) => match text.parse::<f64>() {
            Ok(value) => Ok(Value::Double(value)),
            Err(_) => failed(format!("strconv.ParseFloat: parsing {:?}: invalid syntax", &**text)),
        },
        other => no_conversion(other, &Type::Double),
    }
}

fn to_duration<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Duration(value) => Ok(Value::Duration(*value)),
        Value::Int(value) => Ok(Value::Duration(*value)),
        Value::String(text) => match time::parse_duration(text) {
            Ok(nanos) => Ok(Value::Duration(nanos)),
            Err(error) => failed(error),
        },
        other => no_conversion(other, &Type::Duration),
    }
}

fn to_int<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Int(value) => Ok(Value::Int(*value)),
        Value::Uint(value) => overflow(i64::try_from(*value).ok().map(Value::Int), "integer"),
        Value::Double(value) => overflow(crate::value::whole(value.trunc()).map(Value::Int), "integer"),
        Value::Duration(nanos) => Ok(Value::Int(*nanos)),
        Value::Timestamp(at) => Ok(Value::Int(at.as_second())),
        Value::String(text) => match text.parse() {
            Ok(value) => Ok(Value::Int(value)),
            Err(error) => failed(parse_int_error("ParseInt", text, &error)),
        },
        other => no_conversion(other, &Type::Int),
    }
}

fn parse_int_error(function: &str, text: &str, error: &std::num::ParseIntError) -> String {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let what = if matches!(error.kind(), PosOverflow | NegOverflow) { "value out of range" } else { "invalid syntax" };
    format!("strconv.{function}: parsing {text:?}: {what}")
}

pub(crate) fn to_string<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
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

fn to_timestamp<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Timestamp(at) => Ok(Value::Timestamp(*at)),
        Value::Int(seconds) => {
            let at = jiff::Timestamp::from_second(*seconds).ok().filter(|at| time::in_range(*at));
            overflow(at.map(Value::Timestamp), "timestamp")
        }
        Value::String(text) => match time::parse_timestamp(text) {
            Some(at) if time::in_range(at) => Ok(Value::Timestamp(at)),
            Some(_) => failed("timestamp overflow"),
            None => failed(format!(
                "parsing time {:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {:?} as \"2006\"",
                &**text, &**text
            )),
        },
        other => no_conversion(other, &Type::Timestamp),
    }
}

fn to_uint<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match &args[0] {
        Value::Uint(value) => Ok(Value::Uint(*value)),
        Value::Int(value) => overflow(u64::try_from(*value).ok().map(Value::Uint), "unsigned integer"),
        Value::Double(value) => {
            let fits = (0.0..18_446_744_073_709_551_616.0).contains(value);
            overflow(fits.then_some(Value::Uint(*value as u64)), "unsigned integer")
        }
        Value::String(text) => match text.parse() {
            Ok(value) => Ok(Value::Uint(value)),
            Err(error) => failed(parse_int_error("ParseUint", text, &error)),
        },
        other => no_conversion(other, &Type::Uint),
    }
}

/// `map[key]`, `list[index]`, `object.field`: the value, or `None` if it is not there.
pub(crate) fn qualify<'a>(value: &Value<'a>, key: &Value<'a>) -> Result<Option<Value<'a>>, EvalError> {
    match value {
        Value::Map(map) => map.get(key),
        Value::List(list) => {
            let index = match key {
                Value::Int(index) => *index,
                Value::Uint(index) => i64::try_from(*index).unwrap_or(-1),
                Value::Double(index) => match crate::value::whole(*index) {
                    Some(index) => index,
                    None => return failed(format!("unsupported index value {index} in list")),
                },
                other => {
                    return failed(format!("unsupported index type '{}' in list", other.type_of().runtime_name()));
                }
            };
            usize::try_from(index).ok().and_then(|index| list.get(index)).transpose()
        }
        Value::Object(object) => Ok(key.as_str().and_then(|name| object.fields.get(name).cloned())),
        _ => Ok(None),
    }
}

/// What is said when [`qualify`] finds nothing.
pub(crate) fn missing(value: &Value<'_>, key: &Value<'_>) -> EvalError {
    EvalError::Failed(match value {
        Value::List(_) => format!("index out of bounds: {key}"),
        _ => format!("no such key: {key}"),
    })
}

/// Adds an entry to a map that has none of that key.
pub(crate) fn insert<'a>(map: Value<'a>, key: &Value<'a>, value: Value<'a>) -> EvalResult<'a> {
    let Value::Map(Map::Owned(mut entries)) = map else { return no_overload() };
    let Some(name) = key.key() else {
        return failed(format!("unsupported key type: {}", key.type_of().runtime_name()));
    };
    if entries.contains_key(&name) {
        return failed(format!("insert failed: key {key} already exists"));
    }
    Arc::make_mut(&mut entries).insert(name, value);
    Ok(Value::Map(Map::Owned(entries)))
}

/// The text of an argument.
pub(crate) fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, EvalError> {
    match value {
        Value::String(Str::Borrowed(text)) => Ok(text),
        Value::String(Str::Owned(text)) => Ok(text),
        _ => no_overload(),
    }
}

pub(crate) fn int(value: &Value<'_>) -> Result<i64, EvalError> {
    match value {
        Value::Int(value) => Ok(*value),
        _ => no_overload(),
    }
}

/// A variable that is not there; names are resolved when the program is made, so this is a defect.
pub(crate) fn no_such<'a>() -> EvalResult<'a> {
    failed("no such attribute(s)")
}
