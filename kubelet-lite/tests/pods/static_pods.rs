//! Pods of files, and their mirrors.

use std::path::Path;
use std::sync::Arc;

use knetsim_kubelet_lite::node::registration;
use knetsim_kubelet_lite::pod::manager;
use knetsim_kubelet_lite::pod::registry::Registry;
use knetsim_kubelet_lite::static_pods;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::world::{World, path, state};

const FOLDER: &str = "/run/test/manifests";
const OUT: &str = "/run/test/static";

/// Writes a file as an editor does: at once.
fn write(script: &str) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web", "labels": { "app": "web" } },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [{ "name": "out", "hostPath": { "path": OUT } }],
            "containers": [{
                "name": "app", "image": "busybox", "command": ["sh", "-c", script],
                "volumeMounts": [{ "name": "out", "mountPath": "/out" }],
            }],
        },
    });
    let fresh = Path::new(FOLDER).join(".web.yaml");
    std::fs::write(&fresh, pod.to_string()).expect("written");
    std::fs::rename(fresh, Path::new(FOLDER).join("web.yaml")).expect("renamed");
}

/// What the pod says when it has begun.
async fn said() -> String {
    let read = tokio::task::spawn_blocking(|| std::fs::read_to_string(Path::new(OUT).join("fifo")));
    let read = tokio::time::timeout(std::time::Duration::from_secs(20), read);
    read.await.expect("the pod begins").expect("read").expect("read").trim().to_owned()
}

fn is_running(pod: &Value) -> bool {
    state(pod, 0)["running"].is_object()
}

pub async fn files_are_pods_with_or_without_the_api(world: &World) {
    for folder in [FOLDER, OUT] {
        std::fs::create_dir_all(folder).expect("made");
    }
    mkfifo(&Path::new(OUT).join("fifo"), Mode::S_IRWXU).expect("made");
    let script = |word: &str| format!("trap 'exit 0' TERM; echo {word} > /out/fifo; while :; do sleep 0.05; done");
    write(&script("one"));

    // Nobody has registered the node, so that there can be no mirror; the pod runs all the same.
    let node = world.node.clone();
    let own = Arc::new(registration::own(&node).expect("a node"));
    let files = static_pods::follow(Some(Path::new(FOLDER)), &node.name).expect("followed");
    let registry = Registry::default();
    let running = tokio::spawn(manager::run(node.clone(), registry.clone(), files, own.clone()));
    assert_eq!(said().await, "one");
    let (name, at) = ("web-c0w1", path("web-c0w1"));
    assert!(world.fake.get(&at).is_none());

    let mut registered = (*own).clone();
    registered.metadata.uid = Some("node-uid".to_owned());
    node.object.send_replace(Arc::new(registered));
    let mirror = world.until(name, "a running mirror", is_running).await;
    let (meta, annotations) = (&mirror["metadata"], &mirror["metadata"]["annotations"]);
    assert_eq!(meta["ownerReferences"][0]["uid"], "node-uid");
    assert_eq!(meta["ownerReferences"][0]["kind"], "Node");
    assert_eq!(meta["labels"]["app"], "web");
    assert_eq!(annotations["kubernetes.io/config.source"], "file");
    assert_eq!(annotations["kubernetes.io/config.mirror"], annotations["kubernetes.io/config.hash"]);
    assert_ne!(annotations["kubernetes.io/config.mirror"], meta["uid"], "the mirror is an object of its own");
    let view = registry.get("default", name).expect("known");
    assert_eq!(view.pod.metadata.uid.as_deref(), annotations["kubernetes.io/config.hash"].as_str());
    assert!(mirror["status"]["podIP"].as_str().is_some_and(|ip| ip.starts_with("11.0.1.")));

    // Whoever deletes a mirror, gracefully or not, gets another one, of the same run of the same container.
    let id = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    world.fake.remove(&at);
    let second = |pod: &Value| is_running(pod) && pod["metadata"]["uid"] != meta["uid"];
    let second = world.until(name, "made anew", second).await;
    assert_eq!(id(&second), id(&mirror));
    let mut leaving = second.clone();
    leaving["metadata"]["deletionTimestamp"] = json!("2024-01-02T03:04:05Z");
    world.fake.put(&at, leaving);
    let third = |pod: &Value| is_running(pod) && pod["metadata"]["uid"] != second["metadata"]["uid"];
    assert_eq!(id(&world.until(name, "made anew", third).await), id(&mirror));

    // Another file is another pod, after the one before; the API server need not be there to see it.
    world.fake.set_away(true);
    write(&script("two"));
    assert_eq!(said().await, "two");
    world.fake.set_away(false);
    let hash = annotations["kubernetes.io/config.mirror"].clone();
    let other = |pod: &Value| is_running(pod) && pod["metadata"]["annotations"]["kubernetes.io/config.mirror"] != hash;
    assert_ne!(id(&world.until(name, "another's mirror", other).await), id(&mirror));

    // A mirror of nothing goes.
    let mut orphan = world.fake.get(&at).expect("there");
    orphan["metadata"]["name"] = json!("ghost-c0w1");
    orphan["metadata"]["uid"] = json!("ghost");
    world.fake.put(&path("ghost-c0w1"), orphan);
    world.until_gone("ghost-c0w1").await;

    std::fs::remove_file(Path::new(FOLDER).join("web.yaml")).expect("removed");
    world.until_gone(name).await;
    running.abort();
}
