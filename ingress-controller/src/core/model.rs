//! The desired configuration as data: what nginx shall serve, before it is text.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::index::Key;

/// Everything nginx needs to know. Two equal values render to the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The catch-all server is always the first; the others follow by host name.
    pub servers: Vec<Server>,
    /// By name, so that the order is stable.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Certificates by file stem. The stem carries a hash of the content, so a file never changes under nginx.
    pub certificates: BTreeMap<String, Certificate>,
}

/// The endpoints of one Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub endpoints: Vec<(IpAddr, u16)>,
    /// Requests stick to an endpoint by a cookie of this name.
    pub affinity: Option<String>,
}

/// A certificate chain and its key, both PEM, already known to belong together.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    pub chain: String,
    pub key: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(…)")
    }
}

/// Which `Host` headers (and SNI names) a server answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    Any,
    Exact(String),
    /// `*.suffix`, one label only, as the Ingress API says. Holds the suffix without the star and dot.
    Wildcard(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub host: Host,
    /// File stem in [`Config::certificates`]; none means the default certificate.
    pub certificate: Option<String>,
    /// In the order nginx shall read them (it matters for regular expressions only).
    pub locations: Vec<Location>,
}

/// How nginx matches a request path, already in nginx's own terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `location = path`
    Exact(String),
    /// `location path`
    Prefix(String),
    /// `location ~ regex` or, ignoring case, `location ~* regex`
    Regex { pattern: String, ignore_case: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub matcher: Match,
    /// The Ingress to blame when nginx refuses this location; none for the built-in 404.
    pub owner: Option<Key>,
    pub options: Options,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Pass to this upstream, by `https` when `tls`.
    Proxy { upstream: String, tls: bool },
    /// Answer with nginx's own page: 404 where nothing matches, 503 where there is no endpoint to ask.
    Answer(u16),
}

/// What annotations may change about a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Answer plain HTTP with a 308 to HTTPS.
    pub ssl_redirect: bool,
    /// Where a request for `/` is sent (302).
    pub app_root: Option<String>,
    pub rewrite: Option<Rewrite>,
    /// nginx size, such as `1m`; `0` is unlimited.
    pub body_size: String,
    /// Seconds.
    pub connect_timeout: u32,
    pub read_timeout: u32,
    pub send_timeout: u32,
    /// When not empty, only these may ask.
    pub allow: Vec<IpNet>,
    /// The name of the affinity cookie to hand out.
    pub affinity: Option<String>,
}

impl Default for Options {
    /// ingress-nginx's defaults.
    fn default() -> Self {
        Self {
            ssl_redirect: false,
            app_root: None,
            rewrite: None,
            body_size: "1m".to_owned(),
            connect_timeout: 5,
            read_timeout: 60,
            send_timeout: 60,
            allow: Vec::new(),
            affinity: None,
        }
    }
}

/// `rewrite pattern target break`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    pub pattern: String,
    pub target: String,
}

/// Something wrong with an Ingress, told to its owner by a Warning Event. It never stops the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub ingress: Key,
    pub reason: &'static str,
    pub message: String,
}
