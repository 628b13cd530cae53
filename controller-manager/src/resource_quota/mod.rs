//! The resourcequota controller (upstream `pkg/controller/resourcequota`): the API server charges what is created; this
//! counts from scratch what is there, when a quota is new or changed and when something in its namespace went away.
//!
//! ```text
//!  quotas (spec changed) ──────────────────────────┐
//!  pods ended, services and claims changed ────────┼──► Queue ──► count ──► status.hard, status.used
//!  removals of any kind (the garbage collector's) ─┘
//! ```

mod count;
mod replenish;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceQuota;
use quota::{Amounts, Evaluator};

use crate::context::Context;
use crate::framework::meta::key_of;
use crate::framework::{Controller, Outcome, Queue, drive};

/// Everything is counted anew after this time, whatever was heard (`--resource-quota-sync-period`).
const RESYNC: Duration = Duration::from_secs(300);

/// When a quota that was charged meanwhile is counted again: the objects that were charged for are in the caches by then.
const AGAIN: Duration = Duration::from_millis(100);

struct Quotas {
    context: Arc<Context>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let on_quota = queue.clone();
    context.kinds.quotas.on_change(move |change| {
        // Changes of status are the API server's charges, and this controller's own.
        let hard = |quota: &ResourceQuota| quota.spec.as_ref().and_then(|spec| spec.hard.clone());
        let same = matches!((change.old, change.new), (Some(old), Some(new)) if hard(old) == hard(new));
        if !same {
            on_quota.add(key_of(&change.object().metadata));
        }
    });
    replenish::start(context, &queue);
    drive(&context.gate(), &Arc::new(Quotas { context: context.clone() }), &queue, 5);
}

/// The evaluators concerned by what a quota limits, each once.
fn evaluators(hard: &Amounts) -> Vec<Evaluator> {
    let mut found: Vec<Evaluator> = hard.names().filter_map(Evaluator::tracking).collect();
    found.sort();
    found.dedup();
    found
}

/// A quota's `spec.hard`.
fn hard(quota: &ResourceQuota) -> Amounts {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    Amounts::read(&serde_json::to_value(hard).expect("quantities always serialise"))
}

impl Controller for Quotas {
    const NAME: &'static str = "resourcequota-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let quotas = &self.context.kinds.quotas;
        let Some(quota) = quotas.get(key) else { return Ok(None) };
        let value = serde_json::to_value(&*quota).expect("API types always serialise");
        let hard = hard(&quota);
        let scopes = quota::Selector::of(&value);
        let namespace = quota.metadata.namespace.as_deref().unwrap_or_default();
        // What nobody can count keeps the usage that was seen before.
        let mut used = Amounts::read(&value["status"]["used"]).only(|name| hard.get(name).is_some());
        for evaluator in evaluators(&hard) {
            if let Some(counted) = count::count(&self.context, namespace, &evaluator, &hard, &scopes).await? {
                for (name, amount) in counted.iter() {
                    used.set(name, amount);
                }
            }
        }
        let status = &value["status"];
        let known = status["hard"].is_object() && status["used"].is_object();
        if known && Amounts::read(&status["hard"]) == hard && Amounts::read(&status["used"]) == used {
            // What was charged and is gone again may be heard of before the charge is, which nobody would hold against anything then.
            let fresh = quotas.fresh(&quota.metadata).await?;
            let current = fresh.is_none_or(|fresh| fresh.metadata.resource_version == quota.metadata.resource_version);
            return Ok(Some(if current { RESYNC } else { AGAIN }));
        }
        let mut changed = (*quota).clone();
        let status = changed.status.get_or_insert_default();
        let quantities = |amounts: &Amounts| serde_json::from_value(amounts.to_json()).expect("amounts are quantities");
        status.hard = Some(quantities(&hard));
        status.used = Some(quantities(&used));
        // On condition that nothing was charged meanwhile: a conflict brings the key back, and all is counted anew.
        quotas.update_status(&quota, &changed).await?;
        Ok(Some(RESYNC))
    }
}
