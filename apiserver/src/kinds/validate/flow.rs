//! Flow schemas and priority levels (`pkg/apis/flowcontrol/validation`).

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::{Value, json};

use super::super::json::Json;
use super::{named, one_of, required_name, spec};

const HIGHEST_PRECEDENCE: i64 = 10_000;
/// The schema and the level of this name let everything through, and no other does.
const EXEMPT: &str = "exempt";

#[must_use]
pub fn schema(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    let (at, precedence) = (path.child("matchingPrecedence"), body.int("matchingPrecedence"));
    if precedence <= 0 {
        errors.push(Error::invalid(&at, precedence, "must be a positive value"));
    }
    if precedence > HIGHEST_PRECEDENCE {
        errors.push(Error::invalid(&at, precedence, format!("must not be greater than {HIGHEST_PRECEDENCE}")));
    }
    if precedence == 1 && object.text("metadata.name") != EXEMPT {
        errors.push(Error::invalid(&at, 1, "only the schema named 'exempt' may have matchingPrecedence 1"));
    }
    if let Some(method) = body.at("distinguisherMethod").as_object() {
        let kind = method.get("type").and_then(Value::as_str).unwrap_or_default();
        let supported = ["ByNamespace", "ByUser"];
        if !supported.contains(&kind) {
            let at = path.child("distinguisherMethod").child("type");
            errors.push(Error::not_supported(&at, json!({ "Type": kind }), &supported));
        }
    }
    let at = path.child("priorityLevelConfiguration").child("name");
    match body.text("priorityLevelConfiguration.name") {
        "" => errors.push(Error::required(&at, "must reference a priority level")),
        name => named(&mut errors, &at, name, names::dns1123_subdomain),
    }
    for (i, rule) in body.list("rules").iter().enumerate() {
        let path = path.child("rules").index(i);
        let subjects = rule.list("subjects");
        if subjects.is_empty() {
            errors.push(Error::required(&path.child("subjects"), "subjects must contain at least one value"));
        }
        for (j, subject) in subjects.iter().enumerate() {
            self::subject(&mut errors, &path.child("subjects").index(j), subject);
        }
        let (resources, others) = (rule.list("resourceRules"), rule.list("nonResourceRules"));
        if resources.is_empty() && others.is_empty() {
            let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
            errors.push(Error::required(&path, detail));
        }
        for (j, rule) in resources.iter().enumerate() {
            resource_rule(&mut errors, &path.child("resourceRules").index(j), rule);
        }
        for (j, rule) in others.iter().enumerate() {
            other_rule(&mut errors, &path.child("nonResourceRules").index(j), rule);
        }
    }
    errors
}

/// The kinds of subjects, and the field each has.
const SUBJECTS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

fn subject(errors: &mut ErrorList, path: &Path, subject: &Value) {
    let kind = subject.text("kind");
    let Some((_, field)) = SUBJECTS.iter().find(|(name, _)| *name == kind) else {
        let supported = ["Group", "ServiceAccount", "User"];
        errors.push(Error::not_supported(&path.child("kind"), kind, &supported));
        return;
    };
    let (at, body) = (path.child(field), subject.at(field));
    if body.is_null() {
        errors.push(Error::required(&at, format!("{field} is required when subject kind is '{kind}'")));
    } else if *field == "serviceAccount" {
        if body.text("name") != "*" {
            required_name(errors, &at.child("name"), body.text("name"), names::dns1123_subdomain);
        }
        match body.text("namespace") {
            "" => errors.push(Error::required(&at.child("namespace"), "must specify namespace for service account")),
            namespace => named(errors, &at.child("namespace"), namespace, names::dns1123_label),
        }
    } else if body.text("name").is_empty() {
        errors.push(Error::required(&at.child("name"), ""));
    }
    for (owner, other) in SUBJECTS.iter().filter(|(name, field)| *name != kind && subject.has(field)) {
        let detail = format!("{other} is forbidden when subject kind is not '{owner}'");
        errors.push(Error::forbidden(&path.child(other), detail));
    }
}

const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// A list that is not empty, and in which `*` stands alone; yields the list where it has to be looked into.
fn listed<'a>(
    errors: &mut ErrorList,
    path: &Path,
    rule: &'a Value,
    field: &str,
    missing: &str,
    others: &str,
) -> Option<Vec<&'a str>> {
    let (at, list) = (path.child(field), rule.texts(field));
    if list.is_empty() {
        errors.push(Error::required(&at, missing));
        return None;
    }
    if !list.contains(&"*") {
        return Some(list);
    }
    if list.len() > 1 {
        let detail = format!("if '*' is present, must not specify other {others}");
        errors.push(Error::invalid(&at, rule.at(field).clone(), detail));
    }
    None
}

fn verbs(errors: &mut ErrorList, path: &Path, rule: &Value) {
    let verbs = listed(errors, path, rule, "verbs", "verbs must contain at least one value", "verbs");
    if verbs.is_some_and(|verbs| !verbs.iter().all(|verb| VERBS.contains(verb))) {
        errors.push(Error::not_supported(&path.child("verbs"), rule.at("verbs").clone(), &VERBS));
    }
}

fn resource_rule(errors: &mut ErrorList, path: &Path, rule: &Value) {
    verbs(errors, path, rule);
    listed(errors, path, rule, "apiGroups", "resource rules must supply at least one api group", "api groups");
    listed(errors, path, rule, "resources", "resource rules must supply at least one resource", "resources");
    if rule.list("namespaces").is_empty() && rule.yes("clusterScope") {
        return;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    let namespaces = listed(errors, path, rule, "namespaces", missing, "namespaces");
    for (i, namespace) in namespaces.unwrap_or_default().into_iter().enumerate() {
        for message in names::dns1123_label(namespace) {
            let detail = format!("each member of this list must be '*' or a DNS-1123 label; {message}");
            errors.push(Error::invalid(&path.child("namespaces").index(i), namespace, detail));
        }
    }
}

fn other_rule(errors: &mut ErrorList, path: &Path, rule: &Value) {
    verbs(errors, path, rule);
    let missing = "nonResourceURLs must contain at least one value";
    let paths = listed(errors, path, rule, "nonResourceURLs", missing, "non-resource URLs");
    for (i, url) in paths.unwrap_or_default().into_iter().enumerate() {
        let wrong = [
            (url.is_empty(), "must not be empty"),
            (!url.starts_with('/'), "must start with slash"),
            (url.contains(' '), "must not contain white-space"),
            (url.contains("//"), "must not contain double slash"),
            (url.strip_suffix("/*").unwrap_or(url).contains('*'), "wildcard can only do suffix matching"),
        ];
        if let Some((_, detail)) = wrong.into_iter().find(|(wrong, _)| *wrong) {
            errors.push(Error::invalid(&path.child("nonResourceURLs").index(i), url, detail));
        }
    }
}

#[must_use]
pub fn level(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    let kind = body.text("type");
    if (object.text("metadata.name") == EXEMPT) != (kind == "Exempt") {
        let detail = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(Error::invalid(&path.child("type"), kind, detail));
    }
    match kind {
        "Exempt" => {
            if body.has("limited") {
                errors.push(Error::forbidden(&path.child("limited"), "must be nil if the type is not Limited"));
            }
            shares(&mut errors, &path.child("exempt"), body.at("exempt"));
        }
        "Limited" => {
            if body.has("exempt") {
                errors.push(Error::forbidden(&path.child("exempt"), "must be nil if the type is Limited"));
            }
            if body.has("limited") {
                limited(&mut errors, &path.child("limited"), body.at("limited"));
            } else {
                errors.push(Error::required(&path.child("limited"), "must not be empty when type is Limited"));
            }
        }
        _ => errors.push(Error::not_supported(&path.child("type"), kind, &["Exempt", "Limited"])),
    }
    errors
}

fn shares(errors: &mut ErrorList, path: &Path, level: &Value) {
    let (shares, lendable) = (level.int("nominalConcurrencyShares"), level.int("lendablePercent"));
    if shares < 0 {
        errors.push(Error::invalid(&path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer"));
    }
    if !(0..=100).contains(&lendable) {
        let detail = "must be between 0 and 100, inclusive";
        errors.push(Error::invalid(&path.child("lendablePercent"), lendable, detail));
    }
}

fn limited(errors: &mut ErrorList, path: &Path, level: &Value) {
    let (at, response) = (path.child("limitResponse"), level.at("limitResponse"));
    let queuing = at.child("queuing");
    match response.text("type") {
        "Reject" if response.has("queuing") => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(Error::forbidden(&queuing, detail));
        }
        "Queue" if !response.has("queuing") => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(Error::required(&queuing, detail));
        }
        "Queue" => queues(errors, &queuing, response.at("queuing")),
        other => one_of(errors, &at.child("type"), other, &["Queue", "Reject"]),
    }
    shares(errors, path, level);
    let borrowing = level.int("borrowingLimitPercent");
    if borrowing < 0 {
        let detail = "if specified, must be a non-negative integer";
        errors.push(Error::invalid(&path.child("borrowingLimitPercent"), borrowing, detail));
    }
}

fn queues(errors: &mut ErrorList, path: &Path, queuing: &Value) {
    const MOST: i64 = 10_000_000;
    /// A hand is dealt from so many bits of a hash.
    const ENTROPY: f64 = 60.0;
    let positive = "must be positive";
    let (queues, hand) = (queuing.int("queues"), queuing.int("handSize"));
    if queuing.int("queueLengthLimit") <= 0 {
        errors.push(Error::invalid(&path.child("queueLengthLimit"), queuing.int("queueLengthLimit"), positive));
    }
    let at = path.child("queues");
    if queues <= 0 {
        errors.push(Error::invalid(&at, queues, positive));
    } else if queues > MOST {
        errors.push(Error::invalid(&at, queues, format!("must not be greater than {MOST}")));
    }
    let at = path.child("handSize");
    #[allow(clippy::cast_precision_loss, reason = "both are 32 bits wide")]
    let bits = ((queues as f64).log2() * hand as f64).ceil();
    if hand <= 0 {
        errors.push(Error::invalid(&at, hand, positive));
    } else if hand > queues {
        errors.push(Error::invalid(&at, hand, format!("should not be greater than queues ({queues})")));
    } else if bits > ENTROPY {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {ENTROPY}"
        );
        errors.push(Error::invalid(&at, hand, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::super::texts;
    use super::*;

    #[test]
    fn schemas_say_whose_requests_go_where() {
        let rule = |subject: Value| {
            json!({"subjects": [subject], "resourceRules": [{"verbs": ["get"], "apiGroups": [""],
            "resources": ["pods"], "namespaces": ["*"]}]})
        };
        let with = |rules: Value| {
            texts(&schema(&json!({"metadata": {"name": "s"}, "spec": {"matchingPrecedence": 9,
                "priorityLevelConfiguration": {"name": "p"}, "rules": rules}})))
        };
        assert_eq!(with(json!([rule(json!({"kind": "User", "user": {"name": "u"}}))])), Vec::<String>::new());
        assert_eq!(
            with(json!([rule(json!({"kind": "User", "group": {"name": "g"}}))])),
            [
                "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
                "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
            ]
        );
        assert_eq!(
            with(
                json!([{"subjects": [{"kind": "X"}], "nonResourceRules": [{"verbs": ["*", "get"], "nonResourceURLs": ["x"]}]}])
            ),
            [
                "spec.rules[0].subjects[0].kind: Unsupported value: \"X\": supported values: \"Group\", \"ServiceAccount\", \
                 \"User\"",
                "spec.rules[0].nonResourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not \
                 specify other verbs",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"x\": must start with slash",
            ]
        );
    }

    #[test]
    fn levels_limit_or_exempt() {
        let level = |spec: Value| texts(&level(&json!({"metadata": {"name": "l"}, "spec": spec})));
        let queue = |queues: i64, hand: i64| {
            json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing":
                {"queues": queues, "handSize": hand, "queueLengthLimit": 1}}}})
        };
        assert_eq!(level(queue(64, 6)), Vec::<String>::new());
        let hand = "spec.limited.limitResponse.queuing.handSize: Invalid value: 6";
        assert_eq!(level(queue(1, 6)), [format!("{hand}: should not be greater than queues (1)")]);
        assert_eq!(
            level(queue(65536, 6)),
            [format!("{hand}: required entropy bits of deckSize 65536 and handSize 6 should not be greater than 60")]
        );
        assert_eq!(
            level(json!({"type": "Exempt"})),
            ["spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'"]
        );
    }
}
