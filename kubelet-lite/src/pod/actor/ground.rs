//! What the pod stands on: making it, finding it again, losing it, freeing it.

use std::time::Duration;

use k8s_openapi::api::core::v1::PodSpec;
use kube::ResourceExt;
use runtime::events::EventType;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{AbortOnDrop, Actor, Event, millis, now};
use crate::oci_runtime::sandbox::Notice;
use crate::pod::plan;
use crate::pod::setup::{self, Ground};
use crate::pod::state::{Ended, Run, all};
use crate::volumes;

/// After volumes could not be brought up to date.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// Whether a volume shows what the pod's own object says.
pub(super) fn shows_itself(spec: &PodSpec) -> bool {
    spec.volumes.iter().flatten().any(|volume| {
        let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        volume.downward_api.is_some() || sources.into_iter().any(|source| source.downward_api.is_some())
    })
}

impl Actor {
    /// Takes over what the API remembers of runs in a sandbox that may be gone.
    pub(super) fn recall(&mut self) {
        let Some(status) = self.pod.status.clone() else { return };
        if let Some(start) = status.start_time {
            self.state.start_time = start.0.as_millisecond();
        }
        self.state.pod_ips = status.pod_ips.into_iter().flatten().map(|ip| ip.ip).collect();
        let kinds = [status.init_container_statuses, status.container_statuses, status.ephemeral_container_statuses];
        let statuses = kinds.into_iter().flatten().flatten();
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
                Some(ended) => Ended {
                    id,
                    code: ended.exit_code,
                    signal: None,
                    started_at: started(&ended.started_at),
                    finished_at: started(&ended.finished_at),
                    reason: ended.reason.clone().unwrap_or_default(),
                    message: ended.message.clone(),
                },
                // Upstream's words for a container that was lost.
                None => Ended {
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
    pub(super) async fn adopt(&mut self) {
        let uid = self.uid();
        let Some(ground) = setup::adopt(&self.node, &uid, self.notices()).await else {
            // Its pause is gone, so the pod is made anew; what is left of it is cleared away first.
            if let Some(record) = setup::record(&self.node.sandbox_dir(&uid)) {
                self.event(
                    None,
                    EventType::Normal,
                    "SandboxChanged",
                    "Pod sandbox changed, it will be killed and re-created.",
                );
                if let Err(error) = setup::free_sandbox(&self.node, &record, None).await {
                    tracing::warn!(%error, pod = self.pod.name_any(), "freeing a lost sandbox");
                }
            }
            self.begin_anew();
            return;
        };
        let containers = ground.sandbox.containers.clone();
        self.state.start_time = ground.record.start_time;
        self.stand(ground);
        match setup::make_volumes(&self.node, &self.pod, &self.state.pod_ips, &self.tokens).await {
            Ok(prepared) => self.take_volumes(prepared),
            Err(error) => tracing::warn!(%error, pod = self.pod.name_any(), "refreshing volumes"),
        }
        for container in containers {
            self.take_report(&container).await;
        }
    }

    pub(super) fn notices(&self) -> mpsc::UnboundedSender<Notice> {
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

    pub(super) fn stand(&mut self, ground: Ground) {
        self.state.sandbox_ready = true;
        self.state.pod_ips.clone_from(&ground.record.ips);
        self.ground = Some(ground);
        self.setup_failures = 0;
    }

    pub(super) fn take_volumes(&mut self, prepared: volumes::Prepared) {
        self.volumes = prepared.volumes;
        self.tokens = prepared.tokens;
        let renew = self.tokens.values().map(|token| token.renew.saturating_duration_since(Instant::now())).min();
        self.refresh_at = renew.map(|wait| now() + millis(wait));
        let mut followed = prepared.followed;
        let events = self.events.clone();
        self.follower = (!followed.is_empty()).then(|| {
            let task = tokio::spawn(async move {
                futures::future::select_all(followed.iter_mut().map(|one| Box::pin(one.changed()))).await;
                let _ = events.send(Event::Outdated);
                // Held until the volumes are up to date, so that the watches go on.
                std::future::pending::<()>().await;
            });
            AbortOnDrop(task.abort_handle())
        });
    }

    /// Pause is gone, and all containers with it: the pod gets a new sandbox.
    pub(super) async fn lose_sandbox(&mut self) {
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
            tracked.run = Run::Ended(Ended {
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
        self.begin_anew();
    }

    /// In a new sandbox everything runs again that is not over for good, init containers included.
    pub(super) fn begin_anew(&mut self) {
        let empty = PodSpec::default();
        let spec = self.pod.spec.as_ref().unwrap_or(&empty);
        if plan::is_finished(spec, &self.state) {
            return;
        }
        let policy = spec.restart_policy.as_deref().unwrap_or("Always");
        for container in all(spec) {
            let init = spec.init_containers.iter().flatten().any(|init| init.name == container.name);
            let Some(tracked) = self.state.containers.get_mut(&container.name) else { continue };
            match &tracked.run {
                Run::Ended(ended) if init || plan::comes_back(policy, ended.code) => {
                    tracked.last = Some(ended.clone());
                    tracked.run = Run::Idle;
                    tracked.waiting = None;
                }
                _ => {}
            }
        }
    }

    pub(super) async fn take_ground(&mut self, result: Result<(Ground, volumes::Prepared), setup::Error>) {
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

    pub(super) fn set_up(&mut self) {
        tracing::debug!(pod = self.pod.name_any(), "setting up");
        if self.awaits_network || (self.spec().host_network != Some(true) && self.await_network()) {
            return;
        }
        self.setting_up = true;
        let (node, pod, events, notices) = (self.node.clone(), self.pod.clone(), self.events.clone(), self.notices());
        let (start_time, tokens) = (self.state.start_time, self.tokens.clone());
        tokio::spawn(async move {
            let work = async {
                // The volumes' downward API knows the pod's address only when there is one: they are made after it.
                let prepared = setup::make_volumes(&node, &pod, &[], &tokens).await?;
                let ground = setup::make_sandbox(&node, &pod, start_time, notices).await?;
                Ok((ground, prepared))
            };
            let _ = events.send(Event::Ground(Box::new(work.await)));
        });
    }

    /// True when the network is not ready yet: an event comes when it is.
    pub(super) fn await_network(&mut self) -> bool {
        let mut network = self.node.network.clone();
        let Some(why) = network.borrow_and_update().clone() else { return false };
        self.awaits_network = true;
        self.event(None, EventType::Warning, "NetworkNotReady", format!("network is not ready: {why}"));
        let events = self.events.clone();
        tokio::spawn(async move {
            let _ = network.wait_for(Option::is_none).await;
            let _ = events.send(Event::NetworkReady);
        });
        true
    }

    pub(super) fn refresh(&mut self) {
        self.refresh_at = None;
        let (node, pod, events) = (self.node.clone(), self.pod.clone(), self.events.clone());
        let (ips, tokens) = (self.state.pod_ips.clone(), self.tokens.clone());
        tokio::spawn(async move {
            let prepared = setup::make_volumes(&node, &pod, &ips, &tokens).await;
            let prepared = prepared
                .inspect_err(|error| tracing::debug!(%error, pod = pod.name_any(), "volumes are not up to date"))
                .ok();
            let _ = events.send(Event::Refreshed(prepared));
        });
    }

    pub(super) async fn tear_down(&mut self) {
        self.tearing_down = true;
        self.refresh_at = None;
        self.follower = None;
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
}
