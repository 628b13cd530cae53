//! A client that shows what goes over the wire: objects are JSON values, refusals are upstream's Status.

mod api;
mod objects;
mod refused;
mod watch;

pub use api::{Api, Reply};
pub use objects::{Objects, Patch};
pub use refused::{Refusal, Refused};
pub use watch::{Event, Watch};

/// How long anything may take that the cluster does by itself; a spec that waits longer fails.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(45);
