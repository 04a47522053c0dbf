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

use super::BUCKETS;
use crate::sync::{AtomicBool, AtomicU64, Ordering, fence};
use crate::time::Timestamp;

/// log2 of the microseconds of a bucket: 4 ms.
pub(crate) const BUCKET_SHIFT: u32 = 12;
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
        self.leave_run(bucket, 1);
    }

    /// Several have their records. Mostly those of one bucket stand together: each such run is one step, since hooks
    /// write to the same place.
    pub(crate) fn leave_all(&self, buckets: impl Iterator<Item = Bucket>) {
        let mut run: Option<(Bucket, u64)> = None;
        for bucket in buckets {
            match &mut run {
                Some((same, count)) if *same == bucket => *count += 1,
                _ => {
                    if let Some((before, count)) = run.replace((bucket, 1)) {
                        self.leave_run(before, count);
                    }
                }
            }
        }
        if let Some((last, count)) = run {
            self.leave_run(last, count);
        }
    }

    fn leave_run(&self, bucket: Bucket, count: u64) {
        self.buckets[usize::from(bucket.0)].fetch_sub(count, Ordering::AcqRel);
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
