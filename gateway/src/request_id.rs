//! The id of a request: in its record, on its way upstream, and on the response.

use std::cell::RefCell;

use audit_writer::time::Timestamp;
use http::HeaderValue;
use uuid::Builder;

/// Random bytes of a UUID of version 7 (RFC 9562, section 5.7).
const RANDOM: usize = 10;
/// Bytes that are fetched from the kernel at once.
const POOL: usize = 128 * RANDOM;
/// Lengths of an inbound id that is kept.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=64;

/// A request's id. A UUID of version 7 where the gateway made it, so that its own time says where to search for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A new id for a request that came in at `received`.
    pub fn generate(received: Timestamp) -> RequestId {
        let millis = received.as_micros() / 1000;
        let uuid = random(|bytes| Builder::from_unix_timestamp_millis(millis, bytes).into_uuid());
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text: &str = uuid.hyphenated().encode_lower(&mut text);
        RequestId(HeaderValue::from_str(text).expect("hex digits and hyphens are a header's value"))
    }

    /// The id that a trusted peer gave, where it can be kept: 8 to 64 letters, digits, `.`, `_` and `-`.
    pub fn inbound(value: &HeaderValue) -> Option<RequestId> {
        let bytes = value.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        (LENGTHS.contains(&bytes.len()) && bytes.iter().all(plain)).then(|| RequestId(value.clone()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("an id is visible ASCII")
    }

    /// The id as the value of `X-Request-Id`.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Lends bytes of the kernel's randomness, fetched by this thread for many ids at once.
fn random<T>(with: impl FnOnce(&[u8; RANDOM]) -> T) -> T {
    struct Pool {
        bytes: [u8; POOL],
        used: usize,
    }
    thread_local! {
        static POOLED: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL], used: POOL }) };
    }
    POOLED.with_borrow_mut(|pool| {
        if pool.used == POOL {
            fill(&mut pool.bytes);
            pool.used = 0;
        }
        let bytes = pool.bytes[pool.used..].first_chunk().expect("ids divide the pool");
        pool.used += RANDOM;
        with(bytes)
    })
}

fn fill(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .expect("the kernel's random numbers are there once the system has booted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use uuid::Uuid;

    #[test]
    fn a_generated_id_is_a_uuid_of_version_7_that_carries_its_time() {
        let received = Timestamp::from_micros(1_764_000_000_123_456);
        let id = RequestId::generate(received);
        let uuid = Uuid::parse_str(id.as_str()).expect("a UUID");
        assert_eq!(uuid.get_version_num(), 7);
        let (seconds, nanos) = uuid.get_timestamp().expect("a time").to_unix();
        assert_eq!(seconds * 1000 + u64::from(nanos) / 1_000_000, 1_764_000_000_123);
    }

    #[test]
    fn ids_of_one_millisecond_differ_within_and_across_threads() {
        let received = Timestamp::from_micros(1_764_000_000_123_456);
        let batch = move || (0..2000).map(|_| RequestId::generate(received).as_str().to_owned()).collect();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(batch)).collect();
        let batches: Vec<Vec<String>> = threads.into_iter().map(|t| t.join().expect("a batch")).collect();
        let ids: HashSet<_> = batches.into_iter().flatten().collect();
        assert_eq!(ids.len(), 8000);
    }

    #[test]
    fn an_inbound_id_is_kept_only_where_it_is_plain() {
        let kept = |text: &str| RequestId::inbound(&HeaderValue::from_str(text).expect("a value")).is_some();
        assert!(kept("0199c3f2-0000-7000-8000-000000000000"));
        assert!(kept("trace.42_A-b"));
        for refused in ["", "short", "with space in it", "quote\"inside", "semi;colon-here", "a/b/c/d/e/f"] {
            assert!(!kept(refused), "{refused:?}");
        }
        assert!(!kept(&"x".repeat(65)));
    }

    proptest! {
        #[test]
        fn an_inbound_id_never_needs_escaping(bytes in proptest::collection::vec(0x20u8..0xff, 0..100)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            if let Some(id) = RequestId::inbound(&value) {
                prop_assert_eq!(serde_json::to_string(id.as_str()).expect("text").len(), id.as_str().len() + 2);
            }
        }
    }
}
