//! Reads what a kubelet says of itself: the Prometheus text of `/metrics/resource`.

use std::collections::BTreeMap;

/// A container: namespace, pod, name.
pub type Key = (String, String, String);

/// What something had used by a moment. Times are seconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// When a container started; 0 for a node.
    pub start: f64,
    pub at: f64,
    /// CPU seconds since then.
    pub cpu: f64,
    /// The working set in bytes.
    pub memory: f64,
}

/// All that one kubelet says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scraped {
    pub node: Option<Point>,
    pub containers: BTreeMap<Key, Point>,
}

/// What of a point has been told.
#[derive(Default)]
struct Partial {
    start: Option<f64>,
    at: Option<f64>,
    cpu: Option<f64>,
    memory: Option<f64>,
}

impl Partial {
    /// Only what was told in full is worth anything.
    fn point(&self) -> Option<Point> {
        let (cpu, memory) = (self.cpu.filter(|cpu| *cpu > 0.0)?, self.memory.filter(|memory| *memory > 0.0)?);
        Some(Point { start: self.start.unwrap_or(0.0), at: self.at?, cpu, memory })
    }
}

/// Parses the text; `now` is the time of values that come without one. Lines of other metrics are passed over.
pub fn parse(text: &str, now: f64) -> Scraped {
    let mut node = Partial::default();
    let mut containers: BTreeMap<Key, Partial> = BTreeMap::new();
    for line in text.lines() {
        let Some((name, labels, value, at)) = sample(line) else { continue };
        let (of, metric) = match name.split_once('_') {
            Some(("node", metric)) => (&mut node, metric),
            Some(("container", metric)) => {
                let label = |name| labels.get(name).cloned().unwrap_or_default();
                let key = (label("namespace"), label("pod"), label("container"));
                if key.2.is_empty() || key.2 == "POD" {
                    continue;
                }
                (containers.entry(key).or_default(), metric)
            }
            _ => continue,
        };
        match metric {
            "cpu_usage_seconds_total" => (of.cpu, of.at) = (Some(value), Some(at.unwrap_or(now))),
            "memory_working_set_bytes" => of.memory = Some(value),
            "start_time_seconds" => of.start = Some(value),
            _ => {}
        }
    }
    let containers = containers.into_iter().filter_map(|(key, partial)| Some((key, partial.point()?))).collect();
    Scraped { node: node.point(), containers }
}

type Labels<'a> = BTreeMap<&'a str, String>;

/// `name{label="value"} number milliseconds`
fn sample(line: &str) -> Option<(&str, Labels<'_>, f64, Option<f64>)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let mut numbers = rest.split_whitespace();
    let value = numbers.next()?.parse().ok()?;
    let at = numbers.next().and_then(|millis| millis.parse::<f64>().ok()).map(|millis| millis / 1000.0);
    Some((name, labels, value, at))
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim(), value);
        rest = &after[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kubelet_says() {
        let text = "# HELP container_cpu_usage_seconds_total x\n\
            container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"p\"} 4.5 1000000\n\
            container_memory_working_set_bytes{container=\"c\",namespace=\"ns\",pod=\"p\"} 2.048e+03 1000000\n\
            container_start_time_seconds{container=\"c\",namespace=\"ns\",pod=\"p\"} 900.5\n\
            container_cpu_usage_seconds_total{container=\"half\",namespace=\"ns\",pod=\"p\"} 1\n\
            container_cpu_usage_seconds_total{container=\"POD\",namespace=\"ns\",pod=\"p\"} 1\n\
            node_cpu_usage_seconds_total 7\nnode_memory_working_set_bytes 9 5\nother_metric 1\n";
        let found = parse(text, 60.0);
        assert_eq!(found.node, Some(Point { start: 0.0, at: 60.0, cpu: 7.0, memory: 9.0 }));
        let key = ("ns".to_owned(), "p".to_owned(), "c".to_owned());
        let point = Point { start: 900.5, at: 1000.0, cpu: 4.5, memory: 2048.0 };
        assert_eq!(found.containers, BTreeMap::from([(key, point)]), "what is told by half is left out");
    }

    #[test]
    fn odd_lines_are_passed_over() {
        assert_eq!(parse("", 0.0), Scraped::default());
        for line in ["x", "x{", "x{a=\"", "x{a=\"b\\", "x{a=\"b\"", "x{a=\"b\"}", "x nothing", "{} 1 "] {
            assert!(sample(line).is_none_or(|(name, ..)| name.is_empty()), "{line}");
        }
        let (_, labels, value, at) = sample("m{a=\"x \\\"y\\\" {}\", b=\"\"} NaN").expect("a sample");
        assert_eq!((labels["a"].as_str(), labels["b"].as_str(), at), ("x \"y\" {}", "", None));
        assert!(value.is_nan());
    }
}
