//! Admission: what may change or refuse a request after it has been authorized, one plugin a file, in upstream's order
//! (`kubeapiserver/options/plugins.go`).
//!
//! ```text
//!  decoded object ─> mutate: built-in plugins ─> policies ─> webhooks ─┐     once more, where one of the latter two
//!                      ^────────────────────────────────────────────────── ┘ changed the object
//!                 ─> validation of the kind
//!                 ─> validate: built-in plugins ─> policies ─> webhooks ─> (quota) ─> store
//! ```
//!
//! Every write goes through both phases: of objects and subresources, deletions (of collections one by one), and
//! connections. [`attributes::Attributes`] is what plugins see.

pub mod attributes;
mod certificates;
pub mod configuration;
mod default_class;
mod escalation;
mod event_rate_limit;
mod external_ips;
mod image_policy;
mod limit_ranger;
pub mod matching;
mod namespace_lifecycle;
mod node_restriction;
mod owner_references;
mod pod_security;
pub mod policy;
mod priority;
pub mod request;
mod resource_quota;
mod rounds;
mod runtime_class;
mod service_account;
mod storage;
mod taint_nodes;
mod toleration_seconds;
mod topology_labels;
pub mod webhook;

pub use attributes::{Attributes, Gvk, Operation};
pub use priority::SYSTEM as SYSTEM_CLASSES;
pub use resource_quota::Turns;
use serde_json::Value;

use crate::http::status::ApiResult;

/// Mutating plugins run again when a later one changed the object behind their back (upstream's `ReinvocationContext`).
#[derive(Default)]
pub struct Reinvocation {
    /// This is the second round.
    pub again: bool,
    /// A plugin outside changed the object: a second round is due.
    pub due: bool,
    policies: rounds::Rounds,
    webhooks: rounds::Rounds,
}

/// Lets the plugins change `object`, which is null for a deletion; whether one of them changed an update.
///
/// # Errors
/// A plugin's refusal.
pub async fn mutate(a: &Attributes<'_>, object: &mut Value) -> ApiResult<bool> {
    let mut reinvocation = Reinvocation::default();
    let mut changed = mutate_once(a, object, &mut reinvocation).await?;
    if reinvocation.due {
        reinvocation.again = true;
        changed |= mutate_once(a, object, &mut reinvocation).await?;
    }
    // Upstream's storage of roles and bindings asks before it validates.
    escalation::admit(a, object).await?;
    Ok(changed)
}

async fn mutate_once(a: &Attributes<'_>, object: &mut Value, round: &mut Reinvocation) -> ApiResult<bool> {
    namespace_lifecycle::admit(a, object).await?;
    if a.operation == Operation::Create && a.subresource().is_empty() {
        match (a.resource().group.as_str(), a.resource().plural.as_str()) {
            ("", "pods") => {
                limit_ranger::mutate(a, object).await?;
                service_account::admit(a, object).await?;
                priority::pod(a, object).await?;
                toleration_seconds::admit(object);
                topology_labels::pod(a, object).await?;
                runtime_class::admit(a, object).await?;
            }
            ("", "nodes") => taint_nodes::admit(object),
            ("scheduling.k8s.io", "priorityclasses") => priority::class(a, object).await?,
            ("", "persistentvolumeclaims") => {
                default_class::storage(a, object).await?;
                storage::protect(a, object);
            }
            ("", "persistentvolumes") | ("storage.k8s.io", "volumeattributesclasses") => storage::protect(a, object),
            ("networking.k8s.io", "ingresses") => default_class::ingress(a, object).await?,
            _ => {}
        }
    }
    let mut changed = false;
    match (a.operation, a.resource().group.as_str(), a.resource().plural.as_str(), a.subresource()) {
        (Operation::Update, "", "pods", "") => {
            changed |= a.old.is_some_and(|old| priority::keep(object, old));
            changed |= toleration_seconds::admit(object);
        }
        (Operation::Update, "scheduling.k8s.io", "priorityclasses", "") => priority::class(a, object).await?,
        (Operation::Create, "", "pods", "binding") => topology_labels::binding(a, object).await?,
        _ => {}
    }
    let by_policy = policy::mutate(a, object, &mut round.policies, round.again).await?;
    let by_webhook = webhook::mutate(a, object, &mut round.webhooks, round.again).await?;
    round.due |= by_policy || by_webhook;
    Ok(changed || by_policy || by_webhook)
}

/// Lets the plugins refuse the final object, which is null for a deletion.
///
/// # Errors
/// A plugin's refusal.
pub async fn validate(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    event_rate_limit::admit(a, object)?;
    limit_ranger::validate(a, object).await?;
    node_restriction::admit(a, object).await?;
    image_policy::admit(a, object).await?;
    pod_security::admit(a, object).await?;
    if a.app().options.plugin("OwnerReferencesPermissionEnforcement", false) {
        owner_references::admit(a, object).await?;
    }
    if a.app().options.plugin("DenyServiceExternalIPs", false) {
        external_ips::admit(a, object)?;
    }
    service_account::validate(a, object)?;
    storage::resize(a, object).await?;
    certificates::admit(a, object).await?;
    policy::validate(a, object).await?;
    webhook::validate(a, object).await?;
    // Last: what is charged must not be refused any more.
    resource_quota::admit(a, object).await
}

/// Both phases, for what has no validation of its own between them.
///
/// # Errors
/// A plugin's refusal.
pub async fn admit(a: &Attributes<'_>, object: &mut Value) -> ApiResult<()> {
    mutate(a, object).await?;
    validate(a, object).await
}
