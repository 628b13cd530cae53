//! When a Job has failed or succeeded before its time (`validatePodFailurePolicy`, `validateSuccessPolicy`).

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{named, not_negative, one_of};

/// Bounds of what a policy may list.
const RULES: usize = 20;
const EXIT_CODES: usize = 255;
const PATTERNS: usize = 20;
/// And how long the indexes of a success rule may be as text.
const INDEXES: usize = 64 * 1024;

/// One of `supported`, which is said even where there is nothing.
fn given_one_of(errors: &mut ErrorList, path: &Path, value: &str, supported: &[&str]) {
    if value.is_empty() {
        let list: Vec<String> = supported.iter().map(|name| format!("{name:?}")).collect();
        errors.push(Error::required(path, format!("valid values: [{}]", list.join(" "))));
    } else {
        one_of(errors, path, value, supported);
    }
}

pub fn pod_failure(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let path = path.child("rules");
    let rules = spec.list("podFailurePolicy.rules");
    if rules.len() > RULES {
        errors.push(Error::too_many(&path, rules.len(), RULES));
    }
    let containers: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| spec.at("template.spec").list(list))
        .map(|container| container.text("name"))
        .collect();
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        let action = rule.text("action");
        given_one_of(errors, &path.child("action"), action, &["Count", "FailIndex", "FailJob", "Ignore"]);
        if action == "FailIndex" && !spec.has("backoffLimitPerIndex") {
            let detail = "requires the backoffLimitPerIndex to be set";
            errors.push(Error::invalid(&path.child("action"), action, detail));
        }
        let codes = rule.at("onExitCodes");
        if !codes.is_null() {
            exit_codes(errors, &path.child("onExitCodes"), codes, &containers);
        }
        let patterns = rule.list("onPodConditions");
        if patterns.len() > PATTERNS {
            errors.push(Error::too_many(&path.child("onPodConditions"), patterns.len(), PATTERNS));
        }
        for (j, pattern) in patterns.iter().enumerate() {
            let path = path.child("onPodConditions").index(j);
            named(errors, &path.child("type"), pattern.text("type"), names::qualified_name);
            given_one_of(errors, &path.child("status"), pattern.text("status"), &["False", "True", "Unknown"]);
        }
        let detail = match (codes.is_null(), patterns.is_empty()) {
            (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.push(Error::invalid_as(&path, "", detail));
    }
}

fn exit_codes(errors: &mut ErrorList, path: &Path, codes: &Value, containers: &BTreeSet<&str>) {
    let operator = codes.text("operator");
    given_one_of(errors, &path.child("operator"), operator, &["In", "NotIn"]);
    if let Some(name) = codes.at("containerName").as_str()
        && !containers.contains(name)
    {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.push(Error::invalid(&path.child("containerName"), name, detail));
    }
    let at = path.child("values");
    let values: Vec<i64> = codes.list("values").iter().map(|value| value.as_i64().unwrap_or_default()).collect();
    if values.is_empty() {
        errors.push(Error::invalid(&at, codes.at("values").clone(), "at least one value is required"));
    } else if values.len() > EXIT_CODES {
        errors.push(Error::too_many(&at, values.len(), EXIT_CODES));
    }
    let mut seen = BTreeSet::new();
    for (i, value) in values.iter().enumerate() {
        if !seen.insert(value) {
            errors.push(Error::duplicate(&at.index(i), *value));
        }
        if operator == "In" && *value == 0 {
            errors.push(Error::invalid(&at.index(i), 0, "must not be 0 for the In operator"));
        }
    }
    if !values.is_sorted() {
        errors.push(Error::invalid(&at, values, "must be ordered"));
    }
}

pub fn success(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let path = path.child("rules");
    let rules = spec.list("successPolicy.rules");
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(Error::required(&path, detail));
    }
    if rules.len() > RULES {
        errors.push(Error::too_many(&path, rules.len(), RULES));
    }
    let completions = spec.int("completions");
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        if !rule.has("succeededCount") && !rule.has("succeededIndexes") {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(Error::required(&path, detail));
        }
        let mut known = 0;
        if let Some(indexes) = rule.at("succeededIndexes").as_str() {
            let at = path.child("succeededIndexes");
            if indexes.len() > INDEXES {
                errors.push(Error::too_long(&at, INDEXES));
            }
            match count_indexes(indexes, completions) {
                Ok(count) => known = count,
                Err(error) => {
                    let detail = format!("error parsing succeededIndexes: {error}");
                    errors.push(Error::invalid(&at, indexes, detail));
                }
            }
        }
        if rule.has("succeededCount") {
            let at = path.child("succeededCount");
            let count = rule.int("succeededCount");
            not_negative(errors, rule, "succeededCount", &path);
            let below = "must be less than or equal to";
            if count > completions {
                let detail = format!("{below} {completions} (the number of specified completions)");
                errors.push(Error::invalid(&at, count, detail));
            }
            if rule.has("succeededIndexes") && count > known {
                let detail = format!("{below} {known} (the number of indexes in the specified succeededIndexes field)");
                errors.push(Error::invalid(&at, count, detail));
            }
        }
    }
}

/// How many indexes `1,3-5` means; they grow, and stay below `completions`.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let index = |text: &str| -> Result<i64, String> {
        let index: i64 = text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if index >= completions { Err(format!("too large index: {text:?}")) } else { Ok(index) }
    };
    let mut last: Option<i64> = None;
    let mut count = 0;
    for part in text.split(',') {
        let ends: Vec<&str> = part.split('-').collect();
        if ends.len() > 2 {
            return Err(format!(
                "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        let first = index(ends[0])?;
        if last.is_some_and(|last| last >= first) {
            return Err(format!("non-increasing order, previous: {}, current: {first}", last.unwrap_or_default()));
        }
        let end = match ends.get(1) {
            Some(end) => index(end)?,
            None => first,
        };
        if end < first || (ends.len() == 2 && end == first) {
            return Err(format!("non-increasing order, previous: {first}, current: {end}"));
        }
        count += end - first + 1;
        last = Some(end);
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted() {
        for (text, expected) in [
            ("", Ok(0)),
            ("0-1", Ok(2)),
            ("1,3-5", Ok(4)),
            ("x", Err("cannot convert string to integer for index: \"x\"")),
            ("0-9", Err("too large index: \"9\"")),
            ("3,1", Err("non-increasing order, previous: 3, current: 1")),
        ] {
            assert_eq!(count_indexes(text, 6), expected.map_err(ToOwned::to_owned), "{text}");
        }
    }
}
