//! A lease: a node's part of the pod network and how to reach it. Its record is the Node object itself: `spec.podCIDR`
//! and the annotations `flannel.alpha.coreos.com/*` (flannel's `pkg/subnet/kube`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};

const PREFIX: &str = "flannel.alpha.coreos.com";

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            *byte = parts.next().and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or(())?;
        }
        if parts.next().is_some() { Err(()) } else { Ok(Self(mac)) }
    }
}

/// What a backend needs to know of a node, beyond its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendData {
    Vxlan { vni: u32, mac: Mac },
    HostGw,
}

/// One node's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub subnet: Ipv4Net,
    pub public_ip: Ipv4Addr,
    pub data: BackendData,
}

#[derive(Deserialize, Serialize)]
struct VxlanData {
    #[serde(rename = "VNI")]
    vni: u32,
    #[serde(rename = "VtepMAC")]
    mac: String,
}

/// The IPv4 podCIDR of `node`, once the controller manager has assigned one.
#[must_use]
pub fn pod_cidr(node: &Node) -> Option<Ipv4Net> {
    let spec = node.spec.as_ref()?;
    let all = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    all.filter_map(|cidr| cidr.parse::<Ipv4Net>().ok()).next()
}

/// The MAC a former run of the agent on `node` announced; a restarted agent takes it again so that peers need no change.
#[must_use]
pub fn stored_mac(node: &Node) -> Option<Mac> {
    vxlan_data(annotation(node, "backend-data")?).map(|(_, mac)| mac)
}

/// The address `node`'s administrator wants others to use for it, `public-ip-overwrite`.
#[must_use]
pub fn public_ip_overwrite(node: &Node) -> Option<Ipv4Addr> {
    annotation(node, "public-ip-overwrite")?.parse().ok()
}

/// The lease `node` announces; none while its agent has not announced one, or announced what we cannot read.
#[must_use]
pub fn of_node(node: &Node) -> Option<Lease> {
    if annotation(node, "kube-subnet-manager") != Some("true") {
        return None;
    }
    let data = match annotation(node, "backend-type")? {
        "vxlan" => {
            let (vni, mac) = vxlan_data(annotation(node, "backend-data")?)?;
            BackendData::Vxlan { vni, mac }
        }
        "host-gw" => BackendData::HostGw,
        _ => return None,
    };
    Some(Lease { subnet: pod_cidr(node)?.trunc(), public_ip: annotation(node, "public-ip")?.parse().ok()?, data })
}

/// The annotations that announce `lease`.
#[must_use]
pub fn annotations(lease: &Lease) -> BTreeMap<String, String> {
    let (kind, data) = match &lease.data {
        BackendData::Vxlan { vni, mac } => {
            ("vxlan", serde_json::json!(VxlanData { vni: *vni, mac: mac.to_string() }).to_string())
        }
        BackendData::HostGw => ("host-gw", "null".to_owned()),
    };
    [
        ("backend-data", data),
        ("backend-type", kind.to_owned()),
        ("kube-subnet-manager", "true".to_owned()),
        ("public-ip", lease.public_ip.to_string()),
    ]
    .map(|(key, value)| (format!("{PREFIX}/{key}"), value))
    .into()
}

fn annotation<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.annotations.as_ref()?.get(&format!("{PREFIX}/{key}")).map(String::as_str)
}

fn vxlan_data(text: &str) -> Option<(u32, Mac)> {
    let data: VxlanData = serde_json::from_str(text).ok()?;
    Some((data.vni, data.mac.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        Lease {
            subnet: "11.0.2.0/24".parse().unwrap(),
            public_ip: "10.0.0.12".parse().unwrap(),
            data: BackendData::Vxlan { vni: 1, mac: "0a:1b:2c:3d:4e:5f".parse().unwrap() },
        }
    }

    fn node(annotations: BTreeMap<String, String>) -> Node {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": "c0w2", "annotations": annotations },
            "spec": { "podCIDR": "11.0.2.0/24", "podCIDRs": ["11.0.2.0/24"] },
        }))
        .unwrap()
    }

    #[test]
    fn annotations_carry_a_lease_there_and_back() {
        let announced = annotations(&lease());
        assert_eq!(announced[&format!("{PREFIX}/backend-data")], r#"{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:5f"}"#);
        assert_eq!(announced[&format!("{PREFIX}/public-ip")], "10.0.0.12");
        assert_eq!(of_node(&node(announced)), Some(lease()));
        let plain = Lease { data: BackendData::HostGw, ..lease() };
        assert_eq!(annotations(&plain)[&format!("{PREFIX}/backend-data")], "null");
        assert_eq!(of_node(&node(annotations(&plain))), Some(plain));
    }

    #[test]
    fn a_node_without_an_agent_has_no_lease() {
        assert_eq!(of_node(&node(BTreeMap::new())), None);
        let mut broken = annotations(&lease());
        broken.insert(format!("{PREFIX}/backend-data"), "{}".into());
        assert_eq!(of_node(&node(broken)), None);
    }
}
