//! `kill -9` while writing: whatever was answered is there afterwards.
//!
//! The test starts itself once more as the writer, which prints each answered write, and kills it in the middle.

mod contract;

use bytes::Bytes;
use knetsim_store::embedded::{Embedded, Options};
use knetsim_store::{Store, WriteOutcome};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

const FOLDER: &str = "KNETSIM_STORE_TEST_FOLDER";
const WRITERS: usize = 4;
const KEYS: usize = 8;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
#[ignore = "the child process of answered_writes_survive_kill"]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    runtime().block_on(async {
        let store = Arc::new(Embedded::open(folder.as_ref(), Options { history: 50, ..Options::default() }).unwrap());
        let writers = (0..WRITERS).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0.. {
                    let key = format!("/registry/{writer}/{}", round % KEYS);
                    let current = store.get(&key, None).await.unwrap().0.map_or(0, |kv| kv.mod_revision);
                    let delete = round % 5 == 4 && current > 0;
                    let outcome = match delete {
                        true => store.delete(&key, current).await,
                        false => store.put(&key, Bytes::from(vec![b'x'; round % 3000]), current).await,
                    };
                    let Ok(WriteOutcome::Done(revision)) = outcome else { panic!("{outcome:?}") };
                    writeln!(std::io::stdout().lock(), "\n@ {key} {revision} {}", !delete).unwrap();
                }
            })
        });
        futures::future::join_all(writers).await;
    });
}

#[test]
fn answered_writes_survive_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut newest = 0;
    // The last answered state of each key: its revision, and whether it is there.
    let mut answered: HashMap<String, (i64, bool)> = HashMap::new();
    for lines in [40, 150, 300] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--ignored", "--nocapture"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap_or_default();
            let words: Vec<_> = line.split(' ').collect();
            // What the kill cut off has not been answered completely.
            if let ["@", key, revision, there @ ("true" | "false")] = words[..] {
                let revision = revision.parse().unwrap();
                answered.insert(key.to_owned(), (revision, there == "true"));
                newest = newest.max(revision);
                seen += 1;
                if seen == lines {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(seen >= lines, "the writer ended by itself after {seen} writes");

        runtime().block_on(async {
            let store = Embedded::open(dir.path(), Options { history: 50, ..Options::default() }).unwrap();
            assert!(store.revision().await.unwrap() >= newest, "revisions never go backwards");
            for (key, (revision, there)) in &answered {
                // A later write may have been committed without its answer having been seen.
                match store.get(key, None).await.unwrap().0 {
                    Some(kv) if kv.mod_revision == *revision => assert!(there, "{key}"),
                    Some(kv) => {
                        assert!(kv.mod_revision > *revision, "{key} is at {} before {revision}", kv.mod_revision)
                    }
                    None if *there => assert!(store.revision().await.unwrap() > *revision, "{key} is lost"),
                    None => {}
                }
            }
            let range = store.range("/registry/", None, 0, None).await.unwrap();
            assert!(range.items.iter().all(|kv| kv.mod_revision <= range.revision));
            let last = contract::put(&store, &format!("/registry/check/{lines}"), "x", 0).await;
            newest = newest.max(last);
        });
    }
}
