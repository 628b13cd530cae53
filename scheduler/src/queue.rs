//! Pods waiting for a node: those to try now, those to try after a back-off, and those nothing has changed for
//! (upstream `pkg/scheduler/backend/queue`).
//!
//! ```text
//!  new ──► active ──pop──► decided ──bound
//!            ▲               │ impossible
//!  due ── back-off ◄─event── unschedulable ──(5 min)──► active
//! ```
//!
//! An event wakes only pods that a plugin it concerns has refused. Their back-off lets others go first; when there are no
//! others it need not be over (KEP-5142). A pod whose binding failed waits it out. Time is handed in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::filter::Plugin;
use crate::core::pod::PodInfo;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// Pods whose back-off ends within the same window go in the order of the active ones.
const WINDOW: Duration = Duration::from_secs(1);
/// After this a pod is tried again although nothing happened, in case an event was missed.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What happened in the cluster that may let a waiting pod in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    NodeAdded,
    NodeChanged,
    /// A pod got a node: others may want to be near it.
    PodPlaced,
    /// A pod left its node: resources, ports, claims, distance.
    PodLeft,
    /// A pod takes less of its node than before.
    PodShrunk,
    /// A claim, a volume or a class.
    StorageChanged,
    NamespaceChanged,
}

impl News {
    fn concerns(self, plugin: Plugin) -> bool {
        match self {
            Self::NodeAdded => true,
            Self::NodeChanged => matches!(
                plugin,
                Plugin::NodeUnschedulable
                    | Plugin::VolumeBinding
                    | Plugin::TaintToleration
                    | Plugin::NodeAffinity
                    | Plugin::NodeResourcesFit
                    | Plugin::PodTopologySpread
                    | Plugin::InterPodAffinity
            ),
            Self::PodPlaced => matches!(plugin, Plugin::InterPodAffinity | Plugin::PodTopologySpread),
            Self::PodLeft => matches!(
                plugin,
                Plugin::NodeResourcesFit
                    | Plugin::NodePorts
                    | Plugin::VolumeRestrictions
                    | Plugin::InterPodAffinity
                    | Plugin::PodTopologySpread
            ),
            Self::PodShrunk => plugin == Plugin::NodeResourcesFit,
            Self::StorageChanged => plugin == Plugin::VolumeBinding,
            Self::NamespaceChanged => plugin == Plugin::InterPodAffinity,
        }
    }
}

/// A pod in the queue, and how it has fared.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub pod: Arc<PodInfo>,
    pub attempts: u32,
    refused_by: BTreeSet<Plugin>,
    last_try: Option<Instant>,
}

impl Waiting {
    fn backoff(&self) -> Duration {
        FIRST_BACKOFF.saturating_mul(1 << self.attempts.saturating_sub(1).min(10)).min(LONGEST_BACKOFF)
    }
}

/// Higher priority first, then who came first.
type Rank = (std::cmp::Reverse<i32>, u64);

#[derive(Default)]
pub struct Queue {
    active: BTreeMap<Rank, String>,
    ranks: HashMap<String, Rank>,
    /// By the beginning of the window in which the back-off ends.
    backoff: BTreeMap<(Instant, Rank), String>,
    /// Pods that no plugin refused, by the end of their back-off.
    failed: BTreeMap<(Instant, Rank), String>,
    /// Where windows are counted from.
    begun: Option<Instant>,
    unschedulable: HashMap<String, Instant>,
    pods: HashMap<String, Waiting>,
    arrivals: u64,
    /// Counts [`News`]; a pod being decided while something happened must not miss it.
    news: Vec<(u64, News)>,
    moment: u64,
}

/// How much news is remembered for a pod being bound: far more than happens meanwhile.
const REMEMBERED: usize = 256;

impl Queue {
    /// Takes in a new or changed pod. A change gives a waiting pod another try.
    pub fn put(&mut self, pod: Arc<PodInfo>) {
        let uid = pod.uid.clone();
        match self.pods.get_mut(&uid) {
            Some(waiting) => {
                waiting.pod = pod;
                if self.ranks.contains_key(&uid) {
                    return;
                }
                self.leave(&uid);
            }
            None => {
                let waiting = Waiting { pod, attempts: 0, refused_by: BTreeSet::new(), last_try: None };
                self.pods.insert(uid.clone(), waiting);
            }
        }
        self.activate(uid);
    }

    fn rank(&mut self, priority: i32) -> Rank {
        self.arrivals += 1;
        (std::cmp::Reverse(priority), self.arrivals)
    }

    fn back_off(&mut self, uid: String, now: Instant) {
        let Some(waiting) = self.pods.get(&uid) else { return };
        let due = waiting.last_try.map_or(now, |tried| tried + waiting.backoff());
        let (priority, failed) = (waiting.pod.priority, waiting.refused_by.is_empty());
        let rank = self.rank(priority);
        if failed {
            self.failed.insert((due, rank), uid);
        } else {
            let begun = *self.begun.get_or_insert(now);
            // Windows are whole seconds.
            let window = Duration::from_secs(due.duration_since(begun).as_secs());
            self.backoff.insert((begun + window, rank), uid);
        }
    }

    fn activate(&mut self, uid: String) {
        let Some(priority) = self.pods.get(&uid).map(|waiting| waiting.pod.priority) else { return };
        let rank = self.rank(priority);
        self.ranks.insert(uid.clone(), rank);
        self.active.insert(rank, uid);
    }

    fn leave(&mut self, uid: &str) {
        if let Some(rank) = self.ranks.remove(uid) {
            self.active.remove(&rank);
        }
        self.unschedulable.remove(uid);
        self.backoff.retain(|_, other| other != uid);
        self.failed.retain(|_, other| other != uid);
    }

    /// Whether `pod` waits here and asks for the same as before.
    #[must_use]
    pub fn knows(&self, pod: &PodInfo) -> bool {
        self.pods.get(&pod.uid).is_some_and(|known| known.pod.spec == pod.spec && known.pod.labels == pod.labels)
    }

    pub fn remove(&mut self, uid: &str) {
        self.leave(uid);
        self.pods.remove(uid);
    }

    /// How many pods are to be tried now, after a back-off, and when something has changed.
    #[must_use]
    pub fn lengths(&self) -> (usize, usize, usize) {
        (self.active.len(), self.backoff.len() + self.failed.len(), self.unschedulable.len())
    }

    /// The next pod to decide on, and the moment to give back to [`refused`](Self::refused).
    pub fn pop(&mut self, now: Instant) -> Option<(Waiting, u64)> {
        self.wake(now);
        let uid = match self.active.pop_first() {
            Some((_, uid)) => uid,
            None => self.backoff.pop_first()?.1,
        };
        self.ranks.remove(&uid);
        let mut waiting = self.pods.remove(&uid)?;
        waiting.attempts += 1;
        Some((waiting, self.moment))
    }

    /// Takes a pod back that no node could take, or whose binding failed (no plugins: it is tried after its back-off).
    pub fn refused(&mut self, mut waiting: Waiting, by: BTreeSet<Plugin>, since: u64, now: Instant) {
        let uid = waiting.pod.uid.clone();
        let hopeful = by.is_empty()
            || self.news.iter().any(|(at, news)| *at > since && by.iter().any(|plugin| news.concerns(*plugin)));
        waiting.refused_by = by;
        waiting.last_try = Some(now);
        self.pods.insert(uid.clone(), waiting);
        if hopeful {
            self.back_off(uid, now);
        } else {
            self.unschedulable.insert(uid, now);
        }
    }

    pub fn tell(&mut self, news: News, now: Instant) {
        self.moment += 1;
        self.news.push((self.moment, news));
        if self.news.len() > 2 * REMEMBERED {
            self.news.drain(..REMEMBERED);
        }
        let woken: Vec<String> = self
            .unschedulable
            .keys()
            .filter(|uid| {
                self.pods.get(*uid).is_some_and(|pod| pod.refused_by.iter().any(|plugin| news.concerns(*plugin)))
            })
            .cloned()
            .collect();
        for uid in woken {
            self.unschedulable.remove(&uid);
            self.back_off(uid, now);
        }
    }

    fn wake(&mut self, now: Instant) {
        let mut due = Vec::new();
        // A window is over with its last moment.
        for (queue, rest) in [(&mut self.backoff, WINDOW), (&mut self.failed, Duration::ZERO)] {
            while let Some(entry) = queue.first_entry().filter(|entry| entry.key().0 + rest <= now) {
                due.push(entry.remove());
            }
        }
        for uid in due {
            self.activate(uid);
        }
        let stale: Vec<_> = self
            .unschedulable
            .iter()
            .filter(|(_, since)| **since + LONGEST_WAIT <= now)
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in stale {
            self.unschedulable.remove(&uid);
            self.activate(uid);
        }
    }

    /// When to look again if nothing happens until then.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        // Who only lets others go first is due when there are none.
        let backoff = self.backoff.first_key_value().map(|((window, _), _)| *window);
        let failed = self.failed.first_key_value().map(|((due, _), _)| *due);
        let stale = self.unschedulable.values().min().map(|since| *since + LONGEST_WAIT);
        backoff.into_iter().chain(failed).chain(stale).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, priority: i32) -> Arc<PodInfo> {
        let pod = serde_json::from_value(serde_json::json!({
            "metadata": { "name": name, "uid": name }, "spec": { "priority": priority, "containers": [] },
        }))
        .unwrap();
        Arc::new(PodInfo::new(&pod))
    }

    fn next(queue: &mut Queue, now: Instant) -> Option<String> {
        queue.pop(now).map(|(waiting, _)| waiting.pod.name.clone())
    }

    #[test]
    fn important_ones_first_then_in_order() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, priority) in [("a", 0), ("b", 0), ("vip", 9)] {
            queue.put(pod(name, priority));
        }
        queue.put(pod("a", 0));
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue, now)).collect();
        assert_eq!(order, ["vip", "a", "b"]);
    }

    #[test]
    fn only_news_that_concerns_them_wakes_pods() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(pod("a", 0));
        let (waiting, moment) = queue.pop(now).unwrap();
        queue.refused(waiting, [Plugin::NodeResourcesFit].into(), moment, now);
        assert_eq!(queue.lengths(), (0, 0, 1));
        queue.tell(News::StorageChanged, now);
        assert_eq!(queue.next_due(), Some(now + LONGEST_WAIT));
        queue.tell(News::PodLeft, now);
        queue.put(pod("b", -5));
        assert_eq!(queue.lengths(), (1, 1, 0));
        assert_eq!(next(&mut queue, now).as_deref(), Some("b"), "who backs off lets others go first");
        assert_eq!(next(&mut queue, now).as_deref(), Some("a"), "there are none");
    }

    #[test]
    fn a_failed_binding_waits_out_its_back_off() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(pod("a", 0));
        let (waiting, moment) = queue.pop(now).unwrap();
        queue.refused(waiting, BTreeSet::new(), moment, now);
        assert_eq!(next(&mut queue, now), None);
        assert_eq!(queue.next_due(), Some(now + FIRST_BACKOFF));
        assert_eq!(next(&mut queue, now + FIRST_BACKOFF).as_deref(), Some("a"));
    }

    #[test]
    fn back_offs_that_end_together_go_by_priority() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, priority, at) in [("a", 0, 100), ("vip", 9, 300), ("later", 99, 1_200)] {
            queue.put(pod(name, priority));
            let (waiting, moment) = queue.pop(now).unwrap();
            queue.refused(waiting, [Plugin::NodeResourcesFit].into(), moment, now + Duration::from_millis(at));
        }
        queue.tell(News::NodeAdded, now);
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue, now)).collect();
        assert_eq!(order, ["vip", "a", "later"]);
    }

    #[test]
    fn news_during_a_decision_is_not_missed() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(pod("a", 0));
        let (waiting, moment) = queue.pop(now).unwrap();
        queue.tell(News::NodeAdded, now);
        queue.refused(waiting, [Plugin::NodeResourcesFit].into(), moment, now);
        assert_eq!(queue.next_due(), Some(now + FIRST_BACKOFF));
        assert_eq!(next(&mut queue, now).as_deref(), Some("a"));
        queue.remove("a");
        assert_eq!(queue.next_due(), None);
    }
}
