//! The Kubernetes API server.
//!
//! ```text
//!  connection ── http::server ──> http::route ── access (who? may they?) ──> registry ──> caches ──> store
//!                                     │                                          │
//!                                     └─ discovery, openapi, health, kubelet     └─ admission, schema, kinds
//! ```
//!
//! [`run`] is the wiring; [`app::App`] is what all requests share. One generic registry serves every kind: facts about
//! built-in kinds are in [`kinds`], custom ones come from their definitions ([`crd`]).

pub mod access;
pub mod admission;
pub mod aggregator;
pub mod app;
pub mod audit;
pub mod bootstrap;
mod compaction;
pub mod crd;
pub mod encryption;
pub mod flow;
pub mod http;
mod identity;
pub mod kinds;
pub mod members;
pub mod metrics;
pub mod options;
pub mod outbound;
pub mod registry;
pub mod sample;
mod storage;
mod stored;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use arc_swap::ArcSwap;
use clap::Parser;
use tokio_util::sync::CancellationToken;

use app::App;
use http::health::Step;
use options::{Backend, Options};
use registry::resource::Catalogue;

/// How long a stopping server may take to tell the others; [`run`] promises to end within a second.
const LEAVING: std::time::Duration = std::time::Duration::from_millis(500);

/// Threads that serve.
const WORKERS: u8 = 2;

/// Runs the API server until SIGTERM or SIGINT.
///
/// # Errors
/// A flag's file cannot be used, an address is taken, or the store cannot be opened.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let options = Options::parse_from(args);
    runtime::log::init("apiserver");
    if options.verbosity > 0 {
        runtime::log::set_verbosity(options.verbosity);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS.into()).enable_all().build()?;
    runtime.block_on(async { serve(options, runtime::shutdown::token()?).await })
}

/// Opens everything, serves, and closes it again when `stop` is cancelled.
///
/// # Errors
/// See [`run`].
pub async fn serve(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    serve_with(options, stop, |_| async { Ok(()) }).await
}

/// The same with something more to be done before the server says that it is ready.
async fn serve_with<F>(
    options: Options,
    stop: CancellationToken,
    more: impl FnOnce(Arc<App>) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let started = Instant::now();
    metrics::started();
    let (asked, stop) = (stop, CancellationToken::new());
    tokio::spawn(stop_after(asked.clone(), options.serving.shutdown_delay_duration, stop.clone()));
    let egress = outbound::egress::Egress::load(&options)?;
    let storage = storage::Storage::load(&options, &egress)?;
    let access = access::Access::load(&options, &egress)?;
    let audit = Arc::new(audit::Log::load(&options, &egress)?);
    let clients = access.clients.clone();
    let tls = http::certificates::tls(&options, auth::x509::Asked::Of(&clients.hint))?;
    let kubelets = http::backend::Kubelets::load(&options, &egress)?;
    let listeners = http::server::listeners(&options).await?;
    let metrics = Arc::new(metrics::Metrics::default());
    let encryption = Arc::new(encryption::Encryption::load(&options, metrics.clone()).await?);
    let at_rest = Arc::new(stored::Stored::new(&options.etcd_prefix, encryption.clone()));
    let store = storage.open(&options.etcd_prefix, at_rest).await?;
    let store: Arc<dyn store::Store> = Arc::new(metrics::storage::Measured::new(store, metrics.clone()));
    let app = Arc::new(App {
        caches: registry::caches::Caches::new(store.clone(), store.revision().await?),
        catalogue: ArcSwap::from_pointee(catalogue(&options)?),
        allocator: registry::service::Allocator::default(),
        clients: outbound::Clients::load(&options, egress)?,
        publisher: crd::Publisher::default(),
        aggregator: aggregator::Aggregator::default(),
        policies: admission::policy::Index::default(),
        webhooks: admission::webhook::Index::default(),
        documents: http::openapi::Documents::default(),
        metrics,
        health: http::health::Health::new(
            options.encryption_provider_config_automatic_reload,
            encryption.has_plugins(),
        ),
        flow: flow::Flow::new(&options.limits)?,
        members: members::Members::default(),
        access,
        admission: admission::configuration::Configuration::load(&options)?,
        kubelets,
        turns: admission::Turns::default(),
        audit,
        encryption,
        store,
        started,
        stop: stop.clone(),
        stopping: asked,
        options,
    });
    let server =
        tokio::spawn(http::server::serve(listeners, tls, clients, http::route::Routes::new(app.clone()), stop.clone()));
    prepare(&app).await?;
    more(app.clone()).await?;
    app.health.started();
    runtime::ready::notify().context("tell the supervisor that the server is ready")?;
    tracing::info!(port = app.options.secure_port, took = ?started.elapsed(), "ready");
    members::follow(&app);
    tokio::spawn(identity::run(app.clone()));
    if let Err(error) = kernel::memory::release_program() {
        tracing::warn!(%error, "the program's pages stay in memory");
    }
    if app.options.backend() == Backend::Embedded {
        tokio::spawn(compaction::run(app.store.clone(), app.options.etcd_compaction_interval, stop.clone()));
    }
    stop.cancelled().await;
    // What this cannot do in time the others do when the lease is over.
    match tokio::time::timeout(LEAVING, members::leave(&app)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "this server could not be taken off the list of servers"),
        Err(_) => tracing::warn!("this server could not be taken off the list of servers in time"),
    }
    server.await?;
    if tokio::time::timeout(LEAVING, app.audit.shutdown()).await.is_err() {
        tracing::warn!("not all audit events could be told in time");
    }
    Ok(())
}

/// Serves for a while after the server was asked to stop, so that load balancers hear of it first.
async fn stop_after(asked: CancellationToken, delay: std::time::Duration, stop: CancellationToken) {
    asked.cancelled().await;
    tokio::time::sleep(delay).await;
    stop.cancel();
}

/// The built-in kinds that are served.
fn catalogue(options: &Options) -> anyhow::Result<Catalogue> {
    let known = Catalogue::new(&[]).groups.into_iter();
    let known: Vec<_> =
        known.flat_map(|group| group.versions.into_iter().map(move |version| (group.name.clone(), version))).collect();
    let served = options.served();
    served.check(&known).map_err(anyhow::Error::msg).context("--runtime-config")?;
    Ok(Catalogue::serving(&[], &served))
}

/// What must be done before the server says that it is ready.
async fn prepare(app: &Arc<App>) -> anyhow::Result<()> {
    let done = |step| app.health.done(step);
    crd::load(app).await.context("load the custom resource definitions")?;
    registry::service::repair::follow(app).await.context("check the addresses and ports of Services")?;
    done(Step::Services);
    bootstrap::run(app).await.context("create the system's own objects")?;
    done(Step::Bootstrap);
    admission::webhook::follow(app).await.context("read the webhook configurations")?;
    admission::policy::follow(app).await.context("read the admission policies")?;
    done(Step::Admission);
    aggregator::start(app).await.context("read the APIServices")?;
    done(Step::Aggregation);
    access::policy::follow(app).await.context("read the access policy")?;
    access::oidc::start(app);
    access::authorizers::start(app);
    encryption::start(app);
    done(Step::Access);
    access::legacy::track(app).await.context("follow the tracking of tokens in Secrets")?;
    done(Step::Tokens);
    flow::follow(app).await.context("read the flow schemas")?;
    done(Step::Flow);
    crd::follow(app).await.context("follow the custom resource definitions")?;
    done(Step::Definitions);
    Ok(())
}
