//! The outside: the nginx process, the Ingresses' status, Events, and what we tell about ourselves.

pub mod health;
pub mod nginx;
pub mod report;
