//! MutatingAdmissionPolicy: what an object becomes (`policy/mutating/dispatcher.go`, `policy/mutating/patch`).

use cel::Value as CelValue;
use cel::admission::MatchResult;
use serde_json::{Value, json};

use super::Binding;
use super::definition::{Body, Definition, Expression, Mutation};
use super::params;
use super::request::{Evaluation, Request};
use crate::admission::matching::{Seen, is_exempt};
use crate::admission::rounds::Rounds;
use crate::admission::{Attributes, webhook};
use crate::http::status::{ApiError, ApiResult};
use crate::registry::conversion;

/// Lets the policies change `object`; whether one did.
///
/// # Errors
/// A policy that fails and whose failures count; the namespace of the request does not exist.
pub async fn mutate(a: &Attributes<'_>, object: &mut Value, rounds: &mut Rounds, again: bool) -> ApiResult<bool> {
    let policies = a.app().policies.mutating();
    if policies.is_empty() || is_exempt(a) || object.is_null() {
        return Ok(false);
    }
    rounds.begin(object, again);
    let mut any = false;
    let mut errors: Vec<String> = Vec::new();
    for bound in policies.iter() {
        let definition = &bound.definition;
        let mut fail = |binding: Option<&Binding>, error: String| {
            if !definition.ignores_failures {
                errors.push(match binding {
                    Some(binding) => {
                        format!("policy '{}' with binding '{}' denied request: {error}", definition.name, binding.name)
                    }
                    None => format!("policy {:?} denied request: {error}", definition.name),
                });
            }
        };
        let seen = match definition.choose(a, object).await {
            Ok(Some(seen)) => seen,
            Ok(None) => continue,
            Err(error) => {
                fail(None, format!("failed to configure policy: {error}"));
                continue;
            }
        };
        for binding in &bound.bindings {
            let params = match binding.chooses(a, object).await {
                Ok(true) => params::collect(a, definition, binding).await,
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            let params = match params {
                Ok(params) => params,
                Err(error) => {
                    fail(Some(binding), format!("failed to configure binding: {error}"));
                    continue;
                }
            };
            for param in &params {
                let name =
                    |field: &str| param.as_ref().and_then(|param| param["metadata"][field].as_str()).unwrap_or("");
                let key = format!("{}/{}/{}/{}", definition.name, binding.name, name("namespace"), name("name"));
                let mut invoked = false;
                match invoke(a, &seen, definition, param.as_ref(), object, || {
                    invoked = true;
                    rounds.asks(&key, again)
                })
                .await?
                {
                    Ok(None) => {}
                    Ok(Some(new)) => {
                        *object = new;
                        rounds.changed();
                        any = true;
                    }
                    Err(error) => fail(Some(binding), error),
                }
                if invoked && matches!(definition.body, Body::Mutating { reinvoke: true, .. }) {
                    rounds.asked(key);
                }
            }
        }
    }
    rounds.end(object);
    match errors.first() {
        None => Ok(any),
        Some(first) => {
            let mut error = a.forbidden(object, "admission request denied by policy");
            error.message.clone_from(first);
            error.reason = "Invalid".into();
            error.details["causes"] = errors.iter().map(|message| json!({ "message": message })).collect();
            Err(error)
        }
    }
}

/// All mutations of a policy with one parameter, one after the other: the object, if it changed; or what failed.
async fn invoke(
    a: &Attributes<'_>,
    seen: &Seen,
    definition: &Definition,
    param: Option<&Value>,
    object: &Value,
    due: impl FnOnce() -> bool,
) -> ApiResult<Result<Option<Value>, String>> {
    let Body::Mutating { mutations, .. } = &definition.body else { return Ok(Ok(None)) };
    let mut request = Request::new(a, seen, object).await?;
    match definition.conditions.evaluate(&request.input(param)) {
        MatchResult::Matches => {}
        MatchResult::No { .. } => return Ok(Ok(None)),
        MatchResult::Errors(errors) => return Ok(Err(errors.join(", "))),
    }
    // Who was not asked in the first round is not asked in the second either.
    if !due() {
        return Ok(Ok(None));
    }
    let before = request.object.clone();
    for mutation in mutations {
        let patched = match patched(definition, mutation, &request, param, seen) {
            Ok(patched) => patched,
            Err(error) => return Ok(Err(error)),
        };
        request.object = webhook::decoded(seen, patched).map_err(ApiError::internal)?;
    }
    if request.object == before {
        return Ok(Ok(None));
    }
    let mut new = request.object;
    if seen.kind != a.kind {
        new = conversion::convert(a.app(), &seen.resource, new, &a.kind.api_version()).await?;
    }
    Ok(Ok(Some(new)))
}

fn patched(
    definition: &Definition,
    mutation: &Mutation,
    request: &Request<'_>,
    param: Option<&Value>,
    seen: &Seen,
) -> Result<Value, String> {
    let input = request.input(param);
    let mut evaluation = Evaluation::new(definition, &input);
    match mutation {
        Mutation::Apply(expression) => applied(&mut evaluation, expression, &request.object, seen),
        Mutation::Patch(expression) => json_patched(&mut evaluation, expression, &request.object),
    }
}

fn applied(
    evaluation: &mut Evaluation<'_>,
    expression: &Expression,
    object: &Value,
    seen: &Seen,
) -> Result<Value, String> {
    let value = evaluation.run(expression).map_err(|error| error.to_string())?;
    let CelValue::Object(made) = &value else {
        return Err("unsupported return type from ApplyConfiguration expression".to_owned());
    };
    made.check_names().map_err(|error| format!("type mismatch: {error}"))?;
    let mut configuration = value.to_json()?;
    configuration["apiVersion"] = seen.kind.api_version().into();
    configuration["kind"] = seen.kind.kind.as_str().into();
    let schema = webhook::schema_of(seen).ok_or_else(|| {
        let why =
            "There can be a delay between when CustomResourceDefinitions are created and when they are available.";
        format!("Resource kind {} not found. {why}", seen.kind.kind)
    })?;
    schema::apply::overlay(&schema, object, &configuration).map_err(|error| format!("error applying patch: {error}"))
}

fn json_patched(evaluation: &mut Evaluation<'_>, expression: &Expression, object: &Value) -> Result<Value, String> {
    let CelValue::List(list) = evaluation.run(expression).map_err(|error| error.to_string())? else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let mut operations = Vec::with_capacity(list.len());
    for operation in list.iter() {
        let CelValue::Object(operation) = operation.map_err(|error| error.to_string())? else {
            return Err("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch".to_owned());
        };
        if let Some(CelValue::Object(value)) = operation.fields.get("value") {
            value.check_names().map_err(|error| format!("type mismatch: {error}"))?;
        }
        let mut json = CelValue::Object(operation).to_json().map_err(|error| {
            format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}")
        })?;
        if json["from"] == ""
            && let Some(map) = json.as_object_mut()
        {
            map.remove("from");
        }
        operations.push(json);
    }
    match schema::patch::json_patch(object, &Value::Array(operations)) {
        Ok(patched) => Ok(patched),
        // A failed test leaves the object as it is.
        Err(error) if error.is_failed_test() => Ok(object.clone()),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}
