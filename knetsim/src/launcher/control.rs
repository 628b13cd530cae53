//! The control socket: one JSON request a connection, one JSON answer.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use kernel::link::Links;
use kernel::process::Namespaces;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::cluster::Cluster;
use super::faults::{self, Cut, Means};
use super::network::{Network, WAN};
use super::supervisor::{State, Supervisor};
use crate::layout::Layout;
use crate::topology::Plan;

/// A request is a line, and no longer than this.
const MAX_REQUEST: u64 = 4096;
/// A client that says nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the CLI asks.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    Status,
    /// Where a host's namespaces are.
    Where {
        host: String,
    },
    Cut {
        a: String,
        b: String,
    },
    Mend {
        a: String,
        b: String,
    },
    Down,
}

/// What the launcher answers.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Status {
        services: Vec<(String, State)>,
        cuts: BTreeSet<Cut>,
        /// What the topology or its pods may ask for and this machine cannot do.
        lacks: Vec<String>,
    },
    /// Descriptors of the launcher: (kind, number), to be opened below /proc/<launcher>/fd and entered in this order.
    Namespaces(Vec<(String, i32)>),
    Done,
    Error(String),
}

/// The bound socket.
pub struct Control {
    listener: UnixListener,
    cuts: tokio::sync::Mutex<BTreeSet<Cut>>,
    lacks: Vec<String>,
}

impl Control {
    /// Binds it in the data folder, where the host sees it too.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn bind(layout: &Layout, lacks: Vec<String>) -> anyhow::Result<Self> {
        let path = layout.control_socket();
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).with_context(|| format!("binding {}", path.display()))?;
        Ok(Self { listener, cuts: tokio::sync::Mutex::default(), lacks })
    }

    /// Answers until somebody asks for the end.
    pub async fn serve(&self, plan: &Plan, clusters: &[Cluster], network: &Network, supervisor: &Supervisor) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else { continue };
            let exchange = async {
                let (reader, mut writer) = stream.into_split();
                let mut line = String::new();
                BufReader::new(reader.take(MAX_REQUEST)).read_line(&mut line).await?;
                let request: Request = serde_json::from_str(&line)?;
                let down = matches!(request, Request::Down);
                let answer = self.answer(request, plan, clusters, network, supervisor).await;
                let answer = answer.unwrap_or_else(|error| Answer::Error(format!("{error:#}")));
                writer.write_all(&serde_json::to_vec(&answer)?).await?;
                writer.shutdown().await?;
                anyhow::Ok(down)
            };
            match tokio::time::timeout(PATIENCE, exchange).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a control request failed"),
                Err(_) => tracing::warn!("a control request took too long"),
            }
        }
    }

    async fn answer(
        &self,
        request: Request,
        plan: &Plan,
        clusters: &[Cluster],
        network: &Network,
        supervisor: &Supervisor,
    ) -> anyhow::Result<Answer> {
        Ok(match request {
            Request::Status => Answer::Status {
                services: supervisor.states(),
                cuts: self.cuts.lock().await.clone(),
                lacks: self.lacks.clone(),
            },
            Request::Where { host } => Answer::Namespaces(locate(&host, clusters, network)?),
            Request::Cut { a, b } => self.change(Cut::new(&a, &b), true, plan, network, supervisor).await?,
            Request::Mend { a, b } => self.change(Cut::new(&a, &b), false, plan, network, supervisor).await?,
            Request::Down => Answer::Done,
        })
    }

    async fn change(
        &self,
        cut: Cut,
        on: bool,
        plan: &Plan,
        network: &Network,
        supervisor: &Supervisor,
    ) -> anyhow::Result<Answer> {
        let means = cut.means(plan).map_err(anyhow::Error::msg)?;
        let mut cuts = self.cuts.lock().await;
        let mut wanted = cuts.clone();
        if !(if on { wanted.insert(cut.clone()) } else { wanted.remove(&cut) }) {
            let state = if on { "already cut" } else { "not cut" };
            bail!("{} and {} are {state}", cut.0, cut.1);
        }
        let (netns, bridge) =
            match means {
                Means::Port(port) => {
                    Links::within(&network.root, async |links| {
                        if on { links.set_down(&port).await } else { links.set_up(&port).await }
                    })?;
                    *cuts = wanted;
                    return Ok(Answer::Done);
                }
                Means::Bridge(..) => (&network.root, true),
                Means::Router(..) => (&network.hosts[WAN], false),
            };
        let place = Namespaces::open(Path::new("/proc/self/ns"), &[])?.with(netns.as_fd().try_clone_to_owned()?, "net");
        supervisor.run_once_in(&place, &["nft".to_owned(), faults::ruleset(&wanted, plan, bridge)]).await?;
        *cuts = wanted;
        Ok(Answer::Done)
    }
}

fn locate(host: &str, clusters: &[Cluster], network: &Network) -> anyhow::Result<Vec<(String, i32)>> {
    use std::os::fd::AsRawFd;
    let node = clusters.iter().flat_map(|c| &c.nodes).find(|node| node.plan.name == host);
    if let Some(node) = node {
        let kinds = ["net", "uts", "mnt"].map(str::to_owned);
        return Ok(kinds.into_iter().zip(node.namespaces.descriptors()).collect());
    }
    let Some(netns) = network.hosts.get(host) else {
        let known: Vec<_> = network.hosts.keys().map(String::as_str).collect();
        bail!("there is no node or host {host:?}; there are {}", known.join(", "));
    };
    Ok(vec![("net".to_owned(), netns.as_fd().as_raw_fd())])
}

/// Asks a running launcher.
///
/// # Errors
/// When it does not answer, or answers with an error.
pub async fn ask(layout: &Layout, request: &Request) -> anyhow::Result<Answer> {
    let path = layout.control_socket();
    let mut stream =
        UnixStream::connect(&path).await.with_context(|| format!("asking the launcher at {}", path.display()))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE * 2, stream.read_to_end(&mut answer))
        .await
        .context("the launcher does not answer")??;
    match serde_json::from_slice(&answer).context("the launcher closed the connection")? {
        Answer::Error(why) => bail!(why),
        answer => Ok(answer),
    }
}
