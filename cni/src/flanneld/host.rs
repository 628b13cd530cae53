//! What the agent sets on its node besides links and rules: sysctls and the CNI configuration.

use std::path::Path;

use anyhow::Context;

use crate::subnet_env::write_atomically;

/// Pods on one bridge reach each other through Services and policies only if bridged packets pass netfilter, too.
const BRIDGE_NETFILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Lets this network namespace forward, and shows its bridged packets to netfilter where the kernel can.
///
/// # Errors
/// When forwarding is off and cannot be turned on: a node that does not forward carries no pod traffic.
pub fn forward_packets() -> anyhow::Result<()> {
    set(FORWARDING, "1").context("turning on net.ipv4.ip_forward")?;
    match set(BRIDGE_NETFILTER, "1") {
        Err(error) if Path::new(BRIDGE_NETFILTER).exists() => {
            tracing::warn!(%error, "bridge-nf-call-iptables stays off: Services between pods of this node may not work");
        }
        // Without br_netfilter there is no such file and nothing to set.
        _ => {}
    }
    Ok(())
}

fn set(path: &str, value: &str) -> std::io::Result<()> {
    // An unprivileged pod may have /proc/sys read-only with the right value already in it.
    if std::fs::read_to_string(path)?.trim() == value {
        return Ok(());
    }
    std::fs::write(path, value)
}

/// Copies the CNI configuration to where the kubelet looks for it, in one step.
///
/// # Errors
/// When it cannot be read, is no JSON, or cannot be written.
pub fn install_cni_config(from: &Path, to: &Path) -> anyhow::Result<()> {
    let text = std::fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    serde_json::from_slice::<serde_json::Value>(&text).with_context(|| format!("{} is not JSON", from.display()))?;
    if std::fs::read(to).is_ok_and(|present| present == text) {
        return Ok(());
    }
    write_atomically(to, &text).with_context(|| format!("writing {}", to.display()))
}
