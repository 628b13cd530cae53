//! Small kinds that say how the cluster is run: disruption budgets, priorities, leases, runtime classes, certificate
//! requests, flow control.

use serde_json::{Value, json};

use super::super::json::Json;
use super::super::validate;
use super::super::{NameRule, Strategy};
use super::{CONDITIONAL, SPEC_AND_STATUS, WITH_STATUS, zero};

pub const DISRUPTION_BUDGET: Strategy = Strategy {
    default: Some(|budget| zero(budget, &["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"])),
    unconditional_update: false,
    // Upstream looks at what it says alone.
    name: NameRule::PathSegment,
    validate: Some(validate::policy::disruption_budget),
    validate_path: &[("status", validate::counts::budget)],
    ..SPEC_AND_STATUS
};

pub const PRIORITY_CLASS: Strategy = Strategy {
    // It is 1 for ever.
    prepare_create: Some(|class| class.put("metadata.generation", 1)),
    default: Some(|class| class.default_pointer("preemptionPolicy", "PreemptLowerPriority")),
    validate: Some(validate::policy::priority_class),
    validate_update: Some(validate::policy::priority_class_update),
    ..Strategy::PLAIN
};

pub const LEASE: Strategy = Strategy {
    create_on_update: true,
    // Coordinated leader election is behind a gate.
    prepare_create: Some(without_election),
    prepare_update: Some(|new, _| without_election(new)),
    validate: Some(validate::policy::lease),
    ..CONDITIONAL
};

fn without_election(lease: &mut Value) {
    for field in ["spec.strategy", "spec.preferredHolder"] {
        lease.remove(field);
    }
}

pub const RUNTIME_CLASS: Strategy = Strategy {
    validate: Some(validate::policy::runtime_class),
    warnings: Some(validate::node_labels::runtime_class),
    validate_update: Some(validate::policy::runtime_class_update),
    ..CONDITIONAL
};

/// The requester's identity in the spec is set by the REST side, which knows the user.
pub const SIGNING_REQUEST: Strategy = Strategy {
    unmanaged: &["spec"],
    name: NameRule::PathSegment,
    prepare_create: Some(|request| request.put("status", json!({}))),
    prepare_update: Some(|new, old| {
        new.take_from("spec", old);
        new.take_from("status", old);
    }),
    prepare_path: &[("approval", approval), ("status", signing_status)],
    validate: Some(validate::signing::request),
    validate_update: Some(validate::signing::update),
    validate_path: &[("approval", validate::signing::approval), ("status", validate::signing::status)],
    ..WITH_STATUS
};

/// An approval changes the conditions, and never the certificate.
fn approval(new: &mut Value, old: &Value) {
    new.take_from("status.certificate", old);
    stamp_conditions(new, old);
}

/// A signer changes everything but the decision.
fn signing_status(new: &mut Value, old: &Value) {
    for condition in new.list_mut("status.conditions") {
        let same = |before: &&Value| {
            matches!(before.text("type"), "Approved" | "Denied") && before.text("type") == condition.text("type")
        };
        if let Some(decided) = old.list("status.conditions").iter().find(same).cloned() {
            *condition = decided;
        }
    }
    stamp_conditions(new, old);
}

/// Conditions get their times: of the last update, and of the last change.
fn stamp_conditions(new: &mut Value, old: &Value) {
    let now = crate::registry::object::now();
    for condition in new.list_mut("status.conditions") {
        condition.default_to("lastUpdateTime", now.clone());
        let same =
            |o: &&Value| o.text("type") == condition.text("type") && o.text("status") == condition.text("status");
        let since = old.list("status.conditions").iter().find(same).map(|o| o.text("lastTransitionTime").to_owned());
        let since = since.filter(|since| !since.is_empty()).unwrap_or_else(|| now.clone());
        condition.default_to("lastTransitionTime", since);
    }
}

/// A status write leaves all of the metadata.
const ALL_METADATA: &[&str] =
    &["labels", "annotations", "finalizers", "ownerReferences", "generateName", "deletionTimestamp"];

pub const FLOW_SCHEMA: Strategy = Strategy {
    status_keeps: ALL_METADATA,
    validate: Some(validate::flow::schema),
    default: Some(|schema| {
        if schema.int("spec.matchingPrecedence") == 0 {
            schema.put("spec.matchingPrecedence", 1000);
        }
    }),
    ..SPEC_AND_STATUS
};

pub const PRIORITY_LEVEL: Strategy = Strategy {
    status_keeps: ALL_METADATA,
    validate: Some(validate::flow::level),
    default: Some(|level| match level.text("spec.type") {
        "Limited" if level.has("spec.limited") => {
            level.default_to("spec.limited.nominalConcurrencyShares", 30);
            level.default_to("spec.limited.lendablePercent", 0);
            if level.text("spec.limited.limitResponse.type") == "Queue" {
                let queuing = "spec.limited.limitResponse.queuing";
                for (field, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
                    // Without the struct there are no fields of it; 0 is as good as nothing.
                    if level.has(queuing) && level.at(queuing).int(field) == 0 {
                        level.put(&format!("{queuing}.{field}"), value);
                    }
                }
            }
        }
        "Exempt" => {
            level.default_to("spec.exempt.nominalConcurrencyShares", 0);
            level.default_to("spec.exempt.lendablePercent", 0);
        }
        _ => {}
    }),
    ..SPEC_AND_STATUS
};
