//! Webhook configurations (`pkg/apis/admissionregistration/validation`).

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{label_selector, one_of, port_number, required};

#[must_use]
pub fn configuration(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = std::collections::BTreeSet::new();
    for (i, hook) in object.list("webhooks").iter().enumerate() {
        let path = Path::new("webhooks").index(i);
        webhook(&mut errors, &path, hook);
        let name = hook.text("name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
    }
    errors
}

/// A `RuleWithOperations`.
pub fn rule(errors: &mut ErrorList, path: &Path, rule: &Value) {
    let operations = rule.texts("operations");
    if operations.is_empty() {
        errors.push(Error::required(&path.child("operations"), ""));
    }
    for (j, operation) in operations.into_iter().enumerate() {
        let at = path.child("operations").index(j);
        one_of(errors, &at, operation, &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]);
    }
    for field in ["apiGroups", "apiVersions", "resources"] {
        if rule.list(field).is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
    }
    one_of(errors, &path.child("scope"), rule.text("scope"), &["*", "Cluster", "Namespaced"]);
}

fn webhook(errors: &mut ErrorList, path: &Path, hook: &Value) {
    let name = hook.text("name");
    let at = path.child("name");
    if name.is_empty() {
        errors.push(Error::required(&at, ""));
    } else {
        super::named(errors, &at, name, names::dns1123_subdomain);
        if name.split('.').count() < 3 {
            errors.push(Error::invalid(&at, name, "should be a domain with at least three segments separated by dots"));
        }
    }
    let reviews = hook.texts("admissionReviewVersions");
    let at = path.child("admissionReviewVersions");
    if reviews.is_empty() {
        errors.push(Error::required(&at, "must specify one of v1, v1beta1"));
    } else if !reviews.iter().any(|v| matches!(*v, "v1" | "v1beta1")) {
        let value = hook.at("admissionReviewVersions").clone();
        errors.push(Error::invalid(&at, value, "must include at least one of v1, v1beta1"));
    }
    for (i, one) in hook.list("rules").iter().enumerate() {
        rule(errors, &path.child("rules").index(i), one);
    }
    one_of(errors, &path.child("failurePolicy"), hook.text("failurePolicy"), &["Fail", "Ignore"]);
    one_of(errors, &path.child("matchPolicy"), hook.text("matchPolicy"), &["Equivalent", "Exact"]);
    let effects = hook.text("sideEffects");
    if effects.is_empty() {
        errors.push(Error::required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun"));
    } else {
        one_of(errors, &path.child("sideEffects"), effects, &["None", "NoneOnDryRun"]);
    }
    if !(1..=30).contains(&hook.int("timeoutSeconds")) {
        let at = path.child("timeoutSeconds");
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.push(Error::invalid(&at, hook.int("timeoutSeconds"), detail));
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        label_selector(errors, &path.child(selector), hook.at(selector));
    }
    client_config(errors, &path.child("clientConfig"), hook.at("clientConfig"));
}

/// Where to reach a webhook: by URL or by Service, one of them.
pub fn client_config(errors: &mut ErrorList, path: &Path, config: &Value) {
    match (config.has("url"), config.has("service")) {
        (true, true) | (false, false) => {
            errors.push(Error::required(path, "exactly one of url or service is required"));
        }
        (true, false) => {
            let url = config.text("url");
            if !url.starts_with("https://") {
                let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
                let detail = format!(
                    "'https' is the only allowed URL scheme; desired format: https://host[/path] (got \"{scheme}\")"
                );
                errors.push(Error::invalid(&path.child("url"), url, detail));
            }
        }
        (false, true) => {
            let path = path.child("service");
            for field in ["name", "namespace"] {
                required(errors, config.at("service"), field, &path);
            }
            port_number(errors, &path.child("port"), config.int("service.port"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::strategy::webhook::WEBHOOKS;
    use super::super::texts;
    use super::*;

    #[test]
    fn webhooks() {
        let mut object = json!({"webhooks": [{"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "s", "namespace": "d"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]});
        WEBHOOKS.default.unwrap()(&mut object);
        assert_eq!(texts(&configuration(&object)), Vec::<String>::new());
        object["webhooks"][0]["sideEffects"] = json!("");
        object["webhooks"][0]["name"] = json!("a");
        assert_eq!(
            texts(&configuration(&object)),
            [
                "webhooks[0].name: Invalid value: \"a\": should be a domain with at least three segments separated by dots",
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            ]
        );
    }
}
