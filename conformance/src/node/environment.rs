//! Environment variables: from ConfigMaps, Secrets, the downward API, Services, and composed of each other.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::pods::{self, container, pod};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-node] ConfigMap should be consumable as environment variable names with various prefixes [Conformance]" => |t| prefixes(t, "configmaps", "configMapRef"),
    "[sig-node] ConfigMap should be consumable via environment variable [NodeConformance] [Conformance]" => |t| key(t, "configmaps", "configMapKeyRef"),
    "[sig-node] ConfigMap should be consumable via the environment [NodeConformance] [Conformance]" => |t| whole(t, "configmaps", "configMapRef"),
    "[sig-node] Secrets should be consumable as environment variable names variable names with various prefixes [Conformance]" => |t| prefixes(t, "secrets", "secretRef"),
    "[sig-node] Secrets should be consumable from pods in env vars [NodeConformance] [Conformance]" => |t| key(t, "secrets", "secretKeyRef"),
    "[sig-node] Secrets should be consumable via the environment [NodeConformance] [Conformance]" => |t| whole(t, "secrets", "secretRef"),
    "[sig-node] Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars [NodeConformance] [Conformance]" => |t| resources(t, true),
    "[sig-node] Downward API should provide default limits.cpu/memory from node allocatable [NodeConformance] [Conformance]" => |t| resources(t, false),
    "[sig-node] Downward API should provide host IP as an env var [NodeConformance] [Conformance]" => |t| field(t, "status.hostIP", "/status/hostIP"),
    "[sig-node] Downward API should provide hostIPs as an env var [NodeConformance] [Conformance]" => |t| field(t, "status.hostIPs", "/status/hostIPs/0/ip"),
    "[sig-node] Downward API should provide pod UID as env vars [NodeConformance] [Conformance]" => |t| field(t, "metadata.uid", "/metadata/uid"),
    "[sig-node] Downward API should provide pod name, namespace and IP address as env vars [NodeConformance] [Conformance]" => several_fields,
    "[sig-node] Variable Expansion should allow composing env vars into new env vars [NodeConformance] [Conformance]" => composed,
    "[sig-node] Variable Expansion should allow substituting values in a container's args [NodeConformance] [Conformance]" => |t| substituted(t, "args"),
    "[sig-node] Variable Expansion should allow substituting values in a container's command [NodeConformance] [Conformance]" => |t| substituted(t, "command"),
    "[sig-node] Pods should contain environment variables for services [NodeConformance] [Conformance]" => services,
}

async fn data(t: &Test, plural: &str) -> anyhow::Result<()> {
    let value = |text: &str| if plural == "secrets" { BASE64_STANDARD.encode(text) } else { text.to_owned() };
    let data = json!({ "data_1": value("value-1"), "data_2": value("value-2"), "data_3": value("value-3") });
    t.objects("v1", plural).create(&json!({ "metadata": { "name": "source" }, "data": data })).await?;
    Ok(())
}

/// The environment a container with these fields sees.
async fn environment(t: &Test, fields: &Value) -> anyhow::Result<String> {
    let mut test = container("env-test", "env");
    if let (Some(test), Some(fields)) = (test.as_object_mut(), fields.as_object()) {
        test.extend(fields.clone());
    }
    pods::output(t, &pod("env", &[test])).await
}

fn has(environment: &str, lines: &[&str]) -> anyhow::Result<()> {
    for line in lines {
        expect::that(environment.lines().any(|have| have == *line), || format!("{line} should be in {environment}"))?;
    }
    Ok(())
}

async fn key(t: Test, plural: &str, reference: &str) -> anyhow::Result<()> {
    data(&t, plural).await?;
    let env = json!([{ "name": "DATA_1", "valueFrom": { reference: { "name": "source", "key": "data_1" } } }]);
    has(&environment(&t, &json!({ "env": env })).await?, &["DATA_1=value-1"])
}

async fn whole(t: Test, plural: &str, reference: &str) -> anyhow::Result<()> {
    data(&t, plural).await?;
    let from = json!([{ reference: { "name": "source" } }, { "prefix": "p_", reference: { "name": "source" } }]);
    let text = environment(&t, &json!({ "envFrom": from })).await?;
    has(&text, &["data_1=value-1", "data_2=value-2", "data_3=value-3", "p_data_1=value-1", "p_data_3=value-3"])
}

/// Nearly anything may stand before a name.
async fn prefixes(t: Test, plural: &str, reference: &str) -> anyhow::Result<()> {
    data(&t, plural).await?;
    let prefixes = ["0_", "-_", "$_", "p-", "p."];
    let from: Vec<Value> = prefixes.iter().map(|p| json!({ "prefix": p, reference: { "name": "source" } })).collect();
    // A shell would drop what it cannot name: env is asked without one.
    let text = environment(&t, &json!({ "envFrom": from, "command": ["env"] })).await?;
    let lines: Vec<String> = prefixes.iter().map(|p| format!("{p}data_1=value-1")).collect();
    has(&text, &lines.iter().map(String::as_str).collect::<Vec<_>>())
}

async fn resources(t: Test, limited: bool) -> anyhow::Result<()> {
    let names = ["limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    let variable = |name: &&str| json!({ "name": name.to_uppercase().replace('.', "_"), "valueFrom": { "resourceFieldRef": { "resource": name } } });
    let mut fields = json!({ "env": names.iter().map(variable).collect::<Vec<_>>() });
    if limited {
        fields["resources"] =
            json!({ "requests": { "cpu": "250m", "memory": "32Mi" }, "limits": { "cpu": "1250m", "memory": "64Mi" } });
        let text = environment(&t, &fields).await?;
        return has(&text, &["LIMITS_CPU=2", "LIMITS_MEMORY=67108864", "REQUESTS_CPU=1", "REQUESTS_MEMORY=33554432"]);
    }
    let text = environment(&t, &fields).await?;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    for name in ["LIMITS_CPU", "LIMITS_MEMORY"] {
        expect::that(number(name) > 0, || format!("{name} should be the node's in {text}"))?;
    }
    Ok(())
}

async fn field(t: Test, path: &str, pointer: &str) -> anyhow::Result<()> {
    let env = json!([{ "name": "FIELD", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": path } } }]);
    let text = environment(&t, &json!({ "env": env })).await?;
    let pod = t.objects("v1", "pods").get("env").await?;
    has(&text, &[&format!("FIELD={}", expect::text(&pod, pointer))])
}

async fn several_fields(t: Test) -> anyhow::Result<()> {
    let variable = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let env = [
        variable("POD_NAME", "metadata.name"),
        variable("POD_NAMESPACE", "metadata.namespace"),
        variable("POD_IP", "status.podIP"),
    ];
    let text = environment(&t, &json!({ "env": env })).await?;
    let pod = t.objects("v1", "pods").get("env").await?;
    let ip = expect::text(&pod, "/status/podIP");
    expect::that(!ip.is_empty(), || format!("the pod has no address: {pod}"))?;
    has(&text, &["POD_NAME=env", &format!("POD_NAMESPACE={}", t.namespace), &format!("POD_IP={ip}")])
}

async fn composed(t: Test) -> anyhow::Result<()> {
    let env = json!([
        { "name": "FOO", "value": "foo-value" }, { "name": "BAR", "value": "bar-value" },
        { "name": "FOOBAR", "value": "$(FOO);;$(BAR)" },
    ]);
    let text = environment(&t, &json!({ "env": env })).await?;
    has(&text, &["FOO=foo-value", "BAR=bar-value", "FOOBAR=foo-value;;bar-value"])
}

async fn substituted(t: Test, place: &str) -> anyhow::Result<()> {
    let script = "TEST_VAR=wrong echo \"$(TEST_VAR)\"";
    let mut fields = json!({ "env": [{ "name": "TEST_VAR", "value": "test-value" }] });
    if place == "args" {
        fields["command"] = json!(["sh", "-c"]);
        fields["args"] = json!([script]);
    } else {
        fields["command"] = json!(["sh", "-c", script]);
    }
    expect::same("what was printed", &environment(&t, &fields).await?.trim(), &"test-value")
}

async fn services(t: Test) -> anyhow::Result<()> {
    let ports = json!([{ "port": 8765, "targetPort": 8080 }]);
    let service = t
        .objects("v1", "services")
        .create(&json!({ "metadata": { "name": "fooservice" }, "spec": { "ports": ports, "selector": { "a": "b" } } }))
        .await?;
    let ip = expect::text(&service, "/spec/clusterIP").to_owned();
    // The kubelet knows of the Service a moment later: pods are made until one sees it.
    let deadline = tokio::time::Instant::now() + crate::client::PATIENCE;
    loop {
        let name = t.name("client");
        let text = pods::output(&t, &pod(&name, &[container("env", "env")])).await?;
        let result = has(
            &text,
            &[
                &format!("FOOSERVICE_SERVICE_HOST={ip}"),
                "FOOSERVICE_SERVICE_PORT=8765",
                &format!("FOOSERVICE_PORT=tcp://{ip}:8765"),
                &format!("FOOSERVICE_PORT_8765_TCP=tcp://{ip}:8765"),
                "FOOSERVICE_PORT_8765_TCP_PROTO=tcp",
                "FOOSERVICE_PORT_8765_TCP_PORT=8765",
                &format!("FOOSERVICE_PORT_8765_TCP_ADDR={ip}"),
            ],
        );
        if result.is_ok() || tokio::time::Instant::now() > deadline {
            return result;
        }
    }
}
