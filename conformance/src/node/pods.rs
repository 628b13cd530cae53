//! Pods as objects: what the API says of them though nobody runs them.

use serde_json::{Value, json};

use crate::client::Refusal;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-node] Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete [NodeConformance] [Conformance]" => delete,
    "[sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu [Conformance]" => quality_of_service,
    "[sig-node] Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls [Conformance]" => invalid_sysctls,
}

async fn delete(t: Test) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    let container = json!({ "name": "bin-false", "image": "busybox", "command": ["/bin/false"] });
    pods.create(&json!({ "metadata": { "name": "bin-false" }, "spec": { "containers": [container] } })).await?;
    pods.delete_with("bin-false", &json!({})).await?;
    Ok(())
}

async fn quality_of_service(t: Test) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    let amounts = json!({ "cpu": "100m", "memory": "100Mi" });
    let container =
        json!({ "name": "nginx", "image": "nginx", "resources": { "requests": amounts, "limits": amounts } });
    pods.create(&json!({ "metadata": { "name": "pod-qos-class" }, "spec": { "containers": [container] } })).await?;
    let pod = pods.get("pod-qos-class").await?;
    expect::at(&pod, "/status/qosClass", "Guaranteed")?;
    pods.delete_with("pod-qos-class", &json!({ "gracePeriodSeconds": 0 })).await?;
    Ok(())
}

async fn invalid_sysctls(t: Test) -> anyhow::Result<()> {
    let sysctl = |name: &str, value: &str| json!({ "name": name, "value": value });
    let pod = json!({
        "metadata": { "name": "sysctl" },
        "spec": {
            "containers": [{ "name": "test-container", "image": "busybox" }],
            "securityContext": { "sysctls": [
                // Safe parameters.
                sysctl("foo-", "bar"), sysctl("kernel.shmmax", "100000000"), sysctl("safe-and-unsafe", "100000000"), sysctl("bar..", "42"),
            ] },
        },
    });
    let refused = t.objects("v1", "pods").create(&pod).await.refused_with(422)?;
    expect::has_text(refused.message(), "Invalid value: \"foo-\"")?;
    expect::has_text(refused.message(), "Invalid value: \"bar..\"")?;
    for right in ["safe-and-unsafe", "kernel.shmmax"] {
        expect::that(!refused.message().contains(right), || format!("{right} is valid: {}", refused.message()))?;
    }
    expect::same("the causes", &refused.status["details"]["causes"].as_array().map(Vec::len), &Some(2))?;
    expect::at(&refused.status, "/details/causes/0/field", Value::from("spec.securityContext.sysctls[0].name"))
}
