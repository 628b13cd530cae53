//! `/run/flannel/subnet.env`: what the agent tells the CNI plugin about this node's part of the network.
//!
//! Written in flannel's own form, so that either side can be swapped for upstream's.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::Ipv4Net;

/// Where both sides look for it.
pub const PATH: &str = "/run/flannel/subnet.env";

/// The four facts of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetEnv {
    /// The whole pod network, `FLANNEL_NETWORK`.
    pub network: Ipv4Net,
    /// This node's pod subnet (the network address; the file holds its first host address), `FLANNEL_SUBNET`.
    pub subnet: Ipv4Net,
    /// MTU of pod interfaces in bytes, `FLANNEL_MTU`.
    pub mtu: u32,
    /// Whether the agent masquerades what leaves the network, `FLANNEL_IPMASQ`. If not, the bridge plugin has to.
    pub ipmasq: bool,
}

/// Why a file is not a subnet.env.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("missing {0}")]
    Missing(&'static str),
    #[error("invalid {key}={value}")]
    Invalid { key: &'static str, value: String },
}

impl SubnetEnv {
    /// The file's text.
    #[must_use]
    pub fn render(&self) -> String {
        let first = Ipv4Addr::from(u32::from(self.subnet.network()).saturating_add(1));
        format!(
            "FLANNEL_NETWORK={}\nFLANNEL_SUBNET={first}/{}\nFLANNEL_MTU={}\nFLANNEL_IPMASQ={}\n",
            self.network,
            self.subnet.prefix_len(),
            self.mtu,
            self.ipmasq
        )
    }

    /// Reads the file's text; unknown keys are ignored, as upstream does.
    ///
    /// # Errors
    /// When a key is missing or its value has the wrong form.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let value = |key: &'static str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find_map(|(k, v)| (k.trim() == key).then_some(v.trim()))
                .ok_or(Error::Missing(key))
        };
        fn of<T: std::str::FromStr>(key: &'static str, value: &str) -> Result<T, Error> {
            value.parse().map_err(|_| Error::Invalid { key, value: value.to_owned() })
        }
        let net = |key| value(key).and_then(|text| of::<Ipv4Net>(key, text)).map(|net| net.trunc());
        Ok(Self {
            network: net("FLANNEL_NETWORK")?,
            subnet: net("FLANNEL_SUBNET")?,
            mtu: of("FLANNEL_MTU", value("FLANNEL_MTU")?)?,
            ipmasq: of("FLANNEL_IPMASQ", value("FLANNEL_IPMASQ")?)?,
        })
    }
}

/// Replaces the file at `path` in one step, so that a reader sees the old text or the new, never half of one.
///
/// # Errors
/// When the folder or the file cannot be written.
pub fn write_atomically(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    // A leading dot and no known extension: a kubelet that lists /etc/cni/net.d passes over it.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    let written =
        std::fs::File::create(&draft).and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()));
    written.and_then(|()| std::fs::rename(&draft, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "FLANNEL_NETWORK=11.0.0.0/8\nFLANNEL_SUBNET=11.0.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

    fn env() -> SubnetEnv {
        SubnetEnv {
            network: "11.0.0.0/8".parse().unwrap(),
            subnet: "11.0.3.0/24".parse().unwrap(),
            mtu: 1450,
            ipmasq: true,
        }
    }

    #[test]
    fn reads_and_writes_flannels_own_form() {
        assert_eq!(env().render(), TEXT);
        assert_eq!(SubnetEnv::parse(TEXT), Ok(env()));
    }

    #[test]
    fn says_which_key_is_wrong() {
        assert_eq!(SubnetEnv::parse("FLANNEL_NETWORK=11.0.0.0/8\n"), Err(Error::Missing("FLANNEL_SUBNET")));
        let bad = TEXT.replace("1450", "much");
        assert_eq!(SubnetEnv::parse(&bad), Err(Error::Invalid { key: "FLANNEL_MTU", value: "much".into() }));
    }
}
