//! Watching etcd: the follower that feeds the hub, replays of the past, and the compactor.

use super::convert::{self, failure, revision_of};
use super::{ANSWER_LIMIT, newest};
use crate::hub::Hub;
use crate::{Event, Revision, StoreError};
use etcd_client::{Client, WatchOptions, WatchResponse, WatchStream};
use futures::stream::{self, Stream};
use std::sync::Arc;
use std::time::Duration;

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// Publishes all events of etcd, for ever. When the connection breaks it goes on where it was; only when etcd has
/// forgotten what lies between, or is not the same any more, all watches end and begin anew.
pub(super) async fn follow(client: Client, hub: Arc<Hub>) {
    let mut retry = FIRST_RETRY;
    loop {
        let error = match follow_once(&client, &hub, &mut retry).await {
            Ok(()) => "etcd ended the watch".to_owned(),
            Err(StoreError::Compacted { .. }) => match newest(&client).await {
                Ok(revision) => {
                    hub.reset(revision, "etcd has compacted what was missed");
                    continue;
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        tracing::warn!("following etcd is interrupted: {error}");
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(LAST_RETRY);
    }
}

async fn follow_once(client: &Client, hub: &Hub, retry: &mut Duration) -> Result<(), StoreError> {
    let mut watch = watch_all(client, hub.published()).await?;
    while let Some(answer) = watch.message().await.map_err(|error| failure(error, 0))? {
        check(&answer, hub.published())?;
        if answer.created() {
            *retry = FIRST_RETRY;
            let revision = revision_of(answer.header())?;
            if revision < hub.published() {
                hub.reset(revision, "etcd has gone back to an earlier state");
                return Ok(());
            }
        }
        let (events, reached) = events(&answer);
        if let Some(reached) = reached {
            hub.publish(&events, reached);
        }
    }
    Ok(())
}

/// The events under `prefix` after `after` up to `until`, which must be a revision that has been written.
pub(super) fn replay(
    client: Client,
    prefix: String,
    after: Revision,
    until: Revision,
) -> impl Stream<Item = Result<Event, StoreError>> + Send {
    let answers = stream::try_unfold(None, move |watch: Option<(WatchStream, Revision)>| {
        let client = client.clone();
        async move {
            let (mut watch, reached) = match watch {
                Some(watch) => watch,
                None => (watch_all(&client, after).await?, after),
            };
            if reached >= until {
                return Ok(None);
            }
            let answer = watch.message().await.map_err(|error| failure(error, after))?;
            let answer = answer.ok_or_else(|| StoreError::Unavailable(anyhow::anyhow!("etcd ended the watch")))?;
            check(&answer, after)?;
            let (events, last) = events(&answer);
            Ok(Some((events, Some((watch, last.unwrap_or(reached))))))
        }
    });
    use futures::{StreamExt, TryStreamExt};
    let wanted = move |event: &Event| match event {
        Event::Put { kv, .. } => kv.key.starts_with(&prefix) && kv.mod_revision <= until,
        Event::Delete { key, revision, .. } => key.starts_with(&prefix) && *revision <= until,
        Event::Progress { .. } => false,
    };
    let flat = answers.map_ok(move |mut events: Vec<Event>| {
        events.retain(&wanted);
        stream::iter(events.into_iter().map(Ok))
    });
    flat.try_flatten().boxed()
}

/// Compacts what is older than one interval, every interval, as upstream's API server does.
pub(super) async fn compact(client: Client, every: Duration) {
    let mut earlier = None;
    loop {
        let now = newest(&client).await.ok();
        if let Some(revision) = earlier
            && let Err(error) =
                super::kv(&client).compact(revision, None).await.map_err(|error| failure(error, revision))
            && !matches!(error, StoreError::Compacted { .. })
        {
            tracing::warn!("compacting etcd failed: {error}");
        }
        earlier = now;
        tokio::time::sleep(every).await;
    }
}

async fn watch_all(client: &Client, after: Revision) -> Result<WatchStream, StoreError> {
    let options = WatchOptions::new().with_all_keys().with_start_revision(after + 1).with_prev_key();
    let mut watches = client.watch_client().max_decoding_message_size(ANSWER_LIMIT);
    watches.watch("", Some(options)).await.map_err(|error| failure(error, after))
}

fn check(answer: &WatchResponse, requested: Revision) -> Result<(), StoreError> {
    if answer.compact_revision() > 0 {
        return Err(StoreError::Compacted { requested, oldest: answer.compact_revision() });
    }
    if answer.canceled() {
        let reason = answer.cancel_reason().to_owned();
        return Err(StoreError::Unavailable(anyhow::anyhow!("etcd cancelled the watch: {reason}")));
    }
    Ok(())
}

/// The events of an answer, and the last revision, if there is any.
fn events(answer: &WatchResponse) -> (Vec<Event>, Option<Revision>) {
    let converted: Vec<_> = answer.events().iter().filter_map(convert::event).collect();
    let last = converted.last().map(|(_, revision)| *revision);
    (converted.into_iter().filter_map(|(event, _)| event).collect(), last)
}
