//! `net-conf.json`: the network's range and backend (flannel's `pkg/subnet/config.go`).

use ipnet::Ipv4Net;
use serde::Deserialize;

/// The file, with flannel's defaults. Field names are matched as Go does it: without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConf {
    /// The whole pod network; every node's podCIDR must lie in it.
    pub network: Ipv4Net,
    pub backend: Backend,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    Vxlan(Vxlan),
    /// Plain routes through the nodes' own addresses; all nodes on one layer-2 segment.
    HostGw,
}

impl Backend {
    /// The word in `flannel.alpha.coreos.com/backend-type`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Vxlan(_) => "vxlan",
            Self::HostGw => "host-gw",
        }
    }
}

/// The vxlan backend's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    pub vni: u32,
    /// UDP port; 8472 is the kernel's (and so flannel's) default on Linux, not IANA's 4789.
    pub port: u16,
    /// MTU of the underlay in bytes; none: the external interface's.
    pub mtu: Option<u32>,
    pub learning: bool,
    pub gbp: bool,
    /// Peers on the same segment get a plain route instead of the tunnel.
    pub direct_routing: bool,
}

/// Why net-conf.json cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("backend {0:?} is not supported (vxlan and host-gw are)")]
    Backend(String),
    #[error("Network is missing: EnableIPv4 is on and nothing else is supported")]
    NoNetwork,
    #[error("VNI {0} does not fit into 24 bits")]
    Vni(u32),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    network: Option<Ipv4Net>,
    enableipv4: Option<bool>,
    backend: RawBackend,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawBackend {
    #[serde(rename = "type")]
    kind: String,
    vni: Option<u32>,
    port: Option<u16>,
    mtu: Option<u32>,
    learning: bool,
    gbp: bool,
    directrouting: bool,
}

impl NetConf {
    /// Reads the file's text.
    ///
    /// # Errors
    /// When it is no JSON, has no IPv4 network, or names another backend.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let raw: Raw = serde_json::from_value(lower_keys(serde_json::from_str(text)?))?;
        let network = raw.network.filter(|_| raw.enableipv4 != Some(false)).ok_or(Error::NoNetwork)?.trunc();
        let backend = match raw.backend.kind.as_str() {
            "vxlan" => Backend::Vxlan(raw.backend.vxlan()?),
            "host-gw" => Backend::HostGw,
            other => return Err(Error::Backend(other.to_owned())),
        };
        Ok(Self { network, backend })
    }
}

impl RawBackend {
    fn vxlan(self) -> Result<Vxlan, Error> {
        let vni = self.vni.unwrap_or(1);
        if vni >= 1 << 24 {
            return Err(Error::Vni(vni));
        }
        Ok(Vxlan {
            vni,
            port: self.port.filter(|port| *port != 0).unwrap_or(8472),
            mtu: self.mtu,
            learning: self.learning,
            gbp: self.gbp,
            direct_routing: self.directrouting,
        })
    }
}

fn lower_keys(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            map.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), lower_keys(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_flannels() {
        let conf = NetConf::parse(r#"{"Network": "11.0.0.0/8", "Backend": {"Type": "vxlan"}}"#).unwrap();
        assert_eq!(conf.network.to_string(), "11.0.0.0/8");
        let expected = Vxlan { vni: 1, port: 8472, mtu: None, learning: false, gbp: false, direct_routing: false };
        assert_eq!(conf.backend, Backend::Vxlan(expected));
    }

    #[test]
    fn options_in_either_case() {
        let text =
            r#"{"network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":4096,"Port":4789,"DirectRouting":true}}"#;
        let Backend::Vxlan(vxlan) = NetConf::parse(text).unwrap().backend else { panic!("vxlan was asked for") };
        assert_eq!((vxlan.vni, vxlan.port, vxlan.direct_routing), (4096, 4789, true));
    }

    #[test]
    fn refusals_name_the_reason() {
        let refused = |text: &str| NetConf::parse(text).unwrap_err().to_string();
        assert!(refused(r#"{"Network":"11.0.0.0/8","Backend":{"Type":"ipsec"}}"#).contains("\"ipsec\""));
        assert!(refused(r#"{"Backend":{"Type":"vxlan"}}"#).starts_with("Network is missing"));
        assert!(refused(r#"{"Network":"11.0.0.0/8","Backend":{"Type":"vxlan","VNI":16777216}}"#).contains("24 bits"));
    }
}
