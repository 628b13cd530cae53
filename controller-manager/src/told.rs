//! What the controller manager tells on its secure port: the controllers that run, and how much work they have.

use std::sync::{Arc, OnceLock};

use component_base::leader::Standing;
use component_base::metrics::{About, Kind, Page, Stability};
use component_base::secure_port::{Check, Pages};

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
    standing: Arc<Standing>,
}

impl Told {
    #[must_use]
    pub fn new(queues: Queues, standing: Arc<Standing>) -> Self {
        Self { controllers: OnceLock::new(), queues, standing }
    }

    /// These run now.
    pub fn started(&self, controllers: Vec<&'static str>) {
        self.controllers.get_or_init(|| controllers);
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
        // A controller may have several queues.
        let mut sums = std::collections::BTreeMap::<_, [u64; 3]>::new();
        for (name, queue) in self.queues.lock().iter() {
            let sum = sums.entry(*name).or_default();
            sum.iter_mut().zip(queue.counts()).for_each(|(sum, count)| *sum += count);
        }
        for (name, counts) in sums {
            for (about, count) in [&DEPTH, &ADDS, &RETRIES].into_iter().zip(counts) {
                page.number(about, &[name], count as f64);
            }
        }
        self.standing.metrics(page);
    }
}
