//! /metrics: a few of upstream's series, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use axum::body::Body;
use http::Response;
use parking_lot::Mutex;

use super::answer;
use crate::app::App;

/// Verb, resource, code.
type Series = (&'static str, String, u16);

/// Requests by verb, resource and code: how many, and how long they took together. Bounded, for resources are: only names
/// of served resources are counted.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<Series, (u64, f64)>>,
}

/// So many different series are kept.
const SERIES: usize = 4096;

impl Metrics {
    pub fn observe(&self, verb: &'static str, resource: &str, code: u16, took: Duration) {
        let mut requests = self.requests.lock();
        let key = (verb, resource.to_owned(), code);
        if requests.len() >= SERIES && !requests.contains_key(&key) {
            return;
        }
        let entry = requests.entry(key).or_default();
        entry.0 += 1;
        entry.1 += took.as_secs_f64();
    }
}

pub fn answer(app: &App) -> Response<Body> {
    let mut text = String::from("# TYPE apiserver_request_total counter\n");
    let requests = app.metrics.requests.lock().clone();
    // Writing into a String cannot fail.
    for ((verb, resource, code), (count, _)) in &requests {
        let verb = verb.to_uppercase();
        let _ = writeln!(
            text,
            "apiserver_request_total{{verb=\"{verb}\",resource=\"{resource}\",code=\"{code}\"}} {count}"
        );
    }
    text.push_str("# TYPE apiserver_request_duration_seconds summary\n");
    for ((verb, resource, code), (count, seconds)) in &requests {
        let labels = format!("verb=\"{}\",resource=\"{resource}\",code=\"{code}\"", verb.to_uppercase());
        let _ = writeln!(text, "apiserver_request_duration_seconds_sum{{{labels}}} {seconds}");
        let _ = writeln!(text, "apiserver_request_duration_seconds_count{{{labels}}} {count}");
    }
    app.webhooks.metrics.write(&mut text);
    app.audit.write_metrics(&mut text);
    app.flow.write_metrics(&mut text);
    text.push_str("# TYPE apiserver_storage_objects gauge\n");
    for (prefix, count) in app.caches.sizes() {
        let resource = prefix.trim_start_matches("/registry/").trim_end_matches('/');
        let _ = writeln!(text, "apiserver_storage_objects{{resource=\"{resource}\"}} {count}");
    }
    let _ = writeln!(
        text,
        "# TYPE process_start_time_seconds gauge\napiserver_uptime_seconds {}",
        app.started.elapsed().as_secs()
    );
    answer::bytes(200, "text/plain; version=0.0.4; charset=utf-8", text.into(), false)
}
