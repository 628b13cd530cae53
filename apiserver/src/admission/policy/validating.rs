//! ValidatingAdmissionPolicy: may a request be (`policy/validating/{dispatcher,validator}.go`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cel::Value as CelValue;
use cel::admission::{MatchResult, PolicyError};
use serde::Serialize;
use serde_json::{Value, json};

use super::definition::{Body, Definition, Validation};
use super::index::Bound;
use super::params;
use super::request::{Evaluation, Request};
use super::{Binding, aggregate};
use crate::admission::Attributes;
use crate::admission::matching::is_exempt_of_policies;
use crate::audit::note;
use crate::http::status::{ApiError, ApiResult};

/// The longest message an expression may give, in bytes (`MaxEvaluatedMessageExpressionSizeBytes`).
const MAX_MESSAGE: usize = 5 * 1024;

/// The longest value of an audit annotation, in bytes (`maxAuditAnnotationValueLength`).
const MAX_ANNOTATION: usize = 10 * 1024;
/// Where the audit log is told of failures under a binding that has the action Audit.
const FAILURE_ANNOTATION: &str = "validation.policy.admission.k8s.io/validation_failure";

/// A failure as the audit log is told of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    message: &'a str,
    policy: &'a str,
    binding: &'a str,
    expression_index: usize,
    validation_actions: &'a [String],
}

/// Audit annotations: `policy/key`, and what the bindings made of it, each value once.
type Notes = BTreeMap<String, Vec<String>>;

/// One reason against a request.
struct Denial {
    policy: String,
    binding: Option<String>,
    message: String,
    /// `Invalid` where the policy names none.
    reason: String,
}

/// Lets the policies refuse the object.
///
/// # Errors
/// A policy's refusal; the namespace of the request does not exist.
pub async fn validate(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let policies = a.app().policies.validating();
    if policies.is_empty() || is_exempt_of_policies(a) {
        return Ok(());
    }
    let (mut denials, mut notes) = (Vec::new(), Notes::new());
    for bound in policies.iter() {
        judge(a, object, bound, &mut denials, &mut notes).await?;
    }
    for (key, values) in &notes {
        a.annotate(key, &values.join(", "));
    }
    match denials.into_iter().next() {
        Some(first) => Err(refusal(a, object, first)),
        None => Ok(()),
    }
}

fn refusal(a: &Attributes<'_>, object: &Value, denial: Denial) -> ApiError {
    let Denial { policy, binding, message, reason } = denial;
    let text = match binding {
        Some(binding) => {
            format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}")
        }
        None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {message}"),
    };
    let mut error = a.forbidden(object, &text);
    error.code = match reason.as_str() {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    error.reason = if reason.is_empty() { "Invalid".into() } else { reason.into() };
    error.details["causes"] = json!([{ "message": text }]);
    error
}

async fn judge(
    a: &Attributes<'_>,
    object: &Value,
    bound: &Bound,
    denials: &mut Vec<Denial>,
    notes: &mut Notes,
) -> ApiResult<()> {
    let definition = &bound.definition;
    let misconfigured = |binding: Option<&Binding>, error: String, denials: &mut Vec<Denial>| {
        if !definition.ignores_failures {
            let what = if binding.is_some() { "binding" } else { "policy" };
            denials.push(Denial {
                policy: definition.name.clone(),
                binding: binding.map(|binding| binding.name.clone()),
                message: format!("failed to configure {what}: {error}"),
                reason: String::new(),
            });
        }
    };
    let seen = match definition.choose(a, object).await {
        Ok(Some(seen)) => seen,
        Ok(None) => return Ok(()),
        Err(error) => {
            misconfigured(None, error, denials);
            return Ok(());
        }
    };
    if let Err(error) = params::known(a, definition) {
        misconfigured(None, error, denials);
        return Ok(());
    }
    let mut request: Option<Request<'_>> = None;
    for binding in &bound.bindings {
        match binding.chooses(a, object).await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                misconfigured(Some(binding), error, denials);
                continue;
            }
        }
        let params = match params::collect(a, definition, binding).await {
            Ok(params) => params,
            Err(error) => {
                misconfigured(Some(binding), error, denials);
                continue;
            }
        };
        if request.is_none() {
            request = Some(Request::new(a, &seen, object).await?);
        }
        let Some(request) = &request else { continue };
        for param in &params {
            let verdict = evaluate(definition, request, param.as_ref());
            publish(a, definition, binding, verdict, denials, notes);
        }
    }
    Ok(())
}

/// What a binding's actions make of the failures.
fn publish(
    a: &Attributes<'_>,
    definition: &Definition,
    binding: &Binding,
    verdict: Verdict,
    denials: &mut Vec<Denial>,
    notes: &mut Notes,
) {
    for (key, value) in verdict.annotations {
        let values = notes.entry(format!("{}/{key}", definition.name)).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }
    let denial = |failure: Failure| Denial {
        policy: definition.name.clone(),
        binding: Some(binding.name.clone()),
        message: failure.message,
        reason: failure.reason,
    };
    let count = |action: &str, error: &str, took: Duration| {
        let (metrics, labels) = (&a.app().metrics, [action, error, &*definition.name, &*binding.name]);
        metrics.policy_checks.increase(&labels);
        metrics.policy_check_duration.observe(&labels, took.as_secs_f64());
    };
    for (error, took) in verdict.ignored {
        count("allow", error, took);
    }
    for failure in verdict.failures {
        for action in &binding.actions {
            count(&action.to_lowercase(), failure.error, failure.took);
            match action.as_str() {
                "Deny" => denials.push(denial(failure.clone())),
                "Warn" => a.call.warn(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                    definition.name, binding.name, failure.message
                )),
                _ => {
                    let told = Told {
                        message: &failure.message,
                        policy: &definition.name,
                        binding: &binding.name,
                        expression_index: failure.index,
                        validation_actions: &binding.actions,
                    };
                    a.annotate(FAILURE_ANNOTATION, &note::json(&[told]));
                }
            }
        }
    }
    for failure in verdict.annotation_errors {
        count("deny", failure.error, failure.took);
        denials.push(denial(failure));
    }
}

#[derive(Clone)]
struct Failure {
    message: String,
    reason: String,
    /// Of the validation that does not hold.
    index: usize,
    /// What upstream's series call it, and how long it took to find out.
    error: &'static str,
    took: Duration,
}

impl Failure {
    fn of(message: impl ToString) -> Self {
        let error = "invalid_error";
        Self { message: message.to_string(), reason: String::new(), index: 0, error, took: Duration::ZERO }
    }
}

/// What upstream's series call an error.
fn word(error: &PolicyError) -> &'static str {
    match error {
        PolicyError::Evaluation { .. } => "invalid_error",
        PolicyError::Compilation(_) => "compile_error",
        PolicyError::OutOfBudget => "out_of_budget",
    }
}

#[derive(Default)]
struct Verdict {
    failures: Vec<Failure>,
    /// Errors that the policy does not mind, and what they took.
    ignored: Vec<(&'static str, Duration)>,
    /// Key and value.
    annotations: Vec<(String, String)>,
    /// These deny whatever the binding's actions are.
    annotation_errors: Vec<Failure>,
}

/// The expressions of a policy on a request, with one parameter.
fn evaluate(definition: &Definition, request: &Request<'_>, param: Option<&Value>) -> Verdict {
    let input = request.input(param);
    let failing = |message: String| {
        let failures = if definition.ignores_failures { Vec::new() } else { vec![Failure::of(message)] };
        Verdict { failures, ..Verdict::default() }
    };
    match definition.conditions.evaluate(&input) {
        MatchResult::Matches => {}
        MatchResult::No { .. } => return Verdict::default(),
        MatchResult::Errors(errors) => return failing(aggregate(&errors)),
    }
    let Body::Validating { validations, annotations } = &definition.body else { return Verdict::default() };
    let mut evaluation = Evaluation::new(definition, &input);
    let mut results = Vec::with_capacity(validations.len());
    for validation in validations {
        let started = Instant::now();
        match evaluation.run(&validation.expression) {
            Err(PolicyError::OutOfBudget) => return failing(PolicyError::OutOfBudget.to_string()),
            result => results.push((result, started.elapsed())),
        }
    }
    // All messages are made, of validations that hold, too.
    let mut explaining = evaluation.explaining(&input);
    let messages: Result<Vec<Option<String>>, PolicyError> =
        validations.iter().map(|validation| made_message(&mut explaining, validation)).collect();
    let mut verdict = Verdict::default();
    for (index, (validation, (result, took))) in validations.iter().zip(results).enumerate() {
        let failure = match (result, &messages) {
            (Err(error), _) if definition.ignores_failures => {
                verdict.ignored.push((word(&error), took));
                continue;
            }
            (Err(error), _) => Failure { error: word(&error), ..Failure::of(error) },
            (Ok(_), Err(_)) if definition.ignores_failures => continue,
            (Ok(_), Err(error)) => Failure::of(format!("failed messageExpression: {error}")),
            (Ok(CelValue::Bool(true)), Ok(_)) => continue,
            (Ok(_), Ok(messages)) => {
                let made = messages.get(index).cloned().flatten();
                let message = made.unwrap_or_else(|| validation.plain_message());
                Failure { reason: validation.reason.clone(), error: "no_error", ..Failure::of(message) }
            }
        };
        verdict.failures.push(Failure { index, took, ..failure });
    }
    let mut annotating = Evaluation::annotating(definition, &input);
    for annotation in annotations {
        let wrong = match annotating.run(annotation) {
            Ok(CelValue::Null) => continue,
            Ok(CelValue::String(text)) => {
                let text = text.trim();
                if !text.is_empty() {
                    let boundary = |at: &usize| text.is_char_boundary(*at);
                    let end = (0..=text.len().min(MAX_ANNOTATION)).rev().find(boundary).unwrap_or(0);
                    verdict.annotations.push((annotation.name.clone(), text[..end].to_owned()));
                }
                continue;
            }
            Ok(_) => format!(
                "valueExpression '{}' resulted in unsupported return type. Return type must be either string or null.",
                annotation.text
            ),
            Err(_) if definition.ignores_failures => continue,
            Err(error) => error.to_string(),
        };
        verdict.annotation_errors.push(Failure::of(wrong));
    }
    verdict
}

/// What a validation's message expression says, where it has one that makes a message.
///
/// # Errors
/// The budget is spent.
fn made_message(evaluation: &mut Evaluation<'_>, validation: &Validation) -> Result<Option<String>, PolicyError> {
    let Some(expression) = &validation.message_expression else { return Ok(None) };
    match evaluation.run(expression) {
        Ok(CelValue::String(text)) => {
            let text = text.trim();
            let fits = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
            Ok(fits.then(|| text.to_owned()))
        }
        Err(PolicyError::OutOfBudget) => Err(PolicyError::OutOfBudget),
        Ok(_) => Ok(None),
        Err(error) => {
            tracing::debug!(%error, "a message expression fails");
            Ok(None)
        }
    }
}
