//! One priority level: so many seats, and queues before them from which flows take turns.
//!
//! A flow is dealt a hand of queues and waits in the shortest of them (shuffle sharding), so that a flow that fills its own
//! queues leaves nearly every other flow a queue that is not full. Freed seats go to the queues in turn; whose turn it is
//! waits until there are as many as it needs. How many the level has changes with what it borrows and lends ([`super::lending`]).

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::dump::{Counts, Digest, Entry, Who};
use super::lending::{Demand, Share, Stats};
use crate::app::text;
use crate::metrics::{About, families};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub uid: String,
    pub exempt: bool,
    pub seats: u64,
    /// What of them it does not lend, and how many it has with all it may borrow.
    least: u64,
    most: u64,
    /// So many seats a request takes at most.
    widest: u64,
    /// None: no queues, who finds no seat is refused.
    queues: Option<Queues>,
}

/// A request takes no more of a level's seats than this part of them (in percent), nor more than leave each hand its own.
const WIDEST: u64 = 15;
/// So many at most in any level.
const WIDEST_OF_ALL: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Queues {
    count: usize,
    hand: usize,
    length: usize,
}

impl Settings {
    /// Whether who finds no seat may wait.
    pub fn queues(&self) -> bool {
        self.queues.is_some()
    }

    /// The level's shares of all seats.
    pub fn shares(object: &Value) -> u64 {
        let (field, default) = if text(object, "/spec/type") == "Limited" { ("limited", 30) } else { ("exempt", 0) };
        object["spec"][field]["nominalConcurrencyShares"].as_u64().unwrap_or(default)
    }

    /// `all` seats are divided by `shares`.
    pub fn parse(object: &Value, all: u64, shares: u64) -> Self {
        let queuing = &object["spec"]["limited"]["limitResponse"]["queuing"];
        // The API's own bounds: 10 million queues would be a mistake, and so would be memory for them.
        let number = |field: &str, default: u64, most: u64| {
            usize::try_from(queuing[field].as_u64().unwrap_or(default).clamp(1, most)).unwrap_or(1)
        };
        let count = number("queues", 64, 1024);
        let queues = Queues {
            count,
            hand: number("handSize", 8, 16).min(count),
            length: number("queueLengthLimit", 50, 10_000),
        };
        let exempt = text(object, "/spec/type") == "Exempt";
        let own = &object["spec"][if exempt { "exempt" } else { "limited" }];
        let seats = (all * Self::shares(object)).div_ceil(shares.max(1)).max(u64::from(!exempt));
        let percent = |percent: u64| (seats * percent + 50) / 100;
        let queues = (text(object, "/spec/limited/limitResponse/type") == "Queue").then_some(queues);
        let widest =
            queues.map_or(WIDEST_OF_ALL, |queues| (seats * WIDEST).div_ceil(100).min(seats / queues.hand as u64));
        Self {
            uid: text(object, "/metadata/uid").to_owned(),
            exempt,
            seats,
            least: seats - percent(own["lendablePercent"].as_u64().unwrap_or(0).min(100)),
            most: seats + own["borrowingLimitPercent"].as_u64().map_or(all, percent),
            widest: widest.clamp(1, WIDEST_OF_ALL),
            queues,
        }
    }
}

pub struct Level {
    pub settings: Settings,
    state: Mutex<State>,
}

struct State {
    /// How many seats there are at present.
    limit: u64,
    taken: u64,
    queues: Vec<VecDeque<Waiting>>,
    waiting: usize,
    /// The queue whose turn it is.
    turn: usize,
    demand: Demand,
    stats: Stats,
    /// Who waits or is served, in the order of their arrival.
    requests: BTreeMap<u64, Entry>,
    /// How many have arrived.
    arrived: u64,
    counts: Counts,
}

struct Waiting {
    /// In `requests`.
    id: u64,
    turn: oneshot::Sender<Hold>,
    width: u64,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are no queues to wait in.
    NoQueues,
    /// There is no room in the queue.
    QueueFull,
    /// It waited in vain.
    TimedOut,
}

impl Refusal {
    /// As upstream's series call it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoQueues => "concurrency-limit",
            Self::QueueFull => "queue-full",
            Self::TimedOut => "time-out",
        }
    }
}

/// Held while a request is served; who is next in turn gets what is free then.
pub struct Seat {
    /// None where the level is exempt.
    _hold: Option<Hold>,
    wish: Wish,
}

impl Seat {
    /// How many they are.
    pub fn width(&self) -> u64 {
        self.wish.width
    }
}

/// Seats that are taken.
struct Hold {
    level: Option<Arc<Level>>,
    width: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(level) = self.level.take() {
            level.state.lock().taken -= self.width;
            level.dispatch();
        }
    }
}

/// Seats that are wanted, by who waits or is served.
struct Wish {
    level: Arc<Level>,
    width: u64,
    id: u64,
}

impl Wish {
    fn new(level: &Arc<Level>, who: Who, width: u64) -> Self {
        let mut state = level.state.lock();
        state.demand.more(width, Instant::now());
        state.arrived += 1;
        let id = state.arrived;
        let entry = Entry { who, arrived: SystemTime::now(), started: None, seats: width, queue: None };
        state.requests.insert(id, entry);
        Self { level: level.clone(), width, id }
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        {
            let mut state = self.level.state.lock();
            state.demand.less(self.width, Instant::now());
            // Who was refused is not there any more, and who never had its turn has gone away.
            let gone = state.requests.remove(&self.id);
            state.counts.cancelled += u64::from(gone.is_some_and(|entry| entry.started.is_none()));
        }
        // It may have been the one whose turn it was.
        self.level.dispatch();
    }
}

impl Level {
    /// Half of what it can lend is lent, until somebody looks at who needs it.
    pub fn new(settings: Settings) -> Self {
        let queues = settings.queues.map_or(0, |queues| queues.count);
        let state = State {
            limit: settings.seats - (settings.seats - settings.least) / 2,
            taken: 0,
            queues: (0..queues).map(|_| VecDeque::new()).collect(),
            waiting: 0,
            turn: 0,
            demand: Demand::new(Instant::now()),
            stats: Stats::default(),
            requests: BTreeMap::new(),
            arrived: 0,
            counts: Counts::default(),
        };
        Self { settings, state: Mutex::new(state) }
    }

    /// `width` seats for a request of `flow`, which waits no longer than `patience`.
    ///
    /// # Errors
    /// There is no room to wait, or it waited in vain.
    pub async fn seat(
        this: &Arc<Self>,
        who: Who,
        flow: impl Hash,
        width: u64,
        patience: Duration,
    ) -> Result<Seat, Refusal> {
        let width = width.clamp(1, this.settings.widest);
        let wish = Wish::new(this, who, width);
        let found = Self::turn(this, &wish, flow, patience).await;
        let mut state = this.state.lock();
        match found {
            Ok(hold) => {
                state.counts.dispatched += 1;
                drop(state);
                Ok(Seat { _hold: hold, wish })
            }
            Err(refusal) => {
                state.requests.remove(&wish.id);
                match refusal {
                    Refusal::TimedOut => state.counts.timed_out += 1,
                    Refusal::NoQueues | Refusal::QueueFull => state.counts.rejected += 1,
                }
                Err(refusal)
            }
        }
    }

    /// Waits for what is wished; nothing need be held where the level is exempt.
    async fn turn(
        this: &Arc<Self>,
        &Wish { width, id, .. }: &Wish,
        flow: impl Hash,
        patience: Duration,
    ) -> Result<Option<Hold>, Refusal> {
        let turn = {
            let mut state = this.state.lock();
            if this.settings.exempt {
                state.start(id);
                return Ok(None);
            }
            if state.waiting == 0 && state.fits(width) {
                state.taken += width;
                state.start(id);
                return Ok(Some(Hold { level: Some(this.clone()), width }));
            }
            let queues = this.settings.queues.ok_or(Refusal::NoQueues)?;
            let at = hand(flow, queues).min_by_key(|at| state.queues[*at].len()).ok_or(Refusal::NoQueues)?;
            let queue = &mut state.queues[at];
            // Those who went away make room.
            queue.retain(|waiting| !waiting.turn.is_closed());
            if queue.len() >= queues.length {
                return Err(Refusal::QueueFull);
            }
            let (seat, turn) = oneshot::channel();
            queue.push_back(Waiting { id, turn: seat, width });
            state.waiting = state.queues.iter().map(VecDeque::len).sum();
            if let Some(entry) = state.requests.get_mut(&id) {
                entry.queue = Some(at);
            }
            turn
        };
        let hold = tokio::time::timeout(patience, turn).await.ok().and_then(Result::ok);
        hold.map(Some).ok_or(Refusal::TimedOut)
    }

    /// Who is here now, and what became of the others.
    pub fn digest(&self) -> Digest {
        let state = self.state.lock();
        Digest {
            queues: state.queues.len(),
            requests: state.requests.values().cloned().collect(),
            counts: state.counts,
        }
    }

    /// What decides how many seats it is to have; a period of its demand ends.
    pub fn share(&self, now: Instant) -> Share {
        let mut state = self.state.lock();
        let observed = state.demand.take(now);
        state.stats.update(observed);
        let Settings { exempt, seats, least, most, .. } = self.settings;
        Share { exempt, nominal: seats, least, most, stats: state.stats }
    }

    /// Upstream's series about seats, of this moment.
    pub fn gauges(&self) -> [(&'static About, u64); 5] {
        let (state, settings) = (self.state.lock(), &self.settings);
        [
            (&families::FLOW_NOMINAL, settings.seats),
            (&families::FLOW_LOWER, settings.least),
            (&families::FLOW_UPPER, settings.most),
            (&families::FLOW_CURRENT, state.limit),
            (&families::FLOW_WATERMARK, state.stats.high),
        ]
    }

    /// Has so many seats from now on; who is served stays so.
    pub fn limit(self: &Arc<Self>, seats: u64) {
        self.state.lock().limit = seats;
        self.dispatch();
    }

    /// Hands out what is free.
    fn dispatch(self: &Arc<Self>) {
        loop {
            let Some(Waiting { turn, width, .. }) = self.state.lock().next() else { return };
            if let Err(mut hold) = turn.send(Hold { level: Some(self.clone()), width }) {
                // It went away meanwhile.
                hold.level = None;
                self.state.lock().taken -= width;
            }
        }
    }
}

impl State {
    /// The turn of a request has come.
    fn start(&mut self, id: u64) {
        if let Some(entry) = self.requests.get_mut(&id) {
            entry.started = Some(SystemTime::now());
        }
    }

    /// Who wants more than there are has its turn when it is alone.
    fn fits(&self, width: u64) -> bool {
        self.taken == 0 || self.taken + width <= self.limit
    }

    /// The next in turn, if there are seats enough, which are taken then.
    fn next(&mut self) -> Option<Waiting> {
        if self.waiting == 0 {
            return None;
        }
        let count = self.queues.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            while self.queues[at].front().is_some_and(|waiting| waiting.turn.is_closed()) {
                self.queues[at].pop_front();
                self.waiting -= 1;
            }
            let Some(width) = self.queues[at].front().map(|waiting| waiting.width) else { continue };
            self.turn = at;
            if !self.fits(width) {
                return None;
            }
            self.turn = (at + 1) % count;
            self.waiting -= 1;
            self.taken += width;
            let next = self.queues[at].pop_front();
            next.iter().for_each(|waiting| self.start(waiting.id));
            return next;
        }
        None
    }
}

/// The queues a flow may wait in, each once.
fn hand(flow: impl Hash, queues: Queues) -> impl Iterator<Item = usize> {
    let mut hasher = DefaultHasher::new();
    flow.hash(&mut hasher);
    let mut deck = hasher.finish();
    let mut dealt: Vec<usize> = Vec::with_capacity(queues.hand);
    for card in 0..queues.hand {
        let left = (queues.count - card) as u64;
        let mut pick = usize::try_from(deck % left).unwrap_or(0);
        deck = (deck / left) ^ deck.rotate_left(17);
        // The pick-th of those not dealt yet.
        let mut before: Vec<usize> = dealt.clone();
        before.sort_unstable();
        for taken in before {
            pick += usize::from(taken <= pick);
        }
        dealt.push(pick);
    }
    dealt.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const LONG: Duration = Duration::from_secs(60);

    fn level(seats: u64, queues: Option<Queues>) -> Arc<Level> {
        let uid = String::new();
        Arc::new(Level::new(Settings { uid, exempt: false, seats, least: seats, most: seats, widest: 10, queues }))
    }

    #[test]
    fn hands_are_dealt_without_doubles() {
        for flow in 0..200 {
            let mut dealt: Vec<usize> = hand(flow, Queues { count: 16, hand: 8, length: 1 }).collect();
            dealt.sort_unstable();
            dealt.dedup();
            assert!(dealt.len() == 8 && dealt.iter().all(|at| *at < 16), "{dealt:?}");
        }
    }

    #[tokio::test]
    async fn without_queues_who_finds_no_seat_is_refused() {
        let level = level(2, None);
        let (_one, two) = (
            Level::seat(&level, Who::default(), 1, 1, LONG).await.ok().unwrap(),
            Level::seat(&level, Who::default(), 1, 1, LONG).await.ok().unwrap(),
        );
        assert_eq!(Level::seat(&level, Who::default(), 2, 1, LONG).await.err(), Some(Refusal::NoQueues));
        drop(two);
        assert!(Level::seat(&level, Who::default(), 2, 1, LONG).await.is_ok());
    }

    #[tokio::test]
    async fn flows_take_turns_and_a_full_queue_refuses() {
        let level = level(1, Some(Queues { count: 2, hand: 1, length: 3 }));
        // Two flows that were dealt different queues.
        let at = |flow: u32| hand(flow, Queues { count: 2, hand: 1, length: 3 }).next().unwrap();
        let (greedy, modest) = ((0..).find(|f| at(*f) == 0).unwrap(), (0..).find(|f| at(*f) == 1).unwrap());
        let seat = Level::seat(&level, Who::default(), 9, 1, LONG).await.ok().unwrap();
        let mut waiting: Vec<_> =
            (0..3).map(|_| Box::pin(Level::seat(&level, Who::default(), greedy, 1, LONG))).collect();
        waiting.push(Box::pin(Level::seat(&level, Who::default(), modest, 1, LONG)));
        for turn in &mut waiting {
            assert!(turn.as_mut().now_or_never().is_none());
        }
        assert_eq!(Level::seat(&level, Who::default(), greedy, 1, LONG).await.err(), Some(Refusal::QueueFull));
        drop(seat);
        let first = waiting[0].as_mut().now_or_never().unwrap().ok().unwrap();
        drop(first);
        assert!(waiting[1].as_mut().now_or_never().is_none(), "it is the other's turn");
        let second = waiting[3].as_mut().now_or_never().unwrap().ok().unwrap();
        // Who went away is passed over.
        drop(waiting.remove(1));
        drop(second);
        let third = waiting[1].as_mut().now_or_never().unwrap().ok().unwrap();
        drop(third);
        assert_eq!(level.state.lock().taken, 0);
        // Who waits too long is refused.
        let _seat = Level::seat(&level, Who::default(), 9, 1, LONG).await.ok().unwrap();
        let late = Level::seat(&level, Who::default(), modest, 1, Duration::from_millis(1)).await;
        assert_eq!(late.err(), Some(Refusal::TimedOut));
        let Digest { queues, requests, counts } = level.digest();
        assert_eq!(counts, Counts { dispatched: 5, rejected: 1, timed_out: 1, cancelled: 1 });
        assert_eq!((queues, requests.len(), requests[0].started.is_some(), requests[0].queue), (2, 1, true, None));
    }

    #[tokio::test]
    async fn a_wide_request_waits_for_as_many_seats_and_keeps_its_turn() {
        let level = level(3, Some(Queues { count: 1, hand: 1, length: 5 }));
        let seat = |width| Box::pin(Level::seat(&level, Who::default(), 1, width, LONG));
        let (one, two) = (seat(1).await.ok().unwrap(), seat(1).await.ok().unwrap());
        let (mut wide, mut narrow) = (seat(2), seat(1));
        assert!(wide.as_mut().now_or_never().is_none(), "one is free, and it needs two");
        assert!(narrow.as_mut().now_or_never().is_none(), "it is not its turn");
        drop(one);
        let held = wide.as_mut().now_or_never().unwrap().ok().unwrap();
        assert!(narrow.as_mut().now_or_never().is_none());
        level.limit(4);
        let borrowed = narrow.as_mut().now_or_never().expect("another seat").ok();
        assert_eq!(level.state.lock().taken, 4);
        drop((two, held, borrowed));
        // More than there are, and more than a request may take.
        let alone = seat(50).await.ok().unwrap();
        assert_eq!(level.state.lock().taken, 10);
        let mut next = seat(1);
        assert!(next.as_mut().now_or_never().is_none());
        let mut wider = seat(4);
        assert!(wider.as_mut().now_or_never().is_none());
        // Who had its turn and went away leaves it to the others.
        drop(next);
        drop(alone);
        let last = wider.as_mut().now_or_never().unwrap().ok().unwrap();
        assert_eq!(level.state.lock().taken, 4);
        assert_eq!(level.share(Instant::now()).stats.high, 15);
        drop(last);
        assert_eq!(level.state.lock().taken, 0);
    }
}
