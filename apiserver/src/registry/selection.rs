//! Label and field selectors of a request, applied to what the cache indexes of each object.
//!
//! Fields of custom objects belong to a version. Where a webhook converts what is stored, such fields are known only after it
//! has: these requirements are judged last, on the converted object.

use std::sync::Arc;

use schema::selector::{FieldRequirement, FieldSelector, LabelSelector, Op, Requirement};
use serde_json::Value;
use store::cache::Object;

use super::caches::text_at;
use super::conversion;
use super::resource::Resource;
use crate::app::App;
use crate::http::request_info::Query;
use crate::http::status::{ApiError, ApiResult};

#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
    /// What is judged on the converted object.
    converted: Vec<FieldRequirement>,
}

impl Selection {
    /// # Errors
    /// 400 for a selector that cannot be parsed or names an unknown field.
    pub fn parse(resource: &Resource, query: &Query) -> ApiResult<Self> {
        let labels = LabelSelector::parse(query.get("labelSelector").unwrap_or_default())
            .map_err(|e| ApiError::bad_request(e.to_string()))?;
        let mut fields = FieldSelector::parse(query.get("fieldSelector").unwrap_or_default())
            .map_err(|e| ApiError::bad_request(e.to_string()))?;
        for requirement in &fields.requirements {
            if !resource.knows_field(&requirement.field) {
                return Err(ApiError::bad_request(resource.unknown_field(&requirement.field)));
            }
        }
        let mut converted = Vec::new();
        if conversion::is_foreign(resource) {
            let of_metadata = |requirement: &FieldRequirement| requirement.field.starts_with("metadata.");
            (fields.requirements, converted) = fields.requirements.into_iter().partition(of_metadata);
        }
        Ok(Self { labels, fields, converted })
    }

    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.requirements.is_empty() && self.converted.is_empty()
    }

    /// Whether [`Self::matches`] is not the last word.
    #[must_use]
    pub fn needs_conversion(&self) -> bool {
        !self.converted.is_empty()
    }

    /// Of objects that match, those whose converted form does, too.
    ///
    /// # Errors
    /// What the conversion fails with.
    pub async fn converted(
        &self,
        app: &App,
        resource: &Resource,
        objects: Vec<Arc<Object>>,
    ) -> ApiResult<Vec<Arc<Object>>> {
        if self.converted.is_empty() || objects.is_empty() {
            return Ok(objects);
        }
        let all: Vec<&Object> = objects.iter().map(AsRef::as_ref).collect();
        let values = conversion::read_all(app, resource, &all).await?;
        let holds =
            |value: &Value| self.converted.iter().all(|r| (text_at(value, r.field.split('.')) == r.value) == r.equal);
        Ok(objects.into_iter().zip(values).filter(|(_, value)| holds(value)).map(|(object, _)| object).collect())
    }

    /// The whole verdict on one object.
    ///
    /// # Errors
    /// What the conversion fails with.
    pub async fn holds(&self, app: &App, resource: &Resource, object: &Arc<Object>) -> ApiResult<bool> {
        Ok(self.matches(object)
            && (self.converted.is_empty() || !self.converted(app, resource, vec![object.clone()]).await?.is_empty()))
    }

    /// All that can be said of an object as it is stored.
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
