//! CustomResourceDefinitions come alive here: names are accepted, the definition is established, the catalogue replaced;
//! and when a definition is deleted, its objects go first (`apiextensions-apiserver/pkg/controller`).
//!
//! All of it happens within the request that writes the definition, except for the deletion of its objects, which a task
//! does. At start, [`load`] reads what is in the store; what came there past the API is brought up to date then, and where it is
//! written as no server of ours writes it, as soon as it is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use store::cache::Change;

use self::conditions::Removal;
use crate::app::{App, Call, text};
use crate::http::status::{ApiError, ApiResult};
use crate::registry::custom::Custom;
use crate::registry::object;
use crate::registry::resource::Catalogue;
use crate::registry::{delete, versions, write};

pub mod conditions;

pub const GROUP: &str = "apiextensions.k8s.io";
pub const PLURAL: &str = "customresourcedefinitions";
/// Objects of a definition being deleted are removed before it.
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Makes the catalogue of what is in the store, one writer at a time: an older state must never replace a newer one.
#[derive(Default)]
pub struct Publisher(tokio::sync::Mutex<()>);

impl Publisher {
    async fn run(&self, app: &App) -> ApiResult<Definitions> {
        let _one = self.0.lock().await;
        let all = Definitions::read(app).await?;
        publish(app, &all.by_name);
        Ok(all)
    }
}

/// Reads all definitions and builds the catalogue; definitions that were being deleted go on being deleted.
pub async fn load(app: &Arc<App>) -> ApiResult<()> {
    let definitions = app.publisher.run(app).await?;
    for definition in definitions.by_name.values().filter(|d| object::is_deleting(d)) {
        finalize(app, definition);
    }
    settle_all(app, definitions.due(definitions.by_name.keys())).await
}

/// What is in the store.
struct Definitions {
    by_name: BTreeMap<String, Value>,
    /// Those that are stored otherwise than they would be today.
    stale: BTreeSet<String>,
}

impl Definitions {
    async fn read(app: &App) -> ApiResult<Self> {
        let resource = app.resource(GROUP, PLURAL)?;
        let range = app.store.range(&resource.prefix, None, 0, None).await?;
        let mut found = Self { by_name: BTreeMap::new(), stale: BTreeSet::new() };
        for kv in range.items {
            let definition: Value = serde_json::from_slice(&kv.value).map_err(ApiError::internal)?;
            let name = text(&definition, "/metadata/name").to_owned();
            if kv.stale {
                found.stale.insert(name.clone());
            }
            found.by_name.insert(name, definition);
        }
        Ok(found)
    }

    /// Those of `names` whose status is not what it should be, by their groups.
    fn due<'a>(&self, names: impl Iterator<Item = &'a String>) -> BTreeMap<String, BTreeSet<String>> {
        let mut due: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for name in names {
            let Some(definition) = self.by_name.get(name).filter(|d| !object::is_deleting(d)) else { continue };
            let mut settled = definition.clone();
            conditions::settle(&mut settled, &self.by_name);
            if settled != *definition {
                due.entry(text(definition, "/spec/group").to_owned()).or_default().insert(name.clone());
            }
        }
        due
    }
}

/// Replaces the catalogue by the built-in kinds and the established definitions.
fn publish(app: &App, definitions: &BTreeMap<String, Value>) {
    let before = app.catalogue.load_full();
    let known: BTreeMap<&str, &Arc<Custom>> =
        before.all().filter_map(|resource| resource.custom()).map(|custom| (custom.name.as_str(), custom)).collect();
    let mut customs = Vec::new();
    for definition in definitions.values().filter(|d| conditions::is_established(d)) {
        match Custom::parse(definition) {
            Ok(custom) => customs.push(match known.get(custom.name.as_str()) {
                Some(before) => custom.after(before),
                None => Arc::new(custom),
            }),
            Err(errors) => {
                let name = text(definition, "/metadata/name");
                tracing::error!(name, error = ?errors.first().map(ToString::to_string), "a stored definition is not served");
            }
        }
    }
    app.catalogue.store(Arc::new(Catalogue::serving(&customs, &app.options.served())));
    // Who watches begins anew with what is served now.
    for old in known.values().filter(|old| !customs.iter().any(|custom| custom.continues(old))) {
        old.replaced.cancel();
    }
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
                let definitions = app.publisher.run(&app).await?;
                settle_all(&app, definitions.due(definitions.stale.iter())).await
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
    settle(app, text(definition, "/spec/group"), [text(definition, "/metadata/name").to_owned()].into()).await
}

async fn settle_all(app: &Arc<App>, due: BTreeMap<String, BTreeSet<String>>) -> ApiResult<()> {
    for (group, due) in due {
        settle(app, &group, due).await?;
    }
    Ok(())
}

/// Brings the status of those `due` up to date, and of others of their group who wait for names they have let go.
async fn settle(app: &Arc<App>, group: &str, mut due: BTreeSet<String>) -> ApiResult<()> {
    while let Some(name) = due.pop_first() {
        let all = Definitions::read(app).await?.by_name;
        let mut renamed = false;
        write_status(app, &name, |definition| {
            let before = definition["status"]["acceptedNames"].clone();
            conditions::settle(definition, &all);
            renamed = definition["status"]["acceptedNames"] != before;
        })
        .await?;
        if renamed {
            due.extend(waiting(&all, group).filter(|other| *other != name));
        }
    }
    app.publisher.run(app).await.map(drop)
}

/// Those of a group that some name is missing.
fn waiting(all: &BTreeMap<String, Value>, group: &str) -> impl Iterator<Item = String> {
    let waits = move |definition: &Value| {
        text(definition, "/spec/group") == group
            && conditions::wants_names(definition)
            && !object::is_deleting(definition)
    };
    all.iter().filter(move |(_, definition)| waits(definition)).map(|(name, _)| name.clone())
}

/// Writes what `change` makes of a definition's status, as its controllers would; nothing where that is nothing.
async fn write_status(app: &Arc<App>, name: &str, mut change: impl FnMut(&mut Value)) -> ApiResult<()> {
    let mut call = Call::internal(app, GROUP, PLURAL, "", name)?;
    "status".clone_into(&mut call.info.subresource);
    let key = call.resource.key("", name);
    for _ in 0..write::ATTEMPTS {
        let Some(live) = write::load(&call, &key).await? else { return Ok(()) };
        let mut new = live.value.clone();
        change(&mut new);
        if new == live.value {
            return Ok(());
        }
        versions::track(&call, &live.value, &mut new).await;
        if write::commit(&call, &key, new, live.revision).await?.is_some() {
            return Ok(());
        }
    }
    Err(call.modified(name))
}

/// The first deletion of a definition, however it is asked for: its objects go before it does.
pub fn terminate(definition: &mut Value) {
    object::set(definition, "deletionTimestamp", object::now().into());
    let mut finalizers = object::finalizers(definition);
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
        object::set(definition, "finalizers", json!(finalizers));
    }
    conditions::terminating(definition, Removal::Pending);
}

/// A definition is gone: it is served no longer, and its names are free.
pub fn removed(app: &Arc<App>, definition: &Value) {
    let (app, group) = (app.clone(), text(definition, "/spec/group").to_owned());
    tokio::spawn(async move {
        let free = async {
            let due = waiting(&Definitions::read(&app).await?.by_name, &group).collect();
            settle(&app, &group, due).await
        };
        if let Err(error) = free.await {
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
    let name = text(definition, "/metadata/name");
    write_status(app, name, |definition| conditions::terminating(definition, Removal::InProgress)).await?;
    app.publisher.run(app).await?;
    let (group, plural) = (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
    // In the version they are stored in, where that is served: a broken webhook must not keep them alive.
    let catalogue = app.catalogue.load_full();
    let stored = catalogue.all().find(|r| r.is(group, plural) && r.api_version() == r.storage_api_version);
    let served = stored.or_else(|| catalogue.preferred(group, plural)).cloned();
    if let Some(resource) = served {
        let mut call = Call::internal(app, group, plural, "", "")?;
        call.resource = resource.clone();
        let cache = app.caches.of(&resource);
        let mut watch = cache.watch(cache.sync().await?).await?;
        delete::collection(&call, &delete::Options::default()).await?;
        // Objects with finalizers of their own leave one by one: follow the events until the last is gone.
        while !cache.is_empty() {
            let events = tokio::select! {
                events = watch.next() => events?,
                () = app.stop.cancelled() => return Ok(()),
            };
            // Their creation was under way when the definition's deletion began.
            if events.iter().any(|event| event.change == Change::Added) {
                delete::collection(&call, &delete::Options::default()).await?;
            }
        }
    }
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
