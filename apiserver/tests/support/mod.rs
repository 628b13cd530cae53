//! A server in this process on a loopback port, with keys made for the occasion, and the real kubectl to talk to it.

// Each test program uses what it needs of this.
#![allow(dead_code, reason = "each test program uses its part")]

#[path = "../../examples/dev_cluster/pki.rs"]
pub mod pki;

pub mod hook;
pub mod issuer;
pub mod raw;
mod tls;
pub mod tunnel;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use apiserver::options::Options;
use clap::Parser;
use tokio_util::sync::CancellationToken;

/// A running server and its folder; both go when it is dropped.
pub struct Server {
    pub dir: PathBuf,
    pub port: u16,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl Server {
    pub fn start(name: &str) -> Self {
        Self::start_with(name, None, |_| Vec::new())
    }

    /// A server that believes the front proxy of another one.
    pub fn start_behind(name: &str, front: Option<&Self>) -> Self {
        Self::start_with(name, front, |_| Vec::new())
    }

    /// Starts with further flags, which may name files that are put into the folder first.
    pub fn start_with(name: &str, front: Option<&Self>, more: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let dir = std::env::temp_dir().join(format!("knetsim-apiserver-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("pki")).unwrap();
        // The port is free again a moment before the server takes it; nobody else asks for it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        pki::write(&dir, port, &["w1".to_owned()]).unwrap();
        let more = more(&dir);
        let mut this = Self { dir, port, stop: CancellationToken::new(), thread: None };
        let front = front.unwrap_or(&this).dir.join("pki/front-proxy-ca.crt");
        this.run(&front, more);
        this
    }

    fn run(&mut self, front: &Path, more: Vec<String>) {
        let file = |name: &str| self.dir.join("pki").join(name).display().to_string();
        let flags = [
            "apiserver".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port),
            format!("--store-dir={}", self.dir.join("store").display()),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--requestheader-client-ca-file={}", front.display()),
            "--requestheader-allowed-names=front-proxy-client".to_owned(),
            format!("--proxy-client-cert-file={}", file("front-proxy-client.crt")),
            format!("--proxy-client-key-file={}", file("front-proxy-client.key")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
        ];
        let options = Options::parse_from(flags.into_iter().chain(more));
        let stop = self.stop.clone();
        self.thread = Some(std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(apiserver::serve(options, stop))
        }));
        for _ in 0..200 {
            if self.kubectl(&["get", "--raw", "/readyz"], "").0 {
                return;
            }
            assert!(!self.thread.as_ref().unwrap().is_finished(), "the server ended at once");
        }
        panic!("the server does not become ready");
    }

    /// Runs kubectl; whether it succeeded, and everything it said.
    pub fn kubectl(&self, args: &[&str], input: &str) -> (bool, String) {
        let mut child = Command::new("kubectl")
            .arg(format!("--kubeconfig={}", self.dir.join("admin.conf").display()))
            .arg(format!("--cache-dir={}", self.dir.join("cache").display()))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text.into_owned())
    }

    pub fn ok(&self, args: &[&str], input: &str) -> String {
        let (success, text) = self.kubectl(args, input);
        assert!(success, "kubectl {args:?}: {text}");
        text
    }

    pub fn fails(&self, args: &[&str], input: &str, with: &str) {
        let (success, text) = self.kubectl(args, input);
        assert!(!success && text.contains(with), "kubectl {args:?} should fail with {with:?}: {text}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub fn kubectl_is_missing() -> bool {
    let missing = Command::new("kubectl").arg("version").arg("--client").output().is_err();
    if missing {
        eprintln!("SKIPPED: kubectl is not installed");
    }
    missing
}

pub fn manifest(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(name)).unwrap()
}

pub const APPLY: &[&str] = &["apply", "-f", "-"];
