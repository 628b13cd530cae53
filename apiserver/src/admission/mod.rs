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
mod patched;
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
pub mod toleration_seconds;
mod topology_labels;
pub mod webhook;

pub use attributes::{Attributes, Gvk, Operation};
pub use priority::SYSTEM as SYSTEM_CLASSES;
pub use resource_quota::Turns;

use std::time::Instant;

use schema::apply;
use serde_json::Value;

use crate::app::Call;
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

/// The phases, as upstream's series call them.
#[derive(Clone, Copy)]
enum Phase {
    Admit,
    Validate,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Validate => "validate",
        }
    }

    /// Runs the plugin of a name, and counts what it took; `name` empty: the whole phase.
    async fn run<T: Default>(
        self,
        a: &Attributes<'_>,
        name: &str,
        plugin: impl Future<Output = ApiResult<T>>,
    ) -> ApiResult<T> {
        if is_off(a, name) {
            return Ok(T::default());
        }
        let started = Instant::now();
        let result = plugin.await;
        self.count(a, name, started, result.is_err());
        result
    }

    /// The same with one that waits for nobody.
    fn run_now<T: Default>(
        self,
        a: &Attributes<'_>,
        name: &str,
        plugin: impl FnOnce() -> ApiResult<T>,
    ) -> ApiResult<T> {
        if is_off(a, name) {
            return Ok(T::default());
        }
        let started = Instant::now();
        let result = plugin();
        self.count(a, name, started, result.is_err());
        result
    }

    /// The same with one that refuses nothing, either.
    fn let_run<T: Default>(self, a: &Attributes<'_>, name: &str, plugin: impl FnOnce() -> T) -> T {
        if is_off(a, name) {
            return T::default();
        }
        let started = Instant::now();
        let result = plugin();
        self.count(a, name, started, false);
        result
    }

    fn count(self, a: &Attributes<'_>, name: &str, started: Instant, rejected: bool) {
        let (took, rejected) = (started.elapsed().as_secs_f64(), if rejected { "true" } else { "false" });
        let (metrics, operation) = (&a.app().metrics, a.operation.word());
        match name {
            "" => metrics.admission_steps.observe(&[operation, rejected, self.word()], took),
            name => metrics.admission_controllers.observe(&[name, operation, rejected, self.word()], took),
        }
    }
}

/// Whether the plugin of a name is switched off.
fn is_off(a: &Attributes<'_>, name: &str) -> bool {
    a.app().options.disable_admission_plugins.iter().any(|off| off == name)
}

/// Lets the plugins change `object`, which is null for a deletion; whether one of them changed an update.
///
/// # Errors
/// A plugin's refusal.
pub async fn mutate(a: &Attributes<'_>, object: &mut Value) -> ApiResult<bool> {
    if a.operation == Operation::Create && a.resource().custom().is_some_and(|custom| custom.terminating) {
        return Err(a.forbidden(object, "create not allowed while custom resource definition is terminating"));
    }
    let changed = Phase::Admit.run(a, "", mutate_all(a, object)).await?;
    // Upstream's storage of roles and bindings asks before it validates.
    escalation::admit(a, object).await?;
    Ok(changed)
}

async fn mutate_all(a: &Attributes<'_>, object: &mut Value) -> ApiResult<bool> {
    let managers = shows_outside(a.call).then(|| object["metadata"]["managedFields"].clone());
    let mut reinvocation = Reinvocation::default();
    let mut changed = mutate_once(a, object, &mut reinvocation).await?;
    if reinvocation.due {
        reinvocation.again = true;
        changed |= mutate_once(a, object, &mut reinvocation).await?;
    }
    if let Some(managers) = managers.filter(|_| changed)
        && let Err(why) = apply::readable(&object["metadata"]["managedFields"])
    {
        a.call.warn(format!(
            ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission \
             controller; please fix your requests: {why}"
        ));
        crate::registry::object::set(object, "managedFields", managers);
    }
    Ok(changed)
}

/// Whether admission is shown objects as they were sent: somebody outside may change them, or a kubelet tries more than it may,
/// which is refused, not passed over.
#[must_use]
pub fn shows_outside(call: &Call) -> bool {
    let app = &call.app;
    let nobody = app.webhooks.mutating().is_empty() && app.policies.mutating().is_empty();
    let kubelet = || call.info.subresource == "status" && call.user.node_identity().is_some();
    !call.internal && (!nobody || kubelet())
}

async fn mutate_once(a: &Attributes<'_>, object: &mut Value, round: &mut Reinvocation) -> ApiResult<bool> {
    let phase = Phase::Admit;
    phase.run(a, "NamespaceLifecycle", namespace_lifecycle::admit(a, object)).await?;
    if (a.operation, a.subresource()) == (Operation::Create, "") && a.resource().is("", "pods") {
        phase.run(a, "LimitRanger", limit_ranger::mutate(a, object)).await?;
        phase.run(a, "ServiceAccount", service_account::admit(a, object)).await?;
    }
    // It changes nothing, but what a kubelet has no right to is told before what is wrong with it.
    phase.run(a, "NodeRestriction", node_restriction::admit(a, object)).await?;
    let mut changed = false;
    match (a.operation, a.resource().group.as_str(), a.resource().plural.as_str(), a.subresource()) {
        (Operation::Create, "", "pods", "") => {
            phase.run(a, "Priority", priority::pod(a, object)).await?;
            phase.let_run(a, "DefaultTolerationSeconds", || {
                toleration_seconds::admit(object, &a.app().options.tolerations)
            });
            phase.run(a, "PodTopologyLabels", topology_labels::pod(a, object)).await?;
            phase.run(a, "RuntimeClass", runtime_class::admit(a, object)).await?;
        }
        (Operation::Create, "", "nodes", "") => {
            phase.let_run(a, "TaintNodesByCondition", || taint_nodes::admit(object));
        }
        (Operation::Create | Operation::Update, "scheduling.k8s.io", "priorityclasses", "") => {
            phase.run(a, "Priority", priority::class(a, object)).await?;
        }
        (Operation::Create, "", "persistentvolumeclaims", "") => {
            phase.run(a, "DefaultStorageClass", default_class::storage(a, object)).await?;
            phase.let_run(a, "StorageObjectInUseProtection", || storage::protect(a, object));
        }
        (Operation::Create, "", "persistentvolumes", "")
        | (Operation::Create, "storage.k8s.io", "volumeattributesclasses", "") => {
            phase.let_run(a, "StorageObjectInUseProtection", || storage::protect(a, object));
        }
        (Operation::Create, "networking.k8s.io", "ingresses", "") => {
            phase.run(a, "DefaultIngressClass", default_class::ingress(a, object)).await?;
        }
        (Operation::Update, "", "pods", "") => {
            changed |= phase.let_run(a, "Priority", || a.old.is_some_and(|old| priority::keep(object, old)));
            changed |= phase.let_run(a, "DefaultTolerationSeconds", || {
                toleration_seconds::admit(object, &a.app().options.tolerations)
            });
        }
        (Operation::Create, "", "pods", "binding") => {
            phase.run(a, "PodTopologyLabels", topology_labels::binding(a, object)).await?;
        }
        _ => {}
    }
    let policies = policy::mutate(a, object, &mut round.policies, round.again);
    let by_policy = phase.run(a, "MutatingAdmissionPolicy", policies).await?;
    let webhooks = webhook::mutate(a, object, &mut round.webhooks, round.again);
    let by_webhook = phase.run(a, "MutatingAdmissionWebhook", webhooks).await?;
    round.due |= by_policy || by_webhook;
    Ok(changed || by_policy || by_webhook)
}

/// Lets the plugins refuse the final object, which is null for a deletion.
///
/// # Errors
/// A plugin's refusal.
pub async fn validate(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    Phase::Validate.run(a, "", validate_all(a, object)).await
}

async fn validate_all(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let phase = Phase::Validate;
    let enabled = |name| a.app().options.plugin(name, false);
    if enabled("EventRateLimit") {
        phase.run_now(a, "EventRateLimit", || event_rate_limit::admit(a, object))?;
    }
    phase.run(a, "LimitRanger", limit_ranger::validate(a, object)).await?;
    if enabled("ImagePolicyWebhook") {
        phase.run(a, "ImagePolicyWebhook", image_policy::admit(a, object)).await?;
    }
    phase.run(a, "PodSecurity", pod_security::admit(a, object)).await?;
    if enabled("OwnerReferencesPermissionEnforcement") {
        phase.run(a, "OwnerReferencesPermissionEnforcement", owner_references::admit(a, object)).await?;
    }
    if enabled("DenyServiceExternalIPs") {
        phase.run_now(a, "DenyServiceExternalIPs", || external_ips::admit(a, object))?;
    }
    phase.run_now(a, "ServiceAccount", || service_account::validate(a, object))?;
    phase.run(a, "PersistentVolumeClaimResize", storage::resize(a, object)).await?;
    phase.run(a, "RuntimeClass", runtime_class::validate(a, object)).await?;
    certificates::admit(a, object).await?;
    phase.run(a, "ValidatingAdmissionPolicy", policy::validate(a, object)).await?;
    phase.run(a, "ValidatingAdmissionWebhook", webhook::validate(a, object)).await?;
    // Last: what is charged must not be refused any more.
    phase.run(a, "ResourceQuota", resource_quota::admit(a, object)).await
}

/// Both phases, for what has no validation of its own between them.
///
/// # Errors
/// A plugin's refusal.
pub async fn admit(a: &Attributes<'_>, object: &mut Value) -> ApiResult<()> {
    mutate(a, object).await?;
    validate(a, object).await
}
