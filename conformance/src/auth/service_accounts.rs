//! ServiceAccounts, as far as no pod has to run.

use http::Method;
use serde_json::{Value, json};

use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-auth] ServiceAccounts should allow opting out of API token automount [Conformance]" => opting_out,
    "[sig-auth] ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview [Conformance]" => token_review,
    "[sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace [Conformance]" => root_ca,
    "[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount [Conformance]" => lifecycle,
    "[sig-auth] ServiceAccounts should update a ServiceAccount [Conformance]" => update,
}

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The pod's word counts before the account's, and the default is to mount.
async fn opting_out(t: Test) -> anyhow::Result<()> {
    let accounts = t.objects("v1", "serviceaccounts");
    accounts.create(&json!({ "metadata": { "name": "mount" } })).await?;
    accounts.create(&json!({ "metadata": { "name": "nomount" }, "automountServiceAccountToken": false })).await?;
    let pods = t.objects("v1", "pods");
    let rows = [
        ("mount", None, true),
        ("mount", Some(true), true),
        ("mount", Some(false), false),
        ("nomount", None, false),
        ("nomount", Some(true), true),
        ("nomount", Some(false), false),
    ];
    for (at, (account, wish, mounted)) in rows.into_iter().enumerate() {
        let pod = json!({
            "metadata": { "name": format!("pod-{at}") },
            "spec": { "serviceAccountName": account, "automountServiceAccountToken": wish,
                "containers": [{ "name": "token-test", "image": "registry.k8s.io/pause:3.10" }] },
        });
        let pod = pods.create(&pod).await?;
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().cloned().unwrap_or_default();
        let found = mounts.iter().any(|mount| mount["mountPath"] == MOUNT);
        expect::same(&format!("that {account} with {wish:?} is mounted"), &found, &mounted)?;
    }
    Ok(())
}

async fn token_review(t: Test) -> anyhow::Result<()> {
    let accounts = t.objects("v1", "serviceaccounts");
    accounts.create(&json!({ "metadata": { "name": "e2e-sa" } })).await?;
    let path = accounts.path_of("e2e-sa", "token");
    let issued = t.api().send(Method::POST, &path, "application/json", &json!({ "spec": {} })).await?;
    let token = expect::text(&issued, "/status/token");
    let reviews = t.everywhere("authentication.k8s.io/v1", "tokenreviews");
    let review = reviews.create(&json!({ "metadata": { "name": "review" }, "spec": { "token": token } })).await?;
    expect::at(&review, "/status/authenticated", true)?;
    expect::at(&review, "/status/user/username", format!("system:serviceaccount:{}:e2e-sa", t.namespace))?;
    expect::that(review["status"]["error"].is_null(), || format!("the review has an error: {review}"))
}

async fn root_ca(t: Test) -> anyhow::Result<()> {
    const NAME: &str = "kube-root-ca.crt";
    let maps = t.objects("v1", "configmaps");
    let genuine = |map: &Value| map["data"]["ca.crt"].as_str().is_some_and(|text| text.contains("BEGIN CERTIFICATE"));
    maps.wait(NAME, "the certificate", genuine).await?;
    let first = maps.get(NAME).await?["metadata"]["uid"].clone();
    maps.delete(NAME).await?;
    maps.wait(NAME, "been made anew", |map| map["metadata"]["uid"] != first && genuine(map)).await?;
    maps.modify(NAME, |map| map["data"] = json!({ "ca.crt": "" })).await?;
    maps.wait(NAME, "been mended", genuine).await?;
    Ok(())
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    let (accounts, all) = (t.objects("v1", "serviceaccounts"), t.everywhere("v1", "serviceaccounts"));
    let label = t.name("static");
    let selector = format!("labelSelector=test-serviceaccount-static={label}");
    let mut watch = accounts.watch(&selector).await?;
    let account =
        json!({ "metadata": { "name": "testserviceaccount", "labels": { "test-serviceaccount-static": label } } });
    accounts.create(&account).await?;
    watch.until("the creation", |e| e.kind == "ADDED").await?;
    let body = json!({ "automountServiceAccountToken": false });
    accounts.patch("testserviceaccount", Patch::Strategic, &body).await?;
    watch.until("the patch", |e| e.kind == "MODIFIED" && e.object["automountServiceAccountToken"] == false).await?;
    expect::same("the number of accounts in all namespaces", &all.items(&selector).await?.len(), &1)?;
    accounts.delete_collection(&selector).await?;
    watch.until("the deletion", |e| e.kind == "DELETED").await?;
    Ok(())
}

async fn update(t: Test) -> anyhow::Result<()> {
    let accounts = t.objects("v1", "serviceaccounts");
    accounts.create(&json!({ "metadata": { "name": "e2e-sa" } })).await?;
    let updated = accounts.modify("e2e-sa", |account| account["automountServiceAccountToken"] = true.into()).await?;
    expect::at(&updated, "/automountServiceAccountToken", true)
}
