//! How containers run and end: commands, hooks, messages, init containers, the root filesystem, users.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::pods::{self, container, pod, with_volumes};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-node] Containers should be able to override the image's default arguments (container cmd) [NodeConformance] [Conformance]" => |t| overridden(t, Value::Null, json!(["echo", "override", "arguments"]), "override arguments"),
    "[sig-node] Containers should be able to override the image's default command (container entrypoint) [NodeConformance] [Conformance]" => |t| overridden(t, json!(["echo"]), Value::Null, ""),
    "[sig-node] Containers should be able to override the image's default command and arguments [NodeConformance] [Conformance]" => |t| overridden(t, json!(["echo"]), json!(["override", "arguments"]), "override arguments"),
    "[sig-node] Containers should use the image defaults if command and args are blank [NodeConformance] [Conformance]" => defaults,
    "[sig-node] Container Runtime blackbox test on terminated container should report termination message as empty when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]" => |t| message(t, "echo DONE", "FallbackToLogsOnError", "Succeeded", ""),
    "[sig-node] Container Runtime blackbox test on terminated container should report termination message from file when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]" => |t| message(t, "echo -n OK > /dev/termination-log; echo DONE", "FallbackToLogsOnError", "Succeeded", "OK"),
    "[sig-node] Container Runtime blackbox test on terminated container should report termination message from log output if TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]" => |t| message(t, "echo -n DONE; exit 1", "FallbackToLogsOnError", "Failed", "DONE"),
    "[sig-node] Container Runtime blackbox test on terminated container should report termination message if TerminationMessagePath is set as non-root user and at a non-default path [NodeConformance] [Conformance]" => message_elsewhere,
    "[sig-node] Container Runtime blackbox test when starting a container that exits should run with the expected status [NodeConformance] [Conformance]" => expected_status,
    "[sig-node] Kubelet when scheduling a busybox command in a pod should print the output to logs [NodeConformance] [Conformance]" => logs,
    "[sig-node] Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason [NodeConformance] [Conformance]" => terminated_reason,
    "[sig-node] Kubelet when scheduling a read only busybox container should not write to root filesystem [LinuxOnly] [NodeConformance] [Conformance]" => read_only,
    "[sig-node] Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts [NodeConformance] [Conformance]" => host_aliases,
    "[sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartAlways pod [Conformance]" => |t| init(t, "Always"),
    "[sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartNever pod [Conformance]" => |t| init(t, "Never"),
    "[sig-node] InitContainer [NodeConformance] should not start app containers and fail the pod if init containers fail on a RestartNever pod [Conformance]" => init_fails,
    "[sig-node] InitContainer [NodeConformance] should not start app containers if init containers fail on a RestartAlways pod [Conformance]" => init_fails_again,
    "[sig-node] Security Context When creating a container with runAsUser should run the container with uid 65534 [LinuxOnly] [NodeConformance] [Conformance]" => |t| user(t, json!({}), json!({ "runAsUser": 65534 }), "uid=65534"),
    "[sig-node] Security Context should support container.SecurityContext.RunAsUser And container.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]" => |t| user(t, json!({}), json!({ "runAsUser": 1001, "runAsGroup": 2002 }), "gid=2002"),
    "[sig-node] Security Context should support pod.Spec.SecurityContext.RunAsUser And pod.Spec.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]" => |t| user(t, json!({ "runAsUser": 1001, "runAsGroup": 2002 }), json!({}), "gid=2002"),
    "[sig-node] Security Context When creating a pod with privileged should run the container as unprivileged when false [LinuxOnly] [NodeConformance] [Conformance]" => unprivileged,
    "[sig-node] Security Context When creating a pod with readOnlyRootFilesystem should run the container with writable rootfs when readOnlyRootFilesystem=false [NodeConformance] [Conformance]" => writable,
    "[sig-node] Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege escalation when false [LinuxOnly] [NodeConformance] [Conformance]" => no_escalation,
    "[sig-node] Sysctls [LinuxOnly] [NodeConformance] should support sysctls [Environment:NotInUserNS] [Conformance]" => sysctls,
    "[sig-node] Variable Expansion should allow substituting values in a volume subpath [Conformance]" => expanded_subpath,
    "[sig-node] Variable Expansion should fail substituting values in a volume subpath with absolute path [Conformance]" => |t| bad_subpath(t, "/tmp"),
    "[sig-node] Variable Expansion should fail substituting values in a volume subpath with backticks [Conformance]" => |t| bad_subpath(t, ".."),
    "[sig-node] Variable Expansion should verify that a failing subpath expansion can be modified during the lifecycle of a container [Slow] [Conformance]" => mended_subpath,
    "[sig-node] Variable Expansion should succeed in writing subpaths in container [Conformance]" => written_subpath,
    "[sig-node] Ephemeral Containers [NodeConformance] will start an ephemeral container in an existing pod [Conformance]" => ephemeral,
    "[sig-node] Ephemeral Containers [NodeConformance] should update the ephemeral containers in an existing pod [Conformance]" => ephemeral_update,
}

const STAY: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";

async fn overridden(t: Test, command: Value, args: Value, want: &str) -> anyhow::Result<()> {
    let mut test = json!({ "name": "test", "image": pods::BUSYBOX });
    for (field, value) in [("command", command), ("args", args)] {
        if !value.is_null() {
            test[field] = value;
        }
    }
    let text = pods::output(&t, &pod("containers", &[test])).await?;
    expect::same("what was printed", &text.trim(), &want)
}

/// An image that serves by itself does so without being told.
async fn defaults(t: Test) -> anyhow::Result<()> {
    let nginx = json!({ "name": "test", "image": "nginx" });
    let mut pod = pod("containers", &[nginx]);
    pod["spec"]["containers"][0]["readinessProbe"] =
        json!({ "httpGet": { "path": "/", "port": 80 }, "periodSeconds": 1 });
    pods::start(&t, &pod).await?;
    Ok(())
}

async fn ended(t: &Test, pod: &Value) -> anyhow::Result<Value> {
    let pods = t.objects("v1", "pods");
    pods.create(pod).await?;
    let over = |pod: &Value| matches!(expect::text(pod, "/status/phase"), "Succeeded" | "Failed");
    pods.wait(expect::name(pod), "an end", over).await
}

async fn message(t: Test, script: &str, policy: &str, phase: &str, want: &str) -> anyhow::Result<()> {
    let mut test = container("test", script);
    test["terminationMessagePolicy"] = policy.into();
    let pod = ended(&t, &pod("message", &[test])).await?;
    expect::at(&pod, "/status/phase", phase)?;
    let state = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    expect::same("the message", &state["message"].as_str().unwrap_or_default(), &want)
}

async fn message_elsewhere(t: Test) -> anyhow::Result<()> {
    let mut test = container("test", "echo -n DONE > /dev/termination-custom-log");
    test["terminationMessagePath"] = "/dev/termination-custom-log".into();
    test["securityContext"] = json!({ "runAsUser": 1000 });
    let pod = ended(&t, &pod("message", &[test])).await?;
    expect::at(&pod, "/status/phase", "Succeeded")?;
    expect::at(&pod, "/status/containerStatuses/0/state/terminated/message", "DONE")
}

async fn expected_status(t: Test) -> anyhow::Result<()> {
    // The first run fails, the second succeeds: a file in a volume tells them apart.
    let script = "if [ -f /count/ran ]; then CODE=0; else touch /count/ran; CODE=1; fi; exit $CODE";
    for (policy, phase, restarts) in [("OnFailure", "Succeeded", 1), ("Never", "Failed", 0)] {
        let name = format!("terminate-{}", policy.to_lowercase());
        let volume = json!({ "name": "count", "emptyDir": {} });
        let mut pod = with_volumes(pod(&name, &[container("test", script)]), &[(volume, "/count")]);
        pod["spec"]["restartPolicy"] = policy.into();
        let pod = ended(&t, &pod).await?;
        expect::at(&pod, "/status/phase", phase)?;
        expect::at(&pod, "/status/containerStatuses/0/restartCount", restarts)?;
        expect::at(&pod, "/status/containerStatuses/0/ready", false)?;
    }
    let volume = json!({ "name": "count", "emptyDir": {} });
    let mut pod = with_volumes(
        pod(
            "terminate-always",
            &[container("test", &format!("[ -f /count/ran ] || {{ touch /count/ran; exit 1; }}; {STAY}"))],
        ),
        &[(volume, "/count")],
    );
    pod["spec"]["restartPolicy"] = "Always".into();
    let pods = t.objects("v1", "pods");
    pods.create(&pod).await?;
    let again = |pod: &Value| pods::is_ready(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1;
    let pod = pods.wait("terminate-always", "a second life", again).await?;
    expect::at(&pod, "/status/phase", "Running")
}

async fn logs(t: Test) -> anyhow::Result<()> {
    let text = pods::output(&t, &pod("busybox", &[container("busybox", "echo 'Hello World'")])).await?;
    expect::same("the log", &text.as_str(), &"Hello World\n")
}

async fn terminated_reason(t: Test) -> anyhow::Result<()> {
    let mut pod = pod("bin-false", &[container("bin-false", "false")]);
    pod["spec"]["restartPolicy"] = "Always".into();
    let pods = t.objects("v1", "pods");
    pods.create(&pod).await?;
    let reason = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        [&status["state"], &status["lastState"]]
            .iter()
            .any(|s| s["terminated"]["exitCode"] == 1 && s["terminated"]["reason"] == "Error")
    };
    pods.wait("bin-false", "a terminated reason", reason).await?;
    Ok(())
}

async fn read_only(t: Test) -> anyhow::Result<()> {
    let mut test = container("busybox", "(echo test > /file) 2>/dev/null && echo written || echo refused");
    test["securityContext"] = json!({ "readOnlyRootFilesystem": true });
    let text = pods::output(&t, &pod("readonly", &[test])).await?;
    expect::same("what became of the write", &text.trim(), &"refused")
}

async fn writable(t: Test) -> anyhow::Result<()> {
    let mut test = container("busybox", "touch checkfile && ls checkfile");
    test["securityContext"] = json!({ "readOnlyRootFilesystem": false });
    let text = pods::output(&t, &pod("writable", &[test])).await?;
    expect::same("the file", &text.trim(), &"checkfile")
}

async fn host_aliases(t: Test) -> anyhow::Result<()> {
    let mut pod = pod("aliases", &[container("test", "cat /etc/hosts")]);
    pod["spec"]["hostAliases"] = json!([{ "ip": "123.45.67.89", "hostnames": ["foo", "bar"] }]);
    let text = pods::output(&t, &pod).await?;
    let found = text.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == ["123.45.67.89", "foo", "bar"]);
    expect::that(found, || format!("the alias should be in {text}"))
}

fn with_init(policy: &str, first: &str) -> Value {
    let mut pod = pod("init", &[container("run1", STAY)]);
    pod["spec"]["initContainers"] = json!([container("init1", first), container("init2", "true")]);
    pod["spec"]["restartPolicy"] = policy.into();
    pod
}

async fn init(t: Test, policy: &str) -> anyhow::Result<()> {
    let mut object = with_init(policy, "true");
    if policy == "Never" {
        object["spec"]["containers"] = json!([container("run1", "true")]);
    }
    let pod = if policy == "Never" { ended(&t, &object).await? } else { pods::start(&t, &object).await? };
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let initialized = conditions.iter().any(|c| c["type"] == "Initialized" && c["status"] == "True");
    expect::that(initialized, || format!("Initialized should be True: {conditions:?}"))?;
    for number in 0..2 {
        expect::at(&pod, &format!("/status/initContainerStatuses/{number}/state/terminated/exitCode"), 0)?;
        expect::at(&pod, &format!("/status/initContainerStatuses/{number}/ready"), true)?;
    }
    Ok(())
}

async fn init_fails(t: Test) -> anyhow::Result<()> {
    let pod = ended(&t, &with_init("Never", "false")).await?;
    expect::at(&pod, "/status/phase", "Failed")?;
    expect::at(&pod, "/status/initContainerStatuses/0/state/terminated/exitCode", 1)?;
    expect::at(&pod, "/status/containerStatuses/0/state/waiting/reason", "PodInitializing")
}

async fn init_fails_again(t: Test) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    pods.create(&with_init("Always", "false")).await?;
    let again = |pod: &Value| pod["status"]["initContainerStatuses"][0]["restartCount"].as_i64() >= Some(2);
    let pod = pods.wait("init", "restarts of the first init container", again).await?;
    expect::at(&pod, "/status/phase", "Pending")?;
    expect::at(&pod, "/status/containerStatuses/0/state/waiting/reason", "PodInitializing")?;
    expect::at(&pod, "/status/initContainerStatuses/1/state/waiting/reason", "PodInitializing")
}

async fn user(t: Test, of_pod: Value, of_container: Value, want: &str) -> anyhow::Result<()> {
    let mut test = container("test", "id");
    test["securityContext"] = of_container;
    let mut pod = pod("user", &[test]);
    pod["spec"]["securityContext"] = of_pod;
    expect::has_text(&pods::output(&t, &pod).await?, want)
}

async fn unprivileged(t: Test) -> anyhow::Result<()> {
    let mut test = container("test", "ip link add dummy1 type dummy 2>&1 || true");
    test["securityContext"] = json!({ "privileged": false });
    expect::has_text(&pods::output(&t, &pod("unprivileged", &[test])).await?, "Operation not permitted")
}

async fn no_escalation(t: Test) -> anyhow::Result<()> {
    let mut test = container("test", "grep NoNewPrivs /proc/self/status");
    test["securityContext"] = json!({ "runAsUser": 1000, "allowPrivilegeEscalation": false });
    let text = pods::output(&t, &pod("escalation", &[test])).await?;
    expect::same("no_new_privs", &text.split_whitespace().last(), &Some("1"))
}

async fn sysctls(t: Test) -> anyhow::Result<()> {
    let mut pod = pod("sysctl", &[container("test", "cat /proc/sys/kernel/shm_rmid_forced")]);
    pod["spec"]["securityContext"] = json!({ "sysctls": [{ "name": "kernel.shm_rmid_forced", "value": "1" }] });
    let text = pods::output(&t, &pod).await?;
    expect::same("the kernel's parameter", &text.trim(), &"1")
}

fn with_subpath(script: &str, expression: &str) -> Value {
    let mut test = container("test", script);
    test["env"] = json!([
        { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        { "name": "ANNOTATION", "valueFrom": { "fieldRef": { "fieldPath": "metadata.annotations['mysubpath']" } } },
    ]);
    test["volumeMounts"] = json!([
        { "name": "workdir", "mountPath": "/logscontainer", "subPathExpr": expression },
        { "name": "workdir", "mountPath": "/testcontainer" },
    ]);
    let mut pod = pod("expansion", &[test]);
    pod["spec"]["volumes"] = json!([{ "name": "workdir", "emptyDir": {} }]);
    pod["metadata"]["annotations"] = json!({ "mysubpath": "mypath" });
    pod
}

async fn expanded_subpath(t: Test) -> anyhow::Result<()> {
    pods::output(&t, &with_subpath("test -d /testcontainer/expansion; echo $?", "$(POD_NAME)"))
        .await
        .and_then(|text| expect::same("whether the folder is there", &text.trim(), &"0"))
}

async fn written_subpath(t: Test) -> anyhow::Result<()> {
    let script = "touch /logscontainer/test.log && test -f /testcontainer/mypath/test.log";
    pods::output(&t, &with_subpath(script, "$(ANNOTATION)")).await?;
    Ok(())
}

async fn mended_subpath(t: Test) -> anyhow::Result<()> {
    let mut pod = with_subpath(STAY, "$(ANNOTATION)");
    pod["metadata"]["annotations"]["mysubpath"] = "/tmp".into();
    let pods = t.objects("v1", "pods");
    pods.create(&pod).await?;
    let waits = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    };
    pods.wait("expansion", "CreateContainerConfigError", waits).await?;
    pods::annotate(&t, "expansion", &json!({ "annotations": { "mysubpath": "mypath" } })).await?;
    pods::ready(&t, "expansion").await?;
    pods::exec(&t, "expansion", "test", "test -d /testcontainer/mypath").await?;
    pods::remove(&t, "expansion").await
}

/// The container must not be started.
async fn bad_subpath(t: Test, path: &str) -> anyhow::Result<()> {
    let mut pod = with_subpath(STAY, "$(ANNOTATION)");
    pod["metadata"]["annotations"]["mysubpath"] = path.into();
    let pods = t.objects("v1", "pods");
    pods.create(&pod).await?;
    let waits = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    };
    pods.wait("expansion", "CreateContainerConfigError", waits).await?;
    pods::remove(&t, "expansion").await
}

fn debugger(name: &str) -> Value {
    let command = ["sh".to_owned(), "-c".to_owned(), format!("echo polo; {STAY}")];
    json!({ "name": name, "image": pods::BUSYBOX, "command": command, "stdin": true, "tty": true })
}

async fn ephemeral(t: Test) -> anyhow::Result<()> {
    pods::start(&t, &pod("ephemeral", &[container("test", STAY)])).await?;
    let pods = t.objects("v1", "pods");
    let body = json!({ "spec": { "ephemeralContainers": [debugger("debugger")] } });
    pods.patch_sub("ephemeral", "ephemeralcontainers", Patch::Strategic, &body).await?;
    pods.wait("ephemeral", "a running debugger", |pod| {
        !pod["status"]["ephemeralContainerStatuses"][0]["state"]["running"].is_null()
    })
    .await?;
    expect::same("the debugger's log", &pods::log(&t, "ephemeral", "debugger").await?.trim(), &"polo")
}

async fn ephemeral_update(t: Test) -> anyhow::Result<()> {
    pods::start(&t, &pod("ephemeral", &[container("test", STAY)])).await?;
    let pods = t.objects("v1", "pods");
    let body = json!({ "spec": { "ephemeralContainers": [debugger("debugger")] } });
    pods.patch_sub("ephemeral", "ephemeralcontainers", Patch::Strategic, &body).await?;
    let updated = pods
        .modify_sub("ephemeral", "ephemeralcontainers", |pod| {
            if let Some(list) = pod["spec"]["ephemeralContainers"].as_array_mut() {
                list.push(debugger("debugger2"));
            }
        })
        .await?;
    expect::same(
        "the number of ephemeral containers",
        &updated["spec"]["ephemeralContainers"].as_array().map(Vec::len),
        &Some(2),
    )?;
    let both =
        |pod: &Value| (0..2).all(|n| !pod["status"]["ephemeralContainerStatuses"][n]["state"]["running"].is_null());
    pods.wait("ephemeral", "two running debuggers", both).await?;
    Ok(())
}
