//! What authenticators have to say besides who it is.

use std::time::Duration;

use crate::audit::Trail;

/// Collected before the request has a line in the audit log, and handed on when it has one; what is to be counted of it comes
/// later.
#[derive(Default)]
pub struct Notes {
    /// For the client.
    pub warnings: Vec<String>,
    /// For the audit log.
    pub annotations: Vec<(&'static str, String)>,
    /// Why what it says of its time is not to be understood.
    pub timeout: Option<String>,
    /// It was refused before it was known whose it is.
    pub early: bool,
    /// Who asks may not.
    pub forbidden: bool,
    /// The request has reached what its path is about.
    pub served: bool,
    /// How long webhooks took of it.
    pub webhooks: Duration,
    /// What is asked for is to go.
    pub deprecated: bool,
}

impl Notes {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.warnings.is_empty() && self.annotations.is_empty()
    }

    /// Writes the annotations into the audit log.
    pub fn tell(&self, trail: Option<&Trail>) {
        for (key, value) in &self.annotations {
            if let Some(trail) = trail {
                trail.annotate(key, value);
            }
        }
    }
}
