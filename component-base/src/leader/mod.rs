//! Which of several processes of a component works, and which stand by (`client-go/tools/leaderelection`): the one that holds a Lease
//! and renews it. What counts is what a candidate sees by its own clock, not the times that others have written.

mod candidate;

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::ArgAction;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use runtime::events::{EventType, Recorder};
use runtime::flags::duration;
use tokio::time::{Instant, sleep, timeout};

use crate::metrics::{About, Kind, Page, Stability};
use crate::secure_port::Check;
use candidate::Candidate;

/// A candidate waits for up to as many retry periods more, lest all ask at once.
const JITTER: f64 = 1.2;
/// A leader is unwell once its lease has been over for this long, and it has not ended.
const TOLERATED: Duration = Duration::from_secs(20);
/// Whoever ends takes no longer than this to give its lease up.
const RELEASE: Duration = Duration::from_millis(500);

static MASTER: About = About {
    name: "leader_election_master_status",
    help: "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the string used to identify the lease. Please make sure to group by name.",
    stability: Stability::Alpha,
    kind: Kind::Gauge,
    labels: &["name"],
};
static SLOW: About = About {
    name: "leader_election_slowpath_total",
    help: "Total number of slow path exercised in renewing leader leases. 'name' is the string used to identify the lease. Please make sure to group by name.",
    stability: Stability::Alpha,
    kind: Kind::Counter,
    labels: &["name"],
};

/// Upstream's flags, and one.
#[derive(Clone, Debug, clap::Args)]
pub struct LeaderElection {
    /// Whether of several processes only one works, the one that holds a Lease
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub leader_elect: bool,
    /// How long the others wait for a leader that does not renew the Lease
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub leader_elect_lease_duration: Duration,
    /// How long a leader tries to renew it before it ends
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub leader_elect_renew_deadline: Duration,
    /// The time between two attempts to get or to renew it
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub leader_elect_retry_period: Duration,
    /// The kind of the object that is held
    #[arg(long, default_value = "leases", value_parser = ["leases"])]
    pub leader_elect_resource_lock: String,
    /// The Lease's name; by default upstream's of this component
    #[arg(long)]
    pub leader_elect_resource_name: Option<String>,
    /// The Lease's namespace
    #[arg(long, default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,
    /// Who this process is: no other's name. By default the host's and a random UUID, so that a process waits for its predecessor's
    /// lease to be over where that could not give it up
    #[arg(long)]
    pub leader_elect_identity: Option<String>,
}

impl LeaderElection {
    fn check(&self) -> anyhow::Result<()> {
        let (lease, renew) = (self.leader_elect_lease_duration, self.leader_elect_renew_deadline);
        // A Lease counts in seconds.
        if lease < Duration::from_secs(1) {
            bail!("--leader-elect-lease-duration must be a second or more");
        }
        if lease <= renew {
            bail!("--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline");
        }
        if self.leader_elect_retry_period.is_zero() {
            bail!("--leader-elect-retry-period must be greater than zero");
        }
        if renew <= self.leader_elect_retry_period.mul_f64(JITTER) {
            bail!("--leader-elect-renew-deadline must be greater than {JITTER} times --leader-elect-retry-period");
        }
        Ok(())
    }
}

/// Whether this process leads, for health and metrics. The default is that of a process that needs no election.
#[derive(Debug, Default)]
pub struct Standing {
    /// The Lease's name; `None` where nobody is elected.
    name: Option<String>,
    /// How long a renewal holds.
    duration: Duration,
    /// The last renewal, as long as this process leads.
    renewed: Mutex<Option<Instant>>,
    slow: AtomicU64,
}

impl Standing {
    /// Whether this process works, or stands by.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.name.is_none() || self.renewed.lock().is_some()
    }

    /// Upstream's check of that name, where somebody is elected.
    #[must_use]
    pub fn check(&self) -> Option<Check> {
        self.name.as_ref()?;
        let late = self.renewed.lock().is_some_and(|renewed| renewed.elapsed() > self.duration + TOLERATED);
        Some(("leaderElection", late.then_some("failed election to renew leadership on lease")))
    }

    #[expect(clippy::cast_precision_loss, reason = "as all numbers on the page")]
    pub fn metrics(&self, page: &mut Page) {
        let Some(name) = self.name.as_deref() else { return };
        page.number(&MASTER, &[name], f64::from(u8::from(self.leads())));
        page.number(&SLOW, &[name], self.slow.load(Ordering::Relaxed) as f64);
    }

    /// Counts from nothing again.
    pub fn reset(&self) {
        self.slow.store(0, Ordering::Relaxed);
    }
}

/// A process that wants to lead.
pub struct Election {
    lock: Lock,
    recorder: Recorder,
}

impl Election {
    /// Among the processes of a component; Events are written in the name of `source`.
    ///
    /// # Errors
    /// Flags contradict each other, or the host's name cannot be read.
    pub fn new(flags: &LeaderElection, client: &Client, component: &str, source: &str) -> anyhow::Result<Self> {
        flags.check()?;
        let identity = match &flags.leader_elect_identity {
            Some(identity) => identity.clone(),
            None => {
                let host = nix::unistd::gethostname().context("read the host's name")?;
                format!("{}_{}", host.to_string_lossy(), uuid::Uuid::new_v4())
            }
        };
        let name = flags.leader_elect_resource_name.clone().unwrap_or_else(|| component.to_owned());
        let lock = Lock {
            api: Api::namespaced(client.clone(), &flags.leader_elect_resource_namespace),
            candidate: Candidate::new(identity, flags.leader_elect_lease_duration),
            standing: Arc::new(Standing {
                name: flags.leader_elect.then(|| name.clone()),
                duration: flags.leader_elect_lease_duration,
                renewed: Mutex::default(),
                slow: AtomicU64::default(),
            }),
            name,
            flags: flags.clone(),
        };
        Ok(Self { lock, recorder: Recorder::new(client.clone(), source, None) })
    }

    #[must_use]
    pub fn standing(&self) -> Arc<Standing> {
        self.lock.standing.clone()
    }

    /// Waits until this process leads, then works until `stop` is there, the work ends, or it leads no longer. The process must end
    /// then: what the work has started may still run, while another one leads.
    ///
    /// # Errors
    /// Those of the work and of `stop`, and that the lease is lost.
    pub async fn run(
        self,
        stop: impl Future<Output = std::io::Result<()>>,
        work: impl AsyncFnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Self { mut lock, recorder } = self;
        let mut stop = pin!(stop);
        if !lock.flags.leader_elect {
            return tokio::select! {
                result = stop => Ok(result?),
                result = work() => result,
            };
        }
        tokio::select! {
            result = &mut stop => return Ok(result?),
            () = lock.acquire() => {}
        }
        let lease = lock.candidate.lease().map(Recorder::reference).unwrap_or_default();
        let told = format!("{} became leader", lock.candidate.identity());
        let tell = recorder.record(&lease, EventType::Normal, "LeaderElection", &told);
        let result = tokio::select! {
            result = &mut stop => result.map_err(Into::into),
            // Nobody waits for the Event.
            (_, result) = async { tokio::join!(tell, work()) } => result,
            () = lock.keep() => Err(anyhow!("leaderelection lost")),
        };
        lock.release().await;
        result
    }
}

/// Somewhere between 0 and 1.
#[expect(clippy::cast_precision_loss, reason = "half of the digits would do")]
fn fraction() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

/// A Lease that is to be held.
struct Lock {
    flags: LeaderElection,
    api: Api<Lease>,
    name: String,
    candidate: Candidate,
    standing: Arc<Standing>,
}

impl Lock {
    /// Returns once this process leads.
    async fn acquire(&mut self) {
        let (namespace, name) = (&self.flags.leader_elect_resource_namespace, &self.name);
        tracing::info!(namespace, name, identity = self.candidate.identity(), "attempting to acquire leader lease");
        while !self.attempt(Instant::now()).await {
            sleep(self.flags.leader_elect_retry_period.mul_f64(1.0 + JITTER * fraction())).await;
        }
        tracing::info!(name = self.name, "successfully acquired lease");
    }

    /// Returns once this process leads no longer.
    async fn keep(&mut self) {
        let (deadline, period) = (self.flags.leader_elect_renew_deadline, self.flags.leader_elect_retry_period);
        let renewed = async |lock: &mut Self| {
            while !lock.attempt(Instant::now()).await {
                sleep(period).await;
            }
        };
        loop {
            sleep(period).await;
            if timeout(deadline, renewed(self)).await.is_err() {
                tracing::error!(name = self.name, "failed to renew lease");
                *self.standing.renewed.lock() = None;
                return;
            }
        }
    }

    /// Tries to become the leader, or to stay it; whether it is. What goes wrong is for the log: it is tried again.
    async fn attempt(&mut self, now: Instant) -> bool {
        // Asked in vain for half the time there is, another question may do.
        let patience = (self.flags.leader_elect_renew_deadline / 2).max(Duration::from_secs(1));
        match timeout(patience, self.write(now)).await {
            Ok(Ok(leads)) => leads,
            Ok(Err(error)) => {
                tracing::warn!(%error, name = self.name, "cannot get or renew the lease");
                false
            }
            Err(_) => {
                tracing::warn!(name = self.name, "no answer about the lease in {patience:?}");
                false
            }
        }
    }

    async fn write(&mut self, now: Instant) -> kube::Result<bool> {
        if let Some(renewal) = self.candidate.renewal(now, Timestamp::now()) {
            match self.api.replace(&self.name, &PostParams::default(), &renewal).await {
                Ok(lease) => return Ok(self.wrote(lease, now)),
                Err(error) => tracing::debug!(%error, name = self.name, "the lease has to be looked at again"),
            }
        }
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let lease = self.candidate.founds(&self.name, Timestamp::now());
            let lease = self.api.create(&PostParams::default(), &lease).await?;
            return Ok(self.wrote(lease, now));
        };
        self.candidate.sees(lease, now);
        if self.candidate.leads() && self.standing.leads() {
            self.standing.slow.fetch_add(1, Ordering::Relaxed);
        }
        match self.candidate.claim(now, Timestamp::now()) {
            Ok(claim) => {
                let lease = self.api.replace(&self.name, &PostParams::default(), &claim).await?;
                Ok(self.wrote(lease, now))
            }
            Err(by) => {
                tracing::debug!(name = self.name, by, "the lease is held");
                Ok(false)
            }
        }
    }

    fn wrote(&mut self, lease: Lease, now: Instant) -> bool {
        self.candidate.wrote(lease, now);
        *self.standing.renewed.lock() = Some(now);
        true
    }

    /// Gives the lease up, so that nobody has to wait for its end. What goes wrong does no harm.
    async fn release(&mut self) {
        *self.standing.renewed.lock() = None;
        let release = async {
            if let Some(lease) = self.api.get_opt(&self.name).await? {
                self.candidate.sees(lease, Instant::now());
            }
            if let Some(released) = self.candidate.release(Timestamp::now()) {
                self.api.replace(&self.name, &PostParams::default(), &released).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Ok(Err(error)) = timeout(RELEASE, release).await {
            tracing::debug!(%error, name = self.name, "the lease is not given up");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::AtomicBool;

    use clap::Parser;
    use http::{Method, Request, Response, StatusCode};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    #[derive(Parser)]
    struct All {
        #[command(flatten)]
        leader: LeaderElection,
    }

    fn flags(args: &[&str]) -> LeaderElection {
        All::parse_from(std::iter::once("c").chain(args.iter().copied())).leader
    }

    /// A server with one Lease, which can be out of reach.
    #[derive(Default)]
    struct Server {
        lease: Mutex<Option<Value>>,
        events: Mutex<Vec<String>>,
        is_down: AtomicBool,
    }

    impl Server {
        fn client(self: &Arc<Self>) -> Client {
            let server = self.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move {
                    if server.is_down.load(Ordering::Relaxed) {
                        return Err(std::io::Error::other("connection refused"));
                    }
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let sent = serde_json::from_slice(&body).unwrap_or_default();
                    let (code, answer) = server.answer(&head.method, head.uri.path(), sent);
                    Ok(Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap())
                }
            });
            Client::new(service, "default")
        }

        fn answer(&self, method: &Method, path: &str, mut sent: Value) -> (StatusCode, Value) {
            if path.ends_with("/events") {
                self.events.lock().push(sent["message"].as_str().unwrap().to_owned());
                return (StatusCode::CREATED, sent);
            }
            let failed = |code: StatusCode, reason: &str| {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason,
                    "reason": reason, "code": code.as_u16()});
                (code, status)
            };
            let mut lease = self.lease.lock();
            let version = lease.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
            match (method.as_str(), &version) {
                ("GET", Some(_)) => return (StatusCode::OK, lease.clone().unwrap()),
                ("GET" | "PUT", None) => return failed(StatusCode::NOT_FOUND, "NotFound"),
                ("POST", Some(_)) => return failed(StatusCode::CONFLICT, "AlreadyExists"),
                ("PUT", Some(version)) if *version != sent["metadata"]["resourceVersion"] => {
                    return failed(StatusCode::CONFLICT, "Conflict");
                }
                _ => {}
            }
            let next = version.and_then(|version| version.as_str()?.parse().ok()).unwrap_or(0) + 1;
            sent["metadata"]["resourceVersion"] = next.to_string().into();
            *lease = Some(sent.clone());
            (StatusCode::OK, sent)
        }

        fn holder(&self) -> String {
            let lease = self.lease.lock();
            lease.as_ref().map(|lease| lease["spec"]["holderIdentity"].as_str().unwrap().to_owned()).unwrap_or_default()
        }
    }

    fn election(server: &Arc<Server>, identity: &str, args: &[&str]) -> Election {
        let identity = format!("--leader-elect-identity={identity}");
        let flags = flags(&[args, &[&identity]].concat());
        Election::new(&flags, &server.client(), "kube-scheduler", "default-scheduler").unwrap()
    }

    #[tokio::test]
    async fn one_leads_and_another_one_when_the_lease_is_over() {
        let server = Arc::new(Server::default());
        let [mut a, mut b] = ["a", "b"].map(|identity| election(&server, identity, &[]).lock);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(
            a.attempt(at(0)).await && !b.attempt(at(1)).await && a.attempt(at(10)).await && !b.attempt(at(20)).await
        );
        // A leader that has not renewed looks first.
        assert!(b.attempt(at(35)).await && !a.attempt(at(36)).await);
        assert_eq!((server.holder().as_str(), b.standing.leads()), ("b", true));
        // An outage, and a Lease that is gone.
        server.is_down.store(true, Ordering::Relaxed);
        assert!(!b.attempt(at(40)).await);
        server.is_down.store(false, Ordering::Relaxed);
        assert!(b.attempt(at(41)).await);
        *server.lease.lock() = None;
        assert!(b.attempt(at(43)).await && !a.attempt(at(44)).await);
        assert_eq!(server.holder(), "b");
        let mut page = Page::default();
        b.standing.metrics(&mut page);
        assert!(page.text().contains("leader_election_master_status{name=\"kube-scheduler\"} 1"), "{}", page.text());
    }

    #[tokio::test]
    async fn whoever_stops_gives_the_lease_up() {
        let server = Arc::new(Server::default());
        let (leads, mut led) = mpsc::unbounded_channel();
        let start = |identity: &'static str| {
            let election = election(&server, identity, &["--leader-elect-retry-period=10ms"]);
            let ((stop, stopped), leads) = (oneshot::channel(), leads.clone());
            let stopped = async { stopped.await.map_or_else(|_| Ok(()), Ok) };
            let work = async move || {
                leads.send(identity).unwrap();
                pending().await
            };
            (stop, tokio::spawn(election.run(stopped, work)))
        };
        let (stop, end) = start("a");
        assert_eq!(led.recv().await, Some("a"));
        let (_stop, _end) = start("b");
        stop.send(()).unwrap();
        end.await.unwrap().unwrap();
        assert_eq!(led.recv().await, Some("b"));
        let transitions = server.lease.lock().as_ref().unwrap()["spec"]["leaseTransitions"].clone();
        assert_eq!((server.holder().as_str(), transitions), ("b", json!(1)));
        assert_eq!(server.events.lock().first().map(String::as_str), Some("a became leader"));
    }

    #[tokio::test]
    async fn a_leader_that_cannot_renew_ends() {
        let server = Arc::new(Server::default());
        let quick = ["--leader-elect-retry-period=10ms", "--leader-elect-renew-deadline=50ms"];
        let election = election(&server, "a", &quick);
        let standing = election.standing();
        let work = async || {
            server.is_down.store(true, Ordering::Relaxed);
            pending().await
        };
        assert_eq!(election.run(pending(), work).await.unwrap_err().to_string(), "leaderelection lost");
        assert!(!standing.leads());
    }

    #[test]
    fn flags_that_contradict_each_other() {
        for (args, expected) in [
            (&[][..], None),
            (&["--leader-elect=false"], None),
            (
                &["--leader-elect-lease-duration=10s"],
                Some("--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline"),
            ),
            (
                &["--leader-elect-retry-period=9s"],
                Some("--leader-elect-renew-deadline must be greater than 1.2 times --leader-elect-retry-period"),
            ),
            (&["--leader-elect-retry-period=0s"], Some("--leader-elect-retry-period must be greater than zero")),
            (&["--leader-elect-lease-duration=500ms"], Some("--leader-elect-lease-duration must be a second or more")),
        ] {
            assert_eq!(flags(args).check().err().map(|error| error.to_string()).as_deref(), expected, "{args:?}");
        }
        assert!(flags(&["--leader-elect"]).leader_elect && !flags(&["--leader-elect=false"]).leader_elect);
    }
}
