//! The load: workers that create, update, patch, delete and read a few ConfigMaps, and write down what they saw.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::history::{Action, Id, Op, Outcome, Revision, Seen};
use crate::wire::{Answer, Ask, Connection, Target};

pub const NAMESPACE: &str = "/api/v1/namespaces/default/configmaps";
/// A request without an answer after this long has an unknown outcome.
const PATIENCE: Duration = Duration::from_secs(12);

/// What all workers share.
pub struct Shared {
    /// Where requests may go; each worker takes the next one when its connection breaks.
    pub targets: Vec<Target>,
    pub stop: AtomicBool,
    /// Names change with it, so that no key's history becomes long.
    pub epoch: AtomicU64,
    begin: Instant,
    ids: AtomicU64,
}

impl Shared {
    pub fn new(targets: Vec<Target>) -> Arc<Self> {
        Arc::new(Self {
            targets,
            stop: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            begin: Instant::now(),
            ids: AtomicU64::new(1),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).expect("a test takes less than 584 years")
    }
}

/// A small generator of numbers (splitmix64); a failing test prints its seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// How many names a worker chooses from at a time.
const NAMES: u64 = 4;

pub fn name(epoch: u64, number: u64) -> String {
    format!("k{epoch}-{number}")
}

/// The state that a ConfigMap of the load has.
pub fn seen(object: &Value) -> Option<Seen> {
    let revision = object["metadata"]["resourceVersion"].as_str()?.parse().ok()?;
    Some(Seen { revision, id: object["data"]["id"].as_str()?.parse().ok()? })
}

/// Works until told to stop; returns what it saw.
pub async fn worker(shared: Arc<Shared>, number: usize, seed: u64) -> Vec<Op> {
    let mut random = Random(seed.wrapping_add(number as u64));
    let mut ops = Vec::new();
    let mut known: HashMap<String, Seen> = HashMap::new();
    let mut turn = number;
    let mut connection: Option<Connection> = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let target = &shared.targets[turn % shared.targets.len()];
        let Some(open) = &mut connection else {
            connection = target.http1().await.ok();
            if connection.is_none() {
                turn += 1;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            continue;
        };
        let key = name(shared.epoch.load(Ordering::Relaxed), random.below(NAMES));
        let action = choose(&shared, &mut random, known.get(&key).copied());
        let called = shared.now();
        let asked = tokio::time::timeout(PATIENCE, ask(target, open, &key, action)).await;
        let (outcome, broken) = match asked {
            Ok(Ok(answer)) => (outcome(action, &answer), false),
            _ => (Outcome::Unknown, true),
        };
        if broken {
            connection = None;
            turn += 1;
        }
        match (action, outcome) {
            (_, Outcome::Read(Some(seen))) => drop(known.insert(key.clone(), seen)),
            (
                Action::Create { to } | Action::Update { to, .. } | Action::Patch { to },
                Outcome::Done(Some(revision)),
            ) => drop(known.insert(key.clone(), Seen { revision, id: to })),
            (_, Outcome::Conflict | Outcome::Missing | Outcome::Exists | Outcome::Done(None) | Outcome::Read(None)) => {
                known.remove(&key);
            }
            _ => {}
        }
        let returned = if outcome == Outcome::Unknown { u64::MAX } else { shared.now() };
        // A read whose answer was lost says nothing.
        if (action, outcome) != (Action::Read, Outcome::Unknown) {
            ops.push(Op { key, action, outcome, called, returned });
        }
    }
    ops
}

fn choose(shared: &Shared, random: &mut Random, known: Option<Seen>) -> Action {
    let next = || -> Id { shared.ids.fetch_add(1, Ordering::Relaxed) };
    let from = known.map(|seen| seen.revision);
    match (random.below(10), from) {
        (0..=2, Some(from)) => Action::Update { from, to: next() },
        (3, Some(from)) => Action::Delete { from },
        (4..=5, _) => Action::Patch { to: next() },
        (6..=7, _) => Action::Read,
        (8..=9, Some(from)) => Action::Update { from, to: next() },
        _ => Action::Create { to: next() },
    }
}

async fn ask(target: &Target, connection: &mut Connection, name: &str, action: Action) -> anyhow::Result<Answer> {
    let path = format!("{NAMESPACE}/{name}");
    let object = |id: Id, from: Option<Revision>| {
        let mut metadata = json!({ "name": name });
        if let Some(from) = from {
            metadata["resourceVersion"] = from.to_string().into();
        }
        let object =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "id": id.to_string() } });
        object.to_string()
    };
    let ask = match action {
        Action::Read => Ask::get(&path),
        Action::Create { to } => Ask::new(Method::POST, NAMESPACE, object(to, None)),
        Action::Update { from, to } => Ask::new(Method::PUT, &path, object(to, Some(from))),
        Action::Patch { to } => Ask::new(Method::PATCH, &path, json!({ "data": { "id": to.to_string() } }).to_string()),
        Action::Delete { from } => {
            let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "preconditions": { "resourceVersion": from.to_string() } });
            Ask::new(Method::DELETE, &path, options.to_string())
        }
    };
    target.send(connection, ask).await
}

fn outcome(action: Action, answer: &Answer) -> Outcome {
    let body = answer.json();
    match (action, answer.status, body["reason"].as_str()) {
        (Action::Read, 200, _) => seen(&body).map_or(Outcome::Unknown, |seen| Outcome::Read(Some(seen))),
        (Action::Read, 404, _) => Outcome::Read(None),
        (Action::Delete { .. }, 200, _) => Outcome::Done(None),
        (_, 200 | 201, _) => Outcome::Done(seen(&body).map(|seen| seen.revision)),
        (_, 404, _) => Outcome::Missing,
        (_, 409, Some("AlreadyExists")) => Outcome::Exists,
        // An unconditional patch that always lost its races has not been done.
        (Action::Update { .. } | Action::Delete { .. }, 409, Some("Conflict")) => Outcome::Conflict,
        // 5xx and 429: with a Status, and as good as no answer. Whatever else comes is a defect.
        (_, 429 | 500 | 503 | 504, Some(_)) => Outcome::Unknown,
        (action, status, _) => panic!("{action:?} was answered with {status}: {body}"),
    }
}

/// The last word: what is there of every key that the history names, appended to it.
pub async fn read_all(shared: &Shared, history: &mut Vec<Op>) {
    let keys: std::collections::BTreeSet<String> = history.iter().map(|op| op.key.clone()).collect();
    for target in &shared.targets {
        let mut connection = target.http1().await.unwrap();
        for key in &keys {
            let called = shared.now();
            let answer = ask(target, &mut connection, key, Action::Read).await.unwrap();
            let outcome = outcome(Action::Read, &answer);
            assert_ne!(outcome, Outcome::Unknown, "{key}: {} {}", answer.status, answer.json());
            history.push(Op { key: key.clone(), action: Action::Read, outcome, called, returned: shared.now() });
        }
    }
}
