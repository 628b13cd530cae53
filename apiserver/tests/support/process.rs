//! Servers as processes of their own, so that they can be killed: the API server is this test's program started once more,
//! etcd the distribution's.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wire::{Ask, Target};

const ARGUMENTS: &str = "KNETSIM_TEST_APISERVER";
/// How long a server may take to become ready on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the process started by [`ApiServer::start`] does; called by the one ignored test of each program.
pub fn child() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    // The parent holds the other end of our input: when it is gone, so are we.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(3);
    });
    apiserver::run(arguments.split('\n').map(Into::into).collect()).unwrap();
}

/// A port nobody else asks for in the moment until it is used.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, signal).unwrap();
}

/// One API server: the same flags and keys at every start.
pub struct ApiServer {
    pub target: Target,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl ApiServer {
    /// Keys below `dir` are made when they are missing, so servers of one `dir` share them. `store` are the flags of the backend.
    pub fn new(dir: &Path, store: &[String]) -> Self {
        let port = free_port();
        std::fs::create_dir_all(dir.join("pki")).unwrap();
        if !dir.join("admin.conf").exists() {
            super::pki::write(dir, port, &[]).unwrap();
        }
        let file = |name: &str| dir.join("pki").join(name).display().to_string();
        let mut arguments = vec![
            "apiserver".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
        ];
        arguments.extend_from_slice(store);
        Self { target: Target::new(dir, port).unwrap(), arguments, process: None }
    }

    /// Further flags, from the next start on.
    pub fn add(&mut self, flags: Vec<String>) {
        self.arguments.extend(flags);
    }

    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The test that calls [`child`] must be named `child` at the root of the program.
    pub fn start(&mut self) {
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(ARGUMENTS, self.arguments.join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(if std::env::var_os("KNETSIM_TEST_VERBOSE").is_some() { Stdio::inherit() } else { Stdio::null() })
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    pub async fn ready(&mut self) {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Ok(mut connection) = self.target.http1().await
                && let Ok(answer) = self.target.send(&mut connection, Ask::get("/readyz")).await
                && answer.status == 200
            {
                return;
            }
            let ended = self.process.as_mut().and_then(|process| process.try_wait().unwrap());
            assert!(ended.is_none(), "the API server ended by itself: {ended:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the API server is not ready after {PATIENCE:?}");
    }

    /// `kill -9`
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The members of an etcd on loopback.
pub struct Etcd {
    dir: PathBuf,
    /// Clients show certificates and see one: those of the folder `pki`, which are there already.
    encrypted: bool,
    /// Of each member, its port for clients and for the other members.
    ports: Vec<[u16; 2]>,
    members: Vec<Option<Child>>,
}

impl Etcd {
    /// `None`, said on stderr, when there is no etcd on this machine.
    pub fn start(test: &str, dir: &Path, members: usize) -> Option<Self> {
        Self::start_as(test, dir, members, false)
    }

    pub fn start_as(test: &str, dir: &Path, members: usize, encrypted: bool) -> Option<Self> {
        if Command::new("etcd").arg("--version").output().is_err() {
            eprintln!("SKIPPED {test}: etcd is not installed");
            return None;
        }
        let ports = (0..members).map(|_| [free_port(), free_port()]).collect();
        let mut this = Self { dir: dir.to_owned(), encrypted, ports, members: (0..members).map(|_| None).collect() };
        (0..members).for_each(|member| this.run(member));
        Some(this)
    }

    /// Starts a member, again after [`Etcd::kill`].
    pub fn run(&mut self, member: usize) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (client, peer) = (self.url(member), url(self.ports[member][1]));
        let cluster: Vec<String> =
            self.ports.iter().enumerate().map(|(at, [_, peer])| format!("m{at}={}", url(*peer))).collect();
        let mut command = Command::new("etcd");
        if self.encrypted {
            let file = |name: &str| self.dir.join("pki").join(name);
            command.args(["--cert-file".into(), file("apiserver.crt"), "--key-file".into(), file("apiserver.key")]);
            command.args(["--trusted-ca-file".into(), file("ca.crt")]).arg("--client-cert-auth");
        }
        let process = command
            .args(["--name", &format!("m{member}"), "--log-level", "error"])
            .arg("--data-dir")
            .arg(self.dir.join(format!("etcd{member}")))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args([
                "--initial-cluster",
                &cluster.join(","),
                "--initial-cluster-token",
                &format!("t{}", self.ports[0][0]),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.members[member] = Some(process);
    }

    /// Where a member's clients find it.
    fn url(&self, member: usize) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.ports[member][0])
    }

    /// Waits until a member has caught up with the others.
    pub async fn healthy(&self, member: usize) {
        let begin = Instant::now();
        let address = ("127.0.0.1", self.ports[member][0]);
        loop {
            assert!(begin.elapsed() < PATIENCE, "the member {member} of etcd does not get well");
            let check = async {
                let stream = tokio::net::TcpStream::connect(address).await?;
                let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                let request = http::Request::get("/health").header(http::header::HOST, "etcd").body(String::new())?;
                anyhow::Ok(sender.send_request(request).await?.status())
            };
            if check.await.is_ok_and(|status| status.is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn kill(&mut self, member: usize) {
        if let Some(mut process) = self.members[member].take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops a member in its tracks: connections stay, nothing answers.
    pub fn pause(&self, member: usize) {
        signal(self.members[member].as_ref().unwrap(), Signal::SIGSTOP);
    }

    pub fn resume(&self, member: usize) {
        signal(self.members[member].as_ref().unwrap(), Signal::SIGCONT);
    }

    /// The API server's flags for it.
    pub fn flags(&self) -> Vec<String> {
        let servers: Vec<String> = (0..self.members.len()).map(|member| self.url(member)).collect();
        vec!["--storage-backend=etcd3".to_owned(), format!("--etcd-servers={}", servers.join(","))]
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in 0..self.members.len() {
            self.kill(member);
        }
    }
}
