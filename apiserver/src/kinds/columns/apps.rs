//! Workloads of the group apps, and ReplicationControllers.

use serde_json::Value;

use super::super::Column;
use super::super::json::Json;
use super::{AGE, CONTAINERS, IMAGES, SELECTOR, integer, labels, text, wide};

pub const DEPLOYMENTS: &[Column] = &[
    text("Ready", ready_of_desired),
    text("Up-to-date", |object, _| object.int("status.updatedReplicas").into()),
    text("Available", |object, _| object.int("status.availableReplicas").into()),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub const REPLICA_SETS: &[Column] = &[DESIRED, CURRENT, READY, AGE, CONTAINERS, IMAGES, SELECTOR];

pub const REPLICATION_CONTROLLERS: &[Column] = &[
    DESIRED,
    CURRENT,
    READY,
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", |object, _| labels(object.entries("spec.selector")).into()),
];

pub const DAEMON_SETS: &[Column] = &[
    integer("Desired", |object, _| object.int("status.desiredNumberScheduled").into()),
    integer("Current", |object, _| object.int("status.currentNumberScheduled").into()),
    integer("Ready", |object, _| object.int("status.numberReady").into()),
    integer("Up-to-date", |object, _| object.int("status.updatedNumberScheduled").into()),
    integer("Available", |object, _| object.int("status.numberAvailable").into()),
    text("Node Selector", |object, _| labels(object.entries("spec.template.spec.nodeSelector")).into()),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub const STATEFUL_SETS: &[Column] = &[text("Ready", ready_of_desired), AGE, CONTAINERS, IMAGES];

pub const CONTROLLER_REVISIONS: &[Column] = &[
    text("Controller", |object, _| {
        let owner = object.list("metadata.ownerReferences").iter().find(|o| o.yes("controller"));
        owner.map_or_else(|| "<none>".to_owned(), qualified_name).into()
    }),
    text("Revision", |object, _| object.int("revision").into()),
    AGE,
];

const DESIRED: Column = integer("Desired", |object, _| object.int("spec.replicas").into());
const CURRENT: Column = integer("Current", |object, _| object.int("status.replicas").into());
const READY: Column = integer("Ready", |object, _| object.int("status.readyReplicas").into());

fn ready_of_desired(object: &Value, _: i64) -> Value {
    format!("{}/{}", object.int("status.readyReplicas"), object.int("spec.replicas")).into()
}

/// `daemonset.apps/name`.
fn qualified_name(owner: &Value) -> String {
    let kind = owner.text("kind").to_lowercase();
    match owner.text("apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", owner.text("name")),
        None => format!("{kind}/{}", owner.text("name")),
    }
}
