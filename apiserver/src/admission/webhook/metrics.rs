//! What came of asking webhooks, as upstream's series tell it (`apiserver/pkg/admission/metrics`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use parking_lot::Mutex;

use super::review::Failure;
use crate::admission::Operation;

/// So many webhooks, operations and codes are told apart.
const SERIES: usize = 1024;

/// Which webhook was asked about what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    name: String,
    /// `admit` or `validating`.
    kind: &'static str,
    operation: &'static str,
    code: u16,
    rejected: bool,
    /// `calling_webhook_error` or `no_error`, for a rejection.
    error: &'static str,
}

/// How often, how long together, and how often the request went on without the webhook.
#[derive(Clone, Copy, Default)]
struct Count {
    times: u64,
    seconds: f64,
    open: u64,
}

#[derive(Default)]
pub struct Metrics(Mutex<BTreeMap<Asked, Count>>);

impl Metrics {
    /// `failure`: why the webhook did not agree; `ignored`: the request went on all the same.
    pub fn observe(
        &self,
        name: &str,
        mutating: bool,
        operation: Operation,
        took: Duration,
        failure: Option<&Failure>,
        ignored: bool,
    ) {
        let (code, error) = match failure {
            None => (200, ""),
            Some(Failure::Calling(_)) => (500, "calling_webhook_error"),
            Some(Failure::Refused(error)) => (error.code, "no_error"),
        };
        let asked = Asked {
            name: name.to_owned(),
            kind: if mutating { "admit" } else { "validating" },
            operation: operation.word(),
            code,
            rejected: failure.is_some() && !ignored,
            error,
        };
        let mut all = self.0.lock();
        if all.len() >= SERIES && !all.contains_key(&asked) {
            return;
        }
        let count = all.entry(asked).or_default();
        count.times += 1;
        count.seconds += took.as_secs_f64();
        count.open += u64::from(ignored);
    }

    /// Adds the series to a page of metrics.
    pub fn write(&self, page: &mut String) {
        let all = self.0.lock().clone();
        // Writing into a String cannot fail.
        let mut series = |name: &str, kind: &str, rows: &dyn Fn(&mut String)| {
            let _ = writeln!(page, "# TYPE apiserver_admission_webhook_{name} {kind}");
            rows(page);
        };
        let labels = |a: &Asked| format!("name=\"{}\",operation=\"{}\",type=\"{}\"", a.name, a.operation, a.kind);
        series("request_total", "counter", &|page| {
            for (asked, count) in &all {
                let (rest, times) = (format!("code=\"{}\",rejected=\"{}\"", asked.code, asked.rejected), count.times);
                let _ = writeln!(page, "apiserver_admission_webhook_request_total{{{},{rest}}} {times}", labels(asked));
            }
        });
        series("admission_duration_seconds", "summary", &|page| {
            for (asked, count) in &all {
                let labels = format!("{},rejected=\"{}\",code=\"{}\"", labels(asked), asked.rejected, asked.code);
                let name = "apiserver_admission_webhook_admission_duration_seconds";
                let _ = writeln!(page, "{name}_sum{{{labels}}} {}", count.seconds);
                let _ = writeln!(page, "{name}_count{{{labels}}} {}", count.times);
            }
        });
        series("rejection_count", "counter", &|page| {
            for (asked, count) in all.iter().filter(|(asked, _)| asked.rejected) {
                let rest = format!("error_type=\"{}\",rejection_code=\"{}\"", asked.error, asked.code);
                let name = "apiserver_admission_webhook_rejection_count";
                let _ = writeln!(page, "{name}{{{},{rest}}} {}", labels(asked), count.times);
            }
        });
        series("fail_open_count", "counter", &|page| {
            for (asked, count) in all.iter().filter(|(_, count)| count.open > 0) {
                let name = "apiserver_admission_webhook_fail_open_count";
                let _ = writeln!(page, "{name}{{name=\"{}\",type=\"{}\"}} {}", asked.name, asked.kind, count.open);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_named_as_upstream_names_them() {
        let metrics = Metrics::default();
        let took = Duration::from_millis(250);
        metrics.observe("a.b.c", true, Operation::Create, took, None, false);
        let failure = Failure::Calling(String::new());
        metrics.observe("a.b.c", false, Operation::Update, took, Some(&failure), true);
        metrics.observe("a.b.c", false, Operation::Update, took, Some(&failure), false);
        let mut page = String::new();
        metrics.write(&mut page);
        for line in [
            r#"apiserver_admission_webhook_request_total{name="a.b.c",operation="CREATE",type="admit",code="200",rejected="false"} 1"#,
            r#"apiserver_admission_webhook_admission_duration_seconds_sum{name="a.b.c",operation="CREATE",type="admit",rejected="false",code="200"} 0.25"#,
            r#"apiserver_admission_webhook_rejection_count{name="a.b.c",operation="UPDATE",type="validating",error_type="calling_webhook_error",rejection_code="500"} 1"#,
            r#"apiserver_admission_webhook_fail_open_count{name="a.b.c",type="validating"} 1"#,
        ] {
            assert!(page.lines().any(|have| have == line), "{line} is not in\n{page}");
        }
    }
}
