//! What is wrong with an audit policy (`apiserver/pkg/apis/audit/validation`).

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::{Level, Stage};
use crate::app::text;

/// What a policy may not say.
#[must_use]
pub fn policy(policy: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    stages(&mut errors, &Path::new("omitStages"), &policy["omitStages"]);
    for (at, one) in items(&policy["rules"]).enumerate() {
        rule(&mut errors, &Path::new("rules").index(at), one);
    }
    errors
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn is_empty(list: &Value) -> bool {
    items(list).next().is_none()
}

fn rule(errors: &mut ErrorList, path: &Path, rule: &Value) {
    let known = Level::ALL.map(Level::name);
    match text(rule, "/level") {
        "" => errors.push(Error::required(&path.child("level"), "")),
        level if known.contains(&level) => {}
        level => errors.push(Error::not_supported(&path.child("level"), level, &known)),
    }
    let (at, paths) = (path.child("nonResourceURLs"), &rule["nonResourceURLs"]);
    for (index, one) in items(paths).enumerate() {
        let url = one.as_str().unwrap_or_default();
        let mut wrong = |why: &str| errors.push(Error::invalid(&at.index(index), url, why));
        if url != "*" && !url.starts_with('/') {
            wrong("non-resource URL rules must begin with a '/' character");
        }
        if url.find('*').is_some_and(|star| star + 1 < url.len()) {
            wrong("non-resource URL wildcards '*' must be the final character of the rule");
        }
    }
    for one in items(&rule["resources"]) {
        let at = path.child("resources");
        let group = text(one, "/group");
        let wrong = if matches!(group, "" | "*") { Vec::new() } else { names::dns1123_subdomain(group) };
        if !wrong.is_empty() {
            errors.push(Error::invalid(&at.child("group"), group, wrong.join(",")));
        }
        if !is_empty(&one["resourceNames"]) && is_empty(&one["resources"]) {
            let why = "using resourceNames requires at least one resource";
            errors.push(Error::invalid(&at.child("resourceNames"), one["resourceNames"].clone(), why));
        }
    }
    stages(errors, &path.child("omitStages"), &rule["omitStages"]);
    let of_resources = ["resources", "namespaces"].iter().any(|field| !is_empty(&rule[*field]));
    if of_resources && !is_empty(paths) {
        let why = "rules cannot apply to both regular resources and non-resource URLs";
        errors.push(Error::invalid(&at, paths.clone(), why));
    }
}

fn stages(errors: &mut ErrorList, path: &Path, list: &Value) {
    let known = Stage::ALL.map(Stage::name);
    for (at, one) in items(list).enumerate() {
        let stage = one.as_str().unwrap_or_default();
        if !known.contains(&stage) {
            let why = format!("allowed stages are {}", known.join(","));
            errors.push(Error::invalid(&path.index(at), stage, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_about_requests_of_one_sort() {
        let both = "rules cannot apply to both regular resources and non-resource URLs";
        let cases: [(Value, &[&str]); 8] = [
            (json!({ "level": "None", "nonResourceURLs": ["*", "/a*"] }), &[]),
            (json!({ "users": ["a"] }), &["rules[0].level: Required value"]),
            (
                json!({ "level": "Foo" }),
                &[
                    "rules[0].level: Unsupported value: \"Foo\": supported values: \"None\", \"Metadata\", \"Request\", \
                   \"RequestResponse\"",
                ],
            ),
            (
                json!({ "level": "None", "nonResourceURLs": ["a", "/a*b"] }),
                &[
                    "rules[0].nonResourceURLs[0]: Invalid value: \"a\": non-resource URL rules must begin with a '/' character",
                    "rules[0].nonResourceURLs[1]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be the final \
                     character of the rule",
                ],
            ),
            (
                json!({ "level": "None", "nonResourceURLs": ["/a"], "namespaces": ["n"] }),
                &[&format!("rules[0].nonResourceURLs: Invalid value: [\"/a\"]: {both}")],
            ),
            (json!({ "level": "None", "resources": [{ "group": "*" }, { "group": "apps", "resources": ["a"] }] }), &[]),
            (
                json!({ "level": "None", "resources": [{ "resourceNames": ["a"] }] }),
                &[
                    "rules[0].resources.resourceNames: Invalid value: [\"a\"]: using resourceNames requires at least one resource",
                ],
            ),
            (
                json!({ "level": "None", "omitStages": ["Foo"] }),
                &[
                    "rules[0].omitStages[0]: Invalid value: \"Foo\": allowed stages are RequestReceived,ResponseStarted,\
                   ResponseComplete,Panic",
                ],
            ),
        ];
        for (rule, said) in cases {
            let found = policy(&json!({ "rules": [rule] }));
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), said, "{rule}");
        }
    }
}
