//! Conditions, and the `status` and `message` columns that sum them up, with upstream's reasons and messages.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The part all kinds share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    pub conditions: Vec<Condition>,
    pub status: String,
    pub message: String,
}

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Ready,
    Pending(String),
    Error(String),
}

impl State {
    pub fn pending_unless(ready: bool, message: &str) -> Self {
        if ready { Self::Ready } else { Self::Pending(message.to_owned()) }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Pending(_) => "Pending",
            Self::Error(_) => "Error",
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Ready => "OK",
            Self::Pending(message) | Self::Error(message) => message,
        }
    }
}

impl From<Result<(), String>> for State {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Error, |()| Self::Ready)
    }
}

impl Status {
    /// Sets one condition; its transition time moves only when its status does.
    pub fn set(&mut self, kind: &str, state: &State, generation: i64, now: Timestamp) {
        let status = if *state == State::Ready { "True" } else { "False" };
        let known = self.conditions.iter_mut().find(|it| it.type_ == kind);
        let since = known.as_ref().filter(|it| it.status == status).map(|it| it.last_transition_time.clone());
        let condition = Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: state.reason().to_owned(),
            message: state.message().to_owned(),
            observed_generation: Some(generation),
            last_transition_time: since.unwrap_or(Time(now)),
        };
        match known {
            Some(known) => *known = condition,
            None => self.conditions.push(condition),
        }
    }

    /// Sets `Ready`, `status` and `message` from the conditions that `required` names: the first that is not true says
    /// why.
    pub fn sum_up(&mut self, required: &[&str], generation: i64, now: Timestamp) {
        let state = required.iter().find_map(|kind| match self.conditions.iter().find(|it| it.type_ == *kind) {
            None => Some(State::Pending(format!("Not {kind}"))),
            Some(it) if it.status != "False" => None,
            Some(it) if it.reason == "Error" => Some(State::Error(it.message.clone())),
            Some(it) => Some(State::Pending(it.message.clone())),
        });
        let state = state.unwrap_or(State::Ready);
        state.reason().clone_into(&mut self.status);
        state.message().clone_into(&mut self.message);
        self.set("Ready", &state, generation, now);
    }

    pub fn is_true(&self, kind: &str) -> bool {
        self.conditions.iter().any(|it| it.type_ == kind && it.status == "True")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_condition_that_is_not_true_says_why() {
        let (then, now) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + k8s_openapi::jiff::Span::new().seconds(9));
        let mut status = Status::default();
        status.set("Configured", &State::Ready, 1, then);
        status.sum_up(&["Configured", "Running"], 1, then);
        assert_eq!((status.status.as_str(), status.message.as_str()), ("Pending", "Not Running"));
        status.set("Running", &State::Pending("No router pod is ready".into()), 1, then);
        status.sum_up(&["Configured", "Running"], 1, then);
        assert_eq!(status.message, "No router pod is ready");
        status.set("Running", &State::Ready, 1, now);
        status.set("Configured", &State::Ready, 2, now);
        status.sum_up(&["Configured", "Running"], 2, now);
        assert_eq!((status.status.as_str(), status.message.as_str()), ("Ready", "OK"));
        assert_eq!(status.conditions[0].last_transition_time, Time(then), "it was true all along");
        assert!(status.is_true("Ready"));
    }
}
