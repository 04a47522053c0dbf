//! The writer: one dedicated thread that numbers records and makes them durable.
//!
//! In this order, for each batch: drain the ring → number → append to the write-ahead log → sync → tell who waits, free
//! the slots → hash into the tree and compress → move the low watermark. A segment is sealed at its size, at its age, or
//! at a stop; what follows it is written only when it is sealed, because its first record holds the SHA-256 of the sealed
//! file.
//!
//! Invariants: numbers are given here alone, densely; the tree advances only over durable records; a record leaves the
//! writer's hands only for the disk. While it cannot write, service is refused, and it tries again (`mending`).

mod batch;
mod growth;
mod limits;
mod mending;
mod open_segment;
mod own_records;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::accounting::{Reason, Stage as Reached};
use crate::checkpoint::SigningKey;
use crate::config::{AuditConfig, Instance};
use crate::disk::DiskFile;
use crate::ids::{SegmentNo, Seq};
use crate::merkle::{CompactRange, Hash};
use crate::metrics::AuditMetrics;
use crate::open_requests::{OpenAfter, OpenRequests};
use crate::progress::Progress;
use crate::record::{Entry, Kind};
use crate::recover::Recovered;
use crate::ring::{Queued, Ring};
use crate::segment::SegmentSummary;
use crate::spool::Spool;
use crate::time::Timestamp;
use batch::{Batch, Stage};
use growth::Growth;
use limits::Watch;
use mending::Trouble;
use open_segment::OpenSegment;

/// Records of one group at most; what is left follows in the next, without a wait.
const GROUP_RECORDS: usize = 16_384;
/// Bytes of one group at most, but for the last record.
const GROUP_BYTES: usize = 4 << 20;

/// Sealed segments whose files are kept open while they wait to be shipped.
pub(crate) const KEPT_OPEN: usize = 64;

/// What other threads tell the writer.
#[derive(Debug)]
pub(crate) enum Control {
    /// A segment and its checkpoint are in the store.
    Stored(SegmentNo, Hash),
    /// Write what is left, until then at the latest, and end.
    Stop(Instant),
}

/// A sealed segment, for the shipper.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) summary: SegmentSummary,
    /// Records of it that passed the ring in this boot.
    pub(crate) captured: u64,
    /// Its file, where this boot has made it: can be read also where its name is gone.
    pub(crate) file: Option<Box<dyn DiskFile>>,
}

/// What the writer could not do.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}")]
pub struct WriteError {
    doing: &'static str,
    source: std::io::Error,
}

impl WriteError {
    /// Whether it would work with more room on the disk.
    fn is_for_want_of_room(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self.source.kind(), StorageFull | QuotaExceeded)
    }
}

fn failed(doing: &'static str) -> impl FnOnce(std::io::Error) -> WriteError {
    move |source| WriteError { doing, source }
}

/// How a round went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// All that was queued is durable.
    Done,
    /// Nothing can be written at the moment; service is refused.
    Failing,
}

/// The writer's own state.
pub(crate) struct Writer {
    config: AuditConfig,
    instance: Instance,
    boot: String,
    key: Arc<SigningKey>,
    ring: Arc<Ring>,
    spool: Arc<Spool>,
    metrics: AuditMetrics,
    control: Receiver<Control>,
    ship: Sender<Sealed>,
    progress: Arc<Progress>,
    tree: CompactRange,
    next_segment: SegmentNo,
    prev_sha256: Hash,
    last_segment_ts: Timestamp,
    open: Option<OpenSegment>,
    /// Received and not ended, as far as it is durable.
    open_requests: OpenRequests,
    batch: Batch,
    /// Taken from the ring while the batch before could not be written.
    backlog: Vec<Queued>,
    /// `stored` records that wait for the next batch.
    stored: Vec<Entry>,
    trouble: Option<Trouble>,
    last_heartbeat: Instant,
    watch: Watch,
    growth: Growth,
    /// Failpoint: drops one record, and says nothing.
    #[cfg(test)]
    drop_one: bool,
}

/// What the writer is made of.
pub(crate) struct Parts {
    pub(crate) config: AuditConfig,
    pub(crate) instance: Instance,
    pub(crate) boot: String,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) ring: Arc<Ring>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) metrics: AuditMetrics,
    pub(crate) control: Receiver<Control>,
    pub(crate) ship: Sender<Sealed>,
    pub(crate) progress: Arc<Progress>,
}

impl Writer {
    pub(crate) fn new(parts: Parts, recovered: Recovered) -> Writer {
        let Parts { config, instance, boot, key, ring, spool, metrics, control, ship, progress } = parts;
        let mut writer = Writer {
            config,
            instance,
            boot,
            key,
            ring,
            spool,
            metrics,
            control,
            ship,
            progress,
            tree: recovered.tree.clone(),
            next_segment: recovered.next_segment,
            prev_sha256: recovered.prev_sha256,
            last_segment_ts: recovered.last_segment_ts,
            open: None,
            open_requests: OpenRequests::default(),
            batch: Batch::default(),
            backlog: Vec::new(),
            stored: Vec::new(),
            trouble: None,
            last_heartbeat: Instant::now(),
            watch: Watch::default(),
            growth: Growth::default(),
            #[cfg(test)]
            drop_one: false,
        };
        writer.announce(&recovered);
        writer
    }

    /// Makes the boot's first records durable, then that the log is not stopped, and then its own watermark: only then
    /// may a request be served. In this order: a boot that dies in between has served nothing, and is seen not to have.
    pub(crate) fn begin(&mut self) -> Result<(), WriteError> {
        self.write_batch()?;
        self.spool.update_state(|state| state.stopped = false).map_err(failed("write the spool's state"))?;
        self.ring.renew_watermark().map_err(failed("make the watermark"))?;
        self.housekeep()
    }

    /// Writes until it is told to stop. What was captured is then durable, sealed and on its way to the shipper.
    pub(crate) fn run(mut self) -> Result<(), WriteError> {
        let mut last_group = Instant::now();
        let stop_by = loop {
            self.wait(last_group);
            if let Some(stop_by) = self.listen() {
                break stop_by;
            }
            let before = self.next_seq();
            self.step();
            if self.next_seq() != before {
                last_group = Instant::now();
            }
        };
        self.finish(stop_by)
    }

    /// Waits until the next group is due: at once where somebody waits for it.
    fn wait(&self, last_group: Instant) {
        if let Some(trouble) = &self.trouble {
            std::thread::park_timeout(trouble.retry_at.saturating_duration_since(Instant::now()));
            return;
        }
        let interval = self.config.sync_interval;
        let wait = (last_group + interval).saturating_duration_since(Instant::now());
        if wait.is_zero() {
            self.ring.rest(interval);
        } else if !self.ring.is_pressing() {
            std::thread::park_timeout(wait);
        }
    }

    /// One round: writes what is queued, and does what is due. An error is kept, and passed by a later round.
    pub(crate) fn step(&mut self) -> Round {
        if self.trouble.as_ref().is_some_and(|trouble| Instant::now() < trouble.retry_at) {
            self.disappoint();
            return Round::Failing;
        }
        let round = std::panic::catch_unwind(AssertUnwindSafe(|| self.round()));
        let result = round.unwrap_or_else(|_| {
            // Wherever it was: the files are made again from what is durable.
            self.open.iter_mut().for_each(OpenSegment::distrust);
            Err(failed("go on")(std::io::Error::other("the writer panicked")))
        });
        match result {
            Ok(()) => {
                self.recovered();
                Round::Done
            }
            Err(error) => {
                self.fail(&error);
                Round::Failing
            }
        }
    }

    /// The next round tries again, whatever time has passed.
    #[cfg(test)]
    pub(crate) fn retry_now(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.retry_at = Instant::now();
        }
    }

    /// So much time has passed that everything is due.
    #[cfg(test)]
    pub(crate) fn let_time_pass(&mut self) {
        self.watch.let_time_pass();
    }

    fn round(&mut self) -> Result<(), WriteError> {
        self.mend()?;
        // A seal that failed is completed first: nothing more goes into its segment.
        if self.open.as_ref().is_some_and(OpenSegment::is_finished) {
            self.seal()?;
        }
        // What an earlier round could not begin to write goes first: its counters are of that time.
        if self.batch.stage == Stage::Gathering && self.batch.is_empty() {
            self.gather();
        }
        self.write_batch()?;
        self.rotate()?;
        self.housekeep()?;
        self.ring.move_watermark().map_err(failed("move the watermark"))
    }

    /// Takes what other threads said; the deadline, where it was to stop.
    pub(crate) fn listen(&mut self) -> Option<Instant> {
        while let Ok(control) = self.control.try_recv() {
            match control {
                Control::Stop(deadline) => return Some(deadline),
                Control::Stored(segment, sha256) => {
                    let record = self.stored_record(segment, sha256);
                    self.stored.push(record);
                }
            }
        }
        None
    }

    /// Moves what is queued into the batch, with the gaps and the heartbeat that are due.
    fn gather(&mut self) {
        let records = &mut self.batch.records;
        let backlog = self.backlog.len().min(GROUP_RECORDS);
        records.extend(self.backlog.drain(..backlog));
        self.ring.drain(records, GROUP_RECORDS, GROUP_BYTES);
        #[cfg(test)]
        if std::mem::take(&mut self.drop_one) {
            self.batch.records.pop();
        }
        self.count_in_hand();
        self.batch.own.append(&mut self.stored);
        for lost in self.ring.take_losses() {
            self.push_gap(Some(lost.count), lost.reason.as_str(), lost.from, lost.to);
        }
        self.heartbeat();
    }

    /// Makes the batch durable, and then hashes and compresses it.
    fn write_batch(&mut self) -> Result<(), WriteError> {
        if self.batch.stage == Stage::Gathering {
            if self.batch.is_empty() {
                return Ok(());
            }
            // A seal that failed is completed first: nothing more goes into its segment.
            if self.open.as_ref().is_some_and(OpenSegment::is_finished) {
                self.seal()?;
            }
            if self.open.is_none() {
                self.open_segment()?;
                self.batch.begin = Some(self.segment_record());
            }
            self.batch.number(self.next_seq());
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        if self.batch.stage == Stage::Numbered {
            let timer = self.metrics.fsync.start_timer();
            open.wal.append(&self.batch.group).map_err(failed("append to the write-ahead log"))?;
            timer.observe_duration();
            self.batch.stage = Stage::Durable;
            open.captured += self.batch.records.len() as u64;
            self.settle_batch();
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        if self.batch.stage == Stage::Durable {
            open.add(self.batch.lines()).map_err(failed("compress a frame"))?;
            self.batch.clear();
        }
        open.write_out().map_err(failed("write the segment under compression"))
    }

    /// The batch is durable: tells whoever waits, and gives its slots back.
    fn settle_batch(&mut self) {
        self.batch.records.iter_mut().for_each(Queued::acknowledge);
        for Queued { entry, .. } in &self.batch.records {
            if entry.kind() == Kind::Received || !self.open_requests.is_empty() {
                self.open_requests.apply(entry.kind(), entry.request_id(), entry.ts());
            }
        }
        let records = self.batch.records.len() as u64;
        let accounting = self.ring.accounting();
        accounting.reached(Reached::Written, records);
        accounting.durable(records, self.backlog.len() as u64);
        self.ring.appended(&self.batch.records);
        let next_seq = self.batch.group.next_seq();
        self.ring.durable_before(next_seq);
        self.metrics.tree_size.set(i64::try_from(next_seq.0).unwrap_or(i64::MAX));
    }

    /// Counts what is in the writer's hands: taken from the ring, and not durable.
    fn count_in_hand(&self) {
        let in_batch = if self.batch.stage == Stage::Durable { 0 } else { self.batch.records.len() };
        self.ring.accounting().in_hand((in_batch + self.backlog.len()) as u64);
    }

    fn open_segment(&mut self) -> Result<(), WriteError> {
        let level = self.config.segment.compression_level;
        let open = OpenSegment::create(&self.spool, self.next_segment, self.tree.clone(), level);
        self.open = Some(open.map_err(failed("make a segment's files"))?);
        Ok(())
    }

    /// Seals the open segment where it is due. One that holds `lifecycle` records alone waits for the heartbeat
    /// interval, so that an idle log does not feed on itself.
    fn rotate(&mut self) -> Result<(), WriteError> {
        let Some(open) = &self.open else { return Ok(()) };
        let max_age =
            if open.captured > 0 { self.config.segment.max_age } else { self.config.heartbeat_interval };
        let due = open.raw_bytes() >= self.config.segment.max_bytes || open.since.elapsed() >= max_age;
        if due { self.seal() } else { Ok(()) }
    }

    /// Seals the open segment: first its file, then what the next boot needs to know of it, then it may be shipped.
    pub(crate) fn seal(&mut self) -> Result<(), WriteError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let sealed = open.seal(&self.spool, self.config.log.as_str(), &self.boot);
        let Some(summary) = sealed.map_err(failed("seal a segment"))? else { return Ok(()) };
        let still_open = OpenAfter {
            segment: summary.segment,
            size: summary.tree.size(),
            requests: self.open_requests.clone(),
        };
        self.spool
            .update_state(|state| state.open = Some(still_open))
            .map_err(failed("write the spool's state"))?;
        self.spool.clear_sealed(summary.segment);
        let Some(open) = self.open.take() else { return Ok(()) };
        let captured = open.captured;
        self.growth.add(summary.bytes);
        self.tree = summary.tree.clone();
        self.next_segment = summary.segment.next();
        self.prev_sha256 = summary.sha256;
        self.ring.accounting().reached(Reached::Sealed, captured);
        self.metrics.segments_sealed.inc();
        let file = (self.ship.len() < KEPT_OPEN).then(|| open.into_file());
        // The shipper ends only after this sender is gone, unless the log is split: then nothing is shipped any more.
        let _ = self.ship.send(Sealed { summary, captured, file });
        Ok(())
    }

    /// The end of a boot: whatever was captured, then `stop`, then the last segment.
    pub(crate) fn finish(mut self, stop_by: Instant) -> Result<(), WriteError> {
        self.ring.refuse(Reason::Stopping);
        loop {
            let round = self.step();
            if round == Round::Done && self.ring.in_use() == 0 && self.ring.accounting().queued() == 0 {
                break;
            }
            if Instant::now() >= stop_by {
                tracing::error!(
                    slots = self.ring.in_use(),
                    "not everything that was captured is on the log: the next start declares it"
                );
                break;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        self.mend()?;
        self.write_batch()?;
        self.gather();
        while !self.batch.records.is_empty() {
            self.write_batch()?;
            self.gather();
        }
        self.stop_record();
        self.write_batch()?;
        self.seal()?;
        self.spool.update_state(|state| state.stopped = true).map_err(failed("write the spool's state"))
    }

    /// The number of the next record.
    pub(crate) fn next_seq(&self) -> Seq {
        self.open.as_ref().map_or(Seq(self.tree.end()), |open| open.wal.next_seq())
    }
}
