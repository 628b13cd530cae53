//! ResourceQuota: nothing is created beyond what a namespace's quotas allow. Last in the chain, for only what nobody refuses
//! any more is charged (`apiserver/pkg/admission/plugin/resourcequota`). What is counted, and how, is the `quota` crate.
//!
//! A charge is a compare-and-swap on the quota's status: of two requests for the last place one is refused, whichever server
//! they reach. Within a server the requests of a namespace queue up, so that they do not fail each other's swap.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use jiff::Timestamp;
use parking_lot::Mutex;
use quota::{Amounts, Evaluator, Quota, Request};
use serde_json::Value;

use super::{Attributes, Operation};
use crate::app::{Call, text};
use crate::http::status::{ApiError, ApiResult};
use crate::registry::{versions, write};

/// One lock for each namespace in which something is being charged.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock();
        if let Some(turn) = turns.get(namespace).and_then(Weak::upgrade) {
            return turn;
        }
        // Nobody holds the others any more: the map is never larger than what is under way, and one.
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn: Arc<tokio::sync::Mutex<()>> = Arc::default();
        turns.insert(namespace.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// Charges the request to the namespace's quotas, or refuses it.
pub async fn admit(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let call = a.call;
    let operation = match a.operation {
        Operation::Create => quota::Operation::Create,
        Operation::Update => quota::Operation::Update,
        Operation::Delete | Operation::Connect => return Ok(()),
    };
    let (group, plural) = (call.resource.group.as_str(), call.resource.plural.as_str());
    let namespace = call.info.namespace.as_str();
    // Events come by themselves: nobody budgets them.
    if !call.resource.namespaced || namespace.is_empty() || plural == "events" {
        return Ok(());
    }
    let evaluator = Evaluator::of(group, plural);
    let request = Request { operation, subresource: &call.info.subresource, object, old: a.old };
    let limited = &call.app.admission.limited;
    if !evaluator.handles(&request) || (limited.is_empty() && cached(a).await?.is_empty()) {
        return Ok(());
    }
    let turn = call.app.turns.of(namespace);
    let _turn = turn.lock().await;
    // What the cache says may be behind what the request before this one charged.
    let mut names = cached(a).await?;
    for _ in 0..write::ATTEMPTS {
        let pending = fresh(call, &names).await?;
        let quotas: Vec<Quota> = pending.iter().map(|loaded| Quota::read(&loaded.value)).collect();
        let charged = quota::check(&evaluator, &quotas, limited, &request, Timestamp::now())
            .map_err(|why| a.forbidden(object, &why))?;
        if call.dry_run() {
            return Ok(());
        }
        let mut lost = Vec::new();
        for (loaded, used) in pending.into_iter().zip(charged) {
            if let Some(used) = used
                && !charge(call, &loaded, &used).await?
            {
                lost.push(text(&loaded.value, "/metadata/name").to_owned());
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        // Those that were charged stay so; only the others are tried again.
        names = lost;
    }
    Err(ApiError::internal("resource quota evaluation timed out"))
}

/// The names of the namespace's quotas, as the cache knows them.
async fn cached(a: &Attributes<'_>) -> ApiResult<Vec<String>> {
    let quotas = a.list("", "resourcequotas", a.namespace()).await?;
    Ok(quotas.iter().map(|quota| text(quota, "/metadata/name").to_owned()).collect())
}

/// The quotas as they are in the store; those that are gone are left out.
async fn fresh(call: &Call, names: &[String]) -> ApiResult<Vec<write::Loaded>> {
    let mut out = Vec::with_capacity(names.len());
    for name in names {
        let inner = internal(call, name)?;
        let key = inner.resource.key(&inner.info.namespace, name);
        out.extend(write::load(&inner, &key).await?);
    }
    Ok(out)
}

fn internal(call: &Call, name: &str) -> ApiResult<Call> {
    let mut inner = Call::internal(&call.app, "", "resourcequotas", &call.info.namespace, name)?;
    inner.info.subresource = "status".to_owned();
    Ok(inner)
}

/// Writes a quota's usage; `false`: somebody was faster.
async fn charge(call: &Call, loaded: &write::Loaded, used: &Amounts) -> ApiResult<bool> {
    let inner = internal(call, text(&loaded.value, "/metadata/name"))?;
    let mut quota = loaded.value.clone();
    quota["status"]["used"] = used.to_json();
    versions::track(&inner, &loaded.value, &mut quota).await;
    let key = inner.resource.key(&inner.info.namespace, &inner.info.name);
    Ok(write::commit(&inner, &key, quota, loaded.revision).await?.is_some())
}
