//! knetsim-controller-manager
pub mod context;
pub mod daemonset;
pub mod deployment;
pub mod endpoints;
pub mod framework;
pub mod node;
pub mod replicas;
pub mod root_ca;
pub mod service_account;
