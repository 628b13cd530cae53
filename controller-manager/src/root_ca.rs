//! ConfigMap `kube-root-ca.crt` in every namespace, by which pods know the API server
//! (upstream `pkg/controller/certificates/rootcacertpublisher`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::context::{Context, ROOT_CA_CONFIG_MAP};
use crate::framework::meta::is_deleting;
use crate::framework::{ApiError, Controller, Outcome, Queue, drive};

struct Publisher {
    context: Arc<Context>,
    certificate: String,
}

/// Publishes `certificate`, PEM text.
pub fn start(context: &Arc<Context>, certificate: String) {
    let queue = Arc::new(Queue::default());
    let on_namespace = queue.clone();
    context.kinds.namespaces.on_change(move |change| {
        on_namespace.add(change.object().metadata.name.clone().unwrap_or_default());
    });
    let on_map = queue.clone();
    context.kinds.config_maps.on_change(move |change| {
        on_map.add(change.object().metadata.namespace.clone().unwrap_or_default());
    });
    drive(&context.gate(), &Arc::new(Publisher { context: context.clone(), certificate }), &queue, 1);
}

impl Controller for Publisher {
    const NAME: &'static str = "root-ca-certificate-publisher-controller";

    async fn sync(&self, namespace: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(object) = kinds.namespaces.get(namespace) else { return Ok(None) };
        if is_deleting(&object.metadata) {
            return Ok(None);
        }
        let data = BTreeMap::from([("ca.crt".to_owned(), self.certificate.clone())]);
        let annotations = BTreeMap::from([(
            "kubernetes.io/description".to_owned(),
            "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as \
             the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of \
             Kubernetes clusters."
                .to_owned(),
        )]);
        let wanted = ConfigMap {
            metadata: ObjectMeta {
                name: Some(ROOT_CA_CONFIG_MAP.into()),
                namespace: Some(namespace.to_owned()),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            data: Some(data.clone()),
            ..ConfigMap::default()
        };
        let result = match kinds.config_maps.get(&format!("{namespace}/{ROOT_CA_CONFIG_MAP}")) {
            Some(known) if known.data.as_ref() == Some(&data) => return Ok(None),
            Some(known) => {
                let mut changed = (*known).clone();
                changed.data = Some(data);
                kinds.config_maps.update(&known, &changed).await
            }
            None => kinds.config_maps.create(&wanted).await,
        };
        match result {
            Err(error) if error.already_exists() || error.namespace_terminating() => Ok(None),
            other => other.map(|_| None),
        }
    }
}
