//! Watchers as client-go's reflector is one: list, watch from there, go on after a lost connection from the last revision
//! seen, list again when that is too old. And what must be true of all that they saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use crate::history::{Action, Id, Op, Outcome, Revision, Seen};
use crate::load::{NAMESPACE, Shared, seen};
use crate::wire::{Ask, Lines, Target};

/// From one list to the next.
#[derive(Debug, Default)]
pub struct Segment {
    pub list: BTreeMap<String, Seen>,
    pub from: Revision,
    /// In the order they came; over as many connections as it took.
    pub events: Vec<Event>,
    /// Everything up to here has been sent.
    pub until: Revision,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: String,
    pub key: String,
    pub revision: Revision,
    /// For a deletion the last state's.
    pub id: Id,
}

/// Watches until told to stop and until everything up to `last` has been seen.
pub async fn watcher(shared: Arc<Shared>, number: usize, last: tokio::sync::watch::Receiver<Revision>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut turn = number;
    loop {
        let target = &shared.targets[turn % shared.targets.len()];
        if segments.is_empty() || segments.last().is_some_and(|segment| segment.until < 0) {
            match list(target).await {
                Ok(segment) => match segments.last_mut() {
                    Some(expired) if expired.until < 0 => {
                        expired.until = -expired.until;
                        segments.push(segment);
                    }
                    _ => segments.push(segment),
                },
                Err(_) => {
                    turn += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            }
        }
        let segment = segments.last_mut().expect("one has been listed");
        if follow(target, segment, &shared, last.clone()).await.is_err() {
            turn += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if shared.stop.load(Ordering::Relaxed) && segment.until >= *last.borrow() && *last.borrow() > 0 {
            return segments;
        }
    }
}

async fn list(target: &Target) -> anyhow::Result<Segment> {
    let mut connection = target.http1().await?;
    let answer = target.send(&mut connection, Ask::get(NAMESPACE)).await?;
    anyhow::ensure!(answer.status == 200, "{}", answer.status);
    let body = answer.json();
    let from = body["metadata"]["resourceVersion"].as_str().unwrap_or_default().parse()?;
    let items = body["items"].as_array().into_iter().flatten();
    let list = items.filter_map(|item| Some((item["metadata"]["name"].as_str()?.to_owned(), seen(item)?))).collect();
    Ok(Segment { list, from, events: Vec::new(), until: from })
}

/// One connection. An expired segment is marked by turning `until` around.
async fn follow(
    target: &Target,
    segment: &mut Segment,
    shared: &Shared,
    mut last: tokio::sync::watch::Receiver<Revision>,
) -> anyhow::Result<()> {
    let mut connection = target.http1().await?;
    let path =
        format!("{NAMESPACE}?watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion={}", segment.until);
    let response = target.open(&mut connection, Ask::get(&path)).await?;
    if response.status() == 410 {
        segment.until = -segment.until;
        return Ok(());
    }
    anyhow::ensure!(response.status() == 200, "{}", response.status());
    let mut lines = Lines::new(response);
    loop {
        let line = tokio::select! {
            line = lines.next() => line?,
            changed = last.changed() => {
                changed?;
                if segment.until >= *last.borrow() {
                    return Ok(());
                }
                continue;
            }
        };
        let Some(line) = line else { return Ok(()) };
        let event: Value = serde_json::from_slice(&line)?;
        let (kind, object) = (event["type"].as_str().unwrap_or_default(), &event["object"]);
        if kind == "ERROR" {
            assert_eq!(object["code"], 410, "{event}");
            segment.until = -segment.until;
            return Ok(());
        }
        let revision: Revision = object["metadata"]["resourceVersion"].as_str().unwrap_or_default().parse()?;
        if kind != "BOOKMARK" {
            // Another's ConfigMap (the root certificate's) is none of the load's.
            if let (Some(key), Some(state)) = (object["metadata"]["name"].as_str(), seen(object)) {
                let event = Event { kind: kind.to_owned(), key: key.to_owned(), revision, id: state.id };
                segment.events.push(event);
            }
        }
        segment.until = segment.until.max(revision);
        if shared.stop.load(Ordering::Relaxed) && *last.borrow() > 0 && segment.until >= *last.borrow() {
            return Ok(());
        }
    }
}

/// That the streams are in order, without doubles, without gaps, make sense, and agree with each other and with the
/// history.
///
/// # Errors
/// What is wrong first.
pub fn check(streams: &[Vec<Segment>], history: &[Op]) -> Result<(), String> {
    let mut written: BTreeMap<Revision, (&str, Id)> = BTreeMap::new();
    let mut issued: BTreeMap<Id, &str> = BTreeMap::new();
    for op in history {
        if let Action::Create { to } | Action::Update { to, .. } | Action::Patch { to } = op.action {
            issued.insert(to, &op.key);
            if let Outcome::Done(Some(revision)) = op.outcome {
                written.insert(revision, (&op.key, to));
            }
        }
    }
    // What any stream saw at a revision; another must have seen the same there or nothing of the kind.
    let mut told: BTreeMap<Revision, &Event> = BTreeMap::new();
    for segment in streams.iter().flatten() {
        let mut state: BTreeMap<&str, Seen> = segment.list.iter().map(|(key, seen)| (key.as_str(), *seen)).collect();
        let mut reached = segment.from;
        for event in &segment.events {
            if event.revision <= reached {
                return Err(format!("{event:?} came after revision {reached}"));
            }
            reached = event.revision;
            let before = state.get(event.key.as_str()).copied();
            let fits = match event.kind.as_str() {
                "ADDED" => before.is_none(),
                "MODIFIED" => before.is_some(),
                "DELETED" => before.is_some_and(|before| before.id == event.id),
                _ => false,
            };
            if !fits || issued.get(&event.id) != Some(&event.key.as_str()) {
                return Err(format!("{event:?} does not follow from {before:?}"));
            }
            if event.kind == "DELETED" {
                state.remove(event.key.as_str());
            } else {
                state.insert(&event.key, Seen { revision: event.revision, id: event.id });
            }
            if let Some(other) = told.insert(event.revision, event).filter(|other| *other != event) {
                return Err(format!("{event:?} was told to another watcher as {other:?}"));
            }
        }
    }
    let complete = |segment: &Segment| -> Result<(), String> {
        let mut have = segment.events.iter().map(|event| event.revision).peekable();
        let within = |revision: Revision| revision > segment.from && revision <= segment.until;
        // All that was answered, and all that others were told.
        let mut due: Vec<Revision> = written.keys().chain(told.keys()).copied().filter(|r| within(*r)).collect();
        due.sort_unstable();
        due.dedup();
        for revision in due {
            while have.peek().is_some_and(|have| *have < revision) {
                have.next();
            }
            if have.peek() != Some(&revision) {
                let what = (written.get(&revision), told.get(&revision));
                return Err(format!(
                    "a watch from {} to {} missed revision {revision}: {what:?}",
                    segment.from, segment.until
                ));
            }
        }
        Ok(())
    };
    streams.iter().flatten().try_for_each(complete)
}
