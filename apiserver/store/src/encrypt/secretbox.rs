//! NaCl's secretbox: XSalsa20 and Poly1305, with keys of 32 bytes.

use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;

use super::{Failure, TOO_SHORT, random};

const KEY: usize = 32;
const NONCE: usize = 24;
const TAG: usize = 16;

/// Values are not bound to where they are kept.
pub struct Secretbox(salsa20::Key);

impl Secretbox {
    /// `None`: there are no keys of this length.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        key.try_into().ok().map(|key: [u8; KEY]| Self(key.into()))
    }

    pub(super) fn seal(&self, value: &[u8]) -> Result<Vec<u8>, Failure> {
        let nonce = random::<NONCE>()?;
        let (mut stream, authenticator) = self.stream(&nonce);
        let mut sealed = [&nonce[..], &[0; TAG], value].concat();
        let (head, body) = sealed.split_at_mut(NONCE + TAG);
        stream.apply_keystream(body);
        head[NONCE..].copy_from_slice(&authenticator.compute_unpadded(body));
        Ok(sealed)
    }

    pub(super) fn open(&self, stored: &[u8]) -> Result<Vec<u8>, Failure> {
        let parts = stored.split_first_chunk::<NONCE>();
        let parts = parts.and_then(|(nonce, rest)| Some((nonce, rest.split_first_chunk::<TAG>()?)));
        let (nonce, (tag, body)) = parts.ok_or_else(|| Failure::new(TOO_SHORT))?;
        let (mut stream, authenticator) = self.stream(nonce);
        if authenticator.compute_unpadded(body).as_slice().ct_ne(tag.as_slice()).into() {
            // Upstream's words for it.
            return Err(Failure::new("output array was not large enough for encryption"));
        }
        let mut value = body.to_vec();
        stream.apply_keystream(&mut value);
        Ok(value)
    }

    /// The key stream, and what its first 32 bytes are for.
    fn stream(&self, nonce: &[u8; NONCE]) -> (XSalsa20, Poly1305) {
        let mut stream = XSalsa20::new(&self.0, &(*nonce).into());
        let mut first = poly1305::Key::default();
        stream.apply_keystream(&mut first);
        (stream, Poly1305::new(&first))
    }
}
