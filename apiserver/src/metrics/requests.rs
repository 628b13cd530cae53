//! What is counted of each request that reached its handler (`apiserver/pkg/endpoints/metrics`): those that are refused before
//! are none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body as _;

use crate::app::App;
use crate::http::request_info::{Query, RequestInfo};
use crate::http::witness::{Witness, Witnessed};

/// The subresources that are connections.
const CONNECTIONS: [&str; 5] = ["log", "exec", "portforward", "attach", "proxy"];

/// How the series call a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    component: &'static str,
    dry_run: &'static str,
    group: String,
    resource: String,
    scope: &'static str,
    subresource: String,
    verb: &'static str,
    version: String,
    /// Whether the size of its answer is of interest.
    reads: bool,
}

impl Labels {
    #[must_use]
    pub fn new(method: &Method, info: &RequestInfo, query: &Query, headers: &HeaderMap) -> Self {
        // A selector may have fixed the name of a list's only item; it is a list all the same.
        let named = !info.name.is_empty() && !info.is_collection();
        let scope = match info {
            _ if !info.is_resource => "",
            _ if named || info.verb == "create" => "resource",
            _ if !info.namespace.is_empty() && info.resource != "namespaces" => "namespace",
            _ => "cluster",
        };
        let applies = || {
            let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            media.starts_with("application/apply-patch+yaml")
        };
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let verb = match *method {
            _ if info.is_resource && CONNECTIONS.contains(&info.subresource.as_str()) => "CONNECT",
            _ if info.verb == "watch" => "WATCH",
            Method::GET | Method::HEAD if matches!(scope, "namespace" | "cluster") => "LIST",
            Method::GET | Method::HEAD => "GET",
            Method::PATCH if applies() => "APPLY",
            Method::PATCH => "PATCH",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        let dry_run = match query.get("dryRun") {
            None => "",
            Some(_) if query.all("dryRun").all(|word| word == "All") => "All",
            Some(_) => "invalid",
        };
        let path = if info.is_resource { &info.subresource } else { &info.path };
        Self {
            component: if info.is_resource { "apiserver" } else { "" },
            dry_run,
            group: info.group.clone(),
            resource: info.resource.clone(),
            scope,
            subresource: path.clone(),
            verb,
            version: info.version.clone(),
            reads,
        }
    }
}

/// A request under way; it is counted when this is dropped.
struct Request {
    app: Arc<App>,
    labels: Labels,
    started: Instant,
    /// What webhooks took of its time, and the wait for its turn.
    aside: Duration,
    long: bool,
    code: StatusCode,
    bytes: usize,
}

impl Request {
    fn wide(&self) -> [&str; 7] {
        let Labels { component, group, resource, scope, subresource, verb, version, .. } = &self.labels;
        [component, group, resource, scope, subresource, verb, version]
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let (metrics, wide) = (&self.app.metrics, self.wide());
        let [component, group, resource, scope, subresource, verb, version] = wide;
        let dry_run = self.labels.dry_run;
        let took = self.started.elapsed();
        let code = self.code.as_str();
        metrics.requests.increase(&[code, component, dry_run, group, resource, scope, subresource, verb, version]);
        let narrow = [component, dry_run, group, resource, scope, subresource, verb, version];
        metrics.request_duration.observe(&narrow, took.as_secs_f64());
        if dry_run.is_empty() {
            metrics.request_sli_duration.observe(&wide, took.saturating_sub(self.aside).as_secs_f64());
        }
        if self.labels.reads {
            #[allow(clippy::cast_precision_loss)] // As all numbers on the page.
            metrics.response_sizes.observe(&wide, self.bytes as f64);
        }
        if self.long {
            metrics.longrunning.add(&wide, -1.0);
        }
    }
}

impl Witness for Request {
    fn sent(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

/// Counts a request when its answer has been sent.
pub fn measured(
    app: &Arc<App>,
    labels: Labels,
    started: Instant,
    aside: Duration,
    long: bool,
    response: Response<Body>,
) -> Response<Body> {
    let code = response.status();
    let mut request = Request { app: app.clone(), labels, started, aside, long, code, bytes: 0 };
    if long {
        app.metrics.longrunning.add(&request.wide(), 1.0);
    }
    match response.body().size_hint().exact() {
        Some(bytes) if !long => {
            request.bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            response
        }
        _ => response.map(|body| Body::new(Witnessed::new(body, request))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_called_as_upstream_calls_them() {
        let apply = HeaderMap::from_iter([(CONTENT_TYPE, "application/apply-patch+yaml".parse().unwrap())]);
        let none = HeaderMap::new();
        for (method, uri, headers, expected) in [
            (Method::GET, "/api/v1/pods", &none, "LIST pods  cluster "),
            (Method::GET, "/api/v1/namespaces", &none, "LIST namespaces  cluster "),
            (Method::GET, "/api/v1/namespaces/a", &none, "GET namespaces  resource "),
            (Method::GET, "/api/v1/namespaces/a/pods?fieldSelector=metadata.name=x", &none, "LIST pods  namespace "),
            (Method::GET, "/api/v1/namespaces/a/pods?watch=true", &none, "WATCH pods  namespace "),
            (Method::GET, "/api/v1/namespaces/a/pods/x/log?follow=1", &none, "CONNECT pods log resource "),
            (Method::HEAD, "/api/v1/namespaces/a/pods/x", &none, "GET pods  resource "),
            (Method::POST, "/api/v1/namespaces/a/pods?dryRun=All", &none, "POST pods  resource All"),
            (Method::POST, "/api/v1/namespaces/a/pods?dryRun=Some", &none, "POST pods  resource invalid"),
            (Method::DELETE, "/api/v1/namespaces/a/pods", &none, "DELETE pods  namespace "),
            (Method::PATCH, "/api/v1/nodes/a/status", &none, "PATCH nodes status resource "),
            (Method::PATCH, "/api/v1/nodes/a", &apply, "APPLY nodes  resource "),
            (Method::OPTIONS, "/api/v1/nodes/a", &none, "other nodes  resource "),
            (Method::GET, "/readyz?verbose", &none, "GET  /readyz  "),
        ] {
            let uri: http::Uri = uri.parse().unwrap();
            let query = Query::parse(uri.query());
            let name = query.get("fieldSelector").map(|_| "x");
            let info = RequestInfo::parse(&method, uri.path(), query.flag("watch"), name);
            let labels = Labels::new(&method, &info, &query, headers);
            let Labels { verb, resource, subresource, scope, dry_run, .. } = &labels;
            assert_eq!(format!("{verb} {resource} {subresource} {scope} {dry_run}"), expected, "{method} {uri}");
        }
    }
}
