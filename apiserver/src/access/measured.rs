//! What is counted of who asked, and of whether they might (`apiserver/pkg/endpoints/filters/metrics.go`).

use std::time::Duration;

use auth::{Decision, UserInfo};

use super::Outcome;
use crate::http::status::ApiResult;
use crate::metrics::Metrics;

/// Users who are told apart; there may be as many as the world has.
const USERS: [&str; 5] = ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"];

fn compressed(user: &str) -> &str {
    match user {
        user if USERS.contains(&user) => user,
        user if user.contains('@') => "email_id",
        _ => "other",
    }
}

/// `shown`: the request had something to show for itself.
pub fn authentication(metrics: &Metrics, outcome: &ApiResult<UserInfo>, shown: bool, took: Duration) {
    let result = match outcome {
        Ok(user) => {
            metrics.authenticated_users.increase(&[compressed(&user.username)]);
            "success"
        }
        Err(_) if shown => "error",
        Err(_) => "failure",
    };
    metrics.authentication_attempts.increase(&[result]);
    metrics.authentication_duration.observe(&[result], took.as_secs_f64());
}

pub fn authorization(metrics: &Metrics, outcome: &Outcome, took: Duration) {
    let result = match (&outcome.decision, &outcome.error) {
        (Decision::Allow(_), _) => "allowed",
        (_, Some(_)) => "error",
        (Decision::Deny(_), None) => "denied",
        (Decision::NoOpinion(_), None) => "no-opinion",
    };
    metrics.authorization_attempts.increase(&[result]);
    metrics.authorization_duration.observe(&[result], took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::compressed;

    #[test]
    fn few_users_are_told_apart() {
        for (user, told) in [
            ("admin", "admin"),
            ("jane@example.com", "email_id"),
            ("system:serviceaccount:kube-system:default", "system:serviceaccount:kube-system:default"),
            ("system:serviceaccount:a:default", "other"),
            ("system:anonymous", "other"),
        ] {
            assert_eq!(compressed(user), told);
        }
    }
}
