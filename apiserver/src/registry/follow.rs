//! Following all objects of a built-in kind through its watch cache: how the server itself stays informed.

use std::sync::Arc;

use store::cache::{At, Change, ListQuery, Object, Watch};

use super::resource::Resource;
use crate::app::App;
use crate::http::status::ApiResult;

/// What a follower is told, in this order: `Restart`, each object there is, `Settled`; then changes, `Settled` after each
/// batch. When the cache begins anew, so does this.
pub enum Step<'a> {
    Restart,
    /// An object as it is now.
    Now(&'a Object),
    Gone(&'a Object),
    /// All that is known has been told.
    Settled,
}

/// Tells `apply` of all objects before it returns, and of their changes until the server stops.
///
/// # Errors
/// The cache cannot be filled.
pub async fn follow<F>(app: &Arc<App>, group: &str, plural: &str, apply: F) -> ApiResult<()>
where
    F: Fn(&Arc<App>, Step<'_>) + Send + Sync + 'static,
{
    let resource = app.resource(group, plural)?;
    let mut watch = begin(app, &resource, &apply).await?;
    let app = app.clone();
    tokio::spawn(async move {
        loop {
            let events = tokio::select! {
                events = watch.next() => events,
                () = app.stop.cancelled() => return,
            };
            match events {
                Ok(events) => {
                    for event in &events {
                        apply(&app, told(event.change, &event.object));
                    }
                    apply(&app, Step::Settled);
                }
                // The cache lost its store and begins anew; each attempt waits for it, up to its own limit.
                Err(_) => loop {
                    let again = tokio::select! {
                        again = begin(&app, &resource, &apply) => again,
                        () = app.stop.cancelled() => return,
                    };
                    match again {
                        Ok(new) => {
                            watch = new;
                            break;
                        }
                        Err(error) => {
                            tracing::warn!(%error, plural = resource.plural, "a kind cannot be followed");
                            tokio::task::yield_now().await;
                        }
                    }
                },
            }
        }
    });
    Ok(())
}

fn told(change: Change, object: &Object) -> Step<'_> {
    if change == Change::Deleted { Step::Gone(object) } else { Step::Now(object) }
}

async fn begin<F>(app: &Arc<App>, resource: &Resource, apply: &F) -> ApiResult<Watch>
where
    F: Fn(&Arc<App>, Step<'_>),
{
    let query = ListQuery { at: At::Latest, prefix: &resource.prefix, start: None, limit: 0, filter: None };
    let (list, watch) = app.caches.of(resource).list_and_watch(query).await?;
    apply(app, Step::Restart);
    for object in &list.items {
        apply(app, Step::Now(object));
    }
    apply(app, Step::Settled);
    Ok(watch)
}
