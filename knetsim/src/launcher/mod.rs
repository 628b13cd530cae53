//! The launcher: PID 1 of the sandbox. It makes the network and the nodes, starts the processes on them, keeps those
//! running, and answers the CLI on a control socket.
//!
//! Two lives of one program. The first enters the namespaces and mounts the sandbox's view of the file system; then it
//! executes itself anew, so that the process the CLI meets was born inside (and its /proc files belong to the user).

pub mod cgroups;
mod cluster;
pub mod control;
pub mod faults;
mod filesystem;
pub mod guardian;
mod network;
mod node;
mod parallel;
pub mod supervisor;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Parser;
use kernel::sandbox::{self, IdMap, Role};

use crate::layout::Layout;
use crate::progress::{Progress, Step};
use crate::topology::Plan;
use guardian::Guardian;
use supervisor::Supervisor;

/// PID 1 of the emulator (started by `knetsim up`).
#[derive(Parser, Debug)]
#[command(name = "launcher")]
struct Args {
    /// The data folder, with topology.yaml resolved.
    #[arg(long)]
    data_dir: PathBuf,
    /// A cluster's API socket, already listening on the host: NAME=DESCRIPTOR.
    #[arg(long = "listen-fd", value_parser = listen_fd)]
    listen_fds: Vec<(String, RawFd)>,
    /// Set by the first life for the second.
    #[arg(long, hide = true)]
    init: bool,
    /// Set by the first life for the second: the emulator's control groups, or why there are none.
    #[arg(long, hide = true)]
    cgroup_root: Option<String>,
    #[arg(long, hide = true)]
    limits_off: Option<String>,
}

fn listen_fd(text: &str) -> Result<(String, RawFd), String> {
    let (name, fd) = text.split_once('=').ok_or("expected NAME=DESCRIPTOR")?;
    Ok((name.to_owned(), fd.parse().map_err(|_| format!("{fd} is no descriptor number"))?))
}

/// Runs the launcher. See the module's documentation.
///
/// # Errors
/// When the sandbox cannot be entered or the network cannot be made.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let parsed = Args::parse_from(&args);
    runtime::log::init("launcher");
    if !parsed.init {
        return enter(&parsed, &args);
    }
    let layout = Layout::new(parsed.data_dir);
    let plan: Plan = layout.read_plan()?;
    let listen = parsed
        .listen_fds
        .into_iter()
        .map(|(name, fd)| Ok((name, kernel::process::inherited(fd)?)))
        .collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    let limits = parsed.cgroup_root.ok_or(parsed.limits_off.unwrap_or_default());
    runtime::block_on(serve(layout, plan, listen, limits))
}

/// The first life.
fn enter(parsed: &Args, args: &[OsString]) -> anyhow::Result<()> {
    let layout = Layout::new(parsed.data_dir.clone());
    let executable = std::env::current_exe().context("finding our own executable")?;
    let map = IdMap::widest()?;
    let groups = cgroups::claim(&layout);
    let folders = groups.as_ref().map(|groups| groups.folders.as_slice()).unwrap_or_default();
    let pull = layout.read_plan()?.pull;
    let guardian = (pull || !folders.is_empty()).then(|| Guardian::start(&layout, folders, pull));
    let guardian = guardian.transpose().context("starting the guardian")?;
    match sandbox::enter(&map)? {
        Role::Outer { init } => {
            // The pid file is written from here, for only here the host's pid of PID 1 is known.
            layout.write_launcher(init.as_raw(), guardian.as_ref().map(Guardian::pid))?;
            guardian.map_or(Ok(()), |guardian| guardian.watch(init.as_raw())).context("telling the guardian")
        }
        Role::Init => {
            drop(guardian);
            filesystem::mount_all(&layout, folders).context("mounting the sandbox's file systems")?;
            nix::unistd::sethostname("knetsim")?;
            nix::unistd::setsid().ok();
            if matches!(map, IdMap::Single { .. }) {
                kernel::seccomp::setgroups_does_nothing().context("installing a seccomp filter")?;
            }
            let limits = match groups {
                Ok(groups) => format!("--cgroup-root={}", groups.name),
                Err(why) => format!("--limits-off={why}"),
            };
            let error = std::process::Command::new(executable).args(args).args(["--init", &limits]).exec();
            bail!("cannot execute the launcher inside the sandbox: {error}")
        }
    }
}

/// The second life: from top to bottom, what the emulator is made of.
async fn serve(
    layout: Layout,
    plan: Plan,
    listen: BTreeMap<String, OwnedFd>,
    limits: Result<String, String>,
) -> anyhow::Result<()> {
    let shutdown = runtime::shutdown::token()?;
    let progress = Progress::to_stdout();
    let supervisor = Supervisor::start(shutdown.clone())?;

    let network = Arc::new(network::Network::build(&plan)?);
    progress.report(Step::Network);

    let mut clusters = Vec::new();
    for cluster in &plan.clusters {
        let nodes = node::make_all(&layout, cluster, &network)?;
        clusters.push(cluster::Cluster::new(layout.clone(), cluster.clone(), nodes, limits.clone(), plan.pull));
    }
    let mut lacks = network::shape_links(&plan, &supervisor).await;
    lacks.extend(limits.as_ref().err().map(|why| format!("resource limits are off: {why}")));
    for what in &lacks {
        tracing::warn!("{what}");
    }
    let control = control::Control::bind(&layout, lacks)?;
    for cluster in &clusters {
        let socket = listen.get(&cluster.plan.name).map(AsRawFd::as_raw_fd);
        tokio::spawn(cluster.start(&supervisor, socket, progress.clone()));
    }
    tokio::select! {
        () = control.serve(&plan, &clusters, &network, &supervisor) => {}
        () = shutdown.cancelled() => {}
    }
    tracing::info!("stopping");
    supervisor.stop_all().await;
    layout.remove_launcher();
    Ok(())
}
