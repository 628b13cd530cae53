//! The built-in controllers in one process: each brings one kind of object to its desired state.
//!
//! They share one cache a kind ([`framework`], [`context`]) and otherwise know nothing of each other: they meet in the API
//! only. A controller is a module with a pure plan and a thin part that carries it out.

mod account_tokens;
pub mod autoscaler;
pub mod bootstrap;
pub mod certificates;
pub mod cluster_roles;
pub mod context;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod discovery;
pub mod disruption;
pub mod endpoints;
mod flags;
pub mod framework;
pub mod garbage;
pub mod job;
pub mod load_balancer;
pub mod namespace;
pub mod node;
pub mod protection;
pub mod replicas;
pub mod resource_quota;
pub mod root_ca;
pub mod service_account;
pub mod service_cidr;
pub mod statefulset;
mod told;
pub mod volumes;

use std::cell::RefCell;
use std::ffi::OsString;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use component_base::leader::Election;
use component_base::{ports, secure_port};
use k8s_openapi::jiff::Timestamp;

use context::Context;
use flags::Flags;

/// Of the Lease that is held, and in Events about it.
const NAME: &str = "kube-controller-manager";

/// Runs until SIGTERM or SIGINT, or until another one leads.
///
/// # Errors
/// When a file named by a flag cannot be read, the kubeconfig cannot be used, the secure port is taken, signals cannot
/// be handled, or the lease is lost.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("controller-manager");
    runtime::block_on(async move {
        let stop = runtime::shutdown::signal();
        let client = runtime::client::connect(flags.kubeconfig.as_deref()).await?;
        let election = Election::new(&flags.leader, &client, NAME, NAME)?;
        let context = Context::new(client, Timestamp::now);
        let told = Arc::new(told::Told::new(context.queues.clone(), election.standing()));
        secure_port::open(&flags.secure, ports::CONTROLLER_MANAGER, told.clone()).await?;
        let control = async || {
            told.started(start(&context, &flags)?);
            std::future::pending().await
        };
        election.run(stop, control).await
    })
}

/// Wires the controllers to the caches, then starts the watches that feed them; the names of those that run.
///
/// # Errors
/// When a file named by a flag cannot be read.
fn start(context: &Arc<Context>, flags: &Flags) -> anyhow::Result<Vec<&'static str>> {
    let kinds = &context.kinds;
    let running = RefCell::new(Vec::new());
    let enabled = |name: &'static str| {
        let enabled = flags.enabled(name);
        if enabled {
            running.borrow_mut().push(name);
        }
        enabled
    };
    let on = |name: &'static str, start: &dyn Fn()| {
        if enabled(name) {
            start();
        }
    };
    on("deployment-controller", &|| deployment::start(context));
    on("replicaset-controller", &|| replicas::start(context, &kinds.replica_sets));
    on("replicationcontroller-controller", &|| replicas::start(context, &kinds.replication_controllers));
    on("daemonset-controller", &|| daemonset::start(context));
    on("statefulset-controller", &|| statefulset::start(context));
    on("job-controller", &|| job::start(context));
    on("ttl-after-finished-controller", &|| job::ttl::start(context));
    on("cronjob-controller", &|| cronjob::start(context));
    on("disruption-controller", &|| disruption::start(context));
    on("horizontal-pod-autoscaler-controller", &|| autoscaler::start(context, &flags.autoscaler()));
    on("endpointslice-controller", &|| endpoints::start(context));
    on("serviceaccount-controller", &|| service_account::start(context));
    if let Some(path) = &flags.root_ca_file
        && enabled("root-ca-certificate-publisher-controller")
    {
        let certificate =
            std::fs::read_to_string(path).with_context(|| format!("reading --root-ca-file {}", path.display()))?;
        root_ca::start(context, certificate);
    }
    if let Some(path) = &flags.service_account_private_key_file
        && enabled("serviceaccount-token-controller")
    {
        let authority = flags
            .root_ca_file
            .as_ref()
            .map(|path| std::fs::read(path).with_context(|| format!("reading --root-ca-file {}", path.display())));
        account_tokens::start(context, account_tokens::signer(path)?, authority.transpose()?.unwrap_or_default());
    }
    on("legacy-serviceaccount-token-cleaner-controller", &|| {
        account_tokens::clean::start(context, flags.legacy_service_account_token_clean_up_period);
    });
    on("certificatesigningrequest-approving-controller", &|| certificates::start_approving(context));
    on("certificatesigningrequest-cleaner-controller", &|| certificates::start_cleaning(context));
    if let (Some(certificate), Some(key)) = (&flags.cluster_signing_cert_file, &flags.cluster_signing_key_file)
        && enabled("certificatesigningrequest-signing-controller")
    {
        let signer = certificates::Signer::load(certificate, key, flags.cluster_signing_duration)?;
        certificates::start_signing(context, signer);
    }
    on("node-ipam-controller", &|| node::ipam::start(context, flags.cluster_cidr, flags.node_cidr_mask_size));
    on("node-lifecycle-controller", &|| node::health::start(context, flags.node_monitor_grace_period));
    on("taint-eviction-controller", &|| node::eviction::start(context));
    on("pod-garbage-collector-controller", &|| node::podgc::start(context));
    on("namespace-controller", &|| namespace::start(context));
    on("garbage-collector-controller", &|| garbage::start(context));
    on("persistentvolume-binder-controller", &|| volumes::start(context));
    on("persistentvolume-expander-controller", &|| volumes::expand::start(context));
    on("ephemeral-volume-controller", &|| volumes::ephemeral::start(context));
    on("persistentvolumeclaim-protection-controller", &|| protection::start_claims(context));
    on("persistentvolume-protection-controller", &|| protection::start_volumes(context));
    on("volumeattributesclass-protection-controller", &|| protection::start_classes(context));
    on("clusterrole-aggregation-controller", &|| cluster_roles::start(context));
    on("bootstrap-signer-controller", &|| bootstrap::start_signing(context));
    on("token-cleaner-controller", &|| bootstrap::start_cleaning(context));
    on("resourcequota-controller", &|| resource_quota::start(context));
    on("service-cidr-controller", &|| service_cidr::start(context));
    on("service-lb-controller", &|| load_balancer::start(context, flags.load_balancer_pool));
    context.watch();
    Ok(running.into_inner())
}
