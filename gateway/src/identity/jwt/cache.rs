//! What was verified, remembered: a token is looked up by its digest, so that its signature is checked once.
//!
//! A table of slots, each behind an `ArcSwapOption`, and a token has one slot by its digest: looking up and putting
//! neither lock nor search, and memory is bounded. Two tokens of one slot push each other out, which costs a signature
//! and nothing else. Only what was believed is put, so nobody fills it without a token. What is found counts while the
//! very set of keys serves that it was verified with, and between the token's own bounds of time.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use audit_writer::time::Timestamp;
use sha2::{Digest, Sha256};

use crate::identity::Principal;

/// Slots of a table, 64 KiB of pointers.
const SLOTS: usize = 8192;

/// The digest of a token.
pub(super) type TokenDigest = [u8; 32];

/// SHA-256 of a token: one cannot be made that has another's.
pub(super) fn digest(token: &[u8]) -> TokenDigest {
    Sha256::digest(token).into()
}

/// A token that was believed.
pub(super) struct Cached {
    pub(super) digest: TokenDigest,
    /// Of the keys that it was verified with.
    pub(super) generation: u64,
    /// From when until when it counts; the end is no part of it.
    pub(super) valid: (Timestamp, Timestamp),
    pub(super) principal: Arc<Principal>,
}

/// The table.
pub(super) struct TokenCache {
    slots: Box<[ArcSwapOption<Cached>]>,
}

impl Default for TokenCache {
    fn default() -> Self {
        TokenCache { slots: (0..SLOTS).map(|_| ArcSwapOption::empty()).collect() }
    }
}

impl TokenCache {
    /// Whom a token stands for at a moment, where that is remembered.
    pub(super) fn get(&self, digest: &TokenDigest, generation: u64, at: Timestamp) -> Option<Arc<Principal>> {
        let found = self.slot(digest).load();
        let cached = found.as_ref()?;
        let counts = cached.digest == *digest
            && cached.generation == generation
            && (cached.valid.0..cached.valid.1).contains(&at);
        counts.then(|| cached.principal.clone())
    }

    /// Remembers a token.
    pub(super) fn put(&self, cached: Cached) {
        self.slot(&cached.digest).store(Some(Arc::new(cached)));
    }

    fn slot(&self, digest: &TokenDigest) -> &ArcSwapOption<Cached> {
        &self.slots[usize::from(u16::from_le_bytes([digest[0], digest[1]])) % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Scheme;
    use audit_writer::record::ActorId;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn cached(token: &[u8], generation: u64) -> Cached {
        let principal = Principal {
            id: ActorId::new(&String::from_utf8_lossy(token)),
            scheme: Scheme::Jwt,
            provider: "corp".into(),
            groups: Box::default(),
        };
        Cached { digest: digest(token), generation, valid: (at(10), at(20)), principal: Arc::new(principal) }
    }

    #[test]
    fn what_is_remembered_counts_for_its_token_its_keys_and_its_time() {
        let cache = TokenCache::default();
        cache.put(cached(b"one", 7));
        let get = |token: &[u8], generation, moment| cache.get(&digest(token), generation, moment).is_some();
        assert!(get(b"one", 7, at(10)) && get(b"one", 7, at(19)));
        assert!(!get(b"one", 7, at(9)), "not yet");
        assert!(!get(b"one", 7, at(20)), "no more");
        assert!(!get(b"one", 8, at(15)), "other keys");
        assert!(!get(b"two", 7, at(15)), "another token");
    }

    #[test]
    fn tokens_of_one_slot_push_each_other_out_and_are_never_taken_for_one_another() {
        let cache = TokenCache::default();
        let one = cached(b"one", 1);
        let mut two = cached(b"two", 1);
        two.digest = one.digest;
        two.digest[31] ^= 1;
        let (first, second) = (one.digest, two.digest);
        cache.put(one);
        assert!(cache.get(&second, 1, at(15)).is_none());
        cache.put(two);
        assert!(cache.get(&first, 1, at(15)).is_none());
        assert_eq!(cache.get(&second, 1, at(15)).map(|who| who.id.as_str().to_owned()), Some("two".into()));
    }
}
