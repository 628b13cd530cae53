//! A `default` ServiceAccount in every namespace (upstream `pkg/controller/serviceaccount`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::context::Context;
use crate::framework::meta::is_deleting;
use crate::framework::{ApiError, Controller, Outcome, Queue, drive};

const DEFAULT: &str = "default";

struct ServiceAccounts {
    context: Arc<Context>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let on_namespace = queue.clone();
    context.kinds.namespaces.on_change(move |change| {
        on_namespace.add(change.object().metadata.name.clone().unwrap_or_default());
    });
    let on_account = queue.clone();
    context.kinds.service_accounts.on_change(move |change| {
        let meta = &change.object().metadata;
        if change.new.is_none() && meta.name.as_deref() == Some(DEFAULT) {
            on_account.add(meta.namespace.clone().unwrap_or_default());
        }
    });
    drive(&context.gate(), &Arc::new(ServiceAccounts { context: context.clone() }), &queue, 1);
}

impl Controller for ServiceAccounts {
    const NAME: &'static str = "serviceaccount-controller";

    async fn sync(&self, namespace: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(object) = kinds.namespaces.get(namespace) else { return Ok(None) };
        if is_deleting(&object.metadata) || kinds.service_accounts.get(&format!("{namespace}/{DEFAULT}")).is_some() {
            return Ok(None);
        }
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(DEFAULT.into()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        match kinds.service_accounts.create(&account).await {
            Err(error) if error.already_exists() || error.namespace_terminating() => Ok(None),
            other => other.map(|_| None),
        }
    }
}
