//! DNS.

use serde_json::{Value, json};

use super::traffic::STAY;
use crate::pods::{self, container, pod};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-network] DNS should provide /etc/hosts entries for the cluster [Conformance]" => etc_hosts,
    "[sig-network] DNS should provide DNS for ExternalName services [Conformance]" => external_name,
    "[sig-network] DNS should provide DNS for pods for Hostname [Conformance]" => hostname,
    "[sig-network] DNS should provide DNS for pods for Subdomain [Conformance]" => hostname,
    "[sig-network] DNS should provide DNS for services [Conformance]" => services,
    "[sig-network] DNS should provide DNS for the cluster [Conformance]" => cluster,
    "[sig-network] DNS should resolve DNS of partial qualified names for services [LinuxOnly] [Conformance]" => partial,
    "[sig-network] DNS should support configurable pod DNS nameservers [Conformance]" => nameservers,
    "[sig-node] KubeletManagedEtcHosts should test kubelet managed /etc/hosts file [NodeConformance] [Conformance]" => managed_hosts,
}

async fn client(t: &Test) -> anyhow::Result<()> {
    pods::start(t, &pod("client", &[container("client", STAY)])).await?;
    Ok(())
}

async fn resolves(t: &Test, name: &str, wanted: &str) -> anyhow::Result<()> {
    pods::until(t, "client", "client", &format!("getent ahostsv4 {name} || nslookup {name} || true"), wanted).await
}

async fn service(t: &Test, name: &str, spec: Value) -> anyhow::Result<String> {
    let made = t.objects("v1", "services").create(&json!({ "metadata": { "name": name }, "spec": spec })).await?;
    Ok(expect::text(&made, "/spec/clusterIP").to_owned())
}

async fn cluster(t: Test) -> anyhow::Result<()> {
    client(&t).await?;
    let kubernetes = t.objects_in("default", "v1", "services").get("kubernetes").await?;
    resolves(&t, "kubernetes.default.svc.cluster.local", expect::text(&kubernetes, "/spec/clusterIP")).await
}

async fn services(t: Test) -> anyhow::Result<()> {
    client(&t).await?;
    let ports = json!([{ "name": "http", "port": 80, "protocol": "TCP" }]);
    let ip = service(&t, "regular", json!({ "selector": { "name": "client" }, "ports": ports })).await?;
    service(&t, "headless", json!({ "clusterIP": "None", "selector": { "name": "client" }, "ports": ports })).await?;
    let pod_ip = expect::text(&t.objects("v1", "pods").get("client").await?, "/status/podIP").to_owned();
    resolves(&t, &format!("regular.{}.svc.cluster.local", t.namespace), &ip).await?;
    resolves(&t, &format!("headless.{}.svc.cluster.local", t.namespace), &pod_ip).await?;
    let srv = format!("nslookup -type=srv _http._tcp.regular.{}.svc.cluster.local || true", t.namespace);
    pods::until(&t, "client", "client", &srv, "regular").await?;
    let mut octets: Vec<&str> = ip.split('.').collect();
    octets.reverse();
    let reverse = format!("nslookup {ip} || true");
    pods::until(&t, "client", "client", &reverse, &format!("regular.{}.svc.cluster.local", t.namespace)).await
}

async fn partial(t: Test) -> anyhow::Result<()> {
    client(&t).await?;
    let ip = service(&t, "svc", json!({ "selector": { "name": "client" }, "ports": [{ "port": 80 }] })).await?;
    for name in ["svc".to_owned(), format!("svc.{}", t.namespace), format!("svc.{}.svc", t.namespace)] {
        resolves(&t, &name, &ip).await?;
    }
    Ok(())
}

async fn hostname(t: Test) -> anyhow::Result<()> {
    client(&t).await?;
    service(
        &t,
        "sub",
        json!({ "clusterIP": "None", "selector": { "name": "named" }, "ports": [{ "name": "http", "port": 80 }] }),
    )
    .await?;
    let mut named = pod("named", &[container("c", STAY)]);
    named["spec"]["hostname"] = "dns-querier-2".into();
    named["spec"]["subdomain"] = "sub".into();
    let named = pods::start(&t, &named).await?;
    let fqdn = format!("dns-querier-2.sub.{}.svc.cluster.local", t.namespace);
    resolves(&t, &fqdn, expect::text(&named, "/status/podIP")).await?;
    let own = pods::exec(&t, "named", "c", "hostname -f").await?;
    expect::same("the pod's own full name", &own.trim(), &fqdn.as_str())
}

async fn external_name(t: Test) -> anyhow::Result<()> {
    client(&t).await?;
    service(&t, "ext", json!({ "type": "ExternalName", "externalName": "foo.example.com" })).await?;
    let ask = format!("nslookup -type=cname ext.{}.svc.cluster.local || true", t.namespace);
    pods::until(&t, "client", "client", &ask, "foo.example.com").await?;
    let services = t.objects("v1", "services");
    services.modify("ext", |s| s["spec"]["externalName"] = "bar.example.com".into()).await?;
    pods::until(&t, "client", "client", &ask, "bar.example.com").await?;
    services.modify("ext", |s| s["spec"] = json!({ "type": "ClusterIP", "ports": [{ "port": 80 }] })).await?;
    let ip = expect::text(&services.get("ext").await?, "/spec/clusterIP").to_owned();
    resolves(&t, &format!("ext.{}.svc.cluster.local", t.namespace), &ip).await
}

async fn etc_hosts(t: Test) -> anyhow::Result<()> {
    client(&t).await?;
    let ip = expect::text(&t.objects("v1", "pods").get("client").await?, "/status/podIP").to_owned();
    let text = pods::exec(&t, "client", "client", "cat /etc/hosts; getent hosts client").await?;
    expect::has_text(&text, &format!("{ip}\tclient"))?;
    let last = text.lines().last().unwrap_or_default();
    expect::has_text(last, &ip)
}

async fn nameservers(t: Test) -> anyhow::Result<()> {
    let mut pod = pod("dns", &[container("c", "cat /etc/resolv.conf")]);
    pod["spec"]["dnsPolicy"] = "None".into();
    pod["spec"]["dnsConfig"] = json!({ "nameservers": ["1.1.1.1"], "searches": ["resolv.conf.local"], "options": [{ "name": "ndots", "value": "2" }] });
    let text = pods::output(&t, &pod).await?;
    for line in ["nameserver 1.1.1.1", "search resolv.conf.local", "options ndots:2"] {
        expect::has_text(&text, line)?;
    }
    Ok(())
}

/// Managed for pods with a network of their own, unless a container mounts the file itself; not for the host's.
async fn managed_hosts(t: Test) -> anyhow::Result<()> {
    const MARK: &str = "# Kubernetes-managed hosts file";
    let mut own = pod("own", &[container("a", STAY), container("b", STAY)]);
    own["spec"]["containers"][1]["volumeMounts"] = json!([{ "name": "hosts", "mountPath": "/etc/hosts" }]);
    own["spec"]["volumes"] = json!([{ "name": "hosts", "hostPath": { "path": "/etc/hosts", "type": "File" } }]);
    pods::start(&t, &own).await?;
    let mut host = pod("host", &[container("a", STAY)]);
    host["spec"]["hostNetwork"] = true.into();
    pods::start(&t, &host).await?;
    for (pod, container, managed) in [("own", "a", true), ("own", "b", false)] {
        let text = pods::exec(&t, pod, container, "cat /etc/hosts").await?;
        expect::same(&format!("whether {pod}/{container} has a managed file"), &text.starts_with(MARK), &managed)?;
    }
    // Upstream writes another first line for pods of the host's network.
    let text = pods::exec(&t, "host", "a", "cat /etc/hosts").await?;
    expect::that(!text.starts_with(&format!("{MARK}.\n")), || format!("the host's pod has {text}"))
}
