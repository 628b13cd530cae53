//! Scaling in the middle of a rollout: the change is shared out in proportion (upstream `sync.go`, `scale`).

use super::rolling::Limits;

/// One ReplicaSet with pods: its size, and the size of the whole when it was last scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub size: i32,
    pub whole_then: Option<i32>,
}

/// New sizes for `parts`. They must be sorted: when growing, largest then newest first; when shrinking, largest then
/// oldest first. What rounding leaves over goes to the first.
pub fn proportional(limits: Limits, total_in_status: i32, parts: &[Part]) -> Vec<i32> {
    let whole = if limits.desired > 0 { limits.maximum() } else { 0 };
    let change = whole - parts.iter().map(|part| part.size).sum::<i32>();
    let mut shared = 0;
    let mut sizes: Vec<i32> = parts
        .iter()
        .map(|part| {
            let share = share(limits, total_in_status, *part, change, shared);
            shared += share;
            part.size + share
        })
        .collect();
    if let Some(first) = sizes.first_mut() {
        *first = (*first + change - shared).max(0);
    }
    sizes
}

fn share(limits: Limits, total_in_status: i32, part: Part, change: i32, shared: i32) -> i32 {
    if part.size == 0 || change == 0 || change == shared {
        return 0;
    }
    let allowed = change - shared;
    let fraction = if limits.desired == 0 {
        -part.size
    } else {
        let then = part.whole_then.filter(|whole| *whole > 0).unwrap_or(total_in_status.max(1));
        let exact = f64::from(part.size) * f64::from(limits.maximum()) / f64::from(then);
        #[expect(clippy::cast_possible_truncation, reason = "sizes are far below 2^31")]
        let rounded = exact.round() as i32;
        rounded - part.size
    };
    if change > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}
