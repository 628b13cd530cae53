//! What the node says about itself: `/pods`, `/metrics`, `/stats/summary`.

use http::{Response, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::{Body, text};
use crate::node::Node;
use crate::pod::registry::Registry;

pub fn pods(registry: &Registry) -> Response<Body> {
    let items: Vec<Pod> = registry.all().into_iter().map(|view| (*view.pod).clone()).collect();
    super::json(&json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items }))
}

pub fn metrics(node: &Node, registry: &Registry) -> Response<Body> {
    let views = registry.all();
    let running: usize = views.iter().map(|view| view.containers.values().filter(|c| c.is_running()).count()).sum();
    let body = format!(
        "# TYPE kubelet_node_name gauge\nkubelet_node_name{{node=\"{}\"}} 1\n\
         # TYPE kubelet_running_pods gauge\nkubelet_running_pods {}\n\
         # TYPE kubelet_running_containers gauge\nkubelet_running_containers{{container_state=\"running\"}} {running}\n",
        node.name,
        views.len(),
    );
    text(StatusCode::OK, body)
}

pub fn summary(node: &Node, registry: &Registry) -> Response<Body> {
    let pods: Vec<_> = registry
        .all()
        .iter()
        .map(|view| {
            let metadata = &view.pod.metadata;
            let containers = view.containers.keys().map(|name| json!({ "name": name }));
            json!({
                "podRef": { "name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid },
                "startTime": metadata.creation_timestamp,
                "containers": containers.collect::<Vec<_>>(),
            })
        })
        .collect();
    super::json(&json!({ "node": { "nodeName": node.name }, "pods": pods }))
}
