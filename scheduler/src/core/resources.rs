//! Amounts: quantities parsed, the requests of a pod, the room on a node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What upstream assumes of a container that requests nothing, for scoring only: 100m CPU and 200 MiB.
const DEFAULT_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts by resource: CPU in thousandths, everything else in units (bytes, pieces).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu: i64,
    pub memory: i64,
    pub ephemeral: i64,
    pub others: BTreeMap<String, i64>,
}

/// A quantity in thousandths, rounded up; `None` when it is malformed.
#[must_use]
pub fn milli(quantity: &str) -> Option<i64> {
    let text = quantity.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let factor: f64 = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0_f64.powi(2),
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        exponent => 10_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let value = number.parse::<f64>().ok()? * factor * 1000.0;
    #[expect(clippy::cast_possible_truncation, reason = "a saturated amount is still more than any node has")]
    let rounded = (value - value.abs() * 1e-12).ceil() as i64;
    Some(rounded)
}

/// A quantity in whole units, rounded up.
#[must_use]
pub fn units(quantity: &str) -> Option<i64> {
    milli(quantity).map(|milli| milli.div_euclid(1000) + i64::from(milli.rem_euclid(1000) > 0))
}

impl Resources {
    #[must_use]
    pub fn parse(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in list.into_iter().flatten() {
            let amount = if name == "cpu" { milli(&quantity.0) } else { units(&quantity.0) }.unwrap_or(0);
            match name.as_str() {
                "cpu" => resources.cpu = amount,
                "memory" => resources.memory = amount,
                "ephemeral-storage" => resources.ephemeral = amount,
                // Counted by the node itself, see `NodeInfo::most_pods`.
                "pods" => {}
                other => drop(resources.others.insert(other.to_owned(), amount)),
            }
        }
        resources
    }

    pub fn add(&mut self, other: &Self) {
        self.combine(other, |a, b| a.saturating_add(b));
    }

    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |a, b| a.saturating_sub(b));
    }

    fn raise_to(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, f: impl Fn(i64, i64) -> i64) {
        self.cpu = f(self.cpu, other.cpu);
        self.memory = f(self.memory, other.memory);
        self.ephemeral = f(self.ephemeral, other.ephemeral);
        for (name, amount) in &other.others {
            let mine = self.others.entry(name.clone()).or_insert(0);
            *mine = f(*mine, *amount);
        }
    }

    /// All amounts by name, in the order upstream checks them.
    pub fn each(&self) -> impl Iterator<Item = (&str, i64)> {
        let known = [("cpu", self.cpu), ("memory", self.memory), ("ephemeral-storage", self.ephemeral)];
        known.into_iter().chain(self.others.iter().map(|(name, amount)| (name.as_str(), *amount)))
    }

    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral,
            other => self.others.get(other).copied().unwrap_or(0),
        }
    }
}

fn requests(container: &Container) -> Resources {
    Resources::parse(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

/// What a pod needs at its neediest moment: its containers and sidecars together, or an init container with the sidecars
/// started before it, whichever is more; plus overhead (KEP-753, `component-helpers/resource`). Pod-level requests,
/// where given, replace the sum (KEP-2837).
#[must_use]
pub fn pod_requests(spec: &PodSpec) -> Resources {
    let mut running = Resources::default();
    spec.containers.iter().for_each(|container| running.add(&requests(container)));
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let wanted = requests(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&wanted);
            running.add(&wanted);
            starting.raise_to(&sidecars);
        } else {
            let mut both = sidecars.clone();
            both.add(&wanted);
            starting.raise_to(&both);
        }
    }
    running.raise_to(&starting);
    if let Some(own) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        let level = Resources::parse(Some(own));
        for name in own.keys() {
            match name.as_str() {
                "cpu" => running.cpu = level.cpu,
                "memory" => running.memory = level.memory,
                _ => {}
            }
        }
    }
    running.add(&Resources::parse(spec.overhead.as_ref()));
    running
}

/// CPU and memory with a modest guess for containers that request none, so that scoring still tells nodes apart.
#[must_use]
pub fn guessed(spec: &PodSpec, requests: &Resources) -> (i64, i64) {
    let count = i64::try_from(spec.containers.len()).unwrap_or(1);
    let or = |amount: i64, guess: i64| if amount == 0 { guess * count } else { amount };
    (or(requests.cpu, DEFAULT_CPU), or(requests.memory, DEFAULT_MEMORY))
}
