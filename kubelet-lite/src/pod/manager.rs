//! From this node's pods, those of the API and those of files, to their actors.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use scheduler::core::pod::PodInfo;

use super::actor::{Actor, Event};
use super::admit::{self, Rejection};
use super::allocation::{self, Allocated};
use super::registry::Registry;
use super::setup;
use crate::node::{Node, RUN};
use crate::static_pods::mirror::{self, Key};
use crate::static_pods::{self, Wanted};

struct Running {
    events: mpsc::UnboundedSender<Event>,
    task: JoinHandle<()>,
    name: Key,
    /// It is of a file, not of the API.
    is_static: bool,
    /// What it takes of the node; `None` when it is over.
    info: Option<Arc<PodInfo>>,
    /// The object as it is.
    wanted: Arc<Pod>,
    /// What of it the node has granted.
    given: Allocated,
    /// Since when a resize is pending, milliseconds.
    since: i64,
}

/// All actors, by the UID of their pods.
type Actors = HashMap<String, Running>;

/// This node's pods as the API has them, from when the node knows what they are judged and made by: itself and the
/// services, whose addresses containers get when they start.
fn of_api(node: &Arc<Node>) -> impl Stream<Item = watcher::Result<watcher::Event<Pod>>> + Send + use<> {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", node.name));
    let events = watcher(Api::<Pod>::all(node.client.clone()), config).default_backoff();
    let node = node.clone();
    let ready = async move {
        // It fails when nobody reads the services, and then there are none to wait for.
        let _ = node.services.wait_until_ready().await;
        let _ = node.object.subscribe().wait_for(is_known).await;
        events
    };
    futures::stream::once(ready).flatten()
}

/// Who is to be admitted is measured against what the node has.
fn is_known(object: &Arc<NodeObject>) -> bool {
    object.status.as_ref().is_some_and(|status| status.allocatable.is_some())
}

/// Runs until the process ends. Pods keep running when it does. `own` is the node as it knows itself, for static pods that
/// come before the API server.
///
/// # Errors
/// None so far; the watch goes on after its errors.
pub async fn run(
    node: Arc<Node>,
    registry: Registry,
    mut statics: watch::Receiver<Wanted>,
    own: Arc<NodeObject>,
) -> anyhow::Result<()> {
    let mut manager = Manager { node: node.clone(), registry, own, actors: Actors::new(), listed: None };
    let mut stream = pin!(of_api(&node));
    let (ended, mut ends) = mpsc::unbounded_channel();
    loop {
        let wanted = statics.borrow_and_update().clone();
        manager.keep_static(&wanted, &ended);
        tokio::select! {
            event = stream.try_next() => match event {
                Ok(Some(event)) => manager.take(event).await,
                Ok(None) => return Ok(()),
                Err(error) => tracing::debug!(%error, "the watch of pods goes on in a moment"),
            },
            // Without a folder nobody tells.
            Ok(()) = statics.changed() => {}
            Some(uid) = ends.recv() => drop(manager.actors.remove(&uid)),
        }
    }
}

struct Manager {
    node: Arc<Node>,
    registry: Registry,
    own: Arc<NodeObject>,
    actors: Actors,
    /// UIDs of pods and names of mirrors, while a list comes in.
    listed: Option<(Vec<String>, Vec<Key>)>,
}

impl Manager {
    async fn take(&mut self, event: watcher::Event<Pod>) {
        self.actors.retain(|_, running| !running.task.is_finished());
        match event {
            watcher::Event::Init => self.listed = Some(Default::default()),
            watcher::Event::InitApply(pod) => {
                let (uids, mirrors) = self.listed.get_or_insert_default();
                if static_pods::is_mirror(&pod) {
                    mirrors.push(mirror::key(&pod));
                } else {
                    uids.push(pod.uid().unwrap_or_default());
                }
                self.apply(pod);
            }
            watcher::Event::InitDone => {
                // What is not in the list was deleted while nobody watched.
                let (uids, mirrors) = self.listed.take().unwrap_or_default();
                let gone = |uid: &String, running: &Running| !running.is_static && !uids.contains(uid);
                for (_, running) in self.actors.iter().filter(|(uid, running)| gone(uid, running)) {
                    let _ = running.events.send(Event::Gone);
                }
                self.node.mirrors.keep(&mirrors);
                clean_orphans(&self.node, &uids, &self.actors).await;
            }
            watcher::Event::Apply(pod) => self.apply(pod),
            watcher::Event::Delete(pod) if static_pods::is_mirror(&pod) => self.node.mirrors.lose(&pod),
            watcher::Event::Delete(pod) => {
                if let Some(running) = self.actors.get_mut(&pod.uid().unwrap_or_default()) {
                    running.info = None;
                    let _ = running.events.send(Event::Gone);
                }
                retry_pending(&self.node, &mut self.actors);
            }
        }
    }

    fn apply(&mut self, pod: Pod) {
        let name = (pod.namespace().unwrap_or_default(), pod.name_any());
        if static_pods::is_mirror(&pod) {
            let pod = Arc::new(pod);
            self.node.mirrors.put(&pod);
            if !self.actors.values().any(|running| running.is_static && running.name == name) {
                tokio::spawn(mirror::remove(self.node.clone(), pod));
            }
            return;
        }
        let uid = pod.uid().unwrap_or_default();
        // The same name with another UID: the old one is gone, whether we were told or not.
        let replaced = |known: &String, running: &Running| *known != uid && running.name == name && !running.is_static;
        for (_, old) in self.actors.iter().filter(|(known, running)| replaced(known, running)) {
            let _ = old.events.send(Event::Gone);
        }
        let pod = Arc::new(pod);
        if let Some(running) = self.actors.get_mut(&uid) {
            running.wanted = pod;
            let before = running.info.clone();
            settle(&self.node, &mut self.actors, &uid);
            let after = self.actors.get(&uid).and_then(|running| running.info.clone());
            if frees(before.as_deref(), after.as_deref()) {
                retry_pending(&self.node, &mut self.actors);
            }
            return;
        }
        self.start(pod, None);
    }

    /// Starts a pod's actor; `ended` is told the UID when it has ended.
    fn start(&mut self, pod: Arc<Pod>, ended: Option<mpsc::UnboundedSender<String>>) {
        let (uid, name) = (pod.uid().unwrap_or_default(), (pod.namespace().unwrap_or_default(), pod.name_any()));
        let others = self.actors.values().filter_map(|running| running.info.clone());
        let object = self.node.object.borrow().clone();
        let rejected = reject(&pod, if is_known(&object) { &object } else { &self.own }, others);
        let given = allocation::recall(&self.node.pod_dir(&uid), &pod);
        let info = (!is_over(&pod) && rejected.is_none()).then(|| Arc::new(PodInfo::granted(&given)));
        let (events, mut task) = Actor::spawn(self.node.clone(), self.registry.clone(), given.clone(), rejected);
        let is_static = ended.is_some();
        if let Some(ended) = ended {
            let (actor, uid) = (task, uid.clone());
            task = tokio::spawn(async move {
                let _ = actor.await;
                let _ = ended.send(uid);
            });
        }
        let recalled = !Arc::ptr_eq(&given, &pod);
        let given = Allocated::whole(given);
        let running = Running { events, task, name, is_static, info, wanted: pod, given, since: now() };
        self.actors.insert(uid.clone(), running);
        if recalled {
            settle(&self.node, &mut self.actors, &uid);
        }
    }

    /// Ends the static pods that are not wanted any more, and starts those that are. Two of one name never run at a time.
    fn keep_static(&mut self, wanted: &[Arc<Pod>], ended: &mpsc::UnboundedSender<String>) {
        let stays = |uid: &str| wanted.iter().any(|pod| pod.metadata.uid.as_deref() == Some(uid));
        let leaving: Vec<String> = self
            .actors
            .iter()
            .filter(|(uid, running)| {
                running.is_static && running.wanted.metadata.deletion_timestamp.is_none() && !stays(uid)
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in leaving {
            let Some(running) = self.actors.get_mut(&uid) else { continue };
            running.wanted = Arc::new(deleted(&running.wanted));
            settle(&self.node, &mut self.actors, &uid);
        }
        for pod in wanted {
            let name = (pod.namespace().unwrap_or_default(), pod.name_any());
            if !self.actors.values().any(|running| running.is_static && running.name == name) {
                self.start(pod.clone(), Some(ended.clone()));
            }
        }
    }
}

/// The pod as the API would have it after its deletion.
fn deleted(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
    let at = Timestamp::from_millisecond(now() + grace * 1000).unwrap_or(Timestamp::MAX);
    pod.metadata.deletion_timestamp = Some(Time(at));
    pod.metadata.deletion_grace_period_seconds = Some(grace);
    pod
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Decides what the pod is given of what it wants, and tells its actor.
fn settle(node: &Arc<Node>, actors: &mut Actors, uid: &str) {
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
fn retry_pending(node: &Arc<Node>, actors: &mut Actors) {
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
async fn clean_orphans(node: &Arc<Node>, listed: &[String], actors: &Actors) {
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
