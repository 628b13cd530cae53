//! Value validation of custom resources, in the words of upstream's validators (`kube-openapi/pkg/validation` as
//! `apiextensions` turns them into field errors).

use std::{collections::BTreeMap, sync::OnceLock};

use regex::Regex;
use serde_json::Value;

use super::{flag, format, text};
use crate::field::{Error, ErrorList, Path};

/// Where a schema stands: the root's and embedded resources' apiVersion, kind and metadata are checked elsewhere.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    Root,
    Below,
}

/// A compiled schema: what a value must satisfy.
#[derive(Debug, Default)]
pub struct Validator {
    types: Vec<&'static str>,
    nullable: bool,
    allowed: Option<Vec<Value>>,
    pattern: Option<Pattern>,
    format: String,
    minimum: Option<f64>,
    maximum: Option<f64>,
    exclusive: (bool, bool),
    multiple_of: Option<f64>,
    length: Bounds,
    items_count: Bounds,
    properties_count: Bounds,
    required: Vec<String>,
    list: List,
    properties: BTreeMap<String, Validator>,
    items: Option<Box<Validator>>,
    additional: Option<Box<Validator>>,
    all_of: Vec<Validator>,
    any_of: Vec<Validator>,
    one_of: Vec<Validator>,
    not: Option<Box<Validator>>,
}

#[derive(Debug, Default)]
struct Bounds {
    min: Option<u64>,
    max: Option<u64>,
}

#[derive(Debug, Default)]
enum List {
    #[default]
    Plain,
    Set,
    Map(Vec<String>),
}

/// Compiled when first needed: most patterns of most definitions are never used.
#[derive(Debug)]
struct Pattern {
    text: String,
    compiled: OnceLock<Option<Regex>>,
}

/// A Go regular expression in Rust's engine; both descend from RE2. Unicode classes this build lacks fall back to ASCII.
pub(super) fn compile_pattern(pattern: &str) -> Result<Regex, String> {
    let limit = 1 << 20;
    let build = |text: &str| regex::RegexBuilder::new(text).size_limit(limit).build();
    build(pattern).or_else(|error| build(&format!("(?-u:{pattern})")).map_err(|_| error)).map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim().to_owned()
    })
}

impl Validator {
    pub(super) fn compile(schema: &Value, place: Place) -> Self {
        let number = |name: &str| schema.get(name).and_then(Value::as_f64);
        let bounds = |min: &str, max: &str| Bounds {
            min: schema.get(min).and_then(Value::as_u64),
            max: schema.get(max).and_then(Value::as_u64),
        };
        let list = |name: &str| -> Vec<Self> {
            let branches = schema.get(name).and_then(Value::as_array).into_iter().flatten();
            branches.map(|branch| Self::compile(branch, Place::Below)).collect()
        };
        let strings = |name: &str| -> Vec<String> {
            let list = schema.get(name).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(|value| value.as_str().map(ToOwned::to_owned)).collect()
        };
        let below = |name: &str| {
            schema.get(name).filter(|below| below.is_object()).map(|below| Box::new(Self::compile(below, Place::Below)))
        };
        let implied = place == Place::Root || flag(schema, "x-kubernetes-embedded-resource");
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let int_or_string = flag(schema, "x-kubernetes-int-or-string");
        Self {
            types: if int_or_string {
                vec!["integer", "string"]
            } else {
                known_type(text(schema, "type")).into_iter().collect()
            },
            nullable: flag(schema, "nullable"),
            allowed: schema.get("enum").and_then(Value::as_array).cloned(),
            pattern: schema
                .get("pattern")
                .and_then(Value::as_str)
                .map(|text| Pattern { text: text.to_owned(), compiled: OnceLock::new() }),
            format: text(schema, "format").to_owned(),
            minimum: number("minimum"),
            maximum: number("maximum"),
            exclusive: (flag(schema, "exclusiveMinimum"), flag(schema, "exclusiveMaximum")),
            multiple_of: number("multipleOf"),
            length: bounds("minLength", "maxLength"),
            items_count: bounds("minItems", "maxItems"),
            properties_count: bounds("minProperties", "maxProperties"),
            required: strings("required"),
            list: match text(schema, "x-kubernetes-list-type") {
                "set" => List::Set,
                "map" => List::Map(strings("x-kubernetes-list-map-keys")),
                _ => List::Plain,
            },
            properties: properties
                .filter(|(name, _)| !(implied && matches!(name.as_str(), "apiVersion" | "kind" | "metadata")))
                .map(|(name, schema)| (name.clone(), Self::compile(schema, Place::Below)))
                .collect(),
            items: below("items"),
            additional: below("additionalProperties"),
            all_of: list("allOf"),
            any_of: list("anyOf"),
            one_of: list("oneOf"),
            not: below("not"),
        }
    }

    /// The validator of a property, of an item (`[]`), of any other entry (`{}`).
    #[must_use]
    pub fn below(&self, step: &str) -> Option<&Self> {
        match step {
            "[]" => self.items.as_deref(),
            "{}" => self.additional.as_deref(),
            name => self.properties.get(name),
        }
    }

    fn passes(&self, value: &Value) -> bool {
        let mut errors = ErrorList::new();
        validate_at(self, value, &Path::default(), &mut errors);
        errors.is_empty()
    }
}

fn known_type(name: &str) -> Option<&'static str> {
    ["array", "boolean", "integer", "number", "object", "string"].into_iter().find(|known| *known == name)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() && number.as_f64().is_some_and(|number| number.fract() != 0.0) => {
            "number"
        }
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Go prints whole floats without a fraction.
pub(super) fn go_number(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e21 { format!("{number:.0}") } else { number.to_string() }
}

/// The name of a place in messages; the root has none.
fn named(path: &Path) -> String {
    if *path == Path::default() { String::new() } else { path.to_string() }
}

pub(super) fn validate_at(schema: &Validator, value: &Value, path: &Path, errors: &mut ErrorList) {
    validate_changed(schema, value, None, path, errors);
}

/// The same of what changed: a part that is as it was in `old` may be as wrong as it was (KEP-4008). Fields and entries are
/// found by name, items of map lists by key; other items count as new unless the whole list is unchanged.
pub(super) fn validate_changed(
    schema: &Validator,
    value: &Value,
    old: Option<&Value>,
    path: &Path,
    errors: &mut ErrorList,
) {
    if old == Some(value) {
        return;
    }
    if value.is_null() && schema.nullable {
        return;
    }
    let name = named(path);
    let found = type_of(value);
    let fits = schema.types.is_empty()
        || schema.types.iter().any(|ty| *ty == found || (*ty == "number" && found == "integer"));
    if !fits {
        let wanted = schema.types.join(",");
        errors.push(Error::type_invalid(path, found, format!("{name} in body must be of type {wanted}: {found:?}")));
        return;
    }
    if let Some(allowed) = &schema.allowed
        && !allowed.contains(value)
    {
        let words: Vec<String> =
            allowed.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), ToOwned::to_owned)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        errors.push(Error::not_supported(path, value.clone(), &words));
    }
    match value {
        Value::String(text) => string(schema, text, path, &name, errors),
        Value::Number(number) => numeric(schema, number.as_f64().unwrap_or_default(), value, path, &name, errors),
        Value::Array(list) => array(schema, list, old, path, &name, errors),
        Value::Object(map) => object(schema, map, old, path, &name, errors),
        _ => {}
    }
    junctors(schema, value, path, &name, errors);
}

fn string(schema: &Validator, text: &str, path: &Path, name: &str, errors: &mut ErrorList) {
    let length = text.chars().count() as u64;
    if let Some(max) = schema.length.max.filter(|max| length > *max) {
        errors.push(Error::too_long(path, usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if let Some(min) = schema.length.min.filter(|min| length < *min) {
        errors.push(Error::invalid(path, text, format!("{name} in body should be at least {min} chars long")));
    }
    if let Some(pattern) = &schema.pattern
        && let Some(regex) = pattern.compiled.get_or_init(|| compile_pattern(&pattern.text).ok())
        && !regex.is_match(text)
    {
        errors.push(Error::invalid(path, text, format!("{name} in body should match '{}'", pattern.text)));
    }
    if !format::matches(&schema.format, text) {
        errors.push(Error::invalid(path, text, format!("{name} in body must be of type {}: {text:?}", schema.format)));
    }
}

fn numeric(schema: &Validator, number: f64, value: &Value, path: &Path, name: &str, errors: &mut ErrorList) {
    let mut wrong =
        |words: String| errors.push(Error::invalid(path, value.clone(), format!("{name} in body should be {words}")));
    if let Some(max) = schema.maximum {
        match schema.exclusive.1 {
            true if number >= max => wrong(format!("less than {}", go_number(max))),
            false if number > max => wrong(format!("less than or equal to {}", go_number(max))),
            _ => {}
        }
    }
    if let Some(min) = schema.minimum {
        match schema.exclusive.0 {
            true if number <= min => wrong(format!("greater than {}", go_number(min))),
            false if number < min => wrong(format!("greater than or equal to {}", go_number(min))),
            _ => {}
        }
    }
    if let Some(factor) = schema.multiple_of.filter(|factor| *factor > 0.0)
        && (number / factor).fract() != 0.0
    {
        wrong(format!("a multiple of {}", go_number(factor)));
    }
    if schema.format == "int32" && !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number) {
        errors.push(Error::invalid(
            path,
            value.clone(),
            format!("{name} in body must be of type int32: {value:?}", value = value.to_string()),
        ));
    }
}

fn array(schema: &Validator, list: &[Value], old: Option<&Value>, path: &Path, name: &str, errors: &mut ErrorList) {
    let old = old.and_then(Value::as_array).map(Vec::as_slice);
    let count = list.len() as u64;
    if let Some(max) = schema.items_count.max.filter(|max| count > *max) {
        errors.push(Error::too_many(path, list.len(), usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if let Some(min) = schema.items_count.min.filter(|min| count < *min) {
        errors.push(Error::invalid(path, count, format!("{name} in body should have at least {min} items")));
    }
    if let Some(items) = &schema.items {
        for (at, item) in list.iter().enumerate() {
            let counterpart = match &schema.list {
                List::Map(keys) => {
                    old.and_then(|old| old.iter().find(|other| keys.iter().all(|key| other.get(key) == item.get(key))))
                }
                List::Plain | List::Set => None,
            };
            validate_changed(items, item, counterpart, &path.index(at), errors);
        }
    }
    let identity = |item: &Value| -> Option<Value> {
        match &schema.list {
            List::Plain => None,
            List::Set => Some(item.clone()),
            List::Map(keys) => {
                let keys = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
                Some(Value::Object(keys.collect()))
            }
        }
    };
    let duplicates = |list: &[Value]| -> Vec<(usize, Value)> {
        let mut seen = std::collections::HashSet::new();
        let identities = list.iter().enumerate().filter_map(|(at, item)| Some((at, identity(item)?)));
        identities.filter(|(_, identity)| !seen.insert(identity.to_string())).collect()
    };
    if old.is_some_and(|old| !duplicates(old).is_empty()) {
        return;
    }
    for (at, identity) in duplicates(list) {
        errors.push(Error::duplicate(&path.index(at), identity));
    }
}

fn object(
    schema: &Validator,
    map: &serde_json::Map<String, Value>,
    old: Option<&Value>,
    path: &Path,
    name: &str,
    errors: &mut ErrorList,
) {
    let count = map.len() as u64;
    if let Some(max) = schema.properties_count.max.filter(|max| count > *max) {
        errors.push(Error::too_many(path, map.len(), usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if let Some(min) = schema.properties_count.min.filter(|min| count < *min) {
        errors.push(Error::invalid(path, count, format!("{name} in body should have at least {min} properties")));
    }
    for required in schema.required.iter().filter(|required| !map.contains_key(*required)) {
        errors.push(Error::required(&path.child(required), ""));
    }
    for (key, value) in map {
        let old = old.and_then(|old| old.get(key));
        if let Some(property) = schema.properties.get(key) {
            validate_changed(property, value, old, &path.child(key), errors);
        } else if let Some(additional) = &schema.additional {
            validate_changed(additional, value, old, &path.child(key), errors);
        }
    }
}

fn junctors(schema: &Validator, value: &Value, path: &Path, name: &str, errors: &mut ErrorList) {
    let mut wrong = |words: &str| {
        errors.push(Error::invalid(path, shown(value), format!("{name:?} must {words}")));
    };
    if !schema.any_of.is_empty() && !schema.any_of.iter().any(|branch| branch.passes(value)) {
        wrong("validate at least one schema (anyOf)");
    }
    if !schema.one_of.is_empty() {
        match schema.one_of.iter().filter(|branch| branch.passes(value)).count() {
            1 => {}
            0 => wrong("validate one and only one schema (oneOf). Found none valid"),
            count => wrong(&format!("validate one and only one schema (oneOf). Found {count} valid alternatives")),
        }
    }
    if schema.not.as_ref().is_some_and(|branch| branch.passes(value)) {
        wrong("not validate the schema (not)");
    }
    let before = errors.len();
    for branch in &schema.all_of {
        validate_at(branch, value, path, errors);
    }
    if errors.len() > before {
        errors.push(Error::invalid(path, shown(value), format!("{name:?} must validate all the schemas (allOf)")));
    }
}

/// Upstream shows composite values of junctor errors as an empty string.
fn shown(value: &Value) -> Value {
    if value.is_object() || value.is_array() { "".into() } else { value.clone() }
}
