//! The underlay: a bridge per cluster, the router `wan` between them, and the host `outside`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context;
use ipnet::{IpNet, Ipv4Net};
use kernel::link::Links;
use kernel::netns::Netns;

use super::parallel;
use super::supervisor::Supervisor;
use crate::topology::{ClusterPlan, Link, NodePlan, Plan};

/// All network namespaces, open.
pub struct Network {
    /// The sandbox's own, which holds the bridges.
    pub root: Netns,
    /// `wan`, `outside` and every node, by name.
    pub hosts: BTreeMap<String, Netns>,
}

/// A host's place on a bridge.
struct Attachment<'a> {
    host: &'a str,
    link: String,
    port: String,
    bridge: String,
    address: IpNet,
    gateway: Option<IpAddr>,
}

impl Network {
    /// Makes everything, in a kernel that has nothing yet.
    ///
    /// # Errors
    /// The first thing the kernel refused.
    pub fn build(plan: &Plan) -> anyhow::Result<Self> {
        let root = Netns::current()?;
        let nodes = plan.clusters.iter().flat_map(|c| c.nodes.iter().map(|n| n.name.as_str()));
        let names: Vec<&str> = [WAN, "outside"].into_iter().chain(nodes).collect();
        let hosts = parallel::for_each(&names, |name| {
            Ok(((*name).to_owned(), Netns::create(name).with_context(|| format!("making netns {name}"))?))
        })?;
        let hosts: BTreeMap<String, Netns> = hosts.into_iter().collect();
        let attachments = attachments(plan);
        let mut bridges: Vec<_> = plan.clusters.iter().map(|c| bridge_of(&c.name)).collect();
        bridges.push("br-out".to_owned());
        Links::within(&root, async |links| {
            links.set_up("lo").await?;
            for bridge in &bridges {
                links.add_bridge(bridge).await?;
            }
            for place in &attachments {
                links.add_veth(&place.port, &place.bridge, &place.link, &hosts[place.host]).await?;
            }
            Ok(())
        })
        .context("making the bridges")?;
        // Frames that only pass through the underlay's bridges are not ours to filter.
        let _ = fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0");
        parallel::for_each(&names, |name| {
            configure(name, &hosts[*name], plan, &attachments).with_context(|| format!("configuring {name}"))
        })?;
        Ok(Self { root, hosts })
    }
}

/// Sysctls, links, addresses and routes of one host.
fn configure(name: &str, ns: &Netns, plan: &Plan, attachments: &[Attachment<'_>]) -> anyhow::Result<()> {
    ns.run(if name == WAN { router_sysctls } else { host_sysctls }).context("setting its sysctls")?;
    Links::within(ns, async |links| {
        links.set_up("lo").await?;
        for place in attachments.iter().filter(|place| place.host == name) {
            links.set_up(&place.link).await?;
            links.add_address(&place.link, place.address).await?;
            if let Some(gateway) = place.gateway {
                links.add_default_route(gateway).await?;
            }
        }
        if name == WAN {
            for cluster in &plan.clusters {
                let by_way_of = cluster.nodes.get(1).unwrap_or(cluster.control_plane()).address;
                links.add_route(cluster.load_balancer_pool, by_way_of).await?;
            }
        }
        Ok(())
    })
}

/// The router between the clusters, which is its host's name, too.
pub const WAN: &str = "wan";

/// The bridge of a cluster.
#[must_use]
pub fn bridge_of(cluster: &str) -> String {
    format!("br-{cluster}")
}

/// The router's port on a cluster's bridge.
#[must_use]
pub fn wan_port(cluster: &str) -> String {
    format!("wan-{cluster}")
}

fn attachments(plan: &Plan) -> Vec<Attachment<'_>> {
    let on = |address: Ipv4Addr, range: Ipv4Net| -> IpNet {
        IpNet::V4(Ipv4Net::new(address, range.prefix_len()).expect("the length was valid before"))
    };
    let of_node = |cluster: &ClusterPlan, node: &NodePlan| -> (IpNet, IpAddr) {
        (on(node.address, cluster.underlay), cluster.gateway.into())
    };
    let mut all = vec![
        Attachment {
            host: WAN,
            link: "out".into(),
            port: "wan-out".into(),
            bridge: "br-out".into(),
            address: on(plan.outside_gateway, plan.outside),
            gateway: None,
        },
        Attachment {
            host: "outside",
            link: "eth0".into(),
            port: "veth-outside".into(),
            bridge: "br-out".into(),
            address: IpNet::V4(plan.outside),
            gateway: Some(plan.outside_gateway.into()),
        },
    ];
    for cluster in &plan.clusters {
        all.push(Attachment {
            host: WAN,
            link: cluster.name.clone(),
            port: wan_port(&cluster.name),
            bridge: bridge_of(&cluster.name),
            address: on(cluster.gateway, cluster.underlay),
            gateway: None,
        });
        for node in &cluster.nodes {
            let (address, gateway) = of_node(cluster, node);
            all.push(Attachment {
                host: &node.name,
                link: "eth0".into(),
                port: node.port(),
                bridge: bridge_of(&cluster.name),
                address,
                gateway: Some(gateway),
            });
        }
    }
    all
}

/// What every host and node of the emulator has set. Bridge filtering may be missing from a kernel; the rest may not.
fn host_sysctls() -> io::Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    // Asymmetric paths are normal where Services and overlays are.
    fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0")?;
    fs::write("/proc/sys/net/ipv4/conf/default/rp_filter", "0")?;
    // A connection tries again within seconds after a cut link is mended, not after minutes. Linux 6.15 and newer.
    let _ = fs::write("/proc/sys/net/ipv4/tcp_rto_max_ms", "3000");
    // At 0 a Service request to a pod of the same node hangs, and policy between such pods is bypassed.
    let _ = fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1");
    Ok(())
}

/// A router that has lost a network tells every sender, each time; by default Linux tells one no more than once a second.
fn router_sysctls() -> io::Result<()> {
    host_sysctls()?;
    fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0")
}

/// The ways to shape a link, the best first: what of the topology's wishes each fulfils, its kernel module, and the words
/// of tc. Netem does everything; a token bucket filter limits the rate alone.
fn ways(link: &Link) -> Vec<(Vec<&'static str>, &'static str, Vec<String>)> {
    let mut ways = Vec::new();
    let mut netem = vec!["netem".to_owned()];
    let mut wishes = Vec::new();
    if let Some(delay) = &link.delay {
        netem.extend(["delay".to_owned(), delay.clone()]);
        wishes.push("delay");
    }
    if let Some(bandwidth) = &link.bandwidth {
        netem.extend(["rate".to_owned(), bandwidth.clone()]);
        wishes.push("bandwidth");
    }
    if !wishes.is_empty() {
        ways.push((wishes, "sch_netem", netem));
    }
    if let Some(bandwidth) = &link.bandwidth {
        // A bucket of a few packets, and a queue that holds what a fast sender has under way.
        let words = ["tbf", "rate", bandwidth, "burst", "32kb", "latency", "50ms"];
        ways.push((vec!["bandwidth"], "sch_tbf", words.map(str::to_owned).into()));
    }
    ways
}

/// Shapes links as the topology says. Gives what this machine could not do, in words for its user; such a link stays as it
/// is.
pub async fn shape_links(plan: &Plan, supervisor: &Supervisor) -> Vec<String> {
    let mut lacks = Vec::new();
    for cluster in &plan.clusters {
        let ways = ways(&cluster.link);
        let Some((wishes, module, _)) = ways.first() else { continue };
        let mut fulfilled: Vec<&str> = wishes.clone();
        let mut why = String::new();
        for node in &cluster.nodes {
            let mut done: &[&str] = &[];
            for (gives, _, words) in &ways {
                let mut argv = ["tc", "qdisc", "replace", "dev", &node.port(), "root"].map(str::to_owned).to_vec();
                argv.extend(words.iter().cloned());
                match supervisor.run_once(&argv).await {
                    Ok(()) => {
                        done = gives;
                        break;
                    }
                    Err(error) => why = format!("{error:#}"),
                }
            }
            fulfilled.retain(|wish| done.contains(wish));
        }
        for wish in wishes.iter().filter(|wish| !fulfilled.contains(wish)) {
            lacks.push(format!(
                "link {wish} of cluster {} is not in effect: the kernel may lack the module {module} ({why})",
                cluster.name
            ));
        }
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_shaped_by_the_best_that_the_kernel_has() {
        let link = |delay: Option<&str>, bandwidth: Option<&str>| Link {
            delay: delay.map(str::to_owned),
            bandwidth: bandwidth.map(str::to_owned),
        };
        let all = |link: &Link| ways(link).into_iter().map(|(_, _, words)| words.join(" ")).collect::<Vec<_>>();
        assert!(all(&link(None, None)).is_empty());
        assert_eq!(all(&link(Some("5ms"), None)), ["netem delay 5ms"]);
        assert_eq!(
            all(&link(Some("5ms"), Some("10mbit"))),
            ["netem delay 5ms rate 10mbit", "tbf rate 10mbit burst 32kb latency 50ms"]
        );
    }
}
