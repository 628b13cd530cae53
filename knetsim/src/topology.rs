//! The topology: which clusters, nodes, ranges and links there are. A YAML file says what differs from the default of
//! two clusters with three workers each.
//!
//! [`Topology`] is what a user may write; [`Topology::resolve`] checks it and computes every name and address, so that
//! nothing after it has to decide anything. The resolved [`Plan`] is a pure function of the file.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Port of the first cluster's API server on the host's loopback; the next cluster has the next port.
pub const FIRST_API_PORT: u16 = 16440;

/// Add-ons in the order they are applied; each is a file of manifests/system.
pub const ADD_ONS: [&str; 7] =
    ["kube-flannel", "kube-proxy", "local-storage", "coredns", "network-policies", "ingress-nginx", "skupper"];

/// What a topology file says. Every field may be left out.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Topology {
    pub clusters: Vec<Cluster>,
    /// The network of the host `outside`, which is in no cluster.
    pub outside: Ipv4Net,
    /// Which add-ons are applied at start; all of them when left out.
    pub add_ons: Vec<String>,
    /// Whether images that are not stored are pulled from registries, as with `up --pull`.
    pub pull: bool,
}

/// One cluster of a topology file.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Cluster {
    /// A DNS label of at most 6 characters; `c0`, `c1` … when left out.
    pub name: String,
    /// How many workers; 0 to 50.
    pub workers: u8,
    /// The nodes' network; 10.0.<n>.0/24 when left out. .1 is the way to the WAN, .10 the control plane, .11 the first worker.
    pub underlay: Option<Ipv4Net>,
    /// Each node gets a /24 of it for its pods.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Ipv4Net,
    #[serde(rename = "serviceCIDR")]
    pub service_cidr: Ipv4Net,
    /// Port of the API server on the host's loopback; 16440 + n when left out.
    pub api_port: Option<u16>,
    pub store: Option<Store>,
    /// Shapes the link of every node to the cluster's bridge.
    pub link: Link,
}

/// Where a cluster's objects are kept.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    Embedded,
    Etcd,
}

/// The quality of a link, in tc's words; empty means what the kernel gives.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// Such as `100mbit`.
    pub bandwidth: Option<String>,
    /// One way, such as `5ms`.
    pub delay: Option<String>,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            clusters: vec![Cluster::default(), Cluster::default()],
            outside: net("10.0.254.0/24"),
            add_ons: ADD_ONS.map(str::to_owned).to_vec(),
            pull: false,
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: String::new(),
            workers: 3,
            underlay: None,
            pod_cidr: net("11.0.0.0/8"),
            service_cidr: net("10.96.0.0/16"),
            api_port: None,
            store: None,
            link: Link::default(),
        }
    }
}

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("the defaults are well-formed")
}

/// Everything the launcher needs to know, with nothing left to decide.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Plan {
    pub clusters: Vec<ClusterPlan>,
    /// `outside`'s own address and its network.
    pub outside: Ipv4Net,
    /// The router's address on that network.
    pub outside_gateway: Ipv4Addr,
    pub add_ons: Vec<String>,
    #[serde(default)]
    pub pull: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct ClusterPlan {
    pub name: String,
    pub underlay: Ipv4Net,
    pub gateway: Ipv4Addr,
    pub pod_cidr: Ipv4Net,
    pub service_cidr: Ipv4Net,
    /// Where Services of type LoadBalancer get their addresses; routed from the WAN to the first worker.
    pub load_balancer_pool: Ipv4Net,
    /// The first address of the Service range: `kubernetes.default`.
    pub kubernetes_ip: Ipv4Addr,
    /// The tenth: cluster DNS.
    pub dns_ip: Ipv4Addr,
    pub api_port: u16,
    pub store: Store,
    pub link: Link,
    /// The control plane first.
    pub nodes: Vec<NodePlan>,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct NodePlan {
    pub name: String,
    pub address: Ipv4Addr,
    pub control_plane: bool,
}

impl ClusterPlan {
    /// The control-plane node.
    #[must_use]
    pub fn control_plane(&self) -> &NodePlan {
        &self.nodes[0]
    }
}

impl NodePlan {
    /// The name of the node's port on the bridge; link names hold 15 characters, so a control plane is `veth-c0-cp`.
    #[must_use]
    pub fn port(&self) -> String {
        format!("veth-{}", self.name.replace("control-plane", "cp"))
    }
}

/// What is wrong with a topology file.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    #[error("{0}")]
    Syntax(String),
    #[error("clusters: at least one is needed")]
    NoCluster,
    #[error("clusters[{0}].name: {1:?} must be a lower-case DNS label of at most 6 characters")]
    Name(usize, String),
    #[error("clusters[{0}].name: {1:?} is there twice")]
    Twice(usize, String),
    #[error("clusters[{0}].workers: {1} is more than 50")]
    Workers(usize, u8),
    #[error("clusters[{0}].{1}: {2} is too small (a /{3} or larger is needed)")]
    Small(usize, &'static str, Ipv4Net, u8),
    #[error("{0} {1} and {2} {3} overlap")]
    Overlap(String, Ipv4Net, String, Ipv4Net),
    #[error("clusters[{0}].apiPort: {1} is used twice")]
    Port(usize, u16),
    #[error("addOns: there is no {unknown:?}; there are {}", ADD_ONS.join(", "))]
    AddOn { unknown: String },
}

impl Topology {
    /// Reads a topology file's text.
    ///
    /// # Errors
    /// [`Error::Syntax`] with line and column.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| Error::Syntax(error.to_string()))
    }

    /// Checks everything and fills in what was left out. `store` is for clusters that do not say.
    ///
    /// # Errors
    /// The first thing that is wrong, with its path in the file.
    pub fn resolve(&self, store: Store) -> Result<Plan, Error> {
        if self.clusters.is_empty() {
            return Err(Error::NoCluster);
        }
        if let Some(unknown) = self.add_ons.iter().find(|name| !ADD_ONS.contains(&name.as_str())) {
            return Err(Error::AddOn { unknown: unknown.clone() });
        }
        let mut clusters: Vec<ClusterPlan> = Vec::new();
        for (index, cluster) in self.clusters.iter().enumerate() {
            let plan = cluster.resolve(index, store)?;
            if clusters.iter().any(|other| other.name == plan.name) {
                return Err(Error::Twice(index, plan.name));
            }
            if clusters.iter().any(|other| other.api_port == plan.api_port) {
                return Err(Error::Port(index, plan.api_port));
            }
            clusters.push(plan);
        }
        // Underlays meet at the WAN, so they must differ from each other and from what is inside any cluster. Pod and
        // Service ranges of different clusters may be the same: that is the case multi-cluster networking is about.
        let mut reachable = vec![("outside".to_owned(), self.outside.trunc())];
        reachable.extend(clusters.iter().map(|c| (format!("underlay of {}", c.name), c.underlay)));
        for (position, (what, range)) in reachable.iter().enumerate() {
            let inner = clusters.iter().flat_map(|c| {
                [(format!("podCIDR of {}", c.name), c.pod_cidr), (format!("serviceCIDR of {}", c.name), c.service_cidr)]
            });
            let others = reachable[position + 1..].iter().cloned().chain(inner);
            if let Some((other, clash)) = others.into_iter().find(|(_, r)| overlap(range, r)) {
                return Err(Error::Overlap(what.clone(), *range, other, clash));
            }
        }
        for c in &clusters {
            if overlap(&c.pod_cidr, &c.service_cidr) {
                let names = (format!("podCIDR of {}", c.name), format!("serviceCIDR of {}", c.name));
                return Err(Error::Overlap(names.0, c.pod_cidr, names.1, c.service_cidr));
            }
        }
        let host = |n| nth(self.outside.trunc(), n);
        Ok(Plan {
            clusters,
            outside: Ipv4Net::new(host(2), self.outside.prefix_len()).expect("the length was valid before"),
            outside_gateway: host(1),
            add_ons: self.add_ons.clone(),
            pull: self.pull,
        })
    }
}

impl Cluster {
    fn resolve(&self, index: usize, store: Store) -> Result<ClusterPlan, Error> {
        let name = if self.name.is_empty() { format!("c{index}") } else { self.name.clone() };
        let label = name.len() <= 6
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !label {
            return Err(Error::Name(index, name));
        }
        if self.workers > 50 {
            return Err(Error::Workers(index, self.workers));
        }
        let number = u8::try_from(index).unwrap_or(u8::MAX);
        let underlay = self.underlay.unwrap_or_else(|| net(&format!("10.0.{number}.0/24"))).trunc();
        for (field, range, longest) in
            [("underlay", underlay, 24), ("podCIDR", self.pod_cidr, 17), ("serviceCIDR", self.service_cidr, 24)]
        {
            if range.prefix_len() > longest {
                return Err(Error::Small(index, field, range, longest));
            }
        }
        let control_plane =
            NodePlan { name: format!("{name}-control-plane"), address: nth(underlay, 10), control_plane: true };
        let workers = (1..=self.workers).map(|n| NodePlan {
            name: format!("{name}w{n}"),
            address: nth(underlay, 10 + u32::from(n)),
            control_plane: false,
        });
        Ok(ClusterPlan {
            nodes: std::iter::once(control_plane).chain(workers).collect(),
            name,
            underlay,
            gateway: nth(underlay, 1),
            pod_cidr: self.pod_cidr.trunc(),
            service_cidr: self.service_cidr.trunc(),
            load_balancer_pool: net(&format!("10.254.{}.0/24", 254 - number.min(254))),
            kubernetes_ip: nth(self.service_cidr.trunc(), 1),
            dns_ip: nth(self.service_cidr.trunc(), 10),
            api_port: self.api_port.unwrap_or(FIRST_API_PORT + u16::from(number)),
            store: self.store.unwrap_or(store),
            link: self.link.clone(),
        })
    }
}

fn nth(range: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()) + n)
}

fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, Error> {
        Topology::parse(text)?.resolve(Store::Embedded)
    }

    #[test]
    fn the_default_is_two_clusters_of_three() {
        let plan = plan("").unwrap();
        let names: Vec<_> = plan.clusters.iter().flat_map(|c| c.nodes.iter().map(|n| n.name.as_str())).collect();
        assert_eq!(names, ["c0-control-plane", "c0w1", "c0w2", "c0w3", "c1-control-plane", "c1w1", "c1w2", "c1w3"]);
        let c1 = &plan.clusters[1];
        assert_eq!(c1.nodes[3].address, Ipv4Addr::new(10, 0, 1, 13));
        assert_eq!((c1.api_port, c1.dns_ip), (16441, Ipv4Addr::new(10, 96, 0, 10)));
        assert_eq!(plan.outside.to_string(), "10.0.254.2/24");
        for node in plan.clusters.iter().flat_map(|c| &c.nodes) {
            assert!(node.port().len() <= 15, "{}", node.port());
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_path() {
        let cases = [
            ("clusters: []", "clusters: at least one is needed"),
            (
                "clusters: [{name: Big}]",
                "clusters[0].name: \"Big\" must be a lower-case DNS label of at most 6 characters",
            ),
            ("clusters: [{}, {name: c0}]", "clusters[1].name: \"c0\" is there twice"),
            ("clusters: [{workers: 51}]", "clusters[0].workers: 51 is more than 50"),
            (
                "clusters: [{podCIDR: 11.0.0.0/24}]",
                "clusters[0].podCIDR: 11.0.0.0/24 is too small (a /17 or larger is needed)",
            ),
            (
                "clusters: [{underlay: 10.96.3.0/24}]",
                "underlay of c0 10.96.3.0/24 and serviceCIDR of c0 10.96.0.0/16 overlap",
            ),
            ("clusters: [{apiPort: 1}, {apiPort: 1}]", "clusters[1].apiPort: 1 is used twice"),
            (
                "addOns: [calico]",
                "addOns: there is no \"calico\"; there are kube-flannel, kube-proxy, local-storage, coredns, network-policies, ingress-nginx, skupper",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(plan(text).unwrap_err().to_string(), message, "{text}");
        }
        assert!(matches!(plan("clusters: [{wrkers: 1}]"), Err(Error::Syntax(text)) if text.contains("wrkers")));
    }

    #[test]
    fn the_same_pod_range_in_both_clusters_is_no_clash() {
        let plan = plan("clusters: [{}, {store: etcd, workers: 1}]").unwrap();
        assert_eq!(plan.clusters[0].pod_cidr, plan.clusters[1].pod_cidr);
        assert_eq!(plan.clusters[1].store, Store::Etcd);
        assert_eq!(plan.clusters[1].nodes.len(), 2);
    }
}
