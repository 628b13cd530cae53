//! How levels lend each other seats: each has as many as it needs, as far as the others leave it some (KEP-1040, "Dispatching";
//! `apiserver/pkg/util/flowcontrol/{apf_controller,conc_alloc}.go`).
//!
//! ```text
//!   seats wanted (served and waiting) ── Demand, over a period ──> Observed ──> Stats ──> limits ──> each Level's limit
//! ```

use tokio::time::Instant;

/// How much of what was wanted before is remembered; it fades over some minutes.
const SMOOTHING: f64 = 0.977;
/// Who wants nothing is counted as wanting so much.
const LEAST_TARGET: f64 = 0.001;

/// The seats wanted, integrated over time.
#[derive(Debug)]
pub struct Demand {
    since: Instant,
    at: Instant,
    value: u64,
    high: u64,
    /// Integrals of the value and of its square, over seconds.
    sum: f64,
    squares: f64,
}

/// What was wanted in a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    pub high: u64,
    /// None where no time has gone by.
    pub envelope: Option<f64>,
}

impl Demand {
    pub fn new(now: Instant) -> Self {
        Self { since: now, at: now, value: 0, high: 0, sum: 0.0, squares: 0.0 }
    }

    fn advance(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        let value = self.value as f64;
        self.sum += value * seconds;
        self.squares += value * value * seconds;
        self.at = self.at.max(now);
    }

    pub fn more(&mut self, seats: u64, now: Instant) {
        self.advance(now);
        self.value += seats;
        self.high = self.high.max(self.value);
    }

    pub fn less(&mut self, seats: u64, now: Instant) {
        self.advance(now);
        self.value = self.value.saturating_sub(seats);
    }

    /// Ends the period and begins the next. The envelope is the average and a standard deviation more.
    pub fn take(&mut self, now: Instant) -> Observed {
        self.advance(now);
        let seconds = self.at.saturating_duration_since(self.since).as_secs_f64();
        let average = self.sum / seconds;
        let variance = (self.squares / seconds - average * average).max(0.0);
        let envelope = (seconds > 0.0).then(|| average + variance.sqrt());
        let observed = Observed { high: self.high, envelope };
        *self = Self { since: self.at, high: self.value, sum: 0.0, squares: 0.0, ..*self };
        observed
    }
}

/// What a level has wanted lately.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    pub high: u64,
    pub smoothed: f64,
}

impl Stats {
    pub fn update(&mut self, observed: Observed) {
        self.high = observed.high;
        if let Some(envelope) = observed.envelope {
            self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
        }
    }
}

/// What of a level decides how many seats it gets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    pub exempt: bool,
    pub nominal: u64,
    /// What it does not lend.
    pub least: u64,
    /// What it has with all that it may borrow.
    pub most: u64,
    pub stats: Stats,
}

impl Share {
    /// What it is not asked for: its own seats, as far as it uses them.
    fn floor(&self) -> u64 {
        let used = if self.exempt { self.stats.high } else { self.stats.high.min(self.nominal) };
        self.least.max(used)
    }
}

/// How many seats each level gets, of as many as all have nominally. What exempt levels use is taken from the others; when
/// there is not enough for what they use of their own, each gets what it does not lend and a part of the rest.
pub fn limits(shares: &[Share]) -> Vec<u64> {
    let limited = || shares.iter().filter(|share| !share.exempt);
    let all: u64 = shares.iter().map(|share| share.nominal).sum();
    let left = all.saturating_sub(shares.iter().filter(|share| share.exempt).map(Share::floor).sum());
    let (least, floors) = (limited().map(|share| share.least).sum::<u64>(), limited().map(Share::floor).sum::<u64>());
    let part = match () {
        () if left <= least => Some(0.0),
        () if left <= floors => Some((left - least) as f64 / (floors - least) as f64),
        () => None,
    };
    let proportion = if part.is_none() { proportion(all as f64, limited()) } else { None };
    let one = |share: &Share| match (part, proportion) {
        _ if share.exempt => share.floor(),
        (Some(part), _) => share.least + round((share.floor() - share.least) as f64 * part),
        (None, Some(proportion)) => round(bounded(share, proportion)),
        // There are more seats than all together may have.
        (None, None) => share.most,
    };
    shares.iter().map(one).collect()
}

fn round(seats: f64) -> u64 {
    // Far below 2^53, and never negative.
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation)]
    let seats = seats.round() as u64;
    seats
}

fn target(share: &Share) -> f64 {
    (share.floor() as f64).max(share.stats.smoothed).max(LEAST_TARGET)
}

/// So much of what a level wants, within its bounds.
fn bounded(share: &Share, proportion: f64) -> f64 {
    (target(share) * proportion).clamp(share.floor() as f64, share.most.max(share.floor()) as f64)
}

/// The one proportion of what they want by which all seats are given away; none where their bounds allow none. What is given
/// away grows with it, in a straight line between the points where one of them meets a bound.
fn proportion<'a>(all: f64, shares: impl Iterator<Item = &'a Share> + Clone) -> Option<f64> {
    let given = |proportion| shares.clone().map(|share| bounded(share, proportion)).sum::<f64>();
    let mut bends: Vec<f64> = shares
        .clone()
        .flat_map(|share| [share.floor() as f64 / target(share), share.most.max(share.floor()) as f64 / target(share)])
        .collect();
    bends.sort_by(f64::total_cmp);
    let mut before: Option<(f64, f64)> = None;
    for bend in bends {
        let here = given(bend);
        if here >= all {
            return Some(match before {
                Some((from, had)) if here > had => from + (all - had) * (bend - from) / (here - had),
                _ => bend,
            });
        }
        before = Some((bend, here));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn demand_is_average_and_deviation() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut demand = Demand::new(start);
        demand.more(4, at(0));
        demand.less(4, at(5));
        // Half of the time 4, half of it 0: 2 on the average, and 2 off it.
        assert_eq!(demand.take(at(10)), Observed { high: 4, envelope: Some(4.0) });
        demand.more(3, at(10));
        assert_eq!(demand.take(at(20)), Observed { high: 3, envelope: Some(3.0) });
        assert_eq!(demand.take(at(20)), Observed { high: 3, envelope: None });
        let mut stats = Stats::default();
        stats.update(Observed { high: 9, envelope: Some(10.0) });
        stats.update(Observed { high: 0, envelope: Some(0.0) });
        assert_eq!(stats, Stats { high: 0, smoothed: 9.77 });
    }

    fn share(nominal: u64, least: u64, most: u64, high: u64) -> Share {
        let stats = Stats { high, smoothed: high as f64 };
        Share { exempt: false, nominal, least, most, stats }
    }

    #[test]
    fn seats_go_where_they_are_wanted() {
        let of = limits;
        // Nobody wants anything: what is lendable is divided evenly, for each counts for as little.
        assert_eq!(of(&[share(100, 50, 700, 0), share(100, 50, 700, 0)]), [100, 100]);
        // One wants much, and the other lends what it may.
        assert_eq!(of(&[share(100, 50, 700, 300), share(100, 50, 700, 0)]), [150, 50]);
        // What it uses itself it does not lend.
        assert_eq!(of(&[share(100, 50, 700, 300), share(100, 50, 700, 80)]), [120, 80]);
        // Both want more than they have: each has its own.
        assert_eq!(of(&[share(100, 50, 700, 300), share(100, 50, 700, 300)]), [100, 100]);
        // Who may not borrow does not.
        assert_eq!(of(&[share(100, 50, 100, 300), share(100, 50, 700, 0)]), [100, 100]);
        // Who lends nothing keeps all.
        assert_eq!(of(&[share(100, 0, 700, 300), share(100, 100, 700, 0)]), [100, 100]);
        // All are at their bounds, which together are less than there is.
        assert_eq!(of(&[share(100, 50, 60, 300), share(100, 50, 60, 300)]), [100, 100], "never less than what is used");
    }

    #[test]
    fn exempt_levels_take_what_they_use() {
        let exempt = |high| Share { exempt: true, ..share(0, 0, 600, high) };
        let two = |high| limits(&[exempt(high), share(100, 50, 700, 90), share(100, 50, 700, 80)]);
        // Upstream gives the others all seats as long as what they use fits beside.
        assert_eq!(two(10), [10, 106, 94]);
        // 150 are left: 50 and a part of what is used beyond them, (150 - 100) of (170 - 100).
        assert_eq!(two(50), [50, 79, 71]);
        assert_eq!(two(150), [150, 50, 50]);
    }

    #[test]
    fn all_seats_are_given_away() {
        let mut seed = 7_u64;
        let mut below = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        for _ in 0..1000 {
            let shares: Vec<Share> = (0..5)
                .map(|_| {
                    let nominal = 1 + below(200);
                    share(nominal, nominal - below(nominal), nominal + below(300), below(600))
                })
                .collect();
            let limits = limits(&shares);
            let (all, given): (u64, u64) = (shares.iter().map(|s| s.nominal).sum(), limits.iter().sum());
            assert!(all.abs_diff(given) <= 3, "rounding aside: {shares:?} {limits:?}");
            for (share, limit) in shares.iter().zip(&limits) {
                assert!((share.floor()..=share.most).contains(limit), "{share:?} {limit}");
            }
        }
    }
}
