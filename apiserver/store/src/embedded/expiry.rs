//! The clock of states that end: a thread that sleeps until the earliest deadline, and then has the writer delete what is due.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::sync::mpsc::WeakSender;

use super::writer::Command;

/// How the writer tells the clock of the earliest deadline.
pub(super) struct Deadlines {
    known: Option<u64>,
    clock: Sender<Option<u64>>,
}

impl Deadlines {
    /// Starts the clock, which ends with the store.
    pub fn start(earliest: Option<u64>, commands: WeakSender<Command>) -> anyhow::Result<Self> {
        let (clock, told) = channel();
        std::thread::Builder::new()
            .name("store-clock".into())
            .spawn(move || run(earliest, &told, &commands))
            .context("start the store's clock")?;
        Ok(Self { known: earliest, clock })
    }

    /// The clock has asked for what is due, and waits to be told what comes next.
    pub fn asked(&mut self) {
        self.known = None;
    }

    /// The earliest deadline there is now.
    pub fn next(&mut self, earliest: Option<u64>) {
        if self.known != earliest {
            self.known = earliest;
            // The clock only ends after the writer.
            let _ = self.clock.send(earliest);
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn run(mut earliest: Option<u64>, told: &Receiver<Option<u64>>, commands: &WeakSender<Command>) {
    loop {
        let result = match earliest {
            Some(at) => told.recv_timeout(left(at)),
            None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match result {
            Ok(next) => earliest = next,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let now = now();
                if earliest.is_some_and(|at| at > now) {
                    continue;
                }
                let Some(commands) = commands.upgrade() else { return };
                if commands.blocking_send(Command::Expire { now }).is_err() {
                    return;
                }
                drop(commands);
                // The writer tells what is the earliest now; until then there is nothing to do.
                earliest = None;
            }
        }
    }
}

/// How long until `at` is over. Never zero, so that a clock that was set back does not spin.
fn left(at: u64) -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(at).saturating_sub(since).max(Duration::from_millis(1))
}
