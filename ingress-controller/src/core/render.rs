//! [`Config`] → the text of nginx.conf, and back from a line of it to the Ingress it came from.
//!
//! Every user-supplied text goes through [`quote`]; host names, numbers, networks and cookie names were parsed into
//! types or alphabets that hold no nginx syntax.

use std::net::IpAddr;

use askama::Template;

use super::model::{Action, Config, Host, Location, Match, Server};
use crate::index::Key;

/// What the file needs beyond the configuration: where and how nginx runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A writable folder of our own.
    pub dir: String,
    /// Whether nginx runs as root, and so must be told to stay root: no other uid may be mapped.
    pub root: bool,
    pub workers: u16,
    /// How long an old worker may finish its requests after a reload, in seconds.
    pub shutdown_timeout: u32,
    pub http_port: u16,
    pub https_port: u16,
    pub status_port: u16,
    /// Whether requests are logged, to our own stdout.
    pub access_log: bool,
    /// File stem of the certificate for hosts without one.
    pub default_certificate: String,
}

#[derive(Template)]
#[template(path = "nginx.conf", escape = "none")]
struct File<'a> {
    dir: &'a str,
    root: bool,
    workers: u16,
    shutdown_timeout: u32,
    http_port: u16,
    https_port: u16,
    status_port: u16,
    access_log: bool,
    cookies: Vec<&'a str>,
    upstreams: Vec<UpstreamText<'a>>,
    servers: Vec<ServerText<'a>>,
}

struct UpstreamText<'a> {
    name: &'a str,
    affinity: Option<&'a str>,
    endpoints: Vec<String>,
}

struct ServerText<'a> {
    default_server: &'static str,
    name: String,
    certificate: &'a str,
    locations: Vec<LocationText<'a>>,
}

struct LocationText<'a> {
    matcher: String,
    owner: String,
    allow: Vec<String>,
    ssl_redirect: bool,
    app_root: Option<&'a str>,
    proxy: Option<ProxyText<'a>>,
    status: u16,
}

struct ProxyText<'a> {
    scheme: &'static str,
    upstream: &'a str,
    body_size: &'a str,
    connect_timeout: u32,
    send_timeout: u32,
    read_timeout: u32,
    affinity: Option<&'a str>,
    rewrite: Option<(String, String)>,
}

/// The text of nginx.conf.
///
/// # Errors
/// Only when formatting itself fails.
pub fn render(config: &Config, settings: &Settings) -> Result<String, askama::Error> {
    let mut cookies: Vec<_> = config.upstreams.values().filter_map(|upstream| upstream.affinity.as_deref()).collect();
    cookies.sort_unstable();
    cookies.dedup();
    let upstreams = config.upstreams.iter().map(|(name, upstream)| UpstreamText {
        name,
        affinity: upstream.affinity.as_deref(),
        endpoints: upstream.endpoints.iter().map(|(address, port)| endpoint(*address, *port)).collect(),
    });
    File {
        dir: &settings.dir,
        root: settings.root,
        workers: settings.workers,
        shutdown_timeout: settings.shutdown_timeout,
        http_port: settings.http_port,
        https_port: settings.https_port,
        status_port: settings.status_port,
        access_log: settings.access_log,
        cookies,
        upstreams: upstreams.collect(),
        servers: config.servers.iter().map(|server| server_text(server, settings)).collect(),
    }
    .render()
}

fn server_text<'a>(server: &'a Server, settings: &'a Settings) -> ServerText<'a> {
    ServerText {
        default_server: if server.host == Host::Any { " default_server" } else { "" },
        name: match &server.host {
            Host::Any => "_".to_owned(),
            Host::Exact(name) => name.clone(),
            // One label only: nginx's own *.suffix would also match two.
            Host::Wildcard(suffix) => format!("\"~^[^.]+\\.{}$\"", suffix.replace('.', "\\.")),
        },
        certificate: server.certificate.as_deref().unwrap_or(&settings.default_certificate),
        locations: server.locations.iter().map(location_text).collect(),
    }
}

fn location_text(location: &Location) -> LocationText<'_> {
    let options = &location.options;
    let (proxy, status) = match &location.action {
        Action::Answer(status) => (None, *status),
        Action::Proxy { upstream, tls } => {
            let rewrite = options.rewrite.as_ref().map(|it| (quote(&it.pattern), quote(&it.target)));
            let proxy = ProxyText {
                scheme: if *tls { "https" } else { "http" },
                upstream,
                body_size: &options.body_size,
                connect_timeout: options.connect_timeout,
                send_timeout: options.send_timeout,
                read_timeout: options.read_timeout,
                affinity: options.affinity.as_deref(),
                rewrite,
            };
            (Some(proxy), 0)
        }
    };
    LocationText {
        matcher: match &location.matcher {
            Match::Exact(path) => format!("= {}", quote(path)),
            Match::Prefix(path) => quote(path),
            Match::Regex { pattern, ignore_case: false } => format!("~ {}", quote(pattern)),
            Match::Regex { pattern, ignore_case: true } => format!("~* {}", quote(pattern)),
        },
        owner: location.owner.as_ref().map_or_else(|| "none".to_owned(), Key::to_string),
        allow: options.allow.iter().map(ToString::to_string).collect(),
        ssl_redirect: options.ssl_redirect,
        app_root: options.app_root.as_deref(),
        proxy,
        status,
    }
}

fn endpoint(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// An nginx string in double quotes that means exactly `text`. Control characters never get here (see `paths::check`).
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The Ingress whose location holds `line` (counted from 1) of the rendered `text`.
pub fn owner_of_line(text: &str, line: usize) -> Option<Key> {
    // nginx names the last line of the directive it refuses: a location's own line, or one inside it. The marker is the
    // location's first inner line, so look one line ahead, then back.
    let lines: Vec<_> = text.lines().take(line + 1).collect();
    let marker = lines.iter().rev().find_map(|line| line.trim().strip_prefix("# ingress: "))?;
    let (namespace, name) = marker.split_once('/')?;
    Some(Key::new(namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_cannot_end_its_string() {
        assert_eq!(quote("/a\"; return 200; #\\"), "\"/a\\\"; return 200; #\\\\\"");
    }
}
