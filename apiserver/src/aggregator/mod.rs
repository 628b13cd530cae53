//! API aggregation: groups and versions that other servers serve, told by APIServices (`kube-aggregator`).
//!
//! ```text
//!  APIService ── watch ──> remotes ──> route: proxy to the Service          (proxy)
//!                             │  └───> discovery, OpenAPI: merged           (discovery, openapi)
//!                             └──────> checked: Service, endpoints, answer  (available) ──> status.conditions
//!  catalogue ──> an APIService for each group and version of our own        (autoregister)
//! ```
//!
//! Without remote APIServices a request costs one load of a pointer.

mod authentication;
mod autoregister;
mod available;
pub mod discovery;
pub mod openapi;
pub mod proxy;

pub use authentication::publish as publish_authentication;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use auth::UserInfo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

use crate::app::{App, text};
use crate::http::status::ApiResult;
use crate::outbound::Peer;
use crate::outbound::egress::Network;
use crate::registry::follow::{self, Step};
use crate::registry::resource::Catalogue;

pub const GROUP: &str = "apiregistration.k8s.io";
pub const PLURAL: &str = "apiservices";

/// Who this server is to those behind it when nobody else asks.
fn own_user() -> UserInfo {
    UserInfo::new("system:kube-aggregator", [auth::user::MASTERS])
}

/// A group and version served by a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// The APIService's name.
    pub name: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub service: String,
    pub port: u16,
    pub peer: Peer,
    pub available: bool,
    pub group_priority: i64,
    pub version_priority: i64,
}

impl Remote {
    fn parse(object: &Value) -> Option<Self> {
        use base64::Engine;
        let spec = &object["spec"];
        let service = spec["service"].as_object()?;
        let word = |field: &str| service.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (namespace, name) = (word("namespace"), word("name"));
        let peer = Peer {
            ca_bundle: base64::prelude::BASE64_STANDARD.decode(text(spec, "/caBundle")).unwrap_or_default(),
            insecure: spec["insecureSkipTLSVerify"] == true,
            server_name: Some(format!("{name}.{namespace}.svc")),
            identify: true,
            network: Some(Network::Cluster),
        };
        let port = service.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        Some(Self {
            name: text(object, "/metadata/name").to_owned(),
            group: text(spec, "/group").to_owned(),
            version: text(spec, "/version").to_owned(),
            service: name,
            namespace,
            port: port.unwrap_or(443),
            peer,
            available: condition(object).is_some_and(|c| c["status"] == "True"),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
            version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
        })
    }

    /// `/apis/metrics.k8s.io/v1beta1`
    #[must_use]
    pub fn root(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }
}

/// The condition Available of an APIService.
fn condition(object: &Value) -> Option<&Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Available")
}

type Remotes = BTreeMap<(String, String), Arc<Remote>>;

/// What is known of other servers.
#[derive(Default)]
pub struct Aggregator {
    /// By group and version.
    remotes: ArcSwap<Remotes>,
    /// What APIServices say is of this server.
    local: ArcSwap<Vec<Place>>,
    /// All APIServices by name, as far as they matter here.
    known: Mutex<BTreeMap<String, Known>>,
    /// What the servers behind said of themselves, by APIService.
    learned: Mutex<BTreeMap<String, discovery::Learned>>,
    /// APIServices to look at.
    dirty: Mutex<BTreeSet<String>>,
    wake: Notify,
    /// The catalogue has changed.
    registered: Notify,
}

/// A group and version of this server's own, and where it stands among others.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub group: String,
    pub version: String,
    pub group_priority: i64,
    pub version_priority: i64,
}

#[derive(PartialEq)]
enum Known {
    /// Ours; whether it says so.
    Local {
        told: bool,
        place: Place,
    },
    Remote(Arc<Remote>),
}

impl Aggregator {
    /// The server behind a path, where that is not this one.
    pub fn remote_at(&self, path: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes.load();
        if remotes.is_empty() {
            return None;
        }
        let mut parts = path.trim_matches('/').split('/');
        let key = match (parts.next()?, parts.next()?) {
            ("api", version) => (String::new(), version.to_owned()),
            ("apis", group) => (group.to_owned(), parts.next()?.to_owned()),
            _ => return None,
        };
        remotes.get(&key).cloned()
    }

    /// All of them, by group and version.
    pub fn remotes(&self) -> Arc<BTreeMap<(String, String), Arc<Remote>>> {
        self.remotes.load_full()
    }

    /// What APIServices say is of this server, and it serves nothing under.
    #[must_use]
    pub fn idle(&self, catalogue: &Catalogue) -> Vec<Place> {
        let serves = |place: &Place| {
            let mut groups = catalogue.groups.iter();
            groups.any(|group| group.name == place.group && group.versions.contains(&place.version))
        };
        self.local.load().iter().filter(|place| !serves(place)).cloned().collect()
    }

    /// The catalogue has changed: what it serves is to be registered.
    pub fn catalogue_changed(&self) {
        self.registered.notify_one();
    }

    fn look_at(&self, name: &str) {
        self.dirty.lock().insert(name.to_owned());
        self.wake.notify_one();
    }

    fn apply(&self, app: &App, step: &Step<'_>) {
        let mut known = self.known.lock();
        match step {
            Step::Restart => known.clear(),
            Step::Gone(object) => {
                if matches!(known.remove(object.name()), Some(Known::Local { .. })) {
                    // One of ours comes back.
                    self.catalogue_changed();
                }
            }
            Step::Now(object) => {
                let Ok(value) = serde_json::from_slice::<Value>(object.bytes()) else { return };
                let new = match Remote::parse(&value) {
                    Some(remote) => Known::Remote(Arc::new(remote)),
                    None => Known::Local {
                        told: condition(&value).is_some_and(|c| c["status"] == "True"),
                        place: Place {
                            group: text(&value, "/spec/group").to_owned(),
                            version: text(&value, "/spec/version").to_owned(),
                            group_priority: value["spec"]["groupPriorityMinimum"].as_i64().unwrap_or(0),
                            version_priority: value["spec"]["versionPriority"].as_i64().unwrap_or(0),
                        },
                    },
                };
                let same = known.get(object.name()) == Some(&new);
                let due = !same && !matches!(new, Known::Local { told: true, .. });
                known.insert(object.name().to_owned(), new);
                if due {
                    self.look_at(object.name());
                }
            }
            Step::Settled => {
                let remote = |known: &Known| match known {
                    Known::Remote(remote) => Some(remote.clone()),
                    Known::Local { .. } => None,
                };
                let place = |known: &Known| match known {
                    Known::Local { place, .. } => Some(place.clone()),
                    Known::Remote(_) => None,
                };
                self.local.store(Arc::new(known.values().filter_map(place).collect()));
                let all = known.values().filter_map(remote);
                let remotes: Remotes = all.map(|r| ((r.group.clone(), r.version.clone()), r)).collect();
                if **self.remotes.load() != remotes {
                    self.learned.lock().retain(|name, _| remotes.values().any(|remote| remote.name == *name));
                    self.remotes.store(Arc::new(remotes));
                    app.documents.forget();
                }
            }
        }
    }
}

/// Reads the APIServices and follows them; looks after their conditions, and registers what this server serves.
///
/// # Errors
/// They cannot be read.
pub async fn start(app: &Arc<App>) -> ApiResult<()> {
    follow::follow(app, GROUP, PLURAL, |app, step| app.aggregator.apply(app, &step)).await?;
    tokio::spawn(available::run(app.clone()));
    tokio::spawn(autoregister::run(app.clone()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_their_servers() {
        let object = json!({ "metadata": { "name": "v1.g.io" }, "spec": { "group": "g.io", "version": "v1",
            "service": { "namespace": "n", "name": "s" }, "insecureSkipTLSVerify": true } });
        let remote = Remote::parse(&object).unwrap();
        assert_eq!((remote.port, remote.root().as_str(), remote.available), (443, "/apis/g.io/v1", false));
        let aggregator = Aggregator::default();
        assert_eq!(aggregator.remote_at("/apis/g.io/v1"), None);
        let key = (remote.group.clone(), remote.version.clone());
        aggregator.remotes.store(Arc::new(BTreeMap::from([(key, Arc::new(remote))])));
        for path in ["/apis/g.io/v1", "/apis/g.io/v1/", "/apis/g.io/v1/namespaces/a/things/b/log"] {
            assert!(aggregator.remote_at(path).is_some(), "{path}");
        }
        for path in ["/apis/g.io", "/apis/g.io/v2/x", "/api/v1/pods", "/", "/openapi/v3/apis/g.io/v1"] {
            assert_eq!(aggregator.remote_at(path), None, "{path}");
        }
        assert!(Remote::parse(&json!({ "spec": { "group": "apps" } })).is_none());
    }
}
