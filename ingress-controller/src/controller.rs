//! The loop: events into the index, and the index into nginx, at a bounded pace.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{Stream, StreamExt};
use k8s_openapi::api::networking::v1::{Ingress, IngressLoadBalancerIngress};
use kube::ResourceExt;
use runtime::events::EventType;

use crate::apply::health::Metrics;
use crate::apply::nginx::{Error, Nginx};
use crate::apply::report::{Due, Reporter};
use crate::core::build::{Built, build};
use crate::core::model::{Certificate, Config, Problem};
use crate::core::pace::Pace;
use crate::core::render::{Settings, owner_of_line};
use crate::index::{Change, Index, Key, Touched, Watched};

/// A change is served at once, a storm of changes once a second.
const BURST: u32 = 5;
const INTERVAL: Duration = Duration::from_secs(1);

/// What the controller is told by its flags.
pub struct Options {
    pub nginx: PathBuf,
    pub settings: Settings,
    pub default_certificate: Certificate,
    pub without_class: bool,
    /// The Service whose load-balancer addresses Ingresses show.
    pub publish_service: Option<Key>,
    /// What they show while it has none.
    pub publish_address: Option<String>,
    /// How long nginx may finish its requests when we are asked to stop.
    pub grace: Duration,
}

/// What tells one version of what a user wrote from another: status and bookkeeping left out.
type Version = (Option<String>, Option<i64>, BTreeMap<String, String>);

/// What an apply did to nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Unchanged,
    Loaded,
    Failed,
}

pub struct Controller {
    options: Options,
    reporter: Reporter,
    metrics: Arc<Metrics>,
    index: Index,
    nginx: Option<Nginx>,
    running: Config,
    built: Built,
    /// Ingresses that nginx refused, with the version it refused and why.
    rejected: BTreeMap<Key, (Version, String)>,
    announced: HashMap<Key, Version>,
    warned: BTreeSet<Problem>,
}

impl Controller {
    pub fn new(options: Options, reporter: Reporter, metrics: Arc<Metrics>) -> Self {
        Self {
            options,
            reporter,
            metrics,
            index: Index::default(),
            nginx: None,
            running: Config::default(),
            built: Built::default(),
            rejected: BTreeMap::new(),
            announced: HashMap::new(),
            warned: BTreeSet::new(),
        }
    }

    /// Runs until `stop` resolves, then lets nginx finish.
    ///
    /// # Errors
    /// When nginx cannot be started, or ended by itself: the kubelet then restarts the container.
    pub async fn run(
        mut self,
        mut events: impl Stream<Item = Watched> + Unpin,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        tokio::pin!(stop);
        let mut pace = Pace::new(BURST, INTERVAL, Instant::now());
        let mut dirty = false;
        loop {
            let due = tokio::time::Instant::from_std(pace.ready_at(Instant::now()));
            tokio::select! {
                // Changes first: all that have arrived go into one reload.
                biased;
                () = &mut stop => break,
                status = ended(&mut self.nginx) => anyhow::bail!("nginx ended by itself: {}", status?),
                event = events.next() => {
                    let event = event.context("the watches ended")?;
                    let touched = self.index.on(event);
                    dirty |= self.matters(&touched);
                }
                () = tokio::time::sleep_until(due), if dirty && self.index.synced() => {
                    let outcome = self.apply().await?;
                    // A failure that is nobody's fault (a full disk, a slow machine) is tried again at this pace.
                    dirty = outcome == Outcome::Failed;
                    if outcome != Outcome::Unchanged {
                        pace.spend(Instant::now());
                    }
                }
            }
        }
        match self.nginx {
            Some(nginx) => nginx.stop(self.options.grace).await,
            None => tracing::info!("stopped before the first configuration"),
        }
        Ok(())
    }

    /// Whether a change can change the configuration or a status.
    fn matters(&self, touched: &Touched) -> bool {
        match touched {
            Touched::Ingress(Change::Nothing)
            | Touched::Class(Change::Nothing)
            | Touched::Service(Change::Nothing)
            | Touched::Secret(Change::Nothing) => false,
            Touched::Service(Change::One(key)) => {
                self.built.services.contains(key) || self.options.publish_service.as_ref() == Some(key)
            }
            Touched::Secret(Change::One(key)) => self.built.secrets.contains(key),
            Touched::Ingress(_) | Touched::Class(_) | Touched::Service(_) | Touched::Secret(_) => true,
        }
    }

    /// Brings nginx, Events and status to what the index says.
    ///
    /// # Errors
    /// When nginx cannot be started at all.
    async fn apply(&mut self) -> anyhow::Result<Outcome> {
        let index = &self.index;
        self.rejected.retain(|key, (version, _)| index.ingress(key).is_some_and(|it| version_of(it) == *version));
        let mut outcome = Outcome::Unchanged;
        // Each refusal takes one Ingress out, so there are at most as many rounds as Ingresses.
        loop {
            let why = self.rejected.iter().map(|(key, (_, why))| (key.clone(), why.clone())).collect();
            self.built = build(&self.index, self.options.without_class, &why);
            if self.nginx.is_some() && self.built.config == self.running {
                break;
            }
            let started = Instant::now();
            match self.load().await {
                Ok(()) => {
                    self.running = self.built.config.clone();
                    self.metrics.loaded(started.elapsed());
                    let (servers, upstreams) = (self.running.servers.len(), self.running.upstreams.len());
                    tracing::info!(servers, upstreams, took = ?started.elapsed(), "nginx serves a new configuration");
                    outcome = Outcome::Loaded;
                    break;
                }
                Err(Error::Refused { message, text, line }) => {
                    self.metrics.failed();
                    let culprit = line.and_then(|line| owner_of_line(&text, line));
                    let version = culprit.as_ref().and_then(|key| self.index.ingress(key)).map(|it| version_of(it));
                    match (culprit, version) {
                        (Some(key), Some(version)) => {
                            tracing::warn!(ingress = %key, message, "ingress left out");
                            self.rejected.insert(key, (version, message));
                        }
                        _ if self.nginx.is_none() => anyhow::bail!("nginx refuses its first configuration: {message}"),
                        _ => {
                            tracing::error!(message, "nginx refuses the configuration; the old one stays");
                            break;
                        }
                    }
                }
                Err(error) if self.nginx.is_none() => return Err(error).context("starting nginx"),
                Err(error) => {
                    self.metrics.failed();
                    tracing::error!(error = %anyhow::Error::new(error), "nginx not reloaded; the old configuration stays");
                    outcome = Outcome::Failed;
                    break;
                }
            }
        }
        self.announce();
        self.publish();
        Ok(outcome)
    }

    async fn load(&mut self) -> Result<(), Error> {
        let config = &self.built.config;
        let checked = !only_endpoints_differ(config, &self.running);
        match &mut self.nginx {
            Some(nginx) => nginx.load(config, checked).await,
            None => {
                let Options { nginx, settings, default_certificate, .. } = &self.options;
                self.nginx = Some(Nginx::start(nginx, settings.clone(), default_certificate, config).await?);
                Ok(())
            }
        }
    }

    /// One `Sync` per version of each Ingress, one Warning per new problem.
    fn announce(&mut self) {
        self.announced.retain(|key, _| self.index.ingress(key).is_some());
        for key in &self.built.ours {
            let Some(ingress) = self.index.ingress(key) else { continue };
            let version = version_of(ingress);
            if self.announced.get(key) != Some(&version) {
                self.announced.insert(key.clone(), version);
                self.reporter.event(ingress, EventType::Normal, "Sync", "Scheduled for sync".to_owned());
            }
        }
        for problem in self.built.problems.difference(&self.warned) {
            tracing::warn!(ingress = %problem.ingress, problem.reason, problem.message, "problem");
            if let Some(ingress) = self.index.ingress(&problem.ingress) {
                self.reporter.event(ingress, EventType::Warning, problem.reason, problem.message.clone());
            }
        }
        self.warned.clone_from(&self.built.problems);
    }

    fn publish(&self) {
        let addresses = self.addresses();
        let lacks = |key: &&Key| {
            let shown =
                self.index.ingress(key).and_then(|it| it.status.as_ref()?.load_balancer.as_ref()?.ingress.clone());
            shown.unwrap_or_default() != addresses
        };
        let ingresses = self.built.ours.iter().filter(lacks).cloned().collect();
        self.reporter.status(Due { addresses, ingresses });
    }

    fn addresses(&self) -> Vec<IngressLoadBalancerIngress> {
        let service = self.options.publish_service.as_ref().and_then(|key| self.index.service(key));
        let balancer = service.and_then(|it| it.status.as_ref()?.load_balancer.as_ref()?.ingress.clone());
        let address =
            |ip: Option<String>, hostname: Option<String>| IngressLoadBalancerIngress { ip, hostname, ports: None };
        match balancer {
            Some(given) if !given.is_empty() => given.into_iter().map(|it| address(it.ip, it.hostname)).collect(),
            _ => self.options.publish_address.iter().map(|ip| address(Some(ip.clone()), None)).collect(),
        }
    }
}

async fn ended(nginx: &mut Option<Nginx>) -> std::io::Result<std::process::ExitStatus> {
    match nginx {
        Some(nginx) => nginx.ended().await,
        None => std::future::pending().await,
    }
}

fn version_of(ingress: &Ingress) -> Version {
    (ingress.uid(), ingress.metadata.generation, ingress.annotations().clone())
}

/// Endpoints cannot make nginx refuse a configuration, so such a change needs no check of its own.
fn only_endpoints_differ(new: &Config, old: &Config) -> bool {
    new.servers == old.servers && new.certificates == old.certificates && new.upstreams.keys().eq(old.upstreams.keys())
}
