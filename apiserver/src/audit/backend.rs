//! What events are given to: the log or a webhook, at once or through a bounded buffer (`apiserver/plugin/pkg/audit`).
//!
//! ```text
//!  Trail ── batch ──> buffer (bounded; full: dropped, counted) ──> batches ── throttle ──> Target
//!        └─ blocking ───────────────────────────────────────────────────────────────────> Target
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::file;
use super::flags::{Batching, Format, Mode};
use super::legacy;
use super::line;
use super::truncate::Truncation;
use super::webhook::Webhook;

/// An event as it is told.
pub type Event = Arc<Value>;

/// So many batches are under way at once where that is allowed; what comes then waits in the buffer.
const CONCURRENT: u32 = 8;

pub enum Target {
    Log(Mutex<file::Target>, Format),
    Webhook(Box<Webhook>),
}

impl Target {
    fn write(file: &Mutex<file::Target>, format: Format, events: &[Event]) -> Result<(), String> {
        let now = Timestamp::now();
        for event in events {
            let mut line = match format {
                Format::Json => line::line(event),
                Format::Legacy => legacy::line(event).into_bytes(),
            };
            line.push(b'\n');
            file.lock().write(&line, now).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn process(&self, events: &[Event], stop: &CancellationToken) -> Result<(), String> {
        match self {
            Self::Log(file, format) => Self::write(file, *format, events),
            Self::Webhook(webhook) => webhook.post(events, stop).await,
        }
    }
}

pub struct Backend {
    name: &'static str,
    mode: Mode,
    target: Arc<Target>,
    /// Events that were not told.
    errors: Arc<AtomicU64>,
    buffer: Option<mpsc::Sender<Event>>,
    task: Mutex<Option<JoinHandle<()>>>,
    stop: CancellationToken,
    truncation: Option<Truncation>,
}

/// What became of an event so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Done,
    /// This is to be given to [`Backend::tell`].
    Owed(Event),
    /// The request must not go on without it.
    Refused,
}

impl Backend {
    /// Starts the task that makes batches, where there are any; it needs a runtime.
    pub fn start(name: &'static str, target: Target, mode: Mode, batching: Batching) -> Self {
        let (target, errors, stop) = (Arc::new(target), Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let (mut buffer, mut task) = (None, None);
        let truncation = batching.truncation.map(Truncation::new);
        if mode == Mode::Batch {
            let (sender, receiver) = mpsc::channel(batching.buffer);
            buffer = Some(sender);
            let batches = Batches {
                name,
                target: target.clone(),
                errors: errors.clone(),
                receiver,
                batching,
                stop: stop.clone(),
            };
            task = Some(tokio::spawn(batches.run()));
        }
        Self { name, mode, target, errors, buffer, task: Mutex::new(task), stop, truncation }
    }

    /// Takes an event, without waiting for anybody.
    pub fn offer(&self, event: &Event) -> Told {
        let event = match &self.truncation {
            None => event.clone(),
            // What cannot be told is nobody's fault who asked.
            Some(truncation) => match truncation.fit(event) {
                Some(event) => event,
                None => return Told::Done,
            },
        };
        match (&self.buffer, &*self.target) {
            (Some(buffer), _) => {
                if buffer.try_send(event).is_err() {
                    failed(self.name, &self.errors, 1, "audit buffer queue blocked");
                }
                Told::Done
            }
            (None, Target::Log(file, format)) => {
                let written = Target::write(file, *format, std::slice::from_ref(&event));
                self.judge(1, written)
            }
            (None, Target::Webhook(_)) => Told::Owed(event),
        }
    }

    /// Tells what is owed.
    pub async fn tell(&self, events: &[Event]) -> Told {
        let told = self.target.process(events, &self.stop).await;
        self.judge(events.len(), told)
    }

    fn judge(&self, events: usize, told: Result<(), String>) -> Told {
        match told {
            Ok(()) => Told::Done,
            Err(why) => {
                failed(self.name, &self.errors, events, &why);
                if self.mode == Mode::BlockingStrict { Told::Refused } else { Told::Done }
            }
        }
    }

    /// Sends what is in the buffer, and takes no more.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        let task = self.task.lock().take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }

    /// The backend's name and how many events it has lost.
    pub fn lost(&self) -> (&'static str, u64) {
        (self.name, self.errors.load(Ordering::Relaxed))
    }

    /// How many events were too large; none where any may be.
    pub fn too_large(&self) -> Option<u64> {
        self.truncation.as_ref().map(Truncation::dropped)
    }
}

fn failed(name: &str, errors: &AtomicU64, events: usize, why: &str) {
    errors.fetch_add(events as u64, Ordering::Relaxed);
    tracing::error!(plugin = name, events, why, "audit events were not told");
}

struct Batches {
    name: &'static str,
    target: Arc<Target>,
    errors: Arc<AtomicU64>,
    receiver: mpsc::Receiver<Event>,
    batching: Batching,
    stop: CancellationToken,
}

impl Batches {
    async fn run(mut self) {
        let mut throttle = self.batching.throttle.map(|(qps, burst)| Throttle::new(qps, burst, Instant::now()));
        let room = Arc::new(Semaphore::new(CONCURRENT as usize));
        while let Some(batch) = self.collect().await {
            if let Some(throttle) = &mut throttle {
                let at = throttle.next(Instant::now());
                // Who is about to end does not wait any more.
                tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.stop.cancelled() => {}
                }
            }
            let (name, target, errors, stop) = (self.name, self.target.clone(), self.errors.clone(), self.stop.clone());
            let send = async move {
                if let Err(why) = target.process(&batch, &stop).await {
                    failed(name, &errors, batch.len(), &why);
                }
            };
            if self.batching.concurrent {
                let Ok(place) = room.clone().acquire_owned().await else { return };
                tokio::spawn(async move {
                    send.await;
                    drop(place);
                });
            } else {
                send.await;
            }
        }
        // All that is under way has come to its end when there is room for as many again.
        let _ = room.acquire_many(CONCURRENT).await;
    }

    /// The next batch: full, or as much as came in its time; `None` when there will be no more.
    async fn collect(&mut self) -> Option<Vec<Event>> {
        let first = tokio::select! {
            first = self.receiver.recv() => first,
            () = self.stop.cancelled() => {
                self.receiver.close();
                self.receiver.recv().await
            }
        }?;
        let mut batch = vec![first];
        let end = Instant::now() + self.batching.max_wait;
        while batch.len() < self.batching.max_size {
            let next = tokio::select! {
                biased;
                next = timeout_at(end, self.receiver.recv()) => next.ok().flatten(),
                () = self.stop.cancelled() => self.receiver.try_recv().ok(),
            };
            match next {
                Some(event) => batch.push(event),
                None => break,
            }
        }
        Some(batch)
    }
}

/// A token bucket: so many a second, so many at once after a rest.
struct Throttle {
    interval: Duration,
    burst: f64,
    /// When the bucket was, or will be, empty.
    empty: Instant,
}

impl Throttle {
    fn new(qps: f64, burst: f64, now: Instant) -> Self {
        // Slower than once a day is never; longer times would not even be times.
        let interval = Duration::from_secs_f64((1.0 / qps).min(86_400.0));
        let mut this = Self { interval, burst, empty: now };
        this.empty = this.fullest(now);
        this
    }

    /// When a bucket that is full now was empty.
    fn fullest(&self, now: Instant) -> Instant {
        now.checked_sub(self.interval.mul_f64(self.burst)).unwrap_or(now)
    }

    /// When the next may go.
    fn next(&mut self, now: Instant) -> Instant {
        self.empty = self.empty.max(self.fullest(now)) + self.interval;
        self.empty.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_lets_a_burst_through_and_then_its_rate() {
        let start = Instant::now() + Duration::from_secs(3600);
        let mut throttle = Throttle::new(10.0, 3.0, start);
        let waits: Vec<u128> = (0..5).map(|_| (throttle.next(start) - start).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        let later = start + Duration::from_secs(10);
        assert_eq!(throttle.next(later), later);
    }

    fn log(dir: &std::path::Path, mode: Mode, buffer: usize, max_size: usize) -> Backend {
        let file = file::Target::open(&dir.join("log"), file::Limits::default()).unwrap();
        let max_wait = Duration::from_secs(3600);
        let batching = Batching { buffer, max_size, max_wait, throttle: None, concurrent: false, truncation: None };
        Backend::start("log", Target::Log(Mutex::new(file), Format::Json), mode, batching)
    }

    #[tokio::test]
    async fn a_full_buffer_drops_and_counts_and_the_rest_is_told_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let backend = log(dir.path(), Mode::Batch, 2, 100);
        let event = |at: i32| Arc::new(serde_json::json!({ "at": at }));
        // Nothing is taken out of the buffer before this task yields.
        for at in 0..5 {
            assert_eq!(backend.offer(&event(at)), Told::Done);
        }
        assert_eq!(backend.lost(), ("log", 3));
        backend.shutdown().await;
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert_eq!(text, "{\"at\":0}\n{\"at\":1}\n");
    }

    #[tokio::test]
    async fn a_blocking_log_is_written_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let backend = log(dir.path(), Mode::Blocking, 1, 1);
        assert_eq!(backend.offer(&Arc::new(serde_json::json!({}))), Told::Done);
        assert_eq!(std::fs::read_to_string(dir.path().join("log")).unwrap(), "{}\n");
    }
}
