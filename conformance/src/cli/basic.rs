//! Kubectl client: what needs no pods.

use serde_json::json;

use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-cli] Kubectl client Kubectl api-versions should check if v1 is in available api versions [Conformance]" => api_versions,
    "[sig-cli] Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info [Conformance]" => cluster_info,
    "[sig-cli] Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments [Conformance]" => diff,
    "[sig-cli] Kubectl client Kubectl version should check is all data is printed [Conformance]" => version,
}

async fn api_versions(t: Test) -> anyhow::Result<()> {
    let text = t.cluster.kubectl(&["api-versions"], "").await?.success()?;
    expect::that(text.lines().any(|line| line == "v1"), || format!("v1 should be in {text}"))
}

async fn cluster_info(t: Test) -> anyhow::Result<()> {
    let text = t.cluster.kubectl(&["cluster-info"], "").await?.success()?;
    expect::has_text(&text, "Kubernetes control plane")?;
    expect::has_text(&text, "is running at")
}

async fn version(t: Test) -> anyhow::Result<()> {
    let text = t.cluster.kubectl(&["version"], "").await?.success()?;
    expect::has_text(&text, "Client Version: v")?;
    expect::has_text(&text, "Server Version: v1.35")
}

async fn diff(t: Test) -> anyhow::Result<()> {
    let deployment = |image: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "httpd-deployment" },
            "spec": {
                "replicas": 2, "selector": { "matchLabels": { "app": "httpd" } },
                "template": { "metadata": { "labels": { "app": "httpd" } }, "spec": { "containers": [{ "name": "httpd", "image": image }] } },
            },
        })
        .to_string()
    };
    let namespace = ["-n", t.namespace.as_str()];
    let with = |args: &[&'static str]| -> Vec<String> {
        namespace.iter().map(|s| (*s).to_owned()).chain(args.iter().map(|s| (*s).to_owned())).collect()
    };
    let run = async |args: &[&'static str], input: String| {
        let args = with(args);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        t.cluster.kubectl(&args, &input).await
    };
    run(&["create", "-f", "-"], deployment("httpd:2.4")).await?.success()?;
    // Its exit code says whether there is a difference.
    let said = run(&["diff", "-f", "-"], deployment("busybox:1.37")).await?;
    expect::that(!said.ok, || format!("kubectl diff should find a difference: {}", said.stdout))?;
    expect::has_text(&said.stdout, "-      - image: httpd:2.4")?;
    expect::has_text(&said.stdout, "+      - image: busybox:1.37")?;
    run(&["delete", "deployment", "httpd-deployment"], String::new()).await?.success()?;
    Ok(())
}
