//! Limit ranges (`ValidateLimitRange`): each kind of thing is limited once, and min <= defaultRequest <= default <= max.

use std::collections::{BTreeMap, BTreeSet};

use schema::field::{Error, ErrorList, Path};
use schema::names;
use schema::quantity::Quantity;
use serde_json::Value;

use super::super::json::Json;
use super::{quantity_text, resource_name, spec};

#[must_use]
pub fn limit_range(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut kinds = BTreeSet::new();
    for (i, item) in object.list("spec.limits").iter().enumerate() {
        let path = spec().child("limits").index(i);
        let kind = item.text("type");
        limit_type(&mut errors, &path.child("type"), kind);
        if !kinds.insert(kind) {
            errors.push(Error::duplicate(&path.child("type"), kind));
        }
        limits(&mut errors, &path, item, kind);
    }
    errors
}

/// What is limited: pods, what is in them, claims, or anything with a domain.
fn limit_type(errors: &mut ErrorList, path: &Path, kind: &str) {
    let wrong = names::qualified_name(kind);
    if wrong.is_empty() && !kind.contains('/') && !matches!(kind, "Container" | "PersistentVolumeClaim" | "Pod") {
        errors.push(Error::invalid(path, kind, "must be a standard limit type or fully qualified"));
    }
    errors.extend(wrong.into_iter().map(|message| Error::invalid(path, kind, message)));
}

fn limits(errors: &mut ErrorList, path: &Path, item: &Value, kind: &str) {
    let name_rule = if matches!(kind, "Pod" | "Container") { resource_name::of_container } else { resource_name::any };
    let mut resources = BTreeSet::new();
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let given = item.entries(list);
        if list == "maxLimitRequestRatio" && kind == "PersistentVolumeClaim" {
            let storage = |list: &str| item.entries(list).contains_key("storage");
            if !storage("min") && !storage("max") {
                let detail = "either minimum or maximum storage value is required, but neither was provided";
                errors.push(Error::required(&path.child("limits"), detail));
            }
        }
        if kind == "Pod" && list.starts_with("default") {
            if !given.is_empty() {
                errors.push(Error::forbidden(&path.child(list), "may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        for name in given.keys() {
            name_rule(errors, &path.child(list).key(name), name);
            resources.insert(name.as_str());
        }
    }
    for name in resources {
        one(errors, path, item, name, kind);
    }
}

/// All that is said of one resource. What two fields say must agree: (low, high, where, shown, what).
fn one(errors: &mut ErrorList, path: &Path, item: &Value, name: &str, kind: &str) {
    const RULES: [(&str, &str, &str, &str, [&str; 2]); 6] = [
        ("min", "max", "min", "min", ["min value", "max value"]),
        ("min", "defaultRequest", "defaultRequest", "defaultRequest", ["min value", "default request value"]),
        ("defaultRequest", "max", "defaultRequest", "defaultRequest", ["default request value", "max value"]),
        (
            "defaultRequest",
            "default",
            "defaultRequest",
            "defaultRequest",
            ["default request value", "default limit value"],
        ),
        ("min", "default", "default", "min", ["min value", "default value"]),
        ("default", "max", "default", "max", ["default value", "max value"]),
    ];
    let mut given: BTreeMap<&str, (String, Quantity)> = BTreeMap::new();
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let ignored = kind == "Pod" && list.starts_with("default");
        let Some(value) = item.entries(list).get(name).filter(|_| !ignored) else { continue };
        let text = quantity_text(value);
        if let Ok(quantity) = Quantity::parse(&text) {
            given.insert(list, (text, quantity));
        }
    }
    for (low, high, place, shown, what) in RULES {
        let (Some((a, x)), Some((b, y)), Some((shown, _))) = (given.get(low), given.get(high), given.get(shown)) else {
            continue;
        };
        if x > y {
            let detail = format!("{} {a} is greater than {} {b}", what[0], what[1]);
            errors.push(Error::invalid(&path.child(place).key(name), shown.as_str(), detail));
        }
    }
    if let Some((text, ratio)) = given.get("maxLimitRequestRatio") {
        let at = path.child("maxLimitRequestRatio").key(name);
        let milli = ratio.milli_value();
        if milli < 1000 {
            errors.push(Error::invalid(&at, text.as_str(), format!("ratio {text} is less than 1")));
        }
        if let (Some((_, min)), Some((_, max))) = (given.get("min"), given.get("max")) {
            let most = max.milli_value() as f64 / min.milli_value() as f64;
            if milli as f64 / 1000.0 > most {
                let detail = format!("ratio {text} is greater than max/min = {most:.6}");
                errors.push(Error::invalid(&at, text.as_str(), detail));
            }
        }
    }
    let overcommits = resource_name::is_native(name) && !name.starts_with(resource_name::PAGES);
    if let (false, Some((limit, x)), Some((request, y))) =
        (overcommits, given.get("default"), given.get("defaultRequest"))
        && x != y
    {
        let detail = format!("default value {limit} must equal to defaultRequest value {request} in {name}");
        errors.push(Error::invalid(&path.child("defaultRequest").key(name), request.as_str(), detail));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn what_is_said_agrees() {
        for (limit, expected) in [
            (json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}}), vec![]),
            (
                json!({"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}),
                vec!["min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"],
            ),
            (
                json!({"type": "Container", "min": {"cpu": "2"}, "default": {"cpu": "1"}}),
                vec!["default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1"],
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "0"}}),
                vec!["maxLimitRequestRatio[cpu]: Invalid value: \"0\": ratio 0 is less than 1"],
            ),
            (
                json!({"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}),
                vec!["maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000"],
            ),
            (
                json!({"type": "Pod", "default": {"cpu": "1"}}),
                vec!["default: Forbidden: may not be specified when `type` is 'Pod'"],
            ),
            (
                json!({"type": "PersistentVolumeClaim"}),
                vec![
                    "limits: Required value: either minimum or maximum storage value is required, but neither was provided",
                ],
            ),
            (
                json!({"type": "Container", "default": {"a.b/c": "2"}, "defaultRequest": {"a.b/c": "1"}}),
                vec![
                    "defaultRequest[a.b/c]: Invalid value: \"1\": default value 2 must equal to defaultRequest value 1 in a.b/c",
                ],
            ),
            (
                json!({"type": "PersistentVolumeClaim", "min": {"storage": "1", "zz": "1"}}),
                vec!["min[zz]: Invalid value: \"zz\": must be a standard resource type or fully qualified"],
            ),
        ] {
            let expected: Vec<String> = expected.into_iter().map(|text| format!("spec.limits[0].{text}")).collect();
            assert_eq!(texts(&limit_range(&json!({ "spec": { "limits": [limit] } }))), expected);
        }
    }
}
