//! Tokens that were found good a moment ago (upstream's `token/cache`): verifying one takes a signature check and, for what
//! it is bound to, reads of the store. A token that is no longer good is refused at most [`FRESH`] later, as upstream.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use auth::UserInfo;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// `TokenSuccessCacheTTL`; refusals are not kept.
const FRESH: Duration = Duration::from_secs(10);
/// So many are kept; when there are more, all are forgotten, for most of them will be stale.
const KEPT: usize = 4096;

/// By the token's hash, so that memory holds no secrets.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<[u8; 32], (UserInfo, Instant)>>);

impl Tokens {
    pub fn get(&self, token: &str, now: Instant) -> Option<UserInfo> {
        let key: [u8; 32] = Sha256::digest(token).into();
        let kept = self.0.lock();
        let (user, since) = kept.get(&key)?;
        (now.duration_since(*since) < FRESH).then(|| user.clone())
    }

    pub fn forget(&self) {
        self.0.lock().clear();
    }

    pub fn keep(&self, token: &str, user: &UserInfo, now: Instant) {
        let mut kept = self.0.lock();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(Sha256::digest(token).into(), (user.clone(), now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_for_a_while() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        tokens.keep("a", &UserInfo::new("x", ["g"]), now);
        assert_eq!(tokens.get("a", now + Duration::from_secs(9)).map(|user| user.username), Some("x".to_owned()));
        assert!(tokens.get("a", now + FRESH).is_none());
        assert!(tokens.get("b", now).is_none());
        (0..2 * KEPT).for_each(|number| tokens.keep(&number.to_string(), &UserInfo::anonymous(), now));
        assert!(tokens.0.lock().len() <= KEPT);
    }
}
