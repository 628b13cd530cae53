//! How often nginx may be reloaded: a token bucket, with the clock handed in.
//!
//! A change is applied at once while there are tokens; a storm of changes is coalesced into one reload per interval. So
//! the number of old workers that still finish their requests stays bounded.

use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Pace {
    burst: u32,
    interval: Duration,
    tokens: u32,
    refilled: Instant,
}

impl Pace {
    /// A full bucket of `burst` tokens that regains one each `interval`.
    pub fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self { burst, interval, tokens: burst, refilled: now }
    }

    /// The moment from which the next reload is allowed; not after `now` when it is allowed already.
    pub fn ready_at(&mut self, now: Instant) -> Instant {
        while self.tokens < self.burst && now.duration_since(self.refilled) >= self.interval {
            self.tokens += 1;
            self.refilled += self.interval;
        }
        if self.tokens > 0 { now } else { self.refilled + self.interval }
    }

    /// Spends a token; call it when `ready_at` is not after `now`.
    pub fn spend(&mut self, now: Instant) {
        if self.tokens == self.burst {
            self.refilled = now;
        }
        self.tokens = self.tokens.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_one_an_interval() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(2, second, start);
        for _ in 0..2 {
            assert_eq!(pace.ready_at(start), start);
            pace.spend(start);
        }
        assert_eq!(pace.ready_at(start), start + second);
        let later = start + second;
        assert_eq!(pace.ready_at(later), later);
        pace.spend(later);
        assert_eq!(pace.ready_at(later), later + second);
        let much_later = start + 100 * second;
        assert_eq!(pace.ready_at(much_later), much_later);
        pace.spend(much_later);
        assert_eq!(pace.ready_at(much_later), much_later);
    }
}
