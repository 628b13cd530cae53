//! ResourceQuotas: which names may be limited, by which amounts, within which scopes (`core/validation`,
//! ValidateResourceQuotaSpec).

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::quantity::Quantity;
use serde_json::Value;

use super::super::internal;
use super::super::json::Json;
use super::{IMMUTABLE, quantity_of, resource_name, spec};

/// Warns of requests that may be more than the limits.
#[must_use]
pub fn warnings(object: &Value) -> Vec<String> {
    let hard = object.entries("spec.hard");
    let bare = |name: &'static str| matches!(name, "cpu" | "memory").then_some(name.to_owned());
    let warning = |name: &'static str| {
        let mut names = [Some(format!("requests.{name}")), bare(name)].into_iter().flatten();
        let (request, limit) = (names.find(|name| hard.contains_key(name))?, format!("limits.{name}"));
        let amount = |name: &str| Quantity::parse(hard.get(name)?.as_str()?).ok();
        let (asked, most) = (amount(&request)?, amount(&limit)?);
        (asked > most).then(|| format!("ResourceQuota {request} ({asked}) should be less than {limit} ({most})"))
    };
    ["cpu", "memory", "storage", "ephemeral-storage"].into_iter().filter_map(warning).collect()
}

/// Names without a domain that may be limited; those that count objects are `true`.
const STANDARD: [(&str, bool); 19] = [
    ("cpu", false),
    ("memory", false),
    ("ephemeral-storage", false),
    ("requests.cpu", false),
    ("requests.memory", false),
    ("requests.storage", false),
    ("requests.ephemeral-storage", false),
    ("limits.cpu", false),
    ("limits.memory", false),
    ("limits.ephemeral-storage", false),
    ("pods", true),
    ("resourcequotas", true),
    ("services", true),
    ("replicationcontrollers", true),
    ("secrets", true),
    ("configmaps", true),
    ("persistentvolumeclaims", true),
    ("services.nodeports", true),
    ("services.loadbalancers", true),
];
const COMPUTE: [&str; 7] = ["pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const CONFLICTS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

fn standard(name: &str) -> bool {
    STANDARD.iter().any(|(known, _)| *known == name) || huge(name)
}

fn huge(name: &str) -> bool {
    name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

pub fn whole(name: &str) -> bool {
    let counted = STANDARD.iter().any(|(known, counts)| *known == name && *counts);
    let extended = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    counted || extended
}

/// Which standard names a scope can be about; `None`: there is no such scope.
fn about(scope: &str) -> Option<&'static [&'static str]> {
    match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            Some(&COMPUTE)
        }
        "BestEffort" => Some(&["pods"]),
        "VolumeAttributesClass" => Some(&["persistentvolumeclaims", "requests.storage"]),
        _ => None,
    }
}

#[must_use]
pub fn resource_quota(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = spec().child("hard");
    for (name, value) in object.entries("spec.hard") {
        amount(&mut errors, &path.key(name), name, value);
    }
    let limited: Vec<&str> =
        object.entries("spec.hard").keys().map(String::as_str).filter(|name| standard(name)).collect();
    scopes(&mut errors, object, &limited);
    selector(&mut errors, object, &limited);
    errors.extend(status(object, &Value::Null));
    errors
}

/// What is granted and what is used of it.
#[must_use]
pub fn status(new: &Value, _: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["hard", "used"] {
        for (name, value) in new.at("status").entries(field) {
            amount(&mut errors, &Path::new("status").child(field).key(name), name, value);
        }
    }
    errors
}

fn amount(errors: &mut ErrorList, at: &Path, name: &str, value: &Value) {
    resource_name::any(errors, at, name);
    if !name.contains('/') && !standard(name) {
        errors.push(Error::invalid(at, name, "must be a standard resource for quota"));
    }
    quantity_of(errors, at, value, whole(name));
}

fn scopes(errors: &mut ErrorList, object: &Value, limited: &[&str]) {
    let invalid = |detail: &str| Error::invalid(&spec().child("scopes"), object.at("spec.scopes").clone(), detail);
    let scopes = object.texts("spec.scopes");
    for scope in &scopes {
        let names = about(scope);
        if names.is_none() {
            errors.push(invalid("unsupported scope"));
        }
        if let Some(names) = names {
            misfits(errors, &invalid, limited, names);
        }
    }
    conflicts(errors, &invalid, &scopes.into_iter().collect());
}

/// One error for each limited name that the scope cannot be about. `invalid` says what is wrong with all scopes together.
fn misfits(errors: &mut ErrorList, invalid: &dyn Fn(&str) -> Error, limited: &[&str], names: &[&str]) {
    let misfit = |name: &&&str| !names.contains(*name);
    errors.extend(limited.iter().filter(misfit).map(|_| invalid("unsupported scope applied to resource")));
}

fn conflicts(errors: &mut ErrorList, invalid: &dyn Fn(&str) -> Error, scopes: &BTreeSet<&str>) {
    let conflict = |pair: &&[&str; 2]| pair.iter().all(|scope| scopes.contains(scope));
    errors.extend(CONFLICTS.iter().filter(conflict).map(|_| invalid("conflicting scopes")));
}

fn selector(errors: &mut ErrorList, object: &Value, limited: &[&str]) {
    const EXIST: &str = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
        ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
        ResourceQuotaScopeCrossNamespacePodAffinity";
    let path = spec().child("scopeSelector").child("matchExpressions");
    let invalid = |detail: &str| {
        let shown = internal::compact(object.at("spec.scopeSelector"), "api.core.v1.ScopeSelector");
        Error::invalid_as(&path, shown, detail)
    };
    let mut seen = BTreeSet::new();
    for expression in object.list("spec.scopeSelector.matchExpressions") {
        let (scope, operator) = (expression.text("scopeName"), expression.text("operator"));
        let names = about(scope);
        if names.is_none() {
            errors.push(Error::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        if let Some(names) = names {
            misfits(errors, &invalid, limited, names);
        }
        if !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && names.is_some() && operator != "Exists" {
            errors.push(Error::invalid(&path.child("operator"), operator, EXIST));
        }
        let values = expression.list("values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(Error::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(Error::invalid(&path.child("values"), expression.at("values").clone(), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(Error::invalid(&path.child("operator"), operator, "not a valid selector operator")),
        }
        seen.insert(scope);
    }
    conflicts(errors, &invalid, &seen);
}

#[must_use]
pub fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let scopes = |quota| -> BTreeSet<&str> { Json::texts(quota, "spec.scopes").into_iter().collect() };
    if scopes(new) != scopes(old) {
        errors.push(Error::invalid(&spec().child("scopes"), new.at("spec.scopes").clone(), IMMUTABLE));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn requests_above_limits_are_warned_of() {
        let warned = |hard: Value| warnings(&json!({"spec": {"hard": hard}}));
        assert_eq!(
            warned(
                json!({"cpu": "2", "limits.cpu": "1", "requests.memory": "16Gi", "memory": "1", "limits.memory": "1Gi"})
            ),
            [
                "ResourceQuota cpu (2) should be less than limits.cpu (1)",
                "ResourceQuota requests.memory (16Gi) should be less than limits.memory (1Gi)",
            ]
        );
        assert_eq!(
            warned(json!({"requests.cpu": "1", "limits.cpu": "1", "storage": "2", "limits.storage": "1"})),
            [""; 0]
        );
    }

    #[test]
    fn what_may_be_limited() {
        let quota = |spec: Value| texts(&resource_quota(&json!({ "spec": spec })));
        let good = json!({ "cpu": "1", "pods": "2", "count/widgets.example.com": "1", "requests.example.com/gpu": "1",
            "hugepages-2Mi": "2Mi", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi" });
        assert_eq!(quota(json!({ "hard": good })), Vec::<String>::new());
        assert_eq!(
            quota(json!({ "hard": { "fish": "1" } })),
            [
                "spec.hard[fish]: Invalid value: \"fish\": must be a standard resource type or fully qualified",
                "spec.hard[fish]: Invalid value: \"fish\": must be a standard resource for quota"
            ]
        );
        assert_eq!(
            quota(json!({ "hard": { "pods": "500m" } })),
            ["spec.hard[pods]: Invalid value: \"500m\": must be an integer"]
        );
        assert_eq!(
            quota(json!({ "hard": { "pods": "-1" } })),
            ["spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0"]
        );
    }

    #[test]
    fn scopes_fit_what_is_limited() {
        let count = |spec: Value, text: &str| {
            let all = texts(&resource_quota(&json!({ "spec": spec })));
            all.iter().filter(|error| error.ends_with(text)).count()
        };
        assert_eq!(count(json!({ "hard": { "pods": "1" }, "scopes": ["BestEffort"] }), ""), 0);
        assert_eq!(
            count(json!({ "hard": { "cpu": "1" }, "scopes": ["BestEffort"] }), "unsupported scope applied to resource"),
            1
        );
        assert_eq!(
            count(json!({ "hard": { "pods": "1" }, "scopes": ["BestEffort", "NotBestEffort"] }), "conflicting scopes"),
            1
        );
        assert_eq!(count(json!({ "scopes": ["Fish"] }), "unsupported scope"), 1);
        let select = |operator: &str, values: Value| {
            json!({ "hard": { "pods": "1" }, "scopeSelector": { "matchExpressions": [
                { "scopeName": "PriorityClass", "operator": operator, "values": values }] } })
        };
        assert_eq!(count(select("In", json!(["high"])), ""), 0);
        assert_eq!(count(select("In", json!([])), "for scope selector"), 1);
        assert_eq!(count(select("Exists", json!(["high"])), "for scope selector"), 1);
        assert_eq!(count(select("Like", json!([])), "not a valid selector operator"), 1);
    }
}
