//! The flags of `knetsim controller-manager`: upstream's names where upstream has the flag.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use component_base::leader::LeaderElection;
use component_base::secure_port;
use ipnet::Ipv4Net;
use runtime::flags::duration;

use crate::autoscaler;

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
    /// After so long without use an auto-generated token in a Secret is marked invalid, and after as long again removed
    #[arg(long, default_value = "8760h", value_parser = duration)]
    pub legacy_service_account_token_clean_up_period: Duration,
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
    /// How often the usage of autoscaled pods is looked at
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub horizontal_pod_autoscaler_sync_period: Duration,
    /// For how long the highest recommendation holds before a target is made smaller
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub horizontal_pod_autoscaler_downscale_stabilization: Duration,
    /// How far a usage may be from its target before the target is scaled, as a share of it
    #[arg(long, default_value_t = 0.1)]
    pub horizontal_pod_autoscaler_tolerance: f64,
    /// For how long after its start a pod's CPU usage counts only once it is ready
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub horizontal_pod_autoscaler_cpu_initialization_period: Duration,
    /// Within what time after its start a pod's readiness counts as its first
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub horizontal_pod_autoscaler_initial_readiness_delay: Duration,
    /// How many autoscalers are looked at concurrently
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    pub concurrent_horizontal_pod_autoscaler_syncs: u8,
    /// The range Services of type LoadBalancer get their addresses from
    #[arg(long, default_value = "10.254.254.0/24")]
    pub load_balancer_pool: Ipv4Net,
    #[command(flatten)]
    pub leader: LeaderElection,
    #[command(flatten)]
    pub secure: secure_port::SecureServing,
}

impl Flags {
    /// What the flags say of HorizontalPodAutoscalers.
    #[must_use]
    pub fn autoscaler(&self) -> autoscaler::Settings {
        let signed = |time: Duration| time.try_into().unwrap_or(k8s_openapi::jiff::SignedDuration::MAX);
        autoscaler::Settings {
            sync_period: self.horizontal_pod_autoscaler_sync_period,
            downscale_stabilization: signed(self.horizontal_pod_autoscaler_downscale_stabilization),
            tolerance: self.horizontal_pod_autoscaler_tolerance,
            cpu_initialization: signed(self.horizontal_pod_autoscaler_cpu_initialization_period),
            initial_readiness: signed(self.horizontal_pod_autoscaler_initial_readiness_delay),
            workers: self.concurrent_horizontal_pod_autoscaler_syncs.into(),
        }
    }

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
