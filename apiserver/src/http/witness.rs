//! Bodies that somebody follows to their end, however they end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};

/// Is dropped with the body it goes along with: when it has been sent, or when nobody wants it any more.
pub trait Witness: Unpin {
    /// There is to be another piece.
    fn asked(&mut self) {}

    fn sent(&mut self, _bytes: usize) {}
}

/// A body with its witness.
pub struct Witnessed<B, W> {
    body: B,
    witness: W,
}

impl<B, W> Witnessed<B, W> {
    pub fn new(body: B, witness: W) -> Self {
        Self { body, witness }
    }
}

impl<B: Body + Unpin, W: Witness> Body for Witnessed<B, W> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.witness.asked();
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.witness.sent(frame.data_ref().map_or(0, Buf::remaining));
        }
        polled
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
    use futures::stream;
    use http_body_util::{BodyExt, StreamBody};
    use std::convert::Infallible;
    use std::sync::mpsc::{Sender, channel};

    struct Told(usize, Sender<usize>);

    impl Witness for Told {
        fn sent(&mut self, bytes: usize) {
            self.0 += bytes;
        }
    }

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.1.send(self.0);
        }
    }

    #[tokio::test]
    async fn a_witness_knows_how_much_was_sent_and_when_it_ended() {
        let frames = || stream::iter(["ab", "cde"].map(|text| Ok::<_, Infallible>(Frame::data(text.as_bytes()))));
        let (told, ends) = channel();
        let mut given_up = Witnessed::new(StreamBody::new(frames()), Told(0, told.clone()));
        given_up.frame().await.unwrap().unwrap();
        assert!(ends.try_recv().is_err());
        drop(given_up);
        assert_eq!(ends.try_recv(), Ok(2));
        let whole = Witnessed::new(StreamBody::new(frames()), Told(0, told));
        assert_eq!(whole.collect().await.unwrap().to_bytes(), "abcde");
        assert_eq!(ends.try_recv(), Ok(5));
    }
}
