//! Counting what a namespace has: pods, Services and volume claims from the caches, any other kind by asking the API server
//! for the number of objects.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use quota::{Amounts, Evaluator, Selector, total};
use serde_json::Value;

use crate::context::Context;
use crate::framework::{ApiError, Kind, Object};

/// What the objects `evaluator` counts use of what `hard` names; `None` when the API server does not know their kind.
///
/// # Errors
/// The API server cannot be asked.
pub async fn count(
    context: &Context,
    namespace: &str,
    evaluator: &Evaluator,
    hard: &Amounts,
    scopes: &[Selector],
) -> Result<Option<Amounts>, kube::Error> {
    let kinds = &context.kinds;
    let now = context.now();
    let objects = match evaluator {
        Evaluator::Pods => values(&kinds.pods, namespace),
        Evaluator::Services => values(&kinds.services, namespace),
        Evaluator::VolumeClaims => values(&kinds.claims, namespace),
        Evaluator::DeviceClaims => match list(context, "resource.k8s.io", "resourceclaims", namespace, 0).await? {
            Some(mut found) => match found["items"].take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            },
            None => return Ok(None),
        },
        Evaluator::Count { group, plural } => {
            let Some(found) = list(context, group, plural, namespace, 1).await? else { return Ok(None) };
            // Only the first is sent; how many follow is told.
            let first = found["items"].as_array().map_or(0, Vec::len) as u64;
            let rest = found["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
            return Ok(Some(counted(evaluator, hard, scopes, first + rest, now)));
        }
    };
    Ok(Some(total(evaluator, hard, scopes, objects.iter(), now)))
}

fn counted(evaluator: &Evaluator, hard: &Amounts, scopes: &[Selector], number: u64, now: Timestamp) -> Amounts {
    let amount = schema::quantity::Quantity::units(i64::try_from(number).unwrap_or(i64::MAX));
    let zero = total(evaluator, hard, scopes, std::iter::empty(), now);
    // No other kind than pods and volume claims is in any scope.
    if scopes.is_empty() { zero.iter().map(|(name, _)| (name.to_owned(), amount)).collect() } else { zero }
}

fn values<K: Object>(kind: &Arc<Kind<K>>, namespace: &str) -> Vec<Value> {
    let json = |object: &Arc<K>| serde_json::to_value(&**object).expect("API types always serialise");
    kind.in_namespace(namespace).iter().map(json).collect()
}

/// A list in the group's preferred version, at most `limit` objects (0: all); `None`: no such resource.
async fn list(
    context: &Context,
    group: &str,
    plural: &str,
    namespace: &str,
    limit: u32,
) -> Result<Option<Value>, kube::Error> {
    let root = if group.is_empty() {
        "/api/v1".to_owned()
    } else {
        let Some(found) = get(context, &format!("/apis/{group}")).await? else { return Ok(None) };
        let version = found.pointer("/preferredVersion/groupVersion").and_then(Value::as_str);
        let Some(version) = version else { return Ok(None) };
        format!("/apis/{version}")
    };
    get(context, &format!("{root}/namespaces/{namespace}/{plural}?limit={limit}")).await
}

async fn get(context: &Context, path: &str) -> Result<Option<Value>, kube::Error> {
    let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    match context.client.request::<Value>(request).await {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
