//! Pods that begin, go wrong, and end.

use std::sync::Arc;
use std::time::Duration;

use knetsim_kubelet_lite::pod::actor::Actor;
use knetsim_kubelet_lite::pod::actor::Event;
use knetsim_kubelet_lite::pod::allocation::Allocated;
use knetsim_kubelet_lite::pod::registry::Registry;
use serde_json::{Value, json};

use crate::world::{World, path, state};

pub async fn a_pod_lives_and_dies(world: &World) {
    let script = "echo hello from $MY_NAME at $MY_IP; trap 'echo bye; exit 0' TERM; while :; do sleep 0.1; done";
    let fields = json!([
        { "name": "MY_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        { "name": "MY_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
    ]);
    let started = std::time::Instant::now();
    let events = world.run(
        "web",
        json!({
            "initContainers": [{ "name": "first", "image": "busybox", "command": ["sh", "-c", "echo made > /data/file"],
                                 "volumeMounts": [{ "name": "data", "mountPath": "/data" }] }],
            "containers": [
                { "name": "app", "image": "debian:12", "command": ["sh", "-c", script], "env": fields,
                  "volumeMounts": [{ "name": "data", "mountPath": "/data" }] },
                { "name": "web", "image": "nginx:1.27", "ports": [{ "containerPort": 80 }],
                  "readinessProbe": { "httpGet": { "path": "/", "port": 80 }, "periodSeconds": 1 } },
            ],
            "volumes": [{ "name": "data", "emptyDir": {} }],
        }),
    );
    let ready = |pod: &Value| {
        pod["status"]["conditions"].as_array().is_some_and(|list| {
            list.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        })
    };
    let pod = world.until("web", "Ready", ready).await;
    println!("two containers and an init container: ready after {:?}", started.elapsed());
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["qosClass"], "BestEffort");
    let ip = pod["status"]["podIP"].as_str().expect("an address");
    assert!(ip.starts_with("11.0.1."), "{ip}");
    let id = pod["status"]["containerStatuses"][0]["containerID"]
        .as_str()
        .expect("an ID")
        .trim_start_matches("runc://")
        .to_owned();
    let output =
        world.node.runc.run(&id, &["cat".into(), "/data/file".into()], Duration::from_secs(5)).await.expect("runs");
    assert_eq!((output.code, output.text.as_str()), (0, "made\n"));
    let output = world
        .node
        .runc
        .run(&id, &["sh".into(), "-c".into(), "ip -4 -o addr; exit 3".into()], Duration::from_secs(5))
        .await;
    let output = output.expect("runs");
    assert_eq!(output.code, 3);
    assert!(output.text.contains("eth0") && output.text.contains(ip), "{}", output.text);
    let log = std::fs::read_to_string("/var/log/pods/default_web_uid-web/app/0.log").expect("a log");
    assert!(log.contains(&format!("stdout F hello from web at {ip}")), "{log}");
    // The node controller took the node for dead, and was wrong; somebody else has a condition to add of which the kubelet
    // has not heard.
    let mut contested = pod.clone();
    let mut unheard = pod.clone();
    unheard["status"]["conditions"]
        .as_array_mut()
        .expect("conditions")
        .push(json!({ "type": "DisruptionTarget", "status": "True" }));
    for condition in contested["status"]["conditions"].as_array_mut().expect("conditions") {
        if condition["type"] == "Ready" {
            condition["status"] = "False".into();
        }
    }
    world.fake.put(&path("web"), contested);
    let contested = Arc::new(world.fake.pod(&path("web")));
    for condition in unheard["status"]["conditions"].as_array_mut().expect("conditions") {
        if condition["type"] == "Ready" {
            condition["status"] = "False".into();
        }
    }
    world.fake.put(&path("web"), unheard);
    events.send(Event::Pod(Allocated::whole(contested))).expect("the actor lives");
    let pod = world.until("web", "Ready again", ready).await;
    let conditions = pod["status"]["conditions"].as_array().expect("conditions");
    assert!(conditions.iter().any(|condition| condition["type"] == "DisruptionTarget"), "{conditions:?}");
    world.delete("web", 5, &events);
    world.until_gone("web").await;
    let seen = world.reasons();
    for reason in ["ImageFromCatalogue", "Created", "Started", "Killing"] {
        assert!(seen.iter().any(|known| known == reason), "no {reason} in {seen:?}");
    }
}

pub async fn exit_codes_restarts_and_messages(world: &World) {
    let events = world.run("job", json!({
        "restartPolicy": "Never",
        "containers": [{ "name": "app", "image": "busybox", "command": ["sh", "-c", "echo because > /dev/termination-log; exit 7"] }],
    }));
    let pod = world.until("job", "Failed", |pod| pod["status"]["phase"] == "Failed").await;
    let ended = &state(&pod, 0)["terminated"];
    assert_eq!(
        (&ended["exitCode"], &ended["reason"], &ended["message"]),
        (&json!(7), &json!("Error"), &json!("because\n"))
    );
    world.delete("job", 0, &events);
    world.until_gone("job").await;

    let events = world.run(
        "crash",
        json!({
            "containers": [{ "name": "app", "image": "busybox", "command": ["false"] }],
        }),
    );
    let pod = world
        .until("crash", "CrashLoopBackOff", |pod| {
            state(pod, 0)["waiting"]["reason"] == "CrashLoopBackOff"
                && pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(2)
        })
        .await;
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(pod["status"]["phase"], "Running");
    world.delete("crash", 0, &events);
    world.until_gone("crash").await;

    let events = world.run(
        "wrong",
        json!({
            "restartPolicy": "Never",
            "containers": [{ "name": "app", "image": "busybox", "command": ["/no/such/program"] }],
        }),
    );
    let pod = world.until("wrong", "StartError", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(state(&pod, 0)["terminated"]["reason"], "StartError");
    assert!(state(&pod, 0)["terminated"]["message"].as_str().expect("a message").contains("/no/such/program"));
    world.delete("wrong", 0, &events);
    world.until_gone("wrong").await;
}

pub async fn a_terminal_is_one(world: &World) {
    let script = "if test -t 0 && test -t 1; then echo a terminal; exit 5; fi";
    let container =
        json!({ "name": "app", "image": "busybox", "command": ["sh", "-c", script], "tty": true, "stdin": true });
    let events = world.run("terminal", json!({ "restartPolicy": "Never", "containers": [container] }));
    let pod = world.until("terminal", "Failed", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(state(&pod, 0)["terminated"]["exitCode"], 5, "{}", state(&pod, 0));
    let folder = world.node.sandbox_dir("uid-terminal");
    let left = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let left: Vec<_> = left.filter(|entry| entry.path().extension().is_some_and(|end| end == "tty")).collect();
    assert!(left.is_empty(), "{left:?}");
    world.delete("terminal", 0, &events);
    world.until_gone("terminal").await;
}

pub async fn pods_outlive_the_kubelet(world: &World) {
    let spec = json!({
        "shareProcessNamespace": true,
        "containers": [{ "name": "app", "image": "busybox", "command": ["sh", "-c", "while :; do sleep 0.1; done"] }],
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "long", "namespace": "default", "uid": "uid-long" }, "spec": spec,
    });
    world.fake.put(&path("long"), pod);
    let first = Actor::spawn(world.node.clone(), Registry::default(), Arc::new(world.fake.pod(&path("long"))), None);
    let running = |pod: &Value| state(pod, 0)["running"].is_object();
    let before = world.until("long", "running", running).await;
    // As after kill -9: the actor is gone and nothing was told.
    first.1.abort();
    let (events, _task) =
        Actor::spawn(world.node.clone(), Registry::default(), Arc::new(world.fake.pod(&path("long"))), None);
    events.send(Event::Wake).expect("the actor lives");
    let after = world.until("long", "running", running).await;
    assert_eq!(before["status"]["podIP"], after["status"]["podIP"]);
    let id = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    assert_eq!(id(&before), id(&after));
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
    world.delete("long", 0, &events);
    world.until_gone("long").await;
}

pub async fn bad_images_and_missing_configuration(world: &World) {
    let events = world.run("unknown", json!({ "containers": [{ "name": "app", "image": "example.com/none:1" }] }));
    world.until("unknown", "ImagePullBackOff", |pod| state(pod, 0)["waiting"]["reason"] == "ImagePullBackOff").await;
    world.delete("unknown", 0, &events);
    world.until_gone("unknown").await;

    let events = world.run(
        "config",
        json!({
            "containers": [{ "name": "app", "image": "busybox", "envFrom": [{ "configMapRef": { "name": "late" } }],
                             "command": ["sh", "-c", "test $KEY = value && sleep 100"] }],
        }),
    );
    let pod = world
        .until("config", "CreateContainerConfigError", |pod| {
            state(pod, 0)["waiting"]["reason"] == "CreateContainerConfigError"
        })
        .await;
    assert_eq!(state(&pod, 0)["waiting"]["message"], "configmap \"late\" not found");
    let late =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "late" }, "data": { "KEY": "value" } });
    world.fake.put("/api/v1/namespaces/default/configmaps/late", late);
    world.until("config", "running", |pod| state(pod, 0)["running"].is_object()).await;
    world.delete("config", 0, &events);
    world.until_gone("config").await;
}
