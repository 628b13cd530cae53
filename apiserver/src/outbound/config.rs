//! `WebhookClientConfig`: a URL, or a Service and a path; and whom to trust there.

use serde_json::Value;

use super::egress::Network;
use super::{Peer, Url, resolve};
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
    Url(Url),
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
            Endpoint::Service { namespace: own("/namespace"), name: own("/name"), port, path: own("/path") }
        } else {
            let url = text(config, "/url");
            if url.is_empty() {
                return Err("webhook configuration must have either service or URL".to_owned());
            }
            Endpoint::Url(Url::parse(url).map_err(|why| format!("Unparsable URL: {why}"))?)
        };
        Ok(Self { endpoint, ca_bundle })
    }

    /// The host as the server knows itself, and as errors name it.
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.endpoint {
            Endpoint::Url(url) => url.authority().to_owned(),
            Endpoint::Service { namespace, name, port, .. } => format!("{name}.{namespace}.svc:{port}"),
        }
    }

    /// The URL as errors name it, with the time that is left to the server.
    #[must_use]
    pub fn url(&self, seconds: u64) -> Url {
        let path = match &self.endpoint {
            Endpoint::Url(url) => clean(url.path()),
            Endpoint::Service { path, .. } => clean(path),
        };
        Url::https(&self.authority(), &path, format!("?timeout={seconds}s"))
    }

    /// Whom to expect there.
    #[must_use]
    pub fn peer(&self) -> Peer {
        let (ca_bundle, server_name) = (self.ca_bundle.clone(), self.server_name());
        let network = match &self.endpoint {
            Endpoint::Url(_) => Network::ControlPlane,
            Endpoint::Service { .. } => Network::Cluster,
        };
        Peer { ca_bundle, insecure: false, server_name, identify: false, network: Some(network) }
    }

    fn server_name(&self) -> Option<String> {
        match &self.endpoint {
            Endpoint::Url(_) => None,
            Endpoint::Service { namespace, name, .. } => Some(format!("{name}.{namespace}.svc")),
        }
    }

    /// The address and port to connect to.
    ///
    /// # Errors
    /// There is no such Service, or it has no such port.
    pub async fn resolve(&self, app: &App) -> Result<String, String> {
        match &self.endpoint {
            Endpoint::Url(url) => Ok(url.address()),
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
        assert_eq!(config.url(10).to_string(), "https://example.org/a/b?timeout=10s");
        assert_eq!(config.server_name(), None);
        let service = json!({ "service": { "namespace": "n", "name": "s", "path": "/p" } });
        let config = ClientConfig::parse(&service).unwrap();
        assert_eq!(config.url(3).to_string(), "https://s.n.svc:443/p?timeout=3s");
        assert_eq!(config.server_name().as_deref(), Some("s.n.svc"));
        for (path, asked) in
            [("", "/"), ("/", "/"), ("/a/", "/a"), ("//a/../b", "/b"), ("/../a/./b", "/a/b"), ("/a//b", "/a/b")]
        {
            let config = ClientConfig::parse(&json!({ "url": format!("https://h{path}") })).unwrap();
            assert_eq!(config.url(1).to_string(), format!("https://h{asked}?timeout=1s"));
        }
        assert!(ClientConfig::parse(&json!({})).is_err());
        assert!(ClientConfig::parse(&json!({ "url": "https://[::1]:8443" })).is_ok());
    }
}
