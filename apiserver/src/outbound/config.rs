//! `WebhookClientConfig`: a URL, or a Service and a path; and whom to trust there.

use serde_json::Value;

use super::egress::Network;
use super::{Peer, resolve};
use crate::app::{App, text};

/// Where to post reviews to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    endpoint: Endpoint,
    /// PEM; empty: the system's authorities.
    ca_bundle: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Endpoint {
    Url { host: String, port: u16, path: String, shown: String },
    Service { namespace: String, name: String, port: u16, path: String },
}

impl ClientConfig {
    /// Reads a validated `clientConfig`.
    ///
    /// # Errors
    /// What the call is to be answered with, when it is neither URL nor Service.
    pub fn parse(config: &Value) -> Result<Self, String> {
        use base64::Engine;
        let ca_bundle = base64::prelude::BASE64_STANDARD.decode(text(config, "/caBundle")).unwrap_or_default();
        let service = &config["service"];
        let endpoint = if service.is_object() {
            let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
            let own = |field: &str| text(service, field).to_owned();
            Endpoint::Service { namespace: own("/namespace"), name: own("/name"), port, path: clean(&own("/path")) }
        } else {
            let url = text(config, "/url");
            if url.is_empty() {
                return Err("webhook configuration must have either service or URL".to_owned());
            }
            let rest = url.strip_prefix("https://").ok_or_else(|| format!("Unparsable URL: {url}"))?;
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let parsed: http::uri::Authority = authority.parse().map_err(|e| format!("Unparsable URL: {e}"))?;
            Endpoint::Url {
                host: parsed.host().to_owned(),
                port: parsed.port_u16().unwrap_or(443),
                path: clean(path),
                shown: authority.to_owned(),
            }
        };
        Ok(Self { endpoint, ca_bundle })
    }

    /// The host as the server knows itself, and as errors name it.
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.endpoint {
            Endpoint::Url { shown, .. } => shown.clone(),
            Endpoint::Service { namespace, name, port, .. } => format!("{name}.{namespace}.svc:{port}"),
        }
    }

    fn path(&self) -> &str {
        match &self.endpoint {
            Endpoint::Url { path, .. } | Endpoint::Service { path, .. } => path,
        }
    }

    /// The URL as errors name it, with the time that is left to the server.
    #[must_use]
    pub fn url(&self, seconds: u64) -> String {
        self.address_url(&self.authority(), seconds)
    }

    /// The same, of another address.
    fn address_url(&self, address: &str, seconds: u64) -> String {
        format!("https://{address}{}?timeout={seconds}s", self.path())
    }

    /// Whom to expect there.
    #[must_use]
    pub fn peer(&self) -> Peer {
        let (ca_bundle, server_name) = (self.ca_bundle.clone(), self.server_name());
        let network = match &self.endpoint {
            Endpoint::Url { .. } => Network::ControlPlane,
            Endpoint::Service { .. } => Network::Cluster,
        };
        Peer { ca_bundle, insecure: false, server_name, identify: false, network: Some(network) }
    }

    fn server_name(&self) -> Option<String> {
        match &self.endpoint {
            Endpoint::Url { .. } => None,
            Endpoint::Service { namespace, name, .. } => Some(format!("{name}.{namespace}.svc")),
        }
    }

    /// The address and port to connect to.
    ///
    /// # Errors
    /// There is no such Service, or it has no such port.
    pub async fn resolve(&self, app: &App) -> Result<String, String> {
        match &self.endpoint {
            Endpoint::Url { host, port, .. } => Ok(format!("{host}:{port}")),
            Endpoint::Service { namespace, name, port, .. } => {
                let (host, port) =
                    resolve::service(app, namespace, name, *port).await.map_err(|error| error.message)?;
                Ok(resolve::join(&host, port))
            }
        }
    }
}

/// The path as it is asked for: without empty steps, `.`, `..` and a slash at its end (Go's `path.Join`, by which client-go makes
/// it).
fn clean(path: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    format!("/{}", steps.join("/"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn urls_and_services() {
        let config = ClientConfig::parse(&json!({ "url": "https://example.org/a/b" })).unwrap();
        assert_eq!(config.url(10), "https://example.org/a/b?timeout=10s");
        assert_eq!(config.server_name(), None);
        let service = json!({ "service": { "namespace": "n", "name": "s", "path": "/p" } });
        let config = ClientConfig::parse(&service).unwrap();
        assert_eq!(config.url(3), "https://s.n.svc:443/p?timeout=3s");
        assert_eq!(config.address_url("10.96.0.9:443", 3), "https://10.96.0.9:443/p?timeout=3s");
        assert_eq!(config.server_name().as_deref(), Some("s.n.svc"));
        for (path, asked) in
            [("", "/"), ("/", "/"), ("/a/", "/a"), ("//a/../b", "/b"), ("/../a/./b", "/a/b"), ("/a//b", "/a/b")]
        {
            let config = ClientConfig::parse(&json!({ "url": format!("https://h{path}") })).unwrap();
            assert_eq!(config.url(1), format!("https://h{asked}?timeout=1s"));
        }
        assert!(ClientConfig::parse(&json!({})).is_err());
        assert!(ClientConfig::parse(&json!({ "url": "https://[::1]:8443" })).is_ok());
    }
}
