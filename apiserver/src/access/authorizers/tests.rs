use std::sync::Arc;

use auth::{Attributes, Decision, Resource, Target, UserInfo};
use clap::Parser;
use serde_json::{Value, json};

use super::config::Configuration;
use super::webhook::{shown, spec};
use super::{Asked, build, parse, validate};
use crate::access::file::aggregate;
use crate::options::Options;
use crate::outbound::egress::Egress;

fn text(authorizers: &Value) -> String {
    json!({ "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": authorizers })
        .to_string()
}

fn wrong(authorizers: &Value) -> String {
    let errors = validate::check(&Configuration::parse(&text(authorizers)).unwrap());
    if errors.is_empty() { String::new() } else { aggregate(&errors) }
}

#[test]
fn configurations() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    let webhook = |more: Value| {
        let mut webhook = json!({
            "timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
            "connectionInfo": { "type": "KubeConfigFile", "kubeConfigFile": path },
        });
        webhook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([{ "type": "Webhook", "name": "w", "webhook": webhook }])
    };
    let condition = |text: &str| json!({ "matchConditions": [{ "expression": text }], "matchConditionSubjectAccessReviewVersion": "v1" });
    for (authorizers, expected) in [
        (json!([]), "authorizers: Required value: at least one authorization mode must be defined"),
        (json!([{ "name": "x" }]), "authorizers[0].type: Required value"),
        (
            json!([{ "type": "X", "name": "x" }]),
            "authorizers[0].type: Unsupported value: \"X\": supported values: \"ABAC\", \"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\"",
        ),
        (
            json!([{ "type": "Node", "name": "node" }, { "type": "Node", "name": "n" }]),
            "authorizers[1].type: Duplicate value: \"Node\"",
        ),
        (json!([{ "type": "Node" }]), "authorizers[0].name: Required value"),
        (
            json!([{ "type": "Node", "name": "x" }, { "type": "RBAC", "name": "x" }]),
            "authorizers[1].name: Duplicate value: \"x\"",
        ),
        (
            json!([{ "type": "Webhook", "name": "w" }]),
            "authorizers[0].webhook: Required value: required when type=Webhook",
        ),
        (
            json!([{ "type": "Node", "name": "node", "webhook": {} }]),
            "authorizers[0].webhook: Invalid value: \"non-null\": may only be specified when type=Webhook",
        ),
        (webhook(json!({})), ""),
        (webhook(json!({ "timeout": "0s" })), "authorizers[0].timeout: Required value"),
        (
            webhook(json!({ "timeout": "1m1s" })),
            "authorizers[0].timeout: Invalid value: \"1m1s\": must be > 0s and <= 30s",
        ),
        (
            webhook(json!({ "subjectAccessReviewVersion": "v2" })),
            "authorizers[0].subjectAccessReviewVersion: Unsupported value: \"v2\": supported values: \"v1\", \"v1beta1\"",
        ),
        (webhook(json!({ "failurePolicy": "" })), "authorizers[0].failurePolicy: Required value"),
        (webhook(json!({ "connectionInfo": {} })), "authorizers[0].connectionInfo.type: Required value"),
        (
            webhook(json!({ "connectionInfo": { "type": "KubeConfigFile" } })),
            "authorizers[0].connectionInfo.kubeConfigFile: Required value",
        ),
        (
            webhook(json!({ "connectionInfo": { "type": "KubeConfigFile", "kubeConfigFile": "a" } })),
            "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"a\": must be an absolute path",
        ),
        (
            webhook(json!({ "connectionInfo": { "type": "KubeConfigFile", "kubeConfigFile": "/" } })),
            "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"/\": must be a regular file",
        ),
        (
            webhook(json!({ "matchConditions": [{ "expression": "true" }] })),
            "authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified",
        ),
        (webhook(condition(" ")), "authorizers[0].matchConditions[0].expression: Required value"),
        (
            webhook(condition("request.user")),
            "authorizers[0].matchConditions[0].expression: Invalid value: \"request.user\": must evaluate to bool but got string",
        ),
        (
            webhook(condition(
                "has(request.resourceAttributes) && request.resourceAttributes.namespace == 'kube-system'",
            )),
            "",
        ),
    ] {
        assert_eq!(wrong(&authorizers), expected, "{authorizers}");
    }
    let refused = |authorizers: Value| {
        parse(&text(&authorizers))
            .and_then(|configuration| build(&configuration, None, &Egress::default()))
            .err()
            .unwrap()
            .to_string()
    };
    assert_eq!(
        refused(json!([{ "type": "RBAC", "name": "x" }])),
        "expected name rbac for authorizer RBAC instead of x"
    );
    assert!(refused(json!([{ "type": "ABAC", "name": "abac" }])).starts_with("authorizer type ABAC is not allowed"));
}

#[test]
fn flags() {
    let of = |more: &[&str]| {
        let needed =
            ["apiserver", "--store-dir=s", "--tls-cert-file=a", "--tls-private-key-file=b", "--client-ca-file=c"];
        let needed = needed.iter().chain(&["--service-account-signing-key-file=d"]);
        let configuration = Configuration::of_flags(&Options::parse_from(needed.chain(more)));
        configuration.map_err(|error| error.to_string())
    };
    let names = |more: &[&str]| {
        let configuration = of(more).unwrap();
        assert!(build(&configuration, None, &Egress::default()).is_ok());
        configuration.authorizers.into_iter().map(|authorizer| authorizer.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["node", "rbac"]);
    assert_eq!(names(&["--authorization-mode=RBAC,AlwaysDeny"]), ["rbac", "alwaysdeny"]);
    for (more, why) in [
        (&["--authorization-mode=X"][..], "authorization-mode \"X\" is not a valid mode"),
        (
            &["--authorization-mode=RBAC,RBAC"],
            "authorization-mode [\"RBAC\", \"RBAC\"] has mode specified more than once",
        ),
        (&["--authorization-mode=ABAC"], "authorization-mode ABAC's authorization policy file not passed"),
        (&["--authorization-policy-file=x"], "cannot specify --authorization-policy-file without mode ABAC"),
        (&["--authorization-mode=Webhook"], "authorization-mode Webhook's authorization config file not passed"),
        (
            &["--authorization-webhook-config-file=x"],
            "cannot specify --authorization-webhook-config-file without mode Webhook",
        ),
    ] {
        assert_eq!(of(more), Err(why.to_owned()));
    }
    let webhook = of(&["--authorization-mode=Webhook", "--authorization-webhook-config-file=/x"]).unwrap();
    let webhook = webhook.authorizers[0].webhook.clone().unwrap();
    assert_eq!((webhook.authorized_ttl.as_secs(), webhook.unauthorized_ttl.as_secs()), (300, 30));
    assert_eq!((&*webhook.failure_policy, &*webhook.subject_access_review_version), ("NoOpinion", "v1beta1"));
}

#[test]
fn what_webhooks_and_conditions_see() {
    let user = UserInfo::new("jane", ["dev"]);
    let pod = Resource { resource: "pods", namespace: "n", ..Resource::default() };
    let attributes = Attributes { user: &user, verb: "list", target: Target::Resource(pod) };
    let sent = spec(&attributes, &Asked { version: "v1", fields: &[("spec.nodeName", "w1")] });
    let selector = json!({ "requirements": [{ "key": "spec.nodeName", "operator": "In", "values": ["w1"] }] });
    assert_eq!(
        sent,
        json!({ "user": "jane", "groups": ["dev"], "resourceAttributes":
            { "namespace": "n", "verb": "list", "version": "v1", "resource": "pods", "fieldSelector": selector } })
    );
    assert_eq!(
        shown(&sent),
        json!({ "user": "jane", "uid": "", "groups": ["dev"], "extra": {}, "resourceAttributes":
            { "namespace": "n", "verb": "list", "group": "", "version": "v1", "resource": "pods", "subresource": "", "name": "",
              "fieldSelector": selector } })
    );
    let attributes = Attributes { user: &user, verb: "get", target: Target::Path("/x") };
    let sent = spec(&attributes, &Asked::default());
    assert_eq!(sent["nonResourceAttributes"], json!({ "path": "/x", "verb": "get" }));
    assert!(shown(&sent)["resourceAttributes"].is_null());
    assert_eq!(super::Outcome::from(Decision::Allow(Arc::default())).error, None);
}
