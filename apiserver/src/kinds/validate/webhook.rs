//! Webhook configurations (`pkg/apis/admissionregistration/validation`).

use cel::admission::{MatchConditions, Options};
use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{label_selector, one_of};

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

fn webhook(errors: &mut ErrorList, path: &Path, hook: &Value) {
    let name = hook.text("name");
    let at = path.child("name");
    if name.is_empty() {
        errors.push(Error::required(&at, ""));
    } else {
        let before = errors.len();
        super::named(errors, &at, name, names::dns1123_subdomain);
        if errors.len() == before && name.split('.').count() < 3 {
            errors.push(Error::invalid(&at, name, "should be a domain with at least three segments separated by dots"));
        }
    }
    for (i, one) in hook.list("rules").iter().enumerate() {
        rule(errors, &path.child("rules").index(i), one);
    }
    one_of(errors, &path.child("failurePolicy"), hook.text("failurePolicy"), &["Fail", "Ignore"]);
    one_of(errors, &path.child("matchPolicy"), hook.text("matchPolicy"), &["Equivalent", "Exact"]);
    let effects = hook.text("sideEffects");
    if !hook.has("sideEffects") {
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
    if hook.has("reinvocationPolicy") {
        one_of(errors, &path.child("reinvocationPolicy"), hook.text("reinvocationPolicy"), &["IfNeeded", "Never"]);
    }
    client_config(errors, &path.child("clientConfig"), hook.at("clientConfig"));
    let env = cel::admission::env(Options { authorizer: true, ..Options::default() });
    match_conditions(errors, &path.child("matchConditions"), hook.list("matchConditions"), &env);
    let at = path.child("admissionReviewVersions");
    review_versions(errors, &at, hook.at("admissionReviewVersions"), "must specify one of v1, v1beta1");
}

/// A list of a rule: not empty, and nothing besides a wildcard. `what`: what it is of.
fn words<'r>(errors: &mut ErrorList, path: &Path, rule: &'r Value, field: &str, what: &str) -> Vec<&'r str> {
    let (at, words) = (path.child(field), rule.texts(field));
    if words.is_empty() {
        errors.push(Error::required(&at, ""));
    }
    if words.len() > 1 && words.contains(&"*") {
        let detail = format!("if '*' is present, must not specify other {what}");
        errors.push(Error::invalid(&at, rule.at(field).clone(), detail));
    }
    words
}

/// A `RuleWithOperations`.
pub fn rule(errors: &mut ErrorList, path: &Path, rule: &Value) {
    let (at, operations) = (path.child("operations"), words(errors, path, rule, "operations", "operations"));
    for (j, operation) in operations.into_iter().enumerate() {
        one_of(errors, &at.index(j), operation, &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]);
    }
    words(errors, path, rule, "apiGroups", "API groups");
    let (at, versions) = (path.child("apiVersions"), words(errors, path, rule, "apiVersions", "API versions"));
    for (j, _) in versions.iter().enumerate().filter(|(_, version)| version.is_empty()) {
        errors.push(Error::required(&at.index(j), ""));
    }
    resources(errors, &path.child("resources"), rule);
    one_of(errors, &path.child("scope"), rule.text("scope"), &["*", "Cluster", "Namespaced"]);
}

/// Resources of a rule: what a wildcard covers must not be named besides it.
fn resources(errors: &mut ErrorList, path: &Path, rule: &Value) {
    let words = rule.texts("resources");
    if words.is_empty() {
        errors.push(Error::required(path, ""));
    }
    let (mut all_below, mut below_all) = (Vec::new(), Vec::new());
    let mut plain = false;
    for (i, word) in words.iter().enumerate() {
        let at = path.index(i);
        if word.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        let Some((resource, sub)) = word.split_once('/') else {
            plain = *word != "*";
            continue;
        };
        if all_below.contains(&resource) {
            let detail = format!("if '{resource}/*' is present, must not specify {word}");
            errors.push(Error::invalid(&at, *word, detail));
        }
        if below_all.contains(&sub) {
            errors.push(Error::invalid(&at, *word, format!("if '*/{sub}' is present, must not specify {word}")));
        }
        if sub == "*" {
            all_below.push(resource);
        }
        if resource == "*" {
            below_all.push(sub);
        }
    }
    let value = || rule.at("resources").clone();
    if words.len() > 1 && words.contains(&"*/*") {
        errors.push(Error::invalid(path, value(), "if '*/*' is present, must not specify other resources"));
    }
    if words.contains(&"*") && plain {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.push(Error::invalid(path, value(), detail));
    }
}

/// `matchConditions`, of which expressions may mention what `env` has.
pub fn match_conditions(errors: &mut ErrorList, path: &Path, list: &[Value], env: &cel::Env) {
    const MOST: usize = 64;
    if list.len() > MOST {
        errors.push(Error::too_many(path, list.len(), MOST));
        return;
    }
    let text = |condition: &Value| condition.text("expression").trim().to_owned();
    let expressions: Vec<String> = list.iter().map(text).collect();
    let compiled = MatchConditions::with_env(env, expressions.iter().map(|expression| ("", expression.as_str())));
    let wrong: Vec<(usize, &str)> = compiled.errors().collect();
    let mut seen = std::collections::BTreeSet::new();
    for (i, condition) in list.iter().enumerate() {
        let at = path.index(i);
        if expressions[i].is_empty() {
            errors.push(Error::required(&at.child("expression"), ""));
        } else if let Some((_, why)) = wrong.iter().find(|(at, _)| *at == i) {
            errors.push(Error::invalid(&at.child("expression"), expressions[i].as_str(), *why));
        }
        let name = condition.text("name");
        if name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
            continue;
        }
        super::named(errors, &at.child("name"), name, names::qualified_name);
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
    }
}

/// Versions of reviews: at least one that this server speaks. `none`: what is said when there are none at all.
pub fn review_versions(errors: &mut ErrorList, path: &Path, versions: &Value, none: &str) {
    let list: Vec<&str> = versions.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if list.is_empty() {
        errors.push(Error::required(path, none));
        return;
    }
    for (i, version) in list.iter().enumerate() {
        if list[..i].contains(version) {
            errors.push(Error::invalid(&path.index(i), *version, "duplicate version"));
        } else {
            super::named(errors, &path.index(i), version, names::dns1035_label);
        }
    }
    if !list.iter().any(|version| matches!(*version, "v1" | "v1beta1")) {
        errors.push(Error::invalid(path, versions.clone(), "must include at least one of v1, v1beta1"));
    }
}

/// Where to reach a webhook: by URL or by Service, one of them.
pub fn client_config(errors: &mut ErrorList, path: &Path, config: &Value) {
    match (config.has("url"), config.has("service")) {
        (true, true) | (false, false) => {
            errors.push(Error::required(path, "exactly one of url or service is required"));
        }
        (true, false) => url(errors, &path.child("url"), config.text("url")),
        (false, true) => {
            let path = path.child("service");
            // Upstream's function takes the two in the other order: which one is missing is told of the other.
            for (field, told) in [("namespace", "name"), ("name", "namespace")] {
                if config.at("service").text(field).is_empty() {
                    errors.push(Error::required(&path.child(told), ""));
                }
            }
            let port = config.int("service.port");
            if let [wrong, ..] = names::port_number(port).as_slice() {
                errors.push(Error::invalid(&path.child("port"), port, format!("port is not valid: {wrong}")));
            }
            service_path(errors, &path.child("path"), config.text("service.path"));
        }
    }
}

fn url(errors: &mut ErrorList, path: &Path, text: &str) {
    const FORM: &str = "; desired format: https://host[/path]";
    if let Some(why) = cel::unreadable_url(text) {
        errors.push(Error::required(path, format!("url must be a valid URL: {why}{FORM}")));
        return;
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if scheme != "https" {
        errors.push(Error::invalid(path, scheme, format!("'https' is the only allowed URL scheme{FORM}")));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        errors.push(Error::invalid(path, host, format!("host must be specified{FORM}")));
    }
    for (part, detail) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            errors.push(Error::invalid(path, part, detail));
        }
    }
}

fn service_path(errors: &mut ErrorList, path: &Path, text: &str) {
    if matches!(text, "" | "/") {
        return;
    }
    if text == "//" {
        errors.push(Error::invalid(path, text, "segment[0] may not be empty"));
        return;
    }
    if !text.starts_with('/') {
        errors.push(Error::invalid(path, text, "must start with a '/'"));
    }
    // What stands first is taken for the slash.
    let steps = text.char_indices().nth(1).map_or("", |(at, _)| &text[at..]);
    for (i, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
        if step.is_empty() {
            errors.push(Error::invalid(path, text, format!("segment[{i}] may not be empty")));
            continue;
        }
        for failure in names::dns1123_subdomain(step) {
            errors.push(Error::invalid(path, text, format!("segment[{i}]: {failure}")));
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
                "webhooks[0].sideEffects: Unsupported value: \"\": supported values: \"None\", \"NoneOnDryRun\"",
            ]
        );
        object["webhooks"][0].as_object_mut().unwrap().remove("sideEffects");
        let missing = "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun";
        assert_eq!(texts(&configuration(&object))[1], missing);
    }

    #[test]
    fn rules_conditions_and_addresses() {
        let wrong = |change: &dyn Fn(&mut Value)| {
            let mut object = json!({"webhooks": [{"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"service": {"name": "s", "namespace": "d"}},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]});
            WEBHOOKS.default.unwrap()(&mut object);
            change(&mut object["webhooks"][0]);
            texts(&configuration(&object)).join("; ")
        };
        assert_eq!(
            wrong(&|hook| hook["rules"][0]["resources"] = json!(["pods/*", "pods/status"])),
            "webhooks[0].rules[0].resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status"
        );
        assert_eq!(
            wrong(&|hook| {
                hook["rules"][0]["operations"] = json!(["X"]);
                hook["rules"][0]["apiGroups"] = json!([]);
            }),
            "webhooks[0].rules[0].operations[0]: Unsupported value: \"X\": supported values: \"*\", \"CONNECT\", \"CREATE\", \
             \"DELETE\", \"UPDATE\"; webhooks[0].rules[0].apiGroups: Required value"
        );
        assert_eq!(
            wrong(&|hook| hook["clientConfig"] = json!({"url": "http://u@h?q"})),
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: \
             https://host[/path]; webhooks[0].clientConfig.url: Invalid value: \"u\": user information is not permitted in the \
             URL; webhooks[0].clientConfig.url: Invalid value: \"q\": query parameters are not permitted in the URL"
        );
        for (url, why) in [
            ("%", "parse \"%\": invalid URL escape \"%\""),
            ("https://h:x/", "parse \"https://h:x/\": invalid port \":x\" after host"),
            ("127.0.0.1:80/a", "parse \"127.0.0.1:80/a\": first path segment in URL cannot contain colon"),
        ] {
            assert_eq!(
                wrong(&|hook| hook["clientConfig"] = json!({ "url": url })),
                format!(
                    "webhooks[0].clientConfig.url: Required value: url must be a valid URL: {why}; desired format: https://host[/path]"
                )
            );
        }
        assert_eq!(
            wrong(&|hook| hook["clientConfig"]["service"]["path"] = json!("a//b")),
            "webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": must start with a '/'; \
             webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": segment[0] may not be empty; \
             webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": segment[1] may not be empty"
        );
        assert_eq!(
            wrong(&|hook| hook["admissionReviewVersions"] = json!(["v2", "v2"])),
            "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v2\": duplicate version; \
             webhooks[0].admissionReviewVersions: Invalid value: [\"v2\",\"v2\"]: must include at least one of v1, v1beta1"
        );
        let text = wrong(&|hook| hook["matchConditions"] = json!([{"name": "a", "expression": "object.x =="}]));
        assert!(
            text.starts_with(
                "webhooks[0].matchConditions[0].expression: Invalid value: \"object.x ==\": compilation failed"
            ),
            "{text}"
        );
    }
}
