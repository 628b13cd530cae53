//! A closed loop of clients over one HTTP/2 connection: each sends its next request when it has its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use http::Method;

use super::wire::{Ask, Target};

/// One request of a measurement.
pub struct Request {
    pub method: Method,
    pub path: String,
    pub content_type: &'static str,
    pub accept: &'static str,
    pub body: Bytes,
}

impl Request {
    pub fn get(path: impl Into<String>, accept: &'static str) -> Self {
        Self { method: Method::GET, path: path.into(), content_type: JSON, accept, body: Bytes::new() }
    }

    pub fn new(method: Method, path: impl Into<String>, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { method, path: path.into(), content_type, accept: JSON, body: body.into() }
    }
}

pub const JSON: &str = "application/json";

/// What came of it.
pub struct Outcome {
    /// Milliseconds a request.
    pub times: Vec<f64>,
    pub wall: Duration,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        // Counts are far below 2^52.
        #[expect(clippy::cast_precision_loss)]
        let count = self.times.len() as f64;
        count / self.wall.as_secs_f64()
    }
}

/// Sends `count` requests, the n-th made by `make(n)`, from so many clients, for `limit` at most.
///
/// # Errors
/// An answer that is no success, or none.
pub async fn run(
    target: &Target,
    clients: usize,
    count: usize,
    limit: Duration,
    make: impl Fn(usize) -> Request + Send + Sync + 'static,
) -> anyhow::Result<Outcome> {
    let connection = target.http2().await?;
    let (next, make) = (Arc::new(AtomicUsize::new(0)), Arc::new(make));
    let begin = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (target, mut connection) = (target.clone(), connection.clone());
        let (next, make) = (next.clone(), make.clone());
        workers.spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count || begin.elapsed() > limit {
                    return anyhow::Ok(times);
                }
                let request = make(number);
                let sent = Instant::now();
                let ask = Ask {
                    method: request.method,
                    path: &request.path,
                    content_type: request.content_type,
                    accept: request.accept,
                    body: request.body,
                };
                let answer = target.send(&mut connection, ask).await?;
                ensure!(answer.status < 300, "{} {}: {}", answer.status, request.path, answer.json());
                times.push(sent.elapsed().as_secs_f64() * 1000.0);
            }
        });
    }
    let mut times = Vec::with_capacity(count);
    while let Some(worker) = workers.join_next().await {
        times.extend(worker??);
    }
    Ok(Outcome { times, wall: begin.elapsed() })
}
