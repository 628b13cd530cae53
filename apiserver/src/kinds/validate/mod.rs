//! What an object must satisfy beyond its schema: upstream's field paths, error types and messages (`pkg/apis/*/validation`).
//! One file a family; here are the checks they share. Every function returns all that is wrong, in upstream's order.

pub mod address;
pub mod admission_policy;
pub mod affinity;
pub mod api_service;
pub mod autoscaler;
pub mod batch;
pub mod conditions;
pub mod config;
pub mod container;
pub mod counts;
pub mod cron;
pub mod definition;
mod definition_version;
pub mod event;
pub mod flow;
pub mod ingress;
pub mod internal_schema;
pub mod job_policy;
pub mod job_status;
pub mod limit_range;
pub mod meta;
pub mod network;
pub mod node;
pub mod node_labels;
mod path_overlaps;
pub mod persistent_volume;
pub mod pod;
pub mod pod_annotations;
pub mod pod_dns;
pub mod pod_field;
pub mod pod_host;
pub mod pod_resize;
pub mod pod_resources;
pub mod pod_status;
pub mod pod_update;
pub mod pod_warnings;
pub mod policy;
pub mod probe;
pub mod quota;
pub mod rbac;
pub mod resource;
pub mod resource_name;
pub mod resource_slice;
pub mod resource_status;
pub mod restart_rules;
pub mod review;
pub mod security_context;
pub mod service;
pub mod signing;
pub mod storage;
pub mod system;
pub mod volume;
pub mod volume_source;
pub mod volume_warnings;
pub mod webhook;
pub mod windows;
pub mod workload;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use schema::quantity::Quantity;
use serde_json::Value;

use super::internal;
use super::json::Json;

pub const IMMUTABLE: &str = "field is immutable";
const LABEL_SELECTOR: &str = "apimachinery.pkg.apis.meta.v1.LabelSelector";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

type Check = fn(&str) -> Vec<String>;

/// What upstream shows for a path with an empty name (`field.NewPath("")`).
fn unnamed() -> Path {
    Path::new("[]")
}

fn spec() -> Path {
    Path::new("spec")
}

/// A path below somebody's domain, such as `acme.io/foo` (`IsDomainPrefixedPath`).
fn domain_prefixed_path(errors: &mut ErrorList, path: &Path, value: &str) {
    const FORMAT: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
    let is_of_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    match value.split_once('/') {
        _ if value.is_empty() => errors.push(Error::required(path, "")),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            named(errors, path, domain, names::dns1123_subdomain);
            if !rest.bytes().all(is_of_path) {
                let detail = format!("Invalid path (regex used for validation is '{FORMAT}')");
                errors.push(Error::invalid(path, rest, detail));
            }
        }
        _ => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(Error::invalid(path, value, detail));
        }
    }
}

/// Adds what `check` finds wrong with `value`.
fn named(errors: &mut ErrorList, path: &Path, value: &str, check: Check) {
    errors.extend(check(value).into_iter().map(|message| Error::invalid(path, value, message)));
}

/// The same for a field that must be there.
fn required_name(errors: &mut ErrorList, path: &Path, value: &str, check: Check) {
    if value.is_empty() {
        errors.push(Error::required(path, ""));
    } else {
        named(errors, path, value, check);
    }
}

fn required(errors: &mut ErrorList, object: &Value, field: &str, path: &Path) {
    if object.text(field).is_empty() {
        errors.push(Error::required(&path.child(field), ""));
    }
}

/// The field, if set, is one of `supported`.
fn one_of(errors: &mut ErrorList, path: &Path, value: &str, supported: &[&str]) {
    if !supported.contains(&value) {
        errors.push(Error::not_supported(path, value, supported));
    }
}

/// The same, where "" is a missing value.
fn required_one_of(errors: &mut ErrorList, path: &Path, value: &str, supported: &[&str]) {
    if value.is_empty() {
        errors.push(Error::required(path, ""));
    } else {
        one_of(errors, path, value, supported);
    }
}

fn not_negative(errors: &mut ErrorList, object: &Value, field: &str, path: &Path) {
    if object.int(field) < 0 {
        errors.push(Error::invalid(&path.child(field), object.int(field), NOT_NEGATIVE));
    }
}

fn positive(errors: &mut ErrorList, object: &Value, field: &str, path: &Path) {
    if object.has(field) && object.int(field) < 1 {
        errors.push(Error::invalid(&path.child(field), object.int(field), "must be greater than 0"));
    }
}

fn port_number(errors: &mut ErrorList, path: &Path, port: i64) {
    if !(1..=65535).contains(&port) {
        errors.push(Error::invalid(path, port, PORT_RANGE));
    }
}

/// A port given by number or by name.
fn port_or_name(errors: &mut ErrorList, path: &Path, port: &Value) {
    match port {
        Value::String(name) => named(errors, path, name, names::port_name),
        other => port_number(errors, path, other.as_i64().unwrap_or_default()),
    }
}

fn immutable(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) {
    if !same(new, old) {
        errors.push(Error::invalid(path, new.clone(), IMMUTABLE));
    }
}

/// The same for a field of the API's type `of`, as [`internal`] knows it.
fn immutable_of(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value, of: &str) {
    if !internal::same(new, old, of) {
        let shown = if new.is_null() { "null".to_owned() } else { internal::compact(new, of) };
        errors.push(Error::invalid_as(path, shown, IMMUTABLE));
    }
}

/// Equality in Go's eyes: absent, null and empty are one.
pub fn same(a: &Value, b: &Value) -> bool {
    let empty = |v: &Value| match v {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Array(l) => l.is_empty(),
        Value::Object(m) => m.is_empty(),
        _ => false,
    };
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| y.get(k).map_or_else(|| empty(v), |w| same(v, w)))
                && y.iter().all(|(k, w)| x.contains_key(k) || empty(w))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(v, w)| same(v, w)),
        _ => a == b || (empty(a) && empty(b)),
    }
}

/// A quantity may stand in JSON as a number.
pub fn quantity_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn quantity(errors: &mut ErrorList, path: &Path, value: &Value) -> Option<Quantity> {
    let text = quantity_text(value);
    match Quantity::parse(&text) {
        Ok(quantity) if quantity.milli_value() < 0 => {
            errors.push(Error::invalid(path, text, NOT_NEGATIVE));
            None
        }
        Ok(quantity) => Some(quantity),
        Err(error) => {
            errors.push(Error::invalid(path, text, error.to_string()));
            None
        }
    }
}

/// How much of something that may be had in whole alone.
fn quantity_of(errors: &mut ErrorList, path: &Path, value: &Value, whole: bool) {
    if let Some(quantity) = quantity(errors, path, value)
        && whole
        && !quantity.is_whole()
    {
        errors.push(Error::invalid(path, quantity.to_string(), "must be an integer"));
    }
}

/// An absolute number or a percentage; yields the number. What is neither is read as Go reads it: `"1"` is one, `"x"` none.
fn number_or_percent(errors: &mut ErrorList, path: &Path, value: &Value) -> i64 {
    match value {
        Value::String(text) => {
            let digits = text.strip_suffix('%').filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
            if digits.is_none() {
                errors.push(Error::invalid(
                    path,
                    text.as_str(),
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                     regex used for validation is '[0-9]+%')",
                ));
            }
            digits.unwrap_or(text).parse().unwrap_or_default()
        }
        other => {
            let number = other.as_i64().unwrap_or_default();
            if number < 0 {
                errors.push(Error::invalid(path, number, NOT_NEGATIVE));
            }
            number
        }
    }
}

/// A percentage above 100 makes no sense for what is taken away.
fn at_most_all(errors: &mut ErrorList, path: &Path, value: &Value) {
    let percent = value.as_str().and_then(|t| t.strip_suffix('%')).and_then(|d| d.parse::<i64>().ok());
    if percent.is_some_and(|p| p > 100) {
        errors.push(Error::invalid(path, value.clone(), "must not be greater than 100%"));
    }
}

/// What is wrong with a selector as a whole.
fn selector_error(path: &Path, selector: &Value, detail: &str) -> Error {
    Error::invalid_as(path, internal::compact(selector, LABEL_SELECTOR), detail)
}

/// A metav1.LabelSelector.
fn label_selector(errors: &mut ErrorList, path: &Path, selector: &Value) {
    meta::labels(errors, &path.child("matchLabels"), selector.at("matchLabels"));
    for (i, expression) in selector.list("matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let has_values = !expression.list("values").is_empty();
        match expression.text("operator") {
            "In" | "NotIn" if !has_values => errors
                .push(Error::required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'")),
            "Exists" | "DoesNotExist" if has_values => errors.push(Error::forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        named(errors, &path.child("key"), expression.text("key"), names::qualified_name);
        for (j, value) in expression.texts("values").into_iter().enumerate() {
            named(errors, &path.child("values").index(j), value, names::label_value);
        }
    }
}

/// A field's name as Go writes it.
pub(super) fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
pub(super) fn texts(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}
