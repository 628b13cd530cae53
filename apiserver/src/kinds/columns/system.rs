//! What extends or steers the API server: webhooks, admission policies, flow control, API services, component statuses.

use serde_json::Value;

use super::super::Column;
use super::super::json::Json;
use super::{AGE, condition, integer, or, text};

pub const WEBHOOKS: &[Column] = &[integer("Webhooks", |object, _| object.list("webhooks").len().into()), AGE];

pub const ADMISSION_POLICIES: &[Column] = &[
    integer("Validations", |object, _| object.list("spec.validations").len().into()),
    text("ParamKind", |object, _| {
        let kind = object.at("spec.paramKind");
        if kind.is_null() {
            "<unset>".into()
        } else {
            format!("{}/{}", kind.text("apiVersion"), kind.text("kind")).into()
        }
    }),
    AGE,
];

pub const MUTATING_POLICIES: &[Column] =
    &[integer("Mutations", |object, _| object.list("spec.mutations").len().into()), ADMISSION_POLICIES[1], AGE];

pub const ADMISSION_BINDINGS: &[Column] = &[
    text("PolicyName", |object, _| object.text("spec.policyName").into()),
    text("ParamRef", |object, _| {
        let reference = object.at("spec.paramRef");
        match (reference.text("name"), reference.text("namespace")) {
            _ if reference.is_null() => "<unset>".into(),
            ("", _) => "*".into(),
            (name, "") => name.into(),
            (name, namespace) => format!("{namespace}/{name}").into(),
        }
    }),
    AGE,
];

pub const FLOW_SCHEMAS: &[Column] = &[
    text("PriorityLevel", |object, _| object.text("spec.priorityLevelConfiguration.name").into()),
    text("MatchingPrecedence", |object, _| object.int("spec.matchingPrecedence").into()),
    text("DistinguisherMethod", |object, _| or(object.text("spec.distinguisherMethod.type"), "<none>").into()),
    AGE,
    text("MissingPL", |object, _| or(condition(object, "Dangling").text("status"), "?").into()),
];

pub const PRIORITY_LEVELS: &[Column] = &[
    text("Type", |object, _| object.text("spec.type").into()),
    text("NominalConcurrencyShares", |object, _| number(object.at("spec.limited.nominalConcurrencyShares"))),
    text("Queues", |object, _| number(object.at("spec.limited.limitResponse.queuing.queues"))),
    text("HandSize", |object, _| number(object.at("spec.limited.limitResponse.queuing.handSize"))),
    text("QueueLengthLimit", |object, _| number(object.at("spec.limited.limitResponse.queuing.queueLengthLimit"))),
    AGE,
];

pub const API_SERVICES: &[Column] = &[
    text("Service", |object, _| {
        let service = object.at("spec.service");
        if service.is_null() {
            return "Local".into();
        }
        format!("{}/{}", service.text("namespace"), service.text("name")).into()
    }),
    text("Available", |object, _| {
        let available = condition(object, "Available");
        match available.text("status") {
            "" => "Unknown".into(),
            "True" => "True".into(),
            status => format!("{status} ({})", available.text("reason")).into(),
        }
    }),
    AGE,
];

pub const COMPONENT_STATUSES: &[Column] = &[
    text("Status", |object, _| match healthy(object).text("status") {
        "True" => "Healthy".into(),
        "False" => "Unhealthy".into(),
        _ => "Unknown".into(),
    }),
    text("Message", |object, _| healthy(object).text("message").into()),
    text("Error", |object, _| healthy(object).text("error").into()),
];

fn healthy(component: &Value) -> &Value {
    let found = component.list("conditions").iter().find(|c| c.text("type") == "Healthy");
    found.unwrap_or(&super::super::json::NULL)
}

fn number(value: &Value) -> Value {
    if value.is_null() { "<none>".into() } else { value.clone() }
}
