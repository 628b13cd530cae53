//! Ingresses → nginx.conf: the whole text as snapshots, the rules as tables.

mod common;

use std::collections::BTreeMap;

use common::{index, ingress, service};
use knetsim_ingress_controller::core::build::{Built, build};
use knetsim_ingress_controller::core::model::{Action, Host, Match};
use knetsim_ingress_controller::core::render::{Settings, owner_of_line, render};
use knetsim_ingress_controller::index::{Index, Key};

fn settings() -> Settings {
    Settings {
        dir: "/run/ingress-nginx".to_owned(),
        root: true,
        workers: 1,
        shutdown_timeout: 240,
        http_port: 80,
        https_port: 443,
        status_port: 10246,
        access_log: true,
        default_certificate: "default-x".to_owned(),
    }
}

fn built(index: &Index) -> Built {
    build(index, false, &BTreeMap::new())
}

/// Only the part below `# …` that depends on Ingresses: from the first upstream or server on.
fn variable_part(text: &str) -> &str {
    let start = text.find("    upstream ").or_else(|| text.find("    server {")).unwrap_or_default();
    &text[start..]
}

const TWO_PATHS: &str = "
metadata: {name: web, namespace: default, creationTimestamp: '2026-01-01T00:00:00Z'}
spec:
  ingressClassName: nginx
  rules:
  - http:
      paths:
      - {path: /svc1, pathType: Prefix, backend: {service: {name: svc1, port: {number: 80}}}}
      - {path: /svc2, pathType: Exact, backend: {service: {name: svc2, port: {name: http}}}}
";

#[test]
fn two_paths_on_one_address() {
    let mut index = index();
    service(&mut index, "svc1", &[("11.0.1.2", 8080), ("11.0.2.2", 8080)]);
    service(&mut index, "svc2", &[]);
    ingress(&mut index, TWO_PATHS);
    let built = built(&index);
    assert!(built.problems.is_empty(), "{:?}", built.problems);
    let text = render(&built.config, &settings()).unwrap();
    insta::assert_snapshot!(variable_part(&text));
}

#[test]
fn rewrites_annotations_and_hosts() {
    let mut index = index();
    service(&mut index, "svc1", &[("11.0.1.2", 8080)]);
    ingress(
        &mut index,
        "
metadata:
  name: web
  namespace: default
  annotations:
    nginx.ingress.kubernetes.io/rewrite-target: /$2
    nginx.ingress.kubernetes.io/proxy-body-size: 8m
    nginx.ingress.kubernetes.io/whitelist-source-range: 10.0.0.0/8
    nginx.ingress.kubernetes.io/affinity: cookie
spec:
  ingressClassName: nginx
  defaultBackend: {service: {name: svc1, port: {number: 80}}}
  tls: [{hosts: [a.example.com], secretName: missing}]
  rules:
  - host: a.example.com
    http:
      paths:
      - {path: /api(/|$)(.*), pathType: ImplementationSpecific, backend: {service: {name: svc1, port: {number: 80}}}}
  - host: '*.example.com'
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: svc1, port: {number: 80}}}}
",
    );
    let built = built(&index);
    let problems: Vec<_> = built.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(problems, ["secret \"default/missing\": it does not exist; using the default certificate"]);
    let text = render(&built.config, &settings()).unwrap();
    insta::assert_snapshot!(variable_part(&text));
}

#[test]
fn the_older_ingress_and_the_exact_path_win() {
    let mut index = index();
    service(&mut index, "old", &[("11.0.1.1", 80)]);
    service(&mut index, "new", &[("11.0.1.2", 80)]);
    for (name, time, kind) in [
        ("old", "2026-01-01T00:00:00Z", "Prefix"),
        ("new", "2026-01-02T00:00:00Z", "Prefix"),
        ("new", "2026-01-02T00:00:00Z", "Exact"),
    ] {
        ingress(
            &mut index,
            &format!(
                "
metadata: {{name: {name}-{lower}, namespace: default, creationTimestamp: '{time}'}}
spec:
  ingressClassName: nginx
  rules:
  - http:
      paths: [{{path: /p, pathType: {kind}, backend: {{service: {{name: {name}, port: {{number: 80}}}}}}}}]
",
                lower = kind.to_lowercase()
            ),
        );
    }
    let built = built(&index);
    let found: Vec<_> = built.config.servers[0]
        .locations
        .iter()
        .filter_map(|location| match (&location.matcher, &location.action) {
            (matcher, Action::Proxy { upstream, .. }) => Some((matcher.clone(), upstream.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(found, [(Match::Exact("/p".into()), "default_new_80"), (Match::Prefix("/p/".into()), "default_old_80")]);
}

#[test]
fn what_is_wrong_is_told_and_hurts_no_other() {
    let mut index = index();
    service(&mut index, "svc1", &[("11.0.1.2", 8080)]);
    ingress(&mut index, TWO_PATHS);
    ingress(
        &mut index,
        "
metadata: {name: bad, namespace: default}
spec:
  ingressClassName: nginx
  rules:
  - host: 'x; return 200'
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: svc1, port: {number: 80}}}}]}
  - host: ok.example.com
    http:
      paths:
      - {path: relative, pathType: Prefix, backend: {service: {name: svc1, port: {number: 80}}}}
      - {path: /wrong-port, pathType: Exact, backend: {service: {name: svc1, port: {number: 81}}}}
",
    );
    let built = built(&index);
    let problems: Vec<_> = built.problems.iter().map(|it| (it.ingress.name.as_str(), it.reason)).collect();
    assert_eq!(
        problems,
        [("bad", "InvalidBackend"), ("bad", "InvalidHost"), ("bad", "InvalidPath"), ("web", "InvalidBackend")]
    );
    let any = &built.config.servers[0];
    assert_eq!(any.host, Host::Any);
    assert!(
        any.locations
            .iter()
            .any(|it| matches!(&it.action, Action::Proxy { upstream, .. } if upstream == "default_svc1_80"))
    );
    assert!(!render(&built.config, &settings()).unwrap().contains("return 200"));
}

#[test]
fn other_classes_are_not_ours() {
    let mut index = index();
    service(&mut index, "svc1", &[("11.0.1.2", 8080)]);
    ingress(&mut index, &TWO_PATHS.replace("ingressClassName: nginx", "ingressClassName: other"));
    assert!(built(&index).ours.is_empty());
    ingress(&mut index, &TWO_PATHS.replace("  ingressClassName: nginx\n", ""));
    assert!(built(&index).ours.is_empty());
    assert_eq!(build(&index, true, &BTreeMap::new()).ours.len(), 1);
}

#[test]
fn a_line_of_the_file_leads_back_to_its_ingress() {
    let mut index = index();
    service(&mut index, "svc1", &[("11.0.1.2", 8080)]);
    ingress(&mut index, TWO_PATHS);
    let text = render(&built(&index).config, &settings()).unwrap();
    let line = 1 + text.lines().position(|line| line.contains("location = \"/svc1\"")).unwrap();
    for inner in [line, line + 2] {
        assert_eq!(owner_of_line(&text, inner), Some(Key::new("default", "web")));
    }
}
