//! The embedded backend: the contract, the model, and what only it promises: restarts and its history window.

mod contract;

use contract::{delete, put};
use knetsim_store::embedded::{Embedded, Options};
use knetsim_store::relocated::Relocated;
use knetsim_store::{Store, StoreError};
use proptest::prelude::*;
use std::sync::Arc;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn contract_holds() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    runtime().block_on(contract::run(store));
}

/// The same for those who ask, elsewhere in the store.
#[test]
fn contract_holds_at_another_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    assert!(Arc::ptr_eq(&Relocated::at("registry/", store.clone()), &store));
    runtime().block_on(async {
        contract::run(Relocated::at("/clusters/a", store.clone())).await;
        let own = Relocated::at("clusters/b", store.clone());
        put(&*own, "/registry/pods/a", "1", 0).await;
        assert!(store.get("/clusters/b/pods/a", None).await.unwrap().0.is_some());
        assert_eq!(store.range("/registry", None, 0, None).await.unwrap().count, 0);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn random_operations_match_the_model(ops in contract::model::ops()) {
        let dir = tempfile::tempdir().unwrap();
        // The journal is full every now and then.
        let options = Options { journal_bytes: 1024, ..Options::default() };
        let store = Arc::new(Embedded::open(dir.path(), options).unwrap());
        runtime().block_on(contract::model::check(store, "/registry/model/", ops));
    }
}

#[test]
fn a_restart_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let last = runtime.block_on(async {
        let store = Embedded::open(dir.path(), Options::default()).unwrap();
        let first = put(&store, "/registry/a", "1", 0).await;
        put(&store, "/registry/b", "2", 0).await;
        // The newest record is a deletion, and compacted away: the revision must be remembered all the same.
        let last = delete(&store, "/registry/a", first).await;
        store.compact(last).await.unwrap();
        last
    });
    runtime.block_on(async {
        let store = Embedded::open(dir.path(), Options::default()).unwrap();
        assert_eq!(store.revision().await.unwrap(), last);
        let range = store.range("/registry/", None, 0, None).await.unwrap();
        assert_eq!((range.items.len(), range.revision), (1, last));
        assert_eq!(put(&store, "/registry/c", "3", 0).await, last + 1);
        let past = store.range("/registry/", None, 0, Some(last - 1)).await;
        assert!(matches!(past, Err(StoreError::Compacted { .. })), "{past:?}");
    });
}

#[test]
fn the_past_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = async || Arc::new(Embedded::open(dir.path(), Options::default()).unwrap()) as Arc<dyn Store>;
    runtime().block_on(contract::the_past_survives_a_restart(open));
}

/// What a crash leaves is what is on disk at any moment between two writes: here the folder is copied after each of them.
#[test]
fn a_crash_after_any_write_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { journal_bytes: 1024, ..Options::default() };
    runtime().block_on(async {
        let store = Embedded::open(dir.path(), options).unwrap();
        let mut last = put(&store, "/registry/a", "0", 0).await;
        let mut past = vec![(last, "0".to_owned())];
        for round in 1..40 {
            if round % 7 == 0 {
                last = delete(&store, "/registry/a", last).await;
                assert_eq!(store.get("/registry/a", None).await.unwrap(), (None, last));
                last = put(&store, "/registry/a", &round.to_string(), 0).await;
            } else {
                last = put(&store, "/registry/a", &round.to_string(), last).await;
            }
            let copy = tempfile::tempdir().unwrap();
            for file in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
                std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
            let copy = Embedded::open(copy.path(), options).unwrap();
            past.push((last, round.to_string()));
            for (revision, value) in &past {
                let then = copy.get("/registry/a", Some(*revision)).await.unwrap().0.unwrap();
                assert_eq!((then.mod_revision, &*then.value), (*revision, value.as_bytes()), "after {round} rounds");
            }
            let (found, revision) = copy.get("/registry/a", None).await.unwrap();
            let found = found.unwrap();
            assert_eq!((revision, found.mod_revision, &*found.value), (last, last, round.to_string().as_bytes()));
            assert_eq!(copy.range("/registry/", None, 0, None).await.unwrap().items, [found]);
            assert_eq!(put(&copy, "/registry/b", "x", 0).await, last + 1);
        }
    });
}

/// A crash forgets no deadline.
#[test]
fn a_state_that_ends_does_so_after_a_crash() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    runtime().block_on(async {
        let store = Embedded::open(dir.path(), Options::default()).unwrap();
        store.put_for("/registry/a", "x".into(), 0, std::time::Duration::from_secs(1)).await.unwrap();
        for file in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let copy = Embedded::open(copy.path(), Options::default()).unwrap();
        let revision = copy.revision().await.unwrap();
        let mut events = copy.watch("/registry/a", revision).await.unwrap();
        loop {
            match futures::StreamExt::next(&mut events).await.unwrap().unwrap() {
                knetsim_store::Event::Progress { .. } => {}
                event => break assert!(matches!(event, knetsim_store::Event::Delete { .. }), "{event:?}"),
            }
        }
    });
}

#[test]
fn a_second_open_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    assert!(Embedded::open(dir.path(), Options::default()).is_err());
    drop(store);
    assert!(Embedded::open(dir.path(), Options::default()).is_ok());
}

/// Between a commit and its publication, too.
#[test]
fn what_one_read_saw_the_next_one_knows_of() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    runtime().block_on(async {
        let writer = store.clone();
        let writes = tokio::spawn(async move {
            for round in 0..500 {
                put(&*writer, &format!("/registry/{round}"), "x", 0).await;
            }
        });
        while !writes.is_finished() {
            let (_, seen) = store.get("/registry/0", None).await.unwrap();
            let newest = store.revision().await.unwrap();
            assert!(newest >= seen, "{newest} after {seen}");
            tokio::task::yield_now().await;
        }
        writes.await.unwrap();
        assert_eq!(store.revision().await.unwrap(), store.get("/registry/0", None).await.unwrap().1);
    });
}

#[test]
fn the_history_window_moves_along() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = Embedded::open(dir.path(), Options { history: 10, ..Options::default() }).unwrap();
        let mut last = put(&store, "/registry/a", "0", 0).await;
        let first = last;
        for round in 1..40 {
            last = put(&store, "/registry/a", &round.to_string(), last).await;
        }
        let at = async |revision| store.get("/registry/a", Some(revision)).await;
        assert!(matches!(at(first).await, Err(StoreError::Compacted { .. })));
        assert!(matches!(at(last - 11).await, Err(StoreError::Compacted { requested, oldest }) if requested == last - 11 && oldest == last - 10));
        assert_eq!(&at(last - 10).await.unwrap().0.unwrap().value[..], b"29");
        assert!(store.watch("/registry/", last - 10).await.is_ok());
        assert!(store.watch("/registry/", last - 11).await.is_err());
    });
}

/// What is old goes in lumps, and never more than was asked to be kept.
#[test]
fn a_long_history_is_forgotten_in_lumps() {
    const HISTORY: i64 = 96;
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = Embedded::open(dir.path(), Options { history: HISTORY, ..Options::default() }).unwrap();
        let (mut last, mut lengths) = (0, std::collections::BTreeSet::new());
        for round in 0..3 * HISTORY {
            last = put(&store, "/registry/a", &round.to_string(), last).await;
            if let Err(StoreError::Compacted { oldest, .. }) = store.get("/registry/a", Some(1)).await {
                lengths.insert(last - oldest);
            }
        }
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), (HISTORY..=HISTORY + HISTORY / 32).collect::<Vec<_>>());
    });
}
