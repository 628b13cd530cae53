//! Keeping processes running. PID 1 reaps every process of the sandbox, its own children among them.
//!
//! A [`Service`] is started, watched, and started again when it ends, at once the first time and then with a back-off
//! that doubles to a bound ([`BACKOFF`]); one that ran for [`STEADY`] begins anew. A service says that it is ready with
//! systemd's protocol (`NOTIFY_SOCKET`, sd_notify(3)), as etcd and the API server do.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use kernel::process::Namespaces;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::net::UnixDatagram;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The first and the longest pause between two starts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Having run for so long, a process counts as well again.
const STEADY: Duration = Duration::from_secs(10);
/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// A long-running process.
pub struct Service {
    /// Unique; what `status` and `logs` call it, such as `c0/apiserver`.
    pub name: String,
    pub argv: Vec<String>,
    pub namespaces: Arc<Namespaces>,
    pub log: PathBuf,
    /// Where it says that it is ready; `None` when it does not.
    pub notify: Option<PathBuf>,
    /// Descriptors that it inherits.
    pub keep: Vec<i32>,
}

/// What a service is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct State {
    pub pid: Option<i32>,
    pub ready: bool,
    pub restarts: u32,
    /// How it ended last.
    pub last_exit: Option<String>,
}

/// A service's name, and what follows its state.
type Followed = (String, watch::Receiver<State>);

type Waiting = Arc<Mutex<HashMap<Pid, oneshot::Sender<ExitStatus>>>>;

/// Starts processes and hears of their end.
#[derive(Clone)]
pub struct Supervisor {
    waiting: Waiting,
    services: Arc<Mutex<Vec<Followed>>>,
    shutdown: CancellationToken,
}

impl Supervisor {
    /// Begins to reap. Only PID 1 may do this, once.
    ///
    /// # Errors
    /// When SIGCHLD cannot be watched.
    pub fn start(shutdown: CancellationToken) -> anyhow::Result<Self> {
        let waiting = Waiting::default();
        let mut ended = signal(SignalKind::child())?;
        let table = waiting.clone();
        tokio::spawn(async move {
            while ended.recv().await.is_some() {
                reap(&table);
            }
        });
        Ok(Self { waiting, services: Arc::default(), shutdown })
    }

    /// Keeps `service` running until shutdown. The receiver follows its state.
    pub fn run(&self, service: Service) -> watch::Receiver<State> {
        let (state, follow) = watch::channel(State::default());
        self.services
            .lock()
            .expect("no code panics while holding this lock")
            .push((service.name.clone(), follow.clone()));
        let this = self.clone();
        tokio::spawn(async move { this.keep(service, &state).await });
        follow
    }

    /// All services and what they are doing.
    #[must_use]
    pub fn states(&self) -> Vec<(String, State)> {
        let services = self.services.lock().expect("no code panics while holding this lock");
        services.iter().map(|(name, state)| (name.clone(), state.borrow().clone())).collect()
    }

    /// Runs a short program in the sandbox's own namespaces.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub async fn run_once(&self, argv: &[String]) -> anyhow::Result<()> {
        self.run_once_in(&Namespaces::open(Path::new("/proc/self/ns"), &[])?, argv).await
    }

    /// The same in other namespaces.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub async fn run_once_in(&self, place: &Namespaces, argv: &[String]) -> anyhow::Result<()> {
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        place.apply(&mut command)?;
        let (_, ended) = self.spawn(&mut command)?;
        let status = ended.await?;
        anyhow::ensure!(status.success(), "{}: {status}", argv.join(" "));
        Ok(())
    }

    /// Asks every service to end, and waits until it has, but not longer than [`GRACE`].
    pub async fn stop_all(&self) {
        self.shutdown.cancel();
        let followers: Vec<_> = {
            let services = self.services.lock().expect("no code panics while holding this lock");
            services.iter().map(|(_, state)| state.clone()).collect()
        };
        let all = async {
            for mut state in followers {
                let _ = state.wait_for(|state| state.pid.is_none()).await;
            }
        };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("some processes did not end in time; the kernel ends them with PID 1");
        }
    }

    async fn keep(&self, service: Service, state: &watch::Sender<State>) {
        let mut pause = BACKOFF.0;
        let notify = service.notify.as_ref().and_then(|path| {
            let _ = fs::remove_file(path);
            let socket = UnixDatagram::bind(path);
            socket.inspect_err(|error| tracing::error!(%error, path = %path.display(), "no readiness socket")).ok()
        });
        loop {
            let begun = Instant::now();
            let ended = match self.launch(&service) {
                Ok((pid, ended)) => {
                    state.send_modify(|s| s.pid = Some(pid.as_raw()));
                    self.attend(&service, notify.as_ref(), pid, ended, state).await
                }
                Err(error) => format!("{error:#}"),
            };
            state.send_modify(|s| {
                (s.pid, s.ready) = (None, false);
                s.last_exit = Some(ended.clone());
            });
            if self.shutdown.is_cancelled() {
                return;
            }
            tracing::warn!(service = service.name, ended, "process ended; starting it again");
            if begun.elapsed() >= STEADY {
                pause = BACKOFF.0;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.cancelled() => return,
            }
            pause = (pause * 2).min(BACKOFF.1);
            state.send_modify(|s| s.restarts += 1);
        }
    }

    /// From the start of a process to its end.
    async fn attend(
        &self,
        service: &Service,
        notify: Option<&UnixDatagram>,
        pid: Pid,
        mut ended: oneshot::Receiver<ExitStatus>,
        state: &watch::Sender<State>,
    ) -> String {
        let mut message = [0; 512];
        let mut stopping = false;
        loop {
            let said = async {
                match notify {
                    Some(socket) => socket.recv(&mut message).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                status = &mut ended => return status.map_or_else(|_| "lost".to_owned(), |status| status.to_string()),
                Ok(length) = said => {
                    if message[..length].split(|b| *b == b'\n').any(|line| line == b"READY=1") {
                        state.send_modify(|s| s.ready = true);
                        tracing::info!(service = service.name, "ready");
                    }
                }
                () = self.shutdown.cancelled(), if !stopping => {
                    stopping = true;
                    let _ = kill(pid, Signal::SIGTERM);
                }
            }
        }
    }

    fn launch(&self, service: &Service) -> anyhow::Result<(Pid, oneshot::Receiver<ExitStatus>)> {
        if let Some(folder) = service.log.parent() {
            fs::create_dir_all(folder)?;
        }
        let log = fs::File::options().append(true).create(true).open(&service.log)?;
        let mut command = Command::new(&service.argv[0]);
        command.args(&service.argv[1..]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(path) = &service.notify {
            command.env("NOTIFY_SOCKET", path);
        }
        kernel::process::keep_in_child(&mut command, service.keep.clone());
        service.namespaces.apply(&mut command)?;
        self.spawn(&mut command).with_context(|| format!("starting {}", service.argv[0]))
    }

    fn spawn(&self, command: &mut Command) -> anyhow::Result<(Pid, oneshot::Receiver<ExitStatus>)> {
        let (tell, ended) = oneshot::channel();
        // Held over the start, so that the reaper cannot see the end of a process that is not in the table yet.
        let mut waiting = self.waiting.lock().expect("no code panics while holding this lock");
        let child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).context("a pid is an i32")?);
        waiting.insert(pid, tell);
        Ok((pid, ended))
    }
}

fn reap(waiting: &Waiting) {
    let mut waiting = waiting.lock().expect("no code panics while holding this lock");
    loop {
        let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, ExitStatus::from_raw(code << 8)),
            Ok(WaitStatus::Signaled(pid, signal, core)) => {
                (pid, ExitStatus::from_raw(signal as i32 | if core { 0x80 } else { 0 }))
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return,
            Ok(_) => continue,
        };
        if let Some(tell) = waiting.remove(&pid) {
            let _ = tell.send(status);
        }
    }
}
