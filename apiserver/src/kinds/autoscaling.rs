//! The group autoscaling. Objects are stored as v2; v1 is a view of them (`strategy/autoscaler.rs`).

use super::row::ONLY_STATUS;
use super::{Kind, columns, strategy};

pub const KINDS: &[Kind] = &[Kind {
    short_names: &["hpa"],
    categories: &["all"],
    subresources: ONLY_STATUS,
    columns: columns::scaling::AUTOSCALERS,
    strategy: strategy::autoscaler::AUTOSCALER,
    ..Kind::new(
        "autoscaling",
        &["v2", "v1"],
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "horizontalpodautoscaler",
    )
}];
