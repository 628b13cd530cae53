//! What the scheduler counts (upstream `pkg/scheduler/metrics`), and whether it is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use component_base::leader::Standing;
use component_base::metrics::{About, Family, Kind, Page, Stability, exponential};
use component_base::secure_port::{Check, Pages};

static ATTEMPTS: About = About {
    name: "scheduler_schedule_attempts_total",
    help: "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.",
    stability: Stability::Stable,
    kind: Kind::Counter,
    labels: &["profile", "result"],
};
static ATTEMPT_DURATION: About = About {
    name: "scheduler_scheduling_attempt_duration_seconds",
    help: "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
    stability: Stability::Stable,
    kind: Kind::Histogram(&exponential::<15>(0.001, 2.0)),
    labels: &["profile", "result"],
};
static TRIES: About = About {
    name: "scheduler_pod_scheduling_attempts",
    help: "Number of attempts to successfully schedule a pod.",
    stability: Stability::Stable,
    kind: Kind::Histogram(&exponential::<5>(1.0, 2.0)),
    labels: &[],
};
static PREEMPTIONS: About = About {
    name: "scheduler_preemption_attempts_total",
    help: "Total preemption attempts in the cluster till now",
    stability: Stability::Stable,
    kind: Kind::Counter,
    labels: &[],
};
static VICTIMS: About = About {
    name: "scheduler_preemption_victims",
    help: "Number of selected preemption victims",
    stability: Stability::Stable,
    kind: Kind::Histogram(&exponential::<7>(1.0, 2.0)),
    labels: &[],
};
static PENDING: About = About {
    name: "scheduler_pending_pods",
    help: "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule because they are gated.",
    stability: Stability::Stable,
    kind: Kind::Gauge,
    labels: &["queue"],
};

/// What came of a try to place a pod.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    Scheduled,
    Unschedulable,
    Error,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        }
    }
}

/// The queues, as upstream calls them.
const QUEUES: [&str; 4] = ["active", "backoff", "gated", "unschedulable"];

/// Written by the loop, read by requests.
#[derive(Debug)]
pub struct Metrics {
    /// The scheduler's name.
    profile: String,
    /// Every kind has been listed once.
    synced: AtomicBool,
    standing: Arc<Standing>,
    attempts: Family,
    attempt_duration: Family,
    tries: Family,
    preemptions: Family,
    victims: Family,
    /// As many as [`QUEUES`].
    pending: [AtomicU64; 4],
}

impl Metrics {
    #[must_use]
    pub fn new(profile: &str, standing: Arc<Standing>) -> Self {
        Self {
            profile: profile.to_owned(),
            standing,
            synced: AtomicBool::new(false),
            attempts: Family::new(&ATTEMPTS),
            attempt_duration: Family::new(&ATTEMPT_DURATION),
            tries: Family::new(&TRIES),
            preemptions: Family::new(&PREEMPTIONS),
            victims: Family::new(&VICTIMS),
            pending: Default::default(),
        }
    }

    fn families(&self) -> impl Iterator<Item = &Family> {
        [&self.attempts, &self.attempt_duration, &self.tries, &self.preemptions, &self.victims].into_iter()
    }

    /// All that decisions are made on is known.
    pub fn synced(&self) {
        self.synced.store(true, Ordering::Release);
    }

    /// A try has ended.
    pub fn tried(&self, outcome: Outcome, tries: u32, took: Duration) {
        let labels = [self.profile.as_str(), outcome.word()];
        self.attempts.increase(&labels);
        self.attempt_duration.observe(&labels, took.as_secs_f64());
        if matches!(outcome, Outcome::Scheduled) {
            self.tries.observe(&[], f64::from(tries));
        }
    }

    /// Others have to go for a pod.
    #[allow(clippy::cast_precision_loss)] // Nobody has 2^53 pods.
    pub fn preempted(&self, victims: usize) {
        self.preemptions.increase(&[]);
        self.victims.observe(&[], victims as f64);
    }

    /// How many pods wait in which queue, in the order of [`QUEUES`].
    pub fn pending(&self, now: [usize; 4]) {
        self.pending.iter().zip(now).for_each(|(queue, now)| queue.store(now as u64, Ordering::Relaxed));
    }
}

impl Pages for Metrics {
    fn checks(&self, endpoint: &str) -> Option<Vec<Check>> {
        // Whoever stands by watches nothing.
        let waits = self.standing.leads() && !self.synced.load(Ordering::Acquire);
        let mut checks = vec![("ping", None)];
        match endpoint {
            "healthz" | "livez" => checks.extend(self.standing.check()),
            "readyz" => {
                checks.extend(self.standing.check());
                checks.push(("sched-handler-sync", waits.then_some("handlers are not fully synchronized")));
                checks.push(("informer-sync", waits.then_some("informers not started yet")));
            }
            _ => return None,
        }
        Some(checks)
    }

    #[allow(clippy::cast_precision_loss)] // Nobody has 2^53 pods.
    fn metrics(&self, page: &mut Page) {
        self.families().for_each(|family| family.write(page));
        for (queue, count) in QUEUES.iter().zip(&self.pending) {
            page.number(&PENDING, &[queue], count.load(Ordering::Relaxed) as f64);
        }
        self.standing.metrics(page);
    }

    fn reset(&self) {
        self.families().for_each(Family::reset);
        self.standing.reset();
    }
}
