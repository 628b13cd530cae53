//! Ingresses, IngressClasses, NetworkPolicies, IPAddresses, ServiceCIDRs.

use serde_json::Value;

use super::super::json::Json;
use super::super::{Column, UNDEFINED};
use super::service::load_balancer;
use super::{AGE, first_three, or, selector, text};

pub const INGRESSES: &[Column] = &[
    text("Class", |object, _| or(object.text("spec.ingressClassName"), "<none>").into()),
    text("Hosts", |object, _| hosts(object).into()),
    text("Address", |object, _| load_balancer(object).into()),
    text("Ports", |object, _| if object.list("spec.tls").is_empty() { "80" } else { "80, 443" }.into()),
    AGE,
];

pub const INGRESS_CLASSES: &[Column] = &[
    text("Controller", |object, _| object.text("spec.controller").into()),
    text("Parameters", |object, _| {
        let parameters = object.at("spec.parameters");
        if parameters.is_null() {
            return "<none>".into();
        }
        let group = parameters.text("apiGroup");
        let dot = if group.is_empty() { "" } else { "." };
        format!("{}{dot}{group}/{}", parameters.text("kind"), parameters.text("name")).into()
    }),
    AGE,
];

pub const NETWORK_POLICIES: &[Column] =
    &[text("Pod-Selector", |object, _| selector(object.at("spec.podSelector")).into()), AGE];

/// Upstream tells the age, too, and has no column for it.
pub const IP_ADDRESSES: &[Column] = &[
    text("ParentRef", |object, _| {
        let parent = object.at("spec.parentRef");
        let parts = ["group", "resource", "namespace", "name"].map(|part| parent.text(part));
        let dot = if parts[0].is_empty() { "" } else { "." };
        let slash = if parts[2].is_empty() { "" } else { "/" };
        match parent.is_null() {
            true => "<none>".into(),
            false => format!("{}{dot}{}/{}{slash}{}", parts[1], parts[0], parts[2], parts[3]).into(),
        }
    }),
    Column { priority: UNDEFINED, ..AGE },
];

pub const SERVICE_CIDRS: &[Column] = &[text("CIDRs", |object, _| object.texts("spec.cidrs").join(",").into()), AGE];

fn hosts(ingress: &Value) -> String {
    let hosts: Vec<String> =
        ingress.list("spec.rules").iter().map(|r| r.text("host").to_owned()).filter(|h| !h.is_empty()).collect();
    first_three(&hosts, "*")
}
