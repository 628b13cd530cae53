//! The parameters of a binding (`policy/generic/policy_dispatcher.go` `CollectParams`).

use std::sync::Arc;

use schema::selector::LabelSelector;
use serde_json::Value;
use store::cache::{At, ListQuery};

use super::Binding;
use super::definition::{Definition, ParamKind};
use crate::admission::{Attributes, Gvk};
use crate::app::text;
use crate::http::answer::value_of;
use crate::registry::resource::Resource;

/// What the policy is evaluated with, once for each: `None` stands for no parameter at all.
///
/// # Errors
/// Upstream's text of what is wrong with the binding.
pub async fn collect(
    a: &Attributes<'_>,
    definition: &Definition,
    binding: &Binding,
) -> Result<Vec<Option<Value>>, String> {
    let (Some(kind), Some(reference)) = (&definition.param_kind, &binding.param_ref) else { return Ok(vec![None]) };
    let resource = resource(a, kind).ok_or_else(|| unknown(kind))?;
    let own = text(reference, "/namespace");
    let namespace = match (resource.namespaced, own) {
        (true, "") if a.namespace().is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned()
            );
        }
        (true, "") => a.namespace(),
        (true, own) => own,
        (false, "") => "",
        (false, _) => return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned()),
    };
    let name = text(reference, "/name");
    let found: Vec<Value> = if !name.is_empty() {
        named(a, &resource, namespace, name).await?.into_iter().collect()
    } else if reference["selector"].is_object() {
        let selector = LabelSelector::from_object(&reference["selector"]).map_err(|error| error.to_string())?;
        let all = list(a, &resource, namespace).await?;
        all.into_iter().filter(|value| selector.matches(&value["metadata"]["labels"])).collect()
    } else {
        return Err("one of name or selector must be provided".to_owned());
    };
    if found.is_empty() && reference["parameterNotFoundAction"] == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    let bare = definition.is_mutating() && !resource.is_custom();
    let shown = |mut param: Value| {
        // To upstream a built-in object in memory does not say what it is; only validating policies make up for it.
        if let Some(map) = param.as_object_mut().filter(|_| bare) {
            map.retain(|field, _| !matches!(field.as_str(), "apiVersion" | "kind"));
        }
        Some(param)
    };
    Ok(found.into_iter().map(shown).collect())
}

/// Whether the policy's parameters are of a kind that there is; no binding needs to ask for one.
///
/// # Errors
/// Upstream's text of what is wrong with the policy.
pub fn known(a: &Attributes<'_>, definition: &Definition) -> Result<(), String> {
    match &definition.param_kind {
        Some(kind) if resource(a, kind).is_none() => Err(unknown(kind)),
        _ => Ok(()),
    }
}

fn unknown(kind: &ParamKind) -> String {
    let (group, version) = kind.api_version.split_once('/').unwrap_or(("", &kind.api_version));
    format!("failed to find resource referenced by paramKind: '{}'", Gvk::new(group, version, &kind.kind))
}

fn resource(a: &Attributes<'_>, kind: &ParamKind) -> Option<Arc<Resource>> {
    let catalogue = a.app().catalogue.load();
    // Upstream's mapper knows a kind in small letters, too.
    let named = |r: &Resource| r.kind == kind.kind || r.kind.to_lowercase() == kind.kind;
    catalogue.all().find(|r| named(r) && r.api_version() == kind.api_version && !r.prefix.is_empty()).cloned()
}

async fn named(a: &Attributes<'_>, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Value>, String> {
    let read = |error: crate::http::status::ApiError| error.message;
    match a.app().caches.peek(resource, namespace, name).await.map_err(read)? {
        Some(object) => value_of(resource, &object).map(Some).map_err(read),
        None => Ok(None),
    }
}

async fn list(a: &Attributes<'_>, resource: &Resource, namespace: &str) -> Result<Vec<Value>, String> {
    let prefix = resource.range(namespace);
    let query = ListQuery { at: At::NotOlderThan(0), prefix: &prefix, start: None, limit: 0, filter: None };
    let list = a.app().caches.of(resource).list(query).await.map_err(|error| error.to_string())?;
    list.items.iter().map(|item| value_of(resource, item).map_err(|error| error.message)).collect()
}
