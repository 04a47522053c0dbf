//! The one queue between requests and the writer: bounded, lock-free, and never full for who holds a slot.
//!
//! A [`Slot`] is reserved before a request is served and stands for one record of at most `max_record` bytes, so the
//! slots bound the bytes as well. Filling a slot neither waits nor fails. A slot is free again when its record was
//! appended by the writer, or when it is dropped unfilled.
//!
//! Invariant: `reserved` counts the slots that are held plus the records that are queued, and never exceeds `limit`;
//! the channel has room for `limit` records. Hooks reserve and fill from any thread; only the writer drains.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::accounting::{Accounting, Reason};
use crate::record::Entry;
use crate::time::Timestamp;

/// The ring: the writer's end, and what all ends share.
#[derive(Debug)]
pub struct Ring {
    limit: usize,
    reserved: AtomicUsize,
    queued_bytes: AtomicU64,
    sender: Sender<Entry>,
    receiver: Receiver<Entry>,
    waiting: AtomicUsize,
    freed: Notify,
    /// A bit for each [`Reason`] that holds.
    refusing: AtomicU8,
    wake_at: u64,
    /// The writer has nothing to do and waits to be woken by the next record.
    idle: AtomicBool,
    writer: OnceLock<Thread>,
    accounting: Accounting,
    losses: [Losses; Reason::ALL.len()],
    boot: String,
}

/// Losses that no gap has declared yet.
#[derive(Debug)]
struct Losses {
    count: AtomicU64,
    from: AtomicU64,
    to: AtomicU64,
}

impl Default for Losses {
    fn default() -> Losses {
        Losses { count: AtomicU64::new(0), from: AtomicU64::new(u64::MAX), to: AtomicU64::new(0) }
    }
}

/// Losses to be declared by one gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) reason: Reason,
    pub(crate) count: u64,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// How the slots are used at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Neither reserved nor filled.
    pub free: u64,
    /// Held by requests that have no record yet.
    pub reserved: u64,
}

/// The writer is woken before its time when this many records are queued, or half of a smaller ring.
const WAKE_AT: usize = 8192;

impl Ring {
    /// A ring of `limit` slots for the boot named `boot` (8 hex digits).
    pub(crate) fn new(limit: usize, boot: String) -> Arc<Ring> {
        let (sender, receiver) = crossbeam_channel::bounded(limit);
        Arc::new(Ring {
            limit,
            reserved: AtomicUsize::new(0),
            queued_bytes: AtomicU64::new(0),
            sender,
            receiver,
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            refusing: AtomicU8::new(0),
            wake_at: (limit / 2).clamp(1, WAKE_AT) as u64,
            idle: AtomicBool::new(false),
            writer: OnceLock::new(),
            accounting: Accounting::default(),
            losses: Default::default(),
            boot,
        })
    }

    /// What was counted.
    pub fn accounting(&self) -> &Accounting {
        &self.accounting
    }

    /// How the slots are used.
    pub fn slots(&self) -> Slots {
        let used = self.reserved.load(Ordering::Acquire) as u64;
        Slots {
            free: (self.limit as u64).saturating_sub(used),
            reserved: used.saturating_sub(self.receiver.len() as u64),
        }
    }

    /// Bytes of the records that are queued.
    pub fn queued_bytes(&self) -> u64 {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Why service is refused, if it is: the gravest reason that holds.
    pub fn refusing(&self) -> Option<Reason> {
        let holding = self.refusing.load(Ordering::Acquire);
        Reason::ALL.into_iter().rev().find(|reason| holding & bit(*reason) != 0)
    }

    /// Refuses service for `reason`, from now on.
    pub(crate) fn refuse(&self, reason: Reason) {
        self.refusing.fetch_or(bit(reason), Ordering::AcqRel);
    }

    /// `reason` does not hold any more.
    pub(crate) fn relent(&self, reason: Reason) {
        self.refusing.fetch_and(!bit(reason), Ordering::AcqRel);
        self.freed.notify_waiters();
    }

    /// The thread that drains: it is woken when much is queued.
    pub(crate) fn set_writer(&self, writer: Thread) {
        // There is one writer; a second call would be of the same.
        let _ = self.writer.set(writer);
    }

    /// Whether so much is queued that the writer should not wait.
    pub(crate) fn is_filling(&self) -> bool {
        self.accounting.queued() >= self.wake_at
    }

    /// The writer waits, for `timeout` at most, until a record comes. A record after a rest is thus written at once;
    /// under load records come while the writer waits for its time, and wake nobody.
    pub(crate) fn rest(&self, timeout: Duration) {
        self.idle.store(true, Ordering::SeqCst);
        if self.accounting.queued() == 0 {
            std::thread::park_timeout(timeout);
        }
        self.idle.store(false, Ordering::SeqCst);
    }

    fn wake_writer(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Moves queued records to `out`, until it holds `max_count` of them or `max_bytes`.
    pub(crate) fn drain(&self, out: &mut Vec<Entry>, max_count: usize, max_bytes: usize) {
        let mut bytes = 0;
        while out.len() < max_count && bytes < max_bytes {
            let Ok(entry) = self.receiver.try_recv() else { break };
            bytes += entry.len();
            out.push(entry);
        }
    }

    /// `count` drained records of `bytes` bytes were appended: their slots are free.
    pub(crate) fn appended(&self, count: usize, bytes: u64) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.release(count);
    }

    /// Slots that are held by requests, and records that are queued.
    pub(crate) fn in_use(&self) -> usize {
        self.reserved.load(Ordering::Acquire)
    }

    /// The losses since the last call.
    pub(crate) fn take_losses(&self) -> Vec<Lost> {
        let mut lost = Vec::new();
        for reason in Reason::ALL {
            let losses = &self.losses[reason as usize];
            let count = losses.count.swap(0, Ordering::AcqRel);
            if count == 0 {
                continue;
            }
            let (from, to) =
                (losses.from.swap(u64::MAX, Ordering::AcqRel), losses.to.swap(0, Ordering::AcqRel));
            // Where a loss came in between the three steps its time went with the losses before.
            let now = Timestamp::now();
            let from = if from == u64::MAX { now } else { Timestamp::from_micros(from) };
            let to = if to == 0 { now } else { Timestamp::from_micros(to) };
            lost.push(Lost { reason, count, from, to: to.max(from) });
        }
        lost
    }

    fn try_take(&self) -> bool {
        if self.refusing.load(Ordering::Acquire) != 0 {
            return false;
        }
        let mut reserved = self.reserved.load(Ordering::Relaxed);
        while reserved < self.limit {
            let swap = self.reserved.compare_exchange_weak(
                reserved,
                reserved + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            match swap {
                Ok(_) => return true,
                Err(now) => reserved = now,
            }
        }
        false
    }

    fn release(&self, count: usize) {
        self.reserved.fetch_sub(count, Ordering::AcqRel);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_waiters();
        }
    }
}

const fn bit(reason: Reason) -> u8 {
    1 << reason as u8
}

/// The hooks' end of the ring. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Ring>);

/// No slot could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for the request's record: {}", .0.as_str())]
pub struct Refused(Reason);

impl Refused {
    /// Why.
    pub fn reason(&self) -> Reason {
        self.0
    }
}

impl Recorder {
    pub(crate) fn new(ring: Arc<Ring>) -> Recorder {
        Recorder(ring)
    }

    /// A slot, if one is free now.
    pub fn try_reserve(&self) -> Option<Slot> {
        self.0.try_take().then(|| Slot { ring: Some(self.0.clone()) })
    }

    /// A slot, waited for as long as `timeout`.
    ///
    /// # Errors
    /// None became free in time; the refusal is counted.
    pub async fn reserve(&self, timeout: Duration) -> Result<Slot, Refused> {
        if let Some(slot) = self.try_reserve() {
            return Ok(slot);
        }
        let deadline = Instant::now() + timeout;
        let _waiting = Waiting::enter(&self.0.waiting);
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            // Registered before the slots are looked at again: a slot freed from here on is not missed.
            freed.as_mut().enable();
            if let Some(slot) = self.try_reserve() {
                return Ok(slot);
            }
            if tokio::time::timeout_at(deadline, freed).await.is_err() {
                let reason = self.0.refusing().unwrap_or(Reason::RingFull);
                self.0.accounting.refused(reason);
                return Err(Refused(reason));
            }
        }
    }

    /// Declares that a record was lost for want of a slot: it is counted, and a `gap` will say so.
    pub fn lost(&self) {
        let reason = self.0.refusing().unwrap_or(Reason::RingFull);
        let now = Timestamp::now().as_micros();
        let losses = &self.0.losses[reason as usize];
        losses.from.fetch_min(now, Ordering::AcqRel);
        losses.to.fetch_max(now, Ordering::AcqRel);
        losses.count.fetch_add(1, Ordering::AcqRel);
        self.0.accounting.lost(reason);
    }

    /// The boot's name, 8 hex digits.
    pub fn boot(&self) -> &str {
        &self.0.boot
    }

    /// Why service is refused, if it is.
    pub fn refusing(&self) -> Option<Reason> {
        self.0.refusing()
    }
}

/// Counts a waiter for as long as it lives, also where its future is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Waiting<'a> {
        waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Room for one record. Dropped unfilled, it is given back.
#[derive(Debug)]
pub struct Slot {
    ring: Option<Arc<Ring>>,
}

impl Slot {
    /// Hands the record over to the writer. Neither waits nor fails.
    pub fn fill(mut self, entry: Entry) {
        let Some(ring) = self.ring.take() else { return };
        ring.queued_bytes.fetch_add(entry.len() as u64, Ordering::Relaxed);
        let queued = ring.accounting.captured();
        let sent = ring.sender.try_send(entry);
        sent.expect("a slot is held, the channel has room for all slots, and the ring keeps both ends");
        let ends_a_rest = queued == 1 && ring.idle.load(Ordering::SeqCst);
        if queued == ring.wake_at || ends_a_rest {
            ring.wake_writer();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(ring) = self.ring.take() {
            ring.release(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Entry, KindRejected, Rejected, Source, Unnumbered, V1};

    fn entry() -> Entry {
        Entry::rejected(&Rejected {
            seq: Unnumbered,
            v: V1,
            kind: KindRejected,
            ts: Timestamp::from_micros(1),
            boot: "00000000",
            listener: "edge",
            source: Source { ip: [127, 0, 0, 1].into(), port: 1, peer: None, claimed: &[] },
            reason: "malformed_request",
            bytes: 1,
            response: None,
            duration_us: 1,
        })
    }

    #[test]
    fn a_slot_dropped_unfilled_is_given_back_and_a_filled_one_only_when_appended() {
        let ring = Ring::new(2, "00000000".into());
        let recorder = Recorder::new(ring.clone());
        let (first, second) = (recorder.try_reserve().expect("free"), recorder.try_reserve().expect("free"));
        assert!(recorder.try_reserve().is_none());
        drop(first);
        let third = recorder.try_reserve().expect("given back");
        second.fill(entry());
        third.fill(entry());
        assert!(recorder.try_reserve().is_none());
        let mut out = Vec::new();
        ring.drain(&mut out, 10, usize::MAX);
        assert_eq!((out.len(), ring.accounting().queued()), (2, 2));
        assert!(recorder.try_reserve().is_none(), "drained is not yet appended");
        ring.appended(2, ring.queued_bytes());
        assert!(recorder.try_reserve().is_some());
        ring.accounting().durable(2);
        let counters = ring.accounting().snapshot();
        assert_eq!((counters.captured, counters.durable, counters.queued, counters.lost), (2, 2, 0, 0));
    }

    #[tokio::test]
    async fn a_waiter_gets_the_slot_that_is_freed_and_is_refused_where_none_is() {
        let ring = Ring::new(1, "00000000".into());
        let recorder = Recorder::new(ring.clone());
        let slot = recorder.try_reserve().expect("free");
        let refused = recorder.reserve(Duration::from_millis(1)).await.expect_err("full");
        assert_eq!(
            (refused.reason(), ring.accounting().refused_for(Reason::RingFull)),
            (Reason::RingFull, 1)
        );
        let waiter = tokio::spawn({
            let recorder = recorder.clone();
            async move { recorder.reserve(Duration::from_secs(60)).await.is_ok() }
        });
        while ring.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        drop(slot);
        assert!(waiter.await.expect("no panic"));
    }

    #[tokio::test]
    async fn while_service_is_refused_free_slots_are_not_given() {
        let ring = Ring::new(8, "00000000".into());
        let recorder = Recorder::new(ring.clone());
        ring.refuse(Reason::SpoolFull);
        assert!(recorder.try_reserve().is_none());
        let refused = recorder.reserve(Duration::ZERO).await.expect_err("refusing");
        assert_eq!(refused.reason(), Reason::SpoolFull);
        ring.relent(Reason::SpoolFull);
        assert!(recorder.try_reserve().is_some());
    }

    #[test]
    fn losses_are_counted_and_declared_once() {
        let ring = Ring::new(1, "00000000".into());
        let recorder = Recorder::new(ring.clone());
        (0..3).for_each(|_| recorder.lost());
        let lost = ring.take_losses();
        assert_eq!(
            lost.iter().map(|lost| (lost.reason, lost.count)).collect::<Vec<_>>(),
            [(Reason::RingFull, 3)]
        );
        assert!(lost[0].from <= lost[0].to && ring.take_losses().is_empty());
        let counters = ring.accounting().snapshot();
        assert_eq!((counters.captured, counters.lost), (3, 3));
    }

    #[test]
    fn many_threads_never_hold_more_slots_than_there_are() {
        let ring = Ring::new(16, "00000000".into());
        let recorder = Recorder::new(ring.clone());
        let running = AtomicUsize::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for round in 0..2000 {
                        if let Some(slot) = recorder.try_reserve() {
                            assert!(ring.in_use() <= 16);
                            if round % 2 == 0 { slot.fill(entry()) } else { drop(slot) }
                        }
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
            let mut out = Vec::new();
            while running.load(Ordering::SeqCst) > 0 {
                ring.drain(&mut out, 100, usize::MAX);
                let bytes = out.iter().map(|entry| entry.len() as u64).sum();
                ring.appended(out.len(), bytes);
                ring.accounting().durable(out.len() as u64);
                out.clear();
            }
        });
        let mut out = Vec::new();
        ring.drain(&mut out, usize::MAX, usize::MAX);
        assert_eq!(out.len() as u64, ring.accounting().queued());
        assert_eq!(ring.in_use(), out.len());
    }
}
