//! `flanneld`: joins this node to the pod network and keeps it joined.
//!
//! Once: wait for the own podCIDR, make the backend's link, announce the lease on the own Node, write rules, subnet.env
//! and, last of all, the CNI configuration (the kubelet reports the node Ready when it sees it). Then for good: every
//! Node event becomes at most a few netlink messages. A change of net-conf.json needs a restart, as upstream.

mod host;
mod lease;
mod link;
mod masquerade;
mod netconf;
mod peers;

#[cfg(test)]
mod kernel_tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, ResourceExt};

use crate::subnet_env::{self, SubnetEnv};
use lease::{BackendData, Lease};
use link::{Netlink, Underlay};
use netconf::{Backend, NetConf};
use peers::{Peers, Policy, Reach};

/// flanneld's flags that mean something here, under upstream's names.
#[derive(Debug, Parser)]
#[command(name = "flanneld", about = "Flannel-compatible overlay agent")]
struct Flags {
    /// Take the lease from the Kubernetes Node (there is no other way here; kept for upstream's manifests)
    #[arg(long)]
    kube_subnet_mgr: bool,
    /// Masquerade what leaves the pod network
    #[arg(long)]
    ip_masq: bool,
    /// Interface (name or address) between the nodes; by default the one of the default route
    #[arg(long)]
    iface: Option<String>,
    /// Kubeconfig; by default the pod's ServiceAccount
    #[arg(long)]
    kubeconfig_file: Option<PathBuf>,
    #[arg(long, default_value = "/etc/kube-flannel/net-conf.json")]
    net_config_path: PathBuf,
    #[arg(long, default_value = subnet_env::PATH)]
    subnet_file: PathBuf,
    /// CNI configuration to install once the network stands (ours; upstream copies it in an init container)
    #[arg(long, default_value = "/etc/kube-flannel/cni-conf.json")]
    cni_config_path: PathBuf,
    /// Where to install it (ours)
    #[arg(long, default_value = "/etc/cni/net.d/10-flannel.conflist")]
    cni_config_file: PathBuf,
    /// This node's name
    #[arg(long, env = "NODE_NAME")]
    node_name: String,
}

/// Runs the agent until SIGTERM.
///
/// # Errors
/// When the configuration cannot be used or the kernel refuses the backend's link.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("flanneld");
    runtime::block_on(runtime::shutdown::or(serve(&flags)))
}

async fn serve(flags: &Flags) -> anyhow::Result<()> {
    let path = &flags.net_config_path;
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let conf = NetConf::parse(&text).with_context(|| format!("in {}", path.display()))?;
    host::forward_packets()?;
    let netlink = Netlink::connect()?;
    let underlay = netlink.underlay(flags.iface.as_deref()).await?;
    let client = runtime::client::connect(flags.kubeconfig_file.as_deref()).await?;

    let node = own_node(&client, &flags.node_name).await?;
    let subnet = lease::pod_cidr(&node).context("own_node waits for a podCIDR")?.trunc();
    anyhow::ensure!(
        conf.network.contains(&subnet),
        "subnet {:?} specified in the flannel net config doesn't contain {:?} PodCIDR of the {:?} node",
        conf.network.to_string(),
        subnet.to_string(),
        flags.node_name
    );
    let network = join(&netlink, &conf, &underlay, &node, subnet).await?;
    announce(&client, &flags.node_name, &node, &network.lease).await?;
    kernel::nft::apply(&masquerade::rules(conf.network, subnet, flags.ip_masq))?;
    let env = SubnetEnv { network: conf.network, subnet, mtu: network.mtu, ipmasq: flags.ip_masq };
    subnet_env::write_atomically(&flags.subnet_file, env.render().as_bytes())
        .with_context(|| format!("writing {}", flags.subnet_file.display()))?;
    host::install_cni_config(&flags.cni_config_path, &flags.cni_config_file)?;
    tracing::info!(%subnet, backend = conf.backend.name(), mtu = network.mtu, "the node is on the pod network");

    let nodes = watch(Api::all(client), watcher::Config::default()).default_backoff();
    follow(&netlink, network, nodes, link::deleted()?).await
}

/// What joining gave: everything the rest of the run needs.
struct Network {
    lease: Lease,
    links: link::Links,
    policy: Policy,
    /// What the overlay's link is made of, should somebody delete it.
    made_of: Option<(netconf::Vxlan, Underlay)>,
    /// MTU of pod interfaces.
    mtu: u32,
    range: ipnet::Ipv4Net,
}

impl Network {
    /// Makes the overlay's link anew, as it was announced.
    async fn restore(&mut self, netlink: &Netlink) -> anyhow::Result<()> {
        let (Some((vxlan, underlay)), BackendData::Vxlan { mac, .. }) = (&self.made_of, &self.lease.data) else {
            return Ok(());
        };
        let link = netlink.ensure_vxlan(vxlan, underlay, Some(*mac)).await?;
        netlink.ensure_address(link.index, self.lease.subnet.network(), self.range).await?;
        self.links.overlay = Some(link.index);
        Ok(())
    }
}

/// Makes the backend's link, if it has one.
async fn join(
    netlink: &Netlink,
    conf: &NetConf,
    underlay: &Underlay,
    node: &Node,
    subnet: ipnet::Ipv4Net,
) -> anyhow::Result<Network> {
    let public_ip = lease::public_ip_overwrite(node).unwrap_or(underlay.address.addr());
    let mut made_of = None;
    let (data, overlay, reach, mtu) = match &conf.backend {
        Backend::HostGw => {
            anyhow::ensure!(
                public_ip == underlay.address.addr(),
                "your PublicIP differs from interface IP, meaning that probably you're on a NAT, which is not supported by host-gw backend"
            );
            (BackendData::HostGw, None, Reach::HostGw, underlay.mtu)
        }
        Backend::Vxlan(vxlan) => {
            let link = netlink.ensure_vxlan(vxlan, underlay, lease::stored_mac(node)).await?;
            netlink.ensure_address(link.index, subnet.network(), conf.network).await?;
            let direct = vxlan.direct_routing.then_some(underlay.address.trunc());
            let data = BackendData::Vxlan { vni: vxlan.vni, mac: link.mac };
            made_of = Some((vxlan.clone(), underlay.clone()));
            (data, Some(link.index), Reach::Vxlan { vni: vxlan.vni, direct }, link.mtu)
        }
    };
    Ok(Network {
        lease: Lease { subnet, public_ip, data },
        links: link::Links { underlay: underlay.index, overlay },
        policy: Policy { own: subnet, reach },
        made_of,
        mtu,
        range: conf.network,
    })
}

/// Waits for the own Node to have a podCIDR.
async fn own_node(client: &Client, name: &str) -> anyhow::Result<Node> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut nodes = watch(Api::<Node>::all(client.clone()), config).default_backoff().boxed();
    let mut told = false;
    while let Some(event) = nodes.next().await {
        match event {
            Ok(Event::Apply(node) | Event::InitApply(node)) if node.name_any() == name => {
                if lease::pod_cidr(&node).is_some() {
                    return Ok(node);
                }
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(node = name, "waiting for the node to be assigned a podCIDR");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "watching the own Node; trying again"),
        }
    }
    anyhow::bail!("the watch of the own Node ended")
}

/// Writes the lease onto the own Node, with the condition that clears upstream's network-unavailable taint.
async fn announce(client: &Client, name: &str, node: &Node, own: &Lease) -> anyhow::Result<()> {
    let wanted = lease::annotations(own);
    let present = node.annotations();
    let nodes = Api::<Node>::all(client.clone());
    if wanted.iter().any(|(key, value)| present.get(key) != Some(value)) {
        let patch = serde_json::json!({ "metadata": { "annotations": wanted } });
        nodes
            .patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .context("announcing the lease")?;
    }
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    let condition = serde_json::json!({
        "type": "NetworkUnavailable", "status": "False", "reason": "FlannelIsUp",
        "message": "Flannel is running on this node", "lastTransitionTime": now, "lastHeartbeatTime": now,
    });
    let patch = serde_json::json!({ "status": { "conditions": [condition] } });
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .context("setting NetworkUnavailable")?;
    Ok(())
}

/// Keeps the kernel's entries those of the announced leases, for as long as `nodes` goes on. `deleted` tells of links that
/// are gone: the overlay's is made again, with all that stood on it.
async fn follow(
    netlink: &Netlink,
    mut network: Network,
    nodes: impl Stream<Item = Result<Event<Node>, watcher::Error>>,
    deleted: impl Stream<Item = u32>,
) -> anyhow::Result<()> {
    let mut peers = Peers::new(network.policy.clone());
    let mut listed = BTreeMap::new();
    let mut nodes = std::pin::pin!(nodes.map_err(|error| tracing::warn!(%error, "watching Nodes; trying again")));
    let mut deleted = std::pin::pin!(deleted);
    loop {
        let event = tokio::select! {
            event = nodes.next() => event,
            Some(index) = deleted.next() => {
                if network.links.overlay == Some(index) {
                    tracing::warn!("the overlay's link was deleted; it is made again");
                    match network.restore(netlink).await {
                        Ok(()) => carry_out(netlink, &network, peers.again()).await,
                        Err(error) => tracing::error!(%error, "the kernel refused"),
                    }
                }
                continue;
            }
        };
        let Some(event) = event else { anyhow::bail!("the watch of Nodes ended") };
        let Ok(event) = event else { continue };
        let changes = match event {
            Event::Init => {
                listed.clear();
                continue;
            }
            Event::InitApply(node) => {
                if let Some(lease) = lease::of_node(&node) {
                    listed.insert(node.name_any(), lease);
                }
                continue;
            }
            Event::InitDone => {
                let found = netlink.entries(&network.links, network.range).await?;
                peers.replace(&std::mem::take(&mut listed), found)
            }
            Event::Apply(node) => peers.update(&node.name_any(), lease::of_node(&node).as_ref()),
            Event::Delete(node) => peers.update(&node.name_any(), None),
        };
        carry_out(netlink, &network, changes).await;
    }
}

async fn carry_out(netlink: &Netlink, network: &Network, changes: Vec<peers::Change>) {
    for change in changes {
        tracing::info!(?change, "peer");
        // One entry refused must not keep the others from being made.
        if let Err(error) = netlink.apply(&network.links, &change).await {
            tracing::error!(%error, ?change, "the kernel refused");
        }
    }
}
