//! Resources that change while a pod runs.

use std::sync::Arc;

use knetsim_kubelet_lite::pod::actor::Event;
use knetsim_kubelet_lite::pod::allocation::Allocated;
use knetsim_kubelet_lite::pod::allocation::Pending;
use serde_json::{Value, json};

use crate::world::{World, path};

pub async fn resizes_are_granted_and_told(world: &World) {
    let command = json!(["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]);
    let restarts = json!([{ "resourceName": "memory", "restartPolicy": "RestartContainer" }]);
    let resources = |cpu: &str, memory: &str| json!({ "requests": { "cpu": cpu, "memory": memory } });
    let events = world.run(
        "sized",
        json!({
            "restartPolicy": "OnFailure",
            // The shell may be told to end before it has its trap.
            "terminationGracePeriodSeconds": 2,
            "containers": [{ "name": "app", "image": "busybox", "command": command, "resizePolicy": restarts,
                "resources": resources("10m", "10Mi") }],
        }),
    );
    let has = |pod: &Value, cpu: &str, memory: &str| {
        let status = &pod["status"]["containerStatuses"][0];
        let wanted = resources(cpu, memory);
        status["state"]["running"].is_object()
            && status["resources"] == wanted
            && status["allocatedResources"] == wanted["requests"]
    };
    let condition = |pod: &Value, kind: &str| {
        let all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
    };
    world.until("sized", "running as it began", |pod| has(pod, "10m", "10Mi")).await;
    let change = |generation: i64, cpu: &str, memory: &str, pending: Option<Pending>| {
        let mut pod = world.fake.get(&path("sized")).expect("the pod is there");
        pod["metadata"]["generation"] = generation.into();
        pod["spec"]["containers"][0]["resources"] = resources(cpu, memory);
        world.fake.put(&path("sized"), pod);
        let pod = Arc::new(world.fake.pod(&path("sized")));
        events.send(Event::Pod(Allocated { pod, pending })).expect("the actor lives");
    };
    // In place, since nobody asks for a restart when cpu changes.
    change(2, "20m", "10Mi", None);
    let pod = world.until("sized", "resized", |pod| has(pod, "20m", "10Mi")).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    // No room: what it has stays, and a condition says why.
    let message = "Node didn't have enough resource: cpu, requested: 9, used: 9, capacity: 9";
    change(3, "20m", "10Mi", Some(Pending { reason: "Deferred", message: message.into() }));
    let pod = world.until("sized", "deferred", |pod| condition(pod, "PodResizePending")["reason"] == "Deferred").await;
    let pending = condition(&pod, "PodResizePending");
    assert_eq!((&pending["message"], &pending["observedGeneration"]), (&json!(message), &json!(3)));
    // Room: by a restart, which its end with success does not prevent.
    change(4, "20m", "20Mi", None);
    let pod = world.until("sized", "restarted", |pod| {
        has(pod, "20m", "20Mi") && pod["status"]["containerStatuses"][0]["restartCount"] == 1
    });
    let pod = pod.await;
    assert_eq!(condition(&pod, "PodResizePending"), Value::Null);
    world.until("sized", "done", |pod| condition(pod, "PodResizeInProgress").is_null()).await;
    let seen = world.reasons();
    for reason in ["ResizeStarted", "ResizeCompleted", "ResizeDeferred"] {
        assert!(seen.iter().any(|known| known == reason), "no {reason} in {seen:?}");
    }
    world.delete("sized", 0, &events);
    world.until_gone("sized").await;
}
