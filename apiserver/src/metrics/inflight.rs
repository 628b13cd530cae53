//! How many requests are being served at once: of the last second, the highest number.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use parking_lot::Mutex;

const SECOND: Duration = Duration::from_secs(1);

/// Reading requests, and those that change something.
#[derive(Debug, Default)]
pub struct Inflight {
    reading: Arc<Mutex<Crowd>>,
    writing: Arc<Mutex<Crowd>>,
}

#[derive(Debug)]
struct Crowd {
    now: u64,
    /// The highest number of this second, and of the one before.
    highest: u64,
    before: u64,
    since: Instant,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { now: 0, highest: 0, before: 0, since: Instant::now() }
    }
}

impl Crowd {
    fn turn(&mut self, now: Instant) {
        let past = now.duration_since(self.since);
        if past >= SECOND {
            self.before = if past < 2 * SECOND { self.highest } else { self.now };
            self.highest = self.now;
            self.since = now;
        }
    }
}

/// One of them, until it is dropped.
pub struct One(Arc<Mutex<Crowd>>);

impl Inflight {
    pub fn begin(&self, method: &Method) -> One {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let crowd = if reads { &self.reading } else { &self.writing };
        let mut state = crowd.lock();
        state.turn(Instant::now());
        state.now += 1;
        state.highest = state.highest.max(state.now);
        One(crowd.clone())
    }

    pub fn told(&self) -> [(&'static str, u64); 2] {
        [("mutating", &self.writing), ("readOnly", &self.reading)].map(|(kind, crowd)| {
            let mut state = crowd.lock();
            state.turn(Instant::now());
            (kind, state.before)
        })
    }
}

impl Drop for One {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.turn(Instant::now());
        state.now -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_second_counts() {
        let mut crowd = Crowd::default();
        let begin = crowd.since;
        (crowd.now, crowd.highest) = (1, 3);
        crowd.turn(begin + Duration::from_millis(900));
        assert_eq!(crowd.before, 0);
        crowd.turn(begin + Duration::from_millis(1100));
        assert_eq!((crowd.before, crowd.highest), (3, 1));
        crowd.turn(begin + Duration::from_secs(5));
        assert_eq!(crowd.before, 1);
    }
}
