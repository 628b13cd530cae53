//! Operators, conversions and the rest of CEL's standard library (cel-go `common/stdlib`).

mod arithmetic;
mod conversion;

use std::{cmp::Ordering, sync::Arc};

use crate::{
    decl::{Call, Row},
    value::{EvalError, EvalResult, Map, Str, Value, failed, no_overload},
};

pub(crate) use arithmetic::add;
use arithmetic::{divide, modulo, multiply, negate, subtract};
use conversion::{to_bool, to_bytes, to_double, to_duration, to_int, to_string, to_timestamp, to_uint};

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

pub(crate) fn too_large<'a>() -> EvalResult<'a> {
    failed(format!("value exceeds {MAX_MADE} bytes"))
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
