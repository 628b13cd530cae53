//! Which connections nobody uses: a connection is in use from the head of a request to the end of its answer's body, so a
//! watch keeps it alive.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;

/// How many requests of a connection are under way.
#[derive(Clone)]
pub struct Uses(Arc<watch::Sender<usize>>);

/// One of them; it ends when this is dropped.
pub struct Use(Uses);

impl Default for Uses {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Uses {
    #[must_use]
    pub fn begin(&self) -> Use {
        self.0.send_modify(|uses| *uses += 1);
        Use(self.clone())
    }

    /// Waits until there has been no use for `patience`.
    pub async fn idle(&self, patience: Duration) {
        let mut uses = self.0.subscribe();
        // The sender is this one's own, so it cannot be gone.
        while uses.wait_for(|uses| *uses == 0).await.is_ok() {
            if tokio::time::timeout(patience, uses.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.0.send_modify(|uses| *uses -= 1);
    }
}

/// A body and the use of the connection that it is.
pub struct Held<B> {
    body: B,
    _use: Use,
}

impl<B> Held<B> {
    pub fn new(body: B, of: Use) -> Self {
        Self { body, _use: of }
    }
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_connection_in_use_is_not_idle() {
        let (uses, short) = (Uses::default(), Duration::from_millis(5));
        uses.idle(short).await;
        let one = uses.begin();
        let body = Held::new(axum::body::Body::from("x"), uses.begin());
        assert_eq!(body.size_hint().exact(), Some(1));
        assert!(tokio::time::timeout(10 * short, uses.idle(short)).await.is_err());
        drop(one);
        assert!(uses.idle(short).now_or_never().is_none());
        drop(body);
        uses.idle(short).await;
    }
}
