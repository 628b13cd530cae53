//! knetsim-controller-manager
pub mod context;
pub mod deployment;
pub mod endpoints;
pub mod framework;
pub mod replicas;
pub mod root_ca;
pub mod service_account;
