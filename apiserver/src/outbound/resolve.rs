//! From a Service to an address: its ClusterIP, which the node's kube-proxy rules lead to an endpoint; with
//! `--enable-aggregator-routing` an endpoint itself (`apiserver/pkg/util/proxy`).

use serde_json::Value;
use store::cache::{At, ListQuery, Object};

use crate::app::{App, text};
use crate::http::answer::value_of;
use crate::http::status::{ApiError, ApiResult};
use crate::registry::write::live;

/// Host and port a Service's port is reached at.
///
/// # Errors
/// 404 without the Service, 503 without such a port or (by endpoints) without a ready endpoint.
pub async fn service(app: &App, namespace: &str, name: &str, port: u16) -> ApiResult<(String, u16)> {
    let service = live(app, "services", namespace, name).await?.ok_or_else(|| ApiError {
        message: format!("service {name:?} not found"),
        ..ApiError::not_found("", "services", name)
    })?;
    let kind = text(&service, "/spec/type");
    if app.options.enable_aggregator_routing && kind == "ExternalName" {
        return Err(ApiError::new(500, "", format!("unsupported service type {kind:?}")));
    }
    if kind == "ExternalName" {
        return Ok((text(&service, "/spec/externalName").to_owned(), port));
    }
    let own = service["spec"]["ports"].as_array().into_iter().flatten();
    let own = own.into_iter().find(|own| own["port"].as_u64() == Some(u64::from(port)));
    let own = own.ok_or_else(|| ApiError::unavailable(format!("no service port {port} found for service {name:?}")))?;
    if app.options.enable_aggregator_routing {
        return endpoint(app, namespace, name, text(own, "/name")).await;
    }
    match text(&service, "/spec/clusterIP") {
        "None" => Err(ApiError::new(500, "", "cannot route to service with ClusterIP \"None\"")),
        "" => Err(ApiError::internal(format!(
            "no cluster IP: service {namespace}/{name} is of type {:?}, ClusterIP {:?}",
            kind,
            text(&service, "/spec/clusterIP")
        ))),
        address => Ok((address.to_owned(), port)),
    }
}

/// A ready endpoint of a Service's port, another one each time.
async fn endpoint(app: &App, namespace: &str, name: &str, port: &str) -> ApiResult<(String, u16)> {
    let slices = slices(app, namespace, name).await?;
    let ready = slices.iter().flat_map(|slice| ready(slice, port));
    let ready: Vec<_> = ready.filter_map(|(endpoint, port)| Some((endpoint["addresses"][0].as_str()?, port))).collect();
    let chosen = usize::from(uuid::Uuid::new_v4().as_bytes()[0]) % ready.len().max(1);
    let none = || ApiError::unavailable(format!("no endpoints available for service {name:?}"));
    ready.get(chosen).map(|(address, port)| ((*address).to_owned(), *port)).ok_or_else(none)
}

/// The EndpointSlices of a Service.
///
/// # Errors
/// The cache cannot be read.
pub async fn slices(app: &App, namespace: &str, service: &str) -> ApiResult<Vec<Value>> {
    let slices = app.resource("discovery.k8s.io", "endpointslices")?;
    let prefix = slices.range(namespace);
    let filter = |object: &Object| object.label("kubernetes.io/service-name") == Some(service);
    let query = ListQuery { at: At::Latest, prefix: &prefix, start: None, limit: 0, filter: Some(&filter) };
    let list = app.caches.of(&slices).list(query).await?;
    list.items.iter().map(|item| value_of(&slices, item)).collect()
}

/// The ready endpoints of a slice, each with the number of its port of this name; none without such a port.
pub fn ready<'a>(slice: &'a Value, port: &str) -> impl Iterator<Item = (&'a Value, u16)> + use<'a> {
    let list = |field: &str| slice[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let own = list("ports").iter().find(|own| text(own, "/name") == port);
    let number = own.and_then(|own| own["port"].as_u64()).and_then(|port| u16::try_from(port).ok());
    let ready = list("endpoints").iter().filter(|endpoint| endpoint["conditions"]["ready"].as_bool().unwrap_or(true));
    ready.filter_map(move |endpoint| Some((endpoint, number?)))
}

/// `host:port`, an IPv6 address in brackets.
#[must_use]
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_need_the_port_and_be_ready() {
        let slice = json!({ "ports": [{ "name": "", "port": 6443 }, { "name": "odd" }], "endpoints": [
            { "addresses": ["10.0.0.1"], "conditions": { "ready": true } },
            { "addresses": ["10.0.0.2"], "conditions": { "ready": false } },
            { "addresses": ["10.0.0.3"] },
        ] });
        let found =
            |port| ready(&slice, port).map(|(found, port)| (found["addresses"][0].clone(), port)).collect::<Vec<_>>();
        assert_eq!(found(""), [(json!("10.0.0.1"), 6443), (json!("10.0.0.3"), 6443)]);
        assert_eq!((found("https"), found("odd")), (vec![], vec![]));
    }
}
