//! Admission: what may change or refuse a write after it has been authorized, one plugin a file, in upstream's order
//! (`kubeapiserver/options/plugins.go`). Mutating plugins run before validation, refusing ones on the final object.

mod default_class;
mod escalation;
mod limit_ranger;
mod namespace_lifecycle;
pub mod node_restriction;
mod priority;
mod service_account;
mod toleration_seconds;

pub use priority::SYSTEM as SYSTEM_CLASSES;
use serde_json::Value;

use crate::app::Call;
use crate::http::status::ApiResult;

/// What is being done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Create,
    Update,
    Delete,
}

/// Lets the plugins change `object`.
///
/// # Errors
/// A plugin's refusal.
pub async fn mutate(call: &Call, verb: Verb, object: &mut Value) -> ApiResult<()> {
    namespace_lifecycle::admit(call, verb, object).await?;
    if verb == Verb::Create && call.info.subresource.is_empty() {
        match (call.resource.group.as_str(), call.resource.plural.as_str()) {
            ("", "pods") => {
                limit_ranger::admit(call, object).await?;
                service_account::admit(call, object).await?;
                toleration_seconds::admit(object);
                priority::pod(call, object).await?;
            }
            ("scheduling.k8s.io", "priorityclasses") => priority::class(call, object).await?,
            ("", "persistentvolumeclaims") => default_class::storage(call, object).await?,
            ("networking.k8s.io", "ingresses") => default_class::ingress(call, object).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Lets the plugins refuse the final object.
///
/// # Errors
/// A plugin's refusal.
pub async fn validate(call: &Call, verb: Verb, object: &Value, old: Option<&Value>) -> ApiResult<()> {
    match verb {
        Verb::Delete => {
            // An eviction is a deletion that has been judged already.
            if call.info.subresource.is_empty() {
                node_restriction::admit(call, verb, None, old, None)?;
            }
            namespace_lifecycle::admit(call, verb, object).await
        }
        Verb::Create | Verb::Update => {
            node_restriction::admit(call, verb, Some(object), old, None)?;
            escalation::admit(call, object, old).await
        }
    }
}
