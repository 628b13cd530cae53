//! Feeding the graph. Kinds that controllers watch anyway come from their caches; every other kind gets a watch of its
//! metadata only. Which kinds there are is asked again whenever a CustomResourceDefinition or an APIService changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use tokio::task::AbortHandle;

use super::Shared;
use crate::discovery::{Discovery, Served};
use crate::framework::{Kind, Object};

/// Kinds whose objects own nothing and are owned by nobody, and of which there are many.
const IGNORED: [(&str, &str); 2] = [("", "Event"), ("events.k8s.io", "Event")];
/// Several CRDs often come at once; asking for all kinds again waits for a pause of this length.
const SETTLE: Duration = Duration::from_millis(200);
/// A CRD is served a little after it is stored; and a group that failed once may answer later.
const RETRY: Duration = Duration::from_secs(2);

type Kinds = HashSet<(String, String)>;

pub fn start(shared: &Arc<Shared>) {
    let mut shared_kinds = Kinds::new();
    let kinds = &shared.context.kinds;
    share(shared, &kinds.pods, &mut shared_kinds);
    share(shared, &kinds.nodes, &mut shared_kinds);
    share(shared, &kinds.namespaces, &mut shared_kinds);
    share(shared, &kinds.services, &mut shared_kinds);
    share(shared, &kinds.endpoints, &mut shared_kinds);
    share(shared, &kinds.slices, &mut shared_kinds);
    share(shared, &kinds.service_accounts, &mut shared_kinds);
    share(shared, &kinds.claims, &mut shared_kinds);
    share(shared, &kinds.leases, &mut shared_kinds);
    share(shared, &kinds.deployments, &mut shared_kinds);
    share(shared, &kinds.replica_sets, &mut shared_kinds);
    share(shared, &kinds.replication_controllers, &mut shared_kinds);
    share(shared, &kinds.daemon_sets, &mut shared_kinds);
    share(shared, &kinds.stateful_sets, &mut shared_kinds);
    share(shared, &kinds.revisions, &mut shared_kinds);
    share(shared, &kinds.jobs, &mut shared_kinds);
    share(shared, &kinds.cron_jobs, &mut shared_kinds);
    share(shared, &kinds.budgets, &mut shared_kinds);
    share(shared, &kinds.cluster_roles, &mut shared_kinds);
    share(shared, &kinds.signing_requests, &mut shared_kinds);
    share(shared, &kinds.quotas, &mut shared_kinds);
    share(shared, &kinds.volumes, &mut shared_kinds);
    share(shared, &kinds.attributes_classes, &mut shared_kinds);
    let shared = shared.clone();
    tokio::spawn(async move { keep_discovering(shared, shared_kinds).await });
}

/// Feeds the graph from a cache that is there anyway.
fn share<K: Object>(shared: &Arc<Shared>, kind: &Arc<Kind<K>>, kinds: &mut Kinds) {
    let name = (K::group(&()).into_owned(), K::kind(&()).into_owned());
    kinds.insert(name.clone());
    let shared = shared.clone();
    kind.on_change(move |change| match change.new {
        Some(object) => shared.put(&name, object.meta()),
        None => shared.remove(change.object().meta().uid.as_deref().unwrap_or_default()),
    });
}

async fn keep_discovering(shared: Arc<Shared>, shared_kinds: Kinds) {
    let mut watches: HashMap<Served, AbortHandle> = HashMap::new();
    loop {
        let complete = match Discovery::fetch(&shared.context.client).await {
            Ok(discovery) => {
                let complete = discovery.failed.is_empty();
                follow(&shared, &shared_kinds, &discovery, &mut watches);
                *shared.discovery.write() = discovery;
                complete
            }
            Err(error) => {
                tracing::warn!(%error, "cannot discover the API's kinds");
                false
            }
        };
        if complete {
            shared.rediscover.notified().await;
            tokio::time::sleep(SETTLE).await;
        } else {
            tokio::select! {
                () = shared.rediscover.notified() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }
}

/// Starts watches of new kinds and ends those of kinds that are gone. Kinds of groups that did not answer are kept.
fn follow(shared: &Arc<Shared>, shared_kinds: &Kinds, found: &Discovery, watches: &mut HashMap<Served, AbortHandle>) {
    let wanted: HashSet<&Served> = found
        .kinds
        .iter()
        .filter(|(name, served)| {
            let ignored = IGNORED.iter().any(|(group, kind)| name.0 == *group && name.1 == *kind);
            !ignored && !shared_kinds.contains(*name) && ["list", "watch", "delete"].iter().all(|verb| served.can(verb))
        })
        .map(|(_, served)| served)
        .collect();
    watches.retain(|served, watch| {
        let silent = found.failed.iter().any(|(group, _)| *group == served.resource.api_version);
        let keep = wanted.contains(served) || silent;
        if !keep {
            watch.abort();
            let kind = (served.resource.group.clone(), served.resource.kind.clone());
            let gone = shared.graph.lock().of_kind(&kind);
            gone.iter().for_each(|uid| shared.remove(uid));
        }
        keep
    });
    for served in wanted {
        if !watches.contains_key(served) {
            let task = tokio::spawn(feed(shared.clone(), served.clone()));
            watches.insert(served.clone(), task.abort_handle());
        }
    }
}

/// Kinds that bring other kinds.
fn defines_kinds(served: &Served) -> bool {
    matches!(served.resource.kind.as_str(), "CustomResourceDefinition" | "APIService")
}

async fn feed(shared: Arc<Shared>, served: Served) {
    let kind = (served.resource.group.clone(), served.resource.kind.clone());
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(shared.context.client.clone(), &served.resource);
    let mut stream = watcher(api, Config::default()).default_backoff().boxed();
    let mut listed = HashSet::new();
    while let Some(event) = stream.next().await {
        let changed = match event {
            Ok(Event::Init) => {
                listed.clear();
                false
            }
            Ok(Event::InitApply(object)) => {
                listed.insert(object.metadata.uid.clone().unwrap_or_default());
                shared.put(&kind, &object.metadata);
                false
            }
            Ok(Event::InitDone) => {
                let known = shared.graph.lock().of_kind(&kind);
                known.iter().filter(|uid| !listed.contains(*uid)).for_each(|uid| shared.remove(uid));
                listed = HashSet::new();
                false
            }
            Ok(Event::Apply(object)) => {
                shared.put(&kind, &object.metadata);
                true
            }
            Ok(Event::Delete(object)) => {
                shared.remove(object.metadata.uid.as_deref().unwrap_or_default());
                true
            }
            Err(error) => {
                tracing::debug!(kind = kind.1, %error, "watch interrupted");
                false
            }
        };
        if changed && defines_kinds(&served) {
            shared.rediscover.notify_one();
        }
    }
}
