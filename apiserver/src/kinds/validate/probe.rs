//! Probes and lifecycle hooks.

use schema::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::super::json::Json;
use super::{not_negative, one_of, port_number, port_or_name, required};

pub fn probes(errors: &mut ErrorList, path: &Path, container: &Value) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.at(name);
        if probe.is_null() {
            continue;
        }
        let path = path.child(name);
        handler(errors, &path, probe, &["exec", "httpGet", "tcpSocket", "grpc"]);
        for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            not_negative(errors, probe, field, &path);
        }
        if probe.has("terminationGracePeriodSeconds") {
            let at = path.child("terminationGracePeriodSeconds");
            let seconds = probe.int("terminationGracePeriodSeconds");
            if name == "readinessProbe" {
                errors.push(Error::invalid(&at, seconds, "must not be set for readinessProbes"));
            } else if seconds <= 0 {
                errors.push(Error::invalid(&at, seconds, "must be greater than 0"));
            }
        }
        let threshold = probe.int("successThreshold");
        if name != "readinessProbe" && threshold != 1 {
            errors.push(Error::invalid(&path.child("successThreshold"), threshold, "must be 1"));
        }
    }
}

pub fn lifecycle(errors: &mut ErrorList, path: &Path, container: &Value, grace: i64) {
    for name in ["postStart", "preStop"] {
        let hook = container.at("lifecycle").at(name);
        if !hook.is_null() {
            handler(errors, &path.child("lifecycle").child(name), hook, &["exec", "httpGet", "tcpSocket", "sleep"]);
            // No longer than the pod takes to end; 0 is as good as none.
            let seconds = hook.int("sleep.seconds");
            if hook.has("sleep") && (seconds < 0 || seconds > grace) {
                let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.push(Error::invalid(&path.child("lifecycle").child(name).child("sleep"), seconds, detail));
            }
        }
    }
}

fn handler(errors: &mut ErrorList, path: &Path, object: &Value, kinds: &[&str]) {
    let mut found = false;
    for kind in kinds {
        let body = object.at(kind);
        if body.is_null() {
            continue;
        }
        let path = path.child(kind);
        if found {
            errors.push(Error::forbidden(&path, "may not specify more than 1 handler type"));
            continue;
        }
        found = true;
        match *kind {
            "exec" if body.list("command").is_empty() => errors.push(Error::required(&path.child("command"), "")),
            "httpGet" => {
                required(errors, body, "path", &path);
                port_or_name(errors, &path.child("port"), body.at("port"));
                one_of(errors, &path.child("scheme"), body.text("scheme"), &["HTTP", "HTTPS"]);
                for header in body.list("httpHeaders") {
                    let name = header.text("name");
                    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                        errors.push(Error::invalid(
                            &path.child("httpHeaders"),
                            name,
                            "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', \
                             regex used for validation is '[-A-Za-z0-9]+')",
                        ));
                    }
                }
            }
            "tcpSocket" => port_or_name(errors, &path.child("port"), body.at("port")),
            "grpc" => port_number(errors, &path.child("port"), body.int("port")),
            _ => {}
        }
    }
    if !found {
        errors.push(Error::required(path, "must specify a handler type"));
    }
}
