//! What the authorizers Node and RBAC know: the RBAC kinds, followed through their caches, and the pods and volumes, followed
//! once a kubelet asks for what belongs to its pods.

use std::sync::Arc;

use auth::node::{Graph, Holder, Known, NodeAuthorizer};
use auth::rbac::{Binding, Index, Role};
use auth::{Attributes, Decision, Target};
use parking_lot::RwLock;
use serde_json::Value;
use store::cache::{At, Change, ListQuery, Object};
use tokio::sync::OnceCell;

use crate::app::App;
use crate::http::status::{ApiError, ApiResult};
use crate::registry::follow::{self, Step};
use crate::registry::resource::Resource;

const GROUP: &str = "rbac.authorization.k8s.io";
const KINDS: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

#[derive(Default)]
pub struct Policy {
    index: RwLock<Index>,
    node: NodeAuthorizer,
    /// What the pods of each node, and their volumes, refer to; followed from the first request of a kubelet that depends on it.
    graph: Arc<RwLock<Graph>>,
    followed: OnceCell<()>,
}

/// Why a grant is refused.
#[derive(Debug)]
pub enum Refusal {
    /// The role a binding names does not exist.
    NoRole,
    /// The object says nothing that could be granted.
    Unreadable(String),
    Why(String),
}

impl Policy {
    /// What a node's kubelet may do. `fields` are the equalities of the request's field selector.
    pub async fn node(&self, app: &Arc<App>, attributes: &Attributes<'_>, fields: &[(&str, &str)]) -> Decision {
        let depends = self.node.needs_graph(attributes, fields);
        if depends {
            // Boxed, as the other wait is: most who ask are no nodes, and their requests' futures should be small.
            Box::pin(self.await_graph(app)).await;
        }
        let holder = match attributes.target {
            Target::Resource(resource) if self.node.asks_holder(attributes) => {
                Box::pin(holder_of(app, &resource)).await
            }
            _ => Holder::Unknown,
        };
        let holder = &holder;
        let decision = self.node.authorize(attributes, &Known { fields, graph: &self.graph.read(), holder });
        if let Some(node) = attributes.user.node().filter(|_| depends && !decision.allowed()) {
            // The graph may be a moment behind the pod that the kubelet has just been given.
            let secret = matches!(attributes.target, Target::Resource(resource) if resource.resource == "secrets");
            let now = Box::pin(graph_of(app, node, secret)).await.unwrap_or_default();
            return self.node.authorize(attributes, &Known { fields, graph: &now, holder });
        }
        decision
    }

    /// The same without waiting for anything: of what a kubelet may do because of its pods, as much as is known already.
    pub fn node_now(&self, attributes: &Attributes<'_>) -> Decision {
        let (fields, holder) = (&[], &Holder::Unknown);
        self.node.authorize(attributes, &Known { fields, graph: &self.graph.read(), holder })
    }

    /// What roles and bindings allow.
    pub fn rbac(&self, attributes: &Attributes<'_>) -> Decision {
        self.index.read().authorize(attributes)
    }

    /// Makes the graph, the first time; from then on it follows pods and volumes. Where that fails it stays empty.
    async fn await_graph(&self, app: &Arc<App>) {
        let (pods, volumes) = (self.graph.clone(), self.graph.clone());
        let made = self.followed.get_or_try_init(|| async {
            follow::follow(app, "", "pods", move |_, step| match step {
                Step::Restart => pods.write().forget_pods(),
                Step::Now(object) => read(object, |pod| pods.write().apply_pod(pod)),
                Step::Gone(object) => pods.write().remove_pod(object.namespace(), object.name()),
                Step::Settled => {}
            })
            .await?;
            follow::follow(app, "", "persistentvolumes", move |_, step| match step {
                Step::Restart => volumes.write().forget_volumes(),
                Step::Now(object) => read(object, |volume| volumes.write().apply_volume(volume)),
                Step::Gone(object) => volumes.write().remove_volume(object.name()),
                Step::Settled => {}
            })
            .await
        });
        if let Err(error) = made.await {
            tracing::warn!(%error, "pods and volumes cannot be followed");
        }
    }

    /// The status of a SelfSubjectRulesReview.
    pub fn rules(&self, user: &auth::UserInfo, namespace: &str) -> Value {
        auth::rbac::rules_review(&self.index.read(), user, namespace)
    }

    /// That the user may grant what a role or binding says.
    pub fn may_grant(&self, user: &auth::UserInfo, plural: &str, object: &Value) -> Result<(), Refusal> {
        let index = self.index.read();
        let unreadable = |error: serde_json::Error| Refusal::Unreadable(error.to_string());
        if plural.ends_with("bindings") {
            let binding = Binding::try_from(object).map_err(unreadable)?;
            let rules = index.referenced_rules(&binding).map_err(|_| Refusal::NoRole)?;
            index.confirm_no_escalation(user, &binding.namespace, rules).map_err(Refusal::Why)
        } else {
            let role = Role::try_from(object).map_err(unreadable)?;
            index.confirm_no_escalation(user, &role.namespace, &role.rules).map_err(Refusal::Why)
        }
    }

    fn apply(&self, plural: &str, change: Change, object: &Object) {
        let mut index = self.index.write();
        let (namespace, name) = (object.namespace(), object.name());
        let binding = plural.ends_with("bindings");
        if change == Change::Deleted {
            if binding { index.remove_binding(namespace, name) } else { index.remove_role(namespace, name) }
        } else {
            let parsed: Result<(), serde_json::Error> =
                serde_json::from_slice::<Value>(object.bytes()).and_then(|value| {
                    if binding {
                        index.apply_binding(Binding::try_from(&value)?);
                    } else {
                        index.apply_role(Role::try_from(&value)?);
                    }
                    Ok(())
                });
            if let Err(error) = parsed {
                tracing::warn!(%error, plural, name, "a stored policy object cannot be read");
            }
        }
    }
}

/// Reads the policy and follows it from then on.
///
/// # Errors
/// The caches cannot be filled.
pub async fn follow(app: &Arc<App>) -> ApiResult<()> {
    for plural in KINDS {
        let resource = app.resource(GROUP, plural)?;
        let mut watch = Some(begin(app, &resource, plural).await?);
        let app = app.clone();
        tokio::spawn(async move {
            loop {
                let Some(events) = watch.as_mut() else {
                    // The cache lost its store and begins anew; so does the index.
                    match begin(&app, &resource, plural).await {
                        Ok(new) => watch = Some(new),
                        Err(error) => tracing::warn!(%error, plural, "the policy cannot be followed"),
                    }
                    continue;
                };
                tokio::select! {
                    events = events.next() => match events {
                        Ok(events) => for event in events {
                            app.access.policy.apply(plural, event.change, &event.object);
                        },
                        Err(_) => watch = None,
                    },
                    () = app.stop.cancelled() => return,
                }
            }
        });
    }
    Ok(())
}

async fn begin(app: &App, resource: &Resource, plural: &str) -> ApiResult<store::cache::Watch> {
    let query = ListQuery { at: At::Latest, prefix: &resource.prefix, start: None, limit: 0, filter: None };
    let (list, watch) = app.caches.of(resource).list_and_watch(query).await?;
    for object in &list.items {
        app.access.policy.apply(plural, Change::Added, object);
    }
    Ok(watch)
}

/// Whose the object is that a request is about; nobody's where there is none, or the store does not answer.
async fn holder_of(app: &App, asked: &auth::Resource<'_>) -> Holder {
    let Ok(resource) = app.resource(asked.group, asked.resource) else { return Holder::Unknown };
    let found = match app.store.get(&resource.key(asked.namespace, asked.name), None).await {
        Ok((found, _)) => found.and_then(|kv| serde_json::from_slice::<Value>(&kv.value).ok()),
        Err(error) => {
            tracing::warn!(%error, name = asked.name, "cannot tell whose an object is");
            None
        }
    };
    found.as_ref().map(Holder::of).unwrap_or_default()
}

/// Takes in an object of the graph.
fn read(object: &Object, apply: impl FnOnce(&Value)) {
    match serde_json::from_slice(object.bytes()) {
        Ok(value) => apply(&value),
        Err(error) => tracing::warn!(%error, name = object.name(), "a stored object cannot be read"),
    }
}

/// What the pods of a node refer to, and if it matters all volumes, from the store's present state.
async fn graph_of(app: &App, node: &str, with_volumes: bool) -> ApiResult<Graph> {
    let mut graph = Graph::default();
    let pods = app.resource("", "pods")?;
    let filter = |object: &Object| object.field("spec.nodeName") == Some(node);
    let query = ListQuery { at: At::Latest, prefix: &pods.prefix, start: None, limit: 0, filter: Some(&filter) };
    for pod in &app.caches.of(&pods).list(query).await?.items {
        graph.apply_pod(&serde_json::from_slice(pod.bytes()).map_err(ApiError::internal)?);
    }
    if with_volumes {
        let volumes = app.resource("", "persistentvolumes")?;
        let query = ListQuery { prefix: &volumes.prefix, filter: None, ..query };
        for volume in &app.caches.of(&volumes).list(query).await?.items {
            graph.apply_volume(&serde_json::from_slice(volume.bytes()).map_err(ApiError::internal)?);
        }
    }
    Ok(graph)
}
