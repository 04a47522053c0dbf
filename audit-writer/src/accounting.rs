//! What was counted, each where it happens: `captured = durable + queued + lost`.
//!
//! None of the four is computed from the others, and what the writer has in hand is what it has in hand, not what it
//! took: a record that slips away shows as a difference, here and in the heartbeats of the log. Hooks and the writer add, from their threads; scrapes and heartbeats take a snapshot.

use crate::record::Counters;
use crate::sync::{AtomicU64, Ordering};

/// Why a request was refused, or a record lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No slot became free in time.
    RingFull,
    /// The spool holds as much as it may, or its file system has too little room.
    SpoolFull,
    /// The writer stopped on an error.
    WriterFailed,
    /// The store holds another history of this log.
    SplitLog,
    /// The log was stopped.
    Stopping,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 5] =
        [Reason::RingFull, Reason::SpoolFull, Reason::WriterFailed, Reason::SplitLog, Reason::Stopping];

    /// The word in metrics, records and `/readyz`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::RingFull => "ring_full",
            Reason::SpoolFull => "spool_full",
            Reason::WriterFailed => "writer_failed",
            Reason::SplitLog => "split_log",
            Reason::Stopping => "stopping",
        }
    }
}

/// The stages that a record reaches after it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Appended to the write-ahead log.
    Written,
    /// Synced.
    Durable,
    /// In a sealed segment.
    Sealed,
    /// In the store, under a checkpoint.
    Uploaded,
}

/// The counters of one boot, over records that pass the ring.
#[derive(Debug, Default)]
pub struct Accounting {
    captured: AtomicU64,
    queued: AtomicU64,
    /// What the writer has taken from the queue and not yet made durable.
    in_hand: AtomicU64,
    stages: [AtomicU64; 4],
    lost: [AtomicU64; Reason::ALL.len()],
    refused: [AtomicU64; Reason::ALL.len()],
}

impl Accounting {
    /// One record was handed over; returns how many are now queued.
    pub(crate) fn captured(&self) -> u64 {
        self.captured.fetch_add(1, Ordering::AcqRel);
        self.queued.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The writer took `count` records from the queue.
    pub(crate) fn taken(&self, count: u64) {
        self.queued.fetch_sub(count, Ordering::AcqRel);
        self.in_hand.fetch_add(count, Ordering::AcqRel);
    }

    /// The writer looked, and has so many records in its hands.
    pub(crate) fn in_hand(&self, count: u64) {
        self.in_hand.store(count, Ordering::Release);
    }

    /// `count` records of what the writer had in hand are durable; it has `left`.
    pub(crate) fn durable(&self, count: u64, left: u64) {
        self.reached(Stage::Durable, count);
        self.in_hand(left);
    }

    /// `count` records reached a stage.
    pub(crate) fn reached(&self, stage: Stage, count: u64) {
        self.stages[stage as usize].fetch_add(count, Ordering::AcqRel);
    }

    /// One record could not be handed over.
    pub(crate) fn lost(&self, reason: Reason) {
        self.captured.fetch_add(1, Ordering::AcqRel);
        self.lost[reason as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// One request was refused.
    pub(crate) fn refused(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Records handed over that the writer has not taken yet.
    pub(crate) fn in_queue(&self) -> u64 {
        self.queued.load(Ordering::Acquire)
    }

    /// Records handed over and not yet durable.
    pub fn queued(&self) -> u64 {
        self.in_queue() + self.in_hand.load(Ordering::Acquire)
    }

    /// Records that have reached `stage`.
    pub fn at(&self, stage: Stage) -> u64 {
        self.stages[stage as usize].load(Ordering::Acquire)
    }

    /// Requests that were refused for `reason`.
    pub fn refused_for(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].load(Ordering::Acquire)
    }

    /// The counters at one moment; see [`Accounting::by_reason`].
    pub fn snapshot(&self) -> Counters {
        self.by_reason().0
    }

    /// The counters at one moment, and the losses among them in the order of [`Reason::ALL`].
    ///
    /// Each event adds to two of them, one after the other: where such an update is under way, it looks again, for
    /// some milliseconds at most. What does not add up then is returned as it is.
    pub fn by_reason(&self) -> (Counters, [u64; Reason::ALL.len()]) {
        let mut attempt = 0;
        loop {
            let lost = Reason::ALL.map(|reason| self.lost[reason as usize].load(Ordering::Acquire));
            let counters = Counters {
                captured: self.captured.load(Ordering::Acquire),
                durable: self.at(Stage::Durable),
                queued: self.queued(),
                lost: lost.iter().sum(),
                refused: Reason::ALL.iter().map(|reason| self.refused_for(*reason)).sum(),
            };
            attempt += 1;
            let adds_up = counters.captured == counters.durable + counters.queued + counters.lost;
            if adds_up || attempt == 10_000 {
                return (counters, lost);
            }
            if attempt > 100 {
                std::thread::yield_now();
            }
        }
    }
}
