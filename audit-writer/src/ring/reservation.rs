//! Slots: how many requests may be on their way to a record.
//!
//! Invariants: no more than `limit` slots are held; what needs two gets both at once or none; streams, which hold a slot
//! for as long as they live, are at most half as many as there are slots.

use crate::sync::{AtomicUsize, Ordering};

/// The counted slots.
#[derive(Debug)]
pub(crate) struct Reservation {
    limit: usize,
    held: AtomicUsize,
    streams: AtomicUsize,
}

impl Reservation {
    pub(crate) fn new(limit: usize) -> Reservation {
        Reservation { limit, held: AtomicUsize::new(0), streams: AtomicUsize::new(0) }
    }

    /// Takes `count` slots, or none.
    pub(crate) fn take(&self, count: usize) -> bool {
        add_below(&self.held, count, self.limit)
    }

    /// Gives `count` slots back.
    pub(crate) fn give_back(&self, count: usize) {
        self.held.fetch_sub(count, Ordering::AcqRel);
    }

    /// Takes `count` slots for a stream, or none.
    pub(crate) fn take_for_stream(&self, count: usize) -> bool {
        if !add_below(&self.streams, 1, (self.limit / 2).max(1)) {
            return false;
        }
        let taken = self.take(count);
        if !taken {
            self.end_stream();
        }
        taken
    }

    /// A stream has ended.
    pub(crate) fn end_stream(&self) {
        self.streams.fetch_sub(1, Ordering::AcqRel);
    }

    /// Slots that are held: by requests, and by records that are not yet appended.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Slots in all.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

/// Adds `count` where the sum stays within `limit`.
fn add_below(counter: &AtomicUsize, count: usize, limit: usize) -> bool {
    let mut now = counter.load(Ordering::Relaxed);
    while count <= limit && now <= limit - count {
        match counter.compare_exchange_weak(now, now + count, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(other) => now = other,
        }
    }
    false
}
