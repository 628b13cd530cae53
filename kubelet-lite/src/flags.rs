//! The kubelet's flags: upstream's names where upstream has the flag.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;

/// A Kubernetes node agent.
#[derive(Clone, Debug, Parser)]
#[command(name = "kubelet")]
pub struct Flags {
    /// How to reach the API server, and as whom.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// The node's name; the host name without it.
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// The node's address.
    #[arg(long)]
    pub node_ip: IpAddr,
    /// Where the server on port 10250 listens.
    #[arg(long, default_value = "0.0.0.0")]
    pub address: IpAddr,
    #[arg(long, default_value_t = 10250)]
    pub port: u16,
    /// The cluster's DNS server for pods with dnsPolicy ClusterFirst.
    #[arg(long, value_delimiter = ',')]
    pub cluster_dns: Vec<IpAddr>,
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    #[arg(long, default_value = "/etc/cni/net.d")]
    pub cni_conf_dir: PathBuf,
    /// Where CNI plugins are looked for, in this order.
    #[arg(long, value_delimiter = ',', default_value = "/opt/cni/bin,/usr/lib/cni")]
    pub cni_bin_dir: Vec<PathBuf>,
    #[arg(long, default_value = "/var/lib/kubelet")]
    pub root_dir: PathBuf,
    /// The folder of the static pods' files, or a single file.
    #[arg(long)]
    pub pod_manifest_path: Option<PathBuf>,
    #[arg(long)]
    pub tls_cert_file: PathBuf,
    #[arg(long)]
    pub tls_private_key_file: PathBuf,
    /// Who may call the kubelet's server: holders of certificates of this authority.
    #[arg(long)]
    pub client_ca_file: PathBuf,
    /// `key=value:Effect`, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub register_with_taints: Vec<String>,
    /// `key=value`, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub node_labels: Vec<String>,
    /// The control group below which containers get theirs, relative to the kubelet's own as runc takes it. Without it
    /// containers have no limits.
    #[arg(long)]
    pub cgroup_root: Option<String>,
    /// Why there is no such group, for the node's users (ours).
    #[arg(long, conflicts_with = "cgroup_root")]
    pub limits_off: Option<String>,
    #[arg(long, default_value_t = 110)]
    pub max_pods: u32,
    /// The local image store.
    #[arg(long, default_value = "/var/lib/knetsim/images")]
    pub image_store: PathBuf,
    /// The socket of who pulls images from registries into that store; they are not asked without it (ours).
    #[arg(long)]
    pub image_puller: Option<PathBuf>,
}
