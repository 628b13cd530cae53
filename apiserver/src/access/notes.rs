//! What authenticators have to say besides who it is.

use crate::audit::Trail;

/// Collected before the request has a line in the audit log, and handed on when it has one.
#[derive(Default)]
pub struct Notes {
    /// For the client.
    pub warnings: Vec<String>,
    /// For the audit log.
    pub annotations: Vec<(&'static str, String)>,
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
