//! How many requests are served at a time, and whose come first: the outside of upstream's priority and fairness (KEP-1040).
//!
//! ```text
//!   request ── classify (FlowSchemas) ──> level, flow ── Level: a seat, a queue, or 429 ──> handler
//! ```
//!
//! FlowSchemas and PriorityLevelConfigurations are followed and say who is in which level; a level has its share of all
//! seats, and queues from which flows take turns. What levels do not use they lend to others; a long list takes several seats.

mod classify;
pub mod defaults;
pub mod dump;
mod lending;
mod level;
mod status;
pub mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use auth::UserInfo;
use http::HeaderMap;
use http::header::HeaderValue;
use serde_json::Value;
use store::cache::{At, ListQuery, Watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::app::{App, text};
use crate::http::answer::value_of;
use crate::http::request_info::RequestInfo;
use crate::http::status::{ApiError, ApiResult};
use crate::metrics::{Metrics, Page};
use crate::options::Limits;
use classify::Schema;
use level::{Level, Seat, Settings};

pub const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// The manager of the objects that a server makes itself.
pub const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";
const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";
/// A request may wait for so much of the time it may take.
const WAIT: u32 = 4;

/// How often it is looked at who needs how many seats.
const PERIOD: Duration = Duration::from_secs(10);

/// Who is served when there are many.
pub struct Flow {
    /// The present plan; replaced as a whole when an object of it changes.
    plan: ArcSwap<Plan>,
    /// So many requests are served at once.
    seats: u64,
    /// How long a request may wait.
    wait: Duration,
}

struct Plan {
    /// By precedence.
    schemas: Vec<Schema>,
    levels: BTreeMap<String, Arc<Level>>,
}

/// What was decided about a request; while it is held the request counts as being served.
pub struct Admitted {
    ids: [String; 2],
    /// How long it waited for its turn.
    pub waited: Duration,
    _seat: Option<(Seat, Counted)>,
}

impl Admitted {
    /// Tells the client which schema and level it met.
    pub fn stamp(&self, headers: &mut HeaderMap) {
        for (name, id) in
            ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"].into_iter().zip(&self.ids)
        {
            if let Ok(value) = HeaderValue::from_str(id) {
                headers.insert(name, value);
            }
        }
    }
}

impl Plan {
    fn new(schemas: &[Value], levels: &[Value], seats: u64, before: &BTreeMap<String, Arc<Level>>) -> Self {
        let mut schemas: Vec<Schema> = schemas.iter().filter_map(Schema::parse).collect();
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        let shares: u64 = levels.iter().map(Settings::shares).sum();
        let level = |object: &Value| {
            let name = text(object, "/metadata/name").to_owned();
            let settings = Settings::parse(object, seats, shares);
            // Those who are being served or wait keep their place when nothing about their level has changed.
            let kept = before.get(&name).filter(|level| level.settings == settings).cloned();
            (name, kept.unwrap_or_else(|| Arc::new(Level::new(settings))))
        };
        Self { schemas, levels: levels.iter().map(level).collect() }
    }

    /// Gives each level as many seats as it needs and the others leave it.
    fn lend(&self, now: Instant) {
        let shares: Vec<_> = self.levels.values().map(|level| level.share(now)).collect();
        for (level, seats) in self.levels.values().zip(lending::limits(&shares)) {
            level.limit(seats);
        }
    }
}

impl Flow {
    /// With the objects the server makes itself, until they are in the store.
    ///
    /// # Errors
    /// Nobody would be served.
    pub fn new(limits: &Limits) -> anyhow::Result<Self> {
        let (schemas, levels): (Vec<Value>, Vec<Value>) = (defaults::schemas(), defaults::levels());
        let seats = limits.seats()?;
        let plan = ArcSwap::from_pointee(Plan::new(&schemas, &levels, seats, &BTreeMap::new()));
        Ok(Self { plan, seats, wait: limits.request_timeout / WAIT })
    }

    /// Upstream's series about the levels' seats.
    #[allow(clippy::cast_precision_loss)] // As all numbers on the page.
    pub fn write(&self, page: &mut Page) {
        let plan = self.plan.load();
        for (name, level) in &plan.levels {
            for (about, seats) in level.gauges() {
                page.number(about, &[name], seats as f64);
            }
        }
    }

    /// Waits for `width` seats if the request needs any (`long`-running ones do not), at most as long as upstream lets it wait.
    ///
    /// # Errors
    /// 429 when the level's queues are full, or when it waited in vain.
    pub async fn admit(
        &self,
        user: &UserInfo,
        info: &RequestInfo,
        long: bool,
        width: u64,
        metrics: &Arc<Metrics>,
    ) -> (ApiResult<()>, Option<Admitted>) {
        // Of those that go on for long only watches are somebody's turn, for the time they take to begin.
        if long && info.verb != "watch" {
            return (Ok(()), None);
        }
        let plan = self.plan.load_full();
        let found =
            plan.schemas.iter().find(|schema| schema.matches(user, info) && plan.levels.contains_key(&schema.level));
        // Only when somebody took away the objects that catch all.
        let Some(schema) = found else { return (Ok(()), None) };
        let level = &plan.levels[&schema.level];
        let ids = [schema.uid.clone(), level.settings.uid.clone()];
        let names = [schema.name.as_str(), schema.level.as_str()];
        if long {
            metrics.flow_dispatched.increase(&names);
            return (Ok(()), Some(Admitted { ids, waited: Duration::ZERO, _seat: None }));
        }
        let since = Instant::now();
        let queues = level.settings.queues();
        let flow = schema.flow(user, info);
        let waiting = queues.then(|| Counted::new(metrics, names, Counting::Waiting));
        let found = Level::seat(level, dump::Who::new(flow, user, info), flow, width, self.wait).await;
        drop(waiting);
        let waited = since.elapsed();
        if queues {
            let executes = if found.is_ok() { "true" } else { "false" };
            metrics.flow_wait.observe(&[executes, names[0], names[1]], waited.as_secs_f64());
        }
        match found {
            Ok(seat) => {
                #[allow(clippy::cast_precision_loss)] // A hundred at most.
                let seats = seat.width() as f64;
                metrics.flow_dispatched.increase(&names);
                metrics.flow_width.observe(&names, seats);
                let running = Counted::new(metrics, names, Counting::Executing(seats));
                (Ok(()), Some(Admitted { ids, waited, _seat: Some((seat, running)) }))
            }
            Err(refusal) => {
                metrics.flow_rejected.increase(&[names[0], names[1], refusal.reason()]);
                let full = ApiError::too_many_requests("Too many requests, please try again later.", 1);
                (Err(full), Some(Admitted { ids, waited, _seat: None }))
            }
        }
    }
}

/// A request in the gauges of its schema and level, until it is dropped.
struct Counted {
    metrics: Arc<Metrics>,
    names: [Box<str>; 2],
    stage: Counting,
}

#[derive(Clone, Copy)]
enum Counting {
    Waiting,
    /// With so many seats.
    Executing(f64),
}

impl Counted {
    fn new(metrics: &Arc<Metrics>, names: [&str; 2], stage: Counting) -> Self {
        let this = Self { metrics: metrics.clone(), names: names.map(Box::from), stage };
        this.add(1.0);
        this
    }

    fn add(&self, one: f64) {
        let (metrics, names) = (&self.metrics, &[&*self.names[0], &*self.names[1]]);
        match self.stage {
            Counting::Waiting => metrics.flow_waiting.add(names, one),
            Counting::Executing(seats) => {
                metrics.flow_executing.add(names, one);
                metrics.flow_executing_seats.add(names, one * seats);
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.add(-1.0);
    }
}

/// Reads the objects, which `bootstrap` has made where they were missing, and follows them from then on.
///
/// # Errors
/// The store fails.
pub async fn follow(app: &Arc<App>) -> ApiResult<()> {
    let (mut levels, mut schemas) = (begin(app, LEVELS).await?, begin(app, SCHEMAS).await?);
    replan(app).await?;
    let app = app.clone();
    tokio::spawn(app.stop.clone().run_until_cancelled_owned(lend(app.clone())));
    tokio::spawn(async move {
        // Nobody has been told yet what the schemas are worth; so it is after a failure.
        let mut behind = Some(Duration::ZERO);
        loop {
            let followed = async {
                let (lost_levels, lost_schemas) = tokio::select! {
                    events = levels.next() => (events.is_err(), false),
                    events = schemas.next() => (false, events.is_err()),
                    () = tokio::time::sleep(behind.unwrap_or_default()), if behind.is_some() => (false, false),
                };
                if lost_levels {
                    levels = begin(&app, LEVELS).await?;
                }
                if lost_schemas {
                    schemas = begin(&app, SCHEMAS).await?;
                }
                let schemas = replan(&app).await?;
                let levels = app.flow.plan.load().levels.keys().cloned().collect();
                status::tell(&app, &schemas, &levels).await
            };
            tokio::select! {
                followed = followed => {
                    behind = followed.is_err().then_some(PERIOD);
                    if let Err(error) = followed {
                        tracing::warn!(%error, "the flow schemas cannot be followed");
                    }
                }
                () = app.stop.cancelled() => return,
            }
        }
    });
    Ok(())
}

async fn lend(app: Arc<App>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        app.flow.plan.load().lend(Instant::now());
    }
}

async fn begin(app: &App, plural: &str) -> ApiResult<Watch> {
    let cache = app.caches.of(&*app.resource(GROUP, plural)?);
    Ok(cache.watch(cache.sync().await?).await?)
}

/// Makes the plan anew; gives the schemas it is made of.
async fn replan(app: &App) -> ApiResult<Vec<Value>> {
    let all = async |plural: &str| -> ApiResult<Vec<Value>> {
        let resource = app.resource(GROUP, plural)?;
        let query = ListQuery { at: At::Latest, prefix: &resource.prefix, start: None, limit: 0, filter: None };
        let list = app.caches.of(&resource).list(query).await?;
        list.items.iter().map(|object| value_of(&resource, object)).collect()
    };
    let (schemas, levels) = (all(SCHEMAS).await?, all(LEVELS).await?);
    let before = app.flow.plan.load_full();
    let plan = Plan::new(&schemas, &levels, app.flow.seats, &before.levels);
    plan.lend(Instant::now());
    app.flow.plan.store(Arc::new(plan));
    Ok(schemas)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            limits: Limits,
        }
        Flow::new(&<Flags as clap::Parser>::parse_from(["apiserver"]).limits).unwrap()
    }

    fn meets(user: UserInfo, method: &http::Method, path: &str) -> (String, String) {
        let plan = flow().plan.load_full();
        let info = RequestInfo::parse(method, path, false, None);
        let schema = plan.schemas.iter().find(|schema| schema.matches(&user, &info)).unwrap();
        (schema.name.clone(), schema.level.clone())
    }

    #[test]
    fn requests_meet_the_schemas_of_upstream() {
        use http::Method;
        let user = |name: &str, groups: &[&str]| UserInfo::new(name, groups.iter().copied()).authenticated();
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/w1";
        let account = "system:serviceaccount:kube-system:x";
        for (user, method, path, schema, level) in [
            (user("admin", &["system:masters"]), Method::GET, "/api/v1/pods", "exempt", "exempt"),
            (UserInfo::anonymous(), Method::GET, "/readyz", "probes", "exempt"),
            (user("system:kube-scheduler", &[]), Method::GET, leases, "system-leader-election", "leader-election"),
            (user("system:kube-scheduler", &[]), Method::GET, "/api/v1/pods", "kube-scheduler", "workload-high"),
            (user("system:node:w1", &["system:nodes"]), Method::PUT, leases, "system-node-high", "node-high"),
            (user("system:node:w1", &["system:nodes"]), Method::GET, "/api/v1/pods", "system-nodes", "system"),
            (
                user(account, &["system:serviceaccounts"]),
                Method::GET,
                "/api/v1/pods",
                "kube-system-service-accounts",
                "workload-high",
            ),
            (
                user("system:serviceaccount:a:b", &["system:serviceaccounts"]),
                Method::GET,
                "/version",
                "service-accounts",
                "workload-low",
            ),
            (user("jane", &[]), Method::POST, "/api/v1/namespaces/a/pods", "global-default", "global-default"),
        ] {
            assert_eq!(meets(user, &method, path), (schema.to_owned(), level.to_owned()), "{path}");
        }
    }

    #[test]
    fn levels_share_the_seats() {
        let plan = flow().plan.load_full();
        let seats = |name: &str| plan.levels[name].settings.seats;
        assert_eq!((seats("workload-low"), seats("catch-all"), seats("leader-election")), (245, 13, 25));
    }
}
