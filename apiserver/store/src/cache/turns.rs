//! When watchers are woken. One event goes out at once; a burst reaches many watchers in a few large pieces instead of many
//! small ones, for waking a watcher and sending it something costs the same whatever it is.

use std::time::Duration;
use tokio::time::Instant;

/// About what it costs to wake a watcher and send it something. Nobody is woken again before all could have been.
const EACH: Duration = Duration::from_micros(100);
/// Shorter rounds are not worth a timer.
const LEAST: Duration = Duration::from_millis(1);
/// What an event waits at most.
const LONGEST: Duration = Duration::from_millis(16);

/// The turns of a cache's watchers.
pub(super) struct Turns {
    /// Not before this.
    next: Instant,
    /// There is something to be told.
    owed: bool,
}

impl Turns {
    pub fn new(now: Instant) -> Self {
        Self { next: now, owed: false }
    }

    /// There is something new for so many watchers: whether it is their turn.
    pub fn news(&mut self, now: Instant, watchers: usize) -> bool {
        self.owed = now < self.next;
        if !self.owed {
            let round = EACH.saturating_mul(u32::try_from(watchers).unwrap_or(u32::MAX)).min(LONGEST);
            self.next = if round < LEAST { now } else { now + round };
        }
        !self.owed
    }

    /// Resolves when it is the turn of those who could not be told before.
    pub async fn due(&self) {
        match self.owed {
            true => tokio::time::sleep_until(self.next).await,
            false => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_burst_waits_for_its_turn_and_single_events_do_not() {
        let ms = Duration::from_millis;
        let now = Instant::now();
        let mut turns = Turns::new(now);
        assert!(turns.news(now, 3) && turns.news(now, 3), "few watchers are told at once");
        assert!(turns.news(now, 100), "the first of many events");
        assert!(turns.due().now_or_never().is_none(), "nothing is owed");
        assert!(!turns.news(now, 100) && !turns.news(now + ms(9), 100), "those right behind it");
        turns.due().await;
        assert!(Instant::now() >= now + ms(10), "they are owed until then");
        assert!(turns.news(now + ms(10), 100_000), "and told together");
        assert!(turns.due().now_or_never().is_none());
        assert!(!turns.news(now + ms(11), 100_000));
        assert_eq!(turns.next, now + ms(10) + LONGEST, "however many there are");
    }
}
