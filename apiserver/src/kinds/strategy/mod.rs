//! What makes a kind behave: defaults that no marker says, what a create or update drops or sets, and which validation
//! applies. One file a kind or a family of kinds that share their rules; each exports the [`Strategy`] values that rows name.

pub mod autoscaler;
mod autoscaler_v1;
pub mod config;
pub mod cron_job;
pub mod daemon_set;
pub mod definition;
pub mod deployment;
pub mod endpoints;
pub mod event;
pub mod ingress;
pub mod job;
pub mod namespace;
pub mod network_policy;
pub mod node;
pub mod pod;
pub mod pod_spec;
pub mod policy;
pub mod rbac;
pub mod replica_set;
pub mod resource;
pub mod service;
pub mod stateful_set;
pub mod storage;
pub mod webhook;

use serde_json::Value;

use super::json::Json;
use super::{NameRule, Strategy};

/// Metadata that upstream's `ResetObjectMetaForStatus` puts back.
pub const METADATA: &[&str] = &["labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp"];
/// `status` is a subresource, and the generation counts changes of the spec.
pub const SPEC_AND_STATUS: Strategy = Strategy { has_status: true, has_generation: true, ..Strategy::PLAIN };
/// What is made of the names of those that make pods.
const PODS: &str = "Pod names and hostnames";

/// `status` is a subresource; no generation.
pub const WITH_STATUS: Strategy = Strategy { has_status: true, ..Strategy::PLAIN };
/// Updates must name the resourceVersion they are based on.
pub const CONDITIONAL: Strategy = Strategy { unconditional_update: false, ..Strategy::PLAIN };
pub const PATH_SEGMENT: Strategy = Strategy { name: NameRule::PathSegment, ..Strategy::PLAIN };

/// Counters that are 0 rather than absent: Go writes them always, and typed clients expect them.
fn zero(object: &mut Value, counters: &[&str]) {
    object.default_to("status", serde_json::json!({}));
    for counter in counters {
        object.default_to(&format!("status.{counter}"), 0);
    }
}

/// Labels of the template serve where the object has none of its own, and as selector where that is absent; only
/// ReplicationControllers still do it in a GA version.
fn labels_from_template(object: &mut Value) {
    let labels = object.at("spec.template.metadata.labels").clone();
    if labels.as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    if object.entries("spec.selector").is_empty() {
        object.put("spec.selector", labels.clone());
    }
    if object.entries("metadata.labels").is_empty() {
        object.put("metadata.labels", labels);
    }
}
