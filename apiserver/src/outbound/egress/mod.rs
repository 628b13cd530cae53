//! The ways out of this server (`--egress-selector-config-file`; upstream `apiserver/pkg/server/egressselector`, KEP-1281):
//! each network that it speaks to is reached directly or through a proxy.
//!
//! ```text
//!  cluster       kubelets; what is proxied to; aggregated servers; webhooks that are Services ─┐
//!  controlplane  webhooks by URL; the servers of kubeconfigs: tokens, authorization, audit     ├─> Dialer
//!  etcd          the store                                                                    ─┘
//!  issuers of tokens: the network they are configured with
//!  Dialer ──> directly, or CONNECT over TCP, TLS or a socket of this machine
//! ```

mod config;
mod connector;
mod proxy;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpStream;

use crate::access::file::aggregate;
use crate::options::Options;
use crate::outbound::unconnected;
pub use connector::Connector;
use proxy::Proxy;
pub use proxy::Socket;

/// How long connecting may take, the proxy's part of it included (Go's default transport).
const PATIENCE: Duration = Duration::from_secs(30);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    ControlPlane,
    Etcd,
    Cluster,
}

impl Network {
    /// By its name in the file, however it is written.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_lowercase().as_str() {
            "controlplane" => Some(Self::ControlPlane),
            "etcd" => Some(Self::Etcd),
            "cluster" => Some(Self::Cluster),
            _ => None,
        }
    }
}

/// The ways that are configured.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// Whether there is a configuration that selects anything.
    pub configured: bool,
    ways: Arc<BTreeMap<Network, Dialer>>,
}

impl Egress {
    /// # Errors
    /// The file cannot be read, or what it says makes no sense or cannot be done; in upstream's words.
    pub fn load(options: &Options) -> anyhow::Result<Self> {
        let Some(path) = &options.egress_selector_config_file else { return Ok(Self::default()) };
        let read = || {
            let text = std::fs::read_to_string(path);
            let unable =
                || format!("unable to read egress selector configuration from {:?}", path.display().to_string());
            config::parse(&text.with_context(unable)?)
        };
        let selections = read().context("failed to read egress selector config")?;
        let errors = config::validate(&selections);
        if !errors.is_empty() {
            anyhow::bail!("failed to validate egress selector configuration: {}", aggregate(&errors));
        }
        let mut ways = BTreeMap::new();
        for selection in &selections {
            let name = selection.name.to_lowercase();
            let network = Network::parse(&name).with_context(|| format!("unrecognized service name {name}"))?;
            let dialer = Dialer::new(&selection.connection);
            let dialer = dialer.with_context(|| format!("failed to create dialer for egressSelection {name:?}"));
            ways.insert(network, dialer.context("failed to setup egress selector")?);
        }
        Ok(Self { configured: !selections.is_empty(), ways: Arc::new(ways) })
    }

    /// The way to a network, if one is configured.
    #[must_use]
    pub fn lookup(&self, network: Network) -> Option<&Dialer> {
        self.ways.get(&network)
    }

    /// The way to a network; directly where nothing else is said, or where it is none of the networks.
    #[must_use]
    pub fn dialer(&self, network: Option<Network>) -> Dialer {
        network.and_then(|network| self.lookup(network)).cloned().unwrap_or_default()
    }
}

/// How a connection is made.
#[derive(Clone, Debug, Default)]
pub enum Dialer {
    #[default]
    Direct,
    Proxy(Arc<Proxy>),
}

impl Dialer {
    fn new(connection: &config::Connection) -> anyhow::Result<Self> {
        match (connection.proxy_protocol.as_str(), &connection.transport) {
            ("HTTPConnect", Some(transport)) => Ok(Self::Proxy(Arc::new(Proxy::new(transport)?))),
            // Konnectivity's own protocol: a tunnel a connection, in messages of gRPC.
            ("GRPC", _) => anyhow::bail!("the proxy protocol GRPC is not supported by this server, HTTPConnect is"),
            _ => Ok(Self::Direct),
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// Why nobody is there, or the proxy did not let us through; in Go's words.
    pub async fn dial(&self, host: &str, port: u16) -> Result<Socket, String> {
        let address = super::resolve::join(host, port);
        let dialled = async {
            match self {
                Self::Direct => {
                    let stream = TcpStream::connect((host, port)).await;
                    let stream = stream.map_err(|error| format!("dial tcp {address}: {}", unconnected(&error)))?;
                    stream.set_nodelay(true).map_err(|error| error.to_string())?;
                    Ok(Socket::from(stream))
                }
                Self::Proxy(proxy) => proxy.connect(&address).await,
            }
        };
        match tokio::time::timeout(PATIENCE, dialled).await {
            Ok(dialled) => dialled,
            Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
        }
    }
}
