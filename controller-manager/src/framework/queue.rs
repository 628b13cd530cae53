//! The work queue: keys, each once, never two workers on one key, failures after a growing delay.
//!
//! The rules are those of client-go's `util/workqueue`. A key added while it is being worked on is kept and handed out
//! again afterwards. Its size is bounded by the number of objects, for a key is held at most once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The first delay after a failure; doubled at each further one (client-go's default rate limiter).
const FIRST_DELAY: Duration = Duration::from_millis(5);
/// The longest delay after a failure. Upstream's is 1000 s; whoever watches an emulator is not that patient.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

#[derive(Default)]
struct State {
    ready: VecDeque<String>,
    /// Keys to hand out: in `ready`, or waiting for their present run to end.
    dirty: HashSet<String>,
    running: HashSet<String>,
    /// Keys to be added later, by time.
    later: BTreeMap<Instant, BTreeSet<String>>,
    due: HashMap<String, Instant>,
    failures: HashMap<String, u32>,
    /// How many keys have been added, and how often one was planned for later.
    adds: u64,
    retries: u64,
}

impl State {
    fn add(&mut self, key: String) -> bool {
        if !self.dirty.insert(key.clone()) {
            return false;
        }
        self.adds += 1;
        if self.running.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    /// Plans `key` for `at`; of two plans the earlier one holds.
    fn plan(&mut self, key: &str, at: Instant) {
        self.retries += 1;
        if let Some(&planned) = self.due.get(key) {
            if planned <= at {
                return;
            }
            if let Some(keys) = self.later.get_mut(&planned) {
                keys.remove(key);
            }
        }
        self.due.insert(key.to_owned(), at);
        self.later.entry(at).or_default().insert(key.to_owned());
    }

    fn release(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry() {
            if *entry.key() > now {
                return;
            }
            for key in entry.remove() {
                self.due.remove(&key);
                self.add(key);
            }
        }
    }
}

/// A queue of keys (`namespace/name`, or a bare name) shared by the workers of one controller.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

impl Queue {
    pub fn add(&self, key: impl Into<String>) {
        if self.state.lock().add(key.into()) {
            self.changed.notify_one();
        }
    }

    /// How many keys are ready, how many have been added, and how often one was planned for later.
    pub fn counts(&self) -> [u64; 3] {
        let state = self.state.lock();
        [state.ready.len() as u64, state.adds, state.retries]
    }

    pub fn add_after(&self, key: &str, delay: Duration) {
        self.state.lock().plan(key, Instant::now() + delay);
        self.changed.notify_one();
    }

    /// The next key; the caller must give it back with [`done`](Self::done) or [`failed`](Self::failed).
    pub async fn next(&self) -> String {
        loop {
            let next = {
                let mut state = self.state.lock();
                state.release(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.running.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                state.later.keys().next().copied()
            };
            match next {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Ends a run that succeeded: earlier failures are forgotten.
    pub fn done(&self, key: &str) {
        self.state.lock().failures.remove(key);
        self.finish(key);
    }

    /// Ends a run that failed; the key comes back after its back-off, which is returned.
    pub fn failed(&self, key: &str) -> Duration {
        let delay = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(key.to_owned()).or_insert(0);
            let delay = FIRST_DELAY.saturating_mul(1 << (*failures).min(20)).min(LONGEST_DELAY);
            *failures += 1;
            state.plan(key, Instant::now() + delay);
            delay
        };
        self.finish(key);
        delay
    }

    fn finish(&self, key: &str) {
        let mut state = self.state.lock();
        state.running.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.to_owned());
        }
        drop(state);
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_held_once_and_never_worked_on_twice_at_a_time() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        assert_eq!(queue.next().await, "b");
        assert_eq!(queue.counts(), [0, 3, 0]);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), queue.next()).await.is_err(),
            "a is still being worked on"
        );
        queue.done("a");
        assert_eq!(queue.next().await, "a");
    }

    #[tokio::test]
    async fn failures_back_off_and_success_forgets_them() {
        let queue = Queue::default();
        for expected in [5, 10, 20] {
            queue.add("a");
            let key = queue.next().await;
            assert_eq!(queue.failed(&key), Duration::from_millis(expected));
        }
        assert_eq!(queue.counts()[2], 3);
        let start = Instant::now();
        assert_eq!(queue.next().await, "a");
        assert!(start.elapsed() < Duration::from_millis(20), "the earliest of several plans holds");
        queue.done("a");
        queue.add("a");
        let key = queue.next().await;
        assert_eq!(queue.failed(&key), Duration::from_millis(5));
    }

    #[tokio::test]
    async fn the_earlier_of_two_delays_holds() {
        let queue = Queue::default();
        queue.add_after("a", Duration::from_millis(50));
        queue.add_after("a", Duration::from_millis(20));
        let start = Instant::now();
        assert_eq!(queue.next().await, "a");
        assert!(start.elapsed() >= Duration::from_millis(20) && start.elapsed() < Duration::from_millis(50));
        queue.done("a");
        assert!(tokio::time::timeout(Duration::from_millis(60), queue.next()).await.is_err());
    }
}
