//! One link: a connection to another router that carries many streams.
//!
//! Each stream has a window of [`WINDOW`] bytes in either direction: a sender spends credit, the receiver gives it back
//! as it passes data on. So a slow reader holds up its own stream only, and what waits in memory is bounded by the
//! number of streams ([`MAX_STREAMS`]) times the window. Control frames overtake data. Both sides send heartbeats; a
//! side that hears nothing for `max_age`, or from the network that the other is unreachable, gives the link up, and with
//! it all its streams.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nix::errno::Errno;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, Hello, MAX_DATA, Open};
use super::routes::Entry;

/// Bytes a sender may have under way on one stream. 256 KiB fill a 50 Mbit/s path of 40 ms.
pub const WINDOW: usize = 256 * 1024;
/// Streams one link may carry.
const MAX_STREAMS: usize = 4096;
/// Control frames waiting to be written. A peer that lets more pile up is gone or hostile.
const CONTROL: usize = 1024;
/// Data frames waiting to be written; streams wait their turn for a place.
const DATA: usize = 32;
pub const PROTOCOL: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the connection failed: {}", words(.0))]
    Io(#[from] io::Error),
    #[error("nothing heard from the other side for {0:?}")]
    Silent(Duration),
    #[error("the other side broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("closed")]
    Closed,
}

/// What the system calls an error, without its number, for conditions are read by people.
fn words(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_owned())
}

/// What arrives for a stream.
enum Inbound {
    Data(Bytes),
    Fin,
}

struct Slot {
    inbound: mpsc::UnboundedSender<Inbound>,
    credit: Arc<Semaphore>,
    /// Bytes received and not given back as credit: never above [`WINDOW`], which bounds `inbound`.
    held: Arc<AtomicUsize>,
}

struct Inner {
    slots: Mutex<HashMap<u32, Slot>>,
    next: AtomicU32,
    control: mpsc::Sender<Frame>,
    data: mpsc::Sender<Frame>,
    closed: CancellationToken,
}

/// Opens streams on a link, and tells when it is gone.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

/// The two directions of a stream, for its two tasks. Dropping both before both ends are reached resets it.
pub struct Stream {
    pub sender: Sender,
    pub receiver: Receiver,
}

struct Shared {
    id: u32,
    link: Handle,
    sent_fin: AtomicBool,
    got_fin: AtomicBool,
}

pub struct Sender {
    shared: Arc<Shared>,
    credit: Arc<Semaphore>,
}

pub struct Receiver {
    shared: Arc<Shared>,
    inbound: mpsc::UnboundedReceiver<Inbound>,
    held: Arc<AtomicUsize>,
}

/// The stream or its link is gone.
#[derive(Debug, thiserror::Error)]
#[error("the stream was reset")]
pub struct Reset;

impl Handle {
    /// Opens a stream. The other side resets it when it cannot connect.
    ///
    /// # Errors
    /// When the link is gone, or full.
    pub async fn open(&self, open: Open) -> Result<Stream, Reset> {
        let id = self.0.next.fetch_add(2, Ordering::Relaxed);
        let stream = self.register(id).ok_or(Reset)?;
        self.0.control.send(Frame::Open(id, open)).await.map_err(|_| Reset)?;
        Ok(stream)
    }

    /// Resolves when the link is gone.
    pub async fn closed(&self) {
        self.0.closed.cancelled().await;
    }

    fn register(&self, id: u32) -> Option<Stream> {
        let (sender, inbound) = mpsc::unbounded_channel();
        let credit = Arc::new(Semaphore::new(WINDOW));
        let held = Arc::new(AtomicUsize::new(0));
        let mut slots = self.0.slots.lock();
        if slots.len() >= MAX_STREAMS || slots.contains_key(&id) || self.0.closed.is_cancelled() {
            return None;
        }
        slots.insert(id, Slot { inbound: sender, credit: Arc::clone(&credit), held: Arc::clone(&held) });
        drop(slots);
        let shared = Arc::new(Shared {
            id,
            link: self.clone(),
            sent_fin: AtomicBool::new(false),
            got_fin: AtomicBool::new(false),
        });
        Some(Stream {
            sender: Sender { shared: Arc::clone(&shared), credit },
            receiver: Receiver { shared, inbound, held },
        })
    }

    /// Ends a stream whose tasks then see [`Reset`].
    fn forget(&self, id: u32) -> bool {
        match self.0.slots.lock().remove(&id) {
            Some(slot) => {
                slot.credit.close();
                true
            }
            None => false,
        }
    }

    /// A control frame from a place that must not wait. A full queue means a link that no longer moves.
    fn control_now(&self, frame: Frame) {
        if self.0.control.try_send(frame).is_err() {
            self.0.closed.cancel();
        }
    }

    fn close(&self) {
        self.0.closed.cancel();
        for (_, slot) in self.0.slots.lock().drain() {
            slot.credit.close();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let known = self.link.forget(self.id);
        let finished = self.sent_fin.load(Ordering::Acquire) && self.got_fin.load(Ordering::Acquire);
        if known && !finished && !self.link.0.closed.is_cancelled() {
            self.link.control_now(Frame::Reset(self.id));
        }
    }
}

impl Sender {
    /// Sends `data`, waiting for credit.
    ///
    /// # Errors
    /// When the stream is gone.
    pub async fn send(&self, mut data: Bytes) -> Result<(), Reset> {
        while !data.is_empty() {
            let chunk = data.split_to(data.len().min(MAX_DATA));
            let size = u32::try_from(chunk.len()).expect("at most MAX_DATA");
            self.credit.acquire_many(size).await.map_err(|_| Reset)?.forget();
            self.shared.link.0.data.send(Frame::Data(self.shared.id, chunk)).await.map_err(|_| Reset)?;
        }
        Ok(())
    }

    /// Half-closes: no more data from here.
    ///
    /// # Errors
    /// When the stream is gone.
    pub async fn finish(self) -> Result<(), Reset> {
        // By the data queue, so that it stays behind the data.
        self.shared.link.0.data.send(Frame::Fin(self.shared.id)).await.map_err(|_| Reset)?;
        self.shared.sent_fin.store(true, Ordering::Release);
        Ok(())
    }

    /// Resolves when the stream is gone, for a task that has nothing to send at the moment.
    pub async fn gone(&self) {
        // The window is never available as a whole plus one, so this ends only when the semaphore is closed.
        let _ = self.credit.acquire_many(u32::try_from(WINDOW + 1).expect("a small constant")).await;
    }
}

impl Receiver {
    /// The next data; none at the other side's half-close.
    ///
    /// # Errors
    /// When the stream is gone.
    pub async fn receive(&mut self) -> Result<Option<Bytes>, Reset> {
        match self.inbound.recv().await {
            Some(Inbound::Data(data)) => Ok(Some(data)),
            Some(Inbound::Fin) => {
                self.shared.got_fin.store(true, Ordering::Release);
                Ok(None)
            }
            None => Err(Reset),
        }
    }

    /// Says that `bytes` received have been passed on, so that the sender may send as many more.
    ///
    /// # Errors
    /// When the link is gone.
    pub async fn passed_on(&self, bytes: usize) -> Result<(), Reset> {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
        let credit = u32::try_from(bytes).expect("at most MAX_DATA");
        self.shared.link.0.control.send(Frame::Credit(self.shared.id, credit)).await.map_err(|_| Reset)
    }
}

/// What a link tells its router.
pub trait Events: Send + Sync + 'static {
    fn routes(&self, entries: Vec<Entry>);
    /// A stream the other side opened. It must not wait.
    fn opened(&self, open: Open, stream: Stream);
}

/// Says hello and hears it, within `max_age`.
///
/// # Errors
/// When the other side is silent, gone, or no router of our protocol.
pub async fn greet<C>(connection: &mut C, hello: Hello, max_age: Duration) -> Result<Hello, Error>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        Frame::Hello(hello).write(connection).await?;
        connection.flush().await?;
        match Frame::read(connection).await? {
            Frame::Hello(hello) if hello.protocol == PROTOCOL => Ok(hello),
            Frame::Hello(_) => Err(Error::Protocol("another version of the link protocol")),
            _ => Err(Error::Protocol("the first frame is not a hello")),
        }
    };
    tokio::time::timeout(max_age, exchange).await.map_err(|_| Error::Silent(max_age))?
}

/// A link that has not been started yet.
pub struct Link {
    handle: Handle,
    control: mpsc::Receiver<Frame>,
    data: mpsc::Receiver<Frame>,
}

impl Link {
    /// `initiator`: whether this side connected; the two sides number their streams odd and even.
    pub fn new(initiator: bool) -> (Self, Handle) {
        let (control, control_receiver) = mpsc::channel(CONTROL);
        let (data, data_receiver) = mpsc::channel(DATA);
        let handle = Handle(Arc::new(Inner {
            slots: Mutex::default(),
            next: AtomicU32::new(if initiator { 1 } else { 2 }),
            control,
            data,
            closed: CancellationToken::new(),
        }));
        (Self { handle: handle.clone(), control: control_receiver, data: data_receiver }, handle)
    }

    /// Runs the link until it fails; always returns why. `advertisement` is sent whenever it changes.
    pub async fn run<C>(
        self,
        connection: C,
        events: Arc<impl Events>,
        advertisement: watch::Receiver<Arc<Vec<Entry>>>,
        max_age: Duration,
    ) -> Error
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(connection);
        let handle = self.handle.clone();
        let outcome = tokio::select! {
            error = read(BufReader::with_capacity(64 * 1024, reader), handle.clone(), events, max_age) => error,
            error = write(BufWriter::with_capacity(64 * 1024, writer), self.control, self.data, advertisement, max_age) => error,
            () = handle.closed() => Error::Closed,
        };
        handle.close();
        outcome
    }
}

async fn read<R: AsyncRead + Unpin>(mut reader: R, link: Handle, events: Arc<impl Events>, max_age: Duration) -> Error {
    loop {
        let frame = match tokio::time::timeout(max_age, Frame::read(&mut reader)).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(error)) => return error.into(),
            Err(_) => return Error::Silent(max_age),
        };
        let outcome = match frame {
            Frame::Heartbeat => Ok(()),
            Frame::Routes(entries) => {
                events.routes(entries);
                Ok(())
            }
            Frame::Hello(_) => Err("a second hello"),
            Frame::Open(id, open) => {
                match link.register(id) {
                    Some(stream) => events.opened(open, stream),
                    None => link.control_now(Frame::Reset(id)),
                }
                Ok(())
            }
            Frame::Data(id, data) => on_data(&link, id, data),
            Frame::Credit(id, credit) => {
                if let Some(slot) = link.0.slots.lock().get(&id) {
                    let after = slot.credit.available_permits() + credit as usize;
                    if after > WINDOW {
                        return Error::Protocol("more credit than the window");
                    }
                    slot.credit.add_permits(credit as usize);
                }
                Ok(())
            }
            Frame::Fin(id) => {
                if let Some(slot) = link.0.slots.lock().get(&id) {
                    // A receiver that is gone will reset the stream itself.
                    let _ = slot.inbound.send(Inbound::Fin);
                }
                Ok(())
            }
            Frame::Reset(id) => {
                link.forget(id);
                Ok(())
            }
        };
        if let Err(what) = outcome {
            return Error::Protocol(what);
        }
    }
}

fn on_data(link: &Handle, id: u32, data: Bytes) -> Result<(), &'static str> {
    let slots = link.0.slots.lock();
    // Data of a stream we have just reset: the other side does not know yet.
    let Some(slot) = slots.get(&id) else { return Ok(()) };
    let held = slot.held.fetch_add(data.len(), Ordering::AcqRel) + data.len();
    if held > WINDOW || data.len() > MAX_DATA {
        return Err("more data than the window");
    }
    let _ = slot.inbound.send(Inbound::Data(data));
    Ok(())
}

async fn write<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut control: mpsc::Receiver<Frame>,
    mut data: mpsc::Receiver<Frame>,
    mut advertisement: watch::Receiver<Arc<Vec<Entry>>>,
    max_age: Duration,
) -> Error {
    // Three chances to be heard before the other side gives up.
    let mut heartbeat = tokio::time::interval(max_age / 3);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    advertisement.mark_changed();
    loop {
        let frame = tokio::select! {
            biased;
            _ = heartbeat.tick() => Frame::Heartbeat,
            changed = advertisement.changed() => match changed {
                Ok(()) => Frame::Routes(advertisement.borrow_and_update().to_vec()),
                Err(_) => return Error::Closed,
            },
            Some(frame) = control.recv() => frame,
            Some(frame) = data.recv() => frame,
            else => return Error::Closed,
        };
        if let Err(error) = frame.write(&mut writer).await {
            return error.into();
        }
        if control.is_empty()
            && data.is_empty()
            && let Err(error) = writer.flush().await
        {
            return error.into();
        }
    }
}
