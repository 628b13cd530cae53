//! The last two points of each node and container, and the usage between them (metrics-server `pkg/storage`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::scrape::{Key, Point, Scraped};

/// A container younger than this has used too little to tell.
const FRESH: f64 = 10.0;

/// What is used now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Nanocores.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
    /// The end of the measured time, in seconds since the epoch, and its length in seconds.
    pub at: f64,
    pub window: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair {
    last: Point,
    before: Option<Point>,
}

impl Pair {
    fn usage(&self) -> Option<Usage> {
        let (last, before) = (self.last, self.before?);
        let window = last.at - before.at;
        // A counter that went back was set to zero in between.
        if window <= 0.0 || last.cpu < before.cpu {
            return None;
        }
        let cpu = ((last.cpu - before.cpu) / window * 1e9).round() as u64;
        Some(Usage { cpu, memory: last.memory as u64, at: last.at, window })
    }

    /// The pair after a new point. One that is no news leaves things as they are.
    fn after(old: Option<&Self>, new: Point) -> Self {
        match old {
            Some(old) if new.at > old.last.at => Self { last: new, before: Some(old.last) },
            Some(old) => *old,
            None => Self { last: new, before: None },
        }
    }
}

#[derive(Debug)]
pub struct Storage {
    resolution: f64,
    nodes: BTreeMap<String, Pair>,
    containers: BTreeMap<Key, Pair>,
}

impl Storage {
    pub fn new(resolution: Duration) -> Self {
        Self { resolution: resolution.as_secs_f64(), nodes: BTreeMap::new(), containers: BTreeMap::new() }
    }

    /// Takes what all nodes said; what nobody spoke of is forgotten.
    pub fn store(&mut self, batch: Vec<(String, Scraped)>) {
        let (mut nodes, mut containers) = (BTreeMap::new(), BTreeMap::new());
        for (name, scraped) in batch {
            if let Some(point) = scraped.node {
                let pair = Pair::after(self.nodes.get(&name), point);
                nodes.insert(name, pair);
            }
            for (key, point) in scraped.containers {
                let pair = self.container(self.containers.get(&key), point);
                containers.insert(key, pair);
            }
        }
        (self.nodes, self.containers) = (nodes, containers);
    }

    /// A container that has started since the last point began with nothing.
    fn container(&self, old: Option<&Pair>, new: Point) -> Pair {
        if let Some(old) = old.filter(|old| old.last.start >= new.start) {
            return Pair::after(Some(old), new);
        }
        let age = new.at - new.start;
        let fresh = new.start > 0.0 && age >= FRESH && age < self.resolution;
        let start = Point { start: new.start, at: new.start, cpu: 0.0, memory: 0.0 };
        Pair { last: new, before: fresh.then_some(start) }
    }

    pub fn node(&self, name: &str) -> Option<Usage> {
        self.nodes.get(name)?.usage()
    }

    /// The containers of a pod; nothing unless all of them are known.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Vec<(&str, Usage)>> {
        let from = (namespace.to_owned(), name.to_owned(), String::new());
        let own = self.containers.range(from..).take_while(|((ns, pod, _), _)| ns == namespace && pod == name);
        let usages = own.map(|((_, _, container), pair)| Some((container.as_str(), pair.usage()?)));
        usages.collect::<Option<Vec<_>>>().filter(|containers| !containers.is_empty())
    }

    /// Whether there is anything to tell yet.
    pub fn is_ready(&self) -> bool {
        self.nodes.values().chain(self.containers.values()).any(|pair| pair.before.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(start: f64, at: f64, cpu: f64) -> Point {
        Point { start, at, cpu, memory: 4096.0 }
    }

    fn said(node: Point, container: Option<Point>) -> Vec<(String, Scraped)> {
        let key = ("ns".to_owned(), "p".to_owned(), "c".to_owned());
        vec![(
            "n".to_owned(),
            Scraped { node: Some(node), containers: container.map(|point| (key, point)).into_iter().collect() },
        )]
    }

    #[test]
    fn usage_is_between_two_points() {
        let mut storage = Storage::new(Duration::from_secs(15));
        storage.store(said(point(0.0, 100.0, 10.0), Some(point(1.0, 100.0, 5.0))));
        assert!(!storage.is_ready() && storage.node("n").is_none() && storage.pod("ns", "p").is_none());
        storage.store(said(point(0.0, 120.0, 15.0), Some(point(1.0, 120.0, 5.5))));
        assert!(storage.is_ready());
        assert_eq!(storage.node("n"), Some(Usage { cpu: 250_000_000, memory: 4096, at: 120.0, window: 20.0 }));
        assert_eq!(
            storage.pod("ns", "p").unwrap()[0],
            ("c", Usage { cpu: 25_000_000, memory: 4096, at: 120.0, window: 20.0 })
        );
        storage.store(said(point(0.0, 120.0, 15.0), None));
        assert_eq!(storage.node("n").map(|usage| usage.window), Some(20.0), "no news");
        assert!(storage.pod("ns", "p").is_none(), "what is gone is forgotten");
        storage.store(said(point(0.0, 140.0, 1.0), None));
        assert!(storage.node("n").is_none(), "a counter that went back says nothing");
    }

    #[test]
    fn a_container_that_has_just_started_began_with_nothing() {
        for (age, known) in [(5.0, false), (12.0, true), (20.0, false)] {
            let mut storage = Storage::new(Duration::from_secs(15));
            storage.store(said(point(0.0, 100.0, 10.0), Some(point(100.0 - age, 100.0, 6.0))));
            assert_eq!(storage.pod("ns", "p").is_some(), known, "{age} s old");
        }
        let mut storage = Storage::new(Duration::from_secs(15));
        storage.store(said(point(0.0, 100.0, 1.0), Some(point(1.0, 100.0, 50.0))));
        storage.store(said(point(0.0, 115.0, 2.0), Some(point(103.0, 115.0, 6.0))));
        let usage = storage.pod("ns", "p").unwrap()[0].1;
        assert_eq!((usage.cpu, usage.window), (500_000_000, 12.0), "it was restarted");
    }
}
