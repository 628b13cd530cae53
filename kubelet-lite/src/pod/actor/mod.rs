//! The actor of one pod: takes events one at a time, changes the state, and does what the plan says.
//!
//! [`ground`] makes and frees what the pod stands on, [`containers`] takes its containers through their lives: [`images`] with what
//! they are made of, [`probing`] with what is asked of them, [`resize`] with what they may take.

mod containers;
mod ground;
mod images;
mod probing;
mod resize;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec, ResourceRequirements};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use runtime::events::EventType;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::admit::Rejection;
use super::allocation::Allocated;
use super::plan::{self, Action};
use super::probing::Workers;
use super::registry::{Registry, View};
use super::setup::{self, Ground};
use super::state::{State, all, is_ephemeral};
use super::writer::{self, Wanted};
use crate::container::prepare::{self, Prepared};
use crate::node::Node;
use crate::oci_runtime::sandbox::Notice;
use crate::pause::protocol::Request;
use crate::probes::{Kind, Verdict};
use crate::static_pods::{self, mirror};
use crate::volumes;
use cni::libcni;

/// Between tries to make volumes or the sandbox; doubled each time up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Everything that can happen to a pod.
#[derive(Debug)]
pub enum Event {
    /// The object changed (or was first seen), or what it was given did.
    Pod(Allocated),
    /// The object is gone from the API.
    Gone,
    Notice(Notice),
    /// Volumes and sandbox stand, or do not.
    Ground(Box<Result<(Ground, volumes::Prepared), setup::Error>>),
    Refreshed(Option<volumes::Prepared>),
    /// What a volume mirrors has changed.
    Outdated,
    /// A running container has been given other limits, or has not.
    Resized {
        name: String,
        id: String,
        resources: ResourceRequirements,
        result: Result<(), String>,
    },
    Prepared {
        name: String,
        attempt: u32,
        /// The pod's volumes that are images.
        images: Vec<volumes::image::Found>,
        result: Box<Result<Prepared, prepare::Error>>,
    },
    PostStarted {
        id: String,
        result: Result<(), String>,
    },
    Probed {
        id: String,
        kind: Kind,
        verdict: Verdict,
    },
    HookFailed {
        name: String,
        hook: &'static str,
        message: String,
    },
    /// Send a signal to a run, if it is still the same.
    Signal {
        id: String,
        signal: i32,
    },
    TornDown(Result<(), libcni::Error>),
    NetworkReady,
    /// A moment has passed since a container started or ended.
    Settled,
    /// Only look again.
    Wake,
}

pub struct Actor {
    node: Arc<Node>,
    registry: Registry,
    pod: Arc<Pod>,
    state: State,
    ground: Option<Ground>,
    volumes: volumes::Volumes,
    /// The processes of running containers, by name, as the node sees them.
    pids: HashMap<String, i32>,
    tokens: volumes::Tokens,
    /// Tells of changes of what the volumes mirror.
    follower: Option<AbortOnDrop>,
    events: mpsc::UnboundedSender<Event>,
    inbox: mpsc::UnboundedReceiver<Event>,
    wanted: watch::Sender<Wanted>,
    writer: JoinHandle<()>,
    probes: Workers,
    stops: HashMap<String, (i64, JoinHandle<()>)>,
    setting_up: bool,
    /// Somebody tells us when the network is ready.
    awaits_network: bool,
    setup_failures: u32,
    setup_at: Option<i64>,
    refresh_at: Option<i64>,
    /// When limits that could not be set are tried again.
    resize_at: Option<i64>,
    tearing_down: bool,
    gone: bool,
    /// When the watched object told us to end, by which time.
    deadline: Option<i64>,
}

/// A task that ends with its owner.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Actor {
    /// Starts an actor; it ends by itself when nothing of the pod is left.
    /// A pod that is `rejected` only says so.
    pub fn spawn(
        node: Arc<Node>,
        registry: Registry,
        pod: Arc<Pod>,
        rejected: Option<Rejection>,
    ) -> (mpsc::UnboundedSender<Event>, JoinHandle<()>) {
        let (events, inbox) = mpsc::unbounded_channel();
        let (wanted, receiver) = watch::channel(Wanted::default());
        let writer = if static_pods::is_static(&pod) {
            tokio::spawn(mirror::run(node.clone(), pod.clone(), receiver))
        } else {
            tokio::spawn(writer::run(node.client.clone(), (*pod).clone(), receiver))
        };
        let actor = Self {
            node,
            registry,
            pod: pod.clone(),
            state: State { start_time: now(), ..State::default() },
            ground: None,
            volumes: HashMap::new(),
            pids: HashMap::new(),
            tokens: HashMap::new(),
            follower: None,
            events: events.clone(),
            inbox,
            wanted,
            writer,
            probes: Workers::default(),
            stops: HashMap::new(),
            setting_up: false,
            awaits_network: false,
            setup_failures: 0,
            setup_at: None,
            refresh_at: None,
            resize_at: None,
            tearing_down: false,
            gone: false,
            deadline: None,
        };
        let mut actor = actor;
        if let Some(Rejection { reason, message }) = rejected {
            actor.event(None, EventType::Warning, reason.clone(), message.clone());
            actor.state.failed = Some((reason, format!("Pod was rejected: {message}")));
        }
        let task = tokio::spawn(actor.run());
        (events, task)
    }

    fn spec(&self) -> &PodSpec {
        self.pod.spec.as_ref().expect("a pod from the API has a spec")
    }

    async fn run(mut self) {
        self.recall();
        self.adopt().await;
        self.take_pod(Allocated::whole(self.pod.clone()));
        loop {
            let wake_at = self.step().await;
            self.publish();
            if self.state.torn_down && (self.gone || self.is_deleted()) {
                break;
            }
            let event = match wake_at {
                Some(at) => {
                    let wait = Duration::from_millis(u64::try_from(at - now()).unwrap_or(0));
                    tokio::select! {
                        event = self.inbox.recv() => event,
                        () = tokio::time::sleep(wait) => Some(Event::Wake),
                    }
                }
                None => self.inbox.recv().await,
            };
            let Some(event) = event else { break };
            self.handle(event).await;
            // What came at the same time is one change.
            while let Ok(event) = self.inbox.try_recv() {
                self.handle(event).await;
            }
        }
        self.registry.remove(&self.namespace(), &self.pod.name_any(), &self.uid());
        volumes::remove(&self.node.pod_dir(&self.uid()));
        self.remove_logs();
        // Of a static pod there is nothing left, whether the API server knows it or not.
        if !self.gone && !static_pods::is_static(&self.pod) {
            let _ = self.writer.await;
        }
    }

    fn uid(&self) -> String {
        self.pod.uid().unwrap_or_default()
    }

    fn namespace(&self) -> String {
        self.pod.namespace().unwrap_or_default()
    }

    fn is_deleted(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    fn event(
        &self,
        container: Option<&str>,
        kind: EventType,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) {
        let path = container.map(|name| self.field_path(name));
        self.node.events.pod(&self.pod, path, kind, reason, message.into());
    }

    /// Where a container is in the pod: `spec.containers{web}`.
    fn field_path(&self, name: &str) -> String {
        let init = self.spec().init_containers.iter().flatten().any(|container| container.name == name);
        let kind = match () {
            () if init => "initContainers",
            () if is_ephemeral(self.spec(), name) => "ephemeralContainers",
            () => "containers",
        };
        format!("spec.{kind}{{{name}}}")
    }

    fn take_pod(&mut self, Allocated { pod, pending }: Allocated) {
        let (old, new) = (&self.pod.metadata, &pod.metadata);
        if (&old.labels, &old.annotations) != (&new.labels, &new.annotations) && ground::shows_itself(self.spec()) {
            self.refresh_at = Some(now());
        }
        let old = std::mem::replace(&mut self.pod, pod);
        self.take_pending(pending);
        self.resize(&old);
        if let Some(at) = &self.pod.metadata.deletion_timestamp {
            let first = !self.state.terminating;
            self.state.terminating = true;
            let deadline = at.0.as_millisecond();
            if !first && self.deadline.is_some_and(|old| deadline < old) {
                // A shorter grace period: whatever is being stopped is stopped sooner.
                for (_, task) in self.stops.drain().map(|(_, stop)| stop) {
                    task.abort();
                }
                self.state.containers.values_mut().for_each(|tracked| tracked.stopping = false);
            }
            self.deadline = Some(deadline);
        }
        let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) && !self.state.sandbox_ready && !self.setting_up {
            self.state.torn_down = true;
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Pod(pod) => self.take_pod(pod),
            Event::Gone => {
                self.gone = true;
                self.state.terminating = true;
                self.deadline.get_or_insert_with(now);
            }
            Event::Notice(Notice::Changed(container)) => self.take_report(&container).await,
            Event::Notice(Notice::Gone) => self.lose_sandbox().await,
            Event::Ground(result) => self.take_ground(*result).await,
            Event::Refreshed(Some(prepared)) => self.take_volumes(prepared),
            Event::Resized { name, id, resources, result } => self.take_resized(&name, &id, resources, result),
            Event::Outdated => self.refresh_at = Some(now()),
            Event::Refreshed(None) => self.refresh_at = Some(now() + millis(ground::RETRY)),
            Event::Prepared { name, attempt, images, result } => {
                self.tell_images(&images);
                self.take_prepared(&name, attempt, *result).await;
            }
            Event::PostStarted { id, result } => self.take_post_start(&id, result),
            Event::Probed { id, kind, verdict } => self.take_probe(&id, kind, verdict),
            Event::HookFailed { name, hook, message } => {
                let reason = if hook == "PreStop" { "FailedPreStopHook" } else { "FailedPostStartHook" };
                self.event(Some(&name), EventType::Warning, reason, format!("{hook}Hook failed: {message}"));
            }
            Event::Signal { id, signal } => self.request(&Request::Signal { id, signal }).await,
            Event::TornDown(Ok(())) => {
                self.state.torn_down = true;
                self.state.sandbox_ready = false;
                self.ground = None;
            }
            Event::TornDown(Err(error)) => {
                self.event(
                    None,
                    EventType::Warning,
                    "FailedKillPod",
                    format!("error killing pod: failed to \"KillPodSandbox\" for \"{}\": {error}", self.uid()),
                );
                self.tearing_down = false;
                self.setup_failures += 1;
                self.setup_at = Some(now() + millis(self.retry_delay()));
            }
            Event::NetworkReady => self.awaits_network = false,
            Event::Settled => self.ring_unready(),
            Event::Wake => {}
        }
    }

    fn retry_delay(&self) -> Duration {
        FIRST_RETRY.saturating_mul(1 << self.setup_failures.saturating_sub(1).min(10)).min(LONGEST_RETRY)
    }

    async fn request(&mut self, request: &Request) {
        if let Some(ground) = &mut self.ground
            && let Err(error) = ground.sandbox.send(request).await
        {
            tracing::debug!(%error, pod = self.pod.name_any(), "pause did not take a request");
        }
    }

    /// Does what the plan says; gives the time at which to look again.
    async fn step(&mut self) -> Option<i64> {
        let at = now();
        self.check_deadline(at);
        let plan = plan::plan(&self.pod.spec.clone().unwrap_or_default(), &self.state, at);
        let mut wake = plan.wake_at;
        let mut later = |time: i64| wake = Some(wake.map_or(time, |known: i64| known.min(time)));
        for action in plan.actions {
            match action {
                Action::Start(name) => self.start(&name),
                Action::Stop(name) => self.stop(&name, None),
                Action::TearDown => match self.setup_at {
                    _ if self.setting_up || self.tearing_down => {}
                    Some(time) if time > at && self.ground.is_some() => later(time),
                    _ => self.tear_down().await,
                },
            }
        }
        let wants_ground =
            !self.state.sandbox_ready && !self.state.torn_down && !self.state.terminating && !self.tearing_down;
        if wants_ground
            && !self.setting_up
            && self.state.failed.is_none()
            && !plan::is_finished(self.spec(), &self.state)
        {
            match self.setup_at {
                Some(time) if time > at => later(time),
                _ => self.set_up(),
            }
        }
        if let Some(time) = self.follow_resize(at) {
            later(time);
        }
        if let Some(time) = self.refresh_at.filter(|_| self.state.sandbox_ready) {
            if time <= at { self.refresh() } else { later(time) }
        }
        if let Some(time) = self.active_deadline().filter(|time| *time > at && !self.state.torn_down) {
            later(time);
        }
        wake
    }

    fn active_deadline(&self) -> Option<i64> {
        self.spec().active_deadline_seconds.map(|seconds| self.state.start_time + seconds * 1000)
    }

    fn check_deadline(&mut self, at: i64) {
        if self.state.failed.is_none()
            && !self.state.torn_down
            && !plan::is_finished(self.spec(), &self.state)
            && self.active_deadline().is_some_and(|time| time <= at)
        {
            let message = "Pod was active on the node longer than the specified deadline";
            self.state.failed = Some(("DeadlineExceeded".into(), message.into()));
            self.event(None, EventType::Normal, "DeadlineExceeded", message);
        }
    }

    /// Publishes what is now true: to the API and to the server.
    fn publish(&mut self) {
        let status = {
            let last = self.wanted.borrow().status.clone();
            super::status::status(&self.pod, &self.state, last.as_ref(), &self.node.flags.node_ip.to_string(), now())
        };
        let delete = self.state.torn_down && self.is_deleted() && !self.gone;
        let netns = self
            .ground
            .as_ref()
            .and_then(|ground| ground.record.netns.as_ref()?.file_name()?.to_str().map(str::to_owned));
        let observed = self.pod.status.as_ref();
        let contested = super::status::is_contested(observed, &status).then(|| writer::version(&self.pod)).flatten();
        self.wanted.send_if_modified(|wanted| {
            let new = Wanted { status: Some(status), netns, delete, contested };
            if *wanted == new {
                return false;
            }
            *wanted = new;
            true
        });
        let view = View {
            pod: self.pod.clone(),
            containers: self.state.containers.clone(),
            pids: self.pids.clone(),
            netns: self.ground.as_ref().and_then(|ground| ground.record.netns.clone()),
            sandbox_dir: self.node.sandbox_dir(&self.uid()),
        };
        self.registry.put(&self.namespace(), &self.pod.name_any(), view);
    }

    fn remove_logs(&self) {
        for container in all(self.spec()) {
            let log = prepare::log_path(&self.pod, &container.name, 0);
            if let Some(folder) = log.parent().and_then(std::path::Path::parent) {
                let _ = std::fs::remove_dir_all(folder);
            }
        }
        let prefix = format!("{}_{}_", self.pod.name_any(), self.namespace());
        for link in std::fs::read_dir("/var/log/containers").into_iter().flatten().flatten() {
            if link.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = std::fs::remove_file(link.path());
            }
        }
    }
}
