//! Admission: what may change or refuse a write after it has been authorized, one plugin a file, in upstream's order
//! (`kubeapiserver/options/plugins.go`). Mutating plugins run before validation, refusing ones on the final object.

mod certificates;
mod default_class;
mod escalation;
mod limit_ranger;
mod namespace_lifecycle;
pub mod node_restriction;
mod owner_references;
mod pod_security;
mod priority;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage;
mod taint_nodes;
mod toleration_seconds;

pub use priority::SYSTEM as SYSTEM_CLASSES;
pub use resource_quota::Turns;
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

/// The name of what is being written, or what it will begin with.
fn name_of<'a>(call: &'a Call, metadata: &'a Value) -> &'a str {
    let name = |field: &str| metadata[field].as_str().filter(|name| !name.is_empty());
    name("name").or(name("generateName")).unwrap_or(&call.info.name)
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
                limit_ranger::mutate(call, object).await?;
                service_account::admit(call, object).await?;
                priority::pod(call, object).await?;
                toleration_seconds::admit(object);
                runtime_class::admit(call, object).await?;
            }
            ("", "nodes") => taint_nodes::admit(object),
            ("scheduling.k8s.io", "priorityclasses") => priority::class(call, object).await?,
            ("", "persistentvolumeclaims") => {
                default_class::storage(call, object).await?;
                storage::protect(call, object);
            }
            ("", "persistentvolumes") | ("storage.k8s.io", "volumeattributesclasses") => storage::protect(call, object),
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
            limit_ranger::validate(call, verb, object, old).await?;
            node_restriction::admit(call, verb, Some(object), old, None)?;
            pod_security::admit(call, verb, object, old).await?;
            if call.app.options.plugin("OwnerReferencesPermissionEnforcement", false) {
                owner_references::admit(call, verb, object, old).await?;
            }
            if let Some(old) = old
                && call.resource.is("", "persistentvolumeclaims")
                && call.info.subresource.is_empty()
            {
                storage::resize(call, object, old).await?;
            }
            certificates::admit(call, verb, object, old).await?;
            escalation::admit(call, object, old).await?;
            // Last: what is charged must not be refused any more.
            resource_quota::admit(call, verb, object, old).await
        }
    }
}
