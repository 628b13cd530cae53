//! What the proxy knows of a Service and its endpoints: the API's objects, less all that does not matter for packets.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{EndpointHints, EndpointSlice};
use runtime::address;

/// A Service's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The API's and nft's words differ only in case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("UDP") => Self::Udp,
            Some("SCTP") => Self::Sctp,
            _ => Self::Tcp,
        }
    }
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Empty where the Service has only one and leaves it unnamed.
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<u16>,
}

/// A Service that has a virtual address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    pub cluster_ip: Ipv4Addr,
    pub ports: Vec<Port>,
    pub external_ips: Vec<Ipv4Addr>,
    /// `status.loadBalancer.ingress` addresses that this node answers for (`ipMode: VIP`).
    pub load_balancer_ips: Vec<Ipv4Addr>,
    /// Who may use the load balancer addresses; empty: everybody.
    pub source_ranges: Vec<Ipv4Net>,
    pub internal_local: bool,
    pub external_local: bool,
    /// ClientIP affinity's timeout in seconds.
    pub affinity: Option<u32>,
    pub health_check_node_port: Option<u16>,
}

impl ServiceSpec {
    /// None for what kube-proxy does not serve: headless and ExternalName Services, those of another proxy, other
    /// address families.
    #[must_use]
    pub fn of(service: &Service) -> Option<Self> {
        const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
        let labels = service.metadata.labels.as_ref();
        let spec = service.spec.as_ref()?;
        if labels.is_some_and(|labels| labels.contains_key(OTHER_PROXY))
            || spec.type_.as_deref() == Some("ExternalName")
        {
            return None;
        }
        let all_ips = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let cluster_ip = all_ips.filter_map(|ip| address::v4(ip)).next()?;
        let ports = spec.ports.iter().flatten();
        let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = ingress.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
        let ranges = spec.load_balancer_source_ranges.iter().flatten();
        let balanced = spec.type_.as_deref() == Some("LoadBalancer");
        Some(Self {
            cluster_ip,
            ports: ports
                .filter_map(|port| {
                    Some(Port {
                        name: port.name.clone().unwrap_or_default(),
                        protocol: Protocol::parse(port.protocol.as_deref()),
                        port: u16::try_from(port.port).ok()?,
                        node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0),
                    })
                })
                .collect(),
            external_ips: spec.external_ips.iter().flatten().filter_map(|ip| address::v4(ip)).collect(),
            load_balancer_ips: if balanced {
                let direct = ingress.filter(|at| at.ip_mode.as_deref() != Some("Proxy"));
                direct.filter_map(|at| address::v4(at.ip.as_deref()?)).collect()
            } else {
                Vec::new()
            },
            source_ranges: ranges.filter_map(|range| address::v4_net(range.trim())).collect(),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            affinity: (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
                let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
                // 3 hours, the API's default.
                config.and_then(|ip| ip.timeout_seconds).and_then(|s| u32::try_from(s).ok()).unwrap_or(10800)
            }),
            health_check_node_port: spec
                .health_check_node_port
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port != 0),
        })
    }
}

/// One endpoint of one Service port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub ip: Ipv4Addr,
    pub port: u16,
    /// On this node.
    pub local: bool,
    /// Takes new connections.
    pub ready: bool,
    /// Still answers, though it may be terminating.
    pub serving: bool,
    pub terminating: bool,
    pub hints: Hints,
}

/// Whom an endpoint is meant for (KEP-2433, KEP-3015); empty where the slice says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hints {
    pub nodes: Vec<String>,
    pub zones: Vec<String>,
}

impl Hints {
    fn of(hints: &EndpointHints) -> Self {
        Self {
            nodes: hints.for_nodes.iter().flatten().map(|node| node.name.clone()).collect(),
            zones: hints.for_zones.iter().flatten().map(|zone| zone.name.clone()).collect(),
        }
    }
}

/// An EndpointSlice: its endpoints by the name and protocol of the port they serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    pub endpoints: Vec<(String, Protocol, Endpoint)>,
}

/// The Service whose traffic goes to an EndpointSlice: none for slices of headless Services, which whoever makes them labels so.
#[must_use]
pub fn service_of(slice: &EndpointSlice) -> Option<ServiceName> {
    let labels = slice.metadata.labels.as_ref()?;
    let name =
        labels.get("kubernetes.io/service-name").filter(|_| !labels.contains_key("service.kubernetes.io/headless"))?;
    Some(ServiceName { namespace: slice.metadata.namespace.clone().unwrap_or_default(), name: name.clone() })
}

impl Slice {
    /// Reads `slice` as seen from `node`. Other address families give an empty one.
    #[must_use]
    pub fn of(slice: &EndpointSlice, node: &str) -> Self {
        if slice.address_type != "IPv4" {
            return Self::default();
        }
        let mut endpoints = Vec::new();
        for port in slice.ports.iter().flatten() {
            let Some(number) = port.port.and_then(|port| u16::try_from(port).ok()) else { continue };
            let (name, protocol) = (port.name.clone().unwrap_or_default(), Protocol::parse(port.protocol.as_deref()));
            for endpoint in &slice.endpoints {
                // The API promises that all addresses of one endpoint are the same pod; consumers use the first.
                let Some(ip) = endpoint.addresses.first().and_then(|ip| address::v4(ip)) else { continue };
                let conditions = endpoint.conditions.as_ref();
                // Unknown means ready, and serving follows ready (the API's reading of absent conditions).
                let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
                let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
                let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
                let local = endpoint.node_name.as_deref() == Some(node);
                let hints = endpoint.hints.as_ref().map(Hints::of).unwrap_or_default();
                let endpoint = Endpoint { ip, port: number, local, ready, serving, terminating, hints };
                endpoints.push((name.clone(), protocol, endpoint));
            }
        }
        Self { endpoints }
    }
}
