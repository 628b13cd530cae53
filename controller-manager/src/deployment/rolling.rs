//! The arithmetic of a rolling update (upstream `rolling.go`): how far up, how far down, and never below the limits.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use crate::framework::pods::scaled;

/// The limits of a rollout, resolved to numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub desired: i32,
    pub max_surge: i32,
    pub max_unavailable: i32,
}

impl Limits {
    pub fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let desired = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let strategy = spec.and_then(|spec| spec.strategy.as_ref());
        if strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate")) {
            return Self { desired, max_surge: 0, max_unavailable: desired };
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let max_surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), desired, true);
        let max_unavailable = scaled(rolling.and_then(|r| r.max_unavailable.as_ref()), desired, false);
        // Both zero would never move: upstream lets one be unavailable then.
        let max_unavailable = if max_surge == 0 && max_unavailable == 0 { 1 } else { max_unavailable };
        Self { desired, max_surge, max_unavailable: max_unavailable.min(desired.max(1)) }
    }

    pub fn maximum(self) -> i32 {
        self.desired + self.max_surge
    }

    pub fn minimum_available(self) -> i32 {
        self.desired - self.max_unavailable.min(self.desired)
    }
}

/// A ReplicaSet's numbers, and what they shall become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub wanted: i32,
    pub available: i32,
}

impl Size {
    pub fn of(set: &ReplicaSet) -> Self {
        Self {
            wanted: set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            available: set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0),
        }
    }
}

/// The size of the new ReplicaSet now, when all together want `total` pods.
pub fn new_size(limits: Limits, new: i32, total: i32) -> i32 {
    if new > limits.desired {
        return limits.desired;
    }
    let room = (limits.maximum() - total).max(0);
    new + room.min(limits.desired - new)
}

/// The sizes of the old ReplicaSets (given oldest first): first pods that are not available go, for they serve nobody,
/// then available ones as far as the minimum allows.
pub fn old_sizes(limits: Limits, new: Size, old: &[Size]) -> Vec<i32> {
    let mut sizes: Vec<i32> = old.iter().map(|size| size.wanted).collect();
    let total: i32 = sizes.iter().sum::<i32>() + new.wanted;
    let new_unavailable = new.wanted - new.available;
    let allowed = total - limits.minimum_available() - new_unavailable;
    if sizes.iter().sum::<i32>() == 0 || allowed <= 0 {
        return sizes;
    }
    let mut cleaned = 0;
    for (size, old) in sizes.iter_mut().zip(old) {
        let down = (allowed - cleaned).min(old.wanted - old.available).max(0);
        *size -= down;
        cleaned += down;
    }
    let available: i32 = new.available + old.iter().map(|size| size.available).sum::<i32>();
    let mut left = available - limits.minimum_available();
    for size in &mut sizes {
        let down = (*size).min(left).max(0);
        *size -= down;
        left -= down;
    }
    sizes
}
