//! ResourceQuota.

use serde_json::{Map, Value, json};

use crate::client::{Objects, Patch, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated. [Conformance]" => prompt,
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service. [Conformance]" => service,
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret. [Conformance]" => secret,
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod. [Conformance]" => pod,
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap. [Conformance]" => config_map,
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replication controller. [Conformance]" => replication_controller,
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replica set. [Conformance]" => replica_set,
    "[sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes. [Conformance]" => terminating,
    "[sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope. [Conformance]" => best_effort,
    "[sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota. [Conformance]" => update,
    "[sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota [Conformance]" => lifecycle,
    "[sig-api-machinery] ResourceQuota should apply changes to a resourcequota status [Conformance]" => status,
}

/// What the quotas of these specs allow.
fn limits() -> Value {
    json!({
        "pods": "5", "services": "10", "services.nodeports": "1", "services.loadbalancers": "1",
        "replicationcontrollers": "10", "resourcequotas": "1", "secrets": "10", "configmaps": "10",
        "persistentvolumeclaims": "10", "cpu": "1", "memory": "500Mi", "requests.storage": "10Gi",
        "ephemeral-storage": "50Gi", "count/replicasets.apps": "5", "requests.example.com/dongle": "3",
    })
}

struct Quota {
    quotas: Objects,
    name: &'static str,
}

impl Quota {
    /// Makes the quota and waits until its usage is known.
    async fn new(t: &Test, name: &'static str, spec: Value) -> anyhow::Result<Self> {
        let quotas = t.objects("v1", "resourcequotas");
        quotas.create(&json!({ "metadata": { "name": name }, "spec": spec })).await?;
        let this = Self { quotas, name };
        this.quotas.wait(name, "a usage", |quota| quota["status"]["used"].is_object()).await?;
        Ok(this)
    }

    async fn used(&self, name: &str) -> anyhow::Result<Value> {
        Ok(self.quotas.get(self.name).await?["status"]["used"][name].clone())
    }

    /// Waits until the usage is as wanted.
    async fn becomes(&self, used: Value) -> anyhow::Result<()> {
        let wanted = used.as_object().cloned().unwrap_or_default();
        let holds = |quota: &Value| wanted.iter().all(|(name, amount)| quota["status"]["used"][name] == *amount);
        self.quotas.wait(self.name, &format!("the usage {used}"), holds).await.map(|_| ())
    }
}

/// One resource of a kind is counted when it is made, and no more when it is gone.
async fn counted(t: &Test, names: &[&str], objects: &Objects, object: Value) -> anyhow::Result<()> {
    let quota = Quota::new(t, "test-quota", json!({ "hard": limits() })).await?;
    let mut before = Map::new();
    for name in names {
        before.insert((*name).to_owned(), quota.used(name).await?);
    }
    let more = |amount: &Value| -> Value {
        let number: i64 = amount.as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        (number + 1).to_string().into()
    };
    let after: Map<String, Value> = before.iter().map(|(name, amount)| (name.clone(), more(amount))).collect();
    let created = objects.create(&object).await?;
    quota.becomes(Value::Object(after)).await?;
    objects.delete(expect::name(&created)).await?;
    quota.becomes(Value::Object(before)).await
}

async fn prompt(t: Test) -> anyhow::Result<()> {
    let quota = Quota::new(&t, "test-quota", json!({ "hard": limits() })).await?;
    quota.becomes(json!({ "resourcequotas": "1" })).await?;
    // A second one is over the limit of the first.
    let second = json!({ "metadata": { "name": "second" }, "spec": { "hard": limits() } });
    let refused = quota.quotas.create(&second).await.refused_with(403)?;
    expect::has_text(
        refused.message(),
        "exceeded quota: test-quota, requested: resourcequotas=1, used: resourcequotas=1, limited: resourcequotas=1",
    )
}

async fn service(t: Test) -> anyhow::Result<()> {
    let quota = Quota::new(&t, "test-quota", json!({ "hard": limits() })).await?;
    let services = t.objects("v1", "services");
    let service = |name: &str, kind: &str| {
        json!({ "metadata": { "name": name }, "spec": { "type": kind, "allocateLoadBalancerNodePorts": if kind == "LoadBalancer" { json!(false) } else { Value::Null },
            "ports": [{ "port": 80 }] } })
    };
    services.create(&service("cluster", "ClusterIP")).await?;
    services.create(&service("node", "NodePort")).await?;
    quota.becomes(json!({ "services": "2", "services.nodeports": "1", "services.loadbalancers": "0" })).await?;
    let refused = services.create(&service("second-node", "NodePort")).await.refused_with(403)?;
    expect::has_text(refused.message(), "exceeded quota: test-quota, requested: services.nodeports=1")?;
    let refused = services
        .create(&json!({ "metadata": { "name": "balanced" }, "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] } }))
        .await
        .refused_with(403)?;
    expect::has_text(refused.message(), "requested: services.nodeports=1")?;
    services.create(&service("balanced", "LoadBalancer")).await?;
    quota.becomes(json!({ "services": "3", "services.nodeports": "1", "services.loadbalancers": "1" })).await?;
    for name in ["cluster", "node", "balanced"] {
        services.delete(name).await?;
    }
    quota.becomes(json!({ "services": "0", "services.nodeports": "0", "services.loadbalancers": "0" })).await
}

async fn secret(t: Test) -> anyhow::Result<()> {
    let object = json!({ "metadata": { "name": "test-secret" }, "data": { "a": "dmFsdWUtMQ==" } });
    counted(&t, &["secrets"], &t.objects("v1", "secrets"), object).await
}

async fn config_map(t: Test) -> anyhow::Result<()> {
    let object = json!({ "metadata": { "name": "test-configmap" }, "data": { "a": "value-1" } });
    counted(&t, &["configmaps"], &t.objects("v1", "configmaps"), object).await
}

fn workload(name: &str, replicas: i64) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "name": name } },
            "template": { "metadata": { "labels": { "name": name } },
                "spec": { "containers": [{ "name": name, "image": "registry.k8s.io/pause:3.10" }] } } },
    })
}

async fn replication_controller(t: Test) -> anyhow::Result<()> {
    let mut object = workload("test-rc", 0);
    object["spec"]["selector"] = json!({ "name": "test-rc" });
    counted(&t, &["replicationcontrollers"], &t.objects("v1", "replicationcontrollers"), object).await
}

async fn replica_set(t: Test) -> anyhow::Result<()> {
    counted(&t, &["count/replicasets.apps"], &t.objects("apps/v1", "replicasets"), workload("test-rs", 0)).await
}

fn a_pod(name: &str, requests: Value, limits: Value) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "terminationGracePeriodSeconds": 0, "nodeSelector": { "x-test.k8s.io/unsatisfiable": "not-schedulable" },
            "containers": [{ "name": "pause", "image": "registry.k8s.io/pause:3.10",
                "resources": { "requests": requests, "limits": limits } }] },
    })
}

async fn pod(t: Test) -> anyhow::Result<()> {
    let quota = Quota::new(&t, "test-quota", json!({ "hard": limits() })).await?;
    let pods = t.objects("v1", "pods");
    let requests = json!({ "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2" });
    pods.create(&a_pod("test-pod", requests, json!({ "example.com/dongle": "2" }))).await?;
    let used = json!({ "pods": "1", "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi",
        "requests.example.com/dongle": "2" });
    quota.becomes(used.clone()).await?;
    for (name, requests, limits) in [
        ("fail-cpu", json!({ "cpu": "600m", "memory": "100Mi" }), json!({})),
        (
            "fail-extended",
            json!({ "cpu": "500m", "memory": "100Mi", "example.com/dongle": "2" }),
            json!({ "example.com/dongle": "2" }),
        ),
    ] {
        let refused = pods.create(&a_pod(name, requests, limits)).await.refused_with(403)?;
        expect::has_text(refused.message(), "exceeded quota: test-quota")?;
    }
    // What a pod asks for cannot be changed, and so its charge stays.
    let mut changed = pods.get("test-pod").await?;
    changed["spec"]["containers"][0]["resources"]["requests"] = json!({ "cpu": "100m", "memory": "100Mi" });
    pods.update(&changed).await.refused()?;
    quota.becomes(used).await?;
    pods.delete_with("test-pod", &json!({ "gracePeriodSeconds": 0 })).await?;
    let none =
        json!({ "pods": "0", "cpu": "0", "memory": "0", "ephemeral-storage": "0", "requests.example.com/dongle": "0" });
    quota.becomes(none).await
}

async fn terminating(t: Test) -> anyhow::Result<()> {
    let hard = || json!({ "pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi" });
    let ends = Quota::new(&t, "quota-terminating", json!({ "hard": hard(), "scopes": ["Terminating"] })).await?;
    let stays =
        Quota::new(&t, "quota-not-terminating", json!({ "hard": hard(), "scopes": ["NotTerminating"] })).await?;
    let pods = t.objects("v1", "pods");
    let resources = || (json!({ "cpu": "500m", "memory": "200Mi" }), json!({ "cpu": "1", "memory": "400Mi" }));
    let used = json!({ "pods": "1", "requests.cpu": "500m", "requests.memory": "200Mi", "limits.cpu": "1", "limits.memory": "400Mi" });
    let none =
        json!({ "pods": "0", "requests.cpu": "0", "requests.memory": "0", "limits.cpu": "0", "limits.memory": "0" });
    for (deadline, charged, free) in [(None, &stays, &ends), (Some(3600), &ends, &stays)] {
        let (requests, limits) = resources();
        let mut pod = a_pod("test-pod", requests, limits);
        pod["spec"]["activeDeadlineSeconds"] = json!(deadline);
        pods.create(&pod).await?;
        charged.becomes(used.clone()).await?;
        free.becomes(none.clone()).await?;
        pods.delete_with("test-pod", &json!({ "gracePeriodSeconds": 0 })).await?;
        charged.becomes(none.clone()).await?;
    }
    Ok(())
}

async fn best_effort(t: Test) -> anyhow::Result<()> {
    let spec = |scope: &str| json!({ "hard": { "pods": "5" }, "scopes": [scope] });
    let without = Quota::new(&t, "quota-besteffort", spec("BestEffort")).await?;
    let with = Quota::new(&t, "quota-not-besteffort", spec("NotBestEffort")).await?;
    let pods = t.objects("v1", "pods");
    let asking = a_pod("burstable-pod", json!({ "cpu": "100m" }), json!({ "cpu": "500m" }));
    for (pod, charged, free) in
        [(a_pod("besteffort-pod", json!({}), json!({})), &without, &with), (asking, &with, &without)]
    {
        pods.create(&pod).await?;
        charged.becomes(json!({ "pods": "1" })).await?;
        free.becomes(json!({ "pods": "0" })).await?;
        pods.delete_with(expect::name(&pod), &json!({ "gracePeriodSeconds": 0 })).await?;
        charged.becomes(json!({ "pods": "0" })).await?;
    }
    Ok(())
}

async fn update(t: Test) -> anyhow::Result<()> {
    let quotas = t.objects("v1", "resourcequotas");
    let quota = json!({ "metadata": { "name": "test-quota" }, "spec": { "hard": { "cpu": "1", "memory": "500Mi" } } });
    let created = quotas.create(&quota).await?;
    expect::at(&created, "/spec/hard/cpu", "1")?;
    let updated =
        quotas.modify("test-quota", |quota| quota["spec"]["hard"] = json!({ "cpu": "2", "memory": "1Gi" })).await?;
    expect::at(&updated, "/spec/hard/memory", "1Gi")?;
    expect::at(&quotas.get("test-quota").await?, "/spec/hard", json!({ "cpu": "2", "memory": "1Gi" }))?;
    quotas.delete("test-quota").await?;
    quotas.gone("test-quota").await
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    let (quotas, all) = (t.objects("v1", "resourcequotas"), t.everywhere("v1", "resourcequotas"));
    let label = t.name("quota");
    let selector = format!("labelSelector=e2e={label}");
    let hard = json!({ "cpu": "1", "memory": "500Mi" });
    quotas
        .create(&json!({ "metadata": { "name": "test-quota", "labels": { "e2e": label } }, "spec": { "hard": hard } }))
        .await?;
    expect::at(&quotas.get("test-quota").await?, "/spec/hard", hard)?;
    let items = all.items(&selector).await?;
    expect::same("the number of quotas in all namespaces", &items.len(), &1)?;
    let body = json!({ "metadata": { "labels": { "patched": "true" } }, "spec": { "hard": { "memory": "750Mi" } } });
    let patched = quotas.patch("test-quota", Patch::Strategic, &body).await?;
    expect::contains(&patched, &body)?;
    quotas.delete_collection(&selector).await?;
    quotas.wait_list(&selector, "no quotas", <[Value]>::is_empty).await?;
    Ok(())
}

async fn status(t: Test) -> anyhow::Result<()> {
    let quotas = t.objects("v1", "resourcequotas");
    let label = t.name("status");
    let selector = format!("labelSelector=e2e={label}");
    let mut watch = quotas.watch(&selector).await?;
    let spec = json!({ "hard": { "cpu": "500m", "memory": "500Mi" } });
    quotas.create(&json!({ "metadata": { "name": "e2e-rq", "labels": { "e2e": label } }, "spec": spec })).await?;
    quotas.wait("e2e-rq", "a status", |quota| quota["status"]["hard"] == spec["hard"]).await?;
    let more = json!({ "cpu": "1", "memory": "1Gi" });
    let updated = quotas.modify_sub("e2e-rq", "status", |quota| quota["status"]["hard"] = more.clone()).await?;
    expect::at(&updated, "/status/hard", more.clone())?;
    watch.until("the new status", |e| e.object["status"]["hard"] == more).await?;
    let patch = json!({ "metadata": { "labels": { "patched": "true" } }, "status": { "hard": { "cpu": "2", "memory": "2Gi" } } });
    let patched = quotas.patch_sub("e2e-rq", "status", Patch::Merge, &patch).await?;
    expect::contains(&patched, &patch)?;
    watch.until("the patched status", |e| e.object["status"]["hard"]["cpu"] == "2").await?;
    expect::at(&quotas.get_sub("e2e-rq", "status").await?, "/status/hard/memory", "2Gi")?;
    // The spec is what counts: a change of it brings the status back.
    let got = quotas.get("e2e-rq").await?;
    expect::at(&got, "/spec", spec)?;
    quotas.modify("e2e-rq", |quota| quota["spec"]["hard"]["cpu"] = "600m".into()).await?;
    let wanted = json!({ "cpu": "600m", "memory": "500Mi" });
    quotas.wait("e2e-rq", "the status of its spec", |quota| quota["status"]["hard"] == wanted).await?;
    Ok(())
}
