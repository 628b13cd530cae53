//! From the watch of this node's pods to their actors.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use scheduler::core::pod::PodInfo;

use super::actor::{Actor, Event};
use super::admit::{self, Rejection};
use super::allocation::{self, Allocated};
use super::registry::Registry;
use super::setup;
use crate::node::{Node, RUN};

struct Running {
    events: mpsc::UnboundedSender<Event>,
    task: JoinHandle<()>,
    name: (String, String),
    /// What it takes of the node; `None` when it is over.
    info: Option<Arc<PodInfo>>,
    /// The object as it is.
    wanted: Arc<Pod>,
    /// What of it the node has granted.
    given: Allocated,
    /// Since when a resize is pending, milliseconds.
    since: i64,
}

/// Runs until the process ends. Pods keep running when it does.
pub async fn run(node: Arc<Node>, registry: Registry) -> anyhow::Result<()> {
    let api: Api<Pod> = Api::all(node.client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", node.name));
    let mut stream = pin!(watcher(api, config).default_backoff());
    let mut actors: HashMap<String, Running> = HashMap::new();
    let mut listed: Option<Vec<String>> = None;
    // Who is to be admitted is measured against what the node has.
    let has = |object: &Arc<NodeObject>| object.status.as_ref().is_some_and(|status| status.allocatable.is_some());
    node.object.subscribe().wait_for(has).await?;
    loop {
        let event = match stream.try_next().await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::debug!(%error, "the watch of pods goes on in a moment");
                continue;
            }
        };
        actors.retain(|_, running| !running.task.is_finished());
        match event {
            watcher::Event::Init => listed = Some(Vec::new()),
            watcher::Event::InitApply(pod) => {
                listed.get_or_insert_default().push(pod.uid().unwrap_or_default());
                apply(&node, &registry, &mut actors, pod);
            }
            watcher::Event::InitDone => {
                // What is not in the list was deleted while nobody watched.
                let listed = listed.take().unwrap_or_default();
                for (_, running) in actors.iter().filter(|(uid, _)| !listed.contains(uid)) {
                    let _ = running.events.send(Event::Gone);
                }
                clean_orphans(&node, &listed, &actors).await;
            }
            watcher::Event::Apply(pod) => apply(&node, &registry, &mut actors, pod),
            watcher::Event::Delete(pod) => {
                if let Some(running) = actors.get_mut(&pod.uid().unwrap_or_default()) {
                    running.info = None;
                    let _ = running.events.send(Event::Gone);
                }
                retry_pending(&node, &mut actors);
            }
        }
    }
}

fn apply(node: &Arc<Node>, registry: &Registry, actors: &mut HashMap<String, Running>, pod: Pod) {
    let uid = pod.uid().unwrap_or_default();
    let name = (pod.namespace().unwrap_or_default(), pod.name_any());
    // The same name with another UID: the old one is gone, whether we were told or not.
    for (_, old) in actors.iter().filter(|(known, running)| **known != uid && running.name == name) {
        let _ = old.events.send(Event::Gone);
    }
    let pod = Arc::new(pod);
    if let Some(running) = actors.get_mut(&uid) {
        running.wanted = pod;
        let before = running.info.clone();
        settle(node, actors, &uid);
        let after = actors.get(&uid).and_then(|running| running.info.clone());
        if frees(before.as_deref(), after.as_deref()) {
            retry_pending(node, actors);
        }
        return;
    }
    let others = actors.values().filter_map(|running| running.info.clone());
    let rejected = reject(&pod, &node.object.borrow(), others);
    let given = allocation::recall(&node.pod_dir(&uid), &pod);
    let info = (!is_over(&pod) && rejected.is_none()).then(|| Arc::new(PodInfo::granted(&given)));
    let (events, task) = Actor::spawn(node.clone(), registry.clone(), given.clone(), rejected);
    let recalled = !Arc::ptr_eq(&given, &pod);
    let given = Allocated::whole(given);
    actors.insert(uid.clone(), Running { events, task, name, info, wanted: pod, given, since: now() });
    if recalled {
        settle(node, actors, &uid);
    }
}

fn now() -> i64 {
    k8s_openapi::jiff::Timestamp::now().as_millisecond()
}

/// Decides what the pod is given of what it wants, and tells its actor.
fn settle(node: &Arc<Node>, actors: &mut HashMap<String, Running>, uid: &str) {
    let others: Vec<Arc<PodInfo>> =
        actors.iter().filter(|(other, _)| *other != uid).filter_map(|(_, running)| running.info.clone()).collect();
    let Some(running) = actors.get_mut(uid) else { return };
    let given = allocation::decide(&running.wanted, &running.given.pod, &node.object.borrow(), others);
    if running.given.pending != given.pending {
        allocation::remember(&node.pod_dir(uid), &given);
        running.since = now();
    }
    // One that was rejected takes nothing, whatever becomes of it.
    let takes = running.info.is_some() && !is_over(&given.pod);
    running.info = takes.then(|| Arc::new(PodInfo::granted(&given.pod)));
    running.given = given.clone();
    let _ = running.events.send(Event::Pod(given));
}

/// Whether a pod takes less of the node than before.
fn frees(before: Option<&PodInfo>, after: Option<&PodInfo>) -> bool {
    let amounts = |info: &PodInfo| (info.requests.cpu, info.requests.memory);
    match (before.map(amounts), after.map(amounts)) {
        (Some((cpu, memory)), Some((now_cpu, now_memory))) => now_cpu < cpu || now_memory < memory,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// Tries the pending resizes again, each in its turn.
fn retry_pending(node: &Arc<Node>, actors: &mut HashMap<String, Running>) {
    let mut pending: Vec<_> = actors
        .iter()
        .filter(|(_, running)| running.given.pending.is_some())
        .map(|(uid, running)| (allocation::turn(&running.wanted, &running.given.pod, running.since), uid.clone()))
        .collect();
    pending.sort();
    for (_, uid) in pending {
        settle(node, actors, &uid);
    }
}

fn is_over(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Why a new pod is refused. One that a kubelet has begun with is not asked again.
fn reject(pod: &Pod, node: &Arc<NodeObject>, others: impl Iterator<Item = Arc<PodInfo>>) -> Option<Rejection> {
    let begun = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
    if begun || is_over(pod) || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    admit::admit(pod, node, others).err()
}

/// Ends sandboxes of pods that no longer exist.
async fn clean_orphans(node: &Arc<Node>, listed: &[String], actors: &HashMap<String, Running>) {
    let folder = std::path::Path::new(RUN).join("pods");
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let uid = entry.file_name().to_string_lossy().into_owned();
        if listed.contains(&uid) || actors.contains_key(&uid) {
            continue;
        }
        let (notices, _) = mpsc::unbounded_channel();
        match setup::adopt(node, &uid, notices).await {
            Some(mut ground) => {
                tracing::info!(pod = ground.record.name, "ending an orphaned pod");
                if let Err(error) = setup::free_sandbox(node, &ground.record, Some(&mut ground.sandbox)).await {
                    tracing::warn!(%error, "an orphaned pod is not freed");
                }
            }
            None => {
                if let Some(record) = setup::record(&entry.path())
                    && let Err(error) = setup::free_sandbox(node, &record, None).await
                {
                    tracing::warn!(%error, "an orphaned sandbox is not freed");
                }
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        crate::volumes::remove(&node.pod_dir(&uid));
    }
}
