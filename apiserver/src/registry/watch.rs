//! WATCH: the cache's events as a stream of frames.
//!
//! A watch begins with the objects there are (no resourceVersion, `0`, or `sendInitialEvents`), or after a given
//! resourceVersion. It ends at `timeoutSeconds`, when the server stops, or with an ERROR event (410 Expired) when the
//! client is too far behind. An object that enters or leaves the selection is told as ADDED or DELETED.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::{self, BoxFuture, Fuse};
use futures::{FutureExt, StreamExt, stream};
use http::Response;
use serde_json::{Map, Value, json};
use store::cache::{At, CacheError, CacheEvent, Change, ListQuery, Object, Piece, Watch, WatchCache};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::resource::Resource;
use super::selection::Selection;
use super::table::{self, Include, Table};
use super::{conversion, options};
use crate::app::{App, Call};
use crate::http::answer;
use crate::http::negotiate::{Accept, Media, Shape};
use crate::http::status::{ApiError, ApiResult};
use crate::http::websocket::{self, Framing};
use crate::kinds::internal;

/// How often a quiet watch gets a bookmark (upstream: about a minute).
const BOOKMARKS: Duration = Duration::from_secs(60);
/// So long before its end it gets another, so that the next one begins where this one was.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// The slot of [`CacheEvent::encoded`] in which protobuf frames are shared.
const PROTOBUF: u32 = 1;

/// Starts a watch; a WebSocket where the client wants one, a message an event.
pub async fn watch(call: &Call, request: Request) -> ApiResult<Response<Body>> {
    let frames = begin(call).await?;
    let content_type = call.accept.content_type(true);
    let stream = stream::unfold(frames, |mut frames| async move { frames.next().await.map(|bytes| (bytes, frames)) });
    if websocket::is_request(request.headers()) {
        let framing = if call.accept.media == Media::Protobuf { Framing::Binary } else { Framing::Text };
        return Ok(websocket::serve(request, content_type, framing, stream));
    }
    let mut response = answer::bytes(200, content_type, Bytes::new(), false);
    *response.body_mut() = Body::from_stream(stream.map(Ok::<_, Infallible>));
    Ok(response)
}

async fn begin(call: &Call) -> ApiResult<Frames> {
    if call.accept.media == Media::Yaml {
        return Err(ApiError::no_stream());
    }
    let query = &call.query;
    options::list(query)?;
    let resource = call.resource.clone();
    let mut selection = Selection::parse(&resource, query)?;
    if !call.info.name.is_empty() {
        let name = schema::selector::FieldRequirement {
            field: "metadata.name".to_owned(),
            equal: true,
            value: call.info.name.clone(),
        };
        selection.fields.requirements.push(name);
    }
    let initial = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
    let bookmarks = query.flag("allowWatchBookmarks");
    let seconds = query.number("timeoutSeconds")?.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
    // Spread over an interval, lest all clients come back at once.
    let least = u64::from(call.app.options.limits.min_request_timeout);
    let lifetime = seconds.unwrap_or_else(|| least + u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * least / 256);
    let lifetime = Duration::from_secs(lifetime);
    let last = lifetime.checked_sub(LAST_BOOKMARK).filter(|at| !at.is_zero());
    let mut ticks = tokio::time::interval_at(Instant::now() + BOOKMARKS, BOOKMARKS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let cache = call.app.caches.of(&resource);
    let replaced = resource.custom().map(|custom| custom.replaced.clone());
    let mut frames = Frames {
        encoder: Encoder {
            app: call.app.clone(),
            resource: resource.clone(),
            accept: call.accept,
            include: Include::parse(query.get("includeObject")),
            headers: true,
        },
        alike: None,
        selection,
        prefix: resource.range(&call.info.namespace),
        app: call.app.clone(),
        watch: None,
        cache: cache.clone(),
        bookmarks,
        end: end(call.app.stop.clone(), replaced, lifetime).boxed(),
        ticks,
        last: last.map_or_else(|| future::pending().boxed(), |at| tokio::time::sleep(at).boxed()).fuse(),
        first: BytesMut::new(),
        over: false,
    };
    if frames.selection.is_everything() && frames.encoder.is_plain() {
        frames.alike = Some(format!("{:?} {}", call.accept.media, frames.prefix));
    }
    match frames.begin(&cache, super::read::revision(query)?, initial).await {
        Ok(()) => {}
        // As upstream, a watch that cannot begin is a stream of one ERROR event.
        Err(Failure::Cache(error)) => frames.fail(&error.into()),
        Err(Failure::Conversion(error)) => return Err(conversion::not_ready(&resource, &error)),
    }
    Ok(frames)
}

/// Why a watch cannot begin.
enum Failure {
    Cache(CacheError),
    /// Somebody else must convert the objects, and does not.
    Conversion(ApiError),
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

/// The state of one watch under way.
struct Frames {
    encoder: Encoder,
    /// What makes this watch send the same bytes as others do; none where it has a selector or a view of its own.
    alike: Option<String>,
    selection: Selection,
    prefix: String,
    app: Arc<App>,
    watch: Option<Watch>,
    cache: WatchCache,
    bookmarks: bool,
    /// Its time is up, or the server stops. It is waited for once, not anew with every event: timers and those that wait for the
    /// stop have a lock in common.
    end: BoxFuture<'static, ()>,
    ticks: Interval,
    /// When the last bookmark is due.
    last: Fuse<BoxFuture<'static, ()>>,
    /// What is sent before any event.
    first: BytesMut,
    over: bool,
}

async fn end(stop: CancellationToken, replaced: Option<CancellationToken>, lifetime: Duration) {
    let replaced = async {
        match replaced {
            Some(replaced) => replaced.cancelled_owned().await,
            None => future::pending().await,
        }
    };
    tokio::select! {
        () = tokio::time::sleep(lifetime) => {}
        () = stop.cancelled() => {}
        () = replaced => {}
    }
}

impl Frames {
    async fn begin(&mut self, cache: &WatchCache, revision: Option<i64>, initial: Option<bool>) -> Result<(), Failure> {
        let whole = initial.unwrap_or(matches!(revision, None | Some(0)));
        if !whole {
            let after = match revision {
                Some(revision) if revision > 0 => revision,
                _ => cache.sync().await?,
            };
            self.watch = Some(cache.watch(after).await?);
            return Ok(());
        }
        let at = revision.map_or(At::Latest, At::NotOlderThan);
        let selection = &self.selection;
        let filter = |object: &Object| selection.matches(object);
        let filter: Option<&(dyn Fn(&Object) -> bool + Send + Sync)> =
            if selection.is_everything() { None } else { Some(&filter) };
        let query = ListQuery { at, prefix: &self.prefix, start: None, limit: 0, filter };
        let (mut list, watch) = cache.list_and_watch(query).await?;
        let (app, resource) = (&self.encoder.app, &self.encoder.resource);
        list.items = self.selection.converted(app, resource, list.items).await.map_err(Failure::Conversion)?;
        if conversion::is_foreign(resource) {
            // All at once, and they are kept for what follows.
            let objects: Vec<&Object> = list.items.iter().map(AsRef::as_ref).collect();
            conversion::read_all(app, resource, &objects).await.map_err(Failure::Conversion)?;
        }
        for object in &list.items {
            self.encoder.object(&mut self.first, Change::Added, object).await;
        }
        // Also told who has not asked for the objects there are, but gets them (`SetListOptionsDefaults`).
        if self.bookmarks {
            self.encoder.bookmark(&mut self.first, list.revision, true);
        }
        self.watch = Some(watch);
        Ok(())
    }

    fn fail(&mut self, error: &ApiError) {
        self.encoder.error(&mut self.first, error);
        self.over = true;
    }

    /// The next piece of the stream, `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.first.is_empty() {
                let bytes = self.first.split().freeze();
                self.encoder.count(sizes(self.encoder.accept.media, &bytes));
                return Some(bytes);
            }
            if self.over {
                return None;
            }
            let watch = self.watch.as_mut()?;
            tokio::select! {
                news = news(watch, self.alike.as_deref(), &self.encoder, &self.prefix) => match news {
                    Ok(News::Joined(piece)) if piece.bytes.is_empty() => {}
                    Ok(News::Joined(piece)) => {
                        self.encoder.count(piece.sizes.iter().copied());
                        return Some(piece.bytes);
                    }
                    Ok(News::Events(events)) => {
                        for event in events {
                            if !self.over {
                                self.event(&event).await;
                            }
                        }
                    }
                    Err(CacheError::Expired { .. }) => self.fail(&ApiError::expired("The resourceVersion for the provided watch is too old.")),
                    Err(_) => return None,
                },
                () = async {
                    tokio::select! {
                        _ = self.ticks.tick() => {}
                        () = &mut self.last => {}
                    }
                }, if self.bookmarks => {
                    // Brings a quiet cache up to the store's revision, so that the bookmark is worth something.
                    let _ = self.cache.sync().await;
                    if let Some(revision) = watch.revision() {
                        self.encoder.bookmark(&mut self.first, revision, false);
                    }
                }
                () = &mut self.end => {
                    self.over = true;
                    return None;
                }
            }
        }
    }

    async fn event(&mut self, event: &CacheEvent) {
        if !event.object.key.starts_with(&self.prefix) {
            return;
        }
        let verdicts = async {
            let holds = |object| self.selection.holds(&self.app, &self.encoder.resource, object);
            let now = event.change != Change::Deleted && holds(&event.object).await?;
            let before = match (&event.old, event.change) {
                (Some(old), _) => holds(old).await?,
                (None, Change::Deleted) => holds(&event.object).await?,
                (None, _) => false,
            };
            ApiResult::Ok((before, now))
        };
        // Where a webhook fails, the watch ends: the next one is told why.
        let Ok((before, now)) = verdicts.await else {
            self.over = true;
            return;
        };
        if (before || now) && !self.encoder.has(&event.object).await {
            self.over = true;
            return;
        }
        let out = &mut self.first;
        match (before, now) {
            (false, false) => {}
            (false, true) if event.change == Change::Added => self.encoder.shared(out, event).await,
            (true, true) if event.change == Change::Modified => self.encoder.shared(out, event).await,
            (true, false) if event.change == Change::Deleted => self.encoder.shared(out, event).await,
            (_, true) => self.encoder.object(out, Change::Added, &event.object).await,
            (true, false) => {
                let gone = event.old_as_deleted().unwrap_or_else(|| event.object.clone());
                self.encoder.object(out, Change::Deleted, &gone).await;
            }
        }
    }
}

enum News {
    Joined(Piece),
    Events(Vec<Arc<CacheEvent>>),
}

/// The next events: ready to be sent where others get the same.
async fn news(watch: &mut Watch, alike: Option<&str>, encoder: &Encoder, prefix: &str) -> Result<News, CacheError> {
    let Some(form) = alike else { return watch.next().await.map(News::Events) };
    let join = |events: &[Arc<CacheEvent>]| {
        let events = events.iter().filter(|event| event.object.key.starts_with(prefix));
        let mut out = BytesMut::with_capacity(events.clone().map(|event| event.object.bytes().len() + 40).sum());
        let mut begin = 0;
        let size = |event: &Arc<CacheEvent>| {
            encoder.plain(&mut out, event);
            out.len() - std::mem::replace(&mut begin, out.len())
        };
        let sizes = events.map(size).collect();
        Piece { bytes: out.freeze(), sizes }
    };
    watch.next_joined(form, join).await.map(News::Joined)
}

/// Turns events into frames of one representation.
struct Encoder {
    app: Arc<App>,
    resource: Arc<Resource>,
    accept: Accept,
    include: Include,
    /// The first Table carries the column definitions, the later ones do not.
    headers: bool,
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "ADDED",
        Change::Modified => "MODIFIED",
        Change::Deleted => "DELETED",
    }
}

fn json_frame(out: &mut BytesMut, kind: &str, object: &[u8]) {
    out.reserve(object.len() + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
}

/// The sizes of the frames that a piece consists of.
fn sizes(media: Media, mut piece: &[u8]) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let size = match media {
            Media::Protobuf => 4 + u32::from_be_bytes(piece.get(..4)?.try_into().ok()?) as usize,
            _ => piece.iter().position(|byte| *byte == b'\n')? + 1,
        };
        piece = piece.get(size..)?;
        Some(size)
    })
}

impl Encoder {
    /// Counts events that are sent, by the sizes of their frames.
    #[allow(clippy::cast_precision_loss)] // As all numbers on the page.
    fn count(&self, sizes: impl Iterator<Item = usize>) {
        let (metrics, resource) = (&self.app.metrics, &self.resource);
        let labels = [&*resource.group, &resource.plural, &resource.version];
        let mut count = 0.0;
        let counted = sizes.map(|size| {
            count += 1.0;
            size as f64
        });
        metrics.watch_event_sizes.observe_all(&labels, counted);
        metrics.watch_events.add(&labels, count);
    }

    /// Events are made of the bytes the cache has.
    fn is_plain(&self) -> bool {
        self.accept.media != Media::Yaml && self.accept.shape == Shape::Object && self.resource.stored_as_served
    }

    /// An event as it is, of a plain representation; what is more work than copying is done once for all watchers.
    fn plain(&self, out: &mut BytesMut, event: &CacheEvent) {
        if self.accept.media == Media::Json {
            return json_frame(out, word(event.change), event.object.bytes());
        }
        let frame = event.encoded(PROTOBUF, || {
            let mut frame = BytesMut::new();
            self.message(&mut frame, event.change, &event.object);
            frame.freeze()
        });
        out.put_slice(&frame);
    }

    /// An event as it is.
    async fn shared(&mut self, out: &mut BytesMut, event: &CacheEvent) {
        if self.is_plain() {
            self.plain(out, event);
        } else {
            self.object(out, event.change, &event.object).await;
        }
    }

    /// Whether an object is there in the version that is watched.
    async fn has(&self, object: &Object) -> bool {
        let (app, resource) = (&self.app, &self.resource);
        !conversion::is_foreign(resource) || conversion::read(app, resource, object).await.is_ok()
    }

    async fn object(&mut self, out: &mut BytesMut, change: Change, object: &Object) {
        let whole = self.accept.shape == Shape::Object;
        match self.accept.media {
            Media::Json if whole && self.resource.stored_as_served => json_frame(out, word(change), object.bytes()),
            Media::Protobuf if whole => self.message(out, change, object),
            _ => match conversion::read(&self.app, &self.resource, object).await {
                Ok(value) => self.value(out, word(change), &value),
                Err(error) => self.error(out, &error),
            },
        }
    }

    fn message(&self, out: &mut BytesMut, change: Change, object: &Object) {
        match answer::message_of(&self.resource, object) {
            Ok(message) => {
                let body = schema::protobuf::envelope(&self.resource.api_version(), &self.resource.kind, &message);
                out.put_slice(&schema::protobuf::watch_frame(word(change), &body));
            }
            Err(error) => self.error(out, &error),
        }
    }

    /// A value of the resource, as the shape asked for.
    fn value(&mut self, out: &mut BytesMut, kind: &str, value: &Value) {
        let view = match self.accept.shape {
            Shape::Object => None,
            Shape::Partial { .. } => Some(table::partial(value, self.accept.view)),
            Shape::Table => {
                let metadata = json!({ "resourceVersion": value["metadata"]["resourceVersion"] });
                let headers = std::mem::take(&mut self.headers);
                // What a bookmark says stands in the metadata, which is wanted even by those who want no objects.
                let speaks = value.pointer("/metadata/annotations/k8s.io~1initial-events-end").is_some();
                let include = match self.include {
                    Include::None if speaks => Include::Metadata,
                    include => include,
                };
                // There is no other form of it: YAML is no stream, and protobuf has no Tables.
                let table = Table::new(&self.resource, include, self.accept.view);
                let rows = std::slice::from_ref(value);
                return json_frame(out, kind, &table::of(&table, rows, &metadata, headers, false));
            }
        };
        self.frame(out, kind, view.as_ref().unwrap_or(value));
    }

    fn frame(&self, out: &mut BytesMut, kind: &str, value: &Value) {
        if self.accept.media != Media::Protobuf {
            return json_frame(out, kind, &answer::to_json(value));
        }
        let (version, name) = (value["apiVersion"].as_str(), value["kind"].as_str());
        match answer::encode(self.accept, version.unwrap_or_default(), name.unwrap_or_default(), value) {
            Ok(body) => out.put_slice(&schema::protobuf::watch_frame(kind, &body)),
            Err(error) => tracing::error!(%error, kind = name, "a watch event has no protobuf form"),
        }
    }

    fn error(&self, out: &mut BytesMut, error: &ApiError) {
        self.frame(out, "ERROR", &error.status());
    }

    fn bookmark(&mut self, out: &mut BytesMut, revision: i64, end_of_initial: bool) {
        let mut metadata = Map::new();
        if end_of_initial {
            metadata.insert("annotations".to_owned(), json!({ "k8s.io/initial-events-end": "true" }));
        }
        metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
        let (version, kind) = (self.resource.api_version(), &self.resource.kind);
        let mut object = json!({ "apiVersion": version, "kind": kind, "metadata": metadata });
        // An object of the kind that says nothing else, as Go writes it.
        if let Some(schema) = self.resource.schema() {
            internal::show_zeros(&schema, &mut object);
        }
        self.value(out, "BOOKMARK", &object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_consist_of_frames() {
        let mut json = BytesMut::new();
        json_frame(&mut json, "ADDED", b"{}");
        json_frame(&mut json, "DELETED", b"{\"a\":1}");
        assert_eq!(sizes(Media::Json, &json).collect::<Vec<_>>(), [29, 36]);
        let frames = [schema::protobuf::watch_frame("ADDED", b"abc"), schema::protobuf::watch_frame("ERROR", b"")];
        let expected: Vec<usize> = frames.iter().map(|frame| frame.len()).collect();
        assert_eq!(sizes(Media::Protobuf, &frames.concat()).collect::<Vec<_>>(), expected);
    }
}
