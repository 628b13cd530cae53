//! Tokens kept in Secrets, from the controller that makes them to the API server that believes them.

use std::path::Path;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use conformance::client::Objects;
use conformance::expect;
use conformance::fixture::Cluster;
use serde_json::{Value, json};

fn secret(name: &str, annotations: Value) -> Value {
    json!({ "metadata": { "name": name, "annotations": annotations }, "type": "kubernetes.io/service-account-token" })
}

async fn check(binary: &Path) -> anyhow::Result<()> {
    let cluster = Cluster::api_only(binary).await?;
    cluster.make_namespace("tokens").await?;
    let objects = |plural: &str| Objects::new(cluster.api.clone(), Some("tokens"), "v1", plural);
    let (accounts, secrets) = (objects("serviceaccounts"), objects("secrets"));
    let account = json!({ "metadata": { "name": "robot" }, "secrets": [{ "name": "robot-token" }] });
    let account = accounts.create(&account).await?;
    let uid = account["metadata"]["uid"].clone();

    secrets.create(&secret("robot-token", json!({ "kubernetes.io/service-account.name": "robot" }))).await?;
    let filled = secrets.wait("robot-token", "its token", |secret| secret["data"]["token"].is_string()).await?;
    expect::same("its uid", &filled["metadata"]["annotations"]["kubernetes.io/service-account.uid"], &uid)?;
    let data = |key: &str| -> anyhow::Result<String> {
        let text = filled["data"][key].as_str().with_context(|| format!("{key} is missing"))?;
        Ok(String::from_utf8(BASE64_STANDARD.decode(text)?)?)
    };
    expect::same("its namespace", &data("namespace")?.as_str(), &"tokens")?;
    expect::that(data("ca.crt")?.contains("BEGIN CERTIFICATE"), || "no authority".to_owned())?;
    let token = data("token")?;

    let ca = cluster.folder().join("pki/ca.crt").display().to_string();
    let as_robot =
        ["--server", &cluster.url, "--certificate-authority", &ca, "--token", &token, "--kubeconfig=/dev/null"];
    let said = cluster.kubectl(&[&as_robot[..], &["auth", "whoami", "-o", "json"]].concat(), "").await?;
    let warned = said.stderr.contains("instead of auto-generated secret-based tokens");
    expect::that(warned, || format!("no warning: {}", said.stderr))?;
    let who: Value = serde_json::from_str(&said.success()?)?;
    expect::at(&who, "/status/userInfo/username", "system:serviceaccount:tokens:robot")?;
    let described = cluster.kubectl(&["describe", "secret", "-n", "tokens", "robot-token"], "").await?.success()?;
    for line in ["Type:  kubernetes.io/service-account-token", "kubernetes.io/service-account.uid: ", &token] {
        expect::that(described.contains(line), || format!("no {line:?} in {described}"))?;
    }

    // What somebody spoils is mended; the token stays.
    secrets.modify("robot-token", |secret| secret["data"]["ca.crt"] = "eA==".into()).await?;
    let mended = |secret: &Value| secret["data"]["ca.crt"] == filled["data"]["ca.crt"];
    let kept = secrets.wait("robot-token", "its authority again", mended).await?;
    expect::same("the token", &kept["data"]["token"], &filled["data"]["token"])?;

    let wrong = json!({ "kubernetes.io/service-account.name": "robot", "kubernetes.io/service-account.uid": "else" });
    secrets.create(&secret("other", wrong)).await?;
    secrets.gone("other").await?;
    secrets.create(&secret("nobody", json!({ "kubernetes.io/service-account.name": "nobody" }))).await?;
    secrets.gone("nobody").await?;

    secrets.delete("robot-token").await?;
    let freed = |account: &Value| account["secrets"].as_array().is_none_or(Vec::is_empty);
    accounts.wait("robot", "no reference to the Secret", freed).await?;
    let refused = cluster.kubectl(&[&as_robot[..], &["auth", "whoami"]].concat(), "").await?;
    expect::that(!refused.ok && refused.stderr.contains("must be logged in"), || format!("{refused:?}"))?;

    secrets.create(&secret("second", json!({ "kubernetes.io/service-account.name": "robot" }))).await?;
    secrets.wait("second", "its token", |secret| secret["data"]["token"].is_string()).await?;
    accounts.delete("robot").await?;
    secrets.gone("second").await?;
    Ok(())
}

#[test]
fn secrets_are_filled_believed_and_removed() {
    let binary = Path::new(env!("CARGO_BIN_EXE_knetsim-conformance"));
    if let Err(error) = runtime::block_on(check(binary)) {
        panic!("{error:#}");
    }
}
