//! The API server under measurement: the release binary as a process of its own, over either store, on loopback.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::wire::{Ask, Target};

const PATIENCE: Duration = Duration::from_secs(30);

/// Where the objects are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Embedded,
    Etcd,
}

pub struct Server {
    pub target: Target,
    /// From starting the process (with etcd: the processes) to the first 200 of /readyz.
    pub ready: Duration,
    process: Process,
    etcd: Option<Process>,
}

/// Ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Server {
    /// Starts it with an empty store below `dir`.
    pub async fn start(backend: Backend, dir: &Path) -> anyhow::Result<Self> {
        let program = beside_us("knetsim")?;
        let port = free_port()?;
        std::fs::create_dir_all(dir.join("pki"))?;
        super::pki::write(dir, port, &[])?;
        let target = Target::new(dir, port)?;
        let file = |name: &str| dir.join("pki").join(name).display().to_string();
        let begin = Instant::now();
        let (etcd, store) = match backend {
            Backend::Embedded => (None, vec![format!("--store-dir={}", dir.join("store").display())]),
            Backend::Etcd => {
                let (etcd, url) = etcd(dir)?;
                (Some(etcd), vec!["--storage-backend=etcd3".to_owned(), format!("--etcd-servers={url}")])
            }
        };
        let process = Command::new(program)
            .arg("apiserver")
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--secure-port={port}"))
            .arg(format!("--tls-cert-file={}", file("apiserver.crt")))
            .arg(format!("--tls-private-key-file={}", file("apiserver.key")))
            .arg(format!("--client-ca-file={}", file("ca.crt")))
            .arg(format!("--service-account-signing-key-file={}", file("sa.key")))
            .args(store)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the API server")?;
        let mut this = Self { target, ready: Duration::ZERO, process: Process(process), etcd };
        while begin.elapsed() < PATIENCE {
            if let Ok(mut connection) = this.target.http1().await
                && this.target.send(&mut connection, Ask::get("/readyz")).await.is_ok_and(|answer| answer.status == 200)
            {
                this.ready = begin.elapsed();
                return Ok(this);
            }
            if let Some(status) = this.process.0.try_wait()? {
                bail!("the API server ended by itself: {status}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!("the API server is not ready after {PATIENCE:?}")
    }

    /// Resident memory of the server, in MB of 10^6 bytes.
    pub fn resident(&self) -> anyhow::Result<f64> {
        resident(self.process.0.id())
    }

    pub fn resident_etcd(&self) -> Option<f64> {
        resident(self.etcd.as_ref()?.0.id()).ok()
    }
}

fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0 / 1e6)
}

fn etcd(dir: &Path) -> anyhow::Result<(Process, String)> {
    let (client, peer) = (format!("http://127.0.0.1:{}", free_port()?), format!("http://127.0.0.1:{}", free_port()?));
    let process = Command::new("etcd")
        .arg("--data-dir")
        .arg(dir.join("etcd"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start etcd")?;
    Ok((Process(process), client))
}

/// The program that was built together with this one.
fn beside_us(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.parent().context("this program is in no folder")?.join(name);
    anyhow::ensure!(path.exists(), "{} is missing: build it first", path.display());
    Ok(path)
}
