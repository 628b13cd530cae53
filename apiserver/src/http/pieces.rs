//! Long bodies, made piece by piece as the client takes them, so that no list is whole in memory once more.

use std::io::{self, Write};

use axum::body::Body;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::stream;
use http::Response;

use super::answer::{self, GZIP_FROM};
use super::status::{ApiError, ApiResult};
use crate::audit::parts::{self, Part};

/// The size of the pieces.
const PIECE: usize = 64 * 1024;

/// A body of `head`, the items and `tail`: in one piece when it is small, else as a stream; compressed only when it is long.
/// `append` writes an item, with whatever goes in front of it, and is told whether it is the first.
///
/// # Errors
/// Those of `append`, as far as the first piece goes; a later one breaks the stream.
pub fn body<T: 'static>(
    content_type: &str,
    gzip: bool,
    head: Vec<u8>,
    items: impl Iterator<Item = T> + Send + 'static,
    append: impl FnMut(&mut Vec<u8>, T, bool) -> io::Result<()> + Send + 'static,
    tail: &'static [u8],
) -> ApiResult<Response<Body>> {
    let mut rest = Rest { items, append, tail, first: true, over: false };
    let mut begin = head;
    let until = if gzip { GZIP_FROM } else { PIECE };
    parts::timed(Part::Serialize, || rest.fill(&mut begin, until)).map_err(ApiError::internal)?;
    let pack = gzip && begin.len() >= GZIP_FROM;
    if rest.over && !pack {
        return Ok(answer::bytes(200, content_type, begin.into(), false));
    }
    let body = if pack {
        Body::from_stream(stream::iter(packed(begin, rest)))
    } else {
        Body::from_stream(stream::iter(plain(begin, rest)))
    };
    Ok(answer::of(200, content_type, pack, body))
}

/// What is left to be written.
struct Rest<I, A> {
    items: I,
    append: A,
    tail: &'static [u8],
    first: bool,
    over: bool,
}

impl<T, I: Iterator<Item = T>, A: FnMut(&mut Vec<u8>, T, bool) -> io::Result<()>> Rest<I, A> {
    /// Writes until `out` has so many bytes, or all is written.
    fn fill(&mut self, out: &mut Vec<u8>, until: usize) -> io::Result<()> {
        while !self.over && out.len() < until {
            match self.items.next() {
                Some(item) => (self.append)(out, item, std::mem::take(&mut self.first))?,
                None => {
                    out.extend_from_slice(self.tail);
                    self.over = true;
                }
            }
        }
        Ok(())
    }

    /// The next piece; none when all is written, and none after an error.
    fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        if self.over {
            return None;
        }
        let mut out = Vec::with_capacity(PIECE + PIECE / 8);
        let filled = self.fill(&mut out, PIECE);
        self.over |= filled.is_err();
        Some(filled.map(|()| out))
    }
}

fn plain<T, I: Iterator<Item = T>>(
    begin: Vec<u8>,
    mut rest: Rest<I, impl FnMut(&mut Vec<u8>, T, bool) -> io::Result<()>>,
) -> impl Iterator<Item = io::Result<Bytes>> {
    std::iter::once(Ok(begin)).chain(std::iter::from_fn(move || rest.next())).map(|piece| piece.map(Bytes::from))
}

/// The same, compressed; the encoder holds back what it has little of.
fn packed<T, I: Iterator<Item = T>>(
    begin: Vec<u8>,
    rest: Rest<I, impl FnMut(&mut Vec<u8>, T, bool) -> io::Result<()>>,
) -> impl Iterator<Item = io::Result<Bytes>> {
    let mut pieces = plain(begin, rest);
    let mut encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    std::iter::from_fn(move || {
        loop {
            let Some(piece) = pieces.next() else {
                return Some(encoder.take()?.finish().map(Bytes::from));
            };
            let packing = encoder.as_mut()?;
            if let Err(error) = piece.and_then(|piece| packing.write_all(&piece)) {
                encoder = None;
                return Some(Err(error));
            }
            if packing.get_ref().len() >= PIECE / 4 {
                return Some(Ok(std::mem::take(packing.get_mut()).into()));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http::header::CONTENT_ENCODING;
    use http_body_util::BodyExt;

    use super::*;

    /// The bytes, whether they were compressed, and in how many frames they came; none where the body broke.
    async fn make(lengths: Vec<usize>, gzip: bool) -> Option<(Vec<u8>, bool, usize)> {
        let append = |out: &mut Vec<u8>, length: usize, first: bool| {
            out.extend_from_slice(if first { b"" } else { b"," });
            // Hard to compress, so that several pieces come of it.
            out.extend((0..length).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[5]));
            if length == 13 { Err(io::Error::other("unlucky")) } else { Ok(()) }
        };
        let response = body("text/x", gzip, b"[".to_vec(), lengths.into_iter(), append, b"]").ok()?;
        let packed = response.headers().contains_key(CONTENT_ENCODING);
        let (mut body, mut frames, mut bytes) = (response.into_body(), 0, Vec::new());
        while let Some(frame) = body.frame().await {
            frames += 1;
            bytes.extend_from_slice(frame.ok()?.data_ref()?);
        }
        if packed {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).ok()?;
            bytes = plain;
        }
        Some((bytes, packed, frames))
    }

    #[tokio::test]
    async fn however_it_travels_it_is_the_same() {
        for lengths in
            [vec![], vec![5], vec![1000; 3], vec![3000; 20], vec![3000; 100], vec![PIECE - 2], vec![GZIP_FROM; 3]]
        {
            let (plain, packed, frames) = make(lengths.clone(), false).await.unwrap();
            assert_eq!(plain.len(), 2 + lengths.iter().sum::<usize>() + lengths.len().saturating_sub(1));
            assert_eq!((plain[0], *plain.last().unwrap(), packed), (b'[', b']', false));
            assert_eq!(frames > 1, plain.len() > PIECE, "{frames} frames of {} bytes", plain.len());
            let (same, packed, frames) = make(lengths, true).await.unwrap();
            assert!(same == plain && packed == (plain.len() >= GZIP_FROM), "{} bytes in {frames} frames", plain.len());
        }
    }

    #[tokio::test]
    async fn an_item_that_cannot_be_written_is_never_left_out() {
        for gzip in [false, true] {
            assert!(make(vec![13], gzip).await.is_none(), "an error instead of an answer");
            let mut lengths = vec![GZIP_FROM; 3];
            lengths.push(13);
            assert!(make(lengths, gzip).await.is_none(), "a broken body");
        }
    }
}
