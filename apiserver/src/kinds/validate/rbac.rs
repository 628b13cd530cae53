//! Roles and bindings (`pkg/apis/rbac/validation`).

use schema::field::{Error, ErrorList, Path, go_json};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{label_selector, same};

const GROUP: &str = "rbac.authorization.k8s.io";

#[must_use]
pub fn role(object: &Value) -> ErrorList {
    rules(object, true)
}

#[must_use]
pub fn cluster_role(object: &Value) -> ErrorList {
    let mut errors = rules(object, false);
    let selectors = object.list("aggregationRule.clusterRoleSelectors");
    let path = Path::new("aggregationRule").child("clusterRoleSelectors");
    if object.has("aggregationRule") && selectors.is_empty() {
        errors.push(Error::required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil"));
    }
    for (i, selector) in selectors.iter().enumerate() {
        let found = errors.len();
        label_selector(&mut errors, &path.index(i), selector);
        if errors.len() > found {
            errors.push(Error::invalid(&path.index(i), Value::Null, "invalid label selector."));
        }
    }
    errors
}

fn rules(object: &Value, namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, rule) in object.list("rules").iter().enumerate() {
        let path = Path::new("rules").index(i);
        if rule.list("verbs").is_empty() {
            errors.push(Error::required(&path.child("verbs"), "verbs must contain at least one value"));
        }
        let urls = rule.list("nonResourceURLs");
        let (groups, resources) = (rule.list("apiGroups"), rule.list("resources"));
        if !urls.is_empty() {
            let at = path.child("nonResourceURLs");
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(Error::invalid(&at, urls.to_vec(), detail));
            }
            if !groups.is_empty() || !resources.is_empty() || !rule.list("resourceNames").is_empty() {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(Error::invalid(&at, urls.to_vec(), detail));
            }
            continue;
        }
        if groups.is_empty() {
            let detail = "resource rules must supply at least one api group";
            errors.push(Error::required(&path.child("apiGroups"), detail));
        }
        if resources.is_empty() {
            let detail = "resource rules must supply at least one resource";
            errors.push(Error::required(&path.child("resources"), detail));
        }
    }
    errors
}

#[must_use]
pub fn role_binding(object: &Value) -> ErrorList {
    binding(object, &["Role", "ClusterRole"], true)
}

#[must_use]
pub fn cluster_role_binding(object: &Value) -> ErrorList {
    binding(object, &["ClusterRole"], false)
}

fn binding(object: &Value, roles: &[&str], namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("roleRef");
    let reference = object.at("roleRef");
    if reference.text("apiGroup") != GROUP {
        errors.push(Error::not_supported(&path.child("apiGroup"), reference.text("apiGroup"), &[GROUP]));
    }
    super::one_of(&mut errors, &path.child("kind"), reference.text("kind"), roles);
    super::required_name(&mut errors, &path.child("name"), reference.text("name"), names::path_segment);
    for (i, subject) in object.list("subjects").iter().enumerate() {
        self::subject(&mut errors, &Path::new("subjects").index(i), subject, namespaced);
    }
    errors
}

fn subject(errors: &mut ErrorList, path: &Path, subject: &Value, namespaced: bool) {
    let (name, group) = (subject.text("name"), subject.text("apiGroup"));
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    match subject.text("kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                super::named(errors, &path.child("name"), name, names::dns1123_subdomain);
            }
            if !group.is_empty() {
                errors.push(Error::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !namespaced && subject.text("namespace").is_empty() {
                errors.push(Error::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(Error::not_supported(&path.child("apiGroup"), group, &[GROUP]));
            }
        }
        other => {
            errors.push(Error::not_supported(&path.child("kind"), other, &["ServiceAccount", "User", "Group"]));
        }
    }
}

/// A binding to another role would be another grant: it has to be made anew.
#[must_use]
pub fn binding_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if !same(new.at("roleRef"), old.at("roleRef")) {
        // As the internal type has it.
        let fields = [("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name")];
        let fields = fields.map(|(go, json)| format!("\"{go}\":{}", go_json(&new.at("roleRef").text(json).into())));
        let shown = format!("{{{}}}", fields.join(","));
        errors.push(Error::invalid_as(&Path::new("roleRef"), shown, "cannot change roleRef"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn rules_name_something() {
        assert_eq!(
            texts(&role(&json!({"rules": [{}]}))),
            [
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ]
        );
        assert_eq!(
            texts(&role(&json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}))),
            ["rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs"]
        );
    }

    #[test]
    fn role_refs_stay() {
        let old = json!({"roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "a"}});
        let mut new = old.clone();
        new["roleRef"]["name"] = json!("b");
        let errors = texts(&binding_update(&new, &old));
        assert!(errors[0].starts_with("roleRef: Invalid value: {") && errors[0].ends_with(": cannot change roleRef"));
    }
}
