//! The pod network: a flannel-compatible overlay agent, the `flannel` CNI plugin that reads what it wrote, the meta plugin
//! `multus` for pods on more than one network, and the library that calls plugins ([`libcni`]).
//!
//! ```text
//! Node.spec.podCIDR ──┐                       ┌─> flannel.1, neighbours, FDB, routes   (netlink)
//! net-conf.json ──────┼─> flanneld ───────────┼─> masquerade rules                     (nft, table flannel-ipv4)
//! other Nodes' ───────┘     │ annotations     ├─> /run/flannel/subnet.env ──> flannel plugin ──> bridge, host-local
//!   annotations             └─> own Node      └─> /etc/cni/net.d/10-flannel.conflist ──> the kubelet: node Ready
//! ```
//!
//! Follows flannel v0.28 (`pkg/subnet/kube`, `pkg/backend/{vxlan,hostgw}`, `pkg/trafficmngr/nftables`) and
//! flannel-cni-plugin v1.9. IPv4 only.

pub mod flanneld;
pub mod libcni;
pub mod multus;
pub mod plugin;
mod protocol;
pub mod subnet_env;

use std::ffi::OsString;
use std::path::Path;

/// Runs an agent (`flanneld`, `multus-entrypoint`) or a CNI plugin (`flannel`, `multus`), by the file name of `args[0]`.
///
/// Plugins speak the CNI protocol: their errors go to stdout as JSON and end the process with status 1.
///
/// # Errors
/// Whatever stopped the agent.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    match args.first().and_then(|path| Path::new(path).file_name()).and_then(|name| name.to_str()) {
        Some("flannel") => std::process::exit(plugin::main()),
        Some("multus") => std::process::exit(multus::main()),
        Some("multus-entrypoint") => multus::entrypoint::run(args),
        _ => flanneld::run(args),
    }
}
