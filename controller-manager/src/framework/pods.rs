//! What controllers ask of a pod, and how they make one.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::meta::{annotation, created, is_deleting};

#[must_use]
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Ended, for good or ill: none of its containers will run again.
#[must_use]
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Counts as a replica: neither ended nor being deleted.
#[must_use]
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_deleting(&pod.metadata)
}

#[must_use]
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_deref()?.iter().find(|condition| condition.type_ == kind)
}

#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Ready for at least `min_ready_seconds`.
#[must_use]
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod) && available_in(pod, min_ready_seconds, now).is_none()
}

/// How long a ready pod must still stay so to be available.
#[must_use]
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    let wanted = SignedDuration::from_secs(i64::from(min_ready_seconds));
    if wanted.is_zero() {
        return None;
    }
    let since = ready.last_transition_time.as_ref().map_or(now, |time| time.0);
    let left = wanted - now.duration_since(since);
    left.is_positive().then(|| left.unsigned_abs())
}

#[must_use]
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

#[must_use]
pub fn restarts(pod: &Pod) -> i32 {
    pod.status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default()
        .iter()
        .map(|container| container.restart_count)
        .max()
        .unwrap_or(0)
}

/// A pod of `template`, named after `owner` by the API server.
#[must_use]
pub fn from_template(template: &PodTemplateSpec, namespace: &str, owner: OwnerReference) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(generated_prefix(&owner.name)),
            namespace: Some(namespace.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// `name-`, unless that is too long to be followed by a suffix within a label's 63 characters.
fn generated_prefix(name: &str) -> String {
    const LONGEST: usize = 63 - 5;
    format!("{}-", &name[..name.len().min(LONGEST - 1)])
}

/// A number or a share of `total`, as rolling updates give their limits. Unreadable text counts as 0.
#[must_use]
pub fn scaled(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let Some(percent) = text.strip_suffix('%').and_then(|p| p.parse::<i64>().ok()) else { return 0 };
            let product = percent * i64::from(total);
            let share = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(share).unwrap_or(i32::MAX)
        }
    }
}

/// Sorts pods so that those to delete come first (upstream's `ActivePodsWithRanks`): unassigned, pending, not ready,
/// low deletion cost, on crowded nodes, ready for a short time, often restarted, young.
pub fn sort_for_deletion(pods: &mut [Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for node in related.iter().filter(|pod| is_active(pod)).filter_map(|pod| node_name(pod)) {
        *on_node.entry(node).or_default() += 1;
    }
    let crowd = |pod: &Pod| node_name(pod).and_then(|node| on_node.get(node)).copied().unwrap_or(0);
    pods.sort_by(|a, b| {
        node_name(a)
            .is_some()
            .cmp(&node_name(b).is_some())
            .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
            .then_with(|| is_ready(a).cmp(&is_ready(b)))
            .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
            .then_with(|| crowd(b).cmp(&crowd(a)))
            .then_with(|| by_age(ready_since(a), ready_since(b), now))
            .then_with(|| restarts(b).cmp(&restarts(a)))
            .then_with(|| by_age(Some(created(&a.metadata)), Some(created(&b.metadata)), now))
            .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
    });
}

fn phase_rank(pod: &Pod) -> u8 {
    match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    annotation(&pod.metadata, "controller.kubernetes.io/pod-deletion-cost").and_then(|c| c.parse().ok()).unwrap_or(0)
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// The younger first, compared by orders of magnitude, so that pods of about the same age are picked evenly
/// (`LogarithmicScaleDown`).
fn by_age(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    let magnitude = |since: Option<Timestamp>| match since {
        Some(since) => {
            let age = now.duration_since(since).as_nanos().max(1);
            age.ilog2()
        }
        None => 0,
    };
    magnitude(a).cmp(&magnitude(b))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodSpec, PodStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn pod(name: &str, node: Option<&str>, phase: &str, ready_at: Option<i64>) -> Arc<Pod> {
        let conditions = ready_at.map(|at| {
            vec![PodCondition {
                type_: "Ready".into(),
                status: "True".into(),
                last_transition_time: Some(Time(Timestamp::from_second(at).unwrap())),
                ..Default::default()
            }]
        });
        Arc::new(Pod {
            metadata: ObjectMeta { name: Some(name.into()), uid: Some(name.into()), ..Default::default() },
            spec: Some(PodSpec { node_name: node.map(Into::into), ..Default::default() }),
            status: Some(PodStatus { phase: Some(phase.into()), conditions, ..Default::default() }),
        })
    }

    #[test]
    fn deletion_prefers_what_is_least_useful() {
        let now = Timestamp::from_second(100_000).unwrap();
        let mut pods = vec![
            pod("old", Some("n1"), "Running", Some(0)),
            pod("young", Some("n1"), "Running", Some(99_990)),
            pod("crowded", Some("n2"), "Running", Some(0)),
            pod("unready", Some("n1"), "Running", None),
            pod("pending", Some("n1"), "Pending", None),
            pod("unassigned", None, "Pending", None),
        ];
        let mut related = pods.clone();
        related.extend((0..9).map(|i| pod(&format!("x{i}"), Some("n2"), "Running", Some(0))));
        sort_for_deletion(&mut pods, &related, now);
        let names: Vec<_> = pods.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["unassigned", "pending", "unready", "crowded", "young", "old"]);
    }

    #[test]
    fn limits_are_numbers_or_shares() {
        let text = |s: &str| IntOrString::String(s.into());
        assert_eq!(scaled(Some(&IntOrString::Int(3)), 10, true), 3);
        assert_eq!(scaled(Some(&text("25%")), 10, true), 3);
        assert_eq!(scaled(Some(&text("25%")), 10, false), 2);
        assert_eq!(scaled(None, 10, false), 0);
    }

    #[test]
    fn availability_counts_the_time_ready() {
        let now = Timestamp::from_second(100).unwrap();
        let pod = pod("a", None, "Running", Some(95));
        assert!(is_available(&pod, 0, now));
        assert!(is_available(&pod, 5, now));
        assert!(!is_available(&pod, 6, now));
        assert_eq!(available_in(&pod, 6, now), Some(Duration::from_secs(1)));
    }
}
