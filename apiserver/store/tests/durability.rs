//! `kill -9` while writing: whatever was answered is there afterwards, and the history of every key is linearizable.
//!
//! The test starts itself once more as the writer and kills it at a random moment, again and again. The writer prints a
//! line before each call and one after each answer; the pipe keeps their order, so a line's number is its time.
//!
//! `KNETSIM_SAFETY_SECONDS` says how long it goes on (default 8).

#[path = "../../tests/safety/history.rs"]
mod history;

use bytes::Bytes;
use history::{Action, Op, Outcome, Seen};
use knetsim_store::embedded::{Embedded, Options};
use knetsim_store::{KeyValue, Store, StoreError, WriteOutcome};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const FOLDER: &str = "KNETSIM_STORE_TEST_FOLDER";
const ROUND: &str = "KNETSIM_STORE_TEST_ROUND";
const WRITERS: u64 = 4;
/// Names change after so many rounds, so that no history becomes long.
const ROUNDS_A_NAME: u64 = 8;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn open(dir: &Path) -> Embedded {
    // A short history, so that compaction is interrupted too, and a journal of a few writes.
    Embedded::open(dir, Options { history: 50, journal_bytes: 8192, ..Options::default() }).unwrap()
}

fn seen(found: Option<&KeyValue>) -> Option<Seen> {
    let id = |kv: &KeyValue| std::str::from_utf8(&kv.value).unwrap().split(' ').next().unwrap().parse().unwrap();
    found.map(|kv| Seen { revision: kv.mod_revision, id: id(kv) })
}

/// The value holds the id, and is of different lengths.
fn value(id: u64) -> Bytes {
    format!("{id} {}", "x".repeat(usize::try_from(id % 3000).unwrap())).into()
}

fn line(text: &str) {
    // One write a line: what a kill cuts off has not been said.
    let _ = std::io::stdout().lock().write_all(format!("\n@ {text}\n").as_bytes());
}

#[test]
#[ignore = "the child process of answered_writes_survive_kill"]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    runtime().block_on(async {
        let store = Arc::new(open(folder.as_ref()));
        let writers = (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), round, writer)));
        futures::future::join_all(writers).await;
    });
}

async fn write(store: Arc<Embedded>, round: u64, writer: u64) {
    for step in 0_u64.. {
        // Unlike every other of the whole test.
        let id = round << 32 | writer << 24 | step;
        let key = format!("/registry/{}/{}", round / ROUNDS_A_NAME, (step * 7 + writer) % 5);
        line(&format!("> {id} read 0 {key}"));
        let found = seen(store.get(&key, None).await.unwrap().0.as_ref());
        let text = found.map_or("none".to_owned(), |seen| format!("{} {}", seen.revision, seen.id));
        line(&format!("< {id} found {text}"));

        let id = id | 1 << 63;
        let expected = found.map_or(0, |seen| seen.revision);
        let delete = step % 5 == 4 && expected > 0;
        let what = if delete { "delete" } else { "put" };
        line(&format!("> {id} {what} {expected} {key}"));
        let outcome =
            if delete { store.delete(&key, expected).await } else { store.put(&key, value(id), expected).await };
        match outcome {
            Ok(WriteOutcome::Done(revision)) => line(&format!("< {id} done {revision}")),
            Ok(WriteOutcome::Conflict(Some(_))) => line(&format!("< {id} conflict")),
            Ok(WriteOutcome::Conflict(None)) => line(&format!("< {id} missing")),
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What was said, put together.
#[derive(Default)]
struct Transcript {
    time: u64,
    ops: Vec<Op>,
    open: BTreeMap<u64, usize>,
}

impl Transcript {
    fn note(&mut self, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| words[at].parse::<i64>().unwrap();
        self.time += 1;
        match words[..] {
            ["@", ">", id, what, expected, key] => {
                let (id, from): (u64, i64) = (id.parse().unwrap(), expected.parse().unwrap());
                let action = match (what, from) {
                    ("read", _) => Action::Read,
                    ("delete", from) => Action::Delete { from },
                    (_, 0) => Action::Create { to: id },
                    (_, from) => Action::Update { from, to: id },
                };
                let op = Op {
                    key: key.to_owned(),
                    action,
                    outcome: Outcome::Unknown,
                    called: self.time,
                    returned: u64::MAX,
                };
                self.open.insert(id, self.ops.len());
                self.ops.push(op);
            }
            ["@", "<", id, what, ..] => {
                let at = self.open.remove(&id.parse().unwrap()).unwrap();
                let op = &mut self.ops[at];
                op.returned = self.time;
                op.outcome = match (what, op.action) {
                    ("found", _) if words[4] == "none" => Outcome::Read(None),
                    ("found", _) => Outcome::Read(Some(Seen { revision: number(4), id: words[5].parse().unwrap() })),
                    ("done", Action::Delete { .. }) => Outcome::Done(None),
                    ("done", _) => Outcome::Done(Some(number(4))),
                    (_, Action::Create { .. }) => Outcome::Exists,
                    ("missing", _) => Outcome::Missing,
                    _ => Outcome::Conflict,
                };
            }
            // The test harness talks too, and a kill may cut a line.
            _ => {}
        }
    }

    /// The last word, by a reader after all kills.
    fn read(&mut self, key: &str, found: Option<Seen>) {
        self.time += 2;
        let (called, returned) = (self.time - 1, self.time);
        let (action, outcome) = (Action::Read, Outcome::Read(found));
        self.ops.push(Op { key: key.to_owned(), action, outcome, called, returned });
    }
}

#[test]
fn answered_writes_survive_kill() {
    let seconds = std::env::var("KNETSIM_SAFETY_SECONDS").map_or(8, |text| text.parse().unwrap());
    let (dir, begin) = (tempfile::tempdir().unwrap(), Instant::now());
    let mut transcript = Transcript::default();
    let mut round = 0_u64;
    while begin.elapsed() < Duration::from_secs(seconds) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--ignored", "--nocapture"])
            .env(FOLDER, dir.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // At a random moment of its life, from the first line on.
        let random = u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()) % 50;
        let mut until = None;
        let mut killed = false;
        for text in lines.by_ref().map_while(Result::ok) {
            transcript.note(&text);
            let at = *until.get_or_insert_with(|| Instant::now() + Duration::from_millis(random));
            if !killed && Instant::now() >= at {
                child.kill().unwrap();
                killed = true;
            }
        }
        let status = child.wait().unwrap();
        assert!(killed, "the writer ended by itself: {status}");
        round += 1;
    }
    let mut ops = std::mem::take(&mut transcript.ops);
    let mut keys: Vec<String> = ops.iter().map(|op| op.key.clone()).collect();
    keys.sort();
    keys.dedup();
    let newest =
        ops.iter().filter_map(|op| if let Outcome::Done(revision) = op.outcome { revision } else { None }).max();
    runtime().block_on(async {
        let store = open(dir.path());
        assert!(Some(store.revision().await.unwrap()) >= newest, "revisions never go backwards");
        for key in &keys {
            transcript.read(key, seen(store.get(key, None).await.unwrap().0.as_ref()));
        }
        let range = store.range("/registry/", None, 0, None).await.unwrap();
        assert!(range.items.iter().all(|kv| kv.mod_revision <= range.revision));
        let next = store.put("/registry/check", value(1), 0).await.unwrap();
        assert!(matches!(next, WriteOutcome::Done(revision) if Some(revision) > newest));
    });
    ops.extend(transcript.ops);
    // A read whose answer was lost says nothing.
    ops.retain(|op| (op.action, op.outcome) != (Action::Read, Outcome::Unknown));
    println!("{round} kills, {} operations over {} keys", ops.len(), keys.len());
    assert!(round > 3 && ops.len() > 100);
    history::check(&ops).unwrap();
}
