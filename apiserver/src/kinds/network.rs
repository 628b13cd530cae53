//! The groups networking.k8s.io and discovery.k8s.io.

use super::Kind;
use super::row::ONLY_STATUS;

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind::new("networking.k8s.io", &["v1"], kind, plural, singular)
}

pub const KINDS: &[Kind] = &[
    Kind { namespaced: false, ..kind("IngressClass", "ingressclasses", "ingressclass") },
    Kind {
        short_names: &["ing"],
        subresources: ONLY_STATUS,
        registry: "ingress",
        ..kind("Ingress", "ingresses", "ingress")
    },
    Kind { short_names: &["ip"], namespaced: false, ..kind("IPAddress", "ipaddresses", "ipaddress") },
    Kind { short_names: &["netpol"], ..kind("NetworkPolicy", "networkpolicies", "networkpolicy") },
    Kind { namespaced: false, subresources: ONLY_STATUS, ..kind("ServiceCIDR", "servicecidrs", "servicecidr") },
    Kind::new("discovery.k8s.io", &["v1"], "EndpointSlice", "endpointslices", "endpointslice"),
];
