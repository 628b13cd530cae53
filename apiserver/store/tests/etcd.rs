//! The etcd backend over a real etcd, started here on loopback with a folder of its own.

mod contract;

use contract::{delete, put};
use knetsim_store::cache::{At, Indexed, ListQuery, WatchCache};
use knetsim_store::etcd::{Etcd, Options};
use knetsim_store::{Event, Store, StoreError};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// A running etcd; ended when dropped.
struct Server {
    process: Child,
    ports: [u16; 2],
    dir: tempfile::TempDir,
}

impl Server {
    /// `None` when there is no etcd on this machine.
    fn start(test: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()).map(|l| l.local_addr().unwrap().port());
        match Self::spawn(&dir, ports) {
            Ok(process) => Some(Self { process, ports, dir }),
            Err(error) => {
                eprintln!("SKIPPED {test}: etcd cannot be started: {error}");
                None
            }
        }
    }

    fn spawn(dir: &tempfile::TempDir, [client, peer]: [u16; 2]) -> std::io::Result<Child> {
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }

    async fn connect(&self) -> Arc<dyn Store> {
        let endpoint = format!("http://127.0.0.1:{}", self.ports[0]);
        Arc::new(Etcd::connect(&[endpoint], Options { compact_every: None, ..Options::default() }).await.unwrap())
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn restart(&mut self) {
        self.kill();
        self.process = Self::spawn(&self.dir, self.ports).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_holds() {
    let Some(server) = Server::start("contract_holds") else { return };
    contract::run(server.connect().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_match_the_model() {
    let Some(server) = Server::start("random_operations_match_the_model") else { return };
    let store = server.connect().await;
    let mut runner = TestRunner::deterministic();
    for case in 0..4 {
        let ops = contract::model::ops().new_tree(&mut runner).unwrap().current();
        contract::model::check(store.clone(), &format!("/registry/model{case}/"), ops).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_reads_consistently_and_survives_a_restart() {
    let Some(mut server) = Server::start("a_cache_reads_consistently_and_survives_a_restart") else { return };
    let store = server.connect().await;
    let name = |kv: &knetsim_store::KeyValue| Ok(Indexed { name: kv.key.as_str().into(), ..Indexed::default() });
    let cache = WatchCache::new(store.clone(), "/registry/pods/", name);
    let all = ListQuery { at: At::Latest, prefix: "/registry/pods/", start: None, limit: 0, filter: None };
    for round in 0..20 {
        put(&*store, &format!("/registry/pods/{round}"), "{}", 0).await;
        let elsewhere = put(&*store, &format!("/registry/other/{round}"), "{}", 0).await;
        let list = cache.list(all).await.unwrap();
        assert_eq!((list.items.len(), list.revision), (round + 1, elsewhere));
    }
    server.restart();
    let mut written = Err(StoreError::SlowWatcher);
    for _ in 0..100 {
        written = store.put("/registry/pods/after", "{}".into(), 0).await;
        if written.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    written.unwrap();
    assert_eq!(cache.list(all).await.unwrap().items.len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_etcd_is_an_error() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = Options { patience: Duration::from_millis(200), compact_every: None };
    let refused = Etcd::connect(&[format!("http://127.0.0.1:{port}")], options).await;
    assert!(refused.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_carry_what_was_before() {
    let Some(server) = Server::start("events_carry_what_was_before") else { return };
    let store = server.connect().await;
    let first = put(&*store, "/registry/a", "1", 0).await;
    let mut watch = store.watch("/registry/", first).await.unwrap();
    delete(&*store, "/registry/a", first).await;
    let Ok(Event::Delete { previous: Some(previous), .. }) = contract::next(&mut watch).await else { panic!() };
    assert_eq!(&previous.value[..], b"1");
}
