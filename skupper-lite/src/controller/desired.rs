//! Resources → the router's configuration and the Services beside it: pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::ResourceExt;
use kube::core::SelectorExt;
use serde_json::json;

use super::index::Index;
use crate::api::{Connector, Endpoint, Link, Listener, PodDetails, RouterAccess, Site};
use crate::router::config::{self, Config, Mode, Role, SslProfile, TcpEndpoint};

/// Where the router finds its certificates: an emptyDir that its adaptor fills (upstream's path).
pub const PROFILES: &str = "/etc/skupper-router-certs";
/// Probes and metrics.
pub const HTTP_PORT: u16 = 9090;
/// The router's ports for listeners are counted up from here (upstream's range).
const FIRST_PORT: u16 = 1024;
/// The names of the router's objects.
pub const ROUTER: &str = "skupper-router";
/// The Secret of the site's own CA, unless the Site names another.
pub const SITE_CA: &str = "skupper-site-ca";
/// The Secret of the router's certificate for incoming links.
pub const SITE_SERVER: &str = "skupper-site-server";
/// Marks the Services we made for Listeners, and holds the listener's port in the router.
pub const CONTROLLED: &str = "internal.skupper.io/controlled";

pub fn issuer(site: &Site) -> &str {
    if site.spec.default_issuer.is_empty() { SITE_CA } else { &site.spec.default_issuer }
}

/// Why a Site cannot be served as written.
pub fn check_site(site: &Site) -> Result<(), String> {
    match site.spec.link_access.as_str() {
        "" | "none" | "default" | "nodeport" | "loadbalancer" => {}
        other => return Err(format!("Unsupported value for LinkAccess: {other}")),
    }
    if site.spec.edge {
        return Err("Edge sites are not supported by the embedded router".to_owned());
    }
    Ok(())
}

/// Whether other sites may link to this one.
pub fn accepts_links(site: &Site) -> bool {
    !matches!(site.spec.link_access.as_str(), "" | "none")
}

/// The router's configuration for the namespace.
pub fn router_config(site: &Site, index: &Index) -> Config {
    let namespace = site.namespace().unwrap_or_default();
    let uid = site.uid().unwrap_or_default();
    let mut config = Config {
        router: config::Metadata {
            id: format!("{}-{ROUTER}-{}", site.name_any(), uid.split('-').next().unwrap_or_default()),
            mode: Mode::Interior,
            hello_max_age_seconds: Some("3".to_owned()),
            metadata: json!({ "id": uid, "version": env!("CARGO_PKG_VERSION") }).to_string(),
        },
        site: Some(config::Site {
            name: site.name_any(),
            namespace: namespace.clone(),
            platform: "kubernetes".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
        ..Config::default()
    };
    let http = config::Listener {
        name: format!("@{HTTP_PORT}"),
        port: HTTP_PORT,
        http: true,
        http_root_dir: "disabled".to_owned(),
        healthz: true,
        metrics: true,
        ..config::Listener::default()
    };
    config.listeners.insert(http.name.clone(), http);
    for access in index.accesses.of(&namespace) {
        add_access(&mut config, access);
    }
    for link in index.links.of(&namespace).filter(|link| check_link(link, index).is_ok()) {
        add_link(&mut config, link);
    }
    for connector in index.connectors.of(&namespace) {
        add_connector(&mut config, connector, &selected(connector, index), &uid);
    }
    for (listener, port) in listener_ports(&namespace, index) {
        let endpoint = TcpEndpoint {
            name: format!("listener/{}", listener.name_any()),
            host: "0.0.0.0".to_owned(),
            port: port.to_string(),
            address: listener.spec.routing_key.clone(),
            site_id: uid.clone(),
            process_id: String::new(),
        };
        config.tcp_listeners.insert(endpoint.name.clone(), endpoint);
    }
    config
}

fn profile(name: &str) -> SslProfile {
    let file = |file: &str| format!("{PROFILES}/{name}/{file}");
    SslProfile {
        name: name.to_owned(),
        ca_cert_file: file("ca.crt"),
        cert_file: file("tls.crt"),
        private_key_file: file("tls.key"),
    }
}

fn add_access(config: &mut Config, access: &RouterAccess) {
    let credentials = &access.spec.tls_credentials;
    config.ssl_profiles.insert(credentials.clone(), profile(credentials));
    for role in access.spec.roles.iter().filter(|role| role.name == "inter-router") {
        let listener = config::Listener {
            name: format!("{}-{}", access.name_any(), role.name),
            role: Role::InterRouter,
            host: access.spec.bind_host.clone(),
            port: if role.port == 0 { INTER_ROUTER_PORT } else { role.port },
            ssl_profile: credentials.clone(),
            sasl_mechanisms: "EXTERNAL".to_owned(),
            authenticate_peer: true,
            ..config::Listener::default()
        };
        config.listeners.insert(listener.name.clone(), listener);
    }
}

/// The port of incoming links (upstream's).
pub const INTER_ROUTER_PORT: u16 = 55671;

/// Why a Link cannot be made.
pub fn check_link(link: &Link, index: &Index) -> Result<(), String> {
    if endpoint_of(link).is_none() {
        return Err("no endpoint of role inter-router".to_owned());
    }
    let credentials = &link.spec.tls_credentials;
    match index.secrets.get(&link.namespace().unwrap_or_default(), credentials) {
        Some(_) => Ok(()),
        None => Err(format!("TLS credentials secret {credentials:?} not found")),
    }
}

fn endpoint_of(link: &Link) -> Option<&Endpoint> {
    link.spec.endpoints.iter().find(|endpoint| endpoint.name == "inter-router")
}

fn add_link(config: &mut Config, link: &Link) {
    let Some(endpoint) = endpoint_of(link) else { return };
    let name = format!("{}-profile", link.spec.tls_credentials);
    let connector = config::Connector {
        name: link.name_any(),
        role: Role::InterRouter,
        host: endpoint.host.clone(),
        port: endpoint.port.clone(),
        cost: link.spec.cost.unwrap_or(1).max(1),
        ssl_profile: name.clone(),
    };
    config.connectors.insert(connector.name.clone(), connector);
    config.ssl_profiles.insert(name.clone(), profile(&name));
}

/// Why a Connector cannot work.
pub fn check_connector(connector: &Connector, pods: &[PodDetails]) -> Result<(), String> {
    check_protocol(&connector.spec.protocol, &connector.spec.tls_credentials)?;
    super::selector::parse(&connector.spec.selector)?;
    match (connector.spec.host.is_empty(), connector.spec.selector.is_empty()) {
        (true, true) => Err("Connector must define a non-empty spec.host or spec.selector".to_owned()),
        (true, false) if pods.is_empty() => Err("No pods match selector".to_owned()),
        _ => Ok(()),
    }
}

fn check_protocol(protocol: &str, tls_credentials: &str) -> Result<(), String> {
    if !matches!(protocol, "" | "tcp") {
        return Err(format!("type {protocol:?} is not supported, only tcp"));
    }
    if !tls_credentials.is_empty() {
        return Err("tlsCredentials are not supported here: the embedded router passes bytes on unchanged".to_owned());
    }
    Ok(())
}

fn add_connector(config: &mut Config, connector: &Connector, pods: &[PodDetails], site_id: &str) {
    if check_connector(connector, pods).is_err() {
        return;
    }
    let by_host = PodDetails { ip: connector.spec.host.clone(), ..PodDetails::default() };
    let targets = if connector.spec.host.is_empty() { pods } else { std::slice::from_ref(&by_host) };
    for target in targets {
        let endpoint = TcpEndpoint {
            name: format!("connector/{}@{}", connector.name_any(), target.ip),
            host: target.ip.clone(),
            port: connector.spec.port.to_string(),
            address: connector.spec.routing_key.clone(),
            site_id: site_id.to_owned(),
            process_id: target.uid.clone(),
        };
        config.tcp_connectors.insert(endpoint.name.clone(), endpoint);
    }
}

/// The pods a Connector selects, by name.
pub fn selected(connector: &Connector, index: &Index) -> Vec<PodDetails> {
    if connector.spec.selector.is_empty() || !connector.spec.host.is_empty() {
        return Vec::new();
    }
    let Ok(selector) = super::selector::parse(&connector.spec.selector) else { return Vec::new() };
    let namespace = connector.namespace().unwrap_or_default();
    let chosen = index.pods.of(&namespace).filter(|pod| {
        selector.matches(pod.labels())
            && pod.metadata.deletion_timestamp.is_none()
            && (is_ready(pod) || connector.spec.include_not_ready_pods)
    });
    let details = chosen.filter_map(|pod| {
        let ip = pod.status.as_ref()?.pod_ip.clone().filter(|ip| !ip.is_empty())?;
        Some(PodDetails { name: pod.name_any(), ip, uid: pod.uid().unwrap_or_default() })
    });
    details.collect()
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
}

/// Why a Listener cannot work: its Service belongs to somebody else, or another Listener has its host and port.
pub fn check_listener(listener: &Listener, index: &Index) -> Result<(), String> {
    check_protocol(&listener.spec.protocol, &listener.spec.tls_credentials)?;
    let namespace = listener.namespace().unwrap_or_default();
    if let Some(service) = index.services.get(&namespace, &listener.spec.host)
        && !is_controlled(service)
    {
        return Err(format!("Service {} already exists in namespace", listener.spec.host));
    }
    let age = |it: &Listener| (it.creation_timestamp(), it.name_any());
    let same =
        |it: &&std::sync::Arc<Listener>| it.spec.host == listener.spec.host && it.spec.port == listener.spec.port;
    match index.listeners.of(&namespace).filter(same).map(|it| age(it)).min() {
        Some(first) if first != age(listener) => Err(format!(
            "Listener {} with host {} and port {} already exists in namespace",
            first.1, listener.spec.host, listener.spec.port
        )),
        _ => Ok(()),
    }
}

pub fn is_controlled(service: &Service) -> bool {
    service.annotations().get(CONTROLLED).is_some_and(|value| value == "true")
}

/// The router's port for each Listener that works: the one its Service already has, else the next free one, so that a
/// port does not change under a client when another Listener comes or goes.
pub fn listener_ports<'a>(namespace: &str, index: &'a Index) -> Vec<(&'a Listener, u16)> {
    let working = index.listeners.of(namespace).filter(|it| check_listener(it, index).is_ok());
    let working: Vec<&Listener> = working.map(|it| &**it).collect();
    let known = |listener: &Listener| {
        let service = index.services.get(namespace, &listener.spec.host)?;
        let port = service.spec.as_ref()?.ports.as_ref()?.iter().find(|it| it.port == i32::from(listener.spec.port))?;
        match port.target_port {
            Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(port)) => u16::try_from(port).ok(),
            _ => None,
        }
    };
    let mut used: BTreeSet<u16> = BTreeSet::new();
    let mut ports: BTreeMap<String, u16> = BTreeMap::new();
    for listener in &working {
        if let Some(port) = known(listener).filter(|port| used.insert(*port)) {
            ports.insert(listener.name_any(), port);
        }
    }
    let mut free = (FIRST_PORT..HTTP_PORT).filter(|port| !used.contains(port)).collect::<Vec<_>>().into_iter();
    working
        .into_iter()
        .filter_map(|listener| {
            let port = ports.get(&listener.name_any()).copied().or_else(|| free.next())?;
            Some((listener, port))
        })
        .collect()
}

/// The addresses under which other clusters can reach a NodePort of this one: those of Ready nodes, workers first.
pub fn node_addresses(index: &Index) -> Vec<String> {
    let ready = |node: &&std::sync::Arc<Node>| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
    };
    let is_control_plane = |node: &Node| node.labels().contains_key("node-role.kubernetes.io/control-plane");
    let mut nodes: Vec<_> = index.nodes.all().filter(ready).collect();
    nodes.sort_by_key(|node| (is_control_plane(node), node.name_any()));
    let address = |node: &std::sync::Arc<Node>| {
        let addresses = node.status.as_ref()?.addresses.as_ref()?;
        addresses.iter().find(|it| it.type_ == "InternalIP").map(|it| it.address.clone())
    };
    nodes.into_iter().filter_map(address).collect()
}

/// Where port `name` of `service` can be reached from outside the cluster, as (host, port).
pub fn reachable_at(service: &Service, name: &str, nodes: &[String]) -> Option<(String, u16)> {
    let spec = service.spec.as_ref()?;
    let port = spec.ports.as_ref()?.iter().find(|port| port.name.as_deref() == Some(name))?;
    let balancer = service.status.as_ref().and_then(|it| it.load_balancer.as_ref()?.ingress.as_ref()?.first());
    match (spec.type_.as_deref(), balancer) {
        (Some("LoadBalancer"), Some(given)) => {
            Some((given.ip.clone().or_else(|| given.hostname.clone())?, u16::try_from(port.port).ok()?))
        }
        (Some("NodePort"), _) => Some((nodes.first()?.clone(), u16::try_from(port.node_port?).ok()?)),
        _ => None,
    }
}

/// Where other sites' links can come in by `access`; its Service has its name.
pub fn access_endpoints(access: &RouterAccess, index: &Index) -> Vec<Endpoint> {
    let service = index.services.get(&access.namespace().unwrap_or_default(), &access.name_any());
    let found = service.and_then(|service| reachable_at(service, "inter-router", &node_addresses(index)));
    let endpoint = found.map(|(host, port)| Endpoint {
        name: "inter-router".to_owned(),
        host,
        port: port.to_string(),
        group: ROUTER.to_owned(),
    });
    endpoint.into_iter().collect()
}

/// Where other sites' links can come in.
pub fn endpoints(namespace: &str, index: &Index) -> Vec<Endpoint> {
    index.accesses.of(namespace).flat_map(|access| access_endpoints(access, index)).collect()
}
