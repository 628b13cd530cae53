//! A server whose etcd shows a certificate and wants to see one; and what is said where that does not come about.

#[path = "../examples/dev_cluster/pki.rs"]
mod pki;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod process;
#[path = "support/wire.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod wire;

use std::path::Path;
use std::time::{Duration, Instant};

use apiserver::options::Options;
use clap::Parser;
use http::Method;
use process::{ApiServer, Etcd};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wire::{Ask, Connection, Lines, Target};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Far less than the server waits for an etcd that is still starting.
const AT_ONCE: Duration = Duration::from_secs(15);

#[test]
#[ignore = "the server process of the other test"]
fn child() {
    process::child();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The flags about certificates: those of the authority, of ours, and of its key; files of the folder `pki`.
fn flags(dir: &Path, files: [&str; 3]) -> Vec<String> {
    let given = ["--etcd-cafile", "--etcd-certfile", "--etcd-keyfile"].into_iter().zip(files);
    let given = given.filter(|(_, file)| !file.is_empty());
    given.map(|(flag, file)| format!("{flag}={}", dir.join("pki").join(file).display())).collect()
}

async fn ask(target: &Target, ask: Ask<'_>) -> (u16, Value) {
    let answer = target.send(&mut target.http1().await.unwrap(), ask).await.unwrap();
    (answer.status, answer.json())
}

fn map(name: &str) -> String {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } }).to_string()
}

/// A watch of the ConfigMaps.
struct Events {
    lines: Lines,
    _connection: Connection,
}

impl Events {
    async fn since(target: &Target, revision: &str) -> Self {
        let mut connection = target.http1().await.unwrap();
        let path = format!("{MAPS}?watch=true&resourceVersion={revision}");
        let lines = Lines::new(target.open(&mut connection, Ask::get(&path)).await.unwrap());
        Self { lines, _connection: connection }
    }

    /// The type of the next event, and the name of its object.
    async fn next(&mut self) -> (String, String) {
        let line = self.lines.next().await.unwrap().expect("the watch goes on");
        let event: Value = serde_json::from_slice(&line).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

#[test]
fn a_server_over_an_encrypted_etcd() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let mut server = ApiServer::new(dir.path(), &[]);
        let Some(mut etcd) = Etcd::start_as("a_server_over_an_encrypted_etcd", dir.path(), 1, true) else { return };
        let own = ["ca.crt", "apiserver-kubelet-client.crt", "apiserver-kubelet-client.key"];
        server.add([etcd.flags(), flags(dir.path(), own)].concat());
        server.start();
        server.ready().await;
        let target = server.target.clone();
        let (code, made) = ask(&target, Ask::new(Method::POST, MAPS, map("a"))).await;
        assert_eq!(code, 201, "{made}");
        assert_eq!(ask(&target, Ask::get(&format!("{MAPS}/a"))).await.1["metadata"]["uid"], made["metadata"]["uid"]);
        let since = made["metadata"]["resourceVersion"].as_str().unwrap();
        let mut events = Events::since(&target, since).await;
        assert_eq!(ask(&target, Ask::new(Method::POST, MAPS, map("b"))).await.0, 201);
        assert_eq!(events.next().await, ("ADDED".to_owned(), "b".to_owned()));

        // etcd goes and comes again; the server finds it.
        etcd.kill(0);
        etcd.run(0);
        let begun = Instant::now();
        while ask(&target, Ask::new(Method::POST, MAPS, map("c"))).await.0 == 500 {
            assert!(begun.elapsed() < Duration::from_secs(60), "the server does not find etcd again");
        }
        // The server goes and comes again, and goes on where it was.
        server.kill();
        server.start();
        server.ready().await;
        let (_, list) = ask(&target, Ask::get(MAPS)).await;
        let items = list["items"].as_array().unwrap();
        let names: Vec<&str> = items.iter().filter_map(|map| map["metadata"]["name"].as_str()).collect();
        assert!(["a", "b", "c"].iter().all(|name| names.contains(name)), "{names:?}");
        let since = list["metadata"]["resourceVersion"].as_str().unwrap();
        let mut events = Events::since(&target, since).await;
        assert_eq!(ask(&target, Ask::new(Method::POST, MAPS, map("d"))).await.0, 201);
        assert_eq!(events.next().await, ("ADDED".to_owned(), "d".to_owned()));
    });
}

/// Why a server with these flags does not start.
async fn refusal(dir: &Path, store: Vec<String>) -> String {
    let server = ApiServer::new(dir, &store);
    let options = Options::parse_from(server.arguments());
    let stop = CancellationToken::new();
    let ended = tokio::time::timeout(AT_ONCE, apiserver::serve(options, stop)).await;
    let ended = ended.unwrap_or_else(|_| panic!("it is still waiting: {store:?}"));
    format!("{:#}", ended.expect_err("it does not start"))
}

#[test]
fn a_wrong_certificate_is_named_and_not_waited_for() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        drop(ApiServer::new(dir, &[]));
        let Some(etcd) = Etcd::start_as("a_wrong_certificate_is_named_and_not_waited_for", dir, 1, true) else {
            return;
        };
        let (ours, key) = ("apiserver-kubelet-client.crt", "apiserver-kubelet-client.key");
        for (files, expected) in [
            (["front-proxy-ca.crt", ours, key], "the authorities of --etcd-cafile do not vouch for etcd's certificate"),
            (["", ours, key], "without --etcd-cafile the system's authorities must vouch for etcd's certificate"),
            (["ca.crt", "", ""], "etcd wants a certificate of its clients: --etcd-certfile, --etcd-keyfile"),
            (
                ["ca.crt", "front-proxy-client.crt", "front-proxy-client.key"],
                "etcd does not accept the certificate of --etcd-certfile",
            ),
        ] {
            let why = refusal(dir, [etcd.flags(), flags(dir, files)].concat()).await;
            assert!(why.starts_with(expected) && why.contains("https://127.0.0.1:"), "{files:?}: {why}");
        }
    });
}

/// Nobody listens where etcd should be: it would be waited for.
#[test]
fn a_file_that_is_none_is_named_before_anything_starts() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        drop(ApiServer::new(dir, &[]));
        std::fs::write(dir.join("pki/junk"), "junk").unwrap();
        let (authority, ours, key) = ("ca.crt", "admin.crt", "admin.key");
        for (files, flag, file) in [
            (["none", ours, key], "--etcd-cafile", "none"),
            (["junk", ours, key], "--etcd-cafile", "junk"),
            ([key, ours, key], "--etcd-cafile", key),
            ([authority, "none", key], "--etcd-certfile", "none"),
            ([authority, "junk", key], "--etcd-certfile", "junk"),
            ([authority, ours, "none"], "--etcd-keyfile", "none"),
            ([authority, ours, "junk"], "--etcd-keyfile", "junk"),
            ([authority, ours, ours], "--etcd-keyfile", ours),
        ] {
            for scheme in ["http", "https"] {
                let servers = format!("--etcd-servers={scheme}://127.0.0.1:1");
                let store = [vec!["--storage-backend=etcd3".to_owned(), servers], flags(dir, files)].concat();
                let why = refusal(dir, store).await;
                let expected = format!("{flag}: {}", dir.join("pki").join(file).display());
                assert!(why.starts_with(&expected), "{files:?}: {why}");
            }
        }
        let mixed = flags(dir, [authority, ours, "apiserver.key"]);
        let store = ["--storage-backend=etcd3".to_owned(), "--etcd-servers=https://127.0.0.1:1".to_owned()];
        let why = refusal(dir, [&store[..], &mixed].concat()).await;
        assert!(why.contains("--etcd-certfile, --etcd-keyfile") && why.contains("key"), "{why}");
    });
}
