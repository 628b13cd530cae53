//! `kill -9` at random moments, under load: no acknowledged write is lost, the history of every object is linearizable, and
//! watch streams are complete, in order and without doubles.
//!
//! `KNETSIM_SAFETY_SECONDS` says how long each test goes on killing (default 15), `KNETSIM_SAFETY_SEED` which moments it
//! chooses.

#[path = "../../examples/dev_cluster/pki.rs"]
mod pki;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod process;
#[path = "../support/wire.rs"]
mod wire;

mod history;
mod load;
mod members;
mod stream;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use history::Op;
use load::{NAMESPACE, Random, Shared};
use process::{ApiServer, Etcd};
use wire::Ask;

const WORKERS: usize = 6;
const WATCHERS: usize = 3;
/// After so many kills the workers turn to other names, which keeps histories short enough to search.
const KILLS_AN_EPOCH: u64 = 4;

#[test]
#[ignore = "the server process that the other tests kill"]
fn child() {
    process::child();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn seconds() -> Duration {
    let text = std::env::var("KNETSIM_SAFETY_SECONDS").ok();
    Duration::from_secs(text.map_or(15, |text| text.parse().expect("KNETSIM_SAFETY_SECONDS is a number")))
}

fn seed() -> u64 {
    let now = || {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |now| now.subsec_nanos().into())
    };
    let text = std::env::var("KNETSIM_SAFETY_SEED").ok();
    text.map_or_else(now, |text| text.parse().expect("KNETSIM_SAFETY_SEED is a number"))
}

/// Load and watchers under way.
struct Run {
    shared: Arc<Shared>,
    workers: tokio::task::JoinSet<Vec<Op>>,
    watchers: tokio::task::JoinSet<Vec<stream::Segment>>,
    last: tokio::sync::watch::Sender<i64>,
}

impl Run {
    fn start(shared: Arc<Shared>, seed: u64) -> Self {
        let (last, seen) = tokio::sync::watch::channel(0);
        let (mut workers, mut watchers) = (tokio::task::JoinSet::new(), tokio::task::JoinSet::new());
        for number in 0..WORKERS {
            workers.spawn(load::worker(shared.clone(), number, seed));
        }
        for number in 0..WATCHERS {
            watchers.spawn(stream::watcher(shared.clone(), number, seen.clone()));
        }
        Self { shared, workers, watchers, last }
    }

    /// Kills by `kill` until the time is over; how often.
    async fn disturb(&self, seed: u64, mut kill: impl AsyncFnMut(u64, &mut Random)) -> u64 {
        let (begin, mut random, mut kills) = (Instant::now(), Random(seed), 0);
        while begin.elapsed() < seconds() {
            // The moment is what is random here.
            tokio::time::sleep(Duration::from_millis(1 + random.below(120))).await;
            kill(kills, &mut random).await;
            kills += 1;
            self.shared.epoch.store(kills / KILLS_AN_EPOCH, Ordering::Relaxed);
        }
        kills
    }

    /// Ends the load and checks everything; all servers must be up.
    async fn finish(mut self, what: &str, kills: u64, seed: u64) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut history = Vec::new();
        while let Some(ops) = self.workers.join_next().await {
            history.extend(ops.unwrap());
        }
        // Readers stop at the last revision there is: that of a write behind all others.
        self.last.send_replace(end(&self.shared).await);
        let mut streams = Vec::new();
        let all = tokio::time::timeout(Duration::from_secs(60), async {
            while let Some(stream) = self.watchers.join_next().await {
                streams.push(stream.unwrap());
            }
        });
        all.await.expect("every watcher gets to the last revision");
        load::read_all(&self.shared, &mut history).await;

        let events: usize = streams.iter().flatten().map(|segment| segment.events.len()).sum();
        let unknown = history.iter().filter(|op| op.outcome == history::Outcome::Unknown).count();
        println!(
            "{what}: {kills} kills, {} operations of which {unknown} without an answer, {events} events in {} segments, seed {seed}",
            history.len(),
            streams.iter().map(Vec::len).sum::<usize>()
        );
        assert!(kills >= 5 && history.len() > 50 && events > 10, "the load came to nothing");
        history::check(&history).unwrap_or_else(|why| panic!("seed {seed}: not linearizable: {why}"));
        stream::check(&streams, &history).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

/// Writes the last object of a run; its revision. A store that is choosing a leader yet is asked again.
async fn end(shared: &Shared) -> i64 {
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "generateName": "end-" } });
    let begin = Instant::now();
    loop {
        let mut connection = shared.targets[0].http1().await.unwrap();
        let ask = Ask::new(Method::POST, NAMESPACE, object.to_string());
        let body = shared.targets[0].send(&mut connection, ask).await.unwrap().json();
        match body["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()) {
            Some(revision) => return revision,
            None if body["code"] == 503 && begin.elapsed() < Duration::from_secs(30) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None => panic!("{body}"),
        }
    }
}

fn embedded(dir: &Path) -> Vec<String> {
    vec![format!("--store-dir={}", dir.join("store").display())]
}

#[test]
fn the_embedded_store_survives_kills() {
    runtime().block_on(async {
        let (dir, seed) = (tempfile::tempdir().unwrap(), seed());
        let mut server = ApiServer::new(dir.path(), &embedded(dir.path()));
        server.start();
        server.ready().await;
        let run = Run::start(Shared::new(vec![server.target.clone()]), seed);
        let kills = run
            .disturb(seed, async |_, random| {
                server.kill();
                server.start();
                // Sometimes already while it starts.
                if random.below(4) > 0 {
                    server.ready().await;
                }
            })
            .await;
        server.ready().await;
        run.finish("embedded", kills, seed).await;
    });
}

/// The past is the store's: lists go on where they were, earlier revisions can be read, and Events be watched from there.
#[test]
fn a_killed_server_knows_the_past() {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    const EVENTS: &str = "/api/v1/namespaces/default/events";
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let mut server = ApiServer::new(dir.path(), &embedded(dir.path()));
        server.start();
        server.ready().await;
        let target = server.target.clone();
        let ask = async |ask: Ask<'_>| {
            let answer = target.send(&mut target.http1().await.unwrap(), ask).await.unwrap();
            (answer.status, answer.json())
        };
        for name in ["a", "b", "c"] {
            let map = json!({ "metadata": { "name": name } }).to_string();
            assert_eq!(ask(Ask::new(Method::POST, MAPS, map)).await.0, 201);
        }
        let (_, first) = ask(Ask::get(&format!("{MAPS}?limit=1"))).await;
        let text = |pointer: &str| first.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let (revision, token) = (text("/metadata/resourceVersion"), text("/metadata/continue"));
        assert_eq!(ask(Ask::new(Method::DELETE, &format!("{MAPS}/b"), "")).await.0, 200);
        let event = json!({ "metadata": { "name": "e" }, "involvedObject": { "namespace": "default" } }).to_string();
        assert_eq!(ask(Ask::new(Method::POST, EVENTS, event)).await.0, 201);

        server.kill();
        server.start();
        server.ready().await;
        let names = |list: &Value| {
            let items = list["items"].as_array().into_iter().flatten();
            items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for (query, expected) in [
            (String::new(), &["a", "c"][..]),
            (format!("resourceVersion={revision}&resourceVersionMatch=Exact"), &["a", "b", "c"]),
            (format!("limit=500&continue={token}"), &["b", "c"]),
        ] {
            let (code, mut list) = ask(Ask::get(&format!("{MAPS}?{query}"))).await;
            // The cluster's own is made by nobody here, but may be some day.
            list["items"].as_array_mut().unwrap().retain(|item| item["metadata"]["name"] != "kube-root-ca.crt");
            assert_eq!(
                (code, &names(&list)[..]),
                (200, &expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
            );
        }
        // As upstream, which has a watch cache for all kinds but Events.
        for (target, kind, name) in [(MAPS, "ERROR", None), (EVENTS, "ADDED", Some("e"))] {
            let target = format!("{target}?watch=1&resourceVersion={revision}&timeoutSeconds=1");
            let (code, event) = ask(Ask::get(&target)).await;
            let told = (event["type"].as_str(), event.pointer("/object/metadata/name").and_then(Value::as_str));
            assert_eq!((code, told), (200, (Some(kind), name)), "{target}: {event}");
        }
    });
}

#[test]
fn the_server_and_its_etcd_survive_kills() {
    runtime().block_on(async {
        let (dir, seed) = (tempfile::tempdir().unwrap(), seed());
        let Some(mut etcd) = Etcd::start("the_server_and_its_etcd_survive_kills", dir.path(), 1) else { return };
        let mut server = ApiServer::new(dir.path(), &etcd.flags());
        server.start();
        server.ready().await;
        let run = Run::start(Shared::new(vec![server.target.clone()]), seed);
        let kills = run
            .disturb(seed, async |_, random| {
                if random.below(2) == 0 {
                    etcd.kill(0);
                    etcd.run(0);
                } else {
                    server.kill();
                    server.start();
                }
                if random.below(4) > 0 {
                    server.ready().await;
                }
            })
            .await;
        server.ready().await;
        run.finish("etcd", kills, seed).await;
    });
}

/// A store that does not answer: writes are refused with a Status in bounded time, and everything works again by itself.
#[test]
fn a_lost_etcd_is_told_and_heals() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let Some(mut etcd) = Etcd::start("a_lost_etcd_is_told_and_heals", dir.path(), 1) else { return };
        let mut server = ApiServer::new(dir.path(), &etcd.flags());
        server.start();
        server.ready().await;
        let target = server.target.clone();
        let mut connection = target.http2().await.unwrap();
        let object =
            |name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } }).to_string();
        let answer = target.send(&mut connection, Ask::new(Method::POST, NAMESPACE, object("before"))).await.unwrap();
        assert_eq!(answer.status, 201);
        // A cache is made when its kind is first asked for.
        assert_eq!(target.send(&mut connection, Ask::get(NAMESPACE)).await.unwrap().status, 200);

        for how in ["killed", "stopped"] {
            if how == "killed" {
                etcd.kill(0)
            } else {
                etcd.pause(0)
            }
            let path = format!("{NAMESPACE}/before");
            let patch = json!({ "data": { "id": "1" } }).to_string();
            let asks = [
                Ask::new(Method::POST, NAMESPACE, object(&format!("while-{how}"))),
                Ask::new(Method::PATCH, &path, patch),
                Ask::get(&path),
                Ask::get(NAMESPACE),
            ];
            // All at once, so that the test takes the time of one.
            let answers = futures::future::join_all(asks.into_iter().map(|ask| {
                let mut connection = connection.clone();
                let target = target.clone();
                async move { tokio::time::timeout(Duration::from_secs(40), target.send(&mut connection, ask)).await }
            }));
            for answer in answers.await {
                let answer = answer.expect("an answer in bounded time").unwrap();
                let body = answer.json();
                assert!(matches!(answer.status, 500 | 503 | 504), "{how}: {} {body}", answer.status);
                assert_eq!((&body["kind"], &body["status"]), (&json!("Status"), &json!("Failure")), "{how}");
            }
            // What the cache may answer by itself it does, as upstream's.
            let ask = Ask::get("/api/v1/namespaces/default/configmaps?resourceVersion=0");
            assert_eq!(target.send(&mut connection, ask).await.unwrap().status, 200, "{how}");

            if how == "killed" {
                etcd.run(0)
            } else {
                etcd.resume(0)
            }
            let begin = Instant::now();
            loop {
                let patch = json!({ "data": { "after": how } }).to_string();
                let answer = target.send(&mut connection, Ask::new(Method::PATCH, &path, patch)).await.unwrap();
                if answer.status == 200 {
                    break;
                }
                assert!(begin.elapsed() < Duration::from_secs(30), "{how}: {} {}", answer.status, answer.json());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let found: Value = target.send(&mut connection, Ask::get(&path)).await.unwrap().json();
            assert_eq!(found["data"]["after"], how);
        }
    });
}
