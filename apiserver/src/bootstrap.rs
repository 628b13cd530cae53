//! What a fresh cluster holds before anybody asks: the system's namespaces, priority classes, the `kubernetes` Service with
//! its endpoints, and the default policy. Every object is created where it is missing, and left alone where it is not.

use std::sync::Arc;

use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::admission;
use crate::app::{App, Call, text};
use crate::flow;
use crate::http::status::ApiResult;
use crate::options::EndpointReconciler;
use crate::registry::{create, update};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Makes all of it.
///
/// # Errors
/// The store fails, or an object of ours is refused.
pub async fn run(app: &Arc<App>) -> ApiResult<()> {
    // What does not need each other is written at once: the store commits together what arrives together.
    let namespaces = NAMESPACES.map(|name| ensure(app, "", "namespaces", json!({ "metadata": { "name": name } })));
    try_join_all(namespaces).await?;
    let classes = admission::SYSTEM_CLASSES.iter().map(|(name, value)| async move {
        let words = if name.contains("node") {
            "Used for system critical pods that must not be moved from their current node."
        } else {
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."
        };
        let class = json!({ "metadata": { "name": name }, "value": value, "description": words, "preemptionPolicy": "PreemptLowerPriority" });
        ensure(app, "scheduling.k8s.io", "priorityclasses", class).await
    });
    let policy = auth::bootstrap::policy().into_iter().map(|object| async move {
        let plural = format!("{}s", text(&object, "/kind").to_lowercase());
        ensure(app, "rbac.authorization.k8s.io", &plural, object).await
    });
    let flow = flow::defaults::objects()
        .into_iter()
        .map(|(plural, object)| async move { ensure_as(flow::PRODUCER, app, flow::GROUP, plural, object).await });
    tokio::try_join!(
        try_join_all(classes),
        try_join_all(policy),
        try_join_all(flow),
        service_range(app),
        crate::aggregator::publish_authentication(app),
        kubernetes_service(app),
    )?;
    Ok(())
}

/// The range Services get their addresses from, as ServiceCIDR `kubernetes` (upstream's `defaultservicecidr` controller).
async fn service_range(app: &Arc<App>) -> ApiResult<()> {
    const NAME: &str = "kubernetes";
    let range = app.options.service_cluster_ip_range.to_string();
    let object = json!({ "metadata": { "name": NAME }, "spec": { "cidrs": [range] } });
    if !ensure(app, "networking.k8s.io", "servicecidrs", object).await? {
        return Ok(());
    }
    let mut call = Call::internal(app, "networking.k8s.io", "servicecidrs", "", NAME)?;
    call.info.subresource = "status".to_owned();
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": crate::registry::object::now(),
    });
    update::update(&call, &update::Change::Merge(json!({ "status": { "conditions": [ready] } }))).await?;
    Ok(())
}

/// Creates the object unless it is there.
pub async fn ensure(app: &Arc<App>, group: &str, plural: &str, object: Value) -> ApiResult<bool> {
    ensure_as(Call::AGENT, app, group, plural, object).await
}

async fn ensure_as(agent: &str, app: &Arc<App>, group: &str, plural: &str, mut object: Value) -> ApiResult<bool> {
    let namespace = text(&object, "/metadata/namespace").to_owned();
    let name = text(&object, "/metadata/name").to_owned();
    let mut call = Call::internal(app, group, plural, &namespace, &name)?;
    call.agent = agent.to_owned();
    let key = call.resource.key(&namespace, &name);
    if app.store.get(&key, None).await?.0.is_some() {
        return Ok(false);
    }
    object["apiVersion"] = call.resource.api_version().into();
    object["kind"] = call.resource.kind.clone().into();
    match create::create_value(&call, object, create::Origin::Create).await {
        Ok(_) => Ok(true),
        // Another API server on the same store was faster; of a Service it is the address that is taken then.
        Err(_) if app.store.get(&key, None).await?.0.is_some() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The `kubernetes` Service or its endpoints were deleted: they come back at once.
pub fn restore_kubernetes_service(app: &Arc<App>) {
    let app = app.clone();
    tokio::spawn(async move {
        if let Err(error) = kubernetes_service(&app).await {
            tracing::warn!(%error, "the kubernetes Service could not be restored");
        }
    });
}

/// The Service clients in pods use, and the endpoints behind it: every API server there is.
pub async fn kubernetes_service(app: &Arc<App>) -> ApiResult<()> {
    let labels = json!({ "component": "apiserver", "provider": "kubernetes" });
    let address = app.options.api_service_ip().to_string();
    ensure(
        app,
        "",
        "services",
        json!({
            "metadata": { "name": "kubernetes", "namespace": "default", "labels": labels },
            "spec": {
                "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "sessionAffinity": "None",
                "ipFamilyPolicy": "SingleStack",
                "ports": [{ "name": "https", "protocol": "TCP", "port": 443, "targetPort": app.options.secure_port }],
            },
        }),
    )
    .await?;
    if app.options.endpoint_reconciler_type == EndpointReconciler::None {
        return Ok(());
    }
    if app.options.advertised().is_loopback() {
        // No pod could reach it, and the API allows no loopback endpoints.
        tracing::warn!("the advertised address is a loopback address: the kubernetes Service has no endpoints");
        return Ok(());
    }
    endpoints(app, &crate::members::addresses(app).await?).await
}

/// Writes the endpoints of the `kubernetes` Service.
pub async fn endpoints(app: &Arc<App>, addresses: &[String]) -> ApiResult<()> {
    let port = app.options.secure_port;
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    let ready: Vec<Value> =
        addresses.iter().map(|ip| json!({ "addresses": [ip], "conditions": { "ready": true } })).collect();
    let mirror = json!({ "endpointslice.kubernetes.io/skip-mirror": "true" });
    let endpoints = json!({
        "metadata": { "name": "kubernetes", "namespace": "default", "labels": mirror },
        "subsets": [{ "addresses": ips, "ports": [{ "name": "https", "port": port, "protocol": "TCP" }] }],
    });
    let slice = json!({
        "metadata": { "name": "kubernetes", "namespace": "default", "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": if app.options.advertised().is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": ready,
        "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
    });
    for (group, plural, object) in [("", "endpoints", endpoints), ("discovery.k8s.io", "endpointslices", slice)] {
        if !ensure(app, group, plural, object.clone()).await? {
            // The addresses may have changed since they were written.
            let call = Call::internal(app, group, plural, "default", "kubernetes")?;
            update::update(&call, &update::Change::Merge(object)).await?;
        }
    }
    Ok(())
}
