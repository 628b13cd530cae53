//! /healthz, /livez and /readyz, with `?verbose` and `?exclude=`, each check alone below them, and what came of them at
//! /metrics/slis.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Body;
use component_base::health::{self, Report, Results};
use http::Response;
use http::header::X_CONTENT_TYPE_OPTIONS;

use super::answer;
use super::request_info::Query;
use crate::app::App;

/// How long the store may take to answer (`--etcd-healthcheck-timeout`).
const STORE: std::time::Duration = std::time::Duration::from_secs(2);

/// What the server does before it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Custom resources are known, and followed.
    Definitions,
    /// Addresses and ports of Services have been looked at.
    Services,
    /// The system's own objects are there.
    Bootstrap,
    /// Webhooks and admission policies are known, and followed.
    Admission,
    /// APIServices are known, and followed.
    Aggregation,
    /// Roles and bindings are known, and followed.
    Access,
    /// Tokens in Secrets are looked after.
    Tokens,
    /// Flow schemas and priority levels are known, and followed.
    Flow,
}

/// What a check looks at.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// The server answers, which is enough.
    Answers,
    Store,
    Done(Step),
    /// All of them.
    Everything,
    NotStopping,
    /// The plugins that have keys.
    Plugins,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Everywhere,
    Readiness,
    /// Everywhere but at /livez, where plugins have keys, or may have once: the file about encryption is followed.
    PluginsButLiveness,
    /// Everywhere, where that file is followed.
    Encryption,
}

/// Upstream's checks in its order: its hooks are known by name to whoever excludes one or asks for it alone.
const CHECKS: &[(&str, Look, Where)] = {
    use Look::{Answers, Done, Everything, NotStopping, Plugins, Store};
    use Where::{Encryption, Everywhere, PluginsButLiveness, Readiness};
    &[
        ("ping", Answers, Everywhere),
        ("log", Answers, Everywhere),
        ("etcd", Store, Everywhere),
        ("etcd-readiness", Store, Readiness),
        ("kms-providers", Plugins, PluginsButLiveness),
        ("informer-sync", Everything, Readiness),
        ("poststarthook/start-encryption-provider-config-automatic-reload", Done(Step::Access), Encryption),
        ("poststarthook/start-apiserver-admission-initializer", Done(Step::Admission), Everywhere),
        ("poststarthook/generic-apiserver-start-informers", Done(Step::Access), Everywhere),
        ("poststarthook/priority-and-fairness-config-consumer", Done(Step::Flow), Everywhere),
        ("poststarthook/priority-and-fairness-filter", Done(Step::Flow), Everywhere),
        ("poststarthook/storage-object-count-tracker-hook", Answers, Everywhere),
        ("poststarthook/start-apiextensions-informers", Done(Step::Definitions), Everywhere),
        ("poststarthook/start-apiextensions-controllers", Done(Step::Definitions), Everywhere),
        ("poststarthook/crd-informer-synced", Done(Step::Definitions), Everywhere),
        ("poststarthook/start-system-namespaces-controller", Done(Step::Bootstrap), Everywhere),
        ("poststarthook/start-cluster-authentication-info-controller", Done(Step::Bootstrap), Everywhere),
        ("poststarthook/start-kube-apiserver-identity-lease-controller", Done(Step::Bootstrap), Everywhere),
        ("poststarthook/start-kube-apiserver-identity-lease-garbage-collector", Done(Step::Bootstrap), Everywhere),
        ("poststarthook/start-legacy-token-tracking-controller", Done(Step::Tokens), Everywhere),
        ("poststarthook/start-service-ip-repair-controllers", Done(Step::Services), Everywhere),
        ("poststarthook/rbac/bootstrap-roles", Done(Step::Bootstrap), Everywhere),
        ("poststarthook/scheduling/bootstrap-system-priority-classes", Done(Step::Bootstrap), Everywhere),
        ("poststarthook/priority-and-fairness-config-producer", Done(Step::Bootstrap), Everywhere),
        ("poststarthook/bootstrap-controller", Done(Step::Bootstrap), Everywhere),
        ("poststarthook/start-kubernetes-service-cidr-controller", Done(Step::Bootstrap), Everywhere),
        ("poststarthook/aggregator-reload-proxy-client-cert", Answers, Everywhere),
        ("poststarthook/start-kube-aggregator-informers", Done(Step::Aggregation), Everywhere),
        ("poststarthook/apiservice-status-local-available-controller", Done(Step::Aggregation), Everywhere),
        ("poststarthook/apiservice-status-remote-available-controller", Done(Step::Aggregation), Everywhere),
        ("poststarthook/apiservice-registration-controller", Done(Step::Aggregation), Everywhere),
        ("poststarthook/apiservice-discovery-controller", Done(Step::Aggregation), Everywhere),
        ("poststarthook/kube-apiserver-autoregistration", Done(Step::Aggregation), Everywhere),
        ("autoregister-completion", Done(Step::Aggregation), Everywhere),
        ("poststarthook/apiservice-openapi-controller", Done(Step::Aggregation), Everywhere),
        ("poststarthook/apiservice-openapiv3-controller", Done(Step::Aggregation), Everywhere),
        ("shutdown", NotStopping, Readiness),
    ]
};

const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

/// How far the server is, and what came of checks.
#[derive(Default)]
pub struct Health {
    /// A bit for each [`Step`] that is done.
    done: AtomicU32,
    /// Set when all is done that the server is started for.
    ready: std::sync::atomic::AtomicBool,
    pub results: Results,
    /// The file about encryption is followed.
    encryption: bool,
    /// It names plugins.
    plugins: bool,
}

impl Health {
    #[must_use]
    pub fn new(encryption: bool, plugins: bool) -> Self {
        Self { encryption, plugins, ..Self::default() }
    }

    /// The checks of an endpoint.
    fn checks(&self, endpoint: &str) -> impl Iterator<Item = (&'static str, Look)> {
        let asked = move |at: Where| match at {
            Where::Everywhere => true,
            Where::Readiness => endpoint == "readyz",
            Where::PluginsButLiveness => (self.encryption || self.plugins) && endpoint != "livez",
            Where::Encryption => self.encryption,
        };
        CHECKS.iter().filter(move |(_, _, at)| asked(*at)).map(|(name, look, _)| (*name, *look))
    }

    /// The paths of all checks, as `/` lists them.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        ENDPOINTS.iter().flat_map(|endpoint| {
            let own = std::iter::once(format!("/{endpoint}"));
            own.chain(self.checks(endpoint).map(move |(name, _)| format!("/{endpoint}/{name}")))
        })
    }

    pub fn done(&self, step: Step) {
        self.done.fetch_or(1 << step as u8, Ordering::Release);
    }

    /// The server has started.
    pub fn started(&self) {
        self.ready.store(true, Ordering::Release);
    }

    fn is_done(&self, step: Step) -> bool {
        self.done.load(Ordering::Acquire) & (1 << step as u8) != 0
    }
}

/// What is wrong with the store, if something is.
pub async fn store(app: &App) -> Option<&'static str> {
    match tokio::time::timeout(STORE, app.store.revision()).await {
        Ok(Ok(_)) => None,
        Ok(Err(_)) => Some("error getting data from etcd"),
        Err(_) => Some("etcd client connection not yet established"),
    }
}

/// What is wrong, if something is.
async fn look(app: &App, look: Look) -> Option<Cow<'static, str>> {
    let health = &app.health;
    let wrong = match look {
        Look::Answers => None,
        Look::Plugins => return app.encryption.check().await.map(Cow::Owned),
        Look::Store => store(app).await,
        Look::Done(step) => (!health.is_done(step)).then_some("not finished"),
        Look::Everything => {
            let well = health.ready.load(Ordering::Acquire) && !app.caches.unreadable();
            (!well).then_some("informers not started yet")
        }
        Look::NotStopping => app.stopping.is_cancelled().then_some("process is shutting down"),
    };
    wrong.map(Cow::Borrowed)
}

/// The answer, `None` when the path is none of these.
pub async fn answer(app: &App, path: &str, query: &Query) -> Option<Response<Body>> {
    let path = path.strip_prefix('/')?;
    let (endpoint, only) = path.split_once('/').map_or((path, None), |(endpoint, check)| (endpoint, Some(check)));
    let endpoint = *ENDPOINTS.iter().find(|known| **known == endpoint)?;
    if let Some(only) = only {
        let (_, check) = app.health.checks(endpoint).find(|(name, _)| *name == only)?;
        let (code, text) = health::single(look(app, check).await.as_deref());
        let mut answer = answer::text(code, text);
        if code == 200 {
            answer.headers_mut().remove(X_CONTENT_TYPE_OPTIONS);
        }
        return Some(answer);
    }
    Some(all(app, endpoint, query).await)
}

async fn all(app: &App, endpoint: &'static str, query: &Query) -> Response<Body> {
    let mut report = Report::new(endpoint, query.all("exclude"));
    for (name, check) in app.health.checks(endpoint) {
        if report.excludes(name) {
            continue;
        }
        let wrong = look(app, check).await;
        report.add(name, wrong.as_deref());
        app.health.results.add(endpoint, name, wrong.is_none());
    }
    let (code, text) = report.finish(query.get("verbose").is_some());
    answer::text(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_apart() {
        let health = Health::default();
        health.done(Step::Flow);
        health.done(Step::Definitions);
        assert!(health.is_done(Step::Flow) && health.is_done(Step::Definitions) && !health.is_done(Step::Access));
    }

    #[test]
    fn readiness_has_checks_of_its_own() {
        let health = Health::default();
        let names = |endpoint| health.checks(endpoint).map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names("livez"), names("healthz"));
        let more: Vec<_> = names("readyz").into_iter().filter(|name| !names("livez").contains(name)).collect();
        assert_eq!(more, ["etcd-readiness", "informer-sync", "shutdown"]);
        assert!(health.paths().any(|path| path == "/livez/poststarthook/rbac/bootstrap-roles"));
    }

    #[test]
    fn encryption_has_checks_where_it_is_asked_for() {
        let (plugins, hook) = ("kms-providers", "poststarthook/start-encryption-provider-config-automatic-reload");
        for (followed, named, ready, alive) in [
            (false, false, &[][..], &[][..]),
            (false, true, &[plugins], &[]),
            (true, false, &[plugins, hook], &[hook]),
            (true, true, &[plugins, hook], &[hook]),
        ] {
            let health = Health::new(followed, named);
            let of = |endpoint| {
                let names = health.checks(endpoint).map(|(name, _)| name);
                names.filter(|name| [plugins, hook].contains(name)).collect::<Vec<_>>()
            };
            assert_eq!([of("healthz"), of("readyz"), of("livez")], [ready, ready, alive], "{followed} {named}");
        }
    }
}
