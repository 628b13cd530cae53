//! When watchers are woken. One event goes out at once; a burst reaches many watchers in a few large pieces instead of many
//! small ones, for waking a watcher and sending it something costs the same whatever it is. Not all have their turn at the
//! same moment: between the pieces there is room for the writes that make the burst.

use std::time::Duration;
use tokio::time::Instant;

/// So many groups have turns of their own; a watcher belongs to one of them.
pub(super) const GROUPS: usize = 8;

/// About what it costs to wake a watcher and send it something. Nobody is woken again before all could have been.
const EACH: Duration = Duration::from_micros(100);
/// Shorter rounds are not worth a timer.
const LEAST: Duration = Duration::from_millis(1);
/// What an event waits at most.
const LONGEST: Duration = Duration::from_millis(16);

/// The turns of a cache's watchers.
#[derive(Default)]
pub(super) struct Turns([Turn; GROUPS]);

/// The turns of a group.
#[derive(Clone, Copy, Default)]
struct Turn {
    /// Not before this.
    next: Option<Instant>,
    /// There is something to be told.
    owed: bool,
}

impl Turns {
    /// There may be something new for groups, as `behind` tells, of so many watchers in all: the groups whose turn it is.
    pub fn news(&mut self, now: Instant, watchers: usize, behind: impl Fn(usize) -> bool) -> [bool; GROUPS] {
        let round = EACH.saturating_mul(u32::try_from(watchers).unwrap_or(u32::MAX)).min(LONGEST);
        std::array::from_fn(|group| {
            let turn = &mut self.0[group];
            let behind = behind(group);
            turn.owed = behind && turn.next.is_some_and(|next| now < next);
            if !behind || turn.owed {
                return false;
            }
            turn.next = match turn.next {
                _ if round < LEAST => None,
                Some(next) if now.duration_since(next) < round => Some(next + round),
                // The first of a burst goes to all, from then on one group follows the other.
                _ => Some(now + round * (group as u32 + 1) / GROUPS as u32),
            };
            true
        })
    }

    /// Resolves when it is the turn of some who could not be told before.
    pub async fn due(&self) {
        match self.0.iter().filter(|turn| turn.owed).filter_map(|turn| turn.next).min() {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const ALL: [bool; GROUPS] = [true; GROUPS];
    const NONE: [bool; GROUPS] = [false; GROUPS];

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[tokio::test]
    async fn a_burst_waits_for_its_turn_and_single_events_do_not() {
        let now = Instant::now();
        let mut turns = Turns::default();
        let all = |_| true;
        assert_eq!([turns.news(now, 3, all), turns.news(now, 3, all)], [ALL, ALL], "few watchers are told at once");
        let now = now + ms(100);
        assert_eq!(turns.news(now, 80, all), ALL, "the first of many events");
        assert!(turns.due().now_or_never().is_none(), "nothing is owed");
        assert_eq!(turns.news(now, 80, |_| false), NONE);
        assert!(turns.due().now_or_never().is_none(), "nor to those who have all");
        assert_eq!(turns.news(now, 80, all), NONE, "those right behind it");
        turns.due().await;
        assert!(Instant::now() >= now + ms(1), "they are owed until then");
    }

    #[test]
    fn a_round_tells_each_group_once() {
        let begin = Instant::now();
        let mut turns = Turns::default();
        turns.news(begin, 80, |_| true);
        for round in 0..3 {
            for step in 1..=8 {
                let told = turns.news(begin + ms(round * 8 + step), 80, |_| true);
                let expected = std::array::from_fn(|group| group as u64 + 1 == step);
                assert_eq!(told, expected, "round {round}, {step} ms");
            }
        }
    }

    #[test]
    fn nobody_waits_long_however_many_there_are() {
        let begin = Instant::now();
        let mut turns = Turns::default();
        for at in [0, 16, 32] {
            turns.news(begin + ms(at), 100_000, |_| true);
            assert!(turns.0.iter().all(|turn| turn.next <= Some(begin + ms(at) + LONGEST)));
        }
    }
}
