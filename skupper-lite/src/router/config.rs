//! The router's configuration in skupper-router's own JSON form: a list of pairs `["kind", {attributes}]`.
//!
//! The controller writes it and the router reads it; the kinds and attributes are those of skupper-router's management
//! schema as Skupper uses them. A kind we do not act on (`address`, `log`, `proxyProfile`) is accepted and left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the configuration is not a JSON list of [kind, attributes] pairs")]
    Shape(#[source] serde_json::Error),
    #[error("the {kind} entry cannot be read")]
    Entry { kind: String, source: serde_json::Error },
    #[error("the configuration has no router entry")]
    NoRouter,
}

/// `router`: who this router is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub id: String,
    pub mode: Mode,
    /// A neighbour not heard of for so long is gone. A string, as upstream writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello_max_age_seconds: Option<String>,
    /// JSON in a string: the site's id and version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metadata: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Interior,
    Edge,
}

/// `sslProfile`: where the certificates are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SslProfile {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub private_key_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca_cert_file: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    #[default]
    Normal,
    InterRouter,
    Edge,
}

/// `listener`: where other routers (or, with `http`, probes) come in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listener {
    pub name: String,
    pub role: Role,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    pub port: u16,
    #[serde(skip_serializing_if = "is_false")]
    pub http: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub http_root_dir: String,
    #[serde(skip_serializing_if = "is_false")]
    pub healthz: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub metrics: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ssl_profile: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sasl_mechanisms: String,
    #[serde(skip_serializing_if = "is_false")]
    pub authenticate_peer: bool,
}

/// `connector`: a link to another router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connector {
    pub name: String,
    pub role: Role,
    pub host: String,
    pub port: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub cost: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ssl_profile: String,
}

/// `tcpListener` (clients come in) or `tcpConnector` (a server to connect to).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpEndpoint {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    pub port: String,
    pub address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub site_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub process_id: String,
}

/// `site`: what the network shows of this site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Site {
    pub name: String,
    pub namespace: String,
    pub platform: String,
    pub version: String,
}

/// A whole configuration. The maps are by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub router: Metadata,
    pub ssl_profiles: BTreeMap<String, SslProfile>,
    pub connectors: BTreeMap<String, Connector>,
    pub listeners: BTreeMap<String, Listener>,
    pub tcp_connectors: BTreeMap<String, TcpEndpoint>,
    pub tcp_listeners: BTreeMap<String, TcpEndpoint>,
    pub site: Option<Site>,
}

impl Config {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// When it is not that form, or an entry we act on cannot be read.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let entries: Vec<(String, Value)> = serde_json::from_str(text).map_err(Error::Shape)?;
        let mut config = Self::default();
        let mut has_router = false;
        for (kind, value) in entries {
            let read = match kind.as_str() {
                "router" => serde_json::from_value(value).map(|it| {
                    has_router = true;
                    config.router = it;
                }),
                "sslProfile" => insert(&mut config.ssl_profiles, value, |it| &it.name),
                "connector" => insert(&mut config.connectors, value, |it| &it.name),
                "listener" => insert(&mut config.listeners, value, |it| &it.name),
                "tcpConnector" => insert(&mut config.tcp_connectors, value, |it| &it.name),
                "tcpListener" => insert(&mut config.tcp_listeners, value, |it| &it.name),
                "site" => serde_json::from_value(value).map(|it| config.site = Some(it)),
                _ => Ok(()),
            };
            read.map_err(|source| Error::Entry { kind, source })?;
        }
        if has_router { Ok(config) } else { Err(Error::NoRouter) }
    }

    /// Writes the JSON form, in a stable order.
    pub fn to_json(&self) -> String {
        let mut entries = vec![entry("router", &self.router)];
        entries.extend(self.ssl_profiles.values().map(|it| entry("sslProfile", it)));
        entries.extend(self.connectors.values().map(|it| entry("connector", it)));
        entries.extend(self.listeners.values().map(|it| entry("listener", it)));
        entries.extend(self.tcp_connectors.values().map(|it| entry("tcpConnector", it)));
        entries.extend(self.tcp_listeners.values().map(|it| entry("tcpListener", it)));
        entries.extend(self.site.iter().map(|it| entry("site", it)));
        serde_json::to_string_pretty(&entries).expect("strings, numbers and maps of strings always serialise")
    }

    /// The id of the site this router belongs to.
    pub fn site_id(&self) -> String {
        let metadata: Value = serde_json::from_str(&self.router.metadata).unwrap_or_default();
        metadata["id"].as_str().unwrap_or_default().to_owned()
    }
}

fn insert<T: for<'de> Deserialize<'de>>(
    into: &mut BTreeMap<String, T>,
    value: Value,
    name: impl Fn(&T) -> &String,
) -> Result<(), serde_json::Error> {
    let parsed: T = serde_json::from_value(value)?;
    into.insert(name(&parsed).clone(), parsed);
    Ok(())
}

fn entry(kind: &str, attributes: &impl Serialize) -> (String, Value) {
    let value = serde_json::to_value(attributes).expect("strings, numbers and booleans always serialise");
    (kind.to_owned(), value)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_survives_a_round_trip_and_unknown_kinds_are_left_out() {
        let text = r#"[
            ["router", {"id": "a", "mode": "interior", "helloMaxAgeSeconds": "3", "metadata": "{\"id\":\"s1\"}"}],
            ["sslProfile", {"name": "p", "caCertFile": "/c/ca.crt"}],
            ["connector", {"name": "l", "role": "inter-router", "host": "10.0.0.11", "port": "30671", "sslProfile": "p"}],
            ["tcpListener", {"name": "listener/web", "host": "0.0.0.0", "port": "1024", "address": "web"}],
            ["address", {"prefix": "mc", "distribution": "multicast"}]
        ]"#;
        let config = Config::parse(text).unwrap();
        assert_eq!(config.site_id(), "s1");
        assert_eq!(config.connectors["l"].role, Role::InterRouter);
        assert_eq!(Config::parse(&config.to_json()).unwrap(), config);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(matches!(Config::parse("{}"), Err(Error::Shape(_))));
        assert!(matches!(Config::parse("[]"), Err(Error::NoRouter)));
        let Err(Error::Entry { kind, .. }) = Config::parse(r#"[["listener", {"port": "x"}]]"#) else { panic!() };
        assert_eq!(kind, "listener");
    }
}
