//! Who asks one thing after the other is waited for a moment before the thread sleeps.
//!
//! Waking a thread on an idle processor takes longer than half a GET, and a client that sends its next request as soon as it has the
//! answer pays that each time. As a hypervisor does for a guest that halts (`halt_poll_ns`), the thread looks for the
//! next request for a moment, where the last ones came as quickly, all on one connection. Other programs have the processor
//! meanwhile, if they want it.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::time::Instant;

/// A client is waited for so long after the end of its request: what else comes waits as long.
const LONGEST: Duration = Duration::from_micros(200);
/// Who has asked so often in a row, as quickly, is waited for.
const STREAK: u32 = 4;

/// Which of a server's connections was asked last.
#[derive(Clone, Default)]
pub struct Turns(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Its number.
    last: AtomicU64,
    connections: AtomicU64,
}

/// How the requests of a connection follow one another.
pub struct Pace {
    turns: Turns,
    number: u64,
    streak: u32,
}

impl Turns {
    /// A new connection.
    #[must_use]
    pub fn connection(&self) -> Pace {
        let number = self.0.connections.fetch_add(1, Ordering::Relaxed) + 1;
        Pace { turns: self.clone(), number, streak: 0 }
    }
}

impl Pace {
    /// A request has come, so long after the end of the one before it; `None`: before its end.
    pub fn request(&mut self, after: Option<Duration>) {
        let again = self.turns.0.last.swap(self.number, Ordering::Relaxed) == self.number;
        self.streak = if again && after.is_some_and(|after| after < LONGEST) { self.streak + 1 } else { 0 };
    }

    /// How long after the end of a request the next one is waited for.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        let alone = self.turns.0.last.load(Ordering::Relaxed) == self.number;
        (alone && self.streak >= STREAK).then_some(LONGEST)
    }
}

/// Returns when there is something to read, or the socket's end, or at `until`.
pub fn linger(socket: RawFd, until: Instant) {
    while Instant::now() < until {
        match recv(socket, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => std::thread::yield_now(),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    const QUICK: Option<Duration> = Some(Duration::from_micros(100));

    #[test]
    fn one_quick_client_is_waited_for() {
        let turns = Turns::default();
        let (mut one, mut other) = (turns.connection(), turns.connection());
        for _ in 0..STREAK {
            one.request(QUICK);
            assert_eq!(one.patience(), None);
        }
        one.request(QUICK);
        assert_eq!(one.patience(), Some(LONGEST));
        other.request(QUICK);
        assert_eq!((one.patience(), other.patience()), (None, None), "another one asks");
        one.request(QUICK);
        assert_eq!(one.patience(), None, "it begins anew");
        for slow in [None, Some(LONGEST)] {
            let mut slower = Turns::default().connection();
            (0..=STREAK).for_each(|_| slower.request(QUICK));
            slower.request(slow);
            assert_eq!(slower.patience(), None, "{slow:?}");
        }
    }

    #[test]
    fn waiting_ends_with_something_to_read_or_the_time() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let begin = Instant::now();
        let until = begin + Duration::from_millis(5);
        linger(ours.as_raw_fd(), until);
        assert!(Instant::now() >= until);
        let far = begin + Duration::from_secs(3600);
        theirs.write_all(b"x").unwrap();
        linger(ours.as_raw_fd(), far);
        drop(theirs);
        linger(ours.as_raw_fd(), far);
    }
}
