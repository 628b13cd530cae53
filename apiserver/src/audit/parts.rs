//! How long the parts of a request took, which is told of requests that took long (upstream `endpoints/request/webhook_duration.go`).
//!
//! Whoever has somebody wait notes how long, in whatever layer it is: it counts for the request of the task that it happens in.
//! What the server does for itself, and what is not logged, counts for nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::Either;

/// Where a request's time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    Authentication,
    Authorization,
    /// Waiting for a seat.
    Queue,
    Mutating,
    Validating,
    Store,
    /// Reading what the store has.
    Decode,
    /// Making what the client wants to see of it.
    Transform,
    Serialize,
    /// Until the client has taken it.
    Write,
}

/// How what is noted of a part several times adds up.
#[derive(Clone, Copy)]
enum How {
    Sum,
    Longest,
}

/// Upstream's names, in the order of [`Part`].
const PARTS: [(&str, How); Part::Write as usize + 1] = [
    ("authentication", How::Sum),
    ("authorization", How::Longest),
    ("apf-queue-wait", How::Longest),
    ("mutating-webhook", How::Sum),
    ("validating-webhook", How::Longest),
    ("etcd", How::Sum),
    ("decode-response-object", How::Sum),
    ("transform-response-object", How::Sum),
    ("serialize-response-object", How::Sum),
    ("response-write", How::Sum),
];

/// The parts of one request, in nanoseconds.
#[derive(Debug, Default)]
pub struct Parts([AtomicU64; PARTS.len()]);

tokio::task_local! {
    static OF_REQUEST: Arc<Parts>;
}

impl Parts {
    pub fn add(&self, part: Part, took: Duration) {
        let (nanoseconds, noted) = (u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), &self.0[part as usize]);
        match PARTS[part as usize].1 {
            How::Sum => noted.fetch_add(nanoseconds, Ordering::Relaxed),
            How::Longest => noted.fetch_max(nanoseconds, Ordering::Relaxed),
        };
    }

    /// Those that took any time.
    pub fn told(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let told = PARTS.iter().zip(&self.0).map(|((name, _), noted)| (*name, noted.load(Ordering::Relaxed)));
        told.filter(|(_, noted)| *noted > 0).map(|(name, noted)| (name, Duration::from_nanos(noted)))
    }
}

/// Carries out a request whose parts are noted, if they are.
pub fn noted<F: Future>(parts: Option<Arc<Parts>>, request: F) -> impl Future<Output = F::Output> {
    match parts {
        Some(parts) => Either::Left(OF_REQUEST.scope(parts, request)),
        None => Either::Right(request),
    }
}

/// Notes a part of this task's request.
pub fn note(part: Part, took: Duration) {
    // Nobody listens, mostly.
    let _ = OF_REQUEST.try_with(|parts| parts.add(part, took));
}

/// Does what is a part of this task's request.
pub fn timed<T>(part: Part, work: impl FnOnce() -> T) -> T {
    let Ok(parts) = OF_REQUEST.try_with(Arc::clone) else { return work() };
    let since = Instant::now();
    let done = work();
    parts.add(part, since.elapsed());
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_add_up_for_their_own_request() {
        const fn millis(millis: u64) -> Duration {
            Duration::from_millis(millis)
        }
        let parts = Arc::new(Parts::default());
        let request = async {
            for part in [Part::Store, Part::Validating] {
                note(part, millis(2));
                tokio::task::yield_now().await;
                note(part, millis(3));
            }
            tokio::spawn(async { note(Part::Queue, millis(1)) }).await.unwrap();
            let begun = Instant::now();
            timed(Part::Serialize, || while begun.elapsed() < millis(1) {});
            noted(None, async { note(Part::Store, millis(4)) }).await;
        };
        noted(Some(parts.clone()), request).await;
        note(Part::Store, millis(9));
        let mut told: Vec<_> = parts.told().collect();
        assert!(told.pop().is_some_and(|(name, took)| name == "serialize-response-object" && !took.is_zero()));
        assert_eq!(told, [("validating-webhook", millis(3)), ("etcd", millis(9))]);
        let names = PARTS.map(|(name, _)| name);
        assert_eq!((names[Part::Queue as usize], names[Part::Write as usize]), ("apf-queue-wait", "response-write"));
    }
}
