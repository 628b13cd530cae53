//! How kubelets are asked: on each node's address, with the ServiceAccount's token.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use auth::trust::{Trust, client_config};
use futures::stream::{self, StreamExt};
use http::header::{AUTHORIZATION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Flags;
use crate::scrape::{Scraped, parse};

/// Where a pod finds its ServiceAccount.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The largest answer that is read: some ten thousand containers.
const ANSWER: usize = 8 * 1024 * 1024;
/// So many kubelets are asked at once.
const WORKERS: usize = 16;

pub struct Kubelets {
    tls: TlsConnector,
    token: PathBuf,
    addresses: Vec<String>,
    /// `None`: the one the node's status tells.
    port: Option<u16>,
    default_port: u16,
    patience: Duration,
}

impl Kubelets {
    /// # Errors
    /// The authorities cannot be read.
    pub fn new(flags: &Flags) -> anyhow::Result<Self> {
        let bundle = match &flags.kubelet_certificate_authority {
            _ if flags.kubelet_insecure_tls => Vec::new(),
            Some(path) => std::fs::read(path).with_context(|| format!("read {}", path.display()))?,
            None => {
                let path = Path::new(ACCOUNT).join("ca.crt");
                std::fs::read(&path).with_context(|| format!("read {}", path.display()))?
            }
        };
        let trust = if flags.kubelet_insecure_tls { Trust::Anyone } else { Trust::Bundle(&bundle) };
        Ok(Self {
            tls: Arc::new(client_config(trust, None)?).into(),
            token: Path::new(ACCOUNT).join("token"),
            addresses: flags.kubelet_preferred_address_types.clone(),
            port: (!flags.kubelet_use_node_status_port).then_some(flags.kubelet_port),
            default_port: flags.kubelet_port,
            // As upstream: what does not come in time for the next round is too late.
            patience: flags.metric_resolution * 9 / 10,
        })
    }

    /// What each node says; one that does not answer is told of in the log, and is not among them.
    pub async fn scrape(&self, nodes: &[Arc<Node>]) -> Vec<(String, Scraped)> {
        let asked = stream::iter(nodes).map(|node| async {
            let name = node.metadata.name.clone().unwrap_or_default();
            let asked = tokio::time::timeout(self.patience, self.ask(node)).await;
            match asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {:?}", self.patience))) {
                Ok(scraped) => Some((name, scraped)),
                Err(error) => {
                    tracing::warn!(node = name, error = format!("{error:#}"), "failed to scrape node");
                    None
                }
            }
        });
        asked.buffer_unordered(WORKERS).filter_map(std::future::ready).collect().await
    }

    async fn ask(&self, node: &Node) -> anyhow::Result<Scraped> {
        let (address, port) = self.address(node).context("the node has no address of a wanted type")?;
        // The token is renewed in its file.
        let token = std::fs::read_to_string(&self.token).with_context(|| format!("read {}", self.token.display()))?;
        let stream = TcpStream::connect((address, port)).await?;
        let stream = self.tls.connect(ServerName::try_from(address.to_owned())?, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get("/metrics/resource")
            .header(HOST, address)
            .header(AUTHORIZATION, format!("Bearer {}", token.trim()))
            .body(Empty::<&[u8]>::new())?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("read the answer: {error}"))?.to_bytes();
            let text = String::from_utf8_lossy(&body).into_owned();
            anyhow::ensure!(status == StatusCode::OK, "request failed, status: {status}: {}", text.trim());
            Ok(text)
        };
        tokio::pin!(connection, exchange);
        let text = tokio::select! {
            text = &mut exchange => text?,
            ended = &mut connection => {
                ended?;
                exchange.await?
            }
        };
        let now = Timestamp::now().as_millisecond() as f64 / 1000.0;
        Ok(parse(&text, now))
    }

    fn address<'n>(&self, node: &'n Node) -> Option<(&'n str, u16)> {
        let status = node.status.as_ref()?;
        let known = status.addresses.as_deref().unwrap_or_default();
        let address = self.addresses.iter().find_map(|kind| known.iter().find(|address| &address.type_ == kind))?;
        let told = || status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref().map(|endpoint| endpoint.port);
        let told = || told().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        Some((&address.address, self.port.or_else(told).unwrap_or(self.default_port)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_nodes_address() {
        let node = json!({ "status": {
            "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }, { "type": "Hostname", "address": "n" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10255 } } } });
        let node: Node = serde_json::from_value(node).expect("a node");
        for (flags, expected) in [
            (&["--kubelet-preferred-address-types=InternalIP,Hostname"][..], Some(("10.0.0.1", 10250))),
            (&["--kubelet-use-node-status-port"], Some(("n", 10255))),
            (&["--kubelet-preferred-address-types=ExternalIP"], None),
        ] {
            let all = ["metrics-server", "--kubelet-insecure-tls"].iter().chain(flags);
            let kubelets = Kubelets::new(&Flags::parse_from(all)).expect("flags");
            assert_eq!(kubelets.address(&node), expected, "{flags:?}");
        }
    }
}
