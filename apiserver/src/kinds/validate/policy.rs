//! Disruption budgets, priorities, leases, runtime classes, certificate requests.

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{immutable, label_selector, named, number_or_percent, one_of, positive, required_name, spec};

#[must_use]
pub fn disruption_budget(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    if body.has("minAvailable") && body.has("maxUnavailable") {
        errors.push(Error::invalid(&path, body.clone(), "minAvailable and maxUnavailable cannot be both set"));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if body.has(field) {
            number_or_percent(&mut errors, &path.child(field), body.at(field));
            super::at_most_all(&mut errors, &path.child(field), body.at(field));
        }
    }
    label_selector(&mut errors, &path.child("selector"), body.at("selector"));
    let policy = body.text("unhealthyPodEvictionPolicy");
    if !policy.is_empty() {
        let at = path.child("unhealthyPodEvictionPolicy");
        one_of(&mut errors, &at, policy, &["AlwaysAllow", "IfHealthyBudget"]);
    }
    errors
}

/// Priorities above this belong to the system.
const HIGHEST_USER: i64 = 1_000_000_000;
const SYSTEM: [(&str, i64); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

#[must_use]
pub fn priority_class(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (name, value) = (object.text("metadata.name"), object.int("value"));
    let path = Path::new("metadata").child("name");
    if name.starts_with("system-") {
        if !SYSTEM.contains(&(name, value)) {
            let detail = "priority class names with 'system-' prefix are reserved for system use only. error: not a known \
                          system priority class";
            errors.push(Error::forbidden(&path, detail.replace("not a", &format!("{name} is not a"))));
        }
    } else if value > HIGHEST_USER {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_USER}");
        errors.push(Error::forbidden(&Path::new("value"), detail));
    }
    let policy = object.text("preemptionPolicy");
    if !policy.is_empty() {
        one_of(&mut errors, &Path::new("preemptionPolicy"), policy, &["Never", "PreemptLowerPriority"]);
    }
    errors
}

#[must_use]
pub fn priority_class_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if new.int("value") != old.int("value") {
        errors.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
    }
    let field = "preemptionPolicy";
    immutable(&mut errors, &Path::new(field), new.at(field), old.at(field));
    errors
}

#[must_use]
pub fn lease(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    positive(&mut errors, body, "leaseDurationSeconds", &path);
    super::not_negative(&mut errors, body, "leaseTransitions", &path);
    if body.has("holderIdentity") && body.text("holderIdentity").is_empty() {
        errors.push(Error::invalid(&path.child("holderIdentity"), "", "must not be empty"));
    }
    errors
}

#[must_use]
pub fn runtime_class(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    named(&mut errors, &Path::new("handler"), object.text("handler"), names::dns1123_label);
    errors
}

#[must_use]
pub fn runtime_class_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    immutable(&mut errors, &Path::new("handler"), new.at("handler"), old.at("handler"));
    errors
}

/// The usages a certificate may be asked for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

#[must_use]
pub fn signing_request(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    if body.text("request").is_empty() {
        errors.push(Error::invalid(&path.child("request"), "", "PEM block type must be CERTIFICATE REQUEST"));
    }
    if body.list("usages").is_empty() {
        errors.push(Error::required(&path.child("usages"), ""));
    }
    for (i, usage) in body.texts("usages").into_iter().enumerate() {
        one_of(&mut errors, &path.child("usages").index(i), usage, &USAGES);
    }
    let signer = body.text("signerName");
    required_name(&mut errors, &path.child("signerName"), signer, |name| {
        if name.split_once('/').is_some_and(|(domain, rest)| domain.contains('.') && !rest.is_empty()) {
            Vec::new()
        } else {
            vec!["must be a fully qualified domain and path of the form 'example.com/signer-name'".to_owned()]
        }
    });
    if signer == "kubernetes.io/legacy-unknown" {
        let detail = "legacy signerName is not allowed via this API version";
        errors.push(Error::invalid(&path.child("signerName"), signer, detail));
    }
    if body.has("expirationSeconds") && body.int("expirationSeconds") < 600 {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(Error::invalid(&path.child("expirationSeconds"), body.int("expirationSeconds"), detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn priorities() {
        let class = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value});
        assert_eq!(priority_class(&class("system-node-critical", 2_000_001_000)), vec![]);
        assert_eq!(
            texts(&priority_class(&class("high", 2_000_000_000))),
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
        );
    }

    #[test]
    fn budgets() {
        let budget = json!({"spec": {"minAvailable": "101%"}});
        assert_eq!(
            texts(&disruption_budget(&budget)),
            ["spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%"]
        );
    }
}
