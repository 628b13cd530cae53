//! Families of series, as Prometheus counts them, and the text they are told in (its text format 0.0.4).

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// How much a family may change from release to release (KEP-1209); a part of its help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stability {
    Alpha,
    Beta,
    Stable,
    /// Not upstream's own: of the libraries below it.
    Internal,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets; that of the last one, which is infinite, is left out.
    Histogram(&'static [f64]),
}

/// What there is to say about a family.
#[derive(Debug)]
pub struct About {
    pub name: &'static str,
    pub help: &'static str,
    pub stability: Stability,
    pub kind: Kind,
    /// In the order of the alphabet.
    pub labels: &'static [&'static str],
}

/// So many series a family has at most: clients choose some of the values.
const SERIES: usize = 4096;

impl About {
    /// `a="1",b="2"`
    fn series(&self, values: &[&str]) -> String {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        let mut text = String::with_capacity(values.iter().map(|value| value.len() + 16).sum());
        for (label, value) in self.labels.iter().zip(values) {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(label);
            text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => text.push_str(r"\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    c => text.push(c),
                }
            }
            text.push('"');
        }
        text
    }

    fn heading(&self) -> String {
        let level = match self.stability {
            Stability::Alpha => "[ALPHA] ",
            Stability::Beta => "[BETA] ",
            Stability::Stable => "[STABLE] ",
            Stability::Internal => "",
        };
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        format!("# HELP {name} {level}{help}\n# TYPE {name} {kind}\n", name = self.name, help = self.help)
    }

    fn bounds(&self) -> &'static [f64] {
        if let Kind::Histogram(bounds) = self.kind { bounds } else { &[] }
    }
}

/// A family that is counted as things happen.
#[derive(Debug)]
pub struct Family {
    about: &'static About,
    /// By a hash of their labels' values: requests count in a dozen families, so finding a series makes nothing new.
    series: Mutex<HashMap<u64, Alike, RandomState>>,
    hasher: RandomState,
}

type Values = Box<[Box<str>]>;
type Alike = Vec<(Values, Series)>;

#[derive(Clone, Debug, Default)]
struct Series {
    /// The number, or the sum of a histogram.
    value: f64,
    /// A histogram's: how many values are in which bucket and in none of those before.
    buckets: Box<[u64]>,
    /// What lies beyond the last of them.
    beyond: u64,
}

impl Family {
    #[must_use]
    pub fn new(about: &'static About) -> Self {
        let family = Self { about, series: Mutex::default(), hasher: RandomState::default() };
        family.begin();
        family
    }

    /// Without labels there is but one series, and it is told also while it is zero.
    fn begin(&self) {
        if self.about.labels.is_empty() {
            self.change(&[], |_| {});
        }
    }

    fn change(&self, values: &[&str], how: impl FnOnce(&mut Series)) {
        let hash = self.hasher.hash_one(values);
        let mut series = self.series.lock();
        let full = series.len() >= SERIES;
        let alike = series.entry(hash);
        if full && matches!(alike, Entry::Vacant(_)) {
            return;
        }
        let alike = alike.or_default();
        let same = |(known, _): &(Values, Series)| known.iter().map(AsRef::as_ref).eq(values.iter().copied());
        if let Some(at) = alike.iter().position(same) {
            return how(&mut alike[at].1);
        }
        let mut new = Series { buckets: vec![0; self.about.bounds().len()].into(), ..Series::default() };
        how(&mut new);
        alike.push((values.iter().map(|value| Box::from(*value)).collect(), new));
    }

    pub fn increase(&self, values: &[&str]) {
        self.add(values, 1.0);
    }

    pub fn add(&self, values: &[&str], amount: f64) {
        self.change(values, |series| series.value += amount);
    }

    pub fn set(&self, values: &[&str], value: f64) {
        self.change(values, |series| series.value = value);
    }

    /// Counts a value of a histogram.
    pub fn observe(&self, values: &[&str], value: f64) {
        self.observe_all(values, [value]);
    }

    pub fn observe_all(&self, values: &[&str], observed: impl IntoIterator<Item = f64>) {
        let bounds = self.about.bounds();
        self.change(values, |series| {
            for value in observed {
                series.value += value;
                match bounds.iter().position(|bound| value <= *bound) {
                    Some(bucket) => series.buckets[bucket] += 1,
                    None => series.beyond += 1,
                }
            }
        });
    }

    pub fn write(&self, page: &mut Page) {
        for (values, series) in self.series.lock().values().flatten() {
            let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
            page.put(self.about, &values, series);
        }
    }

    /// Begins anew.
    pub fn reset(&self) {
        self.series.lock().clear();
        self.begin();
    }
}

/// What is told of all families at one time, ordered by their names, and within them by their labels.
#[derive(Debug, Default)]
pub struct Page(BTreeMap<&'static str, (&'static About, BTreeMap<String, Series>)>);

impl Page {
    fn put(&mut self, about: &'static About, values: &[&str], series: &Series) {
        let (_, all) = self.0.entry(about.name).or_insert_with(|| (about, BTreeMap::new()));
        all.insert(about.series(values), series.clone());
    }

    /// A number that somebody else counts.
    pub fn number(&mut self, about: &'static About, values: &[&str], value: f64) {
        let series = Series { value, ..Series::default() };
        self.put(about, values, &series);
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (about, all) in self.0.values() {
            text.push_str(&about.heading());
            for (labels, series) in all {
                line(&mut text, about, labels, series);
            }
        }
        text
    }
}

/// Writing into a String cannot fail.
fn line(text: &mut String, about: &About, labels: &str, series: &Series) {
    let name = about.name;
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let Kind::Histogram(bounds) = about.kind else {
        let _ = writeln!(text, "{name}{braces} {}", number(series.value));
        return;
    };
    let comma = if labels.is_empty() { "" } else { "," };
    let mut count = 0;
    let ends = bounds.iter().map(|bound| number(*bound)).chain(["+Inf".to_owned()]);
    for (end, within) in ends.zip(series.buckets.iter().chain([&series.beyond])) {
        count += within;
        let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{end}\"}} {}", whole(count));
    }
    let _ = writeln!(text, "{name}_sum{braces} {}", number(series.value));
    let _ = writeln!(text, "{name}_count{braces} {}", whole(count));
}

/// A count in the form of all numbers.
fn whole(count: u64) -> String {
    // Exact up to 2^53.
    #[allow(clippy::cast_precision_loss)]
    number(count as f64)
}

/// A number as Go writes it in its form `g`: with an exponent from a million on, or below a ten thousandth.
fn number(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return format!("{value}") };
    match exponent.parse::<i32>() {
        Ok(exponent) if value != 0.0 && !(-4..=5).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static COUNT: About = About {
        name: "b_total",
        help: "How many.",
        stability: Stability::Stable,
        kind: Kind::Counter,
        labels: &["code", "verb"],
    };
    static TOOK: About = About {
        name: "a_seconds",
        help: "How long.",
        stability: Stability::Alpha,
        kind: Kind::Histogram(&[0.00005, 0.5, 1.0]),
        labels: &["verb"],
    };
    static ONE: About =
        About { name: "c", help: "One.", stability: Stability::Internal, kind: Kind::Gauge, labels: &[] };

    #[test]
    fn pages_are_written_as_prometheus_writes_them() {
        let (count, took, one) = (Family::new(&COUNT), Family::new(&TOOK), Family::new(&ONE));
        count.increase(&["200", "GET"]);
        count.add(&["200", "GET"], 2.0);
        count.increase(&["404", "a\"b\\\n"]);
        for seconds in [0.25, 0.5, 3.0] {
            took.observe(&["GET"], seconds);
        }
        let mut page = Page::default();
        [&count, &took, &one].into_iter().for_each(|family| family.write(&mut page));
        let expected = r#"# HELP a_seconds [ALPHA] How long.
# TYPE a_seconds histogram
a_seconds_bucket{verb="GET",le="5e-05"} 0
a_seconds_bucket{verb="GET",le="0.5"} 2
a_seconds_bucket{verb="GET",le="1"} 2
a_seconds_bucket{verb="GET",le="+Inf"} 3
a_seconds_sum{verb="GET"} 3.75
a_seconds_count{verb="GET"} 3
# HELP b_total [STABLE] How many.
# TYPE b_total counter
b_total{code="200",verb="GET"} 3
b_total{code="404",verb="a\"b\\\n"} 1
# HELP c One.
# TYPE c gauge
c 0
"#;
        assert_eq!(page.text(), expected);
        count.reset();
        let mut page = Page::default();
        count.write(&mut page);
        assert_eq!(page.text(), "");
    }

    #[test]
    fn families_are_bounded() {
        let count = Family::new(&COUNT);
        (0..2 * SERIES).for_each(|code| count.increase(&[&code.to_string(), "GET"]));
        assert_eq!(count.series.lock().len(), SERIES);
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-1.0, "-1"),
            (0.25, "0.25"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e6, "1e+06"),
            (1.5e9, "1.5e+09"),
            (123_456_789.0, "1.23456789e+08"),
            (100_000.0, "100000"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
