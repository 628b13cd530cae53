//! A watch: events in the order they come.

use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use tokio::time::Instant;

use super::PATIENCE;

/// One frame of a watch.
#[derive(Clone, Debug)]
pub struct Event {
    /// ADDED, MODIFIED, DELETED, BOOKMARK, ERROR
    pub kind: String,
    pub object: Value,
}

impl Event {
    #[must_use]
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    #[must_use]
    pub fn revision(&self) -> &str {
        self.object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }
}

/// An open watch; dropping it ends it.
pub struct Watch {
    what: String,
    body: Body,
    read: Vec<u8>,
    /// What came so far, for messages.
    seen: Vec<String>,
}

impl Watch {
    pub(super) fn new(what: String, body: Body) -> Self {
        Self { what, body, read: Vec::new(), seen: Vec::new() }
    }

    /// The next event, `None` at the stream's end.
    ///
    /// # Errors
    /// The connection fails, or what comes is no event.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let mut frame: Value = serde_json::from_slice(&line)
                    .with_context(|| format!("watch {}: {}", self.what, String::from_utf8_lossy(&line)))?;
                let event = Event {
                    kind: frame["type"].as_str().unwrap_or_default().to_owned(),
                    object: frame["object"].take(),
                };
                self.seen.push(format!("{} {} {}", event.kind, event.name(), event.revision()));
                return Ok(Some(event));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let frame = frame.with_context(|| format!("watch {}", self.what))?;
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// The next event, which must come in time.
    ///
    /// # Errors
    /// None comes.
    pub async fn expect_next(&mut self) -> anyhow::Result<Event> {
        self.until("any event", |_| true).await
    }

    /// Events are passed over until one is as wanted.
    ///
    /// # Errors
    /// None comes in time, or the watch ends; the message says what came instead.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> anyhow::Result<Event> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(Ok(Some(event))) if wanted(&event) => return Ok(event),
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => bail!("the watch of {} ended without {what}; it told {:?}", self.what, self.seen),
                Ok(Err(error)) => return Err(error),
                Err(_) => bail!("the watch of {} told nothing of {what}; it told {:?}", self.what, self.seen),
            }
        }
    }

    /// The next event, which must be of this kind.
    ///
    /// # Errors
    /// Another comes, or none.
    pub async fn expect(&mut self, kind: &str) -> anyhow::Result<Event> {
        let event = self.expect_next().await?;
        if event.kind != kind {
            bail!("the watch of {} should tell {kind} and tells {}: {}", self.what, event.kind, event.object);
        }
        Ok(event)
    }

    /// No event may come for a while.
    ///
    /// # Errors
    /// One does.
    pub async fn expect_silence(&mut self, length: Duration) -> anyhow::Result<()> {
        match tokio::time::timeout(length, self.next()).await {
            Err(_) | Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(event))) => {
                bail!("the watch of {} should be silent and tells {} {}", self.what, event.kind, event.object)
            }
            Ok(Err(error)) => Err(error),
        }
    }
}
