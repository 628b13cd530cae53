//! The real kubectl against the server: started in this process on a loopback port, with keys made for the occasion.

#[path = "../examples/dev_cluster/pki.rs"]
mod pki;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use apiserver::options::Options;
use clap::Parser;
use tokio_util::sync::CancellationToken;

/// A running server and its folder; both go when it is dropped.
struct Server {
    dir: PathBuf,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl Server {
    fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("knetsim-apiserver-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("pki")).unwrap();
        // The port is free again a moment before the server takes it; nobody else asks for it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        pki::write(&dir, port, &["w1".to_owned()]).unwrap();
        let mut this = Self { dir, stop: CancellationToken::new(), thread: None };
        this.run(port);
        this
    }

    fn run(&mut self, port: u16) {
        let file = |name: &str| self.dir.join("pki").join(name).display().to_string();
        let options = Options::parse_from([
            "apiserver".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--store-dir={}", self.dir.join("store").display()),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
        ]);
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
    fn kubectl(&self, args: &[&str], input: &str) -> (bool, String) {
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

    fn ok(&self, args: &[&str], input: &str) -> String {
        let (success, text) = self.kubectl(args, input);
        assert!(success, "kubectl {args:?}: {text}");
        text
    }

    fn fails(&self, args: &[&str], input: &str, with: &str) {
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

fn kubectl_is_missing() -> bool {
    let missing = Command::new("kubectl").arg("version").arg("--client").output().is_err();
    if missing {
        eprintln!("SKIPPED: kubectl is not installed");
    }
    missing
}

fn manifest(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(name)).unwrap()
}

const APPLY: &[&str] = &["apply", "-f", "-"];

#[test]
fn a_session_with_kubectl() {
    if kubectl_is_missing() {
        return;
    }
    let server = Server::start("session");
    let text = server.ok(APPLY, &manifest("web.yaml"));
    assert!(text.contains("deployment.apps/web created") && text.contains("service/web created"), "{text}");
    let text = server.ok(&["get", "deployment", "web"], "");
    assert!(text.contains("UP-TO-DATE") && text.contains("0/3"), "{text}");

    // Patches, scale, generation, and a change that changes nothing.
    server.ok(&["scale", "deployment", "web", "--replicas=2"], "");
    server.ok(&["patch", "deployment", "web", "-p", r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:2"}]}}}}"#], "");
    let path = "jsonpath={.metadata.generation} {.spec.replicas} {.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].ports[0].containerPort}";
    assert_eq!(server.ok(&["get", "deployment", "web", "-o", path], ""), "3 2 nginx:2 80");
    let version = || server.ok(&["get", "deployment", "web", "-o", "jsonpath={.metadata.resourceVersion}"], "");
    let before = version();
    assert!(server.ok(&["scale", "deployment", "web", "--replicas=2"], "").contains("scaled"));
    assert_eq!(version(), before);

    // Pods: defaults, ServiceAccount, watch, deletion.
    server.ok(APPLY, &manifest("pod.yaml"));
    let mount = server.ok(&["get", "pod", "p", "-o", "jsonpath={.spec.containers[0].volumeMounts[0].name} {.spec.priority}"], "");
    assert!(mount.starts_with("kube-api-access-") && mount.ends_with(" 0"), "{mount}");
    server.ok(&["wait", "--for=jsonpath={.status.phase}=Pending", "pod/p", "--timeout=5s"], "");
    server.ok(&["delete", "pod", "p", "--timeout=5s"], "");
    server.fails(&["get", "pod", "p"], "", r#"Error from server (NotFound): pods "p" not found"#);

    // What is refused, in upstream's words.
    server.fails(APPLY, &manifest("bad-node-port.yaml"), "spec.ports[0].nodePort: Invalid value: 29999: provided port is not in the valid range. The range of valid ports is 30000-32767");
    server.fails(&["get", "pods", "--as=jane"], "", r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#);
    server.fails(&["delete", "namespace", "default"], "", "this namespace may not be deleted");
    server.ok(APPLY, &manifest("jane.yaml"));
    server.ok(&["get", "pods", "--as=jane"], "");
    server.fails(&["get", "secrets", "--as=jane"], "", "cannot list resource \"secrets\"");
}

#[test]
fn custom_resources_come_and_go() {
    if kubectl_is_missing() {
        return;
    }
    let server = Server::start("custom");
    server.ok(APPLY, &manifest("widget-crd.yaml"));
    server.ok(&["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=2s"], "");
    server.ok(APPLY, &manifest("widget.yaml"));
    let text = server.ok(&["get", "wd"], "");
    assert!(text.contains("SIZE") && text.contains('3'), "{text}");
    let spec = server.ok(&["get", "widget", "w", "-o", "jsonpath={.spec.color} {.spec.junk} {.status}"], "");
    assert_eq!(spec.trim(), "red", "defaulted, pruned, and no status on create");
    server.ok(&["scale", "widget", "w", "--replicas=4"], "");
    server.ok(&["patch", "widget", "w", "--type=merge", "--subresource=status", "-p", r#"{"status":{"replicas":4},"spec":{"size":9}}"#], "");
    let spec = server.ok(&["get", "widget", "w", "-o", "jsonpath={.spec.replicas} {.status.replicas} {.spec.size} {.metadata.generation}"], "");
    assert_eq!(spec, "4 4 3 2");
    server.fails(&["patch", "widget", "w", "--type=merge", "-p", r#"{"spec":{"size":0}}"#], "", "spec.size");
    server.ok(&["delete", "crd", "widgets.example.com", "--timeout=5s"], "");
    server.fails(&["get", "--raw", "/apis/example.com/v1"], "", "NotFound");
}
