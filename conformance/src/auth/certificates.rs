//! Certificates API.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::{Objects, Patch, Refusal};
use crate::spec::Test;
use crate::{expect, operations, specs};

specs! { Api;
    "[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations [Conformance]" => api_operations,
}

/// A request for a client certificate, as `spec.request` holds it.
fn request(name: &str) -> anyhow::Result<String> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate()?;
    Ok(STANDARD.encode(params.serialize_request(&key)?.pem()?))
}

async fn api_operations(t: Test) -> anyhow::Result<()> {
    const VERSION: &str = "certificates.k8s.io/v1";
    let plural = "certificatesigningrequests";
    operations::discovery(&t, VERSION, plural, true).await?;
    let requests = t.everywhere(VERSION, plural);
    let label = t.name("csr");
    let selector = format!("labelSelector=e2e={label}");
    let signer = format!("example.com/{label}");
    let object = json!({
        "metadata": { "generateName": "e2e-example-csr-", "labels": { "e2e": label } },
        "spec": { "request": request("e2e")?, "signerName": signer, "expirationSeconds": 3600,
            "usages": ["digital signature", "key encipherment", "server auth"] },
    });
    for _ in 0..2 {
        requests.create(&object).await?;
    }
    let created = requests.create(&object).await?;
    expect::that(created["spec"]["username"].is_string(), || format!("the server names the requester: {created}"))?;
    let name = expect::name(&created).to_owned();
    expect::at(&requests.get(&name).await?, "/metadata/uid", created["metadata"]["uid"].clone())?;
    expect::same("the number of requests", &requests.items(&selector).await?.len(), &3)?;
    let list = requests.list(&selector).await?;
    let mut watch = requests.watch(&format!("{selector}&resourceVersion={}", expect::revision(&list))).await?;

    let annotated = |note: &str| json!({ "metadata": { "annotations": { note: "true" } } });
    expect::contains(&requests.patch(&name, Patch::Merge, &annotated("patched")).await?, &annotated("patched"))?;
    let updated = requests.modify(&name, |object| object["metadata"]["annotations"]["updated"] = "true".into()).await?;
    expect::contains(&updated, &annotated("updated"))?;
    watch.until("the update", |e| e.object["metadata"]["annotations"]["updated"] == "true").await?;

    approve(&requests, &name).await?;
    sign(&requests, &name).await?;

    requests.delete(&name).await?;
    requests.get(&name).await.refused_with(404)?;
    expect::same("the number of requests left", &requests.items(&selector).await?.len(), &2)?;
    requests.delete_collection(&selector).await?;
    requests.wait_list(&selector, "no requests", <[Value]>::is_empty).await?;
    Ok(())
}

async fn approve(requests: &Objects, name: &str) -> anyhow::Result<()> {
    expect::at(&requests.get_sub(name, "approval").await?, "/metadata/name", name)?;
    let condition = json!({ "type": "ApprovalPatch", "status": "True", "reason": "e2e" });
    let patch = json!({ "metadata": { "annotations": { "patchedapproval": "true" } }, "status": { "conditions": [condition] } });
    let patched = requests.patch_sub(name, "approval", Patch::Merge, &patch).await?;
    expect::at(&patched, "/status/conditions/0/type", "ApprovalPatch")?;
    expect::at(&patched, "/metadata/annotations/patchedapproval", "true")?;
    let approval = json!({ "type": "Approved", "status": "True", "reason": "E2E", "message": "Set from an e2e test" });
    let append = |object: &mut Value| {
        let mut all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.push(approval.clone());
        object["status"]["conditions"] = Value::Array(all);
    };
    let approved = requests.modify_sub(name, "approval", append).await?;
    expect::at(&approved, "/status/conditions/1/type", "Approved")?;
    expect::that(approved["status"]["conditions"][1]["lastUpdateTime"].is_string(), || format!("no time: {approved}"))
}

async fn sign(requests: &Objects, name: &str) -> anyhow::Result<()> {
    expect::at(&requests.get_sub(name, "status").await?, "/metadata/name", name)?;
    for wrong in [
        json!({ "certificate": STANDARD.encode("no certificate") }),
        json!({ "conditions": [{ "type": "Odd", "status": "Perhaps" }] }),
    ] {
        requests.patch_sub(name, "status", Patch::Merge, &json!({ "status": wrong })).await.refused_with(422)?;
    }
    let key = rcgen::KeyPair::generate()?;
    let pem = rcgen::CertificateParams::default().self_signed(&key)?.pem();
    let patch = json!({ "metadata": { "annotations": { "patchedstatus": "true" } }, "status": { "certificate": STANDARD.encode(pem) } });
    let patched = requests.patch_sub(name, "status", Patch::Merge, &patch).await?;
    expect::contains(&patched, &patch)?;
    let condition =
        json!({ "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test" });
    let append = |object: &mut Value| {
        let mut all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.push(condition.clone());
        object["status"]["conditions"] = Value::Array(all);
    };
    let updated = requests.modify_sub(name, "status", append).await?;
    let types: Vec<&str> =
        updated["status"]["conditions"].as_array().into_iter().flatten().map(|c| expect::text(c, "/type")).collect();
    expect::that(types.contains(&"StatusUpdate") && types.contains(&"Approved"), || format!("conditions are {types:?}"))
}
