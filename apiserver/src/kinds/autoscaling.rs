//! The group autoscaling. Objects are stored as v2; v1 is a view of them (`strategy/autoscaler.rs`).

use super::Kind;
use super::row::ONLY_STATUS;

pub const KINDS: &[Kind] = &[Kind {
    short_names: &["hpa"],
    categories: &["all"],
    subresources: ONLY_STATUS,
    ..Kind::new(
        "autoscaling",
        &["v2", "v1"],
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "horizontalpodautoscaler",
    )
}];
