//! An APIService for each group and version this server serves itself: the built-in ones once, at start, those of
//! definitions for as long as the definition is there (`kube-aggregator/pkg/controllers/autoregister`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use store::cache::{At, ListQuery};

use super::{GROUP, PLURAL};
use crate::app::{App, Call};
use crate::bootstrap;
use crate::http::status::ApiResult;
use crate::registry::delete;

/// Says that an APIService is ours: `onstart` or `true`.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// The priority of definitions' groups, and of their versions.
const CUSTOM: (i64, i64) = (1000, 100);

/// Group, its priority; the priority of a version is 15 unless it stands in [`VERSIONS`].
const GROUPS: [(&str, i64); 21] = [
    ("", 18000),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("apiextensions.k8s.io", 16700),
    ("admissionregistration.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("internal.apiserver.k8s.io", 16000),
    ("resource.k8s.io", 16200),
];
const VERSIONS: [(&str, &str, i64); 5] = [
    ("", "v1", 1),
    ("admissionregistration.k8s.io", "v1beta1", 12),
    ("autoscaling", "v2", 30),
    ("flowcontrol.apiserver.k8s.io", "v1", 21),
    ("resource.k8s.io", "v1", 21),
];

/// The priority of a built-in group.
pub(super) fn priority(group: &str) -> i64 {
    GROUPS.iter().find(|(name, _)| *name == group).map_or(CUSTOM.0, |(_, priority)| *priority)
}

/// Registers until the server stops, whenever the catalogue changes.
pub async fn run(app: Arc<App>) {
    let mut first = true;
    loop {
        match sync(&app, first).await {
            Ok(()) => first = false,
            Err(error) => tracing::warn!(%error, "the APIServices of this server could not be registered"),
        }
        tokio::select! {
            () = app.aggregator.registered.notified() => {}
            () = app.stop.cancelled() => return,
        }
    }
}

/// What there should be: name → how it is managed, and the object.
fn wanted(app: &App) -> BTreeMap<String, (&'static str, Value)> {
    let catalogue = app.catalogue.load();
    let mut all = BTreeMap::new();
    for group in catalogue.groups.iter().filter(|group| group.name != GROUP) {
        for version in &group.versions {
            let built_in = catalogue.of(&group.name, version).iter().any(|resource| !resource.is_custom());
            let (managed, priorities) = if built_in {
                let own = VERSIONS.iter().find(|(g, v, _)| *g == group.name && v == version).map_or(15, |v| v.2);
                ("onstart", (priority(&group.name), own))
            } else {
                ("true", CUSTOM)
            };
            let name = format!("{version}.{}", group.name);
            let object = json!({
                "metadata": { "name": name, "labels": { MANAGED: managed } },
                "spec": { "group": group.name, "version": version,
                    "groupPriorityMinimum": priorities.0, "versionPriority": priorities.1 },
            });
            all.insert(name, (managed, object));
        }
    }
    all
}

async fn sync(app: &Arc<App>, first: bool) -> ApiResult<()> {
    let resource = app.resource(GROUP, PLURAL)?;
    let query = ListQuery { at: At::Latest, prefix: &resource.prefix, start: None, limit: 0, filter: None };
    let list = app.caches.of(&resource).list(query).await?;
    let wanted = wanted(app);
    // A built-in one that somebody deleted is theirs to miss until the next start.
    let missing = wanted.iter().filter(|(name, (managed, _))| {
        (first || *managed == "true") && !list.items.iter().any(|item| item.name() == name.as_str())
    });
    let created = missing.map(|(_, (_, object))| bootstrap::ensure(app, GROUP, PLURAL, object.clone()));
    futures::future::try_join_all(created).await?;
    for item in list.items.iter().filter(|item| item.label(MANAGED).is_some() && !wanted.contains_key(item.name())) {
        let call = Call::internal(app, GROUP, PLURAL, "", item.name())?;
        match delete::delete(&call, &delete::Options::default()).await {
            Err(error) if error.code != 404 => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
