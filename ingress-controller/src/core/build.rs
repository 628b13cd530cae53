//! Watched objects → [`Config`] and [`Problem`]s. The older of two Ingresses that want the same path wins.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use kube::ResourceExt;

use super::annotations::{self, Parsed};
use super::model::{Action, Config, Host, Location, Match, Options, Problem, Rewrite, Server, Upstream};
use super::paths::{self, Kind};
use super::{backend, class, tls};
use crate::index::{Index, Key};

/// What the builder found: the configuration, what is wrong, and what it looked at.
#[derive(Debug, Default)]
pub struct Built {
    pub config: Config,
    pub problems: BTreeSet<Problem>,
    /// The Ingresses that are ours.
    pub ours: Vec<Key>,
    /// Services and Secrets the configuration depends on, found or not: a change of any other cannot change it.
    pub services: HashSet<Key>,
    pub secrets: HashSet<Key>,
}

/// Computes everything anew. `rejected` Ingresses (nginx refused what was made of them) are left out and told why.
pub fn build(index: &Index, without_class: bool, rejected: &BTreeMap<Key, String>) -> Built {
    let mut ours: Vec<_> = index.ingresses().filter(|it| class::is_ours(it, index, without_class)).cloned().collect();
    ours.sort_by(|a, b| (a.creation_timestamp(), Key::of(&**a)).cmp(&(b.creation_timestamp(), Key::of(&**b))));
    let mut builder = Builder { index, built: Built::default(), hosts: BTreeMap::new() };
    builder.hosts.entry(Host::Any).or_default();
    let mut parsed = Vec::with_capacity(ours.len());
    for ingress in &ours {
        let key = Key::of(&**ingress);
        builder.built.ours.push(key.clone());
        match rejected.get(&key) {
            Some(why) => builder.problem(&key, "Rejected", why.clone()),
            None => parsed.push((key, Arc::clone(ingress), annotations::parse(ingress))),
        }
    }
    // First who has which certificate and which hosts speak regular expressions: both decide about every location.
    for (key, ingress, annotations) in &parsed {
        for error in &annotations.errors {
            builder.problem(key, "InvalidAnnotation", error.clone());
        }
        builder.certificates(key, ingress);
        builder.note_regex(ingress, annotations);
    }
    for (key, ingress, annotations) in &parsed {
        builder.rules(key, ingress, annotations);
    }
    builder.finish()
}

/// One host while it is being put together.
#[derive(Default)]
struct Draft {
    certificate: Option<String>,
    regex: bool,
    /// `=` locations; the flag says that a Prefix asked, which an Exact may take over.
    exact: BTreeMap<String, (bool, Location)>,
    prefix: BTreeMap<String, Location>,
    /// With the length of the path that was written, which is what decides between two.
    regexes: Vec<(usize, Location)>,
    default: Option<Location>,
}

struct Builder<'a> {
    index: &'a Index,
    built: Built,
    hosts: BTreeMap<Host, Draft>,
}

impl Builder<'_> {
    fn problem(&mut self, ingress: &Key, reason: &'static str, message: String) {
        self.built.problems.insert(Problem { ingress: ingress.clone(), reason, message });
    }

    fn certificates(&mut self, key: &Key, ingress: &Ingress) {
        for entry in ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten()) {
            let hosts: Vec<_> = entry.hosts.iter().flatten().filter_map(|host| parse_host(Some(host)).ok()).collect();
            let stem = entry.secret_name.as_ref().and_then(|name| self.certificate(key, name));
            for host in hosts {
                let draft = self.hosts.entry(host).or_default();
                // An empty stem still means "has TLS": the default certificate is served and HTTP is redirected.
                draft.certificate = draft.certificate.take().or_else(|| Some(stem.clone().unwrap_or_default()));
            }
        }
    }

    fn certificate(&mut self, ingress: &Key, name: &str) -> Option<String> {
        let key = Key::new(&ingress.namespace, name);
        let outcome = match self.index.secret(&key) {
            Some(secret) => tls::from_secret(secret),
            None => Err("it does not exist".to_owned()),
        };
        self.built.secrets.insert(key.clone());
        match outcome {
            Ok(certificate) => {
                let stem = tls::stem(&format!("{}_{name}", ingress.namespace), &certificate);
                self.built.config.certificates.insert(stem.clone(), certificate);
                Some(stem)
            }
            Err(error) => {
                self.problem(
                    ingress,
                    "CertificateError",
                    format!("secret \"{key}\": {error}; using the default certificate"),
                );
                None
            }
        }
    }

    fn note_regex(&mut self, ingress: &Ingress, annotations: &Parsed) {
        if annotations.regex() {
            for rule in ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()) {
                if let Ok(host) = parse_host(rule.host.as_deref()) {
                    self.hosts.entry(host).or_default().regex = true;
                }
            }
        }
    }

    fn rules(&mut self, key: &Key, ingress: &Ingress, annotations: &Parsed) {
        let Some(spec) = &ingress.spec else { return };
        let rules = spec.rules.iter().flatten();
        let fallback = spec.default_backend.as_ref().map(|backend| self.action(key, backend, annotations));
        let mut any_rule = false;
        for rule in rules {
            any_rule = true;
            let host = match parse_host(rule.host.as_deref()) {
                Ok(host) => host,
                Err(error) => {
                    self.problem(key, "InvalidHost", error);
                    continue;
                }
            };
            let regex_host = self.hosts.entry(host.clone()).or_default().regex;
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let text = path.path.as_deref().unwrap_or("/");
                if let Err(error) = paths::check(text) {
                    self.problem(key, "InvalidPath", error);
                    continue;
                }
                let kind = Kind::parse(&path.path_type);
                let action = self.action(key, &path.backend, annotations);
                let options = self.options(&host, annotations, Some((text, kind)));
                for matcher in paths::matches(text, kind, annotations.regex(), regex_host) {
                    let location = location(key, matcher, options.clone(), action.clone());
                    self.hosts.entry(host.clone()).or_default().add(location, kind, text.len());
                }
            }
            if let Some(action) = &fallback {
                self.set_default(&host, key, annotations, action.clone());
            }
        }
        if let (false, Some(action)) = (any_rule, fallback) {
            self.set_default(&Host::Any, key, annotations, action);
        }
    }

    fn set_default(&mut self, host: &Host, key: &Key, annotations: &Parsed, action: Action) {
        let options = self.options(host, annotations, None);
        let location = location(key, Match::Prefix("/".to_owned()), options, action);
        self.hosts.entry(host.clone()).or_default().default.get_or_insert(location);
    }

    fn action(&mut self, key: &Key, wanted: &IngressBackend, annotations: &Parsed) -> Action {
        if let Some(service) = &wanted.service {
            self.built.services.insert(Key::new(&key.namespace, &service.name));
        }
        match backend::resolve(&key.namespace, wanted, self.index) {
            _ if annotations.closed => Action::Answer(503),
            Ok(resolved) if resolved.endpoints.is_empty() => Action::Answer(503),
            Ok(resolved) => {
                let affinity = annotations.options.affinity.clone();
                // The same port with and without affinity is two upstreams.
                let upstream = match &affinity {
                    Some(cookie) => format!("{}_sticky_{cookie}", resolved.name),
                    None => resolved.name,
                };
                let entry = Upstream { endpoints: resolved.endpoints, affinity };
                self.built.config.upstreams.insert(upstream.clone(), entry);
                Action::Proxy { upstream, tls: annotations.backend_tls }
            }
            Err(error) => {
                self.problem(key, "InvalidBackend", error);
                Action::Answer(503)
            }
        }
    }

    fn options(&self, host: &Host, annotations: &Parsed, path: Option<(&str, Kind)>) -> Options {
        let has_tls = self.hosts.get(host).is_some_and(|draft| draft.certificate.is_some());
        let rewrite = annotations.rewrite_target.as_ref().zip(path).map(|(target, (path, kind))| Rewrite {
            pattern: paths::rewrite_pattern(path, kind),
            target: target.clone(),
        });
        let redirect = annotations.force_ssl_redirect || (has_tls && annotations.ssl_redirect.unwrap_or(true));
        Options { ssl_redirect: redirect, rewrite, ..annotations.options.clone() }
    }

    fn finish(mut self) -> Built {
        self.built.config.servers = self.hosts.into_iter().map(|(host, draft)| draft.into_server(host)).collect();
        self.built
    }
}

impl Draft {
    fn add(&mut self, location: Location, kind: Kind, length: usize) {
        match &location.matcher {
            Match::Exact(path) => {
                let by_prefix = kind != Kind::Exact;
                let taken = self.exact.get(path).is_some_and(|(was_by_prefix, _)| !was_by_prefix || by_prefix);
                if !taken {
                    self.exact.insert(path.clone(), (by_prefix, location));
                }
            }
            Match::Prefix(path) => {
                let path = path.clone();
                self.prefix.entry(path).or_insert(location);
            }
            Match::Regex { .. } => self.regexes.push((length, location)),
        }
    }

    fn into_server(mut self, host: Host) -> Server {
        if !self.prefix.contains_key("/") {
            let root = self.default.take().unwrap_or_else(|| Location {
                matcher: Match::Prefix("/".to_owned()),
                owner: None,
                options: Options::default(),
                action: Action::Answer(404),
            });
            self.prefix.insert("/".to_owned(), root);
        }
        // Stable, so among equals the older Ingress stays first.
        self.regexes.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        let locations = self.exact.into_values().map(|(_, location)| location);
        let locations = locations.chain(self.regexes.into_iter().map(|(_, location)| location));
        let locations = locations.chain(self.prefix.into_values()).collect();
        Server { host, certificate: self.certificate.filter(|stem| !stem.is_empty()), locations }
    }
}

fn location(owner: &Key, matcher: Match, options: Options, action: Action) -> Location {
    Location { matcher, owner: Some(owner.clone()), options, action }
}

/// A host name in nginx's configuration is never quoted text: only what is a DNS name gets through.
fn parse_host(host: Option<&str>) -> Result<Host, String> {
    let Some(text) = host.filter(|host| !host.is_empty()) else { return Ok(Host::Any) };
    let name = text.strip_prefix("*.").unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!("host {text:?} is not a DNS name"));
    }
    Ok(if text.starts_with("*.") { Host::Wildcard(name) } else { Host::Exact(name) })
}
