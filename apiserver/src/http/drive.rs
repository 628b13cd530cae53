//! An HTTP/2 connection and the request that is alone on it run in one task: who asks one thing after the other, or watches one
//! thing, is answered without waking another thread for it. The requests that a client makes side by side run in tasks of their
//! own, so that they wait neither for each other nor for the connection.

use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use hyper::rt::Executor;
use parking_lot::Mutex;

use super::corked::Corked;
use super::idle::Uses;
use super::linger::linger;

/// So often in a row at most is either polled; then it is other tasks' turn.
const ROUNDS: usize = 8;

/// Bits of the state: both are being polled, so that nobody needs to wake the task; or one of them has something to do.
const RUNS: u8 = 1;
const CONNECTION: u8 = 2;
const REQUEST: u8 = 4;

struct State {
    bits: AtomicU8,
    task: AtomicWaker,
}

/// Wakes one of the two. The task is woken only from outside: one that wakes itself goes through the scheduler, which wakes an
/// idle thread to take the work over, and that finds none. An HTTP/2 connection would do so with every answer.
struct One<const BIT: u8>(Arc<State>);

impl<const BIT: u8> Wake for One<BIT> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.0.bits.fetch_or(BIT, Ordering::AcqRel) == 0 {
            self.0.task.wake();
        }
    }
}

/// The request that the connection's task is to go on with.
#[derive(Default)]
enum Place {
    #[default]
    Free,
    New(BoxFuture<'static, ()>),
    Taken,
}

/// Runs what hyper asks it to.
#[derive(Clone)]
pub struct Requests {
    uses: Uses,
    place: Arc<Mutex<Place>>,
}

impl Requests {
    #[must_use]
    pub fn of(connection: &Uses) -> Self {
        Self { uses: connection.clone(), place: Arc::default() }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Requests {
    fn execute(&self, request: F) {
        let mut request = Box::pin(request);
        if self.uses.is_single() && matches!(*self.place.lock(), Place::Free) {
            // Nobody needs to be woken: what is not ready is polled again at once, and then its waker counts.
            if request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                *self.place.lock() = Place::New(request);
            }
        } else {
            tokio::spawn(request);
        }
    }
}

/// Polls a connection, whose requests `Requests` runs, and the one of them that has no task of its own.
pub struct Drive<C> {
    connection: C,
    /// The connection's own.
    socket: RawFd,
    /// Where what the connection writes is kept, if it is.
    stream: Option<Corked>,
    uses: Uses,
    request: Option<BoxFuture<'static, ()>>,
    place: Arc<Mutex<Place>>,
    state: Arc<State>,
    /// The connection's and the request's.
    wakers: [Waker; 2],
}

impl<C: Future + Unpin> Drive<C> {
    pub fn new(connection: C, requests: &Requests, socket: RawFd, stream: Option<Corked>) -> Self {
        let state = Arc::new(State { bits: AtomicU8::new(CONNECTION), task: AtomicWaker::new() });
        let wakers =
            [Arc::new(One::<CONNECTION>(state.clone())).into(), Arc::new(One::<REQUEST>(state.clone())).into()];
        Self {
            connection,
            uses: requests.uses.clone(),
            socket,
            stream,
            request: None,
            place: requests.place.clone(),
            state,
            wakers,
        }
    }

    /// The connection, which is polled afterwards, for it may have been told something.
    pub fn connection(&mut self) -> &mut C {
        self.state.bits.fetch_or(CONNECTION, Ordering::AcqRel);
        &mut self.connection
    }

    /// That one of the two has something to do, or had: it is polled now.
    fn is_due(&self, one: u8) -> bool {
        self.state.bits.fetch_and(!one, Ordering::AcqRel) & one != 0
    }

    fn go_on(&mut self) {
        if !self.is_due(REQUEST) {
            return;
        }
        let Some(request) = &mut self.request else { return };
        if request.as_mut().poll(&mut Context::from_waker(&self.wakers[1])).is_ready() {
            self.request = None;
            *self.place.lock() = Place::Free;
        }
    }

    fn take_over(&mut self) {
        let mut place = self.place.lock();
        if let Place::New(_) = *place
            && let Place::New(request) = std::mem::replace(&mut *place, Place::Taken)
        {
            self.request = Some(request);
            self.state.bits.fetch_or(REQUEST, Ordering::AcqRel);
        }
    }
}

impl<C: Future + Unpin> Future for Drive<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.get_mut();
        this.state.task.register(context.waker());
        this.state.bits.fetch_or(RUNS, Ordering::AcqRel);
        for _ in 0..ROUNDS {
            // What the request has to say wakes the connection, which sends it.
            this.go_on();
            if this.is_due(CONNECTION) {
                let mut context = Context::from_waker(&this.wakers[0]);
                let polled = Pin::new(&mut this.connection).poll(&mut context);
                if let Some(stream) = &this.stream {
                    stream.send(&mut context);
                }
                if polled.is_ready() {
                    return polled;
                }
                this.take_over();
            }
            if this.state.bits.load(Ordering::Acquire) == RUNS
                && let Some(until) = this.uses.expected()
            {
                // What comes is found by the runtime, which looks before it sleeps.
                linger(this.socket, until);
            }
            if this.state.bits.compare_exchange(RUNS, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        this.state.bits.fetch_and(!RUNS, Ordering::AcqRel);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::linger::Turns;
    use futures::FutureExt;
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    type Kept = Arc<Mutex<Option<Waker>>>;

    fn keep(kept: &Kept, context: &Context<'_>) {
        *kept.lock() = Some(context.waker().clone());
    }

    #[test]
    fn a_connection_that_wakes_itself_goes_on_and_others_wake_its_task() {
        for (times, woken) in [(0, 0), (1, 0), (ROUNDS - 1, 0), (ROUNDS, 1), (ROUNDS + 3, 1)] {
            let (count, kept) = (Arc::<Count>::default(), Kept::default());
            let (task, seen) = (Waker::from(count.clone()), kept.clone());
            let mut polled = 0;
            let connection = poll_fn(move |context| {
                keep(&seen, context);
                polled += 1;
                if polled <= times {
                    context.waker().wake_by_ref();
                }
                Poll::<()>::Pending
            });
            let mut drive = Drive::new(connection, &Requests::of(&Uses::new(Turns::default().connection())), -1, None);
            let mut context = Context::from_waker(&task);
            assert!(drive.poll_unpin(&mut context).is_pending());
            assert_eq!(count.0.load(Ordering::Relaxed), woken, "{times}");
            while count.0.swap(0, Ordering::Relaxed) > 0 {
                assert!(drive.poll_unpin(&mut context).is_pending());
            }
            let waker = kept.lock().take().unwrap();
            waker.wake_by_ref();
            waker.wake();
            assert_eq!(count.0.load(Ordering::Relaxed), 1, "{times}: once is enough");
        }
    }

    /// A request that goes on until it has been polled so often, and tells the connection each time.
    fn request(
        kept: &Kept,
        connection: &Kept,
        log: &Arc<Mutex<Vec<&'static str>>>,
        polls: usize,
    ) -> BoxFuture<'static, ()> {
        let (kept, connection, log) = (kept.clone(), connection.clone(), log.clone());
        let mut polled = 0;
        poll_fn(move |context| {
            keep(&kept, context);
            log.lock().push("request");
            if let Some(waker) = &*connection.lock() {
                waker.wake_by_ref();
            }
            polled += 1;
            if polled == polls { Poll::Ready(()) } else { Poll::Pending }
        })
        .boxed()
    }

    #[tokio::test]
    async fn the_request_that_is_alone_runs_with_its_connection() {
        let (uses, log) = (Uses::new(Turns::default().connection()), Arc::<Mutex<Vec<_>>>::default());
        let (kept, of_connection) = (Kept::default(), Kept::default());
        let requests = Requests::of(&uses);
        let (executor, seen, also) = (requests.clone(), of_connection.clone(), log.clone());
        let mut first = Some(request(&kept, &of_connection, &log, 3));
        let connection = poll_fn(move |context| {
            keep(&seen, context);
            also.lock().push("connection");
            if let Some(request) = first.take() {
                executor.execute(request);
            }
            Poll::<()>::Pending
        });
        let mut drive = Drive::new(connection, &requests, -1, None);
        assert!((&mut drive).now_or_never().is_none());
        // It is polled where it arrived, and again for its waker; what it has to say is sent.
        assert_eq!(*log.lock(), ["connection", "request", "request", "connection"]);
        log.lock().clear();
        assert!(matches!(*requests.place.lock(), Place::Taken));
        // While it goes on, another one gets a task of its own.
        let (other, nobody) = (Kept::default(), Kept::default());
        requests.execute(request(&other, &nobody, &Arc::default(), 1));
        assert!(other.lock().is_none());
        tokio::task::yield_now().await;
        assert!(other.lock().is_some());
        // When it has news, only it and then the connection are polled.
        kept.lock().take().unwrap().wake();
        assert!((&mut drive).now_or_never().is_none());
        assert_eq!(*log.lock(), ["request", "connection"]);
        assert!(matches!(*requests.place.lock(), Place::Free));
        // On a connection in use it would keep others waiting.
        let _used = [uses.begin(), uses.begin()];
        let late = Kept::default();
        requests.execute(request(&late, &nobody, &Arc::default(), 1));
        assert!(late.lock().is_none());
    }
}
