//! Whole pods on the real kernel: sandbox, CNI bridge, runc, logs, restart of the kubelet, deletion. The API server is
//! the smallest thing that can play it: one table of objects by path, with no watch.

mod api;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use cni::libcni::Cni;
use knetsim_kubelet_lite::flags::Flags;
use knetsim_kubelet_lite::images::Images;
use knetsim_kubelet_lite::images::rootfs::Writable;
use knetsim_kubelet_lite::node::events::Events;
use knetsim_kubelet_lite::node::machine::Machine;
use knetsim_kubelet_lite::node::{Backoff, Node};
use knetsim_kubelet_lite::objects::Watched;
use knetsim_kubelet_lite::oci_runtime::exec::Runc;
use knetsim_kubelet_lite::pod::actor::{Actor, Event};
use knetsim_kubelet_lite::pod::allocation::{Allocated, Pending};
use knetsim_kubelet_lite::pod::registry::Registry;
use runtime::events::Recorder;
use serde_json::{Value, json};

use api::Fake;

fn main() {
    let args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| ["kubelet", "pause", "agnhost"].iter().any(|name| arg == name)) {
        if let Err(error) = knetsim_kubelet_lite::run(args[1..].to_vec()) {
            eprintln!("Error: {error:#}");
            std::process::exit(1);
        }
        return;
    }
    if args.iter().any(|arg| arg == "--list") {
        println!("pods: test");
        return;
    }
    kernel::testing::in_namespace("pods", || {
        let all = async {
            let node = node().await;
            a_pod_lives_and_dies(&node).await;
            exit_codes_restarts_and_messages(&node).await;
            a_terminal_is_one(&node).await;
            a_probe_that_takes_too_long_leaves_nothing(&node).await;
            who_is_not_ready_is_asked_again_soon(&node).await;
            pods_outlive_the_kubelet(&node).await;
            bad_images_and_missing_configuration(&node).await;
            image_volumes_are_folders_that_nobody_changes(&node).await;
            read_only_as_far_as_asked(&node).await;
            volumes_follow_what_they_mirror(&node).await;
            claims_outlive_their_pods(&node).await;
            resizes_are_granted_and_told(&node).await;
            nothing_is_left();
        };
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(all);
        println!("test pods ... ok");
    });
}

struct World {
    fake: Fake,
    node: Arc<Node>,
}

async fn node() -> World {
    // The node's own /var/log, as the launcher gives each node one.
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), "/var/log", Some("tmpfs"), flags, None::<&str>).expect("mounted");
    let base = Path::new("/run/test");
    let conf = base.join("net.d");
    std::fs::create_dir_all(&conf).expect("made");
    let list = json!({
        "name": "test", "cniVersion": "1.0.0",
        "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true,
            "ipam": { "type": "host-local", "dataDir": "/run/test/ipam", "ranges": [[{ "subnet": "11.0.1.0/24" }]],
                      "routes": [{ "dst": "0.0.0.0/0" }] },
        }],
    });
    std::fs::write(conf.join("10-test.conflist"), list.to_string()).expect("written");
    let fake = Fake::start().await;
    let client = fake.client();
    let text = ["kubelet", "--kubeconfig", "/none", "--node-ip", "10.0.0.11", "--cluster-dns", "10.96.0.10"];
    let more = [
        "--root-dir",
        "/run/test/kubelet",
        "--tls-cert-file",
        "x",
        "--tls-private-key-file",
        "x",
        "--client-ca-file",
        "x",
    ];
    let flags = Flags::parse_from(text.iter().chain(&more));
    std::fs::create_dir_all(&flags.root_dir).expect("made");
    let recorder = Arc::new(Recorder::new(client.clone(), "kubelet", Some("c0w1")));
    let (services, _) = kube::runtime::reflector::store();
    let objects = Watched::new(client.clone());
    let node = Node {
        name: "c0w1".into(),
        object: tokio::sync::watch::channel(Arc::default()).0,
        client,
        events: Events::new(recorder),
        images: Images::new(&base.join("images"), &base.join("catalogue")),
        writable: Writable::probe(&base.join("layers"), &base.join("layers")).expect("overlayfs"),
        cni: Cni { conf_dir: conf, bin_dirs: vec!["/usr/lib/cni".into()], cache_dir: base.join("cache") },
        runc: Runc::new(&base.join("runc")),
        services,
        objects,
        network: tokio::sync::watch::channel(None).1,
        machine: Machine::look(&flags),
        backoff: Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(2) },
        flags,
    };
    World { fake, node: Arc::new(node) }
}

impl World {
    /// Creates a pod as the API would have it after scheduling, with an actor of its own.
    fn run(&self, name: &str, spec: Value) -> tokio::sync::mpsc::UnboundedSender<Event> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default", "uid": format!("uid-{name}"), "generation": 1 },
            "spec": spec,
        });
        self.fake.put(&path(name), pod);
        Actor::spawn(self.node.clone(), Registry::default(), Arc::new(self.fake.pod(&path(name))), None).0
    }

    fn delete(&self, name: &str, grace: i64, events: &tokio::sync::mpsc::UnboundedSender<Event>) {
        let at =
            jiff::Timestamp::from_millisecond(jiff::Timestamp::now().as_millisecond() + grace * 1000).expect("a time");
        let mut pod = self.fake.get(&path(name)).expect("the pod is there");
        pod["metadata"]["deletionTimestamp"] = json!(at);
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        self.fake.put(&path(name), pod);
        events.send(Event::Pod(Allocated::whole(Arc::new(self.fake.pod(&path(name)))))).expect("the actor lives");
    }

    async fn until(&self, name: &str, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        let none = json!({});
        self.fake.until(&path(name), what, |pod| test(pod.unwrap_or(&none))).await.unwrap_or(json!({}))
    }

    async fn until_gone(&self, name: &str) {
        self.fake.until(&path(name), "gone", |pod| pod.is_none()).await;
    }

    fn reasons(&self) -> Vec<String> {
        self.fake.events().iter().map(|event| event["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{name}")
}

fn state(pod: &Value, index: usize) -> &Value {
    &pod["status"]["containerStatuses"][index]["state"]
}

async fn a_pod_lives_and_dies(world: &World) {
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

async fn exit_codes_restarts_and_messages(world: &World) {
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

async fn a_terminal_is_one(world: &World) {
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

/// A probe's program does not live on in the container when its time is over.
async fn a_probe_that_takes_too_long_leaves_nothing(world: &World) {
    let events = world.run(
        "slow-probe",
        json!({
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "app", "image": "busybox", "command": ["sh", "-c", "exec sleep 100"],
                "readinessProbe": { "exec": { "command": ["sh", "-c", "exec sleep 4321"] },
                    "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1 },
            }],
        }),
    );
    let words = "Readiness probe failed: command timed out: \"sh -c exec sleep 4321\" timed out after 1s";
    let thrice = |event: &Value| event["message"] == words && event["count"].as_u64().is_some_and(|count| count >= 3);
    world.fake.until("/none", words, |_| world.fake.events().iter().any(thrice)).await;
    let is_it = |path: std::path::PathBuf| std::fs::read(path).is_ok_and(|line| line == b"sleep\x004321\x00");
    let alive = || {
        let all = std::fs::read_dir("/proc").expect("it is there").flatten();
        all.filter(|process| is_it(process.path().join("cmdline"))).count()
    };
    // The next one may have begun; those before are gone as soon as the kernel has ended them.
    let gone = async {
        while alive() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("nothing is left of earlier probes");
    world.delete("slow-probe", 0, &events);
    world.until_gone("slow-probe").await;
}

/// A container that is ready a moment after its start does not wait for its probe's next period, which is never here.
async fn who_is_not_ready_is_asked_again_soon(world: &World) {
    let events = world.run(
        "slow-start",
        json!({
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                // It is ready only after the first probe.
                "name": "app", "image": "busybox",
                "command": ["sh", "-c", "until test -e /tmp/asked; do sleep 0.1; done; touch /tmp/up; exec sleep 100"],
                "readinessProbe": {
                    "exec": { "command": ["sh", "-c", "test -e /tmp/up || { touch /tmp/asked; exit 1; }"] },
                    "periodSeconds": 3600, "timeoutSeconds": 10,
                },
            }, {
                // Every end of this one is a reason to look again, however slow the machine is.
                "name": "crash", "image": "busybox", "command": ["sh", "-c", "exit 1"],
            }],
        }),
    );
    let failed = |event: &Value| event["reason"] == "Unhealthy" && event["involvedObject"]["name"] == "slow-start";
    world.fake.until("/none", "a probe too early", |_| world.fake.events().iter().any(failed)).await;
    world.until("slow-start", "ready", |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await;
    world.delete("slow-start", 0, &events);
    world.until_gone("slow-start").await;
}

async fn pods_outlive_the_kubelet(world: &World) {
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

async fn bad_images_and_missing_configuration(world: &World) {
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

/// An image of one file and a link, in the node's store as `knetsim image load` puts it there.
fn store_image(name: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let (root, top) = (dir.path().join("root"), dir.path().join("top"));
    std::fs::create_dir_all(root.join("etc/inner")).expect("made");
    std::fs::create_dir_all(&top).expect("made");
    std::fs::write(root.join("etc/inner/data"), "of the image\n").expect("written");
    std::fs::write(root.join("run.sh"), "#!/bin/sh\necho ran\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.join("run.sh"), mode).expect("set");
    std::os::unix::fs::symlink("/etc/inner", root.join("link")).expect("linked");
    let pack = |from: &Path, to: &Path| {
        let status = std::process::Command::new("tar").arg("-cf").arg(to).arg("-C").arg(from).arg(".").status();
        assert!(status.expect("tar runs").success());
    };
    pack(&root, &top.join("layer.tar"));
    std::fs::write(top.join("config.json"), r#"{"config":{}}"#).expect("written");
    let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
    std::fs::write(top.join("manifest.json"), manifest.to_string()).expect("written");
    let archive = dir.path().join("image.tar");
    pack(&top, &archive);
    knetsim_kubelet_lite::images::load(Path::new("/run/test/images"), &archive).expect("loads");
}

/// Image volumes (KEP-4639): read-only, not executable, all of an image or a path in it; of stored images and of the
/// catalogue's. One that cannot be had holds up only who mounts it, in upstream's words.
async fn image_volumes_are_folders_that_nobody_changes(world: &World) {
    store_image("example.com/files:1");
    let image = |name: &str, policy: &str| json!({ "reference": name, "pullPolicy": policy });
    let script = "grep -q 'of the image' /whole/etc/inner/data && grep -q 'of the image' /sub/data && \
                  grep -q 'of the image' /one && ! touch /whole/new && ! /whole/run.sh && \
                  grep -q localhost /stand-in/etc/hosts && test -x /stand-in/usr/bin/env && ! /stand-in/usr/bin/env && \
                  ! touch /stand-in/etc/new && test ! -e /never && exit 7";
    let events = world.run(
        "image-volumes",
        json!({
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
            "volumes": [{ "name": "stored", "image": image("example.com/files:1", "Always") },
                { "name": "stand-in", "image": image("busybox", "IfNotPresent") },
                { "name": "unused", "image": image("example.com/none:1", "Never") }],
            "containers": [{
                "name": "app", "image": "busybox", "command": ["sh", "-c", script],
                "volumeMounts": [{ "name": "stored", "mountPath": "/whole" },
                    { "name": "stored", "mountPath": "/sub", "subPath": "link" },
                    { "name": "stored", "mountPath": "/one", "subPath": "etc/inner/data" },
                    { "name": "stand-in", "mountPath": "/stand-in" }],
            }],
        }),
    );
    let pod = world.until("image-volumes", "over", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(state(&pod, 0)["terminated"]["exitCode"], 7, "{pod:#}");
    world.delete("image-volumes", 0, &events);
    world.until_gone("image-volumes").await;

    let missing = |name: &str, volume: Value, sub: &str| {
        world.run(
            name,
            json!({
                "terminationGracePeriodSeconds": 0,
                "volumes": [{ "name": "v", "image": volume }],
                "containers": [{ "name": "app", "image": "busybox", "command": ["sleep", "100"],
                    "volumeMounts": [{ "name": "v", "mountPath": "/v", "subPath": sub }] }],
            }),
        )
    };
    let cases = [
        (
            "iv-pull",
            image("example.com/none:1", "Always"),
            "",
            "ImagePullBackOff",
            "Back-off pulling image \"example.com/none:1\": ErrImagePull: failed to pull image \"example.com/none:1\"",
        ),
        (
            "iv-never",
            image("example.com/none:1", "Never"),
            "",
            "ErrImageNeverPull",
            "Container image \"example.com/none:1\" is not present with pull policy of Never",
        ),
        ("iv-name", image("A b", "Always"), "", "InvalidImageName", "Failed to apply default image tag \"A b\""),
        (
            "iv-sub",
            image("example.com/files:1", "Always"),
            "not-existing",
            "CreateContainerError",
            "ImageVolumeMountFailed: image volume \"v\": subPath \"not-existing\": ENOENT",
        ),
    ];
    for (name, volume, sub, reason, words) in cases {
        let events = missing(name, volume, sub);
        let pod = world.until(name, reason, |pod| state(pod, 0)["waiting"]["reason"] == reason).await;
        let message = state(&pod, 0)["waiting"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.starts_with(words), "{name}: {message}");
        world.delete(name, 0, &events);
        world.until_gone(name).await;
    }
    // The image is spoken of as the pod's, what comes of it as the container's.
    let said = |pod: &str, path: Option<&str>, reason: &str, message: &str| {
        let found = world.fake.events().iter().any(|event| {
            let about = &event["involvedObject"];
            about["name"] == pod
                && about["fieldPath"].as_str() == path
                && event["reason"] == reason
                && event["message"].as_str().is_some_and(|text| text.starts_with(message))
        });
        assert!(found, "{pod} {path:?} {reason} {message}: {:#?}", world.fake.events());
    };
    let container = Some("spec.containers{app}");
    said(
        "image-volumes",
        None,
        "Pulled",
        "Container image \"example.com/files:1\" already present on machine and can be accessed by the pod",
    );
    said("image-volumes", None, "ErrImageNeverPull", "Container image \"example.com/none:1\" is not present");
    said("iv-pull", None, "Pulling", "Pulling image \"example.com/none:1\"");
    said("iv-pull", None, "Failed", "Failed to pull image \"example.com/none:1\"");
    said("iv-pull", container, "Failed", "Error: ErrImagePull");
    said("iv-never", container, "Failed", "Error: ErrImageNeverPull");
    said("iv-sub", container, "Failed", "Error: ImageVolumeMountFailed");
}

/// What is mounted below a read-only mount can be written to, unless the mount is recursively read-only (KEP-3857).
async fn read_only_as_far_as_asked(world: &World) {
    std::fs::create_dir_all("/run/test/tree/inner").expect("made");
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), "/run/test/tree/inner", Some("tmpfs"), flags, None::<&str>).expect("mounted");
    let script = "! touch /tree/new && touch /tree/inner/new && ! touch /all/new && ! touch /all/inner/new && exit 7";
    let events = world.run(
        "read-only",
        json!({
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
            "volumes": [{ "name": "v", "hostPath": { "path": "/run/test/tree" } }],
            "containers": [{ "name": "app", "image": "busybox", "command": ["sh", "-c", script], "volumeMounts": [
                { "name": "v", "mountPath": "/tree", "readOnly": true },
                { "name": "v", "mountPath": "/all", "readOnly": true, "recursiveReadOnly": "Enabled" },
            ] }],
        }),
    );
    let pod = world.until("read-only", "over", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(state(&pod, 0)["terminated"]["exitCode"], 7, "{pod:#}");
    let mounts = json!([
        { "name": "v", "mountPath": "/tree", "readOnly": true, "recursiveReadOnly": "Disabled" },
        { "name": "v", "mountPath": "/all", "readOnly": true, "recursiveReadOnly": "Enabled" },
    ]);
    assert_eq!(pod["status"]["containerStatuses"][0]["volumeMounts"], mounts);
    world.delete("read-only", 0, &events);
    world.until_gone("read-only").await;
    nix::mount::umount("/run/test/tree/inner").expect("unmounted");
}

/// A changed ConfigMap is in the pod's volume as soon as the watch tells of it.
async fn volumes_follow_what_they_mirror(world: &World) {
    let map = |text: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "seen", "namespace": "default", "resourceVersion": "1" }, "data": { "key": text } });
    world.fake.put("/api/v1/namespaces/default/configmaps/seen", map("old"));
    let events = world.run(
        "mirror",
        json!({
            "terminationGracePeriodSeconds": 0,
            "volumes": [{ "name": "v", "configMap": { "name": "seen" } }],
            "containers": [{ "name": "app", "image": "busybox", "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
                "command": ["sh", "-c", "until grep -q new /v/key; do :; done; exit 7"] }],
            "restartPolicy": "Never",
        }),
    );
    world.until("mirror", "running", |pod| pod["status"]["phase"] == "Running").await;
    world.fake.put("/api/v1/namespaces/default/configmaps/seen", map("new"));
    let pod = world.until("mirror", "over", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(state(&pod, 0)["terminated"]["exitCode"], 7);
    world.delete("mirror", 0, &events);
    world.fake.until(&path("mirror"), "gone", |pod| pod.is_none()).await;
}

/// What one pod writes to a claim's volume the next one reads, below a sub-path too; a claim that is not bound holds its
/// pod back, in upstream's words.
async fn claims_outlive_their_pods(world: &World) {
    let folder = "/run/test/volumes/pvc-1";
    let volume = |name: &str, source: Value, claim: &str| {
        let mut volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": { "name": name, "annotations": { "pv.kubernetes.io/provisioned-by": "knetsim.dev/local" } },
            "spec": { "claimRef": { "name": claim, "namespace": "default", "uid": claim } },
        });
        volume["spec"].as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        world.fake.put(&format!("/api/v1/persistentvolumes/{name}"), volume);
    };
    let claim = |name: &str, volume: &str, phase: &str| {
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": name, "namespace": "default", "uid": name },
            "spec": { "volumeName": volume }, "status": { "phase": phase },
        });
        world.fake.put(&format!("/api/v1/namespaces/default/persistentvolumeclaims/{name}"), claim);
    };
    let pod = |claim: &str, read_only: bool, script: &str| {
        json!({
            "terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
            "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": claim, "readOnly": read_only } }],
            "containers": [{ "name": "app", "image": "busybox", "command": ["sh", "-c", script], "volumeMounts": [
                { "name": "v", "mountPath": "/v" }, { "name": "v", "mountPath": "/sub", "subPath": "deep/er" }] }],
        })
    };
    let run = async |name: &str, spec: Value| {
        let events = world.run(name, spec);
        let over = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let pod = world.until(name, "over", over).await;
        world.delete(name, 0, &events);
        world.fake.until(&path(name), "gone", |pod| pod.is_none()).await;
        state(&pod, 0)["terminated"]["exitCode"].as_i64()
    };
    volume("pvc-1", json!({ "hostPath": { "path": folder, "type": "DirectoryOrCreate" } }), "data");
    claim("data", "pvc-1", "Bound");
    assert_eq!(run("writer", pod("data", false, "echo kept > /v/file && echo deep > /sub/file")).await, Some(0));
    let look = "grep -q kept /v/file && grep -q deep /v/deep/er/file && ! touch /v/new 2>/dev/null";
    assert_eq!(run("reader", pod("data", true, look)).await, Some(0));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(folder).expect("kept").permissions());
    assert_eq!(mode & 0o777, 0o777);

    // A disk is there already, and its files are the group's that the pod asks for.
    let disk = "/run/test/disk";
    volume("disk", json!({ "local": { "path": disk } }), "disk");
    claim("disk", "disk", "Bound");
    volume("far", json!({ "csi": { "driver": "d", "volumeHandle": "h" } }), "far");
    claim("far", "far", "Bound");
    claim("later", "", "Pending");
    let complaints = [
        (
            "disk",
            "MountVolume.NewMounter initialization failed for volume \"disk\" : path \"/run/test/disk\" does not exist",
        ),
        ("far", "MountVolume.SetUp failed for volume \"far\" : volume type csi is not supported by knetsim"),
        (
            "later",
            "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process \
             volumes=[v]: error processing PVC default/later: PVC is not bound",
        ),
        (
            "none",
            "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process \
             volumes=[v]: error processing PVC default/none: failed to fetch PVC from API server: not found",
        ),
    ];
    let waiting: Vec<_> =
        complaints.iter().map(|(name, _)| (*name, world.run(name, pod(name, false, "exit 7")))).collect();
    for (_, words) in complaints {
        let said = |event: &Value| event["reason"] == "FailedMount" && event["message"] == words;
        world.fake.until("/none", words, |_| world.fake.events().iter().any(said)).await;
    }
    std::fs::create_dir_all(disk).expect("made");
    claim("later", "pvc-1", "Bound");
    volume("pvc-1", json!({ "hostPath": { "path": folder, "type": "DirectoryOrCreate" } }), "later");
    for (name, events) in waiting {
        if matches!(name, "disk" | "later") {
            let pod = world.until(name, "over", |pod| pod["status"]["phase"] == "Failed").await;
            assert_eq!(state(&pod, 0)["terminated"]["exitCode"], 7, "{name}");
        }
        world.delete(name, 0, &events);
        world.fake.until(&path(name), "gone", |pod| pod.is_none()).await;
    }
    assert!(std::fs::read_to_string(format!("{folder}/file")).is_ok_and(|text| text == "kept\n"), "the data stays");

    // A claim that merely has the right name is not the pod's own.
    claim("own-v", "pvc-1", "Bound");
    volume("pvc-1", json!({ "hostPath": { "path": folder, "type": "DirectoryOrCreate" } }), "own-v");
    let mut spec = pod("", false, "grep -q kept /v/file");
    spec["volumes"] = json!([{ "name": "v", "ephemeral": { "volumeClaimTemplate": { "spec": {} } } }]);
    let events = world.run("own", spec);
    let words = "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process \
                 volumes=[v]: PVC default/own-v was not created for pod default/own (pod is not owner)";
    let said = |event: &Value| event["reason"] == "FailedMount" && event["message"] == words;
    world.fake.until("/none", words, |_| world.fake.events().iter().any(said)).await;
    let at = "/api/v1/namespaces/default/persistentvolumeclaims/own-v";
    let mut owned = world.fake.get(at).expect("there");
    let owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": "own", "uid": "uid-own", "controller": true });
    owned["metadata"]["ownerReferences"] = json!([owner]);
    world.fake.put(at, owned);
    let over = world.until("own", "over", |pod| pod["status"]["phase"] == "Succeeded").await;
    assert_eq!(state(&over, 0)["terminated"]["exitCode"], 0);
    world.delete("own", 0, &events);
    world.fake.until(&path("own"), "gone", |pod| pod.is_none()).await;
}

async fn resizes_are_granted_and_told(world: &World) {
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

fn nothing_is_left() {
    let links = std::process::Command::new("ip").args(["-o", "link"]).output().expect("ip runs");
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    assert!(!links.contains("veth"), "{links}");
    let pinned = std::fs::read_dir("/run/netns").expect("there").count();
    assert_eq!(pinned, 0, "network namespaces are left");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("readable");
    // The machine may have mounts of that name elsewhere.
    let ours = |line: &&str| line.split(' ').nth(4).is_some_and(|at| at.starts_with("/run/") && at.contains("/rootfs"));
    assert_eq!(mounts.lines().find(ours), None);
    let pods = std::fs::read_dir("/run/knetsim/pods").map(std::iter::Iterator::count).unwrap_or(0);
    assert_eq!(pods, 0, "sandbox folders are left");
}
