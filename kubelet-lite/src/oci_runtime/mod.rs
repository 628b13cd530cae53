//! The OCI runtime's side: what a container is told to be ([`spec`]), and who starts and watches it ([`sandbox`]).

pub mod spec;
pub mod capabilities;
pub mod exec;
pub mod sandbox;
