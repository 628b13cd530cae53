//! Label and field selectors of a request, applied to what the cache indexes of each object.

use schema::selector::{FieldSelector, LabelSelector, Op, Requirement};
use store::cache::Object;

use super::resource::Resource;
use crate::http::request_info::Query;
use crate::http::status::{ApiError, ApiResult};

#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

impl Selection {
    /// # Errors
    /// 400 for a selector that cannot be parsed or names an unknown field.
    pub fn parse(resource: &Resource, query: &Query) -> ApiResult<Self> {
        let labels = LabelSelector::parse(query.get("labelSelector").unwrap_or_default())
            .map_err(|e| ApiError::bad_request(e.to_string()))?;
        let fields = FieldSelector::parse(query.get("fieldSelector").unwrap_or_default())
            .map_err(|e| ApiError::bad_request(e.to_string()))?;
        for requirement in &fields.requirements {
            if !resource.knows_field(&requirement.field) {
                return Err(ApiError::bad_request(format!("field label not supported: {}", requirement.field)));
            }
        }
        Ok(Self { labels, fields })
    }

    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.requirements.is_empty()
    }

    #[must_use]
    pub fn matches(&self, object: &Object) -> bool {
        self.labels.requirements.iter().all(|r| label_holds(r, object.label(&r.key)))
            && self
                .fields
                .requirements
                .iter()
                .all(|r| (object.field(&r.field).unwrap_or_default() == r.value) == r.equal)
    }
}

/// One requirement against the label's value, `None` where the label is absent.
fn label_holds(requirement: &Requirement, value: Option<&str>) -> bool {
    let listed = || value.is_some_and(|v| requirement.values.iter().any(|wanted| wanted == v));
    let numbers = || Some((value?.parse::<i64>().ok()?, requirement.values.first()?.parse::<i64>().ok()?));
    match requirement.op {
        Op::In | Op::Equals => listed(),
        Op::NotIn | Op::NotEquals => !listed(),
        Op::Exists => value.is_some(),
        Op::DoesNotExist => value.is_none(),
        Op::GreaterThan => numbers().is_some_and(|(have, wanted)| have > wanted),
        Op::LessThan => numbers().is_some_and(|(have, wanted)| have < wanted),
    }
}
