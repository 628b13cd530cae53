//! What an API error means to a controller.

/// Reading the HTTP meaning of a client error.
pub trait ApiError {
    fn is_conflict(&self) -> bool;
    fn is_not_found(&self) -> bool;
    fn already_exists(&self) -> bool;
    /// The object's namespace is being deleted; creating in it can never succeed.
    fn namespace_terminating(&self) -> bool;
    /// The request itself is wrong: sending it again helps nothing until its input changes.
    fn is_invalid(&self) -> bool;
    /// What the API server said, or else why it said nothing: for events and conditions.
    fn words(&self) -> String;
}

impl ApiError for kube::Error {
    fn is_conflict(&self) -> bool {
        reason_of(self).is_some_and(|(code, reason)| code == 409 && reason != "AlreadyExists")
    }

    fn is_not_found(&self) -> bool {
        reason_of(self).is_some_and(|(code, _)| code == 404)
    }

    fn already_exists(&self) -> bool {
        reason_of(self).is_some_and(|(_, reason)| reason == "AlreadyExists")
    }

    fn namespace_terminating(&self) -> bool {
        let Self::Api(status) = self else { return false };
        status.code == 403
            && (status.message.contains("because it is being terminated")
                || status.details.as_ref().is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating")))
    }

    fn is_invalid(&self) -> bool {
        reason_of(self).is_some_and(|(code, _)| code == 422)
    }

    fn words(&self) -> String {
        match self {
            Self::Api(status) => status.message.clone(),
            other => other.to_string(),
        }
    }
}

/// The HTTP code and machine-readable reason of an API server's refusal.
#[must_use]
pub fn reason_of(error: &kube::Error) -> Option<(u16, &str)> {
    match error {
        kube::Error::Api(status) => Some((status.code, status.reason.as_str())),
        _ => None,
    }
}
