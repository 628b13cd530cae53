//! How long a pod may stay on a tainted node.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Taint, Toleration};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use scheduler::core::matching::tolerates;

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// What becomes of a pod on a node with NoExecute taints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stays,
    /// Is evicted after this time; zero means now.
    Leaves(Duration),
}

/// Every taint must be tolerated, and the shortest toleration counts, from the moment the youngest taint was added; where
/// nobody has noted that, from when the pod was first `seen` to be driven away (upstream `tainteviction`).
#[must_use]
pub fn fate(tolerations: &[Toleration], taints: &[Taint], seen: Timestamp, now: Timestamp) -> Fate {
    let mut shortest: Option<i64> = None;
    let taints: Vec<_> = taints.iter().filter(|taint| taint.effect == "NoExecute").collect();
    for taint in &taints {
        let mut accepting = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        if accepting.peek().is_none() {
            return Fate::Leaves(Duration::ZERO);
        }
        for seconds in accepting.filter_map(|toleration| toleration.toleration_seconds) {
            shortest = Some(shortest.map_or(seconds, |known| known.min(seconds)).max(0));
        }
    }
    let Some(seconds) = shortest else { return Fate::Stays };
    let since = taints.iter().filter_map(|taint| taint.time_added.as_ref()).map(|time| time.0).max().unwrap_or(seen);
    let left = SignedDuration::from_secs(seconds) - now.duration_since(since);
    Fate::Leaves(if left.is_negative() { Duration::ZERO } else { left.unsigned_abs() })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn taint(key: &str, effect: &str, at: i64) -> Taint {
        let time_added = Some(Time(Timestamp::from_second(at).unwrap()));
        Taint { key: key.into(), effect: effect.into(), value: None, time_added }
    }

    fn toleration(key: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: (!key.is_empty()).then(|| key.into()),
            operator: Some("Exists".into()),
            toleration_seconds: seconds,
            ..Default::default()
        }
    }

    #[test]
    fn fates() {
        let now = Timestamp::from_second(100).unwrap();
        let seen = Timestamp::from_second(97).unwrap();
        let unreachable = [taint(UNREACHABLE, "NoExecute", 90)];
        let timeless = [Taint { time_added: None, ..taint(UNREACHABLE, "NoExecute", 0) }];
        let cases = [
            (vec![], &unreachable[..], Fate::Leaves(Duration::ZERO)),
            (vec![toleration(UNREACHABLE, None)], &unreachable[..], Fate::Stays),
            (vec![toleration("", None)], &unreachable[..], Fate::Stays),
            (vec![toleration(UNREACHABLE, Some(300))], &unreachable[..], Fate::Leaves(Duration::from_secs(290))),
            (vec![toleration(UNREACHABLE, Some(5))], &unreachable[..], Fate::Leaves(Duration::ZERO)),
            (vec![toleration(UNREACHABLE, Some(5))], &timeless[..], Fate::Leaves(Duration::from_secs(2))),
            (vec![toleration(UNREACHABLE, Some(3))], &timeless[..], Fate::Leaves(Duration::ZERO)),
            (vec![], &[taint("x", "NoSchedule", 0)][..], Fate::Stays),
        ];
        for (tolerations, taints, expected) in cases {
            assert_eq!(fate(&tolerations, taints, seen, now), expected, "{tolerations:?}");
        }
    }
}
