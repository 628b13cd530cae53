//! The condition Available of APIServices: those of this server always are; one behind a Service is when the Service, its
//! endpoints and the server's own discovery are there (`kube-aggregator/pkg/controllers/status`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::time::DelayQueue;

use super::{GROUP, Known, PLURAL, Remote, discovery, own_user};
use crate::app::{App, Call, text};
use crate::http::status::ApiResult;
use crate::outbound::{self, resolve};
use crate::registry::follow::{self, Step};
use crate::registry::{object, versions, write};

/// How often all are looked at, for what no event tells.
const RESYNC: Duration = Duration::from_secs(30);
/// How long a server may take for its discovery.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first and the longest time between two attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(30));
/// So many are looked at at once.
const WORKERS: usize = 5;

/// A verdict: status, reason, message.
#[derive(Debug, PartialEq)]
struct Verdict(&'static str, &'static str, String);

impl Verdict {
    fn is_good(&self) -> bool {
        self.0 == "True"
    }
}

/// Looks at APIServices when something about them changes, until the server stops.
pub async fn run(app: Arc<App>) {
    let mut resync = interval(RESYNC);
    resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut later: DelayQueue<String> = DelayQueue::new();
    let mut failures: BTreeMap<String, u32> = BTreeMap::new();
    let mut waiting: BTreeSet<String> = BTreeSet::new();
    let mut busy: BTreeSet<String> = BTreeSet::new();
    let mut running = FuturesUnordered::new();
    let mut informed = false;
    loop {
        tokio::select! {
            () = app.aggregator.wake.notified() => waiting.append(&mut app.aggregator.dirty.lock()),
            Some(due) = later.next(), if !later.is_empty() => { waiting.insert(due.into_inner()); }
            _ = resync.tick() => waiting.extend(app.aggregator.remotes().values().map(|remote| remote.name.clone())),
            Some((name, good)) = running.next(), if !running.is_empty() => {
                let name: String = name;
                busy.remove(&name);
                if good {
                    failures.remove(&name);
                } else {
                    let failed = failures.entry(name.clone()).or_default();
                    let delay = BACKOFF.0.saturating_mul(1 << (*failed).min(16)).min(BACKOFF.1);
                    *failed += 1;
                    later.insert(name, delay);
                }
            }
            () = app.stop.cancelled() => return,
        }
        // Services and their endpoints matter from the first remote APIService on.
        if !informed && !app.aggregator.remotes().is_empty() {
            match follow_services(&app).await {
                Ok(()) => informed = true,
                Err(error) => tracing::warn!(%error, "the Services of APIServices cannot be followed"),
            }
        }
        while running.len() < WORKERS {
            let Some(name) = waiting.iter().find(|name| !busy.contains(*name)).cloned() else { break };
            waiting.remove(&name);
            busy.insert(name.clone());
            let app = app.clone();
            running.push(async move { (name.clone(), look(&app, &name).await) }.boxed());
        }
    }
}

/// Looks at one; false: it is to be looked at again soon.
async fn look(app: &Arc<App>, name: &str) -> bool {
    let remote = match app.aggregator.known.lock().get(name) {
        None => return true,
        Some(Known::Local { .. }) => None,
        Some(Known::Remote(remote)) => Some(remote.clone()),
    };
    let verdict = match &remote {
        None => Ok(Verdict("True", "Local", "Local APIServices are always available".to_owned())),
        Some(remote) => check(app, remote).await,
    };
    let told = match verdict {
        Ok(verdict) => tell(app, name, &verdict).await.map(|()| verdict.is_good()),
        Err(error) => Err(error),
    };
    let good = told.unwrap_or_else(|error| {
        tracing::warn!(%error, name, "an APIService could not be looked at");
        false
    });
    match remote {
        Some(remote) => discovery::learn(app, &remote, good).await && good,
        None => good,
    }
}

/// Whether a server is there.
async fn check(app: &Arc<App>, remote: &Remote) -> ApiResult<Verdict> {
    let at = format!("service/{} in {:?}", remote.service, remote.namespace);
    let services = app.resource("", "services")?;
    let (found, _) = app.store.get(&services.key(&remote.namespace, &remote.service), None).await?;
    let Some(found) = found else {
        return Ok(Verdict("False", "ServiceNotFound", format!("{at} is not present")));
    };
    let service: Value = serde_json::from_slice(&found.value).map_err(crate::http::status::ApiError::internal)?;
    if text(&service, "/spec/type") == "ClusterIP" {
        let ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let port = ports.into_iter().find(|port| port["port"].as_u64() == Some(u64::from(remote.port)));
        let Some(port) = port else {
            let why = format!("{at} is not listening on port {}", remote.port);
            return Ok(Verdict("False", "ServicePortError", why));
        };
        let slices = resolve::slices(app, &remote.namespace, &remote.service).await?;
        if slices.is_empty() {
            return Ok(Verdict("False", "EndpointsNotFound", format!("cannot find endpointslices for {at}")));
        }
        let name = text(port, "/name");
        if !slices.iter().any(|slice| resolve::ready(slice, name).next().is_some()) {
            let why = format!("endpointslices for {at} have no addresses with port name {name:?}");
            return Ok(Verdict("False", "MissingEndpoints", why));
        }
    }
    Ok(match answers(app, remote).await {
        Ok(()) => Verdict("True", "Passed", "all checks passed".to_owned()),
        Err(why) => Verdict("False", "FailedDiscoveryCheck", why),
    })
}

/// The server answers for its group and version.
async fn answers(app: &App, remote: &Remote) -> Result<(), String> {
    let found = resolve::service(app, &remote.namespace, &remote.service, remote.port).await;
    let (host, port) = found.map_err(|error| error.message)?;
    let address = resolve::join(&host, port);
    let url = format!("https://{address}{}", remote.root());
    let failed = |why: String| format!("failing or missing response from {url}: {why}");
    let asked = outbound::get(app, &remote.peer, &address, &remote.root(), "", &own_user(), PATIENCE).await;
    let (status, _, _) = asked.map_err(failed)?;
    if status.is_success() { Ok(()) } else { Err(failed(format!("bad status from {url}: {}", status.as_u16()))) }
}

/// Writes the condition, if it says anything new.
async fn tell(app: &Arc<App>, name: &str, verdict: &Verdict) -> ApiResult<()> {
    let mut call = Call::internal(app, GROUP, PLURAL, "", name)?;
    "status".clone_into(&mut call.info.subresource);
    let key = call.resource.key("", name);
    for _ in 0..write::ATTEMPTS {
        let Some(live) = write::load(&call, &key).await? else { return Ok(()) };
        let mut new = live.value.clone();
        if !set(&mut new, verdict) {
            return Ok(());
        }
        versions::track(&call, &live.value, &mut new).await;
        if write::commit(&call, &key, new, live.revision).await?.is_some() {
            return Ok(());
        }
    }
    Err(call.modified(name))
}

/// Sets the condition; false when it stands there already.
fn set(object: &mut Value, Verdict(status, reason, message): &Verdict) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let before = conditions.iter().find(|condition| condition["type"] == "Available");
    let same = before.is_some_and(|c| c["status"] == *status && c["reason"] == *reason && c["message"] == *message);
    if same {
        return false;
    }
    let since = before.filter(|c| c["status"] == *status).map(|c| c["lastTransitionTime"].clone());
    conditions.retain(|condition| condition["type"] != "Available");
    conditions.push(json!({
        "type": "Available", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| object::now().into()),
    }));
    object["status"]["conditions"] = Value::Array(conditions);
    true
}

/// Services and EndpointSlices that APIServices depend on make these worth a look.
async fn follow_services(app: &Arc<App>) -> ApiResult<()> {
    let touched = |app: &Arc<App>, namespace: &str, service: &str| {
        for remote in app.aggregator.remotes().values() {
            if remote.namespace == namespace && remote.service == service {
                app.aggregator.look_at(&remote.name);
            }
        }
    };
    follow::follow(app, "", "services", move |app, step| {
        if let Step::Now(object) | Step::Gone(object) = step {
            touched(app, object.namespace(), object.name());
        }
    })
    .await?;
    follow::follow(app, "discovery.k8s.io", "endpointslices", move |app, step| {
        if let Step::Now(object) | Step::Gone(object) = step
            && let Some(service) = object.label("kubernetes.io/service-name")
        {
            touched(app, object.namespace(), service);
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_written_once_and_keeps_its_time() {
        let mut object = json!({});
        let missing = Verdict("False", "ServiceNotFound", "service/a in \"b\" is not present".to_owned());
        assert!(set(&mut object, &missing));
        assert!(!set(&mut object, &missing));
        object["status"]["conditions"][0]["lastTransitionTime"] = "then".into();
        assert!(set(&mut object, &Verdict("False", "EndpointsNotFound", String::new())));
        assert_eq!(object["status"]["conditions"][0]["lastTransitionTime"], "then");
        assert!(set(&mut object, &Verdict("True", "Passed", String::new())));
        assert_ne!(object["status"]["conditions"][0]["lastTransitionTime"], "then");
    }
}
