//! MutatingAdmissionPolicy: what an object becomes (`policy/mutating/dispatcher.go`, `policy/mutating/patch`).

use cel::Value as CelValue;
use cel::admission::MatchResult;
use schema::{FieldValidation, Schema};
use serde_json::{Value, json};

use super::definition::{Body, Definition, Expression, Mutation};
use super::index::Bound;
use super::request::{Evaluation, Request};
use super::{Binding, aggregate, params};
use crate::admission::matching::{Seen, is_exempt_of_policies};
use crate::admission::rounds::Rounds;
use crate::admission::{Attributes, patched};
use crate::http::status::{ApiError, ApiResult};

/// A policy that a request is for, under one of its bindings and with one of that one's parameters.
struct Invocation<'b> {
    definition: &'b Definition,
    binding: &'b Binding,
    seen: Seen,
    param: Option<Value>,
}

/// Why a policy denies a request.
struct Denial {
    message: String,
    /// That of the answer, if this is the first one.
    reason: &'static str,
}

impl Denial {
    fn of(definition: &Definition, binding: Option<&Binding>, why: &str, reason: &'static str) -> Self {
        let message = match binding {
            Some(binding) => {
                format!("policy '{}' with binding '{}' denied request: {why}", definition.name, binding.name)
            }
            None => format!("policy {:?} denied request: {why}", definition.name),
        };
        Self { message, reason }
    }
}

/// What is wrong with one mutation.
enum Failure {
    /// The failure policy decides.
    Counted(String),
    /// The request is over.
    Final(ApiError),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Counted(why)
    }
}

/// Lets the policies change `object`; whether one did. All are chosen by the object as it came, and then called one after the
/// other.
///
/// # Errors
/// A policy that fails and whose failures count; the namespace of the request does not exist.
pub async fn mutate(a: &Attributes<'_>, object: &mut Value, rounds: &mut Rounds, again: bool) -> ApiResult<bool> {
    let policies = a.app().policies.mutating();
    if policies.is_empty() || is_exempt_of_policies(a) || object.is_null() {
        return Ok(false);
    }
    let mut denials = Vec::new();
    let mut invocations = Vec::new();
    for bound in policies.iter() {
        invocations.append(&mut chosen(a, object, bound, &mut denials).await?);
    }
    rounds.begin(object, again);
    let (mut any, mut patched) = (false, false);
    for Invocation { definition, binding, seen, param } in &invocations {
        let Body::Mutating { mutations, reinvoke } = &definition.body else { continue };
        let mut request = Request::new(a, seen, object).await?;
        let mut deny = |why: &str| {
            if !definition.ignores_failures {
                denials.push(Denial::of(definition, Some(binding), why, "Invalid"));
            }
        };
        match definition.conditions.evaluate(&request.input(param.as_ref())) {
            MatchResult::Matches => {}
            MatchResult::No { .. } => continue,
            MatchResult::Errors(errors) => {
                deny(&aggregate(&errors));
                continue;
            }
        }
        let key = key(definition, binding, param.as_ref());
        if !rounds.asks(&key, again) {
            continue;
        }
        let before = request.object.clone();
        // One that fails does not keep the others from being made.
        for mutation in mutations {
            match mutated(a, definition, mutation, &request, param.as_ref(), seen) {
                Ok(new) => (request.object, patched) = (new, true),
                Err(Failure::Counted(why)) => deny(&why),
                Err(Failure::Final(error)) => return Err(error),
            }
        }
        if request.object != before {
            *object = patched::back(a, seen, request.object).await?;
            rounds.changed();
            any = true;
        }
        if *reinvoke {
            rounds.asked(key);
        }
    }
    if patched {
        // Upstream asks again whoever was asked before the last patch, be it by that one itself.
        rounds.changed();
    }
    rounds.end(object);
    let Some(first) = denials.first() else { return Ok(any || patched) };
    let mut error = a.forbidden(object, "admission request denied by policy");
    error.message.clone_from(&first.message);
    error.reason = first.reason.into();
    error.details["causes"] = denials.iter().map(|denial| json!({ "message": denial.message })).collect();
    Err(error)
}

/// The invocations of a policy that a request is for.
async fn chosen<'b>(
    a: &Attributes<'_>,
    object: &Value,
    bound: &'b Bound,
    denials: &mut Vec<Denial>,
) -> ApiResult<Vec<Invocation<'b>>> {
    let definition = bound.definition.as_ref();
    let mut misconfigured = |binding: Option<&Binding>, error: &str| {
        if !definition.ignores_failures {
            let what = if binding.is_some() { "binding" } else { "policy" };
            denials.push(Denial::of(definition, binding, &format!("failed to configure {what}: {error}"), "Forbidden"));
        }
    };
    let mut found = Vec::new();
    let seen = match definition.choose(a, object).await {
        Ok(Some(seen)) => seen,
        Ok(None) => return Ok(found),
        Err(error) => {
            misconfigured(None, &error);
            return Ok(found);
        }
    };
    if let Err(error) = params::known(a, definition) {
        misconfigured(None, &error);
        return Ok(found);
    }
    for binding in &bound.bindings {
        let params = match binding.chooses(a, object).await {
            Ok(true) => params::collect(a, definition, binding).await,
            Ok(false) => continue,
            Err(error) => Err(error),
        };
        match params {
            Ok(params) => found.extend(params.into_iter().map(|param| Invocation {
                definition,
                binding,
                seen: seen.clone(),
                param,
            })),
            Err(error) => misconfigured(Some(binding), &error),
        }
    }
    Ok(found)
}

/// What tells one invocation from another.
fn key(definition: &Definition, binding: &Binding, param: Option<&Value>) -> String {
    let own = |field: &str| param.and_then(|param| param["metadata"][field].as_str()).unwrap_or("");
    format!("{}/{}/{}/{}", definition.name, binding.name, own("namespace"), own("name"))
}

/// The object after one mutation.
fn mutated(
    a: &Attributes<'_>,
    definition: &Definition,
    mutation: &Mutation,
    request: &Request<'_>,
    param: Option<&Value>,
    seen: &Seen,
) -> Result<Value, Failure> {
    let input = request.input(param);
    let mut evaluation = Evaluation::new(definition, &input);
    let Some(schema) = patched::schema_of(seen) else {
        let why =
            "There can be a delay between when CustomResourceDefinitions are created and when they are available.";
        return Err(Failure::Final(ApiError::unavailable(format!("Resource kind {} not found. {why}", seen.kind))));
    };
    match mutation {
        Mutation::Apply(expression) => {
            let mut new = applied(&mut evaluation, expression, &request.object, seen, &schema)?;
            if !schema.is_custom()
                && let Some(why) = schema::decode::restore(&mut new, &schema)
            {
                return Err(format!("unable to convert unstructured object to {}: {why}", seen.kind).into());
            }
            patched::read(a, seen, new, FieldValidation::Ignore).map_err(Failure::Final)
        }
        Mutation::Patch(expression) => {
            let new = json_patched(&mut evaluation, expression, &request.object)?;
            patched::read(a, seen, new, FieldValidation::Strict).map_err(Failure::Final)
        }
    }
}

fn applied(
    evaluation: &mut Evaluation<'_>,
    expression: &Expression,
    object: &Value,
    seen: &Seen,
    schema: &Schema,
) -> Result<Value, String> {
    let value = evaluation.run(expression).map_err(|error| error.to_string())?;
    let CelValue::Object(made) = &value else {
        return Err("unsupported return type from ApplyConfiguration expression".to_owned());
    };
    made.check_names().map_err(|error| format!("type mismatch: {error}"))?;
    let (mut configuration, foreign) = made.configuration()?;
    configuration["apiVersion"] = seen.kind.api_version().into();
    configuration["kind"] = seen.kind.kind.as_str().into();
    schema::apply::overlay(schema, object, configuration, &foreign)
        .map_err(|error| format!("error applying patch: {error}"))
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
        for field in ["op", "path"] {
            if json[field].is_null() {
                json[field] = "".into();
            }
        }
        if json["from"] == ""
            && let Some(map) = json.as_object_mut()
        {
            map.remove("from");
        }
        operations.push(json);
    }
    match schema::patch::json_patch(object, &Value::Array(operations), true) {
        Ok(patched) => Ok(patched),
        // A failed test leaves the object as it is.
        Err(error) if error.is_failed_test() => Ok(object.clone()),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}
