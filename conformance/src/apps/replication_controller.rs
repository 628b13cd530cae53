//! ReplicationController.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-apps] ReplicationController should get and update a ReplicationController scale [Conformance]" => scale,
    "[sig-apps] ReplicationController should release no longer matching pods [Conformance]" => release,
    "[sig-apps] ReplicationController should surface a failure condition on a common issue like exceeded quota [Conformance]" => quota,
}

fn controller(name: &str, replicas: usize) -> Value {
    json!({ "metadata": { "name": name }, "spec": {
        "replicas": replicas, "selector": { "name": name },
        "template": {
            "metadata": { "labels": { "name": name } },
            "spec": { "terminationGracePeriodSeconds": 0, "containers": [{ "name": name, "image": "nginx" }] },
        },
    } })
}

async fn scale(t: Test) -> anyhow::Result<()> {
    let controllers = t.objects("v1", "replicationcontrollers");
    controllers.create(&controller("rc", 1)).await?;
    controllers.wait("rc", "one replica", |rc| rc["status"]["replicas"] == 1).await?;
    let mut scale = controllers.get_sub("rc", "scale").await?;
    expect::contains(
        &scale,
        &json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "spec": { "replicas": 1 }, "status": { "replicas": 1 } }),
    )?;
    scale["spec"]["replicas"] = 2.into();
    scale["metadata"]["resourceVersion"] = Value::Null;
    let updated = controllers.update_sub("scale", &scale).await?;
    expect::at(&updated, "/spec/replicas", 2)?;
    controllers.wait("rc", "two replicas", |rc| rc["status"]["replicas"] == 2).await?;
    expect::at(&controllers.get("rc").await?, "/spec/replicas", 2)
}

async fn release(t: Test) -> anyhow::Result<()> {
    let (controllers, pods) = (t.objects("v1", "replicationcontrollers"), t.objects("v1", "pods"));
    let rc = controllers.create(&controller("pod-release", 1)).await?;
    let list = pods.wait_list("labelSelector=name=pod-release", "a pod", |list| list.len() == 1).await?;
    let name = expect::name(&list[0]).to_owned();
    pods.patch(&name, Patch::Strategic, &json!({ "metadata": { "labels": { "name": "not-matching-name" } } })).await?;
    pods.wait(&name, "no owner", |pod| {
        let owners = pod["metadata"]["ownerReferences"].as_array();
        owners.into_iter().flatten().all(|owner| owner["uid"] != rc["metadata"]["uid"])
    })
    .await?;
    pods.wait_list("labelSelector=name=pod-release", "another pod", |list| list.len() == 1).await?;
    Ok(())
}

async fn quota(t: Test) -> anyhow::Result<()> {
    let quotas = t.objects("v1", "resourcequotas");
    quotas.create(&json!({ "metadata": { "name": "condition-test" }, "spec": { "hard": { "pods": "2" } } })).await?;
    quotas.wait("condition-test", "its status", |quota| quota["status"]["hard"]["pods"] == "2").await?;
    let controllers = t.objects("v1", "replicationcontrollers");
    controllers.create(&controller("condition-test", 3)).await?;
    let failing = |rc: &Value| {
        let observed = rc["status"]["observedGeneration"].as_i64() >= rc["metadata"]["generation"].as_i64();
        let conditions = rc["status"]["conditions"].as_array();
        observed && conditions.into_iter().flatten().any(|c| c["type"] == "ReplicaFailure")
    };
    controllers.wait("condition-test", "condition ReplicaFailure", failing).await?;
    controllers.modify("condition-test", |rc| rc["spec"]["replicas"] = 2.into()).await?;
    controllers
        .wait("condition-test", "no condition ReplicaFailure", |rc| {
            rc["spec"]["replicas"] == 2
                && !failing(rc)
                && rc["status"]["observedGeneration"].as_i64() >= rc["metadata"]["generation"].as_i64()
        })
        .await?;
    Ok(())
}
