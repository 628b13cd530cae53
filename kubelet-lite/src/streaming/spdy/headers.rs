//! Header blocks: names and values behind their lengths, in one zlib stream per direction of the session.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary;

/// A header block of a Kubernetes client is a few hundred bytes; one that unpacks to more than this is an attack.
const MAX_BLOCK: usize = 16 * 1024;

/// Unpacks the blocks of one direction, in their order.
pub struct Decoder {
    zlib: Decompress,
    dictionary: Vec<u8>,
}

impl Decoder {
    pub fn new() -> Self {
        Self { zlib: Decompress::new(true), dictionary: dictionary::bytes() }
    }

    /// Names (lower case) and values of a block.
    ///
    /// # Errors
    /// When it is no zlib stream, too large, or cut short.
    pub fn decode(&mut self, block: &[u8]) -> io::Result<BTreeMap<String, String>> {
        let mut plain = Vec::with_capacity(1024);
        let mut rest = block;
        loop {
            let before = (self.zlib.total_in(), self.zlib.total_out());
            let status = self.zlib.decompress_vec(rest, &mut plain, FlushDecompress::Sync);
            let consumed = usize::try_from(self.zlib.total_in() - before.0).map_err(io::Error::other)?;
            rest = &rest[consumed..];
            match status {
                Ok(Status::StreamEnd) => break,
                Ok(_) if plain.len() == plain.capacity() => {
                    if plain.len() >= MAX_BLOCK {
                        return Err(invalid("a header block is too large"));
                    }
                    plain.reserve(plain.len());
                }
                Ok(_) if rest.is_empty() || self.zlib.total_out() == before.1 => break,
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib.set_dictionary(&self.dictionary).map_err(io::Error::other)?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        parse(&plain)
    }
}

/// Packs the blocks of one direction.
pub struct Encoder {
    zlib: Compress,
}

impl Encoder {
    /// # Errors
    /// When zlib refuses the dictionary.
    pub fn new() -> io::Result<Self> {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&dictionary::bytes()).map_err(io::Error::other)?;
        Ok(Self { zlib })
    }

    /// # Errors
    /// When zlib fails.
    pub fn encode(&mut self, headers: &BTreeMap<String, String>) -> io::Result<Bytes> {
        let mut plain = Vec::new();
        let length = |n: usize| u32::try_from(n).map(u32::to_be_bytes).map_err(io::Error::other);
        plain.extend(length(headers.len())?);
        for (name, value) in headers {
            for text in [name, value] {
                plain.extend(length(text.len())?);
                plain.extend(text.as_bytes());
            }
        }
        let mut packed = Vec::with_capacity(plain.len() + 128);
        self.zlib.compress_vec(&plain, &mut packed, FlushCompress::Sync).map_err(io::Error::other)?;
        Ok(packed.into())
    }
}

fn parse(plain: &[u8]) -> io::Result<BTreeMap<String, String>> {
    let mut rest = plain;
    let number = |rest: &mut &[u8]| -> io::Result<usize> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| invalid("a header block is cut short"))?;
        *rest = tail;
        Ok(u32::from_be_bytes(*head) as usize)
    };
    let count = number(&mut rest)?;
    let mut headers = BTreeMap::new();
    for _ in 0..count {
        let mut text = || -> io::Result<String> {
            let length = number(&mut rest)?;
            let (head, tail) = rest.split_at_checked(length).ok_or_else(|| invalid("a header block is cut short"))?;
            rest = tail;
            Ok(String::from_utf8_lossy(head).into_owned())
        };
        let name = text()?.to_ascii_lowercase();
        headers.insert(name, text()?);
    }
    Ok(headers)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_share_one_stream() {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::new());
        for n in 0..20 {
            let headers = BTreeMap::from([
                ("streamtype".to_owned(), "data".to_owned()),
                ("port".to_owned(), format!("{}", 8000 + n)),
                ("requestid".to_owned(), n.to_string()),
            ]);
            let block = encoder.encode(&headers).unwrap();
            assert_eq!(decoder.decode(&block).unwrap(), headers);
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut encoder = Encoder::new().unwrap();
        let bomb = encoder.encode(&BTreeMap::from([("x".to_owned(), "y".repeat(1 << 20))])).unwrap();
        assert!(Decoder::new().decode(&bomb).is_err());
        assert!(Decoder::new().decode(b"no zlib at all").is_err());
    }
}
