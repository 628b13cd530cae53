//! Admission policies and their bindings (`pkg/apis/admissionregistration/validation`). Whether expressions compile is asked of
//! the admission plugin that evaluates them.

use std::collections::{BTreeMap, BTreeSet};

use cel::admission::Options;
use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{label_selector, named, one_of, required_name, spec};
use crate::admission::policy::Definition;

const MAX_AUDIT_ANNOTATIONS: usize = 20;
/// In bytes.
const MAX_VALUE_EXPRESSION: usize = 5 * 1024;

#[must_use]
pub fn validating(object: &Value) -> ErrorList {
    let definition = Definition::validating(object);
    let mut broken = Broken::of(&definition);
    let mut errors = common(object, &definition, &mut broken);
    let (path, body) = (spec(), object.at("spec"));
    let (validations, annotations) = (body.list("validations"), body.list("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.push(Error::required(&path.child("validations"), detail));
        errors.push(Error::required(&path.child("auditAnnotations"), detail));
    }
    for (i, one) in validations.iter().enumerate() {
        validation(&mut errors, &path.child("validations").index(i), one, &mut broken);
    }
    if annotations.len() > MAX_AUDIT_ANNOTATIONS {
        let detail = format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations");
        errors.push(Error::invalid(&path.child("auditAnnotations"), annotations.to_vec(), detail));
    }
    let mut keys = BTreeSet::new();
    for (i, one) in annotations.iter().enumerate() {
        let at = path.child("auditAnnotations").index(i);
        let key = one.text("key");
        named(&mut errors, &at.child("key"), &format!("{}/{key}", object.text("metadata.name")), names::qualified_name);
        if !keys.insert(key) {
            errors.push(Error::duplicate(&at.child("key"), key));
        }
        let text = one.text("valueExpression").trim();
        let at = at.child("valueExpression");
        if text.is_empty() {
            errors.push(Error::required(&at, "valueExpression is not specified"));
        } else if text.len() > MAX_VALUE_EXPRESSION {
            let detail = format!("must not exceed {MAX_VALUE_EXPRESSION} bytes in length");
            errors.push(Error::required(&at, detail));
        } else {
            broken.tell(&mut errors, &at);
        }
    }
    errors
}

/// The kinds of patches: type, field, and the other's field.
const PATCHES: [(&str, &str, &str); 2] =
    [("ApplyConfiguration", "applyConfiguration", "jsonPatch"), ("JSONPatch", "jsonPatch", "applyConfiguration")];
/// What can be mutated: nothing that goes.
const MUTABLE: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

#[must_use]
pub fn mutating(object: &Value) -> ErrorList {
    let definition = Definition::mutating(object);
    let mut broken = Broken::of(&definition);
    let mut errors = common(object, &definition, &mut broken);
    let (path, body) = (spec(), object.at("spec"));
    let mutations = body.list("mutations");
    if mutations.is_empty() {
        errors.push(Error::required(&path.child("mutations"), "mutations must contain at least one item"));
    }
    for (i, one) in mutations.iter().enumerate() {
        let at = path.child("mutations").index(i);
        let kind = one.text("patchType");
        if kind.is_empty() {
            errors.push(Error::required(&at.child("patchType"), ""));
            continue;
        }
        let Some((_, field, other)) = PATCHES.iter().find(|(known, ..)| *known == kind) else {
            one_of(&mut errors, &at.child("patchType"), kind, &PATCHES.map(|(known, ..)| known));
            continue;
        };
        let of = at.child(field);
        if one.at(field).is_null() {
            errors.push(Error::required(&of, format!("must be specified when patchType is {kind}")));
        } else if one.at(field).text("expression").trim().is_empty() {
            errors.push(Error::required(&of.child("expression"), ""));
        } else {
            broken.tell(&mut errors, &of.child("expression"));
        }
        if !one.at(other).is_null() {
            let detail = format!("must not be specified when patchType is {kind}");
            errors.push(Error::invalid(&at.child(other), format!("{{{other}}}"), detail));
        }
    }
    let at = path.child("reinvocationPolicy");
    super::required_one_of(&mut errors, &at, body.text("reinvocationPolicy"), &["IfNeeded", "Never"]);
    errors
}

/// What of a policy does not compile, by its place.
struct Broken(BTreeMap<String, Error>);

impl Broken {
    fn of(definition: &Definition) -> Self {
        let error = |(place, text, error): (String, String, String)| {
            let at = spec().child(&place);
            // Such an error is told without the expression.
            let internal = error.starts_with(cel::admission::INSTANTIATION);
            (at.to_string(), if internal { Error::internal(&at, error) } else { Error::invalid(&at, text, error) })
        };
        Self(definition.errors().into_iter().map(error).collect())
    }

    /// Tells of the expression at a place, where it is one.
    fn tell(&mut self, errors: &mut ErrorList, at: &Path) {
        errors.extend(self.0.remove(&at.to_string()));
    }
}

/// A mutating policy, or its binding, is about operations that leave something behind.
fn mutable(errors: &mut ErrorList, path: &Path, resources: &Value) {
    for operation in resources.list("resourceRules").iter().flat_map(|rule| rule.texts("operations")) {
        one_of(errors, &path.child("resourceRules").child("operations"), operation, &MUTABLE);
    }
}

/// What both kinds of policy have.
fn common(object: &Value, definition: &Definition, broken: &mut Broken) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    super::required_one_of(&mut errors, &path.child("failurePolicy"), body.text("failurePolicy"), &["Fail", "Ignore"]);
    if body.at("paramKind").is_object() {
        param_kind(&mut errors, &path.child("paramKind"), body.at("paramKind"));
    }
    let at = path.child("matchConstraints");
    if body.at("matchConstraints").is_object() {
        match_resources(&mut errors, &at, body.at("matchConstraints"));
        if body.list("matchConstraints.resourceRules").is_empty() {
            errors.push(Error::required(&at.child("resourceRules"), ""));
        }
        if definition.is_mutating() {
            mutable(&mut errors, &at, body.at("matchConstraints"));
        }
    } else {
        errors.push(Error::required(&at, ""));
    }
    let options = Options { params: definition.param_kind.is_some(), authorizer: true, patches: false };
    let (at, env) = (path.child("matchConditions"), cel::admission::env(options));
    super::webhook::match_conditions(&mut errors, &at, body.list("matchConditions"), &env);
    for (i, variable) in body.list("variables").iter().enumerate() {
        let at = path.child("variables").index(i);
        let name = variable.text("name");
        let shaped = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !cel::RESERVED.contains(&name);
        if name.trim().is_empty() {
            errors.push(Error::required(&at.child("name"), "name is not specified"));
        } else if !shaped {
            errors.push(Error::invalid(&at.child("name"), name, "name is not a valid CEL identifier"));
        }
        if variable.text("expression").trim().is_empty() {
            errors.push(Error::required(&at.child("expression"), "expression is not specified"));
        } else {
            broken.tell(&mut errors, &at.child("expression"));
        }
    }
    errors
}

fn has_newlines(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

fn validation(errors: &mut ErrorList, path: &Path, value: &Value, broken: &mut Broken) {
    if value.text("expression").trim().is_empty() {
        errors.push(Error::required(&path.child("expression"), "expression is not specified"));
    } else {
        broken.tell(errors, &path.child("expression"));
    }
    let expression = value.text("messageExpression");
    if !expression.is_empty() && expression.trim().is_empty() {
        errors.push(Error::invalid(&path.child("messageExpression"), expression, "must be non-empty if specified"));
    } else {
        broken.tell(errors, &path.child("messageExpression"));
    }
    let message = value.text("message");
    if !message.is_empty() && message.trim().is_empty() {
        errors.push(Error::invalid(&path.child("message"), message, "message must be non-empty if specified"));
    } else if has_newlines(message.trim()) {
        errors.push(Error::invalid(&path.child("message"), message, "message must not contain line breaks"));
    }
    if !value.at("reason").is_null() {
        let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
        one_of(errors, &path.child("reason"), value.text("reason"), &reasons);
    }
}

fn param_kind(errors: &mut ErrorList, path: &Path, kind: &Value) {
    let at = path.child("apiVersion");
    let api_version = kind.text("apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if api_version.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if version.contains('/') {
        let detail = format!("unexpected GroupVersion string: {api_version}");
        errors.push(Error::invalid(&at, api_version, detail));
    } else {
        if !group.is_empty() {
            named(errors, &at, group, names::dns1123_subdomain);
        }
        if version.is_empty() {
            errors.push(Error::invalid(&at, api_version, "version must be specified"));
        } else {
            named(errors, &at, version, names::dns1035_label);
        }
    }
    let name = kind.text("kind");
    let at = path.child("kind");
    if name.is_empty() {
        errors.push(Error::required(&at, ""));
    } else {
        let wrong = names::dns1035_label(&name.to_lowercase());
        if !wrong.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.push(Error::invalid(&at, name, detail));
        }
    }
}

fn match_resources(errors: &mut ErrorList, path: &Path, resources: &Value) {
    let policy = resources.text("matchPolicy");
    super::required_one_of(errors, &path.child("matchPolicy"), policy, &["Equivalent", "Exact"]);
    for field in ["namespaceSelector", "objectSelector"] {
        label_selector(errors, &path.child(field), resources.at(field));
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (i, rule) in resources.list(field).iter().enumerate() {
            let at = path.child(field).index(i);
            let mut seen = BTreeSet::new();
            for (j, name) in rule.texts("resourceNames").into_iter().enumerate() {
                let at = at.child("resourceNames").index(j);
                named(errors, &at, name, names::path_segment);
                if !seen.insert(name) {
                    errors.push(Error::duplicate(&at, name));
                }
            }
            super::webhook::rule(errors, &at, rule);
        }
    }
}

#[must_use]
pub fn validating_binding(object: &Value) -> ErrorList {
    let mut errors = binding(object);
    let path = spec().child("validationActions");
    let actions = object.texts("spec.validationActions");
    let mut seen = BTreeSet::new();
    for (i, action) in actions.iter().enumerate() {
        one_of(&mut errors, &path.index(i), action, &["Audit", "Deny", "Warn"]);
        if !seen.insert(*action) {
            errors.push(Error::duplicate(&path.index(i), *action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                      response and headers serves no purpose)";
        errors.push(Error::invalid(&path, object.at("spec.validationActions").clone(), detail));
    }
    if actions.is_empty() {
        errors.push(Error::required(&path, "at least one validation action is required"));
    }
    errors
}

#[must_use]
pub fn mutating_binding(object: &Value) -> ErrorList {
    let mut errors = binding(object);
    mutable(&mut errors, &spec().child("matchResources"), object.at("spec.matchResources"));
    errors
}

fn binding(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    required_name(&mut errors, &path.child("policyName"), body.text("policyName"), names::dns1123_subdomain);
    if body.at("paramRef").is_object() {
        param_ref(&mut errors, &path.child("paramRef"), body.at("paramRef"));
    }
    if body.at("matchResources").is_object() {
        // Upstream's own spelling.
        match_resources(&mut errors, &path.child("matchResouces"), body.at("matchResources"));
    }
    errors
}

fn param_ref(errors: &mut ErrorList, path: &Path, reference: &Value) {
    let (name, selector) = (reference.text("name"), reference.at("selector"));
    let both = "name and selector are mutually exclusive";
    if !name.is_empty() {
        named(errors, &path.child("name"), name, names::path_segment);
        if selector.is_object() {
            errors.push(Error::forbidden(&path.child("name"), both));
        }
    }
    if selector.is_object() {
        label_selector(errors, &path.child("selector"), selector);
        if !name.is_empty() {
            errors.push(Error::forbidden(&path.child("selector"), both));
        }
    }
    if name.is_empty() && !selector.is_object() {
        errors.push(Error::required(path, "one of name or selector must be specified"));
    }
    let action = reference.text("parameterNotFoundAction");
    super::required_one_of(errors, &path.child("parameterNotFoundAction"), action, &["Deny", "Allow"]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn policies() {
        let policy = |spec: Value| {
            let mut policy = json!({"metadata": {"name": "p"}, "spec": {"failurePolicy": "Fail", "matchConstraints": {
                "matchPolicy": "Equivalent", "resourceRules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
                "resources": ["*"], "scope": "*"}]}}});
            for (field, value) in spec.as_object().unwrap() {
                policy["spec"][field] = value.clone();
            }
            texts(&validating(&policy))
        };
        let variables = json!([{"name": "replicas", "expression": "object.spec.replicas"}]);
        assert_eq!(
            policy(
                json!({"variables": variables, "validations": [{"expression": "variables.replicas > 1 && variables.replicas < 9"}]})
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            policy(
                json!({"variables": variables, "validations": [{"expression": "variables.nope > 1", "messageExpression": "1"}]})
            ),
            [
                "spec.validations[0].expression: Invalid value: \"variables.nope > 1\": compilation failed: ERROR: <input>:1:10: undefined field \
                 'nope'\n | variables.nope > 1\n | .........^",
                "spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string but got int",
            ]
        );
        assert_eq!(
            policy(
                json!({"validations": [{"expression": "params.x == 1"}], "matchConditions": [{"name": "a", "expression": "object"}]})
            ),
            [
                "spec.matchConditions[0].expression: Invalid value: \"object\": must evaluate to bool but got dyn",
                "spec.validations[0].expression: Invalid value: \"params.x == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to \
                 'params' (in container '')\n | params.x == 1\n | ^",
            ]
        );
        assert_eq!(
            policy(json!({"matchConstraints": null})),
            [
                "spec.matchConstraints: Required value",
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ]
        );
    }

    #[test]
    fn mutations() {
        const PATCH: &str = r#"[JSONPatch{op: "add", path: "/a", value: "b"}]"#;
        let policy = |spec: Value| {
            let mut policy = json!({"metadata": {"name": "p"}, "spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never",
                "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": [{"operations": ["CREATE"],
                    "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": "*"}]},
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": PATCH}}]}});
            for (path, value) in spec.as_object().unwrap() {
                *policy["spec"].pointer_mut(path).unwrap() = value.clone();
            }
            texts(&mutating(&policy))
        };
        assert_eq!(policy(json!({})), Vec::<String>::new());
        for (spec, expected) in [
            (
                json!({"/matchConstraints/resourceRules/0/operations": ["CREATE", "DELETE"]}),
                vec![
                    "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \
                     \"CONNECT\", \"CREATE\", \"UPDATE\"",
                ],
            ),
            (
                json!({"/mutations/0": {"patchType": "ApplyConfiguration", "jsonPatch": {"expression": PATCH}}}),
                vec![
                    "spec.mutations[0].applyConfiguration: Required value: must be specified when patchType is \
                     ApplyConfiguration",
                    "spec.mutations[0].jsonPatch: Invalid value: \"{jsonPatch}\": must not be specified when patchType is \
                     ApplyConfiguration",
                ],
            ),
            (
                json!({"/mutations/0/jsonPatch/expression": " ", "/reinvocationPolicy": "x"}),
                vec![
                    "spec.mutations[0].jsonPatch.expression: Required value",
                    "spec.reinvocationPolicy: Unsupported value: \"x\": supported values: \"IfNeeded\", \"Never\"",
                ],
            ),
            // What does not compile is told where it stands.
            (
                json!({"/mutations/0/jsonPatch/expression": "1", "/reinvocationPolicy": "x"}),
                vec![
                    "spec.mutations[0].jsonPatch.expression: Invalid value: \"1\": must evaluate to list(JSONPatch) but got int",
                    "spec.reinvocationPolicy: Unsupported value: \"x\": supported values: \"IfNeeded\", \"Never\"",
                ],
            ),
        ] {
            assert_eq!(policy(spec.clone()), expected, "{spec}");
        }
        let object = json!({"metadata": {"name": "p"}, "spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": [{"operations": ["*"], "apiGroups": ["*"],
                "apiVersions": ["*"], "resources": ["*"], "scope": "*"}]},
            "variables": [{"name": "v", "expression": "Object{}"}],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": PATCH}}]}});
        let wrong = texts(&mutating(&object));
        assert!(wrong.len() == 1 && wrong[0].starts_with("spec.variables[0].expression: Invalid value"), "{wrong:?}");
        let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "matchResources":
            {"matchPolicy": "Exact", "resourceRules": [{"operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"],
                "resources": ["*"], "scope": "*"}]}}});
        assert!(texts(&mutating_binding(&binding))[0].starts_with("spec.matchResources.resourceRules.operations: "));
        assert!(texts(&super::binding(&binding)).is_empty());
    }

    #[test]
    fn bindings() {
        let binding = |spec: Value| texts(&validating_binding(&json!({"metadata": {"name": "b"}, "spec": spec})));
        assert_eq!(binding(json!({"policyName": "p", "validationActions": ["Deny"]})), Vec::<String>::new());
        assert_eq!(
            binding(json!({"policyName": "p", "validationActions": ["Deny", "Deny", "Nope"], "paramRef": {}})),
            [
                "spec.paramRef: Required value: one of name or selector must be specified",
                "spec.paramRef.parameterNotFoundAction: Required value",
                "spec.validationActions[1]: Duplicate value: \"Deny\"",
                "spec.validationActions[2]: Unsupported value: \"Nope\": supported values: \"Audit\", \"Deny\", \"Warn\"",
            ]
        );
    }
}
