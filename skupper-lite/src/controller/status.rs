//! Resources and the network's state → the status of every resource: pure, with the time handed in.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

use super::desired;
use super::index::Index;
use crate::api::conditions::State;
use crate::api::{
    AccessGrant, Connector, Controller, Link, LinkRecord, Listener, RouterAccess, ServiceRecord, Site, SiteRecord,
};
use crate::router::adaptor::{STATUS_KEY, STATUS_MAP};
use crate::router::routes::Facts;

/// A status that differs from what the API has.
#[derive(Debug)]
pub struct Write {
    pub kind: &'static str,
    pub name: String,
    pub status: Value,
}

/// Where grants can be redeemed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantServer {
    /// `host:port`; none while it cannot be reached from outside.
    pub address: Option<String>,
    pub ca: String,
}

/// All that has to be written for `namespace`.
pub fn writes(
    namespace: &str,
    index: &Index,
    identity: &Controller,
    grants: &GrantServer,
    now: Timestamp,
) -> Vec<Write> {
    let mut writes = Vec::new();
    let active = index.site(namespace);
    let network = if running(namespace, index) == State::Ready { network(namespace, index) } else { Vec::new() };
    for site in index.sites.of(namespace) {
        let other = active.filter(|active| active.name_any() != site.name_any()).map(|active| active.name_any());
        push(&mut writes, "Site", &**site, &site.status, site_status(site, other, index, &network, identity, now));
    }
    let has_site = active.is_some();
    for link in index.links.of(namespace) {
        push(&mut writes, "Link", &**link, &link.status, link_status(link, has_site, index, &network, now));
    }
    for listener in index.listeners.of(namespace) {
        let status = listener_status(listener, has_site, index, &network, now);
        push(&mut writes, "Listener", &**listener, &listener.status, status);
    }
    for connector in index.connectors.of(namespace) {
        let status = connector_status(connector, has_site, index, &network, now);
        push(&mut writes, "Connector", &**connector, &connector.status, status);
    }
    for access in index.accesses.of(namespace) {
        push(&mut writes, "RouterAccess", &**access, &access.status, access_status(access, index, now));
    }
    for grant in index.grants.of(namespace) {
        push(
            &mut writes,
            "AccessGrant",
            &**grant,
            &grant.status,
            grant_status(grant, active.map(|it| &**it), grants, now),
        );
    }
    writes
}

fn push<S: Serialize + PartialEq>(
    writes: &mut Vec<Write>,
    kind: &'static str,
    object: &impl ResourceExt,
    old: &Option<S>,
    new: S,
) {
    if old.as_ref() != Some(&new) {
        let status = serde_json::to_value(new).expect("plain data always serialises");
        writes.push(Write { kind, name: object.name_any(), status });
    }
}

fn generation(object: &impl ResourceExt) -> i64 {
    object.meta().generation.unwrap_or_default()
}

/// What the router last told of the network; its own site first.
fn network(namespace: &str, index: &Index) -> Vec<Facts> {
    let text = index.maps.get(namespace, STATUS_MAP).and_then(|map| map.data.as_ref()?.get(STATUS_KEY));
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn running(namespace: &str, index: &Index) -> State {
    let is_router = |pod: &&std::sync::Arc<_>| {
        ResourceExt::labels(&***pod).get("skupper.io/component").is_some_and(|it| it == "router")
    };
    let mut pods = index.pods.of(namespace).filter(is_router);
    State::pending_unless(pods.any(|pod| desired::is_ready(pod)), "No router pod is ready")
}

fn site_status(
    site: &Site,
    other: Option<String>,
    index: &Index,
    network: &[Facts],
    identity: &Controller,
    now: Timestamp,
) -> crate::api::SiteStatus {
    let mut status = site.status.clone().unwrap_or_default();
    let generation = generation(site);
    let namespace = site.namespace().unwrap_or_default();
    status.controller = identity.clone();
    if let Some(other) = other {
        let error = State::Error(format!("An active site already exists in the namespace ({other})"));
        status.status.set("Configured", &error, generation, now);
        status.status.sum_up(&["Configured", "Running"], generation, now);
        return status;
    }
    desired::issuer(site).clone_into(&mut status.default_issuer);
    status.status.set("Configured", &desired::check_site(site).into(), generation, now);
    status.status.set("Running", &running(&namespace, index), generation, now);
    status.endpoints = desired::endpoints(&namespace, index);
    let mut required = vec!["Configured", "Running"];
    if desired::accepts_links(site) {
        let resolved = State::pending_unless(!status.endpoints.is_empty(), "Pending");
        status.status.set("Resolved", &resolved, generation, now);
        required.push("Resolved");
    }
    status.network = network.iter().map(record).collect();
    status.sites_in_network = status.network.len();
    status.status.sum_up(&required, generation, now);
    status
}

fn record(facts: &Facts) -> SiteRecord {
    let keys: std::collections::BTreeSet<_> = facts.connectors.keys().chain(facts.listeners.keys()).collect();
    let names = |by_address: &std::collections::BTreeMap<String, std::collections::BTreeSet<String>>, key: &String| {
        by_address.get(key).into_iter().flatten().cloned().collect()
    };
    SiteRecord {
        id: facts.site_id.clone(),
        name: facts.site.name.clone(),
        namespace: facts.site.namespace.clone(),
        platform: facts.site.platform.clone(),
        version: facts.site.version.clone(),
        links: facts
            .links
            .iter()
            .map(|(name, link)| LinkRecord {
                name: name.clone(),
                remote_site_id: link.remote_site_id.clone(),
                remote_site_name: link.remote_site_name.clone(),
                operational: link.operational,
            })
            .collect(),
        services: keys
            .into_iter()
            .map(|key| ServiceRecord {
                routing_key: key.clone(),
                connectors: names(&facts.connectors, key),
                listeners: names(&facts.listeners, key),
            })
            .collect(),
    }
}

fn with_site(has_site: bool, outcome: Result<(), String>) -> State {
    if has_site { outcome.into() } else { State::Error("No active site in namespace".to_owned()) }
}

fn link_status(
    link: &Link,
    has_site: bool,
    index: &Index,
    network: &[Facts],
    now: Timestamp,
) -> crate::api::LinkStatus {
    let mut status = link.status.clone().unwrap_or_default();
    let generation = generation(link);
    status.status.set("Configured", &with_site(has_site, desired::check_link(link, index)), generation, now);
    let facts = network.first().and_then(|own| own.links.get(&link.name_any())).cloned().unwrap_or_default();
    let operational = match (facts.operational, facts.error.as_str()) {
        (true, _) => State::Ready,
        (false, "") => State::Pending("Not operational".to_owned()),
        // Upstream says no more than the first two words.
        (false, why) => State::Pending(format!("Not operational: {why}")),
    };
    status.status.set("Operational", &operational, generation, now);
    if facts.operational {
        status.remote_site_id = facts.remote_site_id;
        status.remote_site_name = facts.remote_site_name;
    }
    status.status.sum_up(&["Configured", "Operational"], generation, now);
    status
}

fn listener_status(
    listener: &Listener,
    has_site: bool,
    index: &Index,
    network: &[Facts],
    now: Timestamp,
) -> crate::api::ListenerStatus {
    let mut status = listener.status.clone().unwrap_or_default();
    let generation = generation(listener);
    status.status.set("Configured", &with_site(has_site, desired::check_listener(listener, index)), generation, now);
    let key = &listener.spec.routing_key;
    status.has_matching_connector = network.iter().any(|facts| facts.connectors.contains_key(key));
    let matched = State::pending_unless(status.has_matching_connector, "No matching connectors");
    status.status.set("Matched", &matched, generation, now);
    status.status.sum_up(&["Configured", "Matched"], generation, now);
    status
}

fn connector_status(
    connector: &Connector,
    has_site: bool,
    index: &Index,
    network: &[Facts],
    now: Timestamp,
) -> crate::api::ConnectorStatus {
    let mut status = connector.status.clone().unwrap_or_default();
    let generation = generation(connector);
    let pods = desired::selected(connector, index);
    let outcome = with_site(has_site, desired::check_connector(connector, &pods));
    status.status.set("Configured", &outcome, generation, now);
    // The uid is not shown, so it must not count as a difference.
    status.selected_pods = pods.into_iter().map(|pod| crate::api::PodDetails { uid: String::new(), ..pod }).collect();
    let key = &connector.spec.routing_key;
    status.has_matching_listener = network.iter().any(|facts| facts.listeners.contains_key(key));
    let matched = State::pending_unless(status.has_matching_listener, "No matching listeners");
    status.status.set("Matched", &matched, generation, now);
    status.status.sum_up(&["Configured", "Matched"], generation, now);
    status
}

fn access_status(access: &RouterAccess, index: &Index, now: Timestamp) -> crate::api::RouterAccessStatus {
    let mut status = access.status.clone().unwrap_or_default();
    let generation = generation(access);
    let has_site = index.site(&access.namespace().unwrap_or_default()).is_some();
    status.status.set("Configured", &with_site(has_site, Ok(())), generation, now);
    status.endpoints = desired::access_endpoints(access, index);
    let resolved = State::pending_unless(!status.endpoints.is_empty(), "Pending");
    status.status.set("Resolved", &resolved, generation, now);
    status.status.sum_up(&["Configured", "Resolved"], generation, now);
    status
}

fn grant_status(
    grant: &AccessGrant,
    site: Option<&Site>,
    server: &GrantServer,
    now: Timestamp,
) -> crate::api::AccessGrantStatus {
    let mut status = grant.status.clone().unwrap_or_default();
    let generation = generation(grant);
    let processed = match expiration(grant, now) {
        Ok(expiration) => {
            if status.expiration_time.is_empty() {
                status.expiration_time = expiration;
            }
            if site.is_some_and(|site| site.spec.edge) {
                Err("Edge sites cannot accept incoming links from remote sites".to_owned())
            } else {
                Ok(())
            }
        }
        Err(error) => Err(error),
    };
    status.status.set("Processed", &processed.into(), generation, now);
    if status.code.is_empty() {
        status.code = if grant.spec.code.is_empty() { random_code() } else { grant.spec.code.clone() };
    }
    status.url = match &server.address {
        Some(address) => format!("https://{address}/{}", grant.uid().unwrap_or_default()),
        None => String::new(),
    };
    status.ca.clone_from(&server.ca);
    let resolved = State::pending_unless(!status.url.is_empty() && !status.ca.is_empty(), "Pending");
    status.status.set("Resolved", &resolved, generation, now);
    status.status.sum_up(&["Processed", "Resolved"], generation, now);
    status
}

/// Ten minutes from now, unless the grant says otherwise in Go's notation (`1h30m`).
fn expiration(grant: &AccessGrant, now: Timestamp) -> Result<String, String> {
    let window = match grant.spec.expiration_window.as_str() {
        "" => "10m",
        window => window,
    };
    let span: k8s_openapi::jiff::SignedDuration =
        window.parse().map_err(|error| format!("Invalid duration {window:?}: {error}"))?;
    let end = now.checked_add(span).map_err(|error| format!("Invalid duration {window:?}: {error}"))?;
    Ok(end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// 24 characters that nobody can guess.
fn random_code() -> String {
    use base64::Engine;
    let mut bytes = [0; 18];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .expect("the system's random numbers are always there");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
