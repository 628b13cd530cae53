//! AES in Galois/Counter Mode and with Cipher Block Chaining, with keys of 16, 24 or 32 bytes.

use aes::cipher::block_padding::{NoPadding, Pkcs7};
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{Aead, AeadCore, Payload};
use aes_gcm::{AesGcm, Nonce};

use ring::hkdf::{HKDF_SHA256, Prk};

use super::{Failure, TOO_SHORT, random};

const NONCE: usize = 12;
/// Of what the key of a value is made of besides the seed, of the key, and of the shortest seed.
const DERIVED: usize = 32;
const BLOCK: usize = 16;

/// GCM; the value is bound to the key of the store that it is kept at.
///
/// Nonces are random, so a key is not to be used for more than 2^32 writes.
pub struct Gcm(Box<dyn GcmOf>);

/// GCM with a key for each value, made of a seed and random bytes (HKDF-SHA256, expansion alone) that are stored in front.
///
/// So a seed may be used for as many writes as one likes.
pub struct SeededGcm(Prk);

/// CBC with PKCS #7 padding. Nothing tells whether the value has been changed.
pub struct Cbc(Box<dyn CbcOf>);

/// For all sizes of keys.
trait GcmOf: Send + Sync {
    fn encrypt(&self, nonce: &[u8; NONCE], payload: Payload<'_, '_>) -> Option<Vec<u8>>;
    fn decrypt(&self, nonce: &[u8; NONCE], payload: Payload<'_, '_>) -> Option<Vec<u8>>;
}

impl<T: Aead + AeadCore<NonceSize = U12> + Send + Sync> GcmOf for T {
    fn encrypt(&self, nonce: &[u8; NONCE], payload: Payload<'_, '_>) -> Option<Vec<u8>> {
        Aead::encrypt(self, &Nonce::from(*nonce), payload).ok()
    }

    fn decrypt(&self, nonce: &[u8; NONCE], payload: Payload<'_, '_>) -> Option<Vec<u8>> {
        Aead::decrypt(self, &Nonce::from(*nonce), payload).ok()
    }
}

trait CbcOf: Send + Sync {
    fn encrypt(&self, iv: &[u8; BLOCK], value: &[u8]) -> Vec<u8>;
    /// `stored` is a number of whole blocks.
    fn decrypt(&self, iv: &[u8; BLOCK], stored: &[u8]) -> Option<Vec<u8>>;
}

impl<T> CbcOf for T
where
    T: BlockCipherEncrypt<BlockSize = U16> + BlockCipherDecrypt<BlockSize = U16> + Clone + Send + Sync,
{
    fn encrypt(&self, iv: &[u8; BLOCK], value: &[u8]) -> Vec<u8> {
        cbc::Encryptor::inner_iv_init(self.clone(), &(*iv).into()).encrypt_padded_vec::<Pkcs7>(value)
    }

    fn decrypt(&self, iv: &[u8; BLOCK], stored: &[u8]) -> Option<Vec<u8>> {
        cbc::Decryptor::inner_iv_init(self.clone(), &(*iv).into()).decrypt_padded_vec::<NoPadding>(stored).ok()
    }
}

impl Gcm {
    /// `None`: there are no keys of this length.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        fn of<C>(key: &[u8]) -> Option<Gcm>
        where
            AesGcm<C, U12>: KeyInit + GcmOf + 'static,
        {
            Some(Gcm(Box::new(AesGcm::<C, U12>::new_from_slice(key).ok()?)))
        }
        match key.len() {
            16 => of::<Aes128>(key),
            24 => of::<Aes192>(key),
            32 => of::<Aes256>(key),
            _ => None,
        }
    }

    /// # Errors
    /// There is no randomness to be had, or the value is too large.
    pub fn seal(&self, value: &[u8], key: &str) -> Result<Vec<u8>, Failure> {
        let nonce = random::<NONCE>()?;
        let sealed = self.0.encrypt(&nonce, Payload { msg: value, aad: key.as_bytes() });
        let sealed = sealed.ok_or_else(|| Failure::new("the value is too large for AES-GCM"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// # Errors
    /// The bytes have been changed, or are of another key.
    pub fn open(&self, stored: &[u8], key: &str) -> Result<Vec<u8>, Failure> {
        let (nonce, sealed) = stored.split_first_chunk().ok_or_else(|| Failure::new(TOO_SHORT))?;
        let opened = self.0.decrypt(nonce, Payload { msg: sealed, aad: key.as_bytes() });
        opened.ok_or_else(|| Failure::new("cipher: message authentication failed"))
    }
}

impl SeededGcm {
    /// `None`: the seed is too short.
    #[must_use]
    pub fn new(seed: &[u8]) -> Option<Self> {
        // The seed is random already, so nothing is extracted from it.
        (seed.len() >= DERIVED).then(|| Self(Prk::new_less_safe(HKDF_SHA256, seed)))
    }

    /// A new one, and its seed.
    ///
    /// # Errors
    /// There is no randomness to be had.
    pub fn generate() -> Result<(Self, [u8; DERIVED]), Failure> {
        let seed = random::<DERIVED>()?;
        Ok((Self(Prk::new_less_safe(HKDF_SHA256, &seed)), seed))
    }

    /// # Errors
    /// There is no randomness to be had, or the value is too large.
    pub fn seal(&self, value: &[u8], key: &str) -> Result<Vec<u8>, Failure> {
        let info = random::<DERIVED>()?;
        Ok([&info[..], &self.of(&info).seal(value, key)?].concat())
    }

    /// # Errors
    /// The bytes have been changed, or are of another seed.
    pub fn open(&self, stored: &[u8], key: &str) -> Result<Vec<u8>, Failure> {
        let (info, sealed) = stored.split_first_chunk().ok_or_else(|| Failure::new(TOO_SHORT))?;
        self.of(info).open(sealed, key)
    }

    fn of(&self, info: &[u8; DERIVED]) -> Gcm {
        let mut key = [0; DERIVED];
        let derived = self.0.expand(&[info], HKDF_SHA256).and_then(|derived| derived.fill(&mut key));
        derived.expect("a hash's length can always be expanded to");
        Gcm::new(&key).expect("there are keys of 32 bytes")
    }
}

impl Cbc {
    /// `None`: there are no keys of this length.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        fn of<C: CbcOf + KeyInit + 'static>(key: &[u8]) -> Option<Cbc> {
            Some(Cbc(Box::new(C::new_from_slice(key).ok()?)))
        }
        match key.len() {
            16 => of::<Aes128>(key),
            24 => of::<Aes192>(key),
            32 => of::<Aes256>(key),
            _ => None,
        }
    }

    pub(super) fn seal(&self, value: &[u8]) -> Result<Vec<u8>, Failure> {
        let iv = random::<BLOCK>()?;
        Ok([&iv[..], &self.0.encrypt(&iv, value)].concat())
    }

    pub(super) fn open(&self, stored: &[u8]) -> Result<Vec<u8>, Failure> {
        let (iv, stored) = stored.split_first_chunk().ok_or_else(|| Failure::new(TOO_SHORT))?;
        let decrypted = self.0.decrypt(iv, stored);
        let mut value = decrypted.ok_or_else(|| Failure::new("the stored data is not a multiple of the block size"))?;
        // Upstream tells two mistakes of padding apart, and takes one that is longer than a block.
        let padding = value.last().map_or(0, |last| usize::from(*last));
        if padding == 0 || padding > value.len() {
            return Err(Failure::new("invalid PKCS7 data (empty or not padded)"));
        }
        let length = value.len() - padding;
        if value[length..].iter().any(|byte| usize::from(*byte) != padding) {
            return Err(Failure::new("invalid padding on input"));
        }
        value.truncate(length);
        Ok(value)
    }
}
