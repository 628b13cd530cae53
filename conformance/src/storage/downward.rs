//! The downward API as files, as a volume of its own and projected.

use anyhow::Context;
use serde_json::{Value, json};

use crate::pods::{self, container, pod, with_volumes};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-storage] Downward API volume should provide container's cpu limit [NodeConformance] [Conformance]" => |t| resource(t, false, "limits.cpu", "2"),
    "[sig-storage] Downward API volume should provide container's cpu request [NodeConformance] [Conformance]" => |t| resource(t, false, "requests.cpu", "1"),
    "[sig-storage] Downward API volume should provide container's memory limit [NodeConformance] [Conformance]" => |t| resource(t, false, "limits.memory", "67108864"),
    "[sig-storage] Downward API volume should provide container's memory request [NodeConformance] [Conformance]" => |t| resource(t, false, "requests.memory", "33554432"),
    "[sig-storage] Downward API volume should provide node allocatable (cpu) as default cpu limit if the limit is not set [NodeConformance] [Conformance]" => |t| allocatable(t, false, "cpu"),
    "[sig-storage] Downward API volume should provide node allocatable (memory) as default memory limit if the limit is not set [NodeConformance] [Conformance]" => |t| allocatable(t, false, "memory"),
    "[sig-storage] Downward API volume should provide podname only [NodeConformance] [Conformance]" => |t| name(t, false, None, None),
    "[sig-storage] Downward API volume should set DefaultMode on files [LinuxOnly] [NodeConformance] [Conformance]" => |t| name(t, false, Some(0o400), None),
    "[sig-storage] Downward API volume should set mode on item file [LinuxOnly] [NodeConformance] [Conformance]" => |t| name(t, false, None, Some(0o400)),
    "[sig-storage] Downward API volume should update annotations on modification [NodeConformance] [Conformance]" => |t| modified(t, false, "annotations"),
    "[sig-storage] Downward API volume should update labels on modification [NodeConformance] [Conformance]" => |t| modified(t, false, "labels"),
    "[sig-storage] Projected downwardAPI should provide container's cpu limit [NodeConformance] [Conformance]" => |t| resource(t, true, "limits.cpu", "2"),
    "[sig-storage] Projected downwardAPI should provide container's cpu request [NodeConformance] [Conformance]" => |t| resource(t, true, "requests.cpu", "1"),
    "[sig-storage] Projected downwardAPI should provide container's memory limit [NodeConformance] [Conformance]" => |t| resource(t, true, "limits.memory", "67108864"),
    "[sig-storage] Projected downwardAPI should provide container's memory request [NodeConformance] [Conformance]" => |t| resource(t, true, "requests.memory", "33554432"),
    "[sig-storage] Projected downwardAPI should provide node allocatable (cpu) as default cpu limit if the limit is not set [NodeConformance] [Conformance]" => |t| allocatable(t, true, "cpu"),
    "[sig-storage] Projected downwardAPI should provide node allocatable (memory) as default memory limit if the limit is not set [NodeConformance] [Conformance]" => |t| allocatable(t, true, "memory"),
    "[sig-storage] Projected downwardAPI should provide podname only [NodeConformance] [Conformance]" => |t| name(t, true, None, None),
    "[sig-storage] Projected downwardAPI should set DefaultMode on files [LinuxOnly] [NodeConformance] [Conformance]" => |t| name(t, true, Some(0o400), None),
    "[sig-storage] Projected downwardAPI should set mode on item file [LinuxOnly] [NodeConformance] [Conformance]" => |t| name(t, true, None, Some(0o400)),
    "[sig-storage] Projected downwardAPI should update annotations on modification [NodeConformance] [Conformance]" => |t| modified(t, true, "annotations"),
    "[sig-storage] Projected downwardAPI should update labels on modification [NodeConformance] [Conformance]" => |t| modified(t, true, "labels"),
}

fn volume(projected: bool, item: &Value, mode: Option<u32>) -> Value {
    let source = json!({ "items": [item] });
    let (mut whole, at) = if projected {
        (json!({ "sources": [{ "downwardAPI": source }] }), "projected")
    } else {
        (source, "downwardAPI")
    };
    if let Some(mode) = mode {
        whole["defaultMode"] = mode.into();
    }
    json!({ "name": "podinfo", at: whole })
}

fn field(path: &str) -> Value {
    json!({ "path": "file", "fieldRef": { "fieldPath": path } })
}

async fn name(t: Test, projected: bool, mode: Option<u32>, item_mode: Option<u32>) -> anyhow::Result<()> {
    let mut item = field("metadata.name");
    if let Some(mode) = item_mode {
        item["mode"] = mode.into();
    }
    let pod =
        pod("downwardapi", &[container("client", "cat /etc/podinfo/file; echo; stat -L -c %a /etc/podinfo/file")]);
    let pod = with_volumes(pod, &[(volume(projected, &item, mode), "/etc/podinfo")]);
    let text = pods::output(&t, &pod).await?;
    let seen = if mode.or(item_mode).is_some() { "400" } else { "644" };
    expect::same("the file and its mode", &text.lines().collect(), &vec!["downwardapi", seen])
}

async fn with_resource(t: &Test, projected: bool, resource: &str, limited: bool) -> anyhow::Result<(String, Value)> {
    let item = json!({ "path": "file", "resourceFieldRef": { "containerName": "client", "resource": resource } });
    let mut client = container("client", "cat /etc/podinfo/file");
    if limited {
        client["resources"] = json!({
            "requests": { "cpu": "250m", "memory": "32Mi" }, "limits": { "cpu": "1250m", "memory": "64Mi" },
        });
    }
    let pod = with_volumes(pod("downwardapi", &[client]), &[(volume(projected, &item, None), "/etc/podinfo")]);
    let text = pods::output(t, &pod).await?;
    Ok((text.trim().to_owned(), t.objects("v1", "pods").get("downwardapi").await?))
}

async fn resource(t: Test, projected: bool, resource: &str, want: &str) -> anyhow::Result<()> {
    let (text, _) = with_resource(&t, projected, resource, true).await?;
    expect::same(resource, &text.as_str(), &want)
}

async fn allocatable(t: Test, projected: bool, resource: &str) -> anyhow::Result<()> {
    let (text, pod) = with_resource(&t, projected, &format!("limits.{resource}"), false).await?;
    let node = t.everywhere("v1", "nodes").get(expect::text(&pod, "/spec/nodeName")).await?;
    let number: u64 = text.parse().with_context(|| format!("{text:?} is no number"))?;
    let whole = &node["status"]["allocatable"][resource];
    expect::that(number > 0, || format!("the limit should be the node's {whole} and is {text}"))
}

async fn modified(t: Test, projected: bool, what: &str) -> anyhow::Result<()> {
    let item = field(&format!("metadata.{what}"));
    let stay = "trap 'exit 0' TERM; while true; do sleep 1; done";
    let mut pod =
        with_volumes(pod("update", &[container("client", stay)]), &[(volume(projected, &item, None), "/etc/podinfo")]);
    pod["metadata"][what]["key1"] = "value1".into();
    pods::start(&t, &pod).await?;
    pods::until(&t, "update", "client", "cat /etc/podinfo/file", "key1=\"value1\"").await?;
    pods::annotate(&t, "update", &json!({ what: { "key3": "value3" } })).await?;
    pods::until(&t, "update", "client", "cat /etc/podinfo/file", "key3=\"value3\"").await
}
