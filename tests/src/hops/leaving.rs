//! Deleting everything leaves nothing behind.

use anyhow::ensure;

use super::{Scene, Seen, seen};

const NODES: [&str; 3] = ["c0w1", "c0w2", "c0w3"];

/// `kubectl delete -f` of all; then pods, namespaces, links, addresses, rules and routes of the demo are gone.
pub fn nothing_left(scene: &Scene) -> anyhow::Result<Seen> {
    let files = ["20-ingress.yaml", "40-skupper-c0.yaml", "30-crd.yaml", "10-web.yaml"];
    let crd = scene.manifests.join("../examples/greeting-controller/manifests/crd.yaml").to_string_lossy().into_owned();
    let mut args = vec!["delete".to_owned(), "--ignore-not-found".to_owned(), "--timeout=80s".to_owned()];
    for file in files {
        args.extend(["-f".to_owned(), scene.demo(file)]);
    }
    args.extend(["-f".to_owned(), crd.replace("crd.yaml", "controller.yaml"), "-f".to_owned(), crd]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    scene.kubectl("c0", &args)?;
    scene.kubectl("c1", &["delete", "--ignore-not-found", "--timeout=80s", "-f", &scene.demo("50-skupper-c1.yaml")])?;
    let left = scene.try_kubectl("c0", &["get", "namespace", "demo"])?;
    ensure!(left.code != 0, "the namespace demo is still there: {}", left.stdout);
    for node in NODES {
        let pods = scene.kubectl(
            "c0",
            &[
                "get",
                "pods",
                "-A",
                "-o",
                "jsonpath={range .items[*]}{.status.podIP} {.spec.hostNetwork}{\"\\n\"}{end}",
                "--field-selector",
                &format!("spec.nodeName={node}"),
            ],
        )?;
        let own_network = pods.lines().filter(|line| !line.is_empty() && !line.ends_with("true")).count();
        let count = |args: &[&str]| -> anyhow::Result<usize> {
            let mut all = vec!["exec", node, "--"];
            all.extend(args);
            Ok(scene.knetsim(&all)?.lines().filter(|line| !line.is_empty()).count())
        };
        let netns = count(&["ls", "/run/netns"])?;
        ensure!(netns == own_network, "{node} has {netns} network namespaces for {own_network} pods");
        let veths = count(&["ip", "-br", "link", "show", "type", "veth"])?;
        // Its own eth0 is a veth too.
        ensure!(veths == own_network + 1, "{node} has {veths} veths for {own_network} pods");
        let rules = scene.knetsim(&["exec", node, "--", "nft", "list", "ruleset"])?.stdout;
        ensure!(!rules.contains("demo/"), "{node} still has rules of the demo");
        let routes = scene.knetsim(&["exec", node, "--", "ip", "route"])?.stdout;
        ensure!(routes.lines().filter(|l| l.contains("cni0")).count() <= 1, "{node} has routes too many: {routes}");
    }
    seen("kubectl delete -f manifests/demo", "no netns, veth, rule or route of the demo on any node")
}
