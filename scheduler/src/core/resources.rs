//! Amounts: quantities parsed, the requests of a pod, the room on a node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use quota::{Amounts, resources as rules};
use schema::quantity::Quantity as Exact;

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
            resources.set(name, amount);
        }
        resources
    }

    fn set(&mut self, name: &str, amount: i64) {
        match name {
            "cpu" => self.cpu = amount,
            "memory" => self.memory = amount,
            "ephemeral-storage" => self.ephemeral = amount,
            // Counted by the node itself, see `NodeInfo::most_pods`.
            "pods" => {}
            other => drop(self.others.insert(other.to_owned(), amount)),
        }
    }

    /// Whether some amount is less than `other`'s.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        other.each().any(|(name, amount)| self.get(name) < amount)
    }

    pub fn add(&mut self, other: &Self) {
        self.combine(other, |a, b| a.saturating_add(b));
    }

    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |a, b| a.saturating_sub(b));
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

fn amounts(list: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    let entries = list.into_iter().flatten();
    let parsed = entries.filter_map(|(name, amount)| Some((name.clone(), Exact::parse(&amount.0).ok()?)));
    parsed.collect()
}

/// What a pod takes of its node; with its status, also what it still has while it is being resized. The rules are
/// [`quota::resources`]', for quotas charge the same.
#[must_use]
pub fn pod_requests(spec: &PodSpec, status: Option<&PodStatus>) -> Resources {
    let nothing = PodStatus::default();
    let status = status.unwrap_or(&nothing);
    let pending = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodResizePending");
    let infeasible = pending.is_some_and(|condition| condition.reason.as_deref() == Some("Infeasible"));
    let wanted =
        |container: &Container| amounts(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()));
    let of = |container: &Container, statuses: Option<&Vec<ContainerStatus>>| {
        let known = statuses.into_iter().flatten().find(|status| status.name == container.name);
        let have = known.and_then(|known| {
            let actual = amounts(known.resources.as_ref()?.requests.as_ref());
            Some(rules::Have { actual, allocated: amounts(known.allocated_resources.as_ref()) })
        });
        rules::effective(wanted(container), have, infeasible)
    };
    let sum = rules::neediest(
        spec.containers.iter().map(|container| of(container, status.container_statuses.as_ref())),
        spec.init_containers.iter().flatten().map(|container| match container.restart_policy.as_deref() {
            Some("Always") => (true, of(container, status.init_container_statuses.as_ref())),
            _ => (false, wanted(container)),
        }),
    );
    let own = amounts(spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()));
    let mut resources = Resources::default();
    for (name, amount) in rules::whole(sum, &own, &amounts(spec.overhead.as_ref())).iter() {
        resources.set(name, if name == "cpu" { amount.milli_value() } else { amount.value() });
    }
    resources
}

/// CPU and memory with a modest guess for containers that request none, so that scoring still tells nodes apart.
#[must_use]
pub fn guessed(spec: &PodSpec, requests: &Resources) -> (i64, i64) {
    let count = i64::try_from(spec.containers.len()).unwrap_or(1);
    let or = |amount: i64, guess: i64| if amount == 0 { guess * count } else { amount };
    (or(requests.cpu, DEFAULT_CPU), or(requests.memory, DEFAULT_MEMORY))
}
