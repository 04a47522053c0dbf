//! The one queue between requests and the writer: bounded, lock-free, and never full for who holds a slot.
//!
//! A slot is reserved before a request is served and stands for one record of at most `max_record` bytes, so the slots
//! bound the bytes as well. Handing a record over for a slot neither waits nor fails. A slot is free again when its
//! record was appended by the writer, or when its [`Ticket`] is dropped.
//!
//! Invariants: the slots that are held, and the records that are queued, are together never more than there are slots;
//! the channel has room for as many. A request is in flight from [`Recorder::enter`] to when a record that tells of it
//! is appended; the low watermark ([`crate::watermark`]) never passes it. Hooks enter, reserve and hand over from any
//! thread; only the writer drains.

mod in_flight;
#[cfg(test)]
mod in_flight_tests;
mod losses;
mod reservation;
mod ticket;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use prometheus::Histogram;
use tokio::sync::{Notify, oneshot};

use crate::accounting::{Accounting, Reason};
use crate::ids::Seq;
use crate::record::Entry;
use crate::time::Timestamp;
use crate::watermark::Watermark;
use in_flight::{Bucket, InFlight};
use losses::Losses;
pub(crate) use losses::Lost;
use reservation::Reservation;
pub use ticket::{Durable, Need, Ticket};

/// The ring: the writer's end, and what all ends share.
#[derive(Debug)]
pub struct Ring {
    reservation: Reservation,
    in_flight: InFlight,
    queued_bytes: AtomicU64,
    sender: Sender<Queued>,
    receiver: Receiver<Queued>,
    freed: Notify,
    /// A bit for each [`Reason`] that holds.
    refusing: AtomicU8,
    wake_at: u64,
    /// Queued records that somebody waits for.
    urgent: AtomicUsize,
    /// The writer has nothing to do and waits to be woken by the next record.
    idle: AtomicBool,
    writer: OnceLock<Thread>,
    accounting: Accounting,
    losses: Losses,
    /// Locked by the writer for a moment each group, and by the first request after a quiet time.
    watermark: Mutex<Watermark>,
    strict_wait: Histogram,
    boot: String,
}

/// A record in the queue.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) entry: Entry,
    /// Where its request is counted as in flight, if this record is the first that tells of it.
    bucket: Option<Bucket>,
    /// Who waits until it is durable.
    durable: Option<oneshot::Sender<()>>,
}

impl Queued {
    /// Tells who waits that the record is durable.
    pub(crate) fn acknowledge(&mut self) {
        if let Some(durable) = self.durable.take() {
            // Gone: the client closed, or the wait took too long.
            let _ = durable.send(());
        }
    }

    /// Lets go of who waits: the record is not durable, and may take long.
    pub(crate) fn disappoint(&mut self) {
        self.durable = None;
    }
}

/// How the slots are used at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Neither reserved nor filled.
    pub free: u64,
    /// Held by requests that have no record yet.
    pub reserved: u64,
}

/// Buckets of the requests in flight: 17 seconds until one comes round.
const BUCKETS: usize = 4096;
/// The writer is woken before its time when this many records are queued, or half of a smaller ring.
const WAKE_AT: usize = 8192;

impl Ring {
    /// A ring of `limit` slots for the boot named `boot` (8 hex digits).
    pub(crate) fn new(limit: usize, boot: String, watermark: Watermark, strict_wait: Histogram) -> Arc<Ring> {
        let (sender, receiver) = crossbeam_channel::bounded(limit);
        Arc::new(Ring {
            reservation: Reservation::new(limit),
            in_flight: InFlight::new(),
            queued_bytes: AtomicU64::new(0),
            sender,
            receiver,
            freed: Notify::new(),
            refusing: AtomicU8::new(0),
            wake_at: (limit / 2).clamp(1, WAKE_AT) as u64,
            urgent: AtomicUsize::new(0),
            idle: AtomicBool::new(false),
            writer: OnceLock::new(),
            accounting: Accounting::default(),
            losses: Losses::default(),
            watermark: Mutex::new(watermark),
            strict_wait,
            boot,
        })
    }

    /// What was counted.
    pub fn accounting(&self) -> &Accounting {
        &self.accounting
    }

    /// How the slots are used.
    pub fn slots(&self) -> Slots {
        let used = self.reservation.held() as u64;
        Slots {
            free: (self.reservation.limit() as u64).saturating_sub(used),
            reserved: used.saturating_sub(self.accounting.queued()),
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

    /// Whether service is refused for `reason`, among others perhaps.
    pub fn refuses(&self, reason: Reason) -> bool {
        self.refusing.load(Ordering::Acquire) & bit(reason) != 0
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

    /// Whether the writer should not wait: much is queued, or somebody waits for a record.
    pub(crate) fn is_pressing(&self) -> bool {
        self.urgent.load(Ordering::SeqCst) > 0 || self.accounting.in_queue() >= self.wake_at
    }

    /// The writer waits, for `timeout` at most, until a record comes. A record after a rest is thus written at once;
    /// under load records come while the writer waits for its time, and wake nobody.
    pub(crate) fn rest(&self, timeout: Duration) {
        self.idle.store(true, Ordering::SeqCst);
        if self.accounting.in_queue() == 0 {
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
    pub(crate) fn drain(&self, out: &mut Vec<Queued>, max_count: usize, max_bytes: usize) {
        let (before, mut bytes, mut urgent) = (out.len(), 0, 0);
        while out.len() < max_count && bytes < max_bytes {
            let Ok(queued) = self.receiver.try_recv() else { break };
            bytes += queued.entry.len();
            urgent += usize::from(queued.durable.is_some());
            out.push(queued);
        }
        self.accounting.taken((out.len() - before) as u64);
        if urgent > 0 {
            self.urgent.fetch_sub(urgent, Ordering::SeqCst);
        }
    }

    /// Drained records were appended and are durable: their slots are free, and their requests not in flight any more.
    pub(crate) fn appended(&self, records: &[Queued]) {
        let bytes = records.iter().map(|queued| queued.entry.len() as u64).sum();
        self.in_flight.leave_all(records.iter().filter_map(|queued| queued.bucket));
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.release(records.len());
    }

    /// Slots that are held by requests, and records that are queued.
    pub(crate) fn in_use(&self) -> usize {
        self.reservation.held()
    }

    /// The losses since the last call.
    pub(crate) fn take_losses(&self) -> impl Iterator<Item = Lost> + use<> {
        self.losses.take()
    }

    /// Moves the low watermark to where it may be, or says that all is quiet. What was drained must be appended by now,
    /// and what was lost declared.
    ///
    /// # Errors
    /// The spool's file cannot be written.
    pub(crate) fn move_watermark(&self) -> std::io::Result<()> {
        if self.in_flight.is_quiet() {
            return Ok(());
        }
        let mut watermark = self.watermark();
        let now = Timestamp::now();
        let since = self.owed_since(now);
        let mut quiet = since == now && self.in_flight.settle();
        if quiet && self.losses.oldest().is_some() {
            self.in_flight.rouse();
            quiet = false;
        }
        watermark.write(since, quiet).inspect_err(|_| self.in_flight.rouse())
    }

    /// The time before which no request is owed a record or a gap: `now` where none is.
    fn owed_since(&self, now: Timestamp) -> Timestamp {
        let in_flight = self.in_flight.watermark(now);
        // After the requests in flight: a loss is added here before its request leaves.
        self.losses.oldest().map_or(in_flight, |oldest| oldest.min(in_flight))
    }

    /// The records before `next_seq` are durable: the watermark says so when it moves.
    pub(crate) fn durable_before(&self, next_seq: Seq) {
        self.watermark().durable_before(next_seq);
    }

    /// Makes the watermark's file anew: at a boot's begin, and after it could not be written.
    ///
    /// # Errors
    /// The spool's file cannot be written.
    pub(crate) fn renew_watermark(&self) -> std::io::Result<()> {
        let mut watermark = self.watermark();
        let quiet = self.in_flight.is_quiet();
        watermark.renew(self.owed_since(Timestamp::now()), quiet)
    }

    /// Makes the last watermark durable.
    ///
    /// # Errors
    /// The spool's file cannot be synced.
    pub(crate) fn sync_watermark(&self) -> std::io::Result<()> {
        self.watermark().sync()
    }

    /// Whether the watermark can be written.
    pub(crate) fn watermark_is_sound(&self) -> bool {
        self.watermark().is_sound()
    }

    /// The first request after a quiet time says so in the spool, before it is served.
    fn rouse(&self) {
        let mut watermark = self.watermark();
        if !self.in_flight.is_quiet() {
            return;
        }
        let since = self.in_flight.watermark(Timestamp::now());
        if let Err(error) = watermark.write(since, false) {
            tracing::error!(%error, "the watermark cannot be written: service is refused");
            self.refuse(Reason::WriterFailed);
            self.wake_writer();
        }
        self.in_flight.rouse();
    }

    fn watermark(&self) -> MutexGuard<'_, Watermark> {
        self.watermark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `count` slots, for a stream or not, unless service is refused.
    fn take(&self, count: usize, stream: bool) -> bool {
        if self.refusing.load(Ordering::Acquire) != 0 {
            return false;
        }
        if stream { self.reservation.take_for_stream(count) } else { self.reservation.take(count) }
    }

    fn release(&self, count: usize) {
        if self.reservation.give_back(count) {
            self.freed.notify_waiters();
        }
    }

    fn send(&self, queued: Queued) {
        let urgent = queued.durable.is_some();
        self.queued_bytes.fetch_add(queued.entry.len() as u64, Ordering::Relaxed);
        if urgent {
            self.urgent.fetch_add(1, Ordering::SeqCst);
        }
        let count = self.accounting.captured();
        let sent = self.sender.try_send(queued);
        sent.expect("a slot is held, the channel has room for all slots, and the ring keeps both ends");
        let ends_a_rest = count == 1 && self.idle.load(Ordering::SeqCst);
        if urgent || count == self.wake_at || ends_a_rest {
            self.wake_writer();
        }
    }

    /// Counts a waiter for as long as what is returned lives.
    fn wait(&self) -> Waiting<'_> {
        self.reservation.begin_wait();
        Waiting(&self.reservation)
    }

    fn refuse_one(&self) -> Refused {
        self.refuse_one_for(Reason::RingFull)
    }

    /// One request is refused: for what holds, else for `reason`.
    fn refuse_one_for(&self, reason: Reason) -> Refused {
        let reason = self.refusing().unwrap_or(reason);
        self.accounting.refused(reason);
        Refused(reason)
    }
}

const fn bit(reason: Reason) -> u8 {
    1 << reason as u8
}

/// Counts a waiter, also where its future is dropped.
struct Waiting<'a>(&'a Reservation);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.end_wait();
    }
}

/// The hooks' end of the ring. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Ring>);

/// No record of the request can be kept, so it is not served.
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

    /// A request, or an attempt at one, was received: it is in flight from here.
    pub fn enter(&self) -> Ticket {
        let entered = self.0.in_flight.enter(Timestamp::now());
        if entered.in_quiet {
            self.0.rouse();
        }
        Ticket::new(self.0.clone(), entered)
    }

    /// Counts a request that was refused without a [`Ticket::reserve`].
    pub fn refused(&self, reason: Reason) {
        self.0.accounting.refused(reason);
    }

    /// The boot's name, 8 hex digits.
    pub fn boot(&self) -> &str {
        &self.0.boot
    }

    /// Why service is refused, if it is: the gravest reason that holds.
    pub fn refusing(&self) -> Option<Reason> {
        self.0.refusing()
    }

    /// Every reason for which service is refused.
    pub fn refusals(&self) -> impl Iterator<Item = Reason> + '_ {
        Reason::ALL.into_iter().filter(|reason| self.0.refuses(*reason))
    }
}

#[cfg(test)]
mod tests;
