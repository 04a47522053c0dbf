//! Slots: how many requests may be on their way to a record.
//!
//! Invariants: no more than `limit` slots are held; what needs two gets both at once or none; streams, which hold a slot
//! for as long as they live, are at most half as many as there are slots. A slot that is given back is seen by whoever
//! waits for one, or its giver sees that somebody waits.

use crate::sync::{AtomicUsize, Ordering, fence};

/// The counted slots.
#[derive(Debug)]
pub(crate) struct Reservation {
    limit: usize,
    held: AtomicUsize,
    streams: AtomicUsize,
    waiting: AtomicUsize,
}

impl Reservation {
    pub(crate) fn new(limit: usize) -> Reservation {
        Reservation {
            limit,
            held: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Takes `count` slots, or none.
    pub(crate) fn take(&self, count: usize) -> bool {
        add_below(&self.held, count, self.limit)
    }

    /// Gives `count` slots back. True where somebody waits for some, who is then to be told.
    #[must_use]
    pub(crate) fn give_back(&self, count: usize) -> bool {
        self.held.fetch_sub(count, Ordering::AcqRel);
        // One gives back and then looks for who waits, the other waits and then looks for slots: with a fence between
        // the two on both sides, one of them sees the other.
        fence(Ordering::SeqCst);
        self.is_awaited()
    }

    /// Counts one who waits. Slots are to be looked for again after that.
    pub(crate) fn begin_wait(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// One waits no more.
    pub(crate) fn end_wait(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether somebody waits.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
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
