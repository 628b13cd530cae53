//! What the controller manager tells on its secure port: the controllers that run, and how much work they have.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use component_base::leader::Standing;
use component_base::metrics::{About, Kind, Page, Stability};
use component_base::secure_port::{Check, Pages};
use parking_lot::Mutex;

use crate::framework::Queues;

const fn about(kind: Kind, name: &'static str, help: &'static str) -> About {
    About { name, help, stability: Stability::Beta, kind, labels: &["name"] }
}

static DEPTH: About = about(Kind::Gauge, "workqueue_depth", "Current depth of workqueue");
static ADDS: About = about(Kind::Counter, "workqueue_adds_total", "Total number of adds handled by workqueue");
static RETRIES: About = about(Kind::Counter, "workqueue_retries_total", "Total number of retries handled by workqueue");

pub struct Told {
    /// The controllers, from when they run on.
    controllers: OnceLock<Vec<&'static str>>,
    queues: Queues,
    /// How much each queue had counted when it was to begin anew.
    before: Mutex<Counts>,
    standing: Arc<Standing>,
}

/// By name: how many are waiting, how many were added, and how many again.
type Counts = BTreeMap<&'static str, [u64; 3]>;

impl Told {
    #[must_use]
    pub fn new(queues: Queues, standing: Arc<Standing>) -> Self {
        Self { controllers: OnceLock::new(), queues, before: Mutex::default(), standing }
    }

    /// These run now.
    pub fn started(&self, controllers: Vec<&'static str>) {
        self.controllers.get_or_init(|| controllers);
    }

    fn counts(&self) -> Counts {
        let mut sums = Counts::new();
        // A controller may have several queues.
        for (name, queue) in self.queues.lock().iter() {
            let sum = sums.entry(*name).or_default();
            sum.iter_mut().zip(queue.counts()).for_each(|(sum, count)| *sum += count);
        }
        sums
    }
}

impl Pages for Told {
    /// Upstream's knows but this endpoint, and of every controller only that it runs.
    fn checks(&self, endpoint: &str) -> Option<Vec<Check>> {
        let controllers = self.controllers.get().into_iter().flatten().map(|name| (*name, None));
        (endpoint == "healthz").then(|| self.standing.check().into_iter().chain(controllers).collect())
    }

    #[allow(clippy::cast_precision_loss)] // As all numbers on the page.
    fn metrics(&self, page: &mut Page) {
        let before = self.before.lock();
        for (name, [depth, counts @ ..]) in self.counts() {
            let [_, past @ ..] = before.get(name).copied().unwrap_or_default();
            let [adds, retries] = std::array::from_fn(|at| counts[at].saturating_sub(past[at]));
            for (about, count) in [(&DEPTH, depth), (&ADDS, adds), (&RETRIES, retries)] {
                page.number(about, &[name], count as f64);
            }
        }
        self.standing.metrics(page);
    }

    fn reset(&self) {
        let mut before = self.before.lock();
        *before = self.counts();
        self.standing.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::Queue;

    #[test]
    fn counts_begin_anew_and_what_waits_does_not() {
        let queue = Arc::new(Queue::default());
        let twice = vec![("job", queue.clone()), ("job", queue.clone())];
        let told = Told::new(Arc::new(Mutex::new(twice)), Arc::new(Standing::default()));
        let told = |reset: bool| {
            if reset {
                told.reset();
            }
            let mut page = Page::default();
            told.metrics(&mut page);
            let text = page.text();
            let number = |name: &str| {
                let line =
                    text.lines().find_map(|line| line.strip_prefix(&format!("workqueue_{name}{{name=\"job\"}} ")));
                line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
            };
            ["depth", "adds_total", "retries_total"].map(number)
        };
        queue.add("a");
        queue.add_after("b", std::time::Duration::from_secs(60));
        assert_eq!(told(false), ["2", "2", "2"]);
        assert_eq!(told(true), ["2", "0", "0"]);
        queue.add("c");
        assert_eq!(told(false), ["4", "2", "0"]);
    }
}
