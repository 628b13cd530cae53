//! `knetsim up`: check, lay out, start the launcher, apply the system, wait until it is usable.
//!
//! Everything that can be wrong is found out before anything starts: tools, kernel features, the topology, ports, an
//! emulator that runs already.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};

use super::system;
use super::usable::{Pending, Usable};
use crate::layout::Layout;
use crate::pki::{Pki, write_private};
use crate::preflight;
use crate::progress::Step;
use crate::topology::{ClusterPlan, Plan, Store, Topology};

#[derive(clap::Args)]
pub struct Args {
    /// A topology file; two clusters of three workers when left out
    #[arg(short = 'f', long)]
    topology: Option<PathBuf>,
    /// Where clusters that do not say otherwise keep their objects
    #[arg(long, value_enum, default_value = "embedded")]
    store: Store,
    /// Pull images that are not stored from registries (by skopeo, as you, with your credentials)
    #[arg(long)]
    pull: bool,
    /// What to wait for before returning
    #[arg(long, value_enum, default_value = "all")]
    wait: Wait,
    /// How long to wait for it, in seconds
    #[arg(long, default_value_t = 120)]
    timeout: u64,
}

/// What `up` waits for; each value includes those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Wait {
    /// The API servers answer; nothing is applied
    Api,
    /// All nodes are Ready, and the add-ons are applied
    Nodes,
    /// All add-ons are available
    All,
}

/// # Errors
/// Whatever keeps the emulator from being usable.
pub fn run(layout: &Layout, args: &Args) -> anyhow::Result<()> {
    let (begun, since) = (Instant::now(), Timestamp::now());
    let plan = plan(args)?;
    let missing = preflight::missing(&plan);
    if !missing.is_empty() {
        bail!("this machine is not ready:\n  {}", missing.join("\n  "));
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(layout.root())
        .with_context(|| format!("making the data folder {}", layout.root().display()))?;
    let root = std::fs::canonicalize(layout.root())?;
    let layout = &Layout::new(root);
    let _lock = lock(layout)?;
    if let Some(launcher) = layout.running() {
        bail!(
            "knetsim is already running with this data folder (pid {}): see `knetsim status`, or stop it with `knetsim down`",
            launcher.pid
        );
    }
    let sockets = plan.clusters.iter().map(listen).collect::<anyhow::Result<Vec<_>>>()?;
    lay_out(layout, &plan)?;
    let mut show = Display::new(begun);
    if let Err(error) = start(layout, &plan, sockets, &mut show) {
        // Nothing half-started: what did come up goes down again.
        if let Some(launcher) = layout.running() {
            super::down::stop(layout, launcher)?;
        }
        return Err(error);
    }
    if args.wait > Wait::Api {
        let patience = Duration::from_secs(args.timeout);
        runtime::block_on(bring_up(layout, &plan, args.wait, since, patience, &mut show)).with_context(|| {
            format!(
                "the emulator runs, but is not complete (see `knetsim status`, `knetsim logs`; data folder {})",
                layout.root().display()
            )
        })?;
    }
    show.finish(layout, &plan);
    Ok(())
}

fn plan(args: &Args) -> anyhow::Result<Plan> {
    let topology = match &args.topology {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            Topology::parse(&text).with_context(|| format!("in {}", path.display()))?
        }
        None => Topology::default(),
    };
    let name = args.topology.as_deref().unwrap_or(Path::new("the topology"));
    let mut plan = topology.resolve(args.store).with_context(|| format!("in {}", name.display()))?;
    plan.pull |= args.pull;
    Ok(plan)
}

/// One `up` at a time for a data folder.
fn lock(layout: &Layout) -> anyhow::Result<Flock<std::fs::File>> {
    let path = layout.root().join("lock");
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(&path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow::anyhow!("another `knetsim up` is working with {}", layout.root().display()))
}

/// The host's end of a cluster's API server, opened before the sandbox is entered.
fn listen(cluster: &ClusterPlan) -> anyhow::Result<OwnedFd> {
    let address = format!("127.0.0.1:{}", cluster.api_port);
    let socket = TcpListener::bind(&address).with_context(|| {
        format!(
            "cluster {} needs {address}, which is taken: stop what uses it, or set apiPort in a topology file",
            cluster.name
        )
    })?;
    Ok(socket.into())
}

/// Certificates and kubeconfigs.
fn lay_out(layout: &Layout, plan: &Plan) -> anyhow::Result<()> {
    layout.write_plan(plan)?;
    std::fs::create_dir_all(layout.images())?;
    let mut merged = serde_json::json!({ "apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": [],
        "current-context": plan.clusters[0].name });
    for cluster in &plan.clusters {
        let dir = layout.cluster(&cluster.name);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let pki = Pki::ensure(&dir, cluster).with_context(|| format!("making the certificates of {}", cluster.name))?;
        let inside = format!("https://{}:6443", cluster.control_plane().address);
        let write = |file: &str, name: &str, user: &str| -> anyhow::Result<()> {
            let config = pki.kubeconfig(&cluster.name, &inside, name, user)?;
            write_private(&dir.join("kubeconfigs").join(file), &serde_saphyr::to_string(&config)?)
        };
        std::fs::create_dir_all(dir.join("kubeconfigs"))?;
        write("admin.conf", "admin", "kubernetes-admin")?;
        write("controller-manager.conf", "controller-manager", "system:kube-controller-manager")?;
        write("scheduler.conf", "scheduler", "system:kube-scheduler")?;
        for node in &cluster.nodes {
            let user = format!("system:node:{}", node.name);
            write(&format!("{}.conf", node.name), &format!("kubelet-client-{}", node.name), &user)?;
        }
        let outside = format!("https://127.0.0.1:{}", cluster.api_port);
        let admin = pki.kubeconfig(&cluster.name, &outside, "admin", &format!("{}-admin", cluster.name))?;
        for list in ["clusters", "users", "contexts"] {
            let entries = merged[list].as_array_mut().expect("made as lists above");
            entries.extend(admin[list].as_array().expect("made as lists there").iter().cloned());
        }
    }
    write_private(&layout.kubeconfig(), &serde_saphyr::to_string(&merged)?)
}

/// Starts the launcher and follows it until every API server is ready.
fn start(layout: &Layout, plan: &Plan, sockets: Vec<OwnedFd>, show: &mut Display) -> anyhow::Result<()> {
    let log = std::fs::File::create(layout.launcher_log())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("launcher").arg("--data-dir").arg(layout.root());
    for (cluster, socket) in plan.clusters.iter().zip(&sockets) {
        command.arg("--listen-fd").arg(format!("{}={}", cluster.name, socket.as_raw_fd()));
    }
    command.env("PATH", preflight::search_path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    // A session of its own: Ctrl-C here is not meant for the emulator.
    command.process_group(0);
    kernel::process::keep_in_child(&mut command, sockets.iter().map(AsRawFd::as_raw_fd).collect());
    let mut child = command.spawn().context("starting the launcher")?;
    drop(sockets);
    let pipe = child.stdout.take().expect("stdout is piped");
    let mut waiting: Vec<&str> = plan.clusters.iter().map(|c| c.name.as_str()).collect();
    show.pending(&waiting.iter().map(|c| format!("API server of {c}")).collect::<Vec<_>>());
    for line in BufReader::new(pipe).lines() {
        match serde_json::from_str::<Step>(&line?).context("reading the launcher's progress")? {
            Step::Network => show.done("network: bridges, router and nodes are there"),
            Step::Ready { cluster, component } => {
                show.done(&format!("{component} is ready"));
                if component.ends_with("/apiserver") {
                    waiting.retain(|name| *name != cluster);
                }
            }
            Step::Restarted { component, why } => {
                show.done(&format!("{component} ended ({why}) and is started again; see `knetsim logs {component}`"));
            }
            Step::Failed { why } => bail!(why),
        }
        if waiting.is_empty() {
            // The first process of the launcher ended long ago, when it had entered the sandbox.
            let _ = child.wait();
            return Ok(());
        }
        show.pending(&waiting.iter().map(|c| format!("API server of {c}")).collect::<Vec<_>>());
    }
    let _ = child.wait();
    let said = std::fs::read_to_string(layout.launcher_log()).unwrap_or_default();
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    bail!("the launcher ended: {last} (its log is {})", layout.launcher_log().display())
}

/// Applies the add-ons of all clusters at once, and waits for nodes and, where asked to, Deployments.
async fn bring_up(
    layout: &Layout,
    plan: &Plan,
    wait: Wait,
    since: Timestamp,
    patience: Duration,
    show: &mut Display,
) -> anyhow::Result<()> {
    let show = std::cell::RefCell::new(show);
    let waiting = std::cell::RefCell::new(std::collections::BTreeMap::<&str, Pending>::new());
    let each = plan.clusters.iter().map(|cluster| {
        let (show, waiting) = (&show, &waiting);
        async move {
            let client = system::client(layout, Some(&cluster.name)).await?;
            let add_ons = system::add_ons(cluster, plan)?;
            let deployments = if wait == Wait::All { system::deployments(&add_ons)? } else { Vec::new() };
            let nodes =
                cluster.nodes.iter().map(|node| Ok((node.name.clone(), layout.boot_id(&cluster.name, &node.name)?)));
            let awaited = Usable::new(nodes.collect::<anyhow::Result<Vec<_>>>()?, &deployments, since);
            let nodes_ready = awaited.nodes_ready();
            let applied = async {
                system::apply(&client, add_ons, nodes_ready).await?;
                show.borrow_mut().done(&format!("{}: system manifests applied", cluster.name));
                Ok(())
            };
            let marked = system::mark_control_plane(&client, cluster);
            let usable = awaited.wait(&client, patience, |pending| {
                let mut all = waiting.borrow_mut();
                let before = all.insert(&cluster.name, pending.clone()).unwrap_or_default();
                let mut show = show.borrow_mut();
                for gone in before.iter().filter(|what| !pending.contains(what)) {
                    show.done(&format!("{}: {}", cluster.name, gone.replace(" to be", " is")));
                }
                let lines: Vec<_> =
                    all.iter().flat_map(|(c, p)| p.iter().map(move |what| format!("{c}: {what}"))).collect();
                show.pending(&lines);
            });
            // The wait has the patience: without its control plane registered it does not end well either.
            let all = futures::future::try_join3(applied, marked, usable).await;
            all.map(|((), (), ())| ()).with_context(|| format!("in cluster {}", cluster.name))
        }
    });
    futures::future::try_join_all(each).await?;
    Ok(())
}

/// Progress for a person: lines for what has come about, and on a terminal a last line for what is waited for.
struct Display {
    begun: Instant,
    live: bool,
}

impl Display {
    fn new(begun: Instant) -> Self {
        Self { begun, live: std::io::stdout().is_terminal() }
    }

    fn done(&mut self, what: &str) {
        self.clear();
        println!("{:7.2} s  {what}", self.begun.elapsed().as_secs_f32());
    }

    fn pending(&mut self, what: &[String]) {
        if self.live && !what.is_empty() {
            self.clear();
            let first = &what[0];
            let more = if what.len() > 1 { format!(" and {} more", what.len() - 1) } else { String::new() };
            print!("           waiting for {first}{more}");
            let _ = std::io::stdout().flush();
        }
    }

    fn clear(&self) {
        if self.live {
            print!("\r\x1b[K");
        }
    }

    fn finish(&mut self, layout: &Layout, plan: &Plan) {
        self.clear();
        let contexts: Vec<_> = plan.clusters.iter().map(|c| c.name.as_str()).collect();
        println!("\nReady after {:.2} s. Use it:", self.begun.elapsed().as_secs_f32());
        println!("  export KUBECONFIG={}", layout.kubeconfig().display());
        println!("  kubectl --context {} get nodes -o wide        (contexts: {})", contexts[0], contexts.join(", "));
        println!("  knetsim status | exec NODE -- … | shell NODE | net cut A B | logs COMPONENT | down");
    }
}
