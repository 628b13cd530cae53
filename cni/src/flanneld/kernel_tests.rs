//! The agent against a real kernel: two nodes as network namespaces, joined by a veth pair.

use k8s_openapi::api::core::v1::Node;
use kernel::testing::{in_namespace, sh};

use super::lease::Lease;
use super::link::Netlink;
use super::netconf::NetConf;
use super::peers::{Change, Peers};
use super::{Network, join, masquerade};

/// Two nodes, n1 10.0.0.11 and n2 10.0.0.12; a pod bridge with an address on each.
fn two_nodes() {
    sh("ip netns add n1; ip netns add n2
        ip link add eth0 netns n1 type veth peer name eth0 netns n2
        for n in 1 2; do
          ip -n n$n addr add 10.0.0.1$n/24 dev eth0; ip -n n$n link set lo up; ip -n n$n link set eth0 up
          ip -n n$n link add cni0 type bridge; ip -n n$n addr add 11.0.$n.1/24 dev cni0; ip -n n$n link set cni0 up
          ip netns exec n$n sysctl -qw net.ipv4.ip_forward=1
        done");
}

/// Runs `body` on a runtime of its own inside the named network namespace.
fn on_node<T: Send>(name: &str, body: impl AsyncFnOnce(Netlink) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = || {
            let netns = std::fs::File::open(format!("/run/netns/{name}")).expect("the namespace was made");
            nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).expect("root in the user namespace");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { body(Netlink::connect().expect("netlink")).await })
        };
        scope.spawn(run).join().expect("the node's thread ended well")
    })
}

fn node(n: u8) -> Node {
    serde_json::from_value(serde_json::json!({
        "metadata": { "name": format!("n{n}") }, "spec": { "podCIDR": format!("11.0.{n}.0/24") },
    }))
    .unwrap()
}

fn join_node(n: u8, conf: &NetConf) -> Network {
    on_node(&format!("n{n}"), async |netlink| {
        let underlay = netlink.underlay(Some("eth0")).await.unwrap();
        let subnet = format!("11.0.{n}.0/24").parse().unwrap();
        join(&netlink, conf, &underlay, &node(n), subnet).await.unwrap()
    })
}

/// Lets node `n` know `lease`, or forget it; fails if the kernel refuses any of it.
fn tell(n: u8, network: &Network, peers: &mut Peers, lease: Option<&Lease>) -> Vec<Change> {
    let changes = peers.update("peer", lease);
    on_node(&format!("n{n}"), async |netlink| {
        for change in &changes {
            netlink.apply(&network.links, change).await.unwrap();
        }
    });
    changes
}

fn carries_pods(conf: &str) -> (Network, Network) {
    let conf = NetConf::parse(conf).unwrap();
    two_nodes();
    let (n1, n2) = (join_node(1, &conf), join_node(2, &conf));
    let (mut p1, mut p2) = (Peers::new(n1.policy.clone()), Peers::new(n2.policy.clone()));
    tell(1, &n1, &mut p1, Some(&n2.lease));
    tell(2, &n2, &mut p2, Some(&n1.lease));
    sh("ip netns exec n1 ping -c1 -W2 -I 11.0.1.1 11.0.2.1");

    // What the agent reads back is what it wants: a restart touches nothing.
    let listed = std::collections::BTreeMap::from([("peer".to_owned(), n2.lease.clone())]);
    let found = on_node("n1", async |netlink| netlink.entries(&n1.links, n1.range).await.unwrap());
    assert_eq!(Peers::new(n1.policy.clone()).replace(&listed, found), []);

    tell(1, &n1, &mut p1, None);
    let found = on_node("n1", async |netlink| netlink.entries(&n1.links, n1.range).await.unwrap());
    assert_eq!(found, [], "nothing of a removed peer is left");
    (n1, n2)
}

#[test]
fn vxlan_carries_pods_between_nodes() {
    in_namespace("flanneld::kernel_tests::vxlan_carries_pods_between_nodes", || {
        let conf = r#"{"Network":"11.0.0.0/8","Backend":{"Type":"vxlan","VNI":42}}"#;
        let (n1, _) = carries_pods(conf);
        assert_eq!(n1.mtu, 1450);
        let link = sh("ip -n n1 -d link show flannel.42");
        for fact in ["vxlan id 42", "local 10.0.0.11", "dstport 8472", "nolearning", "mtu 1450"] {
            assert!(link.contains(fact), "{fact} in {link}");
        }
        assert!(sh("ip -n n1 addr show flannel.42").contains("11.0.1.0/32"));

        // A restart takes the link as it is, a changed port makes a new one with the announced MAC.
        let again = join_node(1, &NetConf::parse(conf).unwrap());
        assert_eq!((again.links.overlay, &again.lease), (n1.links.overlay, &n1.lease));
        let moved = join_node(1, &NetConf::parse(&conf.replace("42", "42,\"Port\":4789")).unwrap());
        assert_ne!(moved.links.overlay, n1.links.overlay);
    });
}

#[test]
fn host_gw_carries_pods_between_nodes() {
    in_namespace("flanneld::kernel_tests::host_gw_carries_pods_between_nodes", || {
        let (n1, _) = carries_pods(r#"{"Network":"11.0.0.0/8","Backend":{"Type":"host-gw"}}"#);
        assert_eq!((n1.mtu, n1.links.overlay), (1500, None));
    });
}

#[test]
fn the_kernel_takes_the_masquerade_rules() {
    in_namespace("flanneld::kernel_tests::the_kernel_takes_the_masquerade_rules", || {
        let (network, subnet) = ("11.0.0.0/8".parse().unwrap(), "11.0.1.0/24".parse().unwrap());
        kernel::nft::apply(&masquerade::rules(network, subnet, true)).unwrap();
        kernel::nft::apply(&masquerade::rules(network, subnet, true)).unwrap();
        let rules = sh("nft -s list table ip flannel-ipv4");
        assert_eq!(rules.matches("masquerade fully-random").count(), 2, "{rules}");
        assert_eq!(rules.matches("return").count(), 4, "{rules}");
    });
}
