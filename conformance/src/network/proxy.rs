//! Proxy: pods and Services through the API server; and slices that are made by hand.

use http::Method;
use serde_json::{Value, json};

use super::traffic::server;
use crate::client::PATIENCE;
use crate::pods;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-network] Proxy version v1 A set of valid responses are returned for both pod and service Proxy [Conformance]" => |t| methods(t, ""),
    "[sig-network] Proxy version v1 A set of valid responses are returned for both pod and service ProxyWithPath [Conformance]" => |t| methods(t, "/some/path/with/"),
    "[sig-network] Proxy version v1 should proxy through a service and a pod [Conformance]" => named_ports,
    "[sig-network] EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service [Conformance]" => matching_pods,
    "[sig-network] EndpointsController should create Endpoints for Pods matching a Service [Conformance]" => matching_pods,
    "[sig-network] EndpointSlice should support a Service with multiple endpoint IPs specified in multiple EndpointSlices [Conformance]" => |t| slices_by_hand(t, false),
    "[sig-network] EndpointSlice should support a Service with multiple ports specified in multiple EndpointSlices [Conformance]" => |t| slices_by_hand(t, true),
}

fn echo(name: &str) -> Value {
    let script = "cd /tmp && mkdir -p www && exec httpd -f -p 8080 -h www";
    let mut pod = pods::pod(name, &[pods::container("echo", script)]);
    pod["metadata"]["labels"] = json!({ "app": name });
    pod
}

async fn answered(t: &Test, method: Method, path: &str, wanted: impl Fn(u16, &str) -> bool) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let reply = t.api().raw(method.clone(), path, &[], Vec::new()).await?;
        if wanted(reply.code, reply.text().trim()) {
            return Ok(());
        }
        expect::that(tokio::time::Instant::now() < deadline, || {
            format!("{method} {path}: {} {}", reply.code, reply.text())
        })?;
    }
}

async fn methods(t: Test, path: &str) -> anyhow::Result<()> {
    pods::start(&t, &server("agnhost", "agnhost", 80, 81)).await?;
    let ports = json!([{ "port": 80, "targetPort": 80 }]);
    t.objects("v1", "services")
        .create(&json!({ "metadata": { "name": "svc" }, "spec": { "selector": { "app": "agnhost" }, "ports": ports } }))
        .await?;
    let pod = t.objects("v1", "pods").path_of("agnhost", "proxy");
    let service = t.objects("v1", "services").path_of("svc", "proxy");
    for base in [pod, service] {
        // Each method reaches the server: what it makes of it is its own business.
        for method in
            [Method::DELETE, Method::GET, Method::HEAD, Method::OPTIONS, Method::PATCH, Method::POST, Method::PUT]
        {
            answered(&t, method, &format!("{base}{path}/hostname"), |code, _| {
                code == 200 || code == 404 || code == 405
            })
            .await?;
        }
        if path.is_empty() {
            answered(&t, Method::GET, &format!("{base}/hostname"), |code, text| code == 200 && text == "agnhost")
                .await?;
        }
    }
    Ok(())
}

async fn named_ports(t: Test) -> anyhow::Result<()> {
    let mut backend = server("backend", "backend", 8080, 8081);
    backend["spec"]["containers"][0]["ports"] = json!([{ "name": "dest1", "containerPort": 8080 }]);
    pods::start(&t, &backend).await?;
    let ports = json!([{ "name": "portname1", "port": 80, "targetPort": "dest1" }, { "name": "portname2", "port": 81, "targetPort": 8080 }]);
    t.objects("v1", "services")
        .create(&json!({ "metadata": { "name": "svc" }, "spec": { "selector": { "app": "backend" }, "ports": ports } }))
        .await?;
    let (pods, services) = (t.objects("v1", "pods"), t.objects("v1", "services"));
    for path in [
        services.path_of("svc:portname1", "proxy/hostname"),
        services.path_of("http:svc:portname1:", "proxy/hostname"),
        services.path_of("svc:portname2", "proxy/hostname"),
        services.path_of("svc:80", "proxy/hostname"),
        pods.path_of("backend:8080", "proxy/hostname"),
        pods.path_of("http:backend:8080", "proxy/hostname"),
    ] {
        let path = path.replace("svc:portname1:/", "svc:portname1/");
        answered(&t, Method::GET, &path, |code, text| code == 200 && text == "backend").await?;
    }
    Ok(())
}

async fn matching_pods(t: Test) -> anyhow::Result<()> {
    let mut pod1 = echo("pod1");
    pod1["metadata"]["labels"] = json!({ "foo": "bar" });
    let mut pod2 = echo("pod2");
    pod2["metadata"]["labels"] = json!({ "foo": "bar" });
    let services = t.objects("v1", "services");
    services.create(&json!({ "metadata": { "name": "svc" }, "spec": { "selector": { "foo": "bar" }, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] } })).await?;
    let one = pods::start(&t, &pod1).await?;
    let two = pods::start(&t, &pod2).await?;
    let mut want = vec![expect::text(&one, "/status/podIP").to_owned(), expect::text(&two, "/status/podIP").to_owned()];
    want.sort_unstable();
    let in_endpoints = |e: &Value| {
        let list = e["subsets"][0]["addresses"].as_array();
        let mut have: Vec<String> = list.into_iter().flatten().map(|a| expect::text(a, "/ip").to_owned()).collect();
        have.sort_unstable();
        have == want && e["subsets"][0]["ports"][0]["port"] == 8080
    };
    t.objects("v1", "endpoints").wait("svc", "both addresses", in_endpoints).await?;
    let in_slices = |list: &[Value]| {
        let endpoints = list.iter().flat_map(|s| s["endpoints"].as_array().into_iter().flatten());
        let mut have: Vec<String> = endpoints
            .filter(|e| e["conditions"]["ready"] == true && e["targetRef"]["kind"] == "Pod" && !e["nodeName"].is_null())
            .map(|e| expect::text(e, "/addresses/0").to_owned())
            .collect();
        have.sort_unstable();
        have == want
    };
    let slices = t.objects("discovery.k8s.io/v1", "endpointslices");
    slices.wait_list("labelSelector=kubernetes.io/service-name=svc", "both addresses", in_slices).await?;
    Ok(())
}

/// Slices nobody's controller made lead to their endpoints as well.
async fn slices_by_hand(t: Test, ports: bool) -> anyhow::Result<()> {
    let one = pods::start(&t, &server("pod1", "by-hand", 8090, 8095)).await?;
    let two = pods::start(&t, &server("pod2", "by-hand", if ports { 9090 } else { 8090 }, 9095)).await?;
    let service_ports = if ports {
        json!([{ "name": "port80", "port": 80 }, { "name": "port81", "port": 81 }])
    } else {
        json!([{ "name": "port80", "port": 80 }])
    };
    t.objects("v1", "services")
        .create(&json!({ "metadata": { "name": "svc" }, "spec": { "ports": service_ports } }))
        .await?;
    let slices = t.objects("discovery.k8s.io/v1", "endpointslices");
    for (number, pod) in [&one, &two].into_iter().enumerate() {
        let port = if ports && number == 1 {
            json!({ "name": "port81", "port": 9090 })
        } else {
            json!({ "name": "port80", "port": 8090 })
        };
        slices
            .create(&json!({
                "metadata": { "name": format!("by-hand-{number}"), "labels": { "kubernetes.io/service-name": "svc", "endpointslice.kubernetes.io/managed-by": "e2e-test.k8s.io" } },
                "addressType": "IPv4", "endpoints": [{ "addresses": [pod["status"]["podIP"]] }], "ports": [port],
            }))
            .await?;
    }
    pods::start(&t, &pods::pod("client", &[pods::container("client", super::traffic::STAY)])).await?;
    let ask = |port: u16| {
        format!("for i in $(seq 10); do timeout 3 wget -q -O- http://svc:{port}/hostname; echo; done || true")
    };
    if ports {
        pods::until(&t, "client", "client", &ask(80), "pod1").await?;
        pods::until(&t, "client", "client", &ask(81), "pod2").await
    } else {
        pods::until(&t, "client", "client", &ask(80), "pod1").await?;
        pods::until(&t, "client", "client", &ask(80), "pod2").await
    }
}
