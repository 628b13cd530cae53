//! The flags of `knetsim controller-manager`: upstream's names where upstream has the flag.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use ipnet::Ipv4Net;
use runtime::flags::duration;

/// Runs the built-in controllers.
#[derive(Debug, Parser)]
#[command(name = "controller-manager")]
pub struct Flags {
    /// How to reach the API server; without it, the ServiceAccount of the pod this runs in
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// The range nodes get their pod ranges from
    #[arg(long, default_value = "11.0.0.0/8")]
    pub cluster_cidr: Ipv4Net,
    /// The size of a node's pod range
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u8).range(1..=30))]
    pub node_cidr_mask_size: u8,
    /// The certificate published in every namespace as ConfigMap kube-root-ca.crt
    #[arg(long)]
    pub root_ca_file: Option<PathBuf>,
    /// The key of the tokens that are kept in Secrets; without it there are none
    #[arg(long)]
    pub service_account_private_key_file: Option<PathBuf>,
    /// The CA that signs certificate signing requests
    #[arg(long)]
    pub cluster_signing_cert_file: Option<PathBuf>,
    /// The key of that CA
    #[arg(long)]
    pub cluster_signing_key_file: Option<PathBuf>,
    /// How long signed certificates hold at most
    #[arg(long, default_value = "8760h", value_parser = duration)]
    pub cluster_signing_duration: Duration,
    /// How long a node may be silent before it counts as lost
    #[arg(long, default_value = "40s", value_parser = duration)]
    pub node_monitor_grace_period: Duration,
    /// Which controllers run: names, `*` for all, `-name` for all but this one
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub controllers: Vec<String>,
    /// The range Services of type LoadBalancer get their addresses from
    #[arg(long, default_value = "10.254.254.0/24")]
    pub load_balancer_pool: Ipv4Net,
}

impl Flags {
    /// Whether the controller of this name shall run.
    #[must_use]
    pub fn enabled(&self, name: &str) -> bool {
        let listed = |wanted: &str| self.controllers.iter().any(|entry| entry == wanted);
        !listed(&format!("-{name}")) && (listed("*") || listed(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags() {
        let flags =
            Flags::parse_from(["controller-manager", "--controllers=*,-job", "--node-monitor-grace-period=1m30s"]);
        assert!(flags.enabled("deployment") && !flags.enabled("job"));
        assert_eq!(flags.node_monitor_grace_period, Duration::from_secs(90));
        let flags = Flags::parse_from(["controller-manager", "--controllers=job"]);
        assert!(flags.enabled("job") && !flags.enabled("deployment"));
    }
}
