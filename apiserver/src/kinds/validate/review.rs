//! Questions about access (`pkg/apis/authorization/validation`).

use schema::field::{Error, ErrorList, Path, go_json};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{named, spec};

/// What is wrong with a review of access, which is of the resource `plural`.
#[must_use]
pub fn access(review: &Value, plural: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), review.at("spec"));
    let (resource, other) = (body.at("resourceAttributes"), body.at("nonResourceAttributes"));
    let of_path = path.child("nonResourceAttributes");
    // As the internal type has it.
    let shown = || {
        let (path, verb) = (go_json(&other.text("path").into()), go_json(&other.text("verb").into()));
        format!("{{\"Path\":{path},\"Verb\":{verb}}}")
    };
    if !resource.is_null() && !other.is_null() {
        errors.push(Error::invalid_as(&of_path, shown(), "cannot be specified in combination with resourceAttributes"));
    }
    let of_resource = path.child("resourceAttributes");
    if resource.is_null() && other.is_null() {
        let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(Error::invalid(&of_resource, Value::Null, detail));
    }
    if plural != "selfsubjectaccessreviews" && body.text("user").is_empty() && body.list("groups").is_empty() {
        errors.push(Error::invalid(&path.child("user"), "", "at least one of user or group must be specified"));
    }
    for (field, labels) in [("fieldSelector", false), ("labelSelector", true)] {
        selector(&mut errors, &of_resource.child(field), resource.at(field), labels);
    }
    let local = plural == "localsubjectaccessreviews";
    let may_be_said = |field: &str| match field {
        "managedFields" | "creationTimestamp" => true,
        field => local && field == "namespace",
    };
    let mut said = review.entries("metadata").iter().filter(|(_, value)| !value.is_null());
    if said.any(|(field, _)| !may_be_said(field)) {
        let detail = if local { "must be empty except for namespace" } else { "must be empty" };
        errors.push(Error::invalid(&Path::new("metadata"), review.at("metadata").clone(), detail));
    }
    if local {
        let namespace = resource.text("namespace");
        if !resource.is_null() && namespace != review.text("metadata.namespace") {
            let at = of_resource.child("namespace");
            errors.push(Error::invalid(&at, namespace, "must match metadata.namespace"));
        }
        if !other.is_null() {
            errors.push(Error::invalid_as(&of_path, shown(), "disallowed on this kind of request"));
        }
    }
    errors
}

/// A selector is given as text or as requirements, not both (KEP-4601). Operators that are not known are let pass: there may be
/// authorizers that know them.
fn selector(errors: &mut ErrorList, path: &Path, selector: &Value, labels: bool) {
    if selector.is_null() {
        return;
    }
    let (raw, requirements) = (selector.text("rawSelector"), selector.list("requirements"));
    if !raw.is_empty() && !requirements.is_empty() {
        let detail = "may not specified at the same time as requirements";
        errors.push(Error::invalid(&path.child("rawSelector"), raw, detail));
    }
    let list = path.child("requirements");
    if raw.is_empty() && requirements.is_empty() {
        let detail = format!("when {path} is specified, requirements or rawSelector is required");
        errors.push(Error::required(&list, detail));
    }
    for (i, requirement) in requirements.iter().enumerate() {
        let at = list.index(i);
        let values = requirement.texts("values");
        let key = requirement.text("key");
        if key.is_empty() && !labels {
            errors.push(Error::required(&at.child("key"), "must be specified"));
        }
        match requirement.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(Error::required(&at.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(&at.child("values"), detail));
            }
            _ => {}
        }
        if labels {
            named(errors, &at.child("key"), key, names::qualified_name);
            for (j, value) in values.into_iter().enumerate() {
                named(errors, &at.child("values").index(j), value, names::label_value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn questions_are_well_formed() {
        let resource = json!({"verb": "get", "resource": "pods", "namespace": "a"});
        let path = json!({"path": "/x", "verb": "get"});
        let either = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        for (plural, review, expected) in [
            ("subjectaccessreviews", json!({"spec": {"user": "u", "resourceAttributes": resource}}), vec![]),
            (
                "subjectaccessreviews",
                json!({"spec": {}}),
                vec![
                    format!("spec.resourceAttributes: Invalid value: null: {either}"),
                    "spec.user: Invalid value: \"\": at least one of user or group must be specified".to_owned(),
                ],
            ),
            (
                "selfsubjectaccessreviews",
                json!({"metadata": {"name": "x"}, "spec": {"resourceAttributes": resource, "nonResourceAttributes": path}}),
                vec![
                    "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/x\",\"Verb\":\"get\"}: cannot be specified in \
                     combination with resourceAttributes"
                        .to_owned(),
                    "metadata: Invalid value: {\"name\":\"x\"}: must be empty".to_owned(),
                ],
            ),
            (
                "localsubjectaccessreviews",
                json!({"metadata": {"namespace": "b"}, "spec": {"user": "u", "resourceAttributes": resource}}),
                vec![
                    "spec.resourceAttributes.namespace: Invalid value: \"a\": must match metadata.namespace".to_owned(),
                ],
            ),
            (
                "selfsubjectaccessreviews",
                json!({"spec": {"resourceAttributes": {"fieldSelector": {"requirements": [{"operator": "Exists", "values": ["x"]}]},
                    "labelSelector": {}}}}),
                vec![
                    "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified".to_owned(),
                    "spec.resourceAttributes.fieldSelector.requirements[0].values: Forbidden: may not be specified when \
                     `operator` is 'Exists' or 'DoesNotExist'"
                        .to_owned(),
                    "spec.resourceAttributes.labelSelector.requirements: Required value: when \
                     spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required"
                        .to_owned(),
                ],
            ),
        ] {
            assert_eq!(texts(&access(&review, plural)), expected, "{review}");
        }
    }
}
