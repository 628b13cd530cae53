//! Which connections nobody uses: a connection is in use from the head of a request to the end of its answer's body, so a
//! watch keeps it alive.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::linger::Pace;
use super::witness::Witness;

/// How many requests of a connection are under way, and when the last one ended. Nobody is woken by either: a request costs a
/// count, and who waits for the end of all looks again when it could have come.
#[derive(Clone)]
pub struct Uses(Arc<Mutex<Count>>);

struct Count {
    under_way: usize,
    ended: Instant,
    /// How the requests follow one another.
    pace: Pace,
}

/// One of them; it ends when this is dropped.
pub struct Use(Uses);

impl Uses {
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self(Arc::new(Mutex::new(Count { under_way: 0, ended: Instant::now(), pace })))
    }

    #[must_use]
    pub fn begin(&self) -> Use {
        let mut count = self.0.lock();
        let after = (count.under_way == 0).then(|| count.ended.elapsed());
        count.pace.request(after);
        count.under_way += 1;
        Use(self.clone())
    }

    /// Nobody uses the connection, or one request does, which may be about to begin.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.0.lock().under_way <= 1
    }

    /// Until when the next request is waited for; see [`super::linger`].
    #[must_use]
    pub fn expected(&self) -> Option<Instant> {
        let count = self.0.lock();
        count.pace.patience().filter(|_| count.under_way == 0).map(|patience| count.ended + patience)
    }

    /// Waits until there has been no use for `patience`.
    pub async fn idle(&self, patience: Duration) {
        loop {
            let quiet = {
                let count = self.0.lock();
                if count.under_way > 0 { Duration::ZERO } else { count.ended.elapsed() }
            };
            match patience.checked_sub(quiet).filter(|left| !left.is_zero()) {
                Some(left) => tokio::time::sleep(left).await,
                None => return,
            }
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut count = self.0.0.lock();
        count.under_way -= 1;
        count.ended = Instant::now();
    }
}

impl Witness for Use {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::linger::Turns;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_connection_in_use_is_not_idle() {
        let (uses, short) = (Uses::new(Turns::default().connection()), Duration::from_millis(5));
        uses.idle(short).await;
        let one = uses.begin();
        let another = uses.begin();
        assert!(tokio::time::timeout(10 * short, uses.idle(short)).await.is_err());
        drop(one);
        assert!(uses.idle(short).now_or_never().is_none());
        drop(another);
        uses.idle(short).await;
    }
}
