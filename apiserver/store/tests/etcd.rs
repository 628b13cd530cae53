//! The etcd backend over a real etcd, started here on loopback with a folder of its own.

mod contract;

use contract::{delete, put};
use knetsim_store::cache::{At, CacheError, Indexed, Limits, ListQuery, Past, WatchCache};
use knetsim_store::etcd::{Etcd, Options, Refusal, Tls};
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
    scheme: &'static str,
    process: Child,
    ports: [u16; 2],
    dir: tempfile::TempDir,
}

impl Server {
    /// `None` when there is no etcd on this machine.
    fn start(test: &str) -> Option<Self> {
        Self::start_in(tempfile::tempdir().unwrap(), "http", test)
    }

    fn start_in(dir: tempfile::TempDir, scheme: &'static str, test: &str) -> Option<Self> {
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()).map(|l| l.local_addr().unwrap().port());
        match Self::spawn(&dir, scheme, ports) {
            Ok(process) => Some(Self { scheme, process, ports, dir }),
            Err(error) => {
                eprintln!("SKIPPED {test}: etcd cannot be started: {error}");
                None
            }
        }
    }

    fn spawn(dir: &tempfile::TempDir, scheme: &str, [client, peer]: [u16; 2]) -> std::io::Result<Child> {
        let (client, peer) = (format!("{scheme}://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let file = |name: &str| dir.path().join(name);
        let mut command = Command::new("etcd");
        if scheme == "https" {
            command.args(["--cert-file".into(), file("own.crt"), "--key-file".into(), file("own.key")]);
            command.args(["--trusted-ca-file".into(), file("own.crt")]).arg("--client-cert-auth");
        }
        command
            .arg("--data-dir")
            .arg(file("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }

    async fn connect(&self) -> Arc<dyn Store> {
        Arc::new(self.connect_as(None).await.unwrap())
    }

    async fn connect_as(&self, tls: Option<Tls>) -> anyhow::Result<Etcd> {
        let endpoint = format!("{}://127.0.0.1:{}", self.scheme, self.ports[0]);
        let patience = Duration::from_secs(if self.scheme == "http" { 30 } else { 3 });
        Etcd::connect(&[endpoint], Options { tls, patience, compact_every: None, ..Options::default() }).await
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn restart(&mut self) {
        self.kill();
        self.process = Self::spawn(&self.dir, self.scheme, self.ports).unwrap();
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
async fn the_past_survives_a_restart() {
    let Some(server) = Server::start("the_past_survives_a_restart") else { return };
    contract::the_past_survives_a_restart(async || server.connect().await).await;
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
    let options = Options { patience: Duration::from_millis(200), compact_every: None, ..Options::default() };
    let refused = Etcd::connect(&[format!("http://127.0.0.1:{port}")], options).await;
    let why = format!("{:#}", refused.err().expect("there is none"));
    assert!(why.contains(&format!("127.0.0.1:{port}")) && why.contains("refused"), "{why}");
}

/// Both sides show certificates; whoever shows none is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_etcd_knows_us_by_our_certificate() {
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.path().join("own.crt"), made.cert.pem()).unwrap();
    std::fs::write(dir.path().join("own.key"), made.signing_key.serialize_pem()).unwrap();
    let test = "an_encrypted_etcd_knows_us_by_our_certificate";
    let Some(server) = Server::start_in(dir, "https", test) else { return };
    let own = CertificateDer::from(made.cert.der().to_vec());
    let mut roots = RootCertStore::empty();
    roots.add(own.clone()).unwrap();
    let known = ClientConfig::builder().with_root_certificates(roots.clone());
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let store = server.connect_as(Some(Arc::new(known.with_client_auth_cert(vec![own], key).unwrap()))).await.unwrap();
    put(&store, "/registry/a", "1", 0).await;
    assert!(store.get("/registry/a", None).await.unwrap().0.is_some());

    let stranger = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let cause = async |tls: ClientConfig| {
        let refused = server.connect_as(Some(Arc::new(tls))).await.err().expect("it is not served");
        refused.chain().find_map(|cause| cause.downcast_ref::<Refusal>().cloned())
    };
    assert!(matches!(cause(stranger).await, Some(Refusal::Ours(_))), "a client without a certificate");
    let mut others = RootCertStore::empty();
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    others.add(CertificateDer::from(other.cert.der().to_vec())).unwrap();
    let suspicious = ClientConfig::builder().with_root_certificates(others).with_no_client_auth();
    assert!(matches!(cause(suspicious).await, Some(Refusal::Theirs(_))), "another authority");
    let refused = server.connect_as(None).await.err().expect("no authority is given").to_string();
    assert!(refused.contains("no certificate authority is given"), "{refused}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_may_begin_in_a_past_that_only_etcd_remembers() {
    let Some(server) = Server::start("a_watch_may_begin_in_a_past_that_only_etcd_remembers") else { return };
    let store = server.connect().await;
    let first = put(&*store, "/registry/pods/a", "{}", 0).await;
    let second = put(&*store, "/registry/pods/b", "{}", 0).await;
    put(&*store, "/registry/other/a", "{}", 0).await;
    let name = |kv: &knetsim_store::KeyValue| Ok(Indexed { name: kv.key.as_str().into(), ..Indexed::default() });
    let limits = Limits { past: Past::Store, ..Limits::default() };
    let cache = WatchCache::with_limits(store.clone(), "/registry/pods/", name, limits);
    let mut watch = cache.watch(first).await.unwrap();
    let third = delete(&*store, "/registry/pods/b", second).await;
    let mut revisions = Vec::new();
    while revisions.len() < 2 {
        let events = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("no event").unwrap();
        revisions.extend(events.iter().map(|event| event.revision));
    }
    assert_eq!(revisions, [second, third]);
    store.compact(third).await.unwrap();
    let end = cache.watch(first).await.unwrap().next().await;
    assert!(matches!(end, Err(CacheError::Expired { requested, .. }) if requested == first), "{end:?}");
}
