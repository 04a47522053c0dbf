//! One request on its way to its record.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::in_flight::{Bucket, Entered};
use super::{Queued, Refused, Ring};
use crate::accounting::Reason;
use crate::record::Entry;
use crate::time::Timestamp;

/// A record that is neither durable nor known to fail by then will not be waited for.
const DURABLE_WITHIN: Duration = Duration::from_secs(10);

/// What a request needs to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Room for the record of its end.
    Record,
    /// Room for `received`, and for the record of its end.
    BeginAndEnd,
    /// The same for one that may live long: such hold at most half of all slots.
    Stream,
}

impl Need {
    /// The slots that it takes.
    pub const fn slots(self) -> usize {
        match self {
            Need::Record => 1,
            Need::BeginAndEnd | Need::Stream => 2,
        }
    }
}

/// A request, or an attempt at one, from when it was received to when its record was handed over. Dropped before that,
/// it is owed none: it was refused. What it holds of the ring is then given back.
#[derive(Debug)]
pub struct Ticket {
    ring: Arc<Ring>,
    since: Timestamp,
    /// None once a record that tells of it was handed over.
    bucket: Option<Bucket>,
    slots: u8,
    stream: bool,
    begun: bool,
}

impl Ticket {
    pub(super) fn new(ring: Arc<Ring>, entered: Entered) -> Ticket {
        let Entered { bucket, since, .. } = entered;
        Ticket { ring, since, bucket: Some(bucket), slots: 0, stream: false, begun: false }
    }

    /// When the request was received: the `ts` of its records.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Whether a slot is held.
    pub fn has_slot(&self) -> bool {
        self.slots > 0
    }

    /// Whether its `received` was handed over.
    pub fn is_begun(&self) -> bool {
        self.begun
    }

    /// Takes what `need` asks for beyond what is held, without a wait: all of it, or nothing. Where `received` was handed
    /// over, room for the end is all that a need asks for.
    pub fn try_reserve(&mut self, need: Need) -> bool {
        let slots = if self.begun { 1 } else { need.slots() };
        let more = slots.saturating_sub(usize::from(self.slots));
        let joins = need == Need::Stream && !self.stream;
        let taken = (more == 0 && !joins) || self.ring.take(more, joins);
        if taken {
            self.slots += more as u8;
            self.stream |= joins;
        }
        taken
    }

    /// Takes what `need` asks for, and waits as long as `timeout` for it. What is held is given back meanwhile: requests
    /// that each hold one slot and wait for another would wait for each other.
    ///
    /// # Errors
    /// It was not to be had in time. Nothing is held then; the refusal is counted.
    pub async fn reserve(&mut self, need: Need, timeout: Duration) -> Result<(), Refused> {
        if self.try_reserve(need) {
            return Ok(());
        }
        self.give_back();
        self.reserve_more(need, timeout).await
    }

    /// The same, but what is held is kept: for a request that was served, whose record must be certain. Only what may
    /// have to wait in vain may ask so.
    ///
    /// # Errors
    /// It was not to be had in time. What was held still is; the refusal is counted.
    pub async fn reserve_more(&mut self, need: Need, timeout: Duration) -> Result<(), Refused> {
        let deadline = Instant::now() + timeout;
        let ring = self.ring.clone();
        let _waiting = ring.wait();
        loop {
            let mut freed = std::pin::pin!(ring.freed.notified());
            // Registered before the slots are looked at again: a slot freed from here on is not missed.
            freed.as_mut().enable();
            if self.try_reserve(need) {
                return Ok(());
            }
            if tokio::time::timeout_at(deadline, freed).await.is_err() {
                return Err(ring.refuse_one());
            }
        }
    }

    /// Hands over that the request was received and will be served. Of the two slots that are held, one stays.
    pub fn begin(&mut self, entry: Entry) {
        self.hand_over_begin(entry, None);
    }

    /// The same, and tells when it is durable. The writer is woken at once.
    pub fn begin_durably(&mut self, entry: Entry) -> Durable {
        let (sender, receiver) = oneshot::channel();
        self.hand_over_begin(entry, Some(sender));
        Durable { ring: self.ring.clone(), receiver, asked: Instant::now() }
    }

    fn hand_over_begin(&mut self, entry: Entry, durable: Option<oneshot::Sender<()>>) {
        assert!(
            self.slots == 2 && !self.begun,
            "`received` needs a slot beside that of the end, and comes once"
        );
        self.begun = true;
        self.slots -= 1;
        self.ring.send(Queued { entry, bucket: self.bucket.take(), durable });
    }

    /// Hands over the record of the end. Where no slot is held, one is tried for; else the record is lost, and declared.
    pub fn end(mut self, entry: Entry) {
        if !self.try_reserve(Need::Record) {
            return self.lost();
        }
        self.slots -= 1;
        self.ring.send(Queued { entry, bucket: self.bucket.take(), durable: None });
    }

    /// Declares that the request's record is lost: it is counted, and a `gap` will say so.
    pub fn lost(self) {
        let reason = self.ring.refusing().unwrap_or(Reason::RingFull);
        // Before the ticket is dropped: the watermark must not pass it in between.
        self.ring.losses.add(reason, self.since);
        self.ring.accounting.lost(reason);
    }

    fn give_back(&mut self) {
        let slots = std::mem::take(&mut self.slots);
        if std::mem::take(&mut self.stream) {
            self.ring.reservation.end_stream();
        }
        if slots > 0 {
            self.ring.release(usize::from(slots));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_back();
        if let Some(bucket) = self.bucket {
            self.ring.in_flight.leave(bucket);
        }
    }
}

/// A `received` record on its way to the disk.
#[derive(Debug)]
pub struct Durable {
    ring: Arc<Ring>,
    receiver: oneshot::Receiver<()>,
    asked: Instant,
}

impl Durable {
    /// Waits until the record is durable.
    ///
    /// # Errors
    /// The writer failed, or took ten seconds. The record may still become durable; the refusal is counted.
    pub async fn wait(self) -> Result<(), Refused> {
        let durable = tokio::time::timeout(DURABLE_WITHIN, self.receiver).await;
        self.ring.strict_wait.observe(self.asked.elapsed().as_secs_f64());
        match durable {
            Ok(Ok(())) => Ok(()),
            // The writer let go of it, or is stuck.
            Ok(Err(_)) | Err(_) => Err(self.ring.refuse_one_for(Reason::WriterFailed)),
        }
    }
}
