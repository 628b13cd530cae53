//! What all requests share, and what one request carries through the layers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::Value;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::audit::parts::{self, Part};
use crate::http::backend::Kubelets;
use crate::http::negotiate::Accept;
use crate::http::request_info::{Query, RequestInfo};
use crate::http::status::{ApiError, ApiResult};
use crate::options::Options;
use crate::registry::caches::Caches;
use crate::registry::resource::{Catalogue, Resource};
use crate::registry::service::Allocator;
use auth::UserInfo;

/// The server's shared state.
pub struct App {
    pub options: Options,
    pub store: Arc<dyn Store>,
    pub caches: Caches,
    pub catalogue: ArcSwap<Catalogue>,
    pub access: Access,
    pub admission: crate::admission::configuration::Configuration,
    pub audit: Arc<crate::audit::Log>,
    pub encryption: Arc<crate::encryption::Encryption>,
    pub allocator: Allocator,
    pub flow: crate::flow::Flow,
    pub kubelets: Kubelets,
    /// Whose turn it is to be charged to a namespace's quotas.
    pub turns: crate::admission::Turns,
    pub members: crate::members::Members,
    pub clients: crate::outbound::Clients,
    pub publisher: crate::crd::Publisher,
    pub aggregator: crate::aggregator::Aggregator,
    pub policies: crate::admission::policy::Index,
    pub webhooks: crate::admission::webhook::Index,
    pub documents: crate::http::openapi::Documents,
    pub metrics: Arc<crate::metrics::Metrics>,
    pub health: crate::http::health::Health,
    pub started: Instant,
    /// Cancelled when the server stops: watches end, listeners close.
    pub stop: CancellationToken,
    /// Cancelled when it is asked to, `--shutdown-delay-duration` before.
    pub stopping: CancellationToken,
}

impl App {
    /// A built-in resource the server itself uses.
    ///
    /// # Errors
    /// An internal error when there is no such row in the table of kinds.
    pub fn resource(&self, group: &str, plural: &str) -> ApiResult<Arc<Resource>> {
        let missing = || ApiError::internal(format!("the resource {plural} of group {group:?} is not served"));
        self.catalogue.load().preferred(group, plural).cloned().ok_or_else(missing)
    }
}

/// One request to the registry: who wants what, and how.
pub struct Call {
    pub app: Arc<App>,
    pub user: UserInfo,
    pub resource: Arc<Resource>,
    pub info: RequestInfo,
    pub query: Query,
    pub accept: Accept,
    /// `User-Agent`, from which the field manager's name comes when the query has none.
    pub agent: String,
    /// The server's own housekeeping: webhooks and policies, which it may be needed to mend, have no say in it.
    pub internal: bool,
    /// Until when it is to be answered, where it is to be within some time.
    pub deadline: Option<Instant>,
    dry_run: AtomicBool,
    /// The request's line in the audit log, where it has one.
    pub trail: Option<Arc<crate::audit::Trail>>,
    warnings: Mutex<Vec<String>>,
    /// Nanoseconds that webhooks took.
    webhooks: AtomicU64,
}

impl Call {
    /// As whom the server calls itself.
    pub const AGENT: &str = "kube-apiserver";

    #[must_use]
    pub fn new(app: Arc<App>, user: UserInfo, resource: Arc<Resource>, info: RequestInfo) -> Self {
        Self {
            app,
            user,
            resource,
            info,
            query: Query::default(),
            accept: Accept::JSON,
            agent: String::new(),
            internal: false,
            deadline: None,
            dry_run: AtomicBool::new(false),
            trail: None,
            warnings: Mutex::default(),
            webhooks: AtomicU64::new(0),
        }
    }

    /// A call the server makes to itself.
    ///
    /// # Errors
    /// See [`App::resource`].
    pub fn internal(app: &Arc<App>, group: &str, plural: &str, namespace: &str, name: &str) -> ApiResult<Self> {
        let resource = app.resource(group, plural)?;
        let info = RequestInfo {
            is_resource: true,
            group: group.to_owned(),
            version: resource.version.clone(),
            namespace: namespace.to_owned(),
            resource: plural.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        };
        let mut call = Self::new(
            app.clone(),
            UserInfo::new("system:apiserver", [auth::user::MASTERS]).authenticated(),
            resource,
            info,
        );
        call.agent = Self::AGENT.to_owned();
        call.internal = true;
        Ok(call)
    }

    /// The same request about one object of the collection.
    #[must_use]
    pub fn about(&self, namespace: &str, name: &str) -> Self {
        let mut info = self.info.clone();
        info.namespace = namespace.to_owned();
        info.name = name.to_owned();
        let mut one = Self::new(self.app.clone(), self.user.clone(), self.resource.clone(), info);
        one.query = self.query.clone();
        one.agent.clone_from(&self.agent);
        one.internal = self.internal;
        one.dry_run = AtomicBool::new(self.dry_run());
        one.trail.clone_from(&self.trail);
        one
    }

    /// A warning for the answer's headers.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Notes something in the audit log; of several notes under one key the first stays.
    pub fn annotate(&self, key: &str, value: &str) {
        if let Some(trail) = &self.trail {
            trail.annotate(key, value);
        }
    }

    /// A webhook has been waited for, or several at once.
    pub fn waited(&self, part: Part, took: Duration) {
        parts::note(part, took);
        self.webhooks.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long webhooks took in all.
    #[must_use]
    pub fn webhooks(&self) -> Duration {
        Duration::from_nanos(self.webhooks.load(Ordering::Relaxed))
    }

    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock())
    }

    /// The request's options say that nothing shall be written.
    pub fn only_try(&self) {
        self.dry_run.store(true, Ordering::Relaxed);
    }

    /// `dryRun=All`, in the query or in the body's options.
    #[must_use]
    pub fn dry_run(&self) -> bool {
        self.dry_run.load(Ordering::Relaxed)
    }

    /// The field manager: the query's, else the first word of the user agent.
    #[must_use]
    pub fn manager(&self) -> String {
        match self.query.text("fieldManager") {
            Some(name) => name.to_owned(),
            None => {
                let word = self.agent.split('/').next().unwrap_or_default();
                let word: String = word.chars().take(128).collect();
                if word.is_empty() { "unknown".to_owned() } else { word }
            }
        }
    }

    /// `pods "x" not found`, about this call's resource.
    #[must_use]
    pub fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(&self.resource.group, &self.resource.plural, name)
    }

    #[must_use]
    pub fn modified(&self, name: &str) -> ApiError {
        ApiError::modified(&self.resource.group, &self.resource.plural, name)
    }

    #[must_use]
    pub fn forbidden(&self, name: &str, why: &str) -> ApiError {
        ApiError::forbidden(&self.resource.group, &self.resource.plural, name, why)
    }

    #[must_use]
    pub fn invalid(&self, name: &str, errors: &schema::field::ErrorList) -> ApiError {
        // Events of both groups are those of core inside.
        let group = if self.resource.is("events.k8s.io", "events") { "" } else { &self.resource.group };
        ApiError::invalid(group, &self.resource.kind, name, errors)
    }
}

/// Text at a pointer such as `/metadata/name`, "" when there is none.
#[must_use]
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    // `Value::pointer` makes two new texts of every step, for the sake of those that are escaped.
    let found = match pointer.contains('~') {
        true => value.pointer(pointer),
        false => pointer.split('/').skip(1).try_fold(value, |value, step| match value {
            Value::Array(list) => list.get(step.parse::<usize>().ok()?),
            value => value.get(step),
        }),
    };
    found.and_then(Value::as_str).unwrap_or_default()
}
