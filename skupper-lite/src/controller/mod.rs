//! skupper-controller: Skupper's resources → certificates, router configuration, Services, status.
//!
//! ```text
//!  Site ──> CA, server certificate, ServiceAccount, Role, ConfigMap skupper-router, Deployment skupper-router
//!   │       └─ linkAccess ──> RouterAccess ──> Service (NodePort) ──> endpoints
//!  Link, RouterAccess, Connector (+ Pods), Listener ──> the router's configuration ──> ConfigMap ──> router
//!  Listener ──> Service of its host's name, to the router's pod
//!  AccessGrant ──> url, code, CA  <──POST code──  AccessToken (of another cluster) ──> Secret and Link
//!  ConfigMap skupper-network-status  <── router;  ──> conditions of Site, Link, Listener, Connector
//! ```
//!
//! One loop owns everything: it takes watch events in, and for each namespace they touched compares what should be with
//! what it last wrote. Different from upstream: SecuredAccess and Certificate resources are not made, for what they
//! stand between (RouterAccess, Service, Secret) is made directly.

pub mod desired;
pub mod grants;
pub mod index;
pub mod objects;
mod reconcile;
mod redeem;
pub mod selector;
pub mod status;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use futures::stream::select_all;
use kube::Client;
use runtime::watched::all;
use tokio::sync::{mpsc, watch};

use index::Watched;
use reconcile::Reconciler;

/// Requests to redeem that wait for the loop.
const REQUESTS: usize = 16;

/// The Skupper controller.
#[derive(Parser, Debug)]
#[command(name = "skupper-controller")]
struct Flags {
    /// Use this kubeconfig instead of the pod's ServiceAccount.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The controller's own namespace, where its grant server's Service and Secret are.
    #[arg(long, env = "NAMESPACE", default_value = "skupper")]
    namespace: String,
    /// The name shown in every Site's status.
    #[arg(long, env = "CONTROLLER_NAME", default_value = "skupper-controller")]
    name: String,
    /// The image of routers.
    #[arg(long, env = "SKUPPER_ROUTER_IMAGE", default_value = "knetsim.dev/knetsim")]
    router_image: String,
    /// Where AccessTokens are redeemed.
    #[arg(long, default_value = "0.0.0.0:9090")]
    grant_server_address: SocketAddr,
    /// The Service through which that is reached from outside, in the controller's namespace.
    #[arg(long, default_value = "skupper-grant-server")]
    grant_server_service: String,
}

/// Runs the controller until SIGTERM or SIGINT.
///
/// # Errors
/// When the flags are wrong, no API server is configured, or the grant server's port cannot be had.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("skupper-controller");
    runtime::block_on(serve(flags))
}

async fn serve(flags: Flags) -> anyhow::Result<()> {
    let stop = runtime::shutdown::token()?;
    let client = runtime::client::connect(flags.kubeconfig.as_deref()).await?;
    let (certificate, certificate_receiver) = watch::channel(None);
    let (requests, request_receiver) = mpsc::channel(REQUESTS);
    grants::spawn(flags.grant_server_address, certificate_receiver, requests)
        .await
        .context("opening the grant server's port")?;
    let identity = crate::api::Controller {
        name: flags.name,
        namespace: flags.namespace,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let events = watches(&client);
    let reconciler = Reconciler::new(client, identity, flags.router_image, flags.grant_server_service, certificate);
    tokio::select! {
        outcome = reconciler.run(events, request_receiver) => outcome,
        () = stop.cancelled() => Ok(()),
    }
}

/// All watches as one stream; each is retried with back-off for ever.
fn watches(client: &Client) -> impl futures::Stream<Item = Watched> + Unpin + use<> {
    select_all([
        all(client, Watched::Site),
        all(client, Watched::Link),
        all(client, Watched::Listener),
        all(client, Watched::Connector),
        all(client, Watched::AccessGrant),
        all(client, Watched::AccessToken),
        all(client, Watched::RouterAccess),
        all(client, Watched::Service),
        all(client, Watched::Pod),
        all(client, Watched::Secret),
        all(client, Watched::ConfigMap),
        all(client, Watched::Node),
    ])
}
