//! The loop every controller runs in.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{ApiError, Queue};

/// Nothing more to do, or the time after which to look again; an error brings the key back after a back-off.
pub type Outcome = Result<Option<Duration>, kube::Error>;

/// Brings one object (named by its key) to its desired state. A missing object is a normal case, not an error.
pub trait Controller: Send + Sync + 'static {
    const NAME: &'static str;
    fn sync(&self, key: &str) -> impl Future<Output = Outcome> + Send;
}

/// The controllers' queues, by the controllers' names.
pub type Queues = Arc<Mutex<Vec<(&'static str, Arc<Queue>)>>>;

/// What workers wait at, and where queues are made known.
#[derive(Clone)]
pub struct Gate {
    /// Turns true when every kind has been listed: before that, nothing may be concluded from an object's absence.
    pub listed: watch::Receiver<bool>,
    pub queues: Queues,
}

/// Starts `workers` tasks that take keys from `queue` once `gate` is open. They end with the runtime.
pub fn drive<C: Controller>(gate: &Gate, controller: &Arc<C>, queue: &Arc<Queue>, workers: usize) {
    gate.queues.lock().push((C::NAME, queue.clone()));
    for _ in 0..workers {
        let (mut listed, controller, queue) = (gate.listed.clone(), controller.clone(), queue.clone());
        tokio::spawn(async move {
            if listed.wait_for(|open| *open).await.is_err() {
                return;
            }
            loop {
                let key = queue.next().await;
                match controller.sync(&key).await {
                    Ok(again) => {
                        queue.done(&key);
                        if let Some(delay) = again {
                            queue.add_after(&key, delay);
                        }
                    }
                    Err(error) => {
                        let delay = queue.failed(&key);
                        if error.is_conflict() || error.is_not_found() {
                            tracing::debug!(controller = C::NAME, key, %error, ?delay, "will try again");
                        } else {
                            tracing::warn!(controller = C::NAME, key, %error, ?delay, "will try again");
                        }
                    }
                }
            }
        });
    }
}
