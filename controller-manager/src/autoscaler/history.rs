//! What was recommended and done before, and what that allows now (upstream's `normalizeDesiredReplicas` and
//! `normalizeDesiredReplicasWithBehaviors`): stabilisation windows, rates, and the bounds of the object itself.

use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Without a behaviour, at most this factor at once …
const UP_FACTOR: i32 = 2;
/// … or to this many.
const UP_TO: i32 = 4;

/// One autoscaler's past. No entry is kept longer than the longest window or period that may ask for it, so there are at
/// most as many as evaluations in that time (an hour, by the API's rules).
#[derive(Debug, Default)]
pub struct History {
    recommended: Vec<(Timestamp, i32)>,
    added: Vec<(Timestamp, i32)>,
    removed: Vec<(Timestamp, i32)>,
}

/// What is asked of the past.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub behavior: Option<&'a HorizontalPodAutoscalerBehavior>,
    pub least: i32,
    pub most: i32,
    pub current: i32,
    pub wanted: i32,
    /// The window for scaling down where the behaviour names none.
    pub down_window: SignedDuration,
    pub now: Timestamp,
}

/// A reason and a message of a condition.
pub type Why = (&'static str, &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalized {
    pub replicas: i32,
    /// Of AbleToScale, which is true.
    pub able: Why,
    /// Of ScalingLimited, and whether it is.
    pub limit: Why,
    pub limited: bool,
}

const READY: Why = ("ReadyForNewScale", "recommended size matches current size");
const UP_STABILIZED: Why = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: Why = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const WITHIN: Why = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FAST: Why = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const TOO_MANY: Why = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FAST_DOWN: Why =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const TOO_FEW: Why = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");

impl History {
    /// The size an autoscaler was found at counts as its first recommendation.
    pub fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommended.is_empty() {
            self.recommended.push((now, current));
        }
    }

    /// What may be done of what is wanted. Remembers what was wanted.
    pub fn normalize(&mut self, request: Request<'_>) -> Normalized {
        let Request { wanted, current, .. } = request;
        let (stable, stabilized) = match request.behavior {
            None => (self.stabilize(request), DOWN_STABILIZED),
            Some(behavior) => {
                let words = if wanted >= current { UP_STABILIZED } else { DOWN_STABILIZED };
                (self.stabilize_by(behavior, request), words)
            }
        };
        let request = Request { wanted: stable, ..request };
        let (replicas, limit) = match request.behavior {
            None => within_rules(request),
            Some(behavior) => self.within_rates(behavior, request),
        };
        let able = if stable == wanted { READY } else { stabilized };
        Normalized { replicas, able, limit, limited: replicas != stable }
    }

    /// The highest recommendation of the window.
    fn stabilize(&mut self, request: Request<'_>) -> i32 {
        let oldest = request.now - request.down_window;
        self.recommended.retain(|(at, _)| *at >= oldest);
        let highest = self.recommended.iter().map(|(_, replicas)| *replicas).max();
        self.recommended.push((request.now, request.wanted));
        highest.map_or(request.wanted, |highest| highest.max(request.wanted))
    }

    /// The present size, brought between the lowest recommendation of the one window and the highest of the other.
    fn stabilize_by(&mut self, behavior: &HorizontalPodAutoscalerBehavior, request: Request<'_>) -> i32 {
        let window = |rules: Option<&HPAScalingRules>, default| {
            rules
                .and_then(|rules| rules.stabilization_window_seconds)
                .map_or(default, |seconds| SignedDuration::from_secs(i64::from(seconds)))
        };
        let up = request.now - window(behavior.scale_up.as_ref(), SignedDuration::ZERO);
        let down = request.now - window(behavior.scale_down.as_ref(), request.down_window);
        let since =
            |from: Timestamp| self.recommended.iter().filter(move |(at, _)| *at > from).map(|(_, wanted)| *wanted);
        let least = since(up).fold(request.wanted, i32::min);
        let most = since(down).fold(request.wanted, i32::max);
        self.recommended.retain(|(at, _)| *at >= up || *at >= down);
        self.recommended.push((request.now, request.wanted));
        request.current.max(least).min(most)
    }

    fn within_rates(&self, behavior: &HorizontalPodAutoscalerBehavior, request: Request<'_>) -> (i32, Why) {
        let Request { wanted, current, least, most, .. } = request;
        if wanted > current {
            let limit = behavior.scale_up.as_ref().map_or(i32::MAX, |rules| self.most_by(rules, request)).max(current);
            let (allowed, why) = if most > limit { (limit, TOO_FAST) } else { (most, TOO_MANY) };
            if wanted > allowed {
                return (allowed, why);
            }
        } else if wanted < current {
            let limit =
                behavior.scale_down.as_ref().map_or(i32::MIN, |rules| self.least_by(rules, request)).min(current);
            let (allowed, why) = if least < limit { (limit, TOO_FAST_DOWN) } else { (least, TOO_FEW) };
            if wanted < allowed {
                return (allowed, why);
            }
        }
        (wanted, WITHIN)
    }

    fn most_by(&self, rules: &HPAScalingRules, request: Request<'_>) -> i32 {
        let proposals = self.proposals(rules, request, |start, kind, value| match kind {
            "Pods" => start.saturating_add(value),
            // Rounded up, or a small set would never grow.
            _ => (f64::from(start) * (1.0 + f64::from(value) / 100.0)).ceil() as i32,
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => request.current,
            Some("Min") => proposals.min().unwrap_or(i32::MAX),
            _ => proposals.max().unwrap_or(i32::MIN),
        }
    }

    fn least_by(&self, rules: &HPAScalingRules, request: Request<'_>) -> i32 {
        let proposals = self.proposals(rules, request, |start, kind, value| match kind {
            "Pods" => start.saturating_sub(value),
            _ => (f64::from(start) * (1.0 - f64::from(value) / 100.0)) as i32,
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => request.current,
            Some("Min") => proposals.max().unwrap_or(i32::MIN),
            _ => proposals.min().unwrap_or(i32::MAX),
        }
    }

    /// What each policy allows, from the size at the start of its period.
    fn proposals<'s>(
        &'s self,
        rules: &'s HPAScalingRules,
        request: Request<'_>,
        allow: impl Fn(i32, &str, i32) -> i32 + 's,
    ) -> impl Iterator<Item = i32> + 's {
        let Request { current, now, .. } = request;
        rules.policies.iter().flatten().map(move |policy| {
            let from = now - SignedDuration::from_secs(i64::from(policy.period_seconds));
            let start = current - changed_since(&self.added, from) + changed_since(&self.removed, from);
            allow(start, &policy.type_, policy.value)
        })
    }

    /// Remembers a change of size, where a behaviour may ask for it.
    pub fn scaled(&mut self, behavior: Option<&HorizontalPodAutoscalerBehavior>, from: i32, to: i32, now: Timestamp) {
        let Some(behavior) = behavior else { return };
        let (events, rules) =
            if to > from { (&mut self.added, &behavior.scale_up) } else { (&mut self.removed, &behavior.scale_down) };
        let policies = rules.iter().flat_map(|rules| rules.policies.iter().flatten());
        let longest = policies.map(|policy| policy.period_seconds).max().unwrap_or(0);
        let oldest = now - SignedDuration::from_secs(i64::from(longest));
        events.retain(|(at, _)| *at >= oldest);
        events.push((now, (to - from).abs()));
    }
}

fn changed_since(events: &[(Timestamp, i32)], from: Timestamp) -> i32 {
    events.iter().filter(|(at, _)| *at > from).map(|(_, change)| *change).sum()
}

fn within_rules(request: Request<'_>) -> (i32, Why) {
    let fastest = request.current.saturating_mul(UP_FACTOR).max(UP_TO);
    let (most, why) = if request.most > fastest { (fastest, TOO_FAST) } else { (request.most, TOO_MANY) };
    match request.wanted {
        wanted if wanted < request.least => (request.least, TOO_FEW),
        wanted if wanted > most => (most, why),
        wanted => (wanted, WITHIN),
    }
}

#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
