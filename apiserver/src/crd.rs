//! CustomResourceDefinitions come alive here: names are accepted, the definition is established, the catalogue replaced;
//! and when a definition is deleted, its objects go first (`apiextensions-apiserver/pkg/controller`).
//!
//! All of it happens within the request that writes the definition, except for the deletion of its objects, which a task
//! does. At start, [`load`] reads what is in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::app::{App, Call, text};
use crate::http::status::{ApiError, ApiResult};
use crate::registry::custom::Custom;
use crate::registry::object;
use crate::registry::resource::Catalogue;
use crate::registry::{delete, write};

pub const GROUP: &str = "apiextensions.k8s.io";
pub const PLURAL: &str = "customresourcedefinitions";
/// Objects of a definition being deleted are removed before it.
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Makes the catalogue of what is in the store, one writer at a time: an older state must never replace a newer one.
#[derive(Default)]
pub struct Publisher(tokio::sync::Mutex<()>);

impl Publisher {
    async fn run(&self, app: &App) -> ApiResult<BTreeMap<String, Value>> {
        let _one = self.0.lock().await;
        let all = definitions(app).await?;
        publish(app, &all);
        Ok(all)
    }
}

/// Reads all definitions and builds the catalogue; definitions that were being deleted go on being deleted.
pub async fn load(app: &Arc<App>) -> ApiResult<()> {
    let definitions = app.publisher.run(app).await?;
    for definition in definitions.values().filter(|d| object::is_deleting(d)) {
        finalize(app, definition);
    }
    Ok(())
}

async fn definitions(app: &App) -> ApiResult<BTreeMap<String, Value>> {
    let resource = app.resource(GROUP, PLURAL)?;
    let range = app.store.range(&resource.prefix, None, 0, None).await?;
    let mut found = BTreeMap::new();
    for kv in range.items {
        let definition: Value = serde_json::from_slice(&kv.value).map_err(ApiError::internal)?;
        found.insert(text(&definition, "/metadata/name").to_owned(), definition);
    }
    Ok(found)
}

fn established(definition: &Value) -> bool {
    condition(definition, "Established") == Some("True")
}

fn condition<'a>(definition: &'a Value, name: &str) -> Option<&'a str> {
    let list = definition["status"]["conditions"].as_array()?;
    list.iter().find(|c| c["type"] == name)?["status"].as_str()
}

/// Replaces the catalogue by the built-in kinds and the established definitions.
fn publish(app: &App, definitions: &BTreeMap<String, Value>) {
    let mut customs = Vec::new();
    for definition in definitions.values().filter(|d| established(d)) {
        match Custom::parse(definition) {
            Ok(custom) => customs.push(Arc::new(custom)),
            Err(errors) => {
                let name = text(definition, "/metadata/name");
                tracing::error!(name, error = ?errors.first().map(ToString::to_string), "a stored definition is not served");
            }
        }
    }
    let before = app.catalogue.swap(Arc::new(Catalogue::new(&customs)));
    app.documents.forget();
    app.aggregator.catalogue_changed();
    // A cache is made anew when its kind is gone or its selectable fields have changed.
    let fields = |custom: &Custom| custom.versions.iter().map(|v| v.selectable.clone()).collect::<Vec<_>>();
    for old in before.all().filter(|resource| resource.custom().is_some()) {
        let same = |new: &Arc<Custom>| old.custom().is_some_and(|o| o.name == new.name && fields(o) == fields(new));
        if !customs.iter().any(same) {
            app.caches.forget(&old.prefix);
        }
    }
}

/// Follows the definitions that other servers on the same store write, so that all serve them.
///
/// # Errors
/// The cache cannot be filled.
pub async fn follow(app: &Arc<App>) -> ApiResult<()> {
    let cache = app.caches.of(&*app.resource(GROUP, PLURAL)?);
    let mut watch = cache.watch(cache.sync().await?).await?;
    let app = app.clone();
    tokio::spawn(async move {
        loop {
            let lost = tokio::select! {
                events = watch.next() => events.is_err(),
                () = app.stop.cancelled() => return,
            };
            let read = async {
                if lost {
                    watch = cache.watch(cache.sync().await?).await?;
                }
                app.publisher.run(&app).await.map(drop)
            };
            if let Err(error) = read.await {
                tracing::warn!(%error, "the custom resource definitions cannot be followed");
            }
        }
    });
    Ok(())
}

/// A definition was created or updated: sets its conditions if they are due, and serves it.
pub async fn changed(app: &Arc<App>, definition: &Value) -> ApiResult<()> {
    let name = text(definition, "/metadata/name").to_owned();
    let all = definitions(app).await?;
    let call = Call::internal(app, GROUP, PLURAL, "", &name)?;
    let key = call.resource.key("", &name);
    for _ in 0..write::ATTEMPTS {
        let Some(live) = write::load(&call, &key).await? else { return Ok(()) };
        let mut new = live.value.clone();
        settle(&mut new, &all);
        if new == live.value {
            break;
        }
        if write::commit(&call, &key, new, live.revision).await?.is_some() {
            break;
        }
    }
    app.publisher.run(app).await.map(drop)
}

/// What the naming and establishing controllers would write.
fn settle(definition: &mut Value, all: &BTreeMap<String, Value>) {
    let own = text(definition, "/metadata/name").to_owned();
    let group = text(definition, "/spec/group").to_owned();
    let spec = definition["spec"].clone();
    let taken: Vec<(String, String)> = all
        .iter()
        .filter(|(name, other)| **name != own && text(other, "/spec/group") == group)
        .flat_map(|(_, other)| names(&other["status"]["acceptedNames"]))
        .collect();
    let clash = names(&spec["names"]).into_iter().find(|name| taken.contains(name));
    let mut conditions: Vec<Value> = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let accepted = clash.is_none();
    match &clash {
        None => {
            definition["status"]["acceptedNames"] = spec["names"].clone();
            set(&mut conditions, "NamesAccepted", true, "NoConflicts", "no conflicts found");
        }
        Some((kind, word)) => {
            if definition["status"]["acceptedNames"].is_null() {
                definition["status"]["acceptedNames"] = json!({ "plural": "", "kind": "" });
            }
            let reason = match kind.as_str() {
                "kind" => "KindConflict",
                "listKind" => "ListKindConflict",
                "plural" => "PluralConflict",
                "singular" => "SingularConflict",
                _ => "ShortNamesConflict",
            };
            set(&mut conditions, "NamesAccepted", false, reason, &format!("{word:?} is already in use"));
        }
    }
    let was = conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True");
    if accepted || was {
        set(&mut conditions, "Established", true, "InitialNamesAccepted", "the initial names have been accepted");
    } else {
        set(&mut conditions, "Established", false, "NotAccepted", "not all names are accepted");
    }
    definition["status"]["conditions"] = Value::Array(conditions);
    let mut stored = definition["status"]["storedVersions"].as_array().cloned().unwrap_or_default();
    for version in spec["versions"].as_array().into_iter().flatten().filter(|v| v["storage"] == true) {
        if !stored.contains(&version["name"]) {
            stored.push(version["name"].clone());
        }
    }
    definition["status"]["storedVersions"] = Value::Array(stored);
}

/// The first deletion of a definition, however it is asked for: its objects go before it does.
pub fn terminate(definition: &mut Value) {
    object::set(definition, "deletionTimestamp", object::now().into());
    let mut finalizers = object::finalizers(definition);
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
        object::set(definition, "finalizers", json!(finalizers));
    }
    let mut conditions = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let why = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set(&mut conditions, "Terminating", true, "InstanceDeletionPending", why);
    definition["status"]["conditions"] = Value::Array(conditions);
}

/// Every name a definition takes: (what it is, the word).
fn names(names: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<(String, String)> = ["plural", "singular", "kind", "listKind"]
        .iter()
        .map(|field| ((*field).to_owned(), word(&names[field])))
        .collect();
    let short = names["shortNames"].as_array().into_iter().flatten();
    found.extend(short.map(|name| ("shortNames".to_owned(), word(name))));
    found.retain(|(_, word)| !word.is_empty());
    found
}

fn set(conditions: &mut Vec<Value>, name: &str, yes: bool, reason: &str, message: &str) {
    let status = if yes { "True" } else { "False" };
    match conditions.iter_mut().find(|c| c["type"] == name) {
        Some(condition) if condition["status"] == status && condition["reason"] == reason => {}
        Some(condition) => {
            condition["status"] = status.into();
            condition["reason"] = reason.into();
            condition["message"] = message.into();
            condition["lastTransitionTime"] = object::now().into();
        }
        None => conditions.push(json!({
            "type": name, "status": status, "reason": reason, "message": message, "lastTransitionTime": object::now(),
        })),
    }
}

/// A definition is gone: it is served no longer.
pub fn removed(app: &Arc<App>) {
    let app = app.clone();
    tokio::spawn(async move {
        if let Err(error) = app.publisher.run(&app).await {
            tracing::error!(%error, "the catalogue could not be read anew");
        }
    });
}

/// Deletes all objects of a definition that is being deleted, then lets it go.
pub fn finalize(app: &Arc<App>, definition: &Value) {
    if !object::finalizers(definition).iter().any(|f| f == FINALIZER) {
        return;
    }
    let (app, definition) = (app.clone(), definition.clone());
    tokio::spawn(async move {
        if let Err(error) = clean(&app, &definition).await {
            tracing::error!(%error, name = text(&definition, "/metadata/name"), "the objects of a definition could not be deleted");
        }
    });
}

async fn clean(app: &Arc<App>, definition: &Value) -> ApiResult<()> {
    let (group, plural) = (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
    // In the version they are stored in, where that is served: a broken webhook must not keep them alive.
    let catalogue = app.catalogue.load_full();
    let stored = catalogue.all().find(|r| r.is(group, plural) && r.api_version() == r.storage_api_version);
    let served = stored.or_else(|| catalogue.preferred(group, plural)).cloned();
    if let Some(resource) = served {
        let mut call = Call::internal(app, group, plural, "", "")?;
        call.resource = resource.clone();
        let cache = app.caches.of(&resource);
        delete::collection(&call, &delete::Options::default()).await?;
        // Objects with finalizers of their own leave one by one: follow the events until the last is gone.
        let mut watch = cache.watch(cache.sync().await?).await?;
        while !cache.is_empty() {
            tokio::select! {
                events = watch.next() => { events?; }
                () = app.stop.cancelled() => return Ok(()),
            }
        }
    }
    let name = text(definition, "/metadata/name");
    let call = Call::internal(app, GROUP, PLURAL, "", name)?;
    let patch = {
        let key = call.resource.key("", name);
        let Some(live) = write::load(&call, &key).await? else { return Ok(()) };
        let kept: Vec<String> = object::finalizers(&live.value).into_iter().filter(|f| f != FINALIZER).collect();
        json!({ "metadata": { "finalizers": kept } })
    };
    crate::registry::update::update(&call, &crate::registry::update::Change::Merge(patch)).await?;
    Ok(())
}
