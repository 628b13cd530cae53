//! What came of a run: a line a spec, and a table of counts per SIG.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::bail;

use crate::runner::Outcome;
use crate::spec::sig;
use crate::table;

/// Specs that are known to fail, a line each: name, tab, why.
const KNOWN: &str = include_str!("../known-failures.txt");

/// Name → why it fails.
#[must_use]
pub fn known_failures() -> BTreeMap<&'static str, &'static str> {
    let lines = KNOWN.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('\t').map_or((line.trim(), ""), |(name, why)| (name.trim(), why.trim()))).collect()
}

/// One line for a spec that has ended.
#[must_use]
pub fn line(outcome: &Outcome) -> String {
    let took = outcome.took.as_secs_f64();
    match &outcome.error {
        None => format!("passes  {took:6.2} s  {}", outcome.spec.name),
        Some(error) => format!("fails   {took:6.2} s  {}\n          {error}", outcome.spec.name),
    }
}

/// Counts per SIG over all of upstream's names.
#[must_use]
pub fn summary(outcomes: &[Outcome]) -> String {
    #[derive(Default)]
    struct Row {
        passes: usize,
        fails: usize,
        not_tried: usize,
    }
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let by_name: BTreeMap<&str, &Outcome> = outcomes.iter().map(|outcome| (outcome.spec.name, outcome)).collect();
    for name in table::names() {
        let row = rows.entry(sig(name)).or_default();
        match by_name.get(name).map(|outcome| outcome.error.is_none()) {
            Some(true) => row.passes += 1,
            Some(false) => row.fails += 1,
            None => row.not_tried += 1,
        }
    }
    let mut text = format!("{:<24}{:>8}{:>8}{:>11}\n", "", "passes", "fails", "not tried");
    for (sig, row) in &rows {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{sig:<24}{:>8}{:>8}{:>11}", row.passes, row.fails, row.not_tried);
    }
    text
}

/// Compares with what is known to fail.
///
/// # Errors
/// A spec fails that should pass, or passes though it is listed.
pub fn compare(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let known = known_failures();
    let failing: BTreeSet<&str> = outcomes.iter().filter(|o| o.error.is_some()).map(|o| o.spec.name).collect();
    let ran: BTreeSet<&str> = outcomes.iter().map(|o| o.spec.name).collect();
    let news: Vec<&&str> = failing.iter().filter(|name| !known.contains_key(*name)).collect();
    let healed: Vec<&&str> = known.keys().filter(|name| ran.contains(*name) && !failing.contains(*name)).collect();
    if !news.is_empty() || !healed.is_empty() {
        bail!(
            "these fail and are not in known-failures.txt: {news:#?}\nthese are in known-failures.txt and pass: {healed:#?}"
        );
    }
    Ok(())
}
