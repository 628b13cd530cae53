//! The actor of one pod: takes events one at a time, changes the state, and does what the plan says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use runtime::events::EventType;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::plan::{self, Action};
use super::probing::{Workers, probe};
use super::registry::{Registry, View};
use super::setup::{self, Ground};
use super::state::{Run, State, Waiting, all, is_sidecar, named};
use super::stop::{self, Stop};
use super::writer::{self, Wanted};
use crate::cni;
use crate::container::prepare::{self, PodSide, Prepared};
use crate::node::Node;
use crate::oci_runtime::sandbox::Notice;
use crate::pause::protocol::{Container as Reported, Request};
use crate::probes::{self, Kind, Verdict};
use crate::volumes;

/// Upstream's reset of the crash back-off: a run this long starts it anew.
const LONG_RUN: i64 = 10 * 60 * 1000;
/// Between tries to make volumes or the sandbox; doubled each time up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// How often content from the API is brought up to date (upstream: its sync period plus cache delay, about a minute).
const REFRESH: Duration = Duration::from_secs(10);

/// Everything that can happen to a pod.
#[derive(Debug)]
pub enum Event {
    /// The object changed (or was first seen).
    Pod(Arc<Pod>),
    /// The object is gone from the API.
    Gone,
    Notice(Notice),
    /// Volumes and sandbox stand, or do not.
    Ground(Box<Result<(Ground, volumes::Prepared), setup::Error>>),
    Refreshed(Option<volumes::Prepared>),
    Prepared { name: String, attempt: u32, result: Box<Result<Prepared, prepare::Error>> },
    PostStarted { id: String, result: Result<(), String> },
    Probed { id: String, kind: Kind, verdict: Verdict },
    HookFailed { name: String, hook: &'static str, message: String },
    /// Send a signal to a run, if it is still the same.
    Signal { id: String, signal: i32 },
    TornDown(Result<(), cni::Error>),
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
    events: mpsc::UnboundedSender<Event>,
    inbox: mpsc::UnboundedReceiver<Event>,
    wanted: watch::Sender<Wanted>,
    writer: JoinHandle<()>,
    probes: Workers,
    stops: HashMap<String, (i64, JoinHandle<()>)>,
    setting_up: bool,
    setup_failures: u32,
    setup_at: Option<i64>,
    refresh_at: Option<i64>,
    tearing_down: bool,
    gone: bool,
    /// When the watched object told us to end, by which time.
    deadline: Option<i64>,
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Actor {
    /// Starts an actor; it ends by itself when nothing of the pod is left.
    pub fn spawn(node: Arc<Node>, registry: Registry, pod: Arc<Pod>) -> (mpsc::UnboundedSender<Event>, JoinHandle<()>) {
        let (events, inbox) = mpsc::unbounded_channel();
        let (wanted, receiver) = watch::channel(Wanted::default());
        let writer = tokio::spawn(writer::run(node.client.clone(), (*pod).clone(), receiver));
        let actor = Self {
            node,
            registry,
            pod: pod.clone(),
            state: State { start_time: now(), ..State::default() },
            ground: None,
            volumes: HashMap::new(),
            events: events.clone(),
            inbox,
            wanted,
            writer,
            probes: Workers::default(),
            stops: HashMap::new(),
            setting_up: false,
            setup_failures: 0,
            setup_at: None,
            refresh_at: None,
            tearing_down: false,
            gone: false,
            deadline: None,
        };
        let task = tokio::spawn(actor.run());
        (events, task)
    }

    fn spec(&self) -> &PodSpec {
        self.pod.spec.as_ref().expect("a pod from the API has a spec")
    }

    async fn run(mut self) {
        self.recall();
        self.adopt().await;
        self.take_pod(self.pod.clone());
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
        if !self.gone {
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

    fn event(&self, container: Option<&str>, kind: EventType, reason: &'static str, message: impl Into<String>) {
        let path = container.map(|name| {
            let init = self.spec().init_containers.iter().flatten().any(|container| container.name == name);
            format!("spec.{}{{{name}}}", if init { "initContainers" } else { "containers" })
        });
        self.node.events.pod(&self.pod, path, kind, reason, message.into());
    }

    /// Takes over what the API remembers of runs in a sandbox that may be gone.
    fn recall(&mut self) {
        let Some(status) = self.pod.status.clone() else { return };
        if let Some(start) = status.start_time {
            self.state.start_time = start.0.as_millisecond();
        }
        let statuses = status.init_container_statuses.into_iter().flatten().chain(status.container_statuses.into_iter().flatten());
        for old in statuses {
            let Some(id) = old.container_id else { continue };
            let id = id.trim_start_matches("runc://").to_owned();
            let ended = old.state.as_ref().and_then(|state| state.terminated.as_ref());
            let tracked = self.state.entry(&old.name);
            tracked.attempt = u32::try_from(old.restart_count).unwrap_or(0);
            tracked.image = old.image;
            tracked.image_id = old.image_id;
            let started = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
                time.as_ref().map_or(0, |time| time.0.as_millisecond())
            };
            tracked.run = Run::Ended(match ended {
                Some(ended) => super::state::Ended {
                    id,
                    code: ended.exit_code,
                    signal: None,
                    started_at: started(&ended.started_at),
                    finished_at: started(&ended.finished_at),
                    reason: ended.reason.clone().unwrap_or_default(),
                    message: ended.message.clone(),
                },
                // Upstream's words for a container that was lost.
                None => super::state::Ended {
                    id,
                    code: 137,
                    finished_at: now(),
                    reason: "ContainerStatusUnknown".into(),
                    message: Some("The container could not be located when the pod was terminated".into()),
                    ..Default::default()
                },
            });
        }
    }

    /// Finds the sandbox that an earlier kubelet left, with all its containers.
    async fn adopt(&mut self) {
        let uid = self.uid();
        let Some(ground) = setup::adopt(&self.node, &uid, self.notices()).await else {
            // Its pause is gone, so the pod is made anew; what is left of it is cleared away first.
            if let Some(record) = setup::record(&self.node.sandbox_dir(&uid)) {
                self.event(None, EventType::Normal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
                if let Err(error) = setup::free_sandbox(&self.node, &record, None).await {
                    tracing::warn!(%error, pod = self.pod.name_any(), "freeing a lost sandbox");
                }
            }
            return;
        };
        let containers = ground.sandbox.containers.clone();
        self.state.start_time = ground.record.start_time;
        self.stand(ground);
        match setup::make_volumes(&self.node, &self.pod, &self.state.pod_ips).await {
            Ok(prepared) => self.take_volumes(prepared),
            Err(error) => tracing::warn!(%error, pod = self.pod.name_any(), "refreshing volumes"),
        }
        for container in containers {
            self.take_report(&container).await;
        }
    }

    fn notices(&self) -> mpsc::UnboundedSender<Notice> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let events = self.events.clone();
        tokio::spawn(async move {
            while let Some(notice) = receiver.recv().await {
                if events.send(Event::Notice(notice)).is_err() {
                    return;
                }
            }
        });
        sender
    }

    fn stand(&mut self, ground: Ground) {
        self.state.sandbox_ready = true;
        self.state.pod_ips.clone_from(&ground.record.ips);
        self.ground = Some(ground);
        self.setup_failures = 0;
    }

    fn take_volumes(&mut self, prepared: volumes::Prepared) {
        self.volumes = prepared.volumes;
        let refreshable = self.spec().volumes.iter().flatten().any(|volume| {
            volume.config_map.is_some() || volume.secret.is_some() || volume.projected.is_some() || volume.downward_api.is_some()
        });
        let renew = prepared.renew.unwrap_or(REFRESH).min(REFRESH);
        self.refresh_at = refreshable.then(|| now() + millis(renew));
    }

    fn take_pod(&mut self, pod: Arc<Pod>) {
        self.pod = pod;
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
            Event::Refreshed(None) => self.refresh_at = Some(now() + millis(REFRESH)),
            Event::Prepared { name, attempt, result } => self.take_prepared(&name, attempt, *result).await,
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

    /// Pause is gone, and all containers with it: the pod gets a new sandbox.
    async fn lose_sandbox(&mut self) {
        if self.tearing_down {
            return;
        }
        let Some(ground) = self.ground.take() else { return };
        self.state.sandbox_ready = false;
        self.event(None, EventType::Normal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
        let alive: Vec<(String, String)> = self
            .state
            .containers
            .iter()
            .filter(|(_, tracked)| tracked.is_alive())
            .filter_map(|(name, tracked)| Some((name.clone(), tracked.id()?.to_owned())))
            .collect();
        for (name, id) in alive {
            self.probes.end_all(&id);
            let at = now();
            let tracked = self.state.entry(&name);
            tracked.run = Run::Ended(super::state::Ended {
                id,
                code: 137,
                started_at: at,
                finished_at: at,
                reason: "Error".into(),
                ..Default::default()
            });
            tracked.started = false;
            tracked.ready = false;
            tracked.stopping = false;
        }
        if let Err(error) = setup::free_sandbox(&self.node, &ground.record, None).await {
            tracing::warn!(%error, pod = self.pod.name_any(), "freeing a lost sandbox");
        }
        self.state.pod_ips.clear();
    }

    async fn take_ground(&mut self, result: Result<(Ground, volumes::Prepared), setup::Error>) {
        self.setting_up = false;
        match result {
            Ok((ground, prepared)) => {
                self.take_volumes(prepared);
                self.stand(ground);
            }
            Err(error) => {
                self.setup_failures += 1;
                self.setup_at = Some(now() + millis(self.retry_delay()));
                self.event(None, EventType::Warning, error.reason(), error.to_string());
            }
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
        let wants_ground = !self.state.sandbox_ready && !self.state.torn_down && !self.state.terminating && !self.tearing_down;
        if wants_ground && !self.setting_up && self.state.failed.is_none() && !plan::is_finished(self.spec(), &self.state) {
            match self.setup_at {
                Some(time) if time > at => later(time),
                _ => self.set_up(),
            }
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

    fn set_up(&mut self) {
        self.setting_up = true;
        let (node, pod, events, notices) = (self.node.clone(), self.pod.clone(), self.events.clone(), self.notices());
        let start_time = self.state.start_time;
        tokio::spawn(async move {
            let work = async {
                // The volumes' downward API knows the pod's address only when there is one: they are made after it.
                let prepared = setup::make_volumes(&node, &pod, &[]).await?;
                let ground = setup::make_sandbox(&node, &pod, start_time, notices).await?;
                Ok((ground, prepared))
            };
            let _ = events.send(Event::Ground(Box::new(work.await)));
        });
    }

    fn refresh(&mut self) {
        self.refresh_at = None;
        let (node, pod, events) = (self.node.clone(), self.pod.clone(), self.events.clone());
        let ips = self.state.pod_ips.clone();
        tokio::spawn(async move {
            let prepared = setup::make_volumes(&node, &pod, &ips).await.ok();
            let _ = events.send(Event::Refreshed(prepared));
        });
    }

    fn start(&mut self, name: &str) {
        let Some(ground) = &self.ground else { return };
        let Some(container) = named(self.spec(), name).cloned() else { return };
        let side = PodSide {
            pod: self.pod.clone(),
            known: setup::known(&self.node, &self.state.pod_ips),
            hostname: setup::hostname(&self.node, &self.pod),
            volumes: self.volumes.clone(),
            pause: ground.sandbox.pid,
            shared_pid: ground.sandbox.shared_pid,
            etc: setup::etc_dir(&self.node, &self.uid()),
        };
        let tracked = self.state.entry(name);
        let mut attempt = tracked.attempt;
        if let Run::Ended(ended) = std::mem::replace(&mut tracked.run, Run::Preparing) {
            tracked.last = Some(ended);
            attempt += 1;
        } else if tracked.last.is_some() {
            attempt += 1;
        }
        tracked.retry_at = None;
        let (node, events, name) = (self.node.clone(), self.events.clone(), name.to_owned());
        tokio::spawn(async move {
            let result = Box::new(prepare::prepare(&node, &side, &container, attempt).await);
            let _ = events.send(Event::Prepared { name, attempt, result });
        });
    }

    async fn take_prepared(&mut self, name: &str, attempt: u32, result: Result<Prepared, prepare::Error>) {
        let image = named(self.spec(), name).and_then(|container| container.image.clone()).unwrap_or_default();
        match result {
            Ok(prepared) => {
                if self.ground.is_none() || self.state.terminating {
                    self.state.entry(name).run = Run::Idle;
                    let (node, start) = (self.node.clone(), prepared.start);
                    tokio::spawn(async move { setup::free_container(&node, &start.bundle, &start.id).await });
                    return;
                }
                if let Some(text) = &prepared.image.stand_in {
                    self.event(Some(name), EventType::Normal, "ImageFromCatalogue", text.clone());
                }
                let present = format!("Container image \"{image}\" already present on machine");
                self.event(Some(name), EventType::Normal, "Pulled", present);
                if let Some(uid) = prepared.instead_of {
                    let text = format!("user {uid} is not mapped into this user namespace: the container runs as root of it instead");
                    self.event(Some(name), EventType::Warning, "UserNotMapped", text);
                }
                let tracked = self.state.entry(name);
                tracked.image.clone_from(&prepared.image.name);
                tracked.image_id.clone_from(&prepared.image.id);
                tracked.attempt = attempt;
                tracked.refusals = 0;
                tracked.waiting = None;
                tracked.run = Run::Starting { id: prepared.start.id.clone() };
                self.event(Some(name), EventType::Normal, "Created", format!("Container created"));
                self.request(&Request::Start(prepared.start)).await;
            }
            Err(error) => {
                let tracked = self.state.entry(name);
                tracked.run = tracked.last.take().map_or(Run::Idle, Run::Ended);
                let first = tracked.refusals == 0;
                tracked.refusals += 1;
                let is_image = matches!(error, prepare::Error::Image(_));
                let delay = if is_image { self.node.backoff.after(tracked.refusals) } else { Duration::from_secs(1 << tracked.refusals.min(4)) };
                tracked.retry_at = Some(now() + millis(delay));
                let text = error.to_string();
                tracked.waiting = Some(match (is_image, first) {
                    (true, false) if error.reason() == "ErrImagePull" => Waiting {
                        reason: "ImagePullBackOff".into(),
                        message: Some(format!("Back-off pulling image \"{image}\": ErrImagePull: {text}")),
                    },
                    _ => Waiting { reason: error.reason().into(), message: Some(text.clone()) },
                });
                if is_image {
                    self.event(Some(name), EventType::Normal, "Pulling", format!("Pulling image \"{image}\""));
                    self.event(Some(name), EventType::Warning, "Failed", format!("Failed to pull image \"{image}\": {text}"));
                    self.event(Some(name), EventType::Warning, "Failed", format!("Error: {}", error.reason()));
                    self.event(Some(name), EventType::Normal, "BackOff", format!("Back-off pulling image \"{image}\""));
                } else {
                    self.event(Some(name), EventType::Warning, "Failed", format!("Error: {text}"));
                }
            }
        }
    }

    async fn take_report(&mut self, reported: &Reported) {
        let known = self.state.get(&reported.name);
        if known.is_some_and(|tracked| reported.attempt < tracked.attempt) {
            // A run before the last one, told on re-adoption.
            return;
        }
        let was_running = known.is_some_and(|tracked| tracked.is_running());
        let Some(container) = named(self.spec(), &reported.name).cloned() else { return };
        if self.state.report(reported) {
            self.ended(&container).await;
        } else if self.state.get(&reported.name).is_some_and(|tracked| tracked.is_running()) && !was_running {
            self.began(&container, &reported.id);
        }
    }

    fn began(&mut self, container: &Container, id: &str) {
        let adopted = self.ground.as_ref().is_some_and(|ground| {
            ground.adopted && ground.sandbox.containers.iter().any(|known| known.id == id)
        });
        let tracked = self.state.entry(&container.name);
        tracked.stopping = false;
        tracked.started = container.startup_probe.is_none();
        tracked.ready = container.readiness_probe.is_none();
        if !adopted {
            self.event(Some(&container.name), EventType::Normal, "Started", "Container started");
        }
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone());
        match hook.filter(|_| !adopted) {
            Some(hook) => {
                self.state.entry(&container.name).started = false;
                let (node, events, container, id) = (self.node.clone(), self.events.clone(), container.clone(), id.to_owned());
                let ip = self.state.pod_ips.first().cloned().unwrap_or_default();
                tokio::spawn(async move {
                    // Upstream lets the hook take as long as it likes; we end it after the longest back-off.
                    let limit = Duration::from_secs(300);
                    let result = probes::hook(&node, &hook, &container, &id, &ip, limit).await;
                    let _ = events.send(Event::PostStarted { id, result });
                });
            }
            None => self.start_probes(container, id),
        }
    }

    fn start_probes(&mut self, container: &Container, id: &str) {
        let ip = self.state.pod_ips.first().cloned().unwrap_or_default();
        let kinds: &[Kind] = if self.state.entry(&container.name).started {
            &[Kind::Readiness, Kind::Liveness]
        } else {
            &[Kind::Startup]
        };
        for kind in kinds {
            self.probes.start(&self.node, container, *kind, id, &ip, &self.events);
        }
    }

    fn running(&self, id: &str) -> Option<Container> {
        let (name, _) = self.state.containers.iter().find(|(_, tracked)| tracked.is_running() && tracked.id() == Some(id))?;
        named(self.spec(), name).cloned()
    }

    fn take_post_start(&mut self, id: &str, result: Result<(), String>) {
        let Some(container) = self.running(id) else { return };
        match result {
            Ok(()) => {
                self.state.entry(&container.name).started = container.startup_probe.is_none();
                self.start_probes(&container, id);
            }
            Err(message) => {
                self.event(Some(&container.name), EventType::Warning, "FailedPostStartHook", format!("PostStartHook failed: {message}"));
                self.stop(&container.name, Some("FailedPostStartHook".to_owned()));
            }
        }
    }

    fn take_probe(&mut self, id: &str, kind: Kind, verdict: Verdict) {
        let Some(container) = self.running(id) else { return };
        let name = container.name.clone();
        match verdict {
            Verdict::Good => match kind {
                Kind::Startup => {
                    self.state.entry(&name).started = true;
                    self.probes.end(id, Kind::Startup);
                    self.start_probes(&container, id);
                }
                Kind::Readiness => self.state.entry(&name).ready = true,
                Kind::Liveness => {}
            },
            Verdict::Bad { message, over } => {
                let text = format!("{} probe failed: {message}", kind.word());
                self.event(Some(&name), EventType::Warning, "Unhealthy", text);
                if !over {
                    return;
                }
                if kind == Kind::Readiness {
                    self.state.entry(&name).ready = false;
                } else if !self.state.entry(&name).stopping {
                    let word = if kind == Kind::Liveness { "liveness" } else { "startup" };
                    let text = format!("Container {name} failed {word} probe, will be restarted");
                    self.stop(&name, Some(text));
                }
            }
        }
    }

    /// Begins to end a container; `why` when its pod goes on.
    fn stop(&mut self, name: &str, why: Option<String>) {
        let Some(container) = named(self.spec(), name).cloned() else { return };
        let default = self.spec().termination_grace_period_seconds.unwrap_or(30).max(0);
        let of_probe = [Kind::Liveness, Kind::Startup].iter().find_map(|kind| {
            probe(&container, *kind).and_then(|probe| probe.termination_grace_period_seconds)
        });
        let grace = match (&why, self.deadline) {
            (None, Some(deadline)) => (deadline - now()).max(0).min(default.max(0) * 1000),
            (Some(_), _) => of_probe.unwrap_or(default) * 1000,
            (None, None) => default * 1000,
        };
        let tracked = self.state.entry(name);
        let Some(id) = tracked.id().map(str::to_owned) else { return };
        tracked.stopping = true;
        let named_signal = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone());
        let image = container.image.clone().unwrap_or_default();
        let from_image = || self.node.images.resolve(&image).ok().and_then(|image| image.config.stop_signal);
        let signal = named_signal.or_else(from_image).and_then(|name| stop::signal_number(&name)).unwrap_or(15);
        self.event(Some(name), EventType::Normal, "Killing", why.unwrap_or_else(|| format!("Stopping container {name}")));
        let stop = Stop {
            container,
            id: id.clone(),
            pod_ip: self.state.pod_ips.first().cloned().unwrap_or_default(),
            signal,
            grace: Duration::from_millis(u64::try_from(grace).unwrap_or(0)),
        };
        let task = tokio::spawn(stop::run(self.node.clone(), stop, self.events.clone()));
        if let Some((_, old)) = self.stops.insert(id, (grace, task)) {
            old.abort();
        }
    }

    async fn ended(&mut self, container: &Container) {
        let policy = self.spec().restart_policy.clone().unwrap_or_else(|| "Always".to_owned());
        let is_init = self.spec().init_containers.iter().flatten().any(|init| init.name == container.name);
        let policy = match () {
            () if is_sidecar(container) => "Always".to_owned(),
            () if is_init && policy == "Always" => "OnFailure".to_owned(),
            () => policy,
        };
        let attempt = self.state.entry(&container.name).attempt;
        let file = prepare::termination_file(&self.node, &self.pod, &container.name, attempt);
        let log = prepare::log_path(&self.pod, &container.name, attempt);
        let text = termination_message(container, &file, &log, self.state.entry(&container.name).ended().map(|ended| ended.code));
        let backoff = self.node.backoff;
        let pod = format!("{}_{}({})", self.pod.name_any(), self.namespace(), self.uid());
        let ending = self.state.terminating || self.state.failed.is_some();
        let tracked = self.state.entry(&container.name);
        tracked.started = false;
        tracked.ready = false;
        tracked.stopping = false;
        let Run::Ended(ended) = &mut tracked.run else { return };
        if ended.message.is_none() {
            ended.message = text;
        }
        let ended = ended.clone();
        if ended.finished_at - ended.started_at >= LONG_RUN {
            tracked.crashes = 0;
        }
        let delay = backoff.after(tracked.crashes);
        let again = plan::comes_back(&policy, ended.code) && !ending;
        let mut said = Vec::new();
        if ended.reason == "StartError" {
            let text = ended.message.clone().unwrap_or_default();
            said.push((EventType::Warning, "Failed", format!("Error: {text}")));
            if again {
                tracked.waiting = Some(Waiting { reason: "RunContainerError".into(), message: Some(text) });
            }
        }
        if again {
            tracked.retry_at = Some(ended.finished_at + millis(delay));
            tracked.crashes += 1;
            if !delay.is_zero() {
                let text = format!("back-off {} restarting failed container={} pod={pod}", words(delay), container.name);
                tracked.waiting = Some(Waiting { reason: "CrashLoopBackOff".into(), message: Some(text) });
                let text = format!("Back-off restarting failed container {} in pod {pod}", container.name);
                said.push((EventType::Warning, "BackOff", text));
            }
        }
        for (kind, reason, text) in said {
            self.event(Some(&container.name), kind, reason, text);
        }
        self.probes.end_all(&ended.id);
        if let Some((_, stop)) = self.stops.remove(&ended.id) {
            stop.abort();
        }
        self.forget_older(&container.name, &ended.id).await;
        let bundle = self.node.sandbox_dir(&self.uid()).join("containers").join(&ended.id);
        let node = self.node.clone();
        tokio::spawn(async move { setup::free_container(&node, &bundle, &ended.id).await });
    }

    /// Pause keeps the last ended run of each container, and logs of it and of the one before are kept as well.
    async fn forget_older(&mut self, name: &str, id: &str) {
        let tracked = self.state.entry(name);
        let attempt = tracked.attempt;
        if let Some(old) = tracked.last.as_ref().map(|last| last.id.clone()).filter(|old| old != id) {
            self.request(&Request::Forget { id: old }).await;
        }
        if let Some(old) = attempt.checked_sub(2) {
            let log = prepare::log_path(&self.pod, name, old);
            for file in crate::pause::log::older(&log).unwrap_or_default().iter().chain([&log]) {
                let _ = std::fs::remove_file(file);
            }
        }
    }

    async fn tear_down(&mut self) {
        self.tearing_down = true;
        self.refresh_at = None;
        let Some(mut ground) = self.ground.take() else {
            self.state.torn_down = true;
            return;
        };
        let (node, events) = (self.node.clone(), self.events.clone());
        tokio::spawn(async move {
            let result = setup::free_sandbox(&node, &ground.record, Some(&mut ground.sandbox)).await;
            let _ = events.send(Event::TornDown(result));
        });
    }

    /// Publishes what is now true: to the API and to the server.
    fn publish(&mut self) {
        let status = super::status::status(&self.pod, &self.state, &self.node.flags.node_ip.to_string(), now());
        let delete = self.state.torn_down && self.is_deleted() && !self.gone;
        self.wanted.send_if_modified(|wanted| {
            let new = Wanted { status: Some(status), delete };
            if *wanted == new {
                return false;
            }
            *wanted = new;
            true
        });
        let view = View {
            pod: self.pod.clone(),
            containers: self.state.containers.clone(),
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

/// A delay as Go prints it: `10s`, `1m20s`, `5m0s`.
fn words(delay: Duration) -> String {
    let seconds = delay.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

/// What the container left for us: its termination message, or by policy the end of its log when it failed.
fn termination_message(
    container: &Container,
    file: &std::path::Path,
    log: &std::path::Path,
    code: Option<i32>,
) -> Option<String> {
    /// Upstream's `MaxContainerTerminationMessageLength` and its share of the log.
    const MAX: usize = 4096;
    const LOG_MAX: usize = 2048;
    const LOG_LINES: usize = 80;
    let cut = |text: String, max: usize| {
        let start = (text.len().saturating_sub(max)..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text[start..].to_owned()
    };
    let text = std::fs::read(file).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        return Some(cut(text, MAX));
    }
    if container.termination_message_policy.as_deref() != Some("FallbackToLogsOnError") || code == Some(0) {
        return None;
    }
    let log = std::fs::read_to_string(log).ok()?;
    let lines: Vec<&str> = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
    (!tail.is_empty()).then(|| cut(format!("{}\n", tail.join("\n")), LOG_MAX))
}
