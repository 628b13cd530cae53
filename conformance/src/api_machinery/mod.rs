//! sig-api-machinery.

mod crd;

pub mod admission_policy;
pub mod aggregated_discovery;
pub mod aggregator;
pub mod chunking;
pub mod crd_field_selectors;
pub mod crd_openapi;
pub mod crd_resources;
pub mod crd_watch;
pub mod discovery;
pub mod field_validation;
pub mod flow_control;
pub mod garbage_collector;
pub mod namespace_pods;
pub mod namespaces;
pub mod resource_quota;
pub mod server_version;
pub mod table;
pub mod watch;
pub mod webhook;
