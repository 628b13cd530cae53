//! A container's log: the CRI lines of its files without their prefix, from where the client wants, and on while it grows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use component_base::query::Query;
use http::{Response, StatusCode};
use k8s_openapi::jiff::Timestamp;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Body, streamed, text};
use crate::container::prepare::log_path;
use crate::pause::log::older;
use crate::pod::registry::View;
use crate::pod::state::{Run, Tracked};

/// Chunks that wait for a slow client.
const QUEUE: usize = 16;

/// What the client wants (core/v1 PodLogOptions).
#[derive(Clone, Debug, Default)]
struct Options {
    follow: bool,
    timestamps: bool,
    tail: Option<usize>,
    since: Option<Timestamp>,
    limit: Option<usize>,
    /// `Stdout` or `Stderr`; all without.
    stream: Option<&'static str>,
}

impl Options {
    fn of(query: &Query) -> Self {
        let ago = |seconds: i64| Timestamp::from_second(Timestamp::now().as_second() - seconds).ok();
        Self {
            follow: query.flag("follow"),
            timestamps: query.flag("timestamps"),
            tail: query.number("tailLines"),
            since: query.number("sinceSeconds").and_then(ago).or_else(|| query.number("sinceTime")),
            limit: query.number("limitBytes"),
            stream: match query.get("stream") {
                Some("Stdout") => Some("stdout"),
                Some("Stderr") => Some("stderr"),
                _ => None,
            },
        }
    }

    /// What the client sees of a line of the file; `None` when it does not want it.
    fn show(&self, line: &[u8]) -> Option<Vec<u8>> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tag, body) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if self.stream.is_some_and(|wanted| wanted.as_bytes() != stream) {
            return None;
        }
        if let Some(since) = self.since {
            let at: Timestamp = std::str::from_utf8(time).ok()?.parse().ok()?;
            if at < since {
                return None;
            }
        }
        let mut out = Vec::with_capacity(line.len());
        if self.timestamps {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        out.extend_from_slice(body);
        if tag == b"P" && out.last() == Some(&b'\n') {
            out.pop();
        }
        Some(out)
    }
}

/// Answers `/containerLogs`.
pub fn serve(view: &View, container: &str, query: &Query) -> Response<Body> {
    let spec = view.pod.spec.as_ref();
    if spec.is_none_or(|spec| crate::pod::state::named(spec, container).is_none()) {
        let name = view.pod.metadata.name.clone().unwrap_or_default();
        return text(StatusCode::BAD_REQUEST, format!("container {container} is not valid for pod {name}"));
    }
    let name = view.pod.metadata.name.clone().unwrap_or_default();
    let none = Tracked::default();
    let tracked = view.containers.get(container).unwrap_or(&none);
    let attempt = if query.flag("previous") {
        match previous(tracked) {
            Some(attempt) => attempt,
            None => {
                let text_ = format!("previous terminated container \"{container}\" in pod \"{name}\" not found");
                return text(StatusCode::BAD_REQUEST, text_);
            }
        }
    } else if matches!(tracked.run, Run::Idle | Run::Preparing) && tracked.last.is_none() {
        let why = match &tracked.waiting {
            Some(waiting) if waiting.reason == "ErrImagePull" => "image can't be pulled".to_owned(),
            Some(waiting) if waiting.reason == "ImagePullBackOff" => "trying and failing to pull image".to_owned(),
            Some(waiting) => waiting.reason.clone(),
            None => "ContainerCreating".to_owned(),
        };
        return text(
            StatusCode::BAD_REQUEST,
            format!("container \"{container}\" in pod \"{name}\" is waiting to start: {why}"),
        );
    } else {
        tracked.attempt
    };
    let path = log_path(&view.pod, container, attempt);
    let options = Options::of(query);
    let over = tracked.attempt != attempt || matches!(tracked.run, Run::Ended(_));
    let (sender, receiver) = mpsc::channel(QUEUE);
    // Reading files blocks: a thread of the blocking pool, which ends with its client or its container.
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(&path, &options, over, &sender) {
            let _ = sender.blocking_send(Ok(Bytes::from(format!("failed to read the log: {error}\n"))));
        }
    });
    streamed(ReceiverStream::new(receiver))
}

fn previous(tracked: &Tracked) -> Option<u32> {
    match (&tracked.run, &tracked.waiting) {
        // It waits to come back: the run that ended is the previous one.
        (Run::Ended(_), Some(_)) => Some(tracked.attempt),
        _ => tracked.attempt.checked_sub(1),
    }
}

type Sender = mpsc::Sender<std::io::Result<Bytes>>;

struct Sink<'a> {
    sender: &'a Sender,
    left: Option<usize>,
}

impl Sink<'_> {
    /// False when the client has enough, or is gone.
    fn send(&mut self, mut line: Vec<u8>) -> bool {
        if let Some(left) = &mut self.left {
            line.truncate(*left);
            *left -= line.len();
        }
        let sent = line.is_empty() || self.sender.blocking_send(Ok(line.into())).is_ok();
        sent && self.left != Some(0)
    }
}

fn read(path: &Path, options: &Options, over: bool, sender: &Sender) -> std::io::Result<()> {
    let mut sink = Sink { sender, left: options.limit };
    let mut files: Vec<PathBuf> = older(path)?;
    // Watching starts before reading, so that nothing written in between is missed.
    let watch = if options.follow && !over { Some(watch(path)?) } else { None };
    let current = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && files.is_empty() => return Ok(()),
        Err(error) => return Err(error),
    };
    files.retain(|file| file != path);
    let mut tail: VecDeque<Vec<u8>> = VecDeque::new();
    let mut give = |line: Vec<u8>, sink: &mut Sink<'_>| match options.tail {
        Some(count) => {
            tail.push_back(line);
            if tail.len() > count {
                tail.pop_front();
            }
            true
        }
        None => sink.send(line),
    };
    for file in &files {
        let mut reader = BufReader::new(File::open(file)?);
        while let Some(line) = next_line(&mut reader)? {
            if let Some(shown) = options.show(&line)
                && !give(shown, &mut sink)
            {
                return Ok(());
            }
        }
    }
    let mut reader = BufReader::new(current);
    while let Some(line) = next_line(&mut reader)? {
        if let Some(shown) = options.show(&line)
            && !give(shown, &mut sink)
        {
            return Ok(());
        }
    }
    for line in tail {
        if !sink.send(line) {
            return Ok(());
        }
    }
    match watch {
        Some(watch) => follow(path, options, reader, &watch, &mut sink),
        None => Ok(()),
    }
}

/// A whole line; a half-written one is left for later.
fn next_line(reader: &mut BufReader<File>) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let count = reader.read_until(b'\n', &mut line)?;
    if count == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        reader.seek_relative(-(count as i64))?;
        return Ok(None);
    }
    Ok(Some(line))
}

fn watch(path: &Path) -> std::io::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    // Pause closes the file when the container is over; rotation moves it away.
    let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVE_SELF;
    inotify.add_watch(path, changes | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_ATTRIB)?;
    Ok(inotify)
}

fn follow(
    path: &Path,
    options: &Options,
    mut reader: BufReader<File>,
    watch: &Inotify,
    sink: &mut Sink<'_>,
) -> std::io::Result<()> {
    use std::os::fd::AsFd;
    let mut ends = false;
    loop {
        while let Some(line) = next_line(&mut reader)? {
            if let Some(shown) = options.show(&line)
                && !sink.send(shown)
            {
                return Ok(());
            }
        }
        if ends || sink.sender.is_closed() {
            return Ok(());
        }
        // Half a minute is how long a thread may outlive a client that went away from a silent container.
        let mut ready = [nix::poll::PollFd::new(watch.as_fd(), nix::poll::PollFlags::POLLIN)];
        if nix::poll::poll(&mut ready, nix::poll::PollTimeout::from(30_000_u16))? == 0 {
            continue;
        }
        for event in watch.read_events()? {
            if event.mask.contains(AddWatchFlags::IN_MOVE_SELF) {
                // Rotated: the rest of the old file first, then the new one from its start.
                while let Some(line) = next_line(&mut reader)? {
                    if let Some(shown) = options.show(&line)
                        && !sink.send(shown)
                    {
                        return Ok(());
                    }
                }
                reader = BufReader::new(File::open(path)?);
                watch.add_watch(
                    path,
                    AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVE_SELF,
                )?;
            } else if event.mask.intersects(AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_DELETE_SELF) {
                ends = !event.mask.contains(AddWatchFlags::IN_CLOSE_WRITE) || is_same(path, &reader);
            }
        }
    }
}

/// Whether the file at `path` is still the one being read.
fn is_same(path: &Path, reader: &BufReader<File>) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(there), Ok(here)) = (std::fs::metadata(path), reader.get_ref().metadata()) else { return true };
    there.ino() == here.ino()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"2026-11-21T07:00:00.123456789Z stderr F hello world\n";

    #[test]
    fn a_line_is_shown_as_asked() {
        let show = |options: Options| options.show(LINE).map(|line| String::from_utf8(line).expect("text"));
        assert_eq!(show(Options::default()).as_deref(), Some("hello world\n"));
        let stamped = show(Options { timestamps: true, ..Options::default() });
        assert_eq!(stamped.as_deref(), Some("2026-11-21T07:00:00.123456789Z hello world\n"));
        assert_eq!(show(Options { stream: Some("stdout"), ..Options::default() }), None);
        let later = "2026-11-21T08:00:00Z".parse().expect("a time");
        assert_eq!(show(Options { since: Some(later), ..Options::default() }), None);
        assert_eq!(Options::default().show(b"2026 stdout P part\n").as_deref(), Some(&b"part"[..]));
    }

    #[test]
    fn tail_and_limit() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("0.log");
        let lines: String = (0..10).map(|n| format!("2026-11-21T07:00:00Z stdout F {n}\n")).collect();
        std::fs::write(&path, lines).expect("written");
        let read_all = |options: Options| {
            let (sender, mut receiver) = mpsc::channel(64);
            read(&path, &options, true, &sender).expect("reads");
            drop(sender);
            let mut all = Vec::new();
            while let Ok(chunk) = receiver.try_recv() {
                all.extend_from_slice(&chunk.expect("no error"));
            }
            String::from_utf8(all).expect("text")
        };
        assert_eq!(read_all(Options { tail: Some(2), ..Options::default() }), "8\n9\n");
        assert_eq!(read_all(Options { tail: Some(0), ..Options::default() }), "");
        assert_eq!(read_all(Options { limit: Some(3), ..Options::default() }), "0\n1");
    }
}
