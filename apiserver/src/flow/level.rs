//! One priority level: so many seats, and queues before them from which flows take turns.
//!
//! A flow is dealt a hand of queues and waits in the shortest of them (shuffle sharding), so that a flow that fills its own
//! queues leaves nearly every other flow a queue that is not full. Freed seats go to the queues in turn.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::app::text;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub uid: String,
    pub exempt: bool,
    pub seats: u64,
    /// None: no queues, who finds no seat is refused.
    queues: Option<Queues>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Queues {
    count: usize,
    hand: usize,
    length: usize,
}

impl Settings {
    /// The level's shares of all seats; none for exempt ones.
    pub fn shares(object: &Value) -> u64 {
        object["spec"]["limited"]["nominalConcurrencyShares"].as_u64().unwrap_or(match text(object, "/spec/type") {
            "Limited" => 30,
            _ => 0,
        })
    }

    pub fn parse(object: &Value, seats: u64, shares: u64) -> Self {
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
        Self {
            uid: text(object, "/metadata/uid").to_owned(),
            exempt: text(object, "/spec/type") == "Exempt",
            seats: (seats * Self::shares(object)).div_ceil(shares.max(1)).max(1),
            queues: (text(object, "/spec/limited/limitResponse/type") == "Queue").then_some(queues),
        }
    }
}

pub struct Level {
    pub settings: Settings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: u64,
    queues: Vec<VecDeque<oneshot::Sender<Seat>>>,
    waiting: usize,
    /// The queue whose turn it is.
    turn: usize,
}

/// Held while a request is served; the next in turn gets it.
pub struct Seat(Option<Arc<Level>>);

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(level) = self.0.take() {
            level.free();
        }
    }
}

impl Level {
    pub fn new(settings: Settings) -> Self {
        let queues = settings.queues.map_or(0, |queues| queues.count);
        let state = State { queues: (0..queues).map(|_| VecDeque::new()).collect(), ..State::default() };
        Self { settings, state: Mutex::new(state) }
    }

    /// A seat for a request of `flow`; `None` when there is no room to wait, or it waited in vain for as long as `patience`.
    pub async fn seat(this: &Arc<Self>, flow: impl Hash, patience: Duration) -> Option<Seat> {
        let turn = {
            let mut state = this.state.lock();
            if state.taken < this.settings.seats && state.waiting == 0 {
                state.taken += 1;
                return Some(Seat(Some(this.clone())));
            }
            let queues = this.settings.queues?;
            let queue = hand(flow, queues).min_by_key(|at| state.queues[*at].len())?;
            let queue = &mut state.queues[queue];
            // Those who went away make room.
            queue.retain(|waiting| !waiting.is_closed());
            if queue.len() >= queues.length {
                return None;
            }
            let (seat, turn) = oneshot::channel();
            queue.push_back(seat);
            state.waiting += 1;
            turn
        };
        tokio::time::timeout(patience, turn).await.ok()?.ok()
    }

    /// Hands a seat on, or puts it back.
    fn free(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state.lock();
                match state.next() {
                    Some(next) => next,
                    None => {
                        state.taken -= 1;
                        return;
                    }
                }
            };
            match next.send(Seat(Some(self.clone()))) {
                Ok(()) => return,
                // It went away: the seat is not freed but goes to the next.
                Err(mut seat) => seat.0 = None,
            }
        }
    }
}

impl State {
    fn next(&mut self) -> Option<oneshot::Sender<Seat>> {
        let count = self.queues.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            if let Some(next) = self.queues[at].pop_front() {
                self.turn = (at + 1) % count;
                self.waiting = self.queues.iter().map(VecDeque::len).sum();
                return Some(next);
            }
        }
        self.waiting = 0;
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
        Arc::new(Level::new(Settings { uid: String::new(), exempt: false, seats, queues }))
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
        let (_one, two) = (Level::seat(&level, 1, LONG).await.unwrap(), Level::seat(&level, 1, LONG).await.unwrap());
        assert!(Level::seat(&level, 2, LONG).await.is_none());
        drop(two);
        assert!(Level::seat(&level, 2, LONG).await.is_some());
    }

    #[tokio::test]
    async fn flows_take_turns_and_a_full_queue_refuses() {
        let level = level(1, Some(Queues { count: 2, hand: 1, length: 3 }));
        // Two flows that were dealt different queues.
        let at = |flow: u32| hand(flow, Queues { count: 2, hand: 1, length: 3 }).next().unwrap();
        let (greedy, modest) = ((0..).find(|f| at(*f) == 0).unwrap(), (0..).find(|f| at(*f) == 1).unwrap());
        let seat = Level::seat(&level, 9, LONG).await.unwrap();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(Level::seat(&level, greedy, LONG))).collect();
        waiting.push(Box::pin(Level::seat(&level, modest, LONG)));
        for turn in &mut waiting {
            assert!(turn.as_mut().now_or_never().is_none());
        }
        assert!(Level::seat(&level, greedy, LONG).await.is_none(), "its queue is full");
        drop(seat);
        let first = waiting[0].as_mut().now_or_never().flatten().unwrap();
        drop(first);
        assert!(waiting[1].as_mut().now_or_never().is_none(), "it is the other's turn");
        let second = waiting[3].as_mut().now_or_never().flatten().unwrap();
        // Who went away is passed over.
        drop(waiting.remove(1));
        drop(second);
        let third = waiting[1].as_mut().now_or_never().flatten().unwrap();
        drop(third);
        assert_eq!(level.state.lock().taken, 0);
        // Who waits too long is refused.
        let _seat = Level::seat(&level, 9, LONG).await.unwrap();
        assert!(Level::seat(&level, modest, Duration::from_millis(1)).await.is_none());
    }
}
