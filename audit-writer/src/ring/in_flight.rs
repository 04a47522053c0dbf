//! Which requests are owed a record, by when they were received: what the low watermark is derived from.
//!
//! A request enters a bucket of its time, and leaves it when its record is appended. The watermark is the begin of the
//! oldest bucket that is not empty, or now. Two orders make it safe, each with a fence between a write and a read on
//! both sides, so that one of the two sees the other:
//!
//! - who enters counts itself and then reads `floor`, the last watermark: it is received no earlier than that. Who moves
//!   the watermark writes `floor` and then reads the buckets.
//! - who enters counts itself and then reads `quiet`; who says that all is quiet writes `quiet` and then reads the
//!   buckets, and takes it back where one is not empty.
//!
//! A bucket whose time comes round again while it still holds requests keeps the older time: the watermark is then older
//! than it need be, never younger.

use crate::sync::{AtomicBool, AtomicU64, Ordering, fence};
use crate::time::Timestamp;

/// Buckets: about a minute until one comes round.
#[cfg(not(loom))]
const BUCKETS: usize = 4096;
#[cfg(loom)]
const BUCKETS: usize = 2;
/// log2 of the microseconds of a bucket: 16 ms.
const BUCKET_SHIFT: u32 = 14;
/// Bits of a bucket that count; those above them are its time.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// The bucket of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket(u16);

/// Requests in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    buckets: Box<[AtomicU64]>,
    /// No request that enters from now on is received earlier.
    floor: AtomicU64,
    quiet: AtomicBool,
}

/// A request has entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entered {
    pub(crate) bucket: Bucket,
    /// When it was received: the clock's time, but never before the watermark.
    pub(crate) since: Timestamp,
    /// The spool says that all is quiet: that is to be taken back before the request is served.
    pub(crate) in_quiet: bool,
}

impl InFlight {
    /// None in flight, and quiet.
    pub(crate) fn new() -> InFlight {
        InFlight {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            floor: AtomicU64::new(0),
            quiet: AtomicBool::new(true),
        }
    }

    /// A request was received at `now`.
    pub(crate) fn enter(&self, now: Timestamp) -> Entered {
        let epoch = now.as_micros() >> BUCKET_SHIFT;
        let place = (epoch % BUCKETS as u64) as usize;
        let bucket = &self.buckets[place];
        let mut before = bucket.load(Ordering::Relaxed);
        loop {
            let (held_by, count) = (before >> COUNT_BITS, before & COUNT);
            let oldest = if count == 0 { epoch } else { held_by.min(epoch) };
            let after = oldest << COUNT_BITS | (count + 1);
            match bucket.compare_exchange_weak(before, after, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(other) => before = other,
            }
        }
        fence(Ordering::SeqCst);
        let floor = Timestamp::from_micros(self.floor.load(Ordering::Relaxed));
        Entered {
            bucket: Bucket(place as u16),
            since: now.max(floor),
            in_quiet: self.quiet.load(Ordering::Relaxed),
        }
    }

    /// The request has its record, or is owed none.
    pub(crate) fn leave(&self, bucket: Bucket) {
        self.buckets[usize::from(bucket.0)].fetch_sub(1, Ordering::AcqRel);
    }

    /// The time before which no request is in flight, and none will be: `now`, or the oldest one's.
    pub(crate) fn watermark(&self, now: Timestamp) -> Timestamp {
        self.floor.store(now.as_micros(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.oldest().map_or(now, |oldest| oldest.min(now))
    }

    /// Says that all is quiet, and means it: false where a request is in flight.
    pub(crate) fn settle(&self) -> bool {
        self.quiet.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let settled = self.oldest().is_none();
        if !settled {
            self.quiet.store(false, Ordering::Relaxed);
        }
        settled
    }

    /// It is quiet no longer.
    pub(crate) fn rouse(&self) {
        self.quiet.store(false, Ordering::Release);
    }

    /// Whether all is quiet.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Acquire)
    }

    fn oldest(&self) -> Option<Timestamp> {
        let held = self.buckets.iter().map(|bucket| bucket.load(Ordering::Acquire));
        let oldest = held.filter(|held| held & COUNT > 0).map(|held| held >> COUNT_BITS).min();
        oldest.map(|epoch| Timestamp::from_micros(epoch << BUCKET_SHIFT))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The longest time that the watermark is older than the oldest request for the sake of buckets.
    const GRAIN: std::time::Duration = std::time::Duration::from_micros(1 << BUCKET_SHIFT);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000 + millis * 1000)
    }

    #[test]
    fn the_watermark_is_that_of_the_oldest_request_and_now_where_there_is_none() {
        let in_flight = InFlight::new();
        assert_eq!(in_flight.watermark(at(0)), at(0));
        let old = in_flight.enter(at(100));
        let young = in_flight.enter(at(900));
        let low = in_flight.watermark(at(1000));
        assert!(low <= at(100) && at(100).since(low) < GRAIN, "{low}");
        in_flight.leave(old.bucket);
        assert!(at(900).since(in_flight.watermark(at(1000))) < GRAIN);
        in_flight.leave(young.bucket);
        assert_eq!(in_flight.watermark(at(1001)), at(1001));
    }

    #[test]
    fn a_request_is_never_received_before_the_watermark() {
        let in_flight = InFlight::new();
        in_flight.watermark(at(50));
        assert_eq!(in_flight.enter(at(49)).since, at(50), "its clock was read before, or stepped back");
        assert_eq!(in_flight.enter(at(51)).since, at(51));
    }

    #[test]
    fn a_bucket_that_comes_round_keeps_the_older_time() {
        let in_flight = InFlight::new();
        let round = (BUCKETS as u64) << BUCKET_SHIFT;
        let rounds = |count: u64| Timestamp::from_micros(at(0).as_micros() + count * round);
        let long = in_flight.enter(rounds(0));
        let later = in_flight.enter(rounds(1));
        assert_eq!(long.bucket, later.bucket);
        assert!(in_flight.watermark(rounds(2)) <= rounds(0));
        in_flight.leave(long.bucket);
        assert!(in_flight.watermark(rounds(2)) <= rounds(0), "older than it need be, never younger");
        in_flight.leave(later.bucket);
        assert_eq!(in_flight.watermark(rounds(2)), rounds(2));
    }

    #[test]
    fn quiet_is_said_only_where_nothing_is_in_flight_and_seen_by_the_next_request() {
        let in_flight = InFlight::new();
        assert!(in_flight.is_quiet());
        let request = in_flight.enter(at(1));
        assert!(request.in_quiet);
        in_flight.rouse();
        assert!(!in_flight.settle());
        assert!(!in_flight.enter(at(2)).in_quiet);
    }
}
