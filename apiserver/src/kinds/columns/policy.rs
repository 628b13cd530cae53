//! Disruption budgets, priorities, leases, runtime classes, certificate requests.

use serde_json::Value;

use super::super::Column;
use super::super::json::Json;
use super::{AGE, human_duration, integer, or, plain, text};

pub const DISRUPTION_BUDGETS: &[Column] = &[
    text("Min Available", |object, _| or_na(object.at("spec.minAvailable"))),
    text("Max Unavailable", |object, _| or_na(object.at("spec.maxUnavailable"))),
    integer("Allowed Disruptions", |object, _| object.int("status.disruptionsAllowed").into()),
    AGE,
];

pub const PRIORITY_CLASSES: &[Column] = &[
    integer("Value", |object, _| object.int("value").into()),
    Column { kind: "boolean", ..text("Global-Default", |object, _| object.yes("globalDefault").into()) },
    AGE,
    text("PreemptionPolicy", |object, _| object.text("preemptionPolicy").into()),
];

pub const LEASES: &[Column] = &[text("Holder", |object, _| object.text("spec.holderIdentity").into()), AGE];

pub const RUNTIME_CLASSES: &[Column] = &[text("Handler", |object, _| object.text("handler").into()), AGE];

pub const SIGNING_REQUESTS: &[Column] = &[
    AGE,
    text("SignerName", |object, _| or(object.text("spec.signerName"), "<none>").into()),
    text("Requestor", |object, _| object.text("spec.username").into()),
    text("RequestedDuration", |object, _| match object.at("spec.expirationSeconds").as_i64() {
        Some(seconds) => human_duration(seconds).into(),
        None => "<none>".into(),
    }),
    text("Condition", |object, _| signing_state(object).into()),
];

fn or_na(value: &Value) -> Value {
    if value.is_null() { "N/A".into() } else { plain(value).into() }
}

fn signing_state(request: &Value) -> String {
    let has = |kind| request.list("status.conditions").iter().any(|c| c.text("type") == kind);
    let mut state = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !request.text("status.certificate").is_empty() {
        state.push_str(",Issued");
    }
    state
}
