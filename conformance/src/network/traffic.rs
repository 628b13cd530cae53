//! Traffic between pods, nodes and Services.

use std::collections::BTreeSet;

use anyhow::bail;
use serde_json::{Value, json};

use crate::client::{PATIENCE, Patch};
use crate::pods::{self, container, pod};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-network] Networking Granular Checks: Pods should function for intra-pod communication: http [NodeConformance] [Conformance]" => |t| between_pods(t, false, false),
    "[sig-network] Networking Granular Checks: Pods should function for intra-pod communication: udp [NodeConformance] [Conformance]" => |t| between_pods(t, true, false),
    "[sig-network] Networking Granular Checks: Pods should function for node-pod communication: http [LinuxOnly] [NodeConformance] [Conformance]" => |t| between_pods(t, false, true),
    "[sig-network] Networking Granular Checks: Pods should function for node-pod communication: udp [LinuxOnly] [NodeConformance] [Conformance]" => |t| between_pods(t, true, true),
    "[sig-network] Services should be able to change the type from ClusterIP to ExternalName [Conformance]" => |t| to_external(t, "ClusterIP"),
    "[sig-network] Services should be able to change the type from NodePort to ExternalName [Conformance]" => |t| to_external(t, "NodePort"),
    "[sig-network] Services should be able to change the type from ExternalName to ClusterIP [Conformance]" => |t| from_external(t, "ClusterIP"),
    "[sig-network] Services should be able to change the type from ExternalName to NodePort [Conformance]" => |t| from_external(t, "NodePort"),
    "[sig-network] Services should be able to create a functioning NodePort service [Conformance]" => node_port,
    "[sig-network] Services should be able to switch session affinity for NodePort service [LinuxOnly] [Conformance]" => |t| affinity(t, "NodePort", true),
    "[sig-network] Services should be able to switch session affinity for service with type clusterIP [LinuxOnly] [Conformance]" => |t| affinity(t, "ClusterIP", true),
    "[sig-network] Services should have session affinity work for NodePort service [LinuxOnly] [Conformance]" => |t| affinity(t, "NodePort", false),
    "[sig-network] Services should have session affinity work for service with type clusterIP [LinuxOnly] [Conformance]" => |t| affinity(t, "ClusterIP", false),
    "[sig-network] Services should serve a basic endpoint from pods [Conformance]" => basic_endpoint,
    "[sig-network] Services should serve endpoints on same port and different protocols [Conformance]" => two_protocols,
    "[sig-network] Services should serve multiport endpoints from pods [Conformance]" => several_ports,
    "[sig-network] Service endpoints latency should not be very high [Conformance]" => latency,
    "[sig-network] HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol [LinuxOnly] [Conformance]" => host_ports,
}

pub const STAY: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";

/// A server of agnhost's netexec on HTTP and UDP ports, labelled as one of `app`.
pub fn server(name: &str, app: &str, http: u16, udp: u16) -> Value {
    let args = [format!("--http-port={http}"), format!("--udp-port={udp}")];
    let mut container = json!({ "name": "netexec", "image": "registry.k8s.io/e2e-test-images/agnhost:2.53", "args": ["netexec", args[0], args[1]] });
    container["readinessProbe"] = json!({ "httpGet": { "path": "/hostname", "port": http }, "periodSeconds": 1 });
    let mut pod = pod(name, &[container]);
    pod["metadata"]["labels"] = json!({ "app": app });
    pod
}

async fn client(t: &Test) -> anyhow::Result<()> {
    pods::start(t, &pod("client", &[container("client", STAY)])).await?;
    Ok(())
}

/// What the client hears, until it is as wanted; rules follow Services a moment later.
async fn hears(t: &Test, script: &str, wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let text = pods::exec(t, "client", "client", &format!("{script} 2>&1 || true")).await?;
        if wanted(text.trim()) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            bail!("{script} says {text:?} at last");
        }
    }
}

fn http(address: &str, port: u64) -> String {
    format!("timeout 3 wget -q -O- http://{address}:{port}/hostname")
}

fn udp(address: &str, port: u64) -> String {
    format!(
        "bash -c 'exec 3<>/dev/udp/{address}/{port}; echo -n hostname >&3; timeout 1 dd bs=512 count=1 status=none <&3'"
    )
}

async fn between_pods(t: Test, over_udp: bool, from_node: bool) -> anyhow::Result<()> {
    let mut asking = pod("client", &[container("client", STAY)]);
    if from_node {
        asking["spec"]["hostNetwork"] = true.into();
    }
    pods::start(&t, &asking).await?;
    for (number, node) in t.cluster.nodes.iter().enumerate() {
        let name = format!("server-{number}");
        let mut server = server(&name, "server", 8083, 8081);
        server["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
        let server = pods::start(&t, &server).await?;
        let ip = expect::text(&server, "/status/podIP");
        let script = if over_udp { udp(ip, 8081) } else { http(ip, 8083) };
        hears(&t, &script, |text| text == name).await?;
    }
    Ok(())
}

async fn service(t: &Test, spec: Value) -> anyhow::Result<Value> {
    t.objects("v1", "services").create(&json!({ "metadata": { "name": "svc" }, "spec": spec })).await
}

/// The first worker's address, where node ports are.
async fn node_address(t: &Test) -> anyhow::Result<String> {
    let node = t.everywhere("v1", "nodes").get(&t.cluster.nodes[0]).await?;
    let internal = node["status"]["addresses"].as_array().into_iter().flatten().find(|a| a["type"] == "InternalIP");
    Ok(internal.map(|a| expect::text(a, "/address").to_owned()).unwrap_or_default())
}

async fn backends(t: &Test) -> anyhow::Result<()> {
    pods::start(t, &server("backend-1", "svc", 9376, 9377)).await?;
    pods::start(t, &server("backend-2", "svc", 9376, 9377)).await?;
    Ok(())
}

fn ports() -> Value {
    json!([{ "name": "http", "port": 80, "targetPort": 9376, "protocol": "TCP" }])
}

async fn to_external(t: Test, kind: &str) -> anyhow::Result<()> {
    let target =
        json!({ "metadata": { "name": "target" }, "spec": { "selector": { "app": "svc" }, "ports": ports() } });
    let target = t.objects("v1", "services").create(&target).await?;
    service(&t, json!({ "type": kind, "selector": { "app": "svc" }, "ports": ports() })).await?;
    client(&t).await?;
    let domain = format!("target.{}.svc.cluster.local", t.namespace);
    t.objects("v1", "services")
        .modify("svc", |s| {
            s["spec"] = json!({ "type": "ExternalName", "externalName": domain });
        })
        .await?;
    let got = t.objects("v1", "services").get("svc").await?;
    expect::at(&got, "/spec/clusterIP", Value::Null)?;
    let ip = expect::text(&target, "/spec/clusterIP").to_owned();
    hears(&t, &format!("nslookup svc.{}.svc.cluster.local", t.namespace), |text| text.contains(&ip)).await
}

async fn from_external(t: Test, kind: &str) -> anyhow::Result<()> {
    service(&t, json!({ "type": "ExternalName", "externalName": "foo.example.com" })).await?;
    client(&t).await?;
    backends(&t).await?;
    t.objects("v1", "services")
        .modify("svc", |s| {
            s["spec"] = json!({ "type": kind, "selector": { "app": "svc" }, "ports": ports() });
        })
        .await?;
    let got = t.objects("v1", "services").get("svc").await?;
    let ip = expect::text(&got, "/spec/clusterIP").to_owned();
    expect::that(!ip.is_empty(), || format!("there is no address in {got}"))?;
    hears(&t, &http(&ip, 80), |text| text.starts_with("backend-")).await?;
    if kind == "NodePort" {
        let port = got["spec"]["ports"][0]["nodePort"].as_u64().unwrap_or(0);
        hears(&t, &http(&node_address(&t).await?, port), |text| text.starts_with("backend-")).await?;
    }
    Ok(())
}

async fn node_port(t: Test) -> anyhow::Result<()> {
    let made = service(&t, json!({ "type": "NodePort", "selector": { "app": "svc" }, "ports": ports() })).await?;
    client(&t).await?;
    backends(&t).await?;
    hears(&t, &http("svc", 80), |text| text.starts_with("backend-")).await?;
    hears(&t, &http(expect::text(&made, "/spec/clusterIP"), 80), |text| text.starts_with("backend-")).await?;
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap_or(0);
    hears(&t, &http(&node_address(&t).await?, port), |text| text.starts_with("backend-")).await
}

/// The names that several requests hear.
async fn names(t: &Test, script: &str) -> anyhow::Result<BTreeSet<String>> {
    let text = pods::exec(t, "client", "client", &format!("for i in $(seq 15); do {script}; echo; done")).await?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

async fn affinity(t: Test, kind: &str, switched: bool) -> anyhow::Result<()> {
    let first = if switched { "None" } else { "ClientIP" };
    let made =
        service(&t, json!({ "type": kind, "selector": { "app": "svc" }, "ports": ports(), "sessionAffinity": first }))
            .await?;
    client(&t).await?;
    backends(&t).await?;
    pods::start(&t, &server("backend-3", "svc", 9376, 9377)).await?;
    let script = if kind == "NodePort" {
        http(&node_address(&t).await?, made["spec"]["ports"][0]["nodePort"].as_u64().unwrap_or(0))
    } else {
        http(expect::text(&made, "/spec/clusterIP"), 80)
    };
    let services = t.objects("v1", "services");
    let rounds: &[(&str, bool)] =
        if switched { &[("None", false), ("ClientIP", true)] } else { &[("ClientIP", true), ("None", false)] };
    for (policy, one) in rounds {
        services.patch("svc", Patch::Merge, &json!({ "spec": { "sessionAffinity": policy } })).await?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let heard = names(&t, &script).await?;
            if (heard.len() == 1) == *one {
                break;
            }
            expect::that(tokio::time::Instant::now() < deadline, || {
                format!("with affinity {policy}, {heard:?} answer")
            })?;
        }
    }
    Ok(())
}

/// The addresses and ports in the Service's slices: `10.0.0.1:80`.
async fn endpoints(t: &Test, want: &[(&str, &[u64])]) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    let mut expected = BTreeSet::new();
    for (name, ports) in want {
        let ip = expect::text(&pods.get(name).await?, "/status/podIP").to_owned();
        expected.extend(ports.iter().map(|port| format!("{ip}:{port}")));
    }
    let slices = t.objects("discovery.k8s.io/v1", "endpointslices");
    let selector = "labelSelector=kubernetes.io/service-name=svc";
    let have = |list: &[Value]| -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for slice in list {
            for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
                for port in slice["ports"].as_array().into_iter().flatten() {
                    all.insert(format!("{}:{}", expect::text(endpoint, "/addresses/0"), port["port"]));
                }
            }
        }
        all
    };
    slices.wait_list(selector, &format!("{expected:?}"), |list| have(list) == expected).await?;
    Ok(())
}

async fn basic_endpoint(t: Test) -> anyhow::Result<()> {
    let made = service(&t, json!({ "selector": { "app": "svc" }, "ports": ports() })).await?;
    client(&t).await?;
    endpoints(&t, &[]).await?;
    pods::start(&t, &server("pod1", "svc", 9376, 9377)).await?;
    endpoints(&t, &[("pod1", &[9376])]).await?;
    let script = http(expect::text(&made, "/spec/clusterIP"), 80);
    hears(&t, &script, |text| text == "pod1").await?;
    pods::start(&t, &server("pod2", "svc", 9376, 9377)).await?;
    endpoints(&t, &[("pod1", &[9376]), ("pod2", &[9376])]).await?;
    pods::remove(&t, "pod1").await?;
    endpoints(&t, &[("pod2", &[9376])]).await?;
    hears(&t, &script, |text| text == "pod2").await?;
    pods::remove(&t, "pod2").await?;
    endpoints(&t, &[]).await
}

async fn several_ports(t: Test) -> anyhow::Result<()> {
    let ports = json!([{ "name": "portname1", "port": 80, "targetPort": 100 }, { "name": "portname2", "port": 81, "targetPort": 101 }]);
    let made = service(&t, json!({ "selector": { "app": "svc" }, "ports": ports })).await?;
    client(&t).await?;
    let both = |name: &str, port: u16| server(name, "svc", port, 9000 + port);
    pods::start(&t, &both("pod1", 100)).await?;
    endpoints(&t, &[("pod1", &[100, 101])]).await?;
    hears(&t, &http(expect::text(&made, "/spec/clusterIP"), 80), |text| text == "pod1").await?;
    pods::remove(&t, "pod1").await?;
    pods::start(&t, &both("pod2", 101)).await?;
    endpoints(&t, &[("pod2", &[100, 101])]).await?;
    hears(&t, &http(expect::text(&made, "/spec/clusterIP"), 81), |text| text == "pod2").await
}

async fn two_protocols(t: Test) -> anyhow::Result<()> {
    let port =
        |name: &str, protocol: &str| json!({ "name": name, "port": 80, "targetPort": 8080, "protocol": protocol });
    let made =
        service(&t, json!({ "selector": { "app": "svc" }, "ports": [port("tcp", "TCP"), port("udp", "UDP")] })).await?;
    client(&t).await?;
    pods::start(&t, &server("pod1", "svc", 8080, 8080)).await?;
    let ip = expect::text(&made, "/spec/clusterIP");
    hears(&t, &http(ip, 80), |text| text == "pod1").await?;
    hears(&t, &udp(ip, 80), |text| text == "pod1").await?;
    t.objects("v1", "services").modify("svc", |s| s["spec"]["ports"] = json!([port("udp", "UDP")])).await?;
    hears(&t, &http(ip, 80), |text| text != "pod1").await?;
    hears(&t, &udp(ip, 80), |text| text == "pod1").await
}

/// From a Service's creation to its endpoints: the median may be 20 s upstream; ours must be far below a second.
async fn latency(t: Test) -> anyhow::Result<()> {
    const SAMPLES: usize = 50;
    pods::start(&t, &server("pod1", "svc", 9376, 9377)).await?;
    let (services, slices) = (t.objects("v1", "services"), t.objects("discovery.k8s.io/v1", "endpointslices"));
    let mut watch = slices.watch("").await?;
    let mut took = Vec::new();
    for number in 0..SAMPLES {
        let name = format!("latency-svc-{number}");
        let started = std::time::Instant::now();
        services
            .create(
                &json!({ "metadata": { "name": name }, "spec": { "selector": { "app": "svc" }, "ports": ports() } }),
            )
            .await?;
        watch
            .until("the Service's endpoints", |e| {
                e.object["metadata"]["labels"]["kubernetes.io/service-name"] == name.as_str()
                    && e.object["endpoints"].as_array().is_some_and(|list| !list.is_empty())
            })
            .await?;
        took.push(started.elapsed());
    }
    took.sort_unstable();
    expect::that(took[SAMPLES / 2].as_secs() < 1, || format!("the median is {:?}", took[SAMPLES / 2]))?;
    expect::that(took[SAMPLES - 1].as_secs() < 20, || format!("the slowest is {:?}", took[SAMPLES - 1]))
}

async fn host_ports(t: Test) -> anyhow::Result<()> {
    let node = t.cluster.nodes[0].clone();
    let address = node_address(&t).await?;
    let holder = |name: &str, ip: &str, protocol: &str| {
        let mut pod = server(name, name, 8080, 8080);
        pod["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
        pod["spec"]["containers"][0]["ports"] =
            json!([{ "containerPort": 8080, "hostPort": 54323, "hostIP": ip, "protocol": protocol }]);
        pod
    };
    pods::start(&t, &holder("pod1", "127.0.0.1", "TCP")).await?;
    pods::start(&t, &holder("pod2", &address, "TCP")).await?;
    pods::start(&t, &holder("pod3", &address, "UDP")).await?;
    let mut asking = pod("client", &[container("client", STAY)]);
    asking["spec"]["hostNetwork"] = true.into();
    asking["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
    pods::start(&t, &asking).await?;
    hears(&t, &http("127.0.0.1", 54323), |text| text == "pod1").await?;
    hears(&t, &http(&address, 54323), |text| text == "pod2").await?;
    hears(&t, &udp(&address, 54323), |text| text == "pod3").await
}
