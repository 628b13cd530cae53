//! Flags, and the configuration file that may stand in for them (`KubeProxyConfiguration`, as kubeadm writes it).

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use ipnet::Ipv4Net;
use serde::Deserialize;

/// kube-proxy's flags that mean something here, under upstream's names. A flag wins over the file.
#[derive(Debug, Parser)]
#[command(name = "kube-proxy", about = "Service proxy on nftables")]
pub struct Flags {
    /// KubeProxyConfiguration file
    #[arg(long)]
    config: Option<PathBuf>,
    /// Kubeconfig; by default the pod's ServiceAccount
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// This node's name
    #[arg(long, env = "NODE_NAME")]
    hostname_override: Option<String>,
    /// Range of all pods: whoever is outside of it and uses a cluster IP is masqueraded
    #[arg(long)]
    cluster_cidr: Option<Ipv4Net>,
    /// `primary`, or ranges of this node's addresses that answer node ports
    #[arg(long, value_delimiter = ',')]
    nodeport_addresses: Vec<String>,
    /// Address of /healthz and /livez; empty: none
    #[arg(long)]
    healthz_bind_address: Option<String>,
    /// Address of /proxyMode and /metrics; empty: none
    #[arg(long)]
    metrics_bind_address: Option<String>,
}

/// What the flags and the file come to.
#[derive(Debug)]
pub struct Settings {
    pub kubeconfig: Option<PathBuf>,
    pub node: String,
    pub cluster_cidr: Option<Ipv4Net>,
    pub nodeport_addresses: Vec<String>,
    pub healthz_bind_address: String,
    pub metrics_bind_address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    mode: String,
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: String,
    hostname_override: String,
    node_port_addresses: Option<Vec<String>>,
    healthz_bind_address: String,
    metrics_bind_address: String,
    client_connection: ClientConnection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClientConnection {
    kubeconfig: PathBuf,
}

impl Flags {
    /// Reads the file, if one is named, and merges.
    ///
    /// # Errors
    /// When the file cannot be read, asks for another mode than nftables, or the node's name is nowhere.
    pub fn settings(self) -> anyhow::Result<Settings> {
        let file = match &self.config {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
                serde_saphyr::from_str(&text).with_context(|| format!("in {}", path.display()))?
            }
            None => File::default(),
        };
        merge(self, file)
    }
}

fn merge(flags: Flags, file: File) -> anyhow::Result<Settings> {
    anyhow::ensure!(
        matches!(file.mode.as_str(), "" | "nftables"),
        "mode {:?} is not supported: this proxy writes nftables",
        file.mode
    );
    let text = |text: String| (!text.is_empty()).then_some(text);
    let range = match text(file.cluster_cidr) {
        // Dual stack lists two ranges; the IPv4 one is ours.
        Some(list) => {
            let mut ranges = list.split(',').filter_map(|range| range.trim().parse::<Ipv4Net>().ok());
            Some(ranges.next().with_context(|| format!("clusterCIDR {list:?} has no IPv4 range"))?)
        }
        None => None,
    };
    let listed = [flags.nodeport_addresses, file.node_port_addresses.unwrap_or_default()];
    Ok(Settings {
        kubeconfig: flags
            .kubeconfig
            .or(Some(file.client_connection.kubeconfig).filter(|path| !path.as_os_str().is_empty())),
        node: flags
            .hostname_override
            .or(text(file.hostname_override))
            .context("which node is this? say it with --hostname-override or NODE_NAME")?,
        cluster_cidr: flags.cluster_cidr.or(range).map(|range| range.trunc()),
        nodeport_addresses: listed
            .into_iter()
            .find(|list| !list.is_empty())
            .unwrap_or_else(|| vec!["primary".to_owned()]),
        healthz_bind_address: flags
            .healthz_bind_address
            .or(text(file.healthz_bind_address))
            .unwrap_or_else(|| "0.0.0.0:10256".to_owned()),
        metrics_bind_address: flags
            .metrics_bind_address
            .or(text(file.metrics_bind_address))
            .unwrap_or_else(|| "127.0.0.1:10249".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &[&str], yaml: &str) -> anyhow::Result<Settings> {
        let flags = Flags::parse_from(["kube-proxy", "--hostname-override=n"].iter().chain(args));
        merge(flags, serde_saphyr::from_str(yaml)?)
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let yaml = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\nclusterCIDR: 11.0.0.0/8\nnodePortAddresses: [10.0.0.0/24]\n";
        let read = settings(&[], yaml).unwrap();
        assert_eq!(read.cluster_cidr, Some("11.0.0.0/8".parse().unwrap()));
        assert_eq!(read.nodeport_addresses, ["10.0.0.0/24"]);
        assert_eq!(read.healthz_bind_address, "0.0.0.0:10256");
        let flag = settings(&["--cluster-cidr=10.244.0.0/16"], yaml).unwrap();
        assert_eq!(flag.cluster_cidr, Some("10.244.0.0/16".parse().unwrap()));
        assert!(settings(&[], "mode: ipvs").unwrap_err().to_string().contains("\"ipvs\""));
    }
}
