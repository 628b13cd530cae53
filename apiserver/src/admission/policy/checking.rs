//! What the controller manager does upstream: expressions of a ValidatingAdmissionPolicy are checked once more against the
//! types of the objects they are about, and the status says what was found (`plugin/policy/validating/typechecking.go`).
//!
//! Admission itself never uses these types: a policy with warnings holds as it would without.

use std::collections::BTreeSet;
use std::sync::Arc;

use cel::admission::{self, Options};
use cel::{CompileError, Env, Schema, Type};
use serde_json::{Value, json};

use super::definition::variables;
use crate::app::{App, Call, text};
use crate::http::openapi;
use crate::http::status::{ApiError, ApiResult};
use crate::registry::resource::Catalogue;
use crate::registry::{versions, write};

/// Upstream's controller, whose the status is.
const MANAGER: &str = "validatingadmissionpolicy-status";

/// A rule that names more kinds is checked against the first ones.
const MOST: usize = 10;

/// Group, version and kind.
type Kind = (String, String, String);

/// Whether the status is about an older spec.
pub fn is_due(policy: &Value) -> bool {
    policy["metadata"]["generation"].as_i64() > policy["status"]["observedGeneration"].as_i64()
}

/// Checks a policy as it is now, and writes its status.
///
/// # Errors
/// The store does not answer, or the server is built wrong.
pub async fn check(app: &Arc<App>, group: &str, plural: &str, name: &str) -> ApiResult<()> {
    let call = Call::internal(app, group, plural, "", name)?;
    let key = call.resource.key("", name);
    for _ in 0..write::ATTEMPTS {
        let Some(live) = write::load(&call, &key).await? else { return Ok(()) };
        if !is_due(&live.value) {
            return Ok(());
        }
        let (policy, of) = (live.value.clone(), app.clone());
        let warnings = tokio::task::spawn_blocking(move || warnings(&of, &policy)).await.map_err(ApiError::internal)?;
        let checked = if warnings.is_empty() { json!({}) } else { json!({ "expressionWarnings": warnings }) };
        let status = json!({ "observedGeneration": live.value["metadata"]["generation"], "typeChecking": checked });
        let new = versions::with_status(&call, &live.value, MANAGER, status).await?;
        if write::commit(&call, &key, new, live.revision).await?.is_some() {
            return Ok(());
        }
    }
    Ok(())
}

fn warnings(app: &App, policy: &Value) -> Vec<Value> {
    let spec = &policy["spec"];
    let typed = |kind: &Kind| {
        let schemas = openapi::schemas(app, &kind.0, &kind.1);
        Some((kind.clone(), type_of(kind, &schemas)?))
    };
    let api_version = text(spec, "/paramKind/apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let params = typed(&(group.to_owned(), version.to_owned(), text(spec, "/paramKind/kind").to_owned()));
    let options = Options { params: params.is_some(), authorizer: true, patches: false };
    let mut env = admission::env(options);
    if let Some((_, params)) = params {
        env = env.variable("params", params);
    }
    let catalogue = app.catalogue.load_full();
    let environments: Vec<(Kind, Env)> = kinds(&catalogue, &spec["matchConstraints"]["resourceRules"])
        .iter()
        .filter_map(typed)
        .map(|(kind, ty)| {
            let env = env.clone().variable("object", ty.clone()).variable("oldObject", ty);
            (kind, variables(env, &spec["variables"]).0)
        })
        .collect();
    let mut found = Vec::new();
    for (at, validation) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let Some(expression) = validation[field].as_str().filter(|text| !text.is_empty()) else { continue };
            let wrong: Vec<String> =
                environments.iter().filter_map(|(kind, env)| wrong(kind, env, expression)).collect();
            if !wrong.is_empty() {
                found.push(
                    json!({ "fieldRef": format!("spec.validations[{at}].{field}"), "warning": wrong.join("\n") }),
                );
            }
        }
    }
    found
}

fn wrong((group, version, kind): &Kind, env: &Env, expression: &str) -> Option<String> {
    match env.compile(expression) {
        Err(CompileError::Issues { shown, .. }) => Some(format!("{group}/{version}, Kind={kind}: {shown}\n")),
        Ok(_) | Err(CompileError::Instantiation(_)) => None,
    }
}

/// The kinds that rules name outright, in order.
fn kinds(catalogue: &Catalogue, rules: &Value) -> BTreeSet<Kind> {
    let mut found = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        let names = |field: &str| {
            let mut names: Vec<&str> = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            names.sort_unstable();
            names
        };
        let (groups, versions) = (names("apiGroups"), names("apiVersions"));
        if groups.iter().chain(&versions).any(|name| name.contains('*')) {
            continue;
        }
        let resources: Vec<&str> = names("resources").into_iter().filter(|name| !name.contains(['*', '/'])).collect();
        let mut count = 0;
        for (group, version, resource) in groups.iter().flat_map(|group| {
            let resources = &resources;
            versions.iter().flat_map(move |version| resources.iter().map(move |resource| (group, version, resource)))
        }) {
            // No group stands for all of them to upstream's mapper.
            let mut named: Vec<_> = catalogue.all().filter(|r| group.is_empty() || r.group == *group).collect();
            named.retain(|r| r.version == *version && (r.plural == *resource || r.singular == *resource));
            for one in named {
                found.insert((one.group.clone(), one.version.clone(), one.kind.clone()));
                count += 1;
                if count == MOST {
                    return found;
                }
            }
        }
    }
    found
}

/// The type of a kind's objects; `None` where nothing is known about them.
fn type_of((group, version, kind): &Kind, schemas: &Value) -> Option<Type> {
    let own = json!({ "group": group, "version": version, "kind": kind });
    let (name, root) = schemas.as_object()?.iter().find(|(_, schema)| {
        schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|kinds| kinds.contains(&own))
    })?;
    let whole = resolve(root, schemas, &mut vec![name.clone()]);
    Schema::new(&whole, true).decl().map(|decl| decl.to_type(kind))
}

/// A schema with those it refers to in it (`pkg/cel/openapi/resolver/refs.go`).
fn resolve(schema: &Value, all: &Value, path: &mut Vec<String>) -> Value {
    if let Some(name) = reference(schema) {
        if path.iter().any(|above| above == name) {
            return json!({ "type": "object" });
        }
        path.push(name.to_owned());
        let found = resolve(&all[name], all, path);
        path.pop();
        return found;
    }
    let mut found = schema.clone();
    if let Some(properties) = found.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| *property = resolve(property, all, path));
    }
    for field in ["additionalProperties", "items"] {
        if let Some(below) = found.get_mut(field).filter(|below| below.is_object()) {
            *below = resolve(below, all, path);
        }
    }
    // What else is "number or text", a quantity, is of no type at all to upstream, and so are lists and maps of it.
    if found["format"] == "int-or-string" {
        found["x-kubernetes-int-or-string"] = true.into();
    }
    found
}

fn reference(schema: &Value) -> Option<&str> {
    let wrapped = schema["allOf"].as_array().into_iter().flatten();
    let own = std::iter::once(schema).chain(wrapped).find_map(|one| one["$ref"].as_str())?;
    own.strip_prefix("#/components/schemas/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
        json!({
            "a.Thing": {
                "type": "object", "x-kubernetes-group-version-kind": [{ "group": "a", "version": "v1", "kind": "Thing" }],
                "properties": {
                    "spec": { "description": "it", "allOf": [reference("a.Spec")] },
                    "kind": { "type": "string" }, "apiVersion": { "type": "string" },
                    "metadata": { "type": "object", "properties": {
                        "name": { "type": "string" }, "generateName": { "type": "string" }, "namespace": { "type": "string" },
                    } },
                },
            },
            "a.Spec": { "type": "object", "properties": {
                "size": { "type": "integer" }, "port": { "format": "int-or-string", "oneOf": [{}, {}] },
                "amount": { "oneOf": [{ "type": "string" }, { "type": "number" }] },
                "amounts": { "type": "object", "additionalProperties": { "oneOf": [{ "type": "string" }] } },
                "below": { "type": "array", "items": reference("a.Spec") },
            } },
        })
    }

    #[test]
    fn types_come_from_documents() {
        let kind = ("a".to_owned(), "v1".to_owned(), "Thing".to_owned());
        let ty = type_of(&kind, &document()).expect("it is there");
        let options = Options { params: false, authorizer: true, patches: false };
        let env = admission::env(options).variable("object", ty);
        let cases = [
            ("object.spec.size > 1 && object.metadata.name != ''", None),
            ("object.spec.port == 1 || object.spec.port == 'http'", None),
            ("object.spec.amount == '1'", Some("undefined field 'amount'")),
            ("object.spec.amounts['a'] == '1'", Some("undefined field 'amounts'")),
            ("object.metadata.namespace == 'x'", None),
            ("object.spec.below.all(b, b == b)", None),
            ("object.spec.sise > 1", Some("undefined field 'sise'")),
            ("object.spec.size == '1'", Some("found no matching overload for '_==_' applied to '(int, string)'")),
            ("object.spec.below.all(b, b.size > 1)", Some("undefined field 'size'")),
        ];
        for (expression, expected) in cases {
            let wrong = wrong(&kind, &env, expression);
            match expected {
                None => assert_eq!(wrong, None, "{expression}"),
                Some(part) => {
                    let wrong = wrong.expect(expression);
                    assert!(wrong.starts_with("a/v1, Kind=Thing: ERROR: <input>:1:"), "{wrong}");
                    assert!(wrong.contains(part), "{wrong}");
                }
            }
        }
    }

    #[test]
    fn only_kinds_that_are_named_outright() {
        let catalogue = Catalogue::new(&[]);
        let of = |rule: Value| kinds(&catalogue, &json!([rule])).into_iter().map(|k| k.2).collect::<Vec<_>>().join(" ");
        let rule = |groups: &[&str], resources: &[&str]| json!({ "apiGroups": groups, "apiVersions": ["v1"], "resources": resources });
        assert_eq!(
            of(rule(&["apps"], &["statefulsets", "deployments", "deployments/scale"])),
            "Deployment StatefulSet"
        );
        assert_eq!(of(rule(&["*"], &["deployments"])), "");
        assert_eq!(of(rule(&["apps"], &["*"])), "");
        assert_eq!(of(rule(&[""], &["pods"])), "Pod");
    }
}
