//! A HorizontalPodAutoscaler's status while it is being made.

use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub const ABLE: &str = "AbleToScale";
pub const ACTIVE: &str = "ScalingActive";
pub const LIMITED: &str = "ScalingLimited";

/// Sets a condition; the time of its last transition moves only with its status.
pub fn set(
    status: &mut HorizontalPodAutoscalerStatus,
    kind: &str,
    holds: bool,
    reason: &str,
    message: impl Into<String>,
    now: &Time,
) {
    let conditions = status.conditions.get_or_insert_default();
    let at = conditions.iter().position(|condition| condition.type_ == kind).unwrap_or_else(|| {
        let type_ = kind.to_owned();
        conditions.push(HorizontalPodAutoscalerCondition { type_, ..HorizontalPodAutoscalerCondition::default() });
        conditions.len() - 1
    });
    let condition = &mut conditions[at];
    let holds = if holds { "True" } else { "False" };
    if condition.status != holds {
        condition.last_transition_time = Some(now.clone());
    }
    condition.status = holds.to_owned();
    condition.reason = Some(reason.to_owned());
    condition.message = Some(message.into());
}

/// The numbers, anew; conditions and the time of the last scaling stay.
pub fn count(status: &mut HorizontalPodAutoscalerStatus, current: i32, desired: i32, metrics: Vec<MetricStatus>) {
    *status = HorizontalPodAutoscalerStatus {
        conditions: status.conditions.take(),
        current_metrics: (!metrics.is_empty()).then_some(metrics),
        current_replicas: Some(current),
        desired_replicas: desired,
        last_scale_time: status.last_scale_time.take(),
        observed_generation: None,
    };
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn a_transition_is_a_change_of_status() {
        let at = |second| Time(Timestamp::from_second(second).unwrap());
        let mut status = HorizontalPodAutoscalerStatus::default();
        set(&mut status, ABLE, true, "SucceededGetScale", "a", &at(1));
        set(&mut status, ABLE, true, "ReadyForNewScale", "b", &at(2));
        let conditions = status.conditions.clone().unwrap();
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, Some(at(1)));
        assert_eq!(conditions[0].reason.as_deref(), Some("ReadyForNewScale"));
        set(&mut status, ABLE, false, "FailedGetScale", "c", &at(3));
        assert_eq!(status.conditions.unwrap()[0].last_transition_time, Some(at(3)));
    }
}
