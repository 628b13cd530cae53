//! What servers of somebody's own have answered, kept for a while within bounds.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Answers by question. When there are too many, those whose time is over are forgotten, or else all.
pub struct Answers<Q, A> {
    most: usize,
    kept: Mutex<HashMap<Q, (A, Instant)>>,
}

impl<Q: Hash + Eq, A: Clone> Answers<Q, A> {
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    /// The answer, if its time is not over.
    pub fn get(&self, question: &Q) -> Option<A> {
        self.known(question, Instant::now())
    }

    /// Keeps an answer for so long.
    pub fn put(&self, question: Q, answer: A, ttl: Duration) {
        self.keep(question, answer, ttl, Instant::now());
    }

    fn known(&self, question: &Q, now: Instant) -> Option<A> {
        let kept = self.kept.lock();
        let (answer, until) = kept.get(question)?;
        (now < *until).then(|| answer.clone())
    }

    fn keep(&self, question: Q, answer: A, ttl: Duration, now: Instant) {
        let mut kept = self.kept.lock();
        if kept.len() >= self.most {
            kept.retain(|_, (_, until)| *until > now);
            if kept.len() >= self.most {
                kept.clear();
            }
        }
        kept.insert(question, (answer, now + ttl));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_for_their_time_and_within_bounds() {
        let (answers, second, start) = (Answers::new(2), Duration::from_secs(1), Instant::now());
        let known = |now| [1, 2, 3, 4].map(|question| answers.known(&question, now).unwrap_or("-"));
        answers.keep(1, "a", second, start);
        answers.keep(2, "b", second * 3, start);
        assert_eq!(known(start), ["a", "b", "-", "-"]);
        let later = start + second;
        assert_eq!(known(later), ["-", "b", "-", "-"]);
        answers.keep(3, "c", second, later);
        assert_eq!(known(later), ["-", "b", "c", "-"], "what was over made room");
        answers.keep(4, "d", second, later);
        assert_eq!(known(later), ["-", "-", "-", "d"]);
    }
}
