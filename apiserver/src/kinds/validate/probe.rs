//! Probes and lifecycle hooks.

use schema::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::super::json::Json;
use super::{not_negative, one_of, port_number, port_or_name, required};

pub fn probes(errors: &mut ErrorList, path: &Path, container: &Value) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.has(name) {
            probe(errors, &path.child(name), container.at(name), name == "readinessProbe");
        }
    }
}

fn probe(errors: &mut ErrorList, path: &Path, probe: &Value, readiness: bool) {
    handler(errors, path, probe, &["exec", "httpGet", "tcpSocket", "grpc"], 0);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        not_negative(errors, probe, field, path);
    }
    if probe.has("terminationGracePeriodSeconds") {
        let at = path.child("terminationGracePeriodSeconds");
        let seconds = probe.int("terminationGracePeriodSeconds");
        if seconds <= 0 {
            errors.push(Error::invalid(&at, seconds, "must be greater than 0"));
        }
        if readiness {
            errors.push(Error::invalid(&at, seconds, "must not be set for readinessProbes"));
        }
    }
    let threshold = probe.int("successThreshold");
    if !readiness && threshold != 1 {
        errors.push(Error::invalid(&path.child("successThreshold"), threshold, "must be 1"));
    }
}

/// `grace`: how many seconds the pod is given to end.
pub fn lifecycle(errors: &mut ErrorList, path: &Path, container: &Value, grace: i64) {
    for name in ["postStart", "preStop"] {
        let hook = container.at("lifecycle").at(name);
        if !hook.is_null() {
            let path = path.child("lifecycle").child(name);
            handler(errors, &path, hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace);
        }
    }
}

fn handler(errors: &mut ErrorList, path: &Path, object: &Value, kinds: &[&str], grace: i64) {
    let mut found = false;
    for kind in kinds.iter().filter(|kind| object.has(kind)) {
        let (path, body) = (path.child(kind), object.at(kind));
        if found {
            errors.push(Error::forbidden(&path, "may not specify more than 1 handler type"));
            continue;
        }
        found = true;
        match *kind {
            "exec" if body.list("command").is_empty() => errors.push(Error::required(&path.child("command"), "")),
            "httpGet" => http_get(errors, &path, body),
            "tcpSocket" => port_or_name(errors, &path.child("port"), body.at("port")),
            "grpc" => port_number(errors, &path.child("port"), body.int("port")),
            "sleep" => sleep(errors, &path, body.int("seconds"), grace),
            _ => {}
        }
    }
    if !found {
        errors.push(Error::required(path, "must specify a handler type"));
    }
}

fn http_get(errors: &mut ErrorList, path: &Path, body: &Value) {
    required(errors, body, "path", path);
    port_or_name(errors, &path.child("port"), body.at("port"));
    one_of(errors, &path.child("scheme"), body.text("scheme"), &["HTTP", "HTTPS"]);
    for header in body.list("httpHeaders") {
        let name = header.text("name");
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            errors.push(Error::invalid(
                &path.child("httpHeaders"),
                name,
                "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for \
                 validation is '[-A-Za-z0-9]+')",
            ));
        }
    }
}

/// No longer than the pod takes to end; 0 is as good as none.
fn sleep(errors: &mut ErrorList, path: &Path, seconds: i64, grace: i64) {
    if !(0..=grace).contains(&seconds) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(Error::invalid(path, seconds, detail));
    }
}
