//! A node with the least that pods need, and pods on it.

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
use knetsim_kubelet_lite::pod::allocation::Allocated;
use knetsim_kubelet_lite::pod::registry::Registry;
use knetsim_kubelet_lite::static_pods::mirror::Mirrors;
use runtime::events::Recorder;
use serde_json::{Value, json};

use crate::api::Fake;

pub struct World {
    pub fake: Fake,
    pub node: Arc<Node>,
}

pub async fn node() -> World {
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
        images: Images::new(&base.join("images"), &base.join("catalogue"), None),
        writable: Writable::probe(&base.join("layers"), &base.join("layers")).expect("overlayfs"),
        cni: Cni { conf_dir: conf, bin_dirs: vec!["/usr/lib/cni".into()], cache_dir: base.join("cache") },
        runc: Runc::new(&base.join("runc")),
        services,
        objects,
        mirrors: Mirrors::default(),
        network: tokio::sync::watch::channel(None).1,
        machine: Machine::look(&flags),
        backoff: Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(2) },
        flags,
    };
    World { fake, node: Arc::new(node) }
}

impl World {
    /// Creates a pod as the API would have it after scheduling, with an actor of its own.
    pub fn run(&self, name: &str, spec: Value) -> tokio::sync::mpsc::UnboundedSender<Event> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default", "uid": format!("uid-{name}"), "generation": 1 },
            "spec": spec,
        });
        self.fake.put(&path(name), pod);
        Actor::spawn(self.node.clone(), Registry::default(), Arc::new(self.fake.pod(&path(name))), None).0
    }

    pub fn delete(&self, name: &str, grace: i64, events: &tokio::sync::mpsc::UnboundedSender<Event>) {
        let at =
            jiff::Timestamp::from_millisecond(jiff::Timestamp::now().as_millisecond() + grace * 1000).expect("a time");
        let mut pod = self.fake.get(&path(name)).expect("the pod is there");
        pod["metadata"]["deletionTimestamp"] = json!(at);
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        self.fake.put(&path(name), pod);
        events.send(Event::Pod(Allocated::whole(Arc::new(self.fake.pod(&path(name)))))).expect("the actor lives");
    }

    pub async fn until(&self, name: &str, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        let none = json!({});
        self.fake.until(&path(name), what, |pod| test(pod.unwrap_or(&none))).await.unwrap_or(json!({}))
    }

    pub async fn until_gone(&self, name: &str) {
        self.fake.until(&path(name), "gone", |pod| pod.is_none()).await;
    }

    pub fn reasons(&self) -> Vec<String> {
        self.fake.events().iter().map(|event| event["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

pub fn path(name: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{name}")
}

pub fn state(pod: &Value, index: usize) -> &Value {
    &pod["status"]["containerStatuses"][index]["state"]
}

pub fn nothing_is_left() {
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
