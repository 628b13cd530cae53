//! The OCI runtime's side: what a container is told to be ([`spec`]), and who starts and watches it ([`sandbox`]).

pub mod capabilities;
pub mod cgroup;
pub mod exec;
pub mod sandbox;
pub mod spec;
