//! Ingresses and their classes (`pkg/apis/networking/validation`).

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{domain_prefixed_path, named, one_of, port_number, required_name, same, spec};

#[must_use]
pub fn ingress(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    let default = body.at("defaultBackend");
    if body.list("rules").is_empty() && default.is_null() {
        errors.push(Error::invalid(
            &path,
            body.at("rules").clone(),
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if !default.is_null() {
        backend(&mut errors, &path.child("defaultBackend"), default);
    }
    for (i, rule) in body.list("rules").iter().enumerate() {
        let path = path.child("rules").index(i);
        host(&mut errors, &path.child("host"), rule.text("host"));
        if rule.has("http") {
            paths(&mut errors, &path.child("http").child("paths"), rule.list("http.paths"));
        }
    }
    for (i, tls) in body.list("tls").iter().enumerate() {
        let path = path.child("tls").index(i);
        for (j, name) in tls.texts("hosts").into_iter().enumerate() {
            dns_name(&mut errors, &path.child("hosts").index(j), name);
        }
        if !tls.text("secretName").is_empty() {
            named(&mut errors, &path.child("secretName"), tls.text("secretName"), names::dns1123_subdomain);
        }
    }
    if body.has("ingressClassName") {
        named(&mut errors, &path.child("ingressClassName"), body.text("ingressClassName"), names::dns1123_subdomain);
    }
    errors
}

/// A new Ingress names one class, be it twice.
#[must_use]
pub fn new_ingress(object: &Value) -> ErrorList {
    let (annotations, class) = (object.entries("metadata.annotations"), object.at("spec.ingressClassName"));
    match annotations.get(CLASS_ANNOTATION) {
        Some(other) if !class.is_null() && other != class => {
            let detail = "must match `ingressClassName` when both are specified";
            vec![Error::invalid(&Path::new("annotations").child(CLASS_ANNOTATION), other.clone(), detail)]
        }
        _ => ErrorList::new(),
    }
}

/// How long a controller may be called.
const CONTROLLER: usize = 250;
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// A rule's host, if it has one, is no address.
fn host(errors: &mut ErrorList, path: &Path, host: &str) {
    if host.is_empty() {
        return;
    }
    if runtime::address::ip(host).is_some() {
        errors.push(Error::invalid(path, host, "must be a DNS name, not an IP address"));
    }
    dns_name(errors, path, host);
}

/// A name that may begin with a wildcard label.
fn dns_name(errors: &mut ErrorList, path: &Path, host: &str) {
    if !host.contains('*') {
        named(errors, path, host, names::dns1123_subdomain);
        return;
    }
    let rest = host.strip_prefix("*.").unwrap_or_default();
    if rest.is_empty() || !names::dns1123_subdomain(rest).is_empty() {
        errors.push(Error::invalid(
            path,
            host,
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of \
             lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', \
             regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ));
    }
}

fn paths(errors: &mut ErrorList, path: &Path, paths: &[Value]) {
    if paths.is_empty() {
        errors.push(Error::required(path, ""));
    }
    for (i, entry) in paths.iter().enumerate() {
        let at = path.index(i);
        let (kind, text) = (entry.text("pathType"), entry.text("path"));
        if !entry.has("pathType") {
            // Nothing else is looked at.
            errors.push(Error::required(&at.child("pathType"), "pathType must be specified"));
            continue;
        }
        match kind {
            "Exact" | "Prefix" => {
                if !text.starts_with('/') {
                    errors.push(Error::invalid(&at.child("path"), text, "must be an absolute path"));
                }
                if !text.is_empty() {
                    for sequence in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|s| text.contains(s)) {
                        errors.push(Error::invalid(&at.child("path"), text, format!("must not contain '{sequence}'")));
                    }
                    for suffix in ["/..", "/."].into_iter().filter(|s| text.ends_with(s)) {
                        errors.push(Error::invalid(&at.child("path"), text, format!("cannot end with '{suffix}'")));
                    }
                }
            }
            "ImplementationSpecific" => {
                if !text.is_empty() && !text.starts_with('/') {
                    errors.push(Error::invalid(&at.child("path"), text, "must be an absolute path"));
                }
            }
            other => {
                let supported = ["Exact", "ImplementationSpecific", "Prefix"];
                errors.push(Error::not_supported(&at.child("pathType"), other, &supported));
            }
        }
        backend(errors, &at.child("backend"), entry.at("backend"));
    }
}

fn backend(errors: &mut ErrorList, path: &Path, backend: &Value) {
    match (backend.has("service"), backend.has("resource")) {
        (true, true) => errors.push(Error::invalid(path, "", "cannot set both resource and service backends")),
        (false, false) => errors.push(Error::invalid(path, "", "resource or service backend is required")),
        (false, true) => {
            let group = backend.at("resource.apiGroup");
            if let Some(group) = group.as_str() {
                let at = path.child("resource").child("apiGroup");
                named(errors, &at, group, names::dns1123_subdomain);
            }
            for field in ["kind", "name"] {
                let at = path.child("resource").child(field);
                required_name(errors, &at, backend.at("resource").text(field), names::path_segment);
            }
        }
        (true, false) => service_backend(errors, path, backend.at("service")),
    }
}

/// `backend`: the path of what leads to the service, of which upstream says that its port is missing.
fn service_backend(errors: &mut ErrorList, backend: &Path, service: &Value) {
    let path = backend.child("service");
    required_name(errors, &path.child("name"), service.text("name"), names::dns1035_label);
    let (name, number) = (service.text("port.name"), service.int("port.number"));
    let port = path.child("port");
    match (name, number) {
        ("", 0) => errors.push(Error::required(backend, "port name or number is required")),
        ("", number) => port_number(errors, &port.child("number"), number),
        (name, 0) => named(errors, &port.child("name"), name, names::port_name),
        _ => errors.push(Error::invalid(backend, "", "cannot set both port name & port number")),
    }
}

#[must_use]
pub fn warnings(object: &Value) -> Vec<String> {
    if object.entries("metadata.annotations").contains_key(CLASS_ANNOTATION) {
        vec![format!("annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead")]
    } else {
        Vec::new()
    }
}

#[must_use]
pub fn ingress_class(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = spec();
    let (controller, at) = (object.text("spec.controller"), path.child("controller"));
    if controller.len() > CONTROLLER {
        errors.push(Error::too_long(&at, CONTROLLER));
    }
    domain_prefixed_path(&mut errors, &at, controller);
    let parameters = object.at("spec.parameters");
    if parameters.is_null() {
        return errors;
    }
    let at = path.child("parameters");
    if let Some(group) = parameters.at("apiGroup").as_str() {
        named(&mut errors, &at.child("apiGroup"), group, names::dns1123_subdomain);
    }
    for field in ["kind", "name"] {
        required_name(&mut errors, &at.child(field), parameters.text(field), names::path_segment);
    }
    let (scope, namespace) = (parameters.text("scope"), parameters.at("namespace").as_str());
    one_of(&mut errors, &at.child("scope"), scope, &["Cluster", "Namespace"]);
    let (at, set) = (at.child("namespace"), format!("`parameters.scope` is set to '{scope}'"));
    match (scope, namespace) {
        ("Namespace", None) => errors.push(Error::required(&at, set)),
        ("Namespace", Some(namespace)) => named(&mut errors, &at, namespace, names::dns1123_label),
        ("Cluster", Some(_)) => errors.push(Error::forbidden(&at, set)),
        _ => {}
    }
    errors
}

#[must_use]
pub fn ingress_class_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if !same(new.at("spec.controller"), old.at("spec.controller")) {
        let value = new.at("spec.controller").clone();
        errors.push(Error::invalid(&spec().child("controller"), value, super::IMMUTABLE));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn classes() {
        let ingress = |class: Value, annotation: &str| json!({"metadata": {"annotations": {CLASS_ANNOTATION: annotation}}, "spec": {"ingressClassName": class}});
        assert!(new_ingress(&ingress(json!("nginx"), "nginx")).is_empty());
        assert!(new_ingress(&ingress(Value::Null, "nginx")).is_empty());
        assert_eq!(
            texts(&new_ingress(&ingress(json!("nginx"), "other"))),
            [
                "annotations.kubernetes.io/ingress.class: Invalid value: \"other\": must match `ingressClassName` when both are \
              specified"
            ]
        );
        let (long, path) =
            (format!("a.b/{}", "x".repeat(250)), "must be a domain-prefixed path (such as \"acme.io/foo\")");
        for (controller, expected) in [
            ("a.b/c", vec![]),
            ("", vec!["spec.controller: Required value".to_owned()]),
            ("a.b", vec![format!("spec.controller: Invalid value: \"a.b\": {path}")]),
            (&long, vec!["spec.controller: Too long: may not be more than 250 bytes".to_owned()]),
            (
                "a.b/c d",
                vec![
                    "spec.controller: Invalid value: \"c d\": Invalid path (regex used for validation is \
                     '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')"
                        .to_owned(),
                ],
            ),
        ] {
            assert_eq!(texts(&ingress_class(&json!({"spec": {"controller": controller}}))), expected, "{controller}");
        }
    }

    #[test]
    fn ingresses() {
        let with = |path: Value| json!({"spec": {"rules": [{"host": "a.example", "http": {"paths": [path]}}]}});
        let backend = json!({"service": {"name": "svc1", "port": {"number": 80}}});
        for (path, expected) in [
            (json!({"path": "/svc1", "pathType": "Prefix", "backend": backend}), vec![]),
            (
                json!({"path": "svc1", "pathType": "Prefix", "backend": backend}),
                vec!["spec.rules[0].http.paths[0].path: Invalid value: \"svc1\": must be an absolute path"],
            ),
            (
                json!({"path": "/a", "backend": {"service": {"name": "s", "port": {}}}}),
                vec!["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
            ),
        ] {
            assert_eq!(texts(&ingress(&with(path))), expected);
        }
        let hosts = json!({"spec": {"rules": [{"host": "1.2.3.4", "http": {"paths": []}}],
            "tls": [{"hosts": ["a.example", "*.a.example", "1.2.3.4", ""]}]}});
        let found = texts(&ingress(&hosts));
        assert_eq!(
            found[..2],
            [
                "spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
                "spec.rules[0].http.paths: Required value"
            ]
        );
        assert!(found[2].starts_with("spec.tls[0].hosts[3]: Invalid value: \"\": a lowercase RFC 1123"), "{found:?}");
        assert_eq!(found.len(), 3);
        assert_eq!(
            texts(&ingress(&json!({"spec": {}}))),
            ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]
        );
    }

    #[test]
    fn parameters_of_a_class_are_somewhere() {
        let class = |parameters: Value| json!({"spec": {"controller": "a.b/c", "parameters": parameters}});
        for (parameters, expected) in [
            (json!({"apiGroup": "a.b", "kind": "K", "name": "n", "scope": "Cluster"}), vec![]),
            (json!({"kind": "K", "name": "n", "scope": "Namespace", "namespace": "x"}), vec![]),
            (
                json!({"kind": "K", "name": "n", "scope": "Cluster", "namespace": ""}),
                vec!["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
            ),
            (
                json!({"kind": "K", "name": "n", "scope": "Namespace"}),
                vec!["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
            ),
        ] {
            assert_eq!(texts(&ingress_class(&class(parameters))), expected);
        }
    }
}
