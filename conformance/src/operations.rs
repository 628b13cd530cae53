//! The many specs called "should support … API operations": discovery, create, get, list, watch, patch, update, the status
//! subresource, delete, and delete by collection, the same for every kind.

use serde_json::{Value, json};

use crate::client::{Objects, Patch, Refusal};
use crate::expect;
use crate::spec::Test;

/// What differs from kind to kind.
pub struct Operations {
    /// `flowcontrol.apiserver.k8s.io/v1`
    pub api_version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
    /// An object without name and labels.
    pub object: Value,
    /// A merge patch that may be made again by an update, of the object itself.
    pub change: Value,
    /// What `…/status` is patched with, where there is one.
    pub status: Option<Value>,
}

/// Goes through all of them.
///
/// # Errors
/// One is not as upstream's.
pub async fn run(t: &Test, o: &Operations) -> anyhow::Result<()> {
    discovery(t, o.api_version, o.plural, o.status.is_some()).await?;
    let label = t.name("special-label");
    let objects = if o.namespaced { t.objects(o.api_version, o.plural) } else { t.everywhere(o.api_version, o.plural) };
    let all = t.everywhere(o.api_version, o.plural);
    let selector = format!("labelSelector=special-label={label}");

    let mut object = o.object.clone();
    object["apiVersion"] = o.api_version.into();
    object["kind"] = o.kind.into();
    object["metadata"]["labels"]["special-label"] = label.clone().into();
    let mut named = |name: String| {
        object["metadata"]["name"] = name.into();
        object.clone()
    };
    let (first, second, third) = (t.name("a"), t.name("b"), t.name("c"));
    let created = objects.create(&named(first.clone())).await?;
    let again = objects.create(&named(first.clone())).await.refused_with(409)?;
    expect::same("the reason", &again.reason(), &"AlreadyExists")?;
    objects.create(&named(second)).await?;
    objects.create(&named(third)).await?;

    let got = objects.get(&first).await?;
    expect::at(&got, "/metadata/uid", created["metadata"]["uid"].clone())?;
    let list = objects.list(&selector).await?;
    expect::same("the number of objects listed", &list["items"].as_array().map(Vec::len), &Some(3))?;
    if o.namespaced {
        let items = all.items(&selector).await?;
        expect::same("the number of objects listed in all namespaces", &items.len(), &3)?;
    }
    let mut watch = objects.watch(&format!("{selector}&resourceVersion={}", expect::revision(&list))).await?;

    let annotate = json!({ "metadata": { "annotations": { "patched": "true" } } });
    let patched = objects.patch(&first, Patch::Merge, &annotate).await?;
    expect::at(&patched, "/metadata/annotations/patched", "true")?;
    if !o.change.is_null() {
        let changed = objects.patch(&first, Patch::Merge, &o.change).await?;
        expect::contains(&changed, &o.change)?;
    }
    let updated = objects.modify(&first, |object| object["metadata"]["annotations"]["updated"] = "true".into()).await?;
    expect::at(&updated, "/metadata/annotations/updated", "true")?;
    expect::contains(&updated, &o.change_or_nothing())?;
    let event =
        watch.until("the update", |e| e.kind == "MODIFIED" && e.object["metadata"]["annotations"]["updated"] == "true");
    expect::at(&event.await?.object, "/metadata/annotations/patched", "true")?;

    if let Some(status) = &o.status {
        self::status(&objects, o.plural, &first, status).await?;
    }

    objects.delete(&first).await?;
    objects.gone(&first).await?;
    watch.until("the deletion", |e| e.kind == "DELETED" && e.name() == first).await?;
    expect::same("the number of objects left", &objects.items(&selector).await?.len(), &2)?;
    objects.delete_collection(&selector).await?;
    objects.wait_list(&selector, "no objects", <[Value]>::is_empty).await?;
    Ok(())
}

impl Operations {
    fn change_or_nothing(&self) -> Value {
        if self.change.is_null() { json!({}) } else { self.change.clone() }
    }
}

/// Whose status is written alone: labels and annotations sent with it do not count (upstream's strategies for their statuses).
const STATUS_ALONE: [&str; 5] = [
    "flowschemas",
    "prioritylevelconfigurations",
    "resourceclaims",
    "validatingadmissionpolicies",
    "volumeattachments",
];

/// GET, PATCH and PUT of the status subresource.
async fn status(objects: &Objects, plural: &str, name: &str, status: &Value) -> anyhow::Result<()> {
    let sent_along = |value: &str| if STATUS_ALONE.contains(&plural) { Value::Null } else { value.into() };
    let mut patch = json!({ "metadata": { "annotations": { "patchedstatus": "true" } } });
    patch["status"] = status.clone();
    let patched = objects.patch_sub(name, "status", Patch::Merge, &patch).await?;
    expect::contains(&patched, &json!({ "status": status }))?;
    expect::at(&patched, "/metadata/annotations/patchedstatus", sent_along("true"))?;
    let got = objects.get_sub(name, "status").await?;
    says(&got, status)?;
    expect::at(&got, "/metadata/uid", patched["metadata"]["uid"].clone())?;
    let updated =
        objects.modify_sub(name, "status", |object| object["metadata"]["labels"]["updated"] = "status".into()).await?;
    says(&updated, status)?;
    expect::at(&updated, "/metadata/labels/updated", sent_along("status"))
}

/// The status is there; whose its other fields and conditions are may have written them meanwhile.
fn says(object: &Value, status: &Value) -> anyhow::Result<()> {
    for (field, wanted) in status.as_object().into_iter().flatten() {
        match (wanted, &object["status"][field]) {
            (Value::Array(wanted), Value::Array(have)) if wanted.iter().all(|one| have.contains(one)) => {}
            _ => expect::contains(object, &json!({ "status": { field: wanted } }))?,
        }
    }
    Ok(())
}

/// The group, its version and the resource are where discovery clients look for them.
///
/// # Errors
/// One is missing.
pub async fn discovery(t: &Test, api_version: &str, plural: &str, status: bool) -> anyhow::Result<()> {
    let has =
        |list: &Value, field: &str, wanted: &str| list.as_array().into_iter().flatten().any(|row| row[field] == wanted);
    let path = match api_version.split_once('/') {
        Some((group, version)) => {
            let groups = t.api().get("/apis").await?;
            expect::that(has(&groups["groups"], "name", group), || format!("/apis does not list {group}"))?;
            let own = t.api().get(&format!("/apis/{group}")).await?;
            expect::that(has(&own["versions"], "version", version), || {
                format!("/apis/{group} does not list {version}")
            })?;
            format!("/apis/{api_version}")
        }
        None => format!("/api/{api_version}"),
    };
    let resources = t.api().get(&path).await?;
    let listed = |name: &str| {
        expect::that(has(&resources["resources"], "name", name), || format!("{path} does not list {name}"))
    };
    listed(plural)?;
    if status { listed(&format!("{plural}/status")) } else { Ok(()) }
}
