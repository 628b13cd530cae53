//! How an endpoint of health answers (`apiserver/pkg/server/healthz`), and what came of its checks (`component-base/metrics/
//! prometheus/slis`).

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::metrics::{About, Kind, Page, STARTED, Stability, started};

pub static HEALTH: About = About {
    name: "kubernetes_healthcheck",
    help: "This metric records the result of a single healthcheck.",
    stability: Stability::Stable,
    kind: Kind::Gauge,
    labels: &["name", "type"],
};
pub static HEALTH_TOTAL: About = About {
    name: "kubernetes_healthchecks_total",
    help: "This metric records the results of all healthcheck.",
    stability: Stability::Stable,
    kind: Kind::Counter,
    labels: &["name", "status", "type"],
};

/// What came of an endpoint's checks, one after the other.
#[derive(Debug)]
pub struct Report<'a> {
    endpoint: &'a str,
    /// The checks that shall not be made, and are yet to come.
    excluded: Vec<&'a str>,
    text: String,
    well: bool,
}

impl<'a> Report<'a> {
    #[must_use]
    pub fn new(endpoint: &'a str, excluded: impl Iterator<Item = &'a str>) -> Self {
        let mut excluded: Vec<&str> = excluded.collect();
        excluded.sort_unstable();
        excluded.dedup();
        Self { endpoint, excluded, text: String::new(), well: true }
    }

    /// Whether a check is not to be made; it is told as such.
    pub fn excludes(&mut self, name: &str) -> bool {
        let Some(at) = self.excluded.iter().position(|other| *other == name) else { return false };
        self.excluded.remove(at);
        self.text.push_str(&format!("[+]{name} excluded: ok\n"));
        true
    }

    /// Takes in what a check has found, if anything is wrong. Why is for the log alone: everybody may see the answer.
    pub fn add(&mut self, name: &str, wrong: Option<&str>) {
        match wrong {
            None => self.text.push_str(&format!("[+]{name} ok\n")),
            Some(why) => {
                tracing::info!(check = name, why, "{} check failed", self.endpoint);
                self.text.push_str(&format!("[-]{name} failed: reason withheld\n"));
                self.well = false;
            }
        }
    }

    /// The code and the text of the answer.
    #[must_use]
    pub fn finish(mut self, verbose: bool) -> (u16, String) {
        let endpoint = self.endpoint;
        if !self.excluded.is_empty() {
            let names: Vec<String> = self.excluded.iter().map(|name| schema::go::quote(name)).collect();
            let names = names.join(",");
            self.text.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
        }
        match (self.well, verbose) {
            (false, _) => (500, format!("{}{endpoint} check failed\n", self.text)),
            (true, true) => (200, format!("{}{endpoint} check passed\n", self.text)),
            (true, false) => (200, "ok".to_owned()),
        }
    }
}

/// What came of checks: the indicators of a service's level.
#[derive(Debug, Default)]
pub struct Results(Mutex<BTreeMap<(&'static str, &'static str), Tally>>);

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    well: bool,
    /// How often it failed, and how often it did not.
    counts: [u64; 2],
}

impl Results {
    /// Counts what came of a check at an endpoint.
    pub fn add(&self, endpoint: &'static str, name: &'static str, well: bool) {
        let mut results = self.0.lock();
        let tally = results.entry((endpoint, name)).or_default();
        tally.well = well;
        tally.counts[usize::from(well)] += 1;
    }

    /// The page of /metrics/slis.
    #[allow(clippy::cast_precision_loss)] // As all numbers on the page.
    pub fn write(&self, page: &mut Page) {
        for ((endpoint, name), tally) in self.0.lock().iter() {
            page.number(&HEALTH, &[name, endpoint], f64::from(u8::from(tally.well)));
            for (status, count) in ["error", "success"].into_iter().zip(tally.counts).filter(|(_, count)| *count > 0) {
                page.number(&HEALTH_TOTAL, &[name, status, endpoint], count as f64);
            }
        }
        page.number(&STARTED, &[], started());
    }

    /// Begins anew.
    pub fn reset(&self) {
        self.0.lock().clear();
    }
}

/// The answer to who asks for one check alone.
#[must_use]
pub fn single(wrong: Option<&str>) -> (u16, String) {
    wrong.map_or_else(|| (200, "ok".to_owned()), |why| (500, format!("internal server error: {why}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports() {
        let report = |excluded: &[&'static str], wrong: Option<&str>, verbose| {
            let mut report = Report::new("readyz", excluded.iter().copied());
            for (name, wrong) in [("ping", None), ("log", wrong)] {
                if !report.excludes(name) {
                    report.add(name, wrong);
                }
            }
            report.finish(verbose)
        };
        let ok = |text: &str| (200, text.to_owned());
        assert_eq!(report(&[], None, false), ok("ok"));
        assert_eq!(report(&[], None, true), ok("[+]ping ok\n[+]log ok\nreadyz check passed\n"));
        let failed = "[+]ping ok\n[-]log failed: reason withheld\nreadyz check failed\n";
        assert_eq!(report(&[], Some("full"), false), (500, failed.to_owned()));
        let warned =
            "[+]ping ok\n[+]log excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"x\"\n";
        assert_eq!(report(&["x", "log", "x"], Some("full"), true), ok(&format!("{warned}readyz check passed\n")));
        assert_eq!(single(Some("full")), (500, "internal server error: full\n".to_owned()));
    }
}
