//! What a call costs at run time (`library/cost.go` `CallCost`, then cel-go `interpreter/runtimecost.go`).

use crate::{
    library::Extension,
    value::{List, Map, Value},
};

/// The cost of one evaluation of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Price {
    Fixed(u64),
    /// `ceil(size of the result × factor) + base`.
    ByResult(f64, u64),
}

/// The cost of walking along a string once, per character.
pub(crate) const TRAVERSAL: f64 = 0.1;
/// The cost of a pattern, per character.
pub(crate) const REGEX: f64 = 0.25;
/// Creating a list.
pub(crate) const LIST: u64 = 10;
/// What an authorization check costs, wherever its answer comes from.
pub(crate) const CHECK: u64 = 350_000;
/// Kubernetes' own functions that cost one unit whatever they are given.
pub(crate) const CHEAP: [&str; 38] = [
    "serviceAccount",
    "path",
    "group",
    "resource",
    "subresource",
    "namespace",
    "name",
    "allowed",
    "reason",
    "error",
    "errored",
    "masked",
    "prefixLength",
    "family",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "format.named",
    "sign",
    "asInteger",
    "isInteger",
    "asApproximateFloat",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "add",
    "sub",
    "major",
    "minor",
    "patch",
    "getScheme",
    "getHostname",
    "getHost",
    "getPort",
    "getEscapedPath",
    "getQuery",
];

fn scaled(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

fn pattern(subject: u64, pattern: u64) -> u64 {
    ((1.0 + subject as f64) * TRAVERSAL).ceil() as u64 * scaled(pattern, REGEX)
}

pub(crate) fn of(function: &str, overload: &str, args: &[Value<'_>]) -> Price {
    let size = |at: usize| args.get(at).map_or(1, Value::size_or_one);
    let traversal = |at: usize, factor: f64| Price::Fixed(scaled(size(at), TRAVERSAL * factor));
    match overload {
        "list_slice" | "lists_range" | "list_reverse" => return Price::ByResult(1.0, 1 + LIST),
        "list_flatten" => return Price::Fixed(size(0) + 1 + LIST),
        "list_flatten_int" => {
            let depth = if let Some(Value::Int(depth)) = args.get(1) { *depth } else { 0 };
            return Price::Fixed((size(0) as f64 * depth as f64) as u64 + 1 + LIST);
        }
        "list_distinct" => return self_compare(&args[0]),
        "list_sets_contains_list" | "list_sets_intersects_list" => return Price::Fixed(size(0) * size(1) + 1),
        "list_sets_equivalent_list" => return Price::Fixed(2 * size(0) * size(1) + 1),
        _ if function == "sort" => return self_compare(&args[0]),
        _ if function == "@sortByAssociatedKeys" => return self_compare(&args[1]),
        _ => {}
    }
    match function {
        "check" => Price::Fixed(CHECK),
        function if CHEAP.contains(&function) => Price::Fixed(1),
        "fieldSelector" | "labelSelector" => Price::Fixed(selector(size(1))),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => Price::Fixed(walk(&args[0])),
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => traversal(0, 1.0),
        "replace" | "split" | "ip.isCanonical" => traversal(0, 2.0),
        "join" => Price::ByResult(2.0 * TRAVERSAL, 0),
        "find" | "findAll" => Price::Fixed(pattern(size(0), size(1))),
        "ip" if overload == "cidr_ip" => Price::Fixed(1),
        "ip" => traversal(0, 1.0),
        "containsIP" => {
            let parse = if overload == "cidr_contains_ip_string" { scaled(size(1), TRAVERSAL) } else { 0 };
            Price::Fixed(scaled(2 * size(0), TRAVERSAL) + parse)
        }
        "containsCIDR" => {
            let parse = if overload == "cidr_contains_cidr_string" { scaled(size(1), TRAVERSAL) } else { 0 };
            Price::Fixed(scaled(2 * size(0), TRAVERSAL) + scaled(size(0), TRAVERSAL) + 1 + parse)
        }
        "validate" => match args.first() {
            Some(Value::Extension(Extension::Format(format))) => Price::Fixed(pattern(size(1), format.regex_size)),
            _ => Price::Fixed(1),
        },
        "_==_" if matches!(args.first(), Some(Value::Extension(_))) => Price::Fixed(1),
        _ => Price::Fixed(standard(overload, args)),
    }
}

fn standard(overload: &str, args: &[Value<'_>]) -> u64 {
    let size = |at: usize| args.get(at).map_or(1, Value::size_or_one);
    match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string" | "strings_quote"
        | "string_format" => scaled(size(0), TRAVERSAL),
        "in_list" => size(1),
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes"
        | "equals"
        | "not_equals" => scaled(size(0).min(size(1)), TRAVERSAL),
        "add_string" | "add_bytes" => scaled(size(0) + size(1), TRAVERSAL),
        "matches_string" => pattern(size(0), size(1)),
        "contains_string" => scaled(size(0), TRAVERSAL) * scaled(size(1), TRAVERSAL),
        _ => 1,
    }
}

/// Parsing a selector: a list, the walk along it, and a list and a struct for each requirement of at least two characters.
pub(crate) fn selector(length: u64) -> u64 {
    LIST + scaled(length, TRAVERSAL) + scaled(length, 0.5) * 50
}

/// Comparing all elements of a list with each other.
fn self_compare(list: &Value<'_>) -> Price {
    let Value::List(list) = list else { return Price::Fixed(1) };
    let text = matches!(list.get(0), Some(Ok(Value::String(_) | Value::Bytes(_))));
    let factor = if text { 2.0 + TRAVERSAL } else { 2.0 };
    let size = list.len() as u64;
    Price::Fixed((size.saturating_mul(size) as f64 * factor) as u64 + 1 + LIST)
}

/// The cost of walking along all a value holds.
fn walk(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => (text.len() as f64 * TRAVERSAL) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * TRAVERSAL) as u64,
        Value::List(list) => walk_list(list),
        Value::Map(map) => walk_map(map),
        _ => 1,
    }
}

fn walk_list(list: &List<'_>) -> u64 {
    list.iter().flatten().map(|value| walk(&value)).fold(0, u64::saturating_add)
}

fn walk_map(map: &Map<'_>) -> u64 {
    let of = |key: &Value<'_>| {
        let value = match map {
            Map::Owned(entries) => key.key().and_then(|key| entries.get(&key)).map(walk),
            Map::Json(fields) => {
                key.as_str().and_then(|key| fields.get(key)).and_then(Result::ok).map(|value| walk(&value))
            }
        };
        walk(key) + value.unwrap_or(1)
    };
    map.keys().iter().map(of).fold(0, u64::saturating_add)
}
