//! EmptyDir volumes.

use serde_json::{Value, json};

use crate::pods::{self, container, pod, with_volumes};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-storage] EmptyDir volumes should support (non-root,0644,default) [LinuxOnly] [NodeConformance] [Conformance]" => |t| file(t, Some(1001), "644", ""),
    "[sig-storage] EmptyDir volumes should support (non-root,0644,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]" => |t| file(t, Some(1001), "644", "Memory"),
    "[sig-storage] EmptyDir volumes should support (non-root,0666,default) [LinuxOnly] [NodeConformance] [Conformance]" => |t| file(t, Some(1001), "666", ""),
    "[sig-storage] EmptyDir volumes should support (non-root,0666,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]" => |t| file(t, Some(1001), "666", "Memory"),
    "[sig-storage] EmptyDir volumes should support (non-root,0777,default) [LinuxOnly] [NodeConformance] [Conformance]" => |t| file(t, Some(1001), "777", ""),
    "[sig-storage] EmptyDir volumes should support (non-root,0777,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]" => |t| file(t, Some(1001), "777", "Memory"),
    "[sig-storage] EmptyDir volumes should support (root,0644,default) [LinuxOnly] [NodeConformance] [Conformance]" => |t| file(t, None, "644", ""),
    "[sig-storage] EmptyDir volumes should support (root,0644,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]" => |t| file(t, None, "644", "Memory"),
    "[sig-storage] EmptyDir volumes should support (root,0666,default) [LinuxOnly] [NodeConformance] [Conformance]" => |t| file(t, None, "666", ""),
    "[sig-storage] EmptyDir volumes should support (root,0666,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]" => |t| file(t, None, "666", "Memory"),
    "[sig-storage] EmptyDir volumes should support (root,0777,default) [LinuxOnly] [NodeConformance] [Conformance]" => |t| file(t, None, "777", ""),
    "[sig-storage] EmptyDir volumes should support (root,0777,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]" => |t| file(t, None, "777", "Memory"),
    "[sig-storage] EmptyDir volumes volume on default medium should have the correct mode [LinuxOnly] [NodeConformance] [Conformance]" => |t| mode(t, ""),
    "[sig-storage] EmptyDir volumes volume on tmpfs should have the correct mode [LinuxOnly] [NodeConformance] [Conformance]" => |t| mode(t, "Memory"),
    "[sig-storage] EmptyDir volumes pod should support shared volumes between containers [Conformance]" => shared,
    "[sig-storage] EmptyDir wrapper volumes should not conflict [Conformance]" => wrapped,
    "[sig-storage] EmptyDir wrapper volumes should not cause race condition when used for configmaps [Serial] [Conformance]" => many_maps,
}

fn volume(medium: &str) -> Value {
    let source = if medium.is_empty() { json!({}) } else { json!({ "medium": medium }) };
    json!({ "name": "test-volume", "emptyDir": source })
}

/// What is mounted, as /proc/mounts has it.
fn is_tmpfs(text: &str) -> bool {
    text.lines().any(|line| line.split(' ').nth(1) == Some("/test-volume") && line.split(' ').nth(2) == Some("tmpfs"))
}

async fn file(t: Test, user: Option<u32>, mode: &str, medium: &str) -> anyhow::Result<()> {
    let script = format!(
        "umask 0; echo mount-tester new file > /test-volume/test-file && chmod {mode} /test-volume/test-file && \
         cat /test-volume/test-file && stat -c %a /test-volume/test-file && cat /proc/mounts"
    );
    let mut pod = with_volumes(pod("emptydir", &[container("test", &script)]), &[(volume(medium), "/test-volume")]);
    if let Some(user) = user {
        pod["spec"]["securityContext"] = json!({ "runAsUser": user });
    }
    let text = pods::output(&t, &pod).await?;
    let lines: Vec<&str> = text.lines().take(2).collect();
    expect::same("the file and its mode", &lines, &vec!["mount-tester new file", mode])?;
    expect::same("whether it is a tmpfs", &is_tmpfs(&text), &(medium == "Memory"))
}

async fn mode(t: Test, medium: &str) -> anyhow::Result<()> {
    let script = "stat -c %a /test-volume; cat /proc/mounts";
    let pod = with_volumes(pod("emptydir", &[container("test", script)]), &[(volume(medium), "/test-volume")]);
    let text = pods::output(&t, &pod).await?;
    expect::same("the volume's mode", &text.lines().next(), &Some("777"))?;
    expect::same("whether it is a tmpfs", &is_tmpfs(&text), &(medium == "Memory"))
}

async fn shared(t: Test) -> anyhow::Result<()> {
    let mounts = json!([{ "name": "test-volume", "mountPath": "/usr/share/volumeshare" }]);
    let stay = "trap 'exit 0' TERM; while true; do sleep 1; done";
    let mut main = container("main", stay);
    let mut sub = container(
        "sub",
        &format!("echo Hello from the busy-box sub-container > /usr/share/volumeshare/shareddata.txt; {stay}"),
    );
    main["volumeMounts"] = mounts.clone();
    sub["volumeMounts"] = mounts;
    let mut pod = pod("shared", &[main, sub]);
    pod["spec"]["volumes"] = json!([volume("")]);
    pods::start(&t, &pod).await?;
    pods::until(
        &t,
        "shared",
        "main",
        "cat /usr/share/volumeshare/shareddata.txt",
        "Hello from the busy-box sub-container",
    )
    .await
}

async fn wrapped(t: Test) -> anyhow::Result<()> {
    t.objects("v1", "secrets")
        .create(&json!({ "metadata": { "name": "secret" }, "data": { "data-1": "dmFsdWUtMQo=" } }))
        .await?;
    t.objects("v1", "configmaps")
        .create(&json!({ "metadata": { "name": "map" }, "data": { "data-1": "value-1\n" } }))
        .await?;
    let volumes = [
        (json!({ "name": "secret-volume", "secret": { "secretName": "secret" } }), "/etc/secret-volume"),
        (json!({ "name": "configmap-volume", "configMap": { "name": "map" } }), "/etc/configmap-volume"),
    ];
    let pod = pod("wrapper", &[container("test", "cat /etc/secret-volume/data-1 /etc/configmap-volume/data-1")]);
    let text = pods::output(&t, &with_volumes(pod, &volumes)).await?;
    expect::same("both files", &text.as_str(), &"value-1\nvalue-1\n")
}

/// Many volumes in several pods that start at once.
async fn many_maps(t: Test) -> anyhow::Result<()> {
    const MAPS: usize = 50;
    const PODS: usize = 5;
    let maps = t.objects("v1", "configmaps");
    for number in 0..MAPS {
        maps.create(
            &json!({ "metadata": { "name": format!("racey-configmap-{number}") }, "data": { "data-1": "value-1" } }),
        )
        .await?;
    }
    let volumes: Vec<Value> = (0..MAPS)
        .map(|n| json!({ "name": format!("v{n}"), "configMap": { "name": format!("racey-configmap-{n}"), "items": [{ "key": "data-1", "path": "data-1" }] } }))
        .collect();
    let mounts: Vec<Value> =
        (0..MAPS).map(|n| json!({ "name": format!("v{n}"), "mountPath": format!("/etc/config-{n}") })).collect();
    let mut test = container("test", "trap 'exit 0' TERM; while true; do sleep 1; done");
    test["volumeMounts"] = mounts.into();
    let template = json!({
        "metadata": { "labels": { "name": "wrapped" } },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [test], "volumes": volumes },
    });
    let controller = json!({ "metadata": { "name": "wrapped" }, "spec": { "replicas": PODS, "selector": { "name": "wrapped" }, "template": template } });
    t.objects("v1", "replicationcontrollers").create(&controller).await?;
    let all = |list: &[Value]| list.iter().filter(|pod| pods::is_ready(pod)).count() == PODS;
    t.objects("v1", "pods").wait_list("labelSelector=name=wrapped", "five ready pods", all).await?;
    Ok(())
}
