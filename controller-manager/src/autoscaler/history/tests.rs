use k8s_openapi::api::autoscaling::v2::HPAScalingPolicy;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn request(behavior: Option<&HorizontalPodAutoscalerBehavior>, current: i32, wanted: i32, second: i64) -> Request<'_> {
    let down_window = SignedDuration::from_secs(300);
    Request { behavior, least: 1, most: 100, current, wanted, down_window, now: at(second) }
}

fn rules(select: &str, window: i32, policies: &[(&str, i32, i32)]) -> HPAScalingRules {
    let policy = |(kind, value, period): &(&str, i32, i32)| HPAScalingPolicy {
        type_: (*kind).to_owned(),
        value: *value,
        period_seconds: *period,
    };
    HPAScalingRules {
        policies: Some(policies.iter().map(policy).collect()),
        select_policy: Some(select.to_owned()),
        stabilization_window_seconds: Some(window),
        tolerance: None,
    }
}

fn behavior(up: HPAScalingRules, down: HPAScalingRules) -> HorizontalPodAutoscalerBehavior {
    HorizontalPodAutoscalerBehavior { scale_up: Some(up), scale_down: Some(down) }
}

#[test]
fn without_a_behaviour() {
    for (current, wanted, least, most, expected, limited, reason) in [
        (3, 5, 1, 10, 5, false, "DesiredWithinRange"),
        (1, 9, 1, 100, 4, true, "ScaleUpLimit"),
        (5, 50, 1, 100, 10, true, "ScaleUpLimit"),
        (3, 20, 1, 5, 5, true, "TooManyReplicas"),
        (3, 0, 2, 5, 2, true, "TooFewReplicas"),
    ] {
        let found = History::default().normalize(Request { least, most, ..request(None, current, wanted, 0) });
        assert_eq!(
            (found.replicas, found.limited, found.limit.0),
            (expected, limited, reason),
            "{current} to {wanted}"
        );
    }
}

#[test]
fn the_highest_recommendation_of_five_minutes_holds() {
    let mut history = History::default();
    history.begin(8, at(0));
    let down = |history: &mut History, second| {
        let found = history.normalize(request(None, 8, 2, second));
        (found.replicas, found.able.0)
    };
    assert_eq!(down(&mut history, 15), (8, "ScaleDownStabilized"));
    assert_eq!(down(&mut history, 300), (8, "ScaleDownStabilized"), "the window's edge still counts");
    assert_eq!(down(&mut history, 301), (2, "ReadyForNewScale"));
    assert!(history.recommended.len() <= 3, "what nobody can ask for is forgotten");
}

#[test]
fn windows_of_a_behaviour() {
    let calm = behavior(rules("Max", 60, &[("Percent", 1000, 15)]), rules("Max", 120, &[("Percent", 100, 15)]));
    let mut history = History::default();
    history.begin(3, at(0));
    let mut go = |wanted, second| {
        let found = history.normalize(request(Some(&calm), 3, wanted, second));
        (found.replicas, found.able.0)
    };
    assert_eq!(go(9, 15), (3, "ScaleUpStabilized"), "a minute ago it was to be 3");
    assert_eq!(go(9, 61), (9, "ReadyForNewScale"));
    assert_eq!(go(1, 90), (3, "ScaleDownStabilized"), "the highest is 9: the size stays");
    assert_eq!(go(1, 182), (1, "ReadyForNewScale"));
}

#[test]
fn rates_of_a_behaviour() {
    let two = [("Pods", 4, 60), ("Percent", 50, 60)];
    for (select, current, wanted, before, expected, reason) in [
        ("Max", 4, 30, 0, 8, "ScaleUpLimit"),
        ("Min", 4, 30, 0, 6, "ScaleUpLimit"),
        ("Max", 20, 90, 0, 30, "ScaleUpLimit"),
        ("Max", 8, 30, 4, 8, "ScaleUpLimit"),
        ("Disabled", 4, 30, 0, 4, "ScaleUpLimit"),
        ("Max", 20, 1, 0, 10, "ScaleDownLimit"),
        ("Min", 20, 1, 0, 16, "ScaleDownLimit"),
        ("Disabled", 20, 1, 0, 20, "ScaleDownLimit"),
        ("Max", 4, 6, 0, 6, "DesiredWithinRange"),
    ] {
        let fast = behavior(rules(select, 0, &two), rules(select, 0, &two));
        let mut history = History::default();
        if before > 0 {
            history.scaled(Some(&fast), current - before, current, at(90));
        }
        let found = history.normalize(request(Some(&fast), current, wanted, 100));
        assert_eq!(
            (found.replicas, found.limit.0),
            (expected, reason),
            "{select} {current} to {wanted} after {before}"
        );
    }
}

#[test]
fn a_change_counts_for_its_period_and_is_forgotten() {
    let slow = behavior(rules("Max", 0, &[("Pods", 2, 60)]), rules("Max", 0, &[("Pods", 2, 60)]));
    let mut history = History::default();
    history.scaled(Some(&slow), 2, 4, at(0));
    let at_second = |history: &mut History, second| history.normalize(request(Some(&slow), 4, 20, second)).replicas;
    assert_eq!(at_second(&mut history, 30), 4);
    assert_eq!(at_second(&mut history, 61), 6);
    history.scaled(Some(&slow), 4, 6, at(61));
    assert_eq!(history.added.len(), 1);
}
