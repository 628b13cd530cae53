//! Lists (`library/lists.go`, `ext/lists.go` version 3) and sets of lists (`ext/sets.go`).

use std::cmp::Ordering;

use crate::{
    decl::{Call, Row},
    operators::{MAX_MADE, add, insert, int, too_large},
    value::{EvalError, EvalResult, List, Map, Value, failed, no_overload},
};

pub(crate) const ROWS: &[Row] = &[
    (
        "isSorted",
        is_sorted,
        &[
            "list_int_is_sorted_bool list<int>.() bool",
            "list_uint_is_sorted_bool list<uint>.() bool",
            "list_double_is_sorted_bool list<double>.() bool",
            "list_bool_is_sorted_bool list<bool>.() bool",
            "list_duration_is_sorted_bool list<duration>.() bool",
            "list_timestamp_is_sorted_bool list<timestamp>.() bool",
            "list_string_is_sorted_bool list<string>.() bool",
            "list_bytes_is_sorted_bool list<bytes>.() bool",
        ],
    ),
    ("sum", sum_int, &["list_int_sum_int list<int>.() int"]),
    ("sum", sum_uint, &["list_uint_sum_uint list<uint>.() uint"]),
    ("sum", sum_double, &["list_double_sum_double list<double>.() double"]),
    ("sum", sum_duration, &["list_duration_sum_duration list<duration>.() duration"]),
    (
        "max",
        max,
        &[
            "list_int_max_int list<int>.() int",
            "list_uint_max_uint list<uint>.() uint",
            "list_double_max_double list<double>.() double",
            "list_bool_max_bool list<bool>.() bool",
            "list_duration_max_duration list<duration>.() duration",
            "list_timestamp_max_timestamp list<timestamp>.() timestamp",
            "list_string_max_string list<string>.() string",
            "list_bytes_max_bytes list<bytes>.() bytes",
        ],
    ),
    (
        "min",
        min,
        &[
            "list_int_min_int list<int>.() int",
            "list_uint_min_uint list<uint>.() uint",
            "list_double_min_double list<double>.() double",
            "list_bool_min_bool list<bool>.() bool",
            "list_duration_min_duration list<duration>.() duration",
            "list_timestamp_min_timestamp list<timestamp>.() timestamp",
            "list_string_min_string list<string>.() string",
            "list_bytes_min_bytes list<bytes>.() bytes",
        ],
    ),
    ("indexOf", index_of, &["list_a_index_of_int list<A>.(A) int"]),
    ("lastIndexOf", last_index_of, &["list_a_last_index_of_int list<A>.(A) int"]),
    ("slice", slice, &["list_slice list<T>.(int, int) list<T>"]),
    ("flatten", flatten, &["list_flatten list<list<T>>.() list<T>", "list_flatten_int list<dyn>.(int) list<dyn>"]),
    (
        "sort",
        sort,
        &[
            "list_int_sort list<int>.() list<int>",
            "list_uint_sort list<uint>.() list<uint>",
            "list_double_sort list<double>.() list<double>",
            "list_bool_sort list<bool>.() list<bool>",
            "list_duration_sort list<duration>.() list<duration>",
            "list_timestamp_sort list<timestamp>.() list<timestamp>",
            "list_string_sort list<string>.() list<string>",
            "list_bytes_sort list<bytes>.() list<bytes>",
        ],
    ),
    (
        "@sortByAssociatedKeys",
        sort_by,
        &[
            "list_int_sortByAssociatedKeys list<T>.(list<int>) list<T>",
            "list_uint_sortByAssociatedKeys list<T>.(list<uint>) list<T>",
            "list_double_sortByAssociatedKeys list<T>.(list<double>) list<T>",
            "list_bool_sortByAssociatedKeys list<T>.(list<bool>) list<T>",
            "list_duration_sortByAssociatedKeys list<T>.(list<duration>) list<T>",
            "list_timestamp_sortByAssociatedKeys list<T>.(list<timestamp>) list<T>",
            "list_string_sortByAssociatedKeys list<T>.(list<string>) list<T>",
            "list_bytes_sortByAssociatedKeys list<T>.(list<bytes>) list<T>",
        ],
    ),
    ("lists.range", range, &["lists_range (int) list<int>"]),
    ("reverse", reverse, &["list_reverse list<T>.() list<T>"]),
    ("distinct", distinct, &["list_distinct list<T>.() list<T>"]),
    ("sets.contains", sets_contains, &["list_sets_contains_list (list<T>, list<T>) bool"]),
    ("sets.equivalent", sets_equivalent, &["list_sets_equivalent_list (list<T>, list<T>) bool"]),
    ("sets.intersects", sets_intersects, &["list_sets_intersects_list (list<T>, list<T>) bool"]),
    (
        "cel.@mapInsert",
        map_insert,
        &[
            "@mapInsert_map_key_value (map<K, V>, K, V) map<K, V>",
            "@mapInsert_map_map (map<K, V>, map<K, V>) map<K, V>",
        ],
    ),
];

fn list<'v, 'a>(value: &'v Value<'a>) -> Result<&'v List<'a>, EvalError> {
    match value {
        Value::List(list) => Ok(list),
        _ => no_overload(),
    }
}

fn is_sorted<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let values = list(&args[0])?.to_vec()?;
    for pair in values.windows(2) {
        if pair[0].compare(&pair[1])? == Ordering::Greater {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(call: &Call<'_>, args: &[Value<'a>], zero: Value<'a>) -> EvalResult<'a> {
    list(&args[0])?.iter().try_fold(zero, |total, value| add(call, &mut [total, value?]))
}

fn sum_int<'a>(call: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    sum(call, args, Value::Int(0))
}

fn sum_uint<'a>(call: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    sum(call, args, Value::Uint(0))
}

fn sum_double<'a>(call: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    sum(call, args, Value::Double(0.0))
}

fn sum_duration<'a>(call: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    sum(call, args, Value::Duration(0))
}

fn extreme<'a>(args: &[Value<'a>], name: &str, replace: Ordering) -> EvalResult<'a> {
    let mut best: Option<Value<'a>> = None;
    for value in list(&args[0])?.iter() {
        let value = value?;
        best = match best {
            Some(best) if best.compare(&value)? != replace => Some(best),
            _ => Some(value),
        };
    }
    best.map_or_else(|| failed(format!("{name} called on empty list")), Ok)
}

fn max<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    extreme(args, "max", Ordering::Less)
}

fn min<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    extreme(args, "min", Ordering::Greater)
}

fn position<'a>(args: &[Value<'a>], last: bool) -> EvalResult<'a> {
    let mut found = -1;
    for (at, value) in list(&args[0])?.iter().enumerate() {
        if value?.equals(&args[1])? {
            found = i64::try_from(at).unwrap_or(i64::MAX);
            if !last {
                break;
            }
        }
    }
    Ok(Value::Int(found))
}

fn index_of<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    position(args, false)
}

fn last_index_of<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    position(args, true)
}

fn slice<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let (list, start, end) = (list(&args[0])?, int(&args[1])?, int(&args[2])?);
    let wrong = |why: &str| failed(format!("cannot slice({start}, {end}), {why}"));
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else {
        return wrong("negative indexes not supported");
    };
    if from > to {
        return wrong("start index must be less than or equal to end index");
    }
    if list.len() < to {
        return wrong(&format!("list is length {}", list.len()));
    }
    (from..to).filter_map(|at| list.get(at)).collect::<Result<Vec<_>, _>>().map(Value::list)
}

fn flatten<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let depth = args.get(1).map_or(Ok(1), int)?;
    if depth < 0 {
        return failed("level must be non-negative");
    }
    let mut out = Vec::new();
    flatten_into(list(&args[0])?, depth, &mut out)?;
    Ok(Value::list(out))
}

fn flatten_into<'a>(list: &List<'a>, depth: i64, out: &mut Vec<Value<'a>>) -> Result<(), EvalError> {
    for value in list.iter() {
        match value? {
            Value::List(inner) if depth > 0 => flatten_into(&inner, depth - 1, out)?,
            other => out.push(other),
        }
    }
    Ok(())
}

fn sorted_by<'a>(values: &List<'a>, keys: &List<'a>) -> EvalResult<'a> {
    if values.len() != keys.len() {
        return failed(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} \
             elements respectively",
            values.len(),
            keys.len()
        ));
    }
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.to_vec()?.into_iter().zip(values.to_vec()?).collect();
    let mut wrong = None;
    pairs.sort_by(|(a, _), (b, _)| {
        a.compare(b).unwrap_or_else(|error| {
            wrong.get_or_insert(error);
            Ordering::Equal
        })
    });
    match wrong {
        Some(_) => failed("list elements must have the same type"),
        None => Ok(Value::list(pairs.into_iter().map(|(_, value)| value).collect())),
    }
}

fn sort<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    sorted_by(list(&args[0])?, list(&args[0])?)
}

fn sort_by<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    sorted_by(list(&args[0])?, list(&args[1])?)
}

fn range<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let count = int(&args[0])?;
    // The cost limit is far below this; it is reached only once the list is made.
    if usize::try_from(count).is_ok_and(|count| count > MAX_MADE / 16) {
        return too_large();
    }
    Ok(Value::list((0..count).map(Value::Int).collect()))
}

fn reverse<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let mut values = list(&args[0])?.to_vec()?;
    values.reverse();
    Ok(Value::list(values))
}

fn distinct<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let mut unique: Vec<Value<'a>> = Vec::new();
    for value in list(&args[0])?.iter() {
        let value = value?;
        let mut seen = false;
        for other in &unique {
            seen = seen || value.equals(other)?;
        }
        if !seen {
            unique.push(value);
        }
    }
    Ok(Value::list(unique))
}

fn contains_all(all: &List<'_>, some: &List<'_>) -> Result<bool, EvalError> {
    for value in some.iter() {
        if !all.contains(&value?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn sets_contains<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    contains_all(list(&args[0])?, list(&args[1])?).map(Value::Bool)
}

fn sets_equivalent<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let (a, b) = (list(&args[0])?, list(&args[1])?);
    Ok(Value::Bool(contains_all(a, b)? && contains_all(b, a)?))
}

fn sets_intersects<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let (a, b) = (list(&args[0])?, list(&args[1])?);
    for value in a.iter() {
        if b.contains(&value?)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn map_insert<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let map = std::mem::replace(&mut args[0], Value::Null);
    if let [_, key, value] = args {
        return insert(map, key, value.clone());
    }
    let Value::Map(more) = &args[1] else { return no_overload() };
    let more: &Map<'a> = more;
    more.keys().into_iter().try_fold(map, |map, key| {
        let value = more.get(&key)?.unwrap_or(Value::Null);
        insert(map, &key, value)
    })
}
