//! The groups networking.k8s.io and discovery.k8s.io.

use super::row::ONLY_STATUS;
use super::{Kind, columns, strategy};

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind::new("networking.k8s.io", &["v1"], kind, plural, singular)
}

pub const KINDS: &[Kind] = &[
    Kind {
        namespaced: false,
        columns: columns::network::INGRESS_CLASSES,
        strategy: strategy::ingress::INGRESS_CLASS,
        ..kind("IngressClass", "ingressclasses", "ingressclass")
    },
    Kind {
        short_names: &["ing"],
        subresources: ONLY_STATUS,
        registry: "ingress",
        columns: columns::network::INGRESSES,
        strategy: strategy::ingress::INGRESS,
        ..kind("Ingress", "ingresses", "ingress")
    },
    Kind {
        short_names: &["ip"],
        namespaced: false,
        columns: columns::network::IP_ADDRESSES,
        strategy: strategy::network_policy::IP_ADDRESS,
        ..kind("IPAddress", "ipaddresses", "ipaddress")
    },
    Kind {
        short_names: &["netpol"],
        columns: columns::network::NETWORK_POLICIES,
        strategy: strategy::network_policy::NETWORK_POLICY,
        ..kind("NetworkPolicy", "networkpolicies", "networkpolicy")
    },
    Kind {
        namespaced: false,
        subresources: ONLY_STATUS,
        columns: columns::network::SERVICE_CIDRS,
        strategy: strategy::network_policy::SERVICE_CIDR,
        ..kind("ServiceCIDR", "servicecidrs", "servicecidr")
    },
];

pub const DISCOVERY: &[Kind] = &[Kind {
    columns: columns::service::ENDPOINT_SLICES,
    strategy: strategy::endpoints::ENDPOINT_SLICE,
    ..Kind::new("discovery.k8s.io", &["v1"], "EndpointSlice", "endpointslices", "endpointslice")
}];
