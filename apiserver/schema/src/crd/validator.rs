//! Value validation of custom resources, in the words of upstream's validators (`kube-openapi/pkg/validation/validate` as
//! `apiextensions` turns them into field errors). As there, the validators of a schema run one after the other, whatever the
//! one before found: type, junctors, string, format, number, list, enum, object.

use std::{collections::BTreeMap, sync::OnceLock};

use regex::Regex;
use serde_json::{Number, Value};

use super::{flag, format, regexp, text};
use crate::field::{Error, ErrorList, Path, go_number};

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
    if let Some(why) = regexp::refused(pattern) {
        return Err(why);
    }
    build(pattern)
        .or_else(|error| build(&format!("(?-u:{pattern})")).map_err(|_| error))
        .map_err(|error| regexp::error(pattern, &error.to_string()))
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

    /// Takes their type from int-or-strings.
    pub(super) fn untype(&mut self) {
        if self.types == ["integer", "string"] {
            self.types.clear();
        }
        let lists = [&mut self.all_of, &mut self.any_of, &mut self.one_of].into_iter().flatten();
        let single =
            [&mut self.items, &mut self.additional, &mut self.not].into_iter().filter_map(Option::as_deref_mut);
        self.properties.values_mut().chain(lists).chain(single).for_each(Self::untype);
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

    fn of_entry(&self, key: &str) -> Option<&Self> {
        self.properties.get(key).or(self.additional.as_deref())
    }

    /// What is wrong with a value, by the names of its parts.
    fn failures(&self, value: &Value, name: &Path) -> ErrorList {
        let mut walk = Walk { base: &Path::default(), errors: ErrorList::new() };
        walk.value(self, value, None, name);
        walk.errors
    }
}

fn known_type(name: &str) -> Option<&'static str> {
    ["array", "boolean", "integer", "number", "object", "string"].into_iter().find(|known| *known == name)
}

/// The JSON type of a value and the format of the Go value it is there: what is written with a fraction, or fits no
/// integer, is a float.
fn type_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::Number(number) if number.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

/// A float that JSON may as well call an integer.
fn is_json_integer(number: f64) -> bool {
    const MAX: f64 = ((1_u64 << 53) - 1) as f64;
    number.fract() == 0.0 && number.abs() <= MAX
}

/// Validates a value that stands at `base`: names in messages are relative to it, as in upstream's.
pub(super) fn validate_at(schema: &Validator, value: &Value, base: &Path, errors: &mut ErrorList) {
    validate_changed_at(schema, value, None, base, errors);
}

/// An object, or what of it differs from `old`: a part that is as it was may be as wrong as it was (KEP-4008). Fields and
/// entries are found by name, items of map lists by key; other items count as new unless the whole list is unchanged.
pub(super) fn validate_changed_at(
    schema: &Validator,
    value: &Value,
    old: Option<&Value>,
    base: &Path,
    errors: &mut ErrorList,
) {
    let mut walk = Walk { base, errors: ErrorList::new() };
    walk.value(schema, value, old, &Path::default());
    errors.append(&mut walk.errors);
}

/// Sets and maps among the lists: no item twice.
pub(super) fn validate_lists(schema: &Validator, value: &Value, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(below) = schema.of_entry(key) {
                    validate_lists(below, value, &path.child(key), errors);
                }
            }
        }
        Value::Array(list) => {
            unique(schema, list, path, errors);
            for (at, item) in list.iter().enumerate() {
                if let Some(below) = &schema.items {
                    validate_lists(below, item, &path.index(at), errors);
                }
            }
        }
        _ => {}
    }
}

fn unique(schema: &Validator, list: &[Value], path: &Path, errors: &mut ErrorList) {
    let identity = |item: &Value| -> Option<Value> {
        match &schema.list {
            List::Plain => None,
            List::Set => Some(item.clone()),
            List::Map(keys) => {
                let item = item.as_object()?;
                let keys = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
                Some(Value::Object(keys.collect()))
            }
        }
    };
    if matches!(schema.list, List::Map(_)) {
        for (at, item) in list.iter().enumerate().filter(|(_, item)| !item.is_object()) {
            let detail = "must be an object for an array of list-type map";
            errors.push(Error::invalid(&path.index(at), item.clone(), detail));
        }
    }
    let mut seen = std::collections::HashSet::new();
    let mut told = std::collections::HashSet::new();
    let identities = list.iter().enumerate().filter_map(|(at, item)| Some((at, identity(item)?)));
    let again = identities.filter(|(_, identity)| !seen.insert(identity.to_string()));
    for (at, identity) in again.filter(|(_, identity)| told.insert(identity.to_string())) {
        errors.push(Error::duplicate(&path.index(at), identity));
    }
}

/// Whether a value is as it was; the order of map lists is nothing that could change.
fn same(schema: &Validator, value: &Value, old: &Value) -> bool {
    match (value, old) {
        (Value::Object(new), Value::Object(old)) => {
            let entry = |key: &str, new: &Value, old: &Value| match schema.of_entry(key) {
                Some(below) => same(below, new, old),
                None => new == old,
            };
            new.len() == old.len()
                && new.iter().all(|(key, value)| old.get(key).is_some_and(|old| entry(key, value, old)))
        }
        (Value::Array(new), Value::Array(all)) if new.len() == all.len() => {
            let Some(below) = &schema.items else { return new == all };
            new.iter().zip(all).all(|(item, at_its_place)| {
                let old = match schema.list {
                    List::Map(_) => counterpart(&schema.list, item, Some(all)),
                    _ => Some(at_its_place),
                };
                old.is_some_and(|old| same(below, item, old))
            })
        }
        _ => value == old,
    }
}

/// What an item of a map list was.
fn counterpart<'a>(list: &List, item: &Value, old: Option<&'a [Value]>) -> Option<&'a Value> {
    match list {
        List::Map(keys) => {
            old.and_then(|old| old.iter().find(|other| keys.iter().all(|key| other.get(key) == item.get(key))))
        }
        List::Plain | List::Set => None,
    }
}

/// The validation of one value and all below it.
struct Walk<'a> {
    /// Where the value stands; parts are named relative to it, and what has no name of its own stands there.
    base: &'a Path,
    errors: ErrorList,
}

impl Walk<'_> {
    fn at(&self, name: &Path) -> Path {
        match (*self.base == Path::default(), *name == Path::default()) {
            (true, _) => name.clone(),
            (_, true) => self.base.clone(),
            _ => self.base.child(&name.to_string()),
        }
    }

    fn invalid(&mut self, name: &Path, value: impl Into<Value>, detail: String) {
        let at = self.at(name);
        self.errors.push(Error::invalid(&at, value, detail));
    }

    fn wrong_type(&mut self, name: &Path, wanted: &str, found: &str) {
        let (at, name) = (self.at(name), named(name));
        self.errors.push(Error::type_invalid(
            &at,
            found,
            format!("{name} in body must be of type {wanted}: {found:?}"),
        ));
    }

    /// Upstream's errors that are about no value in particular.
    fn composite(&mut self, detail: String) {
        let base = self.base.clone();
        self.errors.push(Error::invalid(&base, "", detail));
    }

    fn value(&mut self, schema: &Validator, value: &Value, old: Option<&Value>, name: &Path) {
        if old.is_some_and(|old| same(schema, value, old)) || (value.is_null() && schema.nullable) {
            return;
        }
        self.of_type(schema, value, name);
        if value.is_null() {
            return self.allowed(schema, value, name);
        }
        self.junctors(schema, value, name);
        match value {
            Value::String(text) => self.string(schema, text, name),
            Value::Number(number) => self.number(schema, number, name),
            Value::Array(list) => self.array(schema, list, old, name),
            _ => {}
        }
        self.allowed(schema, value, name);
        if let Value::Object(map) = value {
            self.object(schema, map, old, name);
        }
    }

    fn of_type(&mut self, schema: &Validator, value: &Value, name: &Path) {
        if schema.types.is_empty() {
            return;
        }
        let (found, of_format) = type_of(value);
        let has = |wanted: &str| schema.types.contains(&wanted);
        let whole = value.as_f64().is_some_and(is_json_integer) && found == "number" && has("integer");
        let fits = has(found) || whole || (found == "integer" && has("number"));
        let known_format = format::is_known(schema.types.first().copied().unwrap_or_default(), &schema.format);
        if known_format && !value.is_null() {
            // A format stands for the type; texts and lists are left to the format's own check.
            match value {
                Value::String(_) | Value::Array(_) if !has("number") && !has("integer") => return,
                Value::String(_) | Value::Array(_) => {}
                _ if !fits => return self.wrong_type(name, &schema.format, of_format),
                _ => {}
            }
        }
        if !fits {
            self.wrong_type(name, &schema.types.join(","), found);
        }
    }

    fn allowed(&mut self, schema: &Validator, value: &Value, name: &Path) {
        // As Go converts a float to the type of what it is compared with, it loses its fraction.
        let as_integer = |value: &Value| match value {
            Value::Number(number) if !number.is_i64() => number.as_f64().map(|float| Value::from(float as i64)),
            _ => None,
        };
        let truncated = as_integer(value);
        let fits = |allowed: &[Value]| {
            allowed.contains(value) || truncated.as_ref().is_some_and(|integer| allowed.contains(integer))
        };
        let Some(allowed) = schema.allowed.as_ref().filter(|allowed| !fits(allowed)) else { return };
        let words: Vec<String> =
            allowed.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), ToOwned::to_owned)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let at = self.at(name);
        self.errors.push(Error::not_supported(&at, value.clone(), &words));
    }

    /// Of length and pattern the first that fails is told.
    fn string(&mut self, schema: &Validator, text: &str, name: &Path) {
        let length = text.chars().count() as u64;
        let shown = named(name);
        if let Some(max) = schema.length.max.filter(|max| length > *max) {
            let at = self.at(name);
            self.errors.push(Error::too_long(&at, usize::try_from(max).unwrap_or(usize::MAX)));
        } else if let Some(min) = schema.length.min.filter(|min| length < *min) {
            self.invalid(name, text, format!("{shown} in body should be at least {min} chars long"));
        } else if let Some(pattern) = &schema.pattern
            && let Some(regex) = pattern.compiled.get_or_init(|| compile_pattern(&pattern.text).ok())
            && !regex.is_match(text)
        {
            self.invalid(name, text, format!("{shown} in body should match '{}'", pattern.text));
        }
        if !format::matches(&schema.format, text) {
            let at = self.at(name);
            let detail = format!("{shown} in body must be of type {}: {text:?}", schema.format);
            self.errors.push(Error::type_invalid(&at, text, detail));
        }
    }

    fn number(&mut self, schema: &Validator, number: &Number, name: &Path) {
        let value = Value::Number(number.clone());
        let shown = named(name);
        if let Some(kind) = out_of_range(schema, number) {
            self.composite(format!("Checked value must be of type {kind} in {shown}"));
        }
        let float = number.as_f64().unwrap_or_default();
        // Integers are compared as such: bounds lose their fractions.
        let as_compared = |bound: f64| if number.is_i64() { bound.trunc() } else { bound };
        if let Some(factor) = schema.multiple_of.map(as_compared) {
            if factor <= 0.0 {
                let shown_factor = factor_shown(number, factor);
                let detail = format!("factor MultipleOf declared for {shown} must be positive: {shown_factor}");
                self.invalid(name, factor_value(factor), detail);
            } else if !is_multiple(number, factor) {
                let detail = format!("{shown} in body should be a multiple of {}", factor_shown(number, factor));
                self.invalid(name, value.clone(), detail);
            }
        }
        let bounds = [
            (schema.minimum, schema.exclusive.0, std::cmp::Ordering::Greater, "greater than"),
            (schema.maximum, schema.exclusive.1, std::cmp::Ordering::Less, "less than"),
        ];
        for (bound, exclusive, wanted, words) in bounds {
            let Some(bound) = bound.map(as_compared) else { continue };
            let order = match number.as_i64() {
                Some(number) => number.cmp(&(bound as i64)),
                None => float.total_cmp(&bound),
            };
            if order != wanted && (exclusive || order != std::cmp::Ordering::Equal) {
                let words = if exclusive { words.to_owned() } else { format!("{words} or equal to") };
                let bound = factor_shown(number, bound);
                self.invalid(name, value.clone(), format!("{shown} in body should be {words} {bound}"));
            }
        }
    }

    fn array(&mut self, schema: &Validator, list: &[Value], old: Option<&Value>, name: &Path) {
        let old = old.and_then(Value::as_array).map(Vec::as_slice);
        if let Some(items) = &schema.items {
            for (at, item) in list.iter().enumerate() {
                self.value(items, item, counterpart(&schema.list, item, old), &name.index(at));
            }
        }
        let count = list.len() as u64;
        if let Some(min) = schema.items_count.min.filter(|min| count < *min) {
            let detail = format!("{} in body should have at least {min} items", named(name));
            self.invalid(name, count, detail);
        }
        if let Some(max) = schema.items_count.max.filter(|max| count > *max) {
            let at = self.at(name);
            self.errors.push(Error::too_many(&at, list.len(), usize::try_from(max).unwrap_or(usize::MAX)));
        }
    }

    fn object(&mut self, schema: &Validator, map: &serde_json::Map<String, Value>, old: Option<&Value>, name: &Path) {
        let count = map.len() as u64;
        if let Some(min) = schema.properties_count.min.filter(|min| count < *min) {
            let detail = format!("{} in body should have at least {min} properties", named(name));
            self.invalid(name, count, detail);
        }
        if let Some(max) = schema.properties_count.max.filter(|max| count > *max) {
            let at = self.at(name);
            self.errors.push(Error::too_many(&at, map.len(), usize::try_from(max).unwrap_or(usize::MAX)));
        }
        for (key, value) in map {
            if let Some(below) = schema.of_entry(key) {
                self.value(below, value, old.and_then(|old| old.get(key)), &name.child(key));
            }
        }
        for required in schema.required.iter().filter(|required| !map.contains_key(*required)) {
            let at = self.at(&name.child(required));
            self.errors.push(Error::required(&at, ""));
        }
    }

    /// Besides that none fitted, the first branch that did not is told.
    fn junctors(&mut self, schema: &Validator, value: &Value, name: &Path) {
        let shown = format!("{:?}", named(name));
        let branches =
            |list: &[Validator]| -> Vec<ErrorList> { list.iter().map(|branch| branch.failures(value, name)).collect() };
        if !schema.any_of.is_empty() {
            let failures = branches(&schema.any_of);
            if failures.iter().all(|errors| !errors.is_empty()) {
                self.composite(format!("{shown} must validate at least one schema (anyOf)"));
                self.adopt(failures.into_iter().next());
            }
        }
        if !schema.one_of.is_empty() {
            let failures = branches(&schema.one_of);
            match failures.iter().filter(|errors| errors.is_empty()).count() {
                1 => {}
                0 => {
                    self.composite(format!("{shown} must validate one and only one schema (oneOf). Found none valid"));
                    self.adopt(failures.into_iter().next());
                }
                count => self.composite(format!(
                    "{shown} must validate one and only one schema (oneOf). Found {count} valid alternatives"
                )),
            }
        }
        if !schema.all_of.is_empty() {
            let failures = branches(&schema.all_of);
            let valid = failures.iter().filter(|errors| errors.is_empty()).count();
            let fits = valid == failures.len();
            self.adopt(Some(failures.into_iter().flatten().collect()));
            if !fits {
                let none = if valid == 0 { ". None validated" } else { "" };
                self.composite(format!("{shown} must validate all the schemas (allOf){none}"));
            }
        }
        if schema.not.as_ref().is_some_and(|branch| branch.failures(value, name).is_empty()) {
            self.composite(format!("{shown} must not validate the schema (not)"));
        }
    }

    /// Errors of a branch, whose paths are relative.
    fn adopt(&mut self, errors: Option<ErrorList>) {
        for mut error in errors.into_iter().flatten() {
            error.field = self.at(&error.field);
            self.errors.push(error);
        }
    }
}

/// The name of a place in messages; where validation began has none.
fn named(path: &Path) -> String {
    if *path == Path::default() { String::new() } else { path.to_string() }
}

/// What a number is compared with is written as a number of its kind.
fn factor_shown(number: &Number, compared: f64) -> String {
    if number.is_i64() { (compared as i64).to_string() } else { go_number(compared) }
}

fn factor_value(factor: f64) -> Value {
    if factor.fract() == 0.0 { Value::from(factor as i64) } else { Value::from(factor) }
}

/// The numeric type a number does not fit.
fn out_of_range(schema: &Validator, number: &Number) -> Option<String> {
    let (kind, fits) = if schema.types == ["integer"] {
        let integer = number
            .as_i64()
            .or_else(|| number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9.2e18).map(|f| f as i64));
        let fits = integer.is_some_and(|integer| schema.format != "int32" || i32::try_from(integer).is_ok());
        ("integer", fits)
    } else {
        let float = number.as_f64().unwrap_or_default();
        ("number", schema.format != "float" || float.abs() <= f64::from(f32::MAX))
    };
    if fits {
        return None;
    }
    let format = match schema.format.as_str() {
        "" => "(default format)".to_owned(),
        format => format!("with format {format}"),
    };
    Some(format!("{kind} {format}"))
}

fn is_multiple(number: &Number, factor: f64) -> bool {
    match number.as_i64() {
        Some(integer) => integer % (factor as i64) == 0,
        None => {
            let float = number.as_f64().unwrap_or_default();
            let ratio = if factor < 1.0 { 1.0 / factor * float } else { float / factor };
            // As near to an integer as floats can tell.
            is_json_integer(ratio) || (ratio.abs() < 9e15 && (ratio - ratio.round()).abs() / (2.0 * ratio.abs()) < 1e-9)
        }
    }
}
