//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: servers of users' own that change or refuse requests
//! (`apiserver/pkg/admission/plugin/webhook`).
//!
//! ```text
//!  configurations ── watch ──> Index (hooks by configuration name) ──> choose: rules, selectors, conditions
//!                                                                         └─> review ──> outbound ──> verdict
//! ```
//!
//! Mutating hooks are asked one after the other, each seeing what those before it made of the object; validating ones all at
//! once. Without any configuration a request costs one load of a pointer.

mod annotate;
mod hook;
mod index;
mod metrics;
mod review;

pub use index::{Index, follow};

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use schema::FieldValidation;
use serde_json::Value;

use self::annotate::Turn;
use self::hook::Hook;
use self::review::Failure;
use super::matching::{Seen, is_exempt};
use super::rounds::Rounds;
use super::{Attributes, patched};
use crate::audit::parts::Part;
use crate::http::status::{ApiError, ApiResult};
use crate::registry::conversion;

/// Lets the mutating hooks change `object`; whether one did.
///
/// # Errors
/// A hook's refusal, or that it could not be asked and its policy is to fail.
pub async fn mutate(a: &Attributes<'_>, object: &mut Value, rounds: &mut Rounds, again: bool) -> ApiResult<bool> {
    let hooks = a.app().webhooks.mutating();
    if hooks.is_empty() || is_exempt(a) {
        return Ok(false);
    }
    rounds.begin(object, again);
    let mut any = false;
    for (index, hook) in hooks.iter().enumerate() {
        let Some(seen) = hook.choose(a, object).await? else { continue };
        if !rounds.asks(&hook.uid, again) {
            continue;
        }
        let (started, turn) = (Instant::now(), Turn { round: u8::from(again), index });
        let asked = ask(a, hook, turn, &seen, object).await;
        let took = started.elapsed();
        a.call.waited(Part::Mutating, took);
        hook.observe(a, true, took, asked.as_ref().err());
        let changed = matches!(asked, Ok(Some(_)));
        turn.mutation(a, hook, changed);
        if changed {
            rounds.changed();
            any = true;
        }
        if hook.reinvoke {
            rounds.asked(hook.uid.clone());
        }
        match asked {
            Ok(None) => {}
            Ok(Some(new)) => *object = new,
            Err(failure) => hook.judge(a, turn, true, failure)?,
        }
    }
    rounds.end(object);
    Ok(any)
}

/// One mutating hook: the object as it would have it, `None` when it leaves it as it is.
async fn ask(
    a: &Attributes<'_>,
    hook: &Hook,
    turn: Turn,
    seen: &Seen,
    object: &Value,
) -> Result<Option<Value>, Failure> {
    let (shown, old) = versioned(a, seen, object).await?;
    let verdict = review::ask(a, hook, seen, &shown, &old, true).await?;
    let Some(patch) = verdict.patch else { return Ok(None) };
    if shown.is_null() {
        let text = format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        );
        return Err(Failure::Refused(ApiError::internal(text)));
    }
    let broken = |error: String| Failure::Refused(ApiError::internal(error));
    let operations = patch.as_array().map(Vec::as_slice).unwrap_or_default();
    let patched = schema::patch::apply_operations(&shown, operations).map_err(|error| broken(error.to_string()))?;
    let patched = patched::read(a, seen, patched, FieldValidation::Ignore)?;
    turn.patch(a, hook, &patch);
    // What has been converted is converted back, whatever the patch has changed.
    if patched == shown && seen.kind == a.kind {
        return Ok(None);
    }
    Ok(Some(patched::back(a, seen, patched).await?))
}

/// The object and the one it replaces, in the version the hook asked for.
pub(super) async fn versioned(a: &Attributes<'_>, seen: &Seen, object: &Value) -> ApiResult<(Value, Value)> {
    let old = a.old.cloned().unwrap_or(Value::Null);
    let object = patched::written(a, object);
    if seen.kind == a.kind {
        return Ok((object, old));
    }
    let to = seen.kind.api_version();
    let object = conversion::convert(a.app(), &seen.resource, object, &to).await?;
    Ok((object, conversion::convert(a.app(), &seen.resource, old, &to).await?))
}

/// Lets the validating hooks refuse the object.
///
/// # Errors
/// See [`mutate`]; of several errors the first to arrive.
pub async fn validate(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let hooks = a.app().webhooks.validating();
    if hooks.is_empty() || is_exempt(a) {
        return Ok(());
    }
    let mut chosen: Vec<(Arc<Hook>, Seen)> = Vec::new();
    for hook in hooks.iter() {
        if let Some(seen) = hook.choose(a, object).await? {
            chosen.push((hook.clone(), seen));
        }
    }
    let mut asked: FuturesUnordered<_> = chosen
        .iter()
        .enumerate()
        .map(|(index, (hook, seen))| async move {
            let asked = async {
                let (shown, old) = versioned(a, seen, object).await?;
                review::ask(a, hook, seen, &shown, &old, false).await
            };
            let started = Instant::now();
            let asked = asked.await;
            hook.observe(a, false, started.elapsed(), asked.as_ref().err());
            let turn = Turn { round: 0, index };
            asked.map(|_| ()).or_else(|failure| hook.judge(a, turn, false, failure))
        })
        .collect();
    let mut result = Ok(());
    let started = Instant::now();
    while let Some(verdict) = asked.next().await {
        result = result.and(verdict);
    }
    // They are asked all at once.
    a.call.waited(Part::Validating, started.elapsed());
    result
}
