//! One container: starting and stopping it, and what follows from its end.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use runtime::events::EventType;

use super::{Actor, Event, millis, now};
use crate::container::prepare::{self, PodSide};
use crate::images::credentials::Credentials;
use crate::images::pull;
use crate::node::Node;
use crate::pause::protocol::{Container as Reported, Phase, Request};
use crate::pod::plan;
use crate::pod::probing::probe;
use crate::pod::setup;
use crate::pod::state::{Run, Waiting, is_ephemeral, is_sidecar, named};
use crate::pod::stop::{self, Stop};
use crate::probes::{self, Kind};
use crate::sources::Sources;
use crate::volumes::image;

/// Who the pod is to registries, where those are asked.
async fn credentials(node: &Node, pod: &Pod) -> Credentials {
    if !node.images.asks_registries() {
        return Credentials::default();
    }
    let mut sources = Sources::new(node.client.clone(), &pod.namespace().unwrap_or_default());
    let (credentials, missing) = Credentials::of(pod, &mut sources).await;
    if !missing.is_empty() {
        let text = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        );
        node.events.pod(pod, None, EventType::Warning, "FailedToRetrieveImagePullSecret", text);
    }
    credentials
}

/// Upstream's reset of the crash back-off: a run this long starts it anew.
const LONG_RUN: i64 = 10 * 60 * 1000;

impl Actor {
    pub(super) fn start(&mut self, name: &str) {
        let Some(ground) = &self.ground else { return };
        let Some(container) = named(self.spec(), name) else { return };
        // An ephemeral container may look into another one: it then sees that one's processes.
        let ephemeral = self.spec().ephemeral_containers.iter().flatten().find(|container| container.name == name);
        let target = ephemeral.and_then(|container| container.target_container_name.as_deref());
        let target = target.filter(|name| !name.is_empty()).and_then(|name| self.pids.get(name).copied());
        let mut side = PodSide {
            pod: self.pod.clone(),
            known: setup::known(&self.node, &self.state.pod_ips),
            hostname: setup::hostname(&self.node, &self.pod),
            volumes: self.volumes.clone(),
            images: Vec::new(),
            credentials: Credentials::default(),
            pause: ground.sandbox.pid,
            shared_pid: ground.sandbox.shared_pid.or(target),
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
        let (node, events, name, path) =
            (self.node.clone(), self.events.clone(), name.to_owned(), self.field_path(name));
        tokio::spawn(async move {
            side.credentials = credentials(&node, &side.pod).await;
            let tell = {
                let (events, pod) = (node.events.clone(), side.pod.clone());
                move |path: Option<&str>, image: &str| {
                    let (kind, reason, text) = pull::pulling(image);
                    events.pod(&pod, path.map(str::to_owned), kind, reason, text);
                }
            };
            let (images, pod, known, told) =
                (node.images.clone(), side.pod.clone(), side.credentials.clone(), tell.clone());
            let find = move || image::find(&images, &pod, &known, |image| told(None, image));
            side.images = tokio::task::spawn_blocking(find).await.expect("resolving does not panic");
            let pulling = move |image: &str| tell(Some(&path), image);
            let result = Box::new(prepare::prepare(&node, &side, &container, attempt, pulling).await);
            let _ = events.send(Event::Prepared { name, attempt, images: side.images, result });
        });
    }

    pub(super) async fn take_report(&mut self, reported: &Reported) {
        let known = self.state.get(&reported.name);
        if known.is_some_and(|tracked| reported.attempt < tracked.attempt) {
            // A run before the last one, told on re-adoption.
            return;
        }
        let was_running = known.is_some_and(|tracked| tracked.is_running());
        match &reported.phase {
            Phase::Running { pid, .. } => drop(self.pids.insert(reported.name.clone(), *pid)),
            _ => drop(self.pids.remove(&reported.name)),
        }
        let Some(container) = named(self.spec(), &reported.name) else { return };
        if self.state.report(reported) {
            self.ended(&container).await;
        } else if self.state.get(&reported.name).is_some_and(|tracked| tracked.is_running()) && !was_running {
            tracing::debug!(pod = self.pod.name_any(), container = container.name, "the container runs");
            self.began(&container, &reported.id);
        }
        self.look_again_soon();
    }

    pub(super) fn began(&mut self, container: &Container, id: &str) {
        let adopted = self
            .ground
            .as_ref()
            .is_some_and(|ground| ground.adopted && ground.sandbox.containers.iter().any(|known| known.id == id));
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
                let (node, events, container, id) =
                    (self.node.clone(), self.events.clone(), container.clone(), id.to_owned());
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

    pub(super) fn running(&self, id: &str) -> Option<Container> {
        let (name, _) =
            self.state.containers.iter().find(|(_, tracked)| tracked.is_running() && tracked.id() == Some(id))?;
        named(self.spec(), name)
    }

    pub(super) fn take_post_start(&mut self, id: &str, result: Result<(), String>) {
        let Some(container) = self.running(id) else { return };
        match result {
            Ok(()) => {
                self.state.entry(&container.name).started = container.startup_probe.is_none();
                self.start_probes(&container, id);
            }
            Err(message) => {
                self.event(
                    Some(&container.name),
                    EventType::Warning,
                    "FailedPostStartHook",
                    format!("PostStartHook failed: {message}"),
                );
                self.stop(&container.name, Some("FailedPostStartHook".to_owned()));
            }
        }
    }

    /// Begins to end a container; `why` when its pod goes on.
    pub(super) fn stop(&mut self, name: &str, why: Option<String>) {
        let Some(container) = named(self.spec(), name) else { return };
        let default = self.spec().termination_grace_period_seconds.unwrap_or(30).max(0);
        let of_probe = [Kind::Liveness, Kind::Startup]
            .iter()
            .find_map(|kind| probe(&container, *kind).and_then(|probe| probe.termination_grace_period_seconds));
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
        self.event(
            Some(name),
            EventType::Normal,
            "Killing",
            why.unwrap_or_else(|| format!("Stopping container {name}")),
        );
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

    pub(super) async fn ended(&mut self, container: &Container) {
        let policy = self.spec().restart_policy.clone().unwrap_or_else(|| "Always".to_owned());
        let is_init = self.spec().init_containers.iter().flatten().any(|init| init.name == container.name);
        let policy = match () {
            () if is_ephemeral(self.spec(), &container.name) => "Never".to_owned(),
            () if is_sidecar(container) => "Always".to_owned(),
            () if is_init && policy == "Always" => "OnFailure".to_owned(),
            () => policy,
        };
        let attempt = self.state.entry(&container.name).attempt;
        let file = prepare::termination_file(&self.node, &self.pod, &container.name, attempt);
        let log = prepare::log_path(&self.pod, &container.name, attempt);
        let text = termination_message(
            container,
            &file,
            &log,
            self.state.entry(&container.name).ended().map(|ended| ended.code),
        );
        let backoff = self.node.backoff;
        let pod = format!("{}_{}({})", self.pod.name_any(), self.namespace(), self.uid());
        let ending = self.state.terminating || self.state.failed.is_some();
        let group = self.node.machine.cgroup.clone();
        let tracked = self.state.entry(&container.name);
        tracked.started = false;
        tracked.ready = false;
        tracked.stopping = false;
        let Run::Ended(ended) = &mut tracked.run else { return };
        if ended.message.is_none() {
            ended.message = text;
        }
        if ended.code != 0 && ended.reason == "Error" && group.is_some_and(|group| group.oom_killed(&ended.id)) {
            "OOMKilled".clone_into(&mut ended.reason);
        }
        let ended = ended.clone();
        if ended.finished_at - ended.started_at >= LONG_RUN {
            tracked.crashes = 0;
        }
        let replaced = std::mem::take(&mut tracked.replaced) && !ending;
        let delay = backoff.after(tracked.crashes);
        let again = plan::comes_back(&policy, ended.code) && !ending && !replaced;
        if replaced {
            // Not for what it did: it starts anew whatever its policy, and at once.
            tracked.last = Some(ended.clone());
            tracked.run = Run::Idle;
        }
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
                let text =
                    format!("back-off {} restarting failed container={} pod={pod}", words(delay), container.name);
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
    pub(super) async fn forget_older(&mut self, name: &str, id: &str) {
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
    // time, stream, tag, text: a part (P) of a line has no end.
    let text = |line: &str| {
        let mut words = line.splitn(4, ' ').skip(2);
        let (tag, text) = (words.next()?, words.next()?);
        Some(if tag == "P" { text.to_owned() } else { format!("{text}\n") })
    };
    let lines: Vec<String> = log.lines().filter_map(text).collect();
    let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
    (!tail.is_empty()).then(|| cut(tail.concat(), LOG_MAX))
}
