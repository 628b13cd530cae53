//! From a Service to an address: its ClusterIP, which the node's kube-proxy rules lead to an endpoint; with
//! `--enable-aggregator-routing` an endpoint itself (`apiserver/pkg/util/proxy`).

use serde_json::Value;
use store::cache::{At, ListQuery, Object};

use crate::app::{App, text};
use crate::http::answer::value_of;
use crate::http::status::{ApiError, ApiResult};

/// Host and port a Service's port is reached at.
///
/// # Errors
/// 404 without the Service, 503 without such a port or (by endpoints) without a ready endpoint.
pub async fn service(app: &App, namespace: &str, name: &str, port: u16) -> ApiResult<(String, u16)> {
    let services = app.resource("", "services")?;
    let (found, _) = app.store.get(&services.key(namespace, name), None).await?;
    let found = found.ok_or_else(|| ApiError::not_found("", "services", name));
    let found = found.map_err(|error| ApiError { message: format!("service {name:?} not found"), ..error })?;
    let service: Value = serde_json::from_slice(&found.value).map_err(ApiError::internal)?;
    if text(&service, "/spec/type") == "ExternalName" {
        return Ok((text(&service, "/spec/externalName").to_owned(), port));
    }
    let own = service["spec"]["ports"].as_array().into_iter().flatten();
    let own = own.into_iter().find(|own| own["port"].as_u64() == Some(u64::from(port)));
    let own = own.ok_or_else(|| ApiError::unavailable(format!("no service port {port} found for service {name:?}")))?;
    if app.options.enable_aggregator_routing {
        return endpoint(app, namespace, name, text(own, "/name")).await;
    }
    match text(&service, "/spec/clusterIP") {
        "" | "None" => Err(ApiError::internal(format!(
            "no cluster IP: service {namespace}/{name} is of type {:?}, ClusterIP {:?}",
            text(&service, "/spec/type"),
            text(&service, "/spec/clusterIP")
        ))),
        address => Ok((address.to_owned(), port)),
    }
}

/// A ready endpoint of a Service's port, another one each time.
async fn endpoint(app: &App, namespace: &str, name: &str, port: &str) -> ApiResult<(String, u16)> {
    let mut ready = endpoints(app, namespace, name, port).await?;
    if ready.is_empty() {
        return Err(ApiError::unavailable(format!("no endpoints available for service {name:?}")));
    }
    let chosen = usize::from(uuid::Uuid::new_v4().as_bytes()[0]) % ready.len();
    Ok(ready.swap_remove(chosen))
}

/// The ready endpoints of a Service's port `port` (its name), as its EndpointSlices have them.
///
/// # Errors
/// The cache cannot be read.
pub async fn endpoints(app: &App, namespace: &str, name: &str, port: &str) -> ApiResult<Vec<(String, u16)>> {
    let slices = app.resource("discovery.k8s.io", "endpointslices")?;
    let prefix = slices.range(namespace);
    let filter = |object: &Object| object.label("kubernetes.io/service-name") == Some(name);
    let query = ListQuery { at: At::Latest, prefix: &prefix, start: None, limit: 0, filter: Some(&filter) };
    let list = app.caches.of(&slices).list(query).await?;
    let mut found = Vec::new();
    for item in &list.items {
        let slice = value_of(&slices, item)?;
        let own = slice["ports"].as_array().into_iter().flatten().find(|own| text(own, "/name") == port);
        let number = own.and_then(|own| own["port"].as_u64()).and_then(|port| u16::try_from(port).ok());
        let Some(number) = number else { continue };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if endpoint["conditions"]["ready"].as_bool().unwrap_or(true)
                && let Some(address) = endpoint["addresses"][0].as_str()
            {
                found.push((address.to_owned(), number));
            }
        }
    }
    Ok(found)
}

/// `host:port`, an IPv6 address in brackets.
#[must_use]
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
