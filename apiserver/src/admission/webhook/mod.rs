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
use super::{Attributes, Gvk};
use crate::http::status::{ApiError, ApiResult};
use crate::registry::{conversion, create};

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
        a.call.waited(took);
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
    let mut patched = decoded(seen, patched, FieldValidation::Ignore).map_err(broken)?;
    turn.patch(a, hook, &patch);
    if patched == shown {
        return Ok(None);
    }
    if seen.kind != a.kind {
        patched = conversion::convert(a.app(), &seen.resource, patched, &a.kind.api_version()).await?;
    }
    Ok(Some(patched))
}

/// What a patch made, read as the kind it is: unknown fields go, or are an error; defaults come.
pub(super) fn decoded(seen: &Seen, value: Value, validation: FieldValidation) -> Result<Value, String> {
    let Gvk { kind, .. } = &seen.kind;
    let api_version = seen.kind.api_version();
    let own = is_own(seen);
    let Some(schema) = schema_of(seen) else { return Ok(value) };
    let mut value = value;
    // Where it does not say what it is, it is what it was.
    for (field, word) in [("apiVersion", api_version.as_str()), ("kind", kind.as_str())] {
        if let Some(map) = value.as_object_mut().filter(|map| map.get(field).is_none_or(|said| said == "")) {
            map.insert(field.to_owned(), word.into());
        }
    }
    let said = Gvk::of(&value);
    if said != seen.kind {
        let known = schema::builtin(&said.api_version(), &said.kind).is_some();
        let (kind, version) = (&said.kind, said.api_version());
        return Err(if known {
            format!("the patched object is {said} and no longer {}", seen.kind)
        } else {
            format!(
                "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
            )
        });
    }
    let mut value = schema::decode::value(value, &schema, validation).map_err(|e| e.to_string())?.value;
    schema::apply_defaults(&schema, &mut value);
    if own {
        create::fill_as(&seen.resource, &mut value);
    }
    Ok(value)
}

/// Whether what is seen is the resource's own kind, not a subresource's.
fn is_own(seen: &Seen) -> bool {
    seen.kind.kind == seen.resource.kind && seen.kind.api_version() == seen.resource.api_version()
}

/// The model of the kind a request is seen as.
pub(super) fn schema_of(seen: &Seen) -> Option<schema::Schema> {
    if is_own(seen) { seen.resource.schema() } else { schema::builtin(&seen.kind.api_version(), &seen.kind.kind) }
}

/// The object and the one it replaces, in the version the hook asked for.
pub(super) async fn versioned(a: &Attributes<'_>, seen: &Seen, object: &Value) -> ApiResult<(Value, Value)> {
    let old = a.old.cloned().unwrap_or(Value::Null);
    if seen.kind == a.kind {
        return Ok((object.clone(), old));
    }
    let to = seen.kind.api_version();
    let object = conversion::convert(a.app(), &seen.resource, object.clone(), &to).await?;
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
    a.call.waited(started.elapsed());
    result
}
