//! What a status counts: nothing less than zero, and of replicas no more than there are (`ValidateDeploymentStatus` and its kin).

use schema::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::super::json::Json;
use super::NOT_NEGATIVE;

/// The counters of a kind's status: those in upstream's order, and pairs of which the first is never the greater one, with what
/// is said of it otherwise.
struct Counts {
    all: &'static [&'static str],
    ordered: &'static [(&'static str, &'static str, &'static str)],
}

const THAN_REPLICAS: &str = "cannot be greater than status.replicas";

const DEPLOYMENT: Counts = Counts {
    all: &[
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ],
    ordered: &[
        ("updatedReplicas", "replicas", THAN_REPLICAS),
        ("readyReplicas", "replicas", THAN_REPLICAS),
        ("availableReplicas", "replicas", THAN_REPLICAS),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    ],
};

const REPLICA_SET: Counts = Counts {
    all: &[
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ],
    ordered: &[
        ("fullyLabeledReplicas", "replicas", THAN_REPLICAS),
        ("readyReplicas", "replicas", THAN_REPLICAS),
        ("availableReplicas", "replicas", THAN_REPLICAS),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    ],
};

const REPLICATION_CONTROLLER: Counts = Counts {
    all: &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"],
    ordered: REPLICA_SET.ordered,
};

const STATEFUL_SET: Counts = Counts {
    all: &[
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ],
    ordered: &[
        ("readyReplicas", "replicas", THAN_REPLICAS),
        ("currentReplicas", "replicas", THAN_REPLICAS),
        ("updatedReplicas", "replicas", THAN_REPLICAS),
        ("availableReplicas", "replicas", THAN_REPLICAS),
        ("availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas"),
    ],
};

const DAEMON_SET: Counts = Counts {
    all: &[
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ],
    ordered: &[],
};

const AUTOSCALER: Counts = Counts { all: &["currentReplicas", "desiredReplicas"], ordered: &[] };

const BUDGET: Counts =
    Counts { all: &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"], ordered: &[] };

#[must_use]
pub fn deployment(new: &Value, old: &Value) -> ErrorList {
    DEPLOYMENT.check(new, old)
}

#[must_use]
pub fn replica_set(new: &Value, old: &Value) -> ErrorList {
    REPLICA_SET.check(new, old)
}

#[must_use]
pub fn replication_controller(new: &Value, old: &Value) -> ErrorList {
    REPLICATION_CONTROLLER.check(new, old)
}

#[must_use]
pub fn stateful_set(new: &Value, old: &Value) -> ErrorList {
    STATEFUL_SET.check(new, old)
}

#[must_use]
pub fn daemon_set(new: &Value, old: &Value) -> ErrorList {
    DAEMON_SET.check(new, old)
}

#[must_use]
pub fn autoscaler(new: &Value, old: &Value) -> ErrorList {
    AUTOSCALER.check(new, old)
}

#[must_use]
pub fn budget(new: &Value, old: &Value) -> ErrorList {
    let mut errors = super::conditions::conditions(new);
    errors.extend(BUDGET.check(new, old));
    errors
}

impl Counts {
    fn check(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (path, status) = (Path::new("status"), new.at("status"));
        for field in self.all {
            let count = status.int(field);
            if count < 0 {
                errors.push(Error::invalid(&path.child(field), count, NOT_NEGATIVE));
            }
        }
        for (field, most, detail) in self.ordered {
            if status.int(field) > status.int(most) {
                errors.push(Error::invalid(&path.child(field), status.int(field), *detail));
            }
        }
        let field = "collisionCount";
        let [collisions, before] = [status, old.at("status")].map(|status| status.at(field).as_i64());
        // Counted for the first time they may be any; once counted they are not forgotten.
        if self.all.contains(&field) && before.is_some_and(|before| collisions.is_none_or(|now| now < before)) {
            let collisions = collisions.unwrap_or_default();
            errors.push(Error::invalid(&path.child(field), collisions, "cannot be decremented"));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn counters() {
        let check = |status: Value, before: Value| {
            texts(&deployment(&json!({ "status": status }), &json!({ "status": before })))
        };
        assert_eq!(
            check(json!({"replicas": 2, "readyReplicas": 2, "availableReplicas": 1}), json!({})),
            Vec::<String>::new()
        );
        assert_eq!(
            check(
                json!({"replicas": 1, "availableReplicas": 2, "unavailableReplicas": -1}),
                json!({"collisionCount": 1})
            ),
            [
                "status.unavailableReplicas: Invalid value: -1: must be greater than or equal to 0",
                "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
                "status.collisionCount: Invalid value: 0: cannot be decremented",
            ]
        );
    }
}
