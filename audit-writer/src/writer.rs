//! The writer: one dedicated thread that numbers records and makes them durable.
//!
//! In this order, for each group: drain the ring → number → append to the write-ahead log → sync → free the slots →
//! hash into the tree and compress. A segment is sealed at its size, at its age, or at a stop; what follows it is
//! written only when it is sealed, because its first record holds the SHA-256 of the sealed file.
//!
//! Invariants: numbers are given here alone, densely; the tree advances only over durable records. An error ends the
//! thread, and from then on service is refused: it never limps on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::accounting::{Reason, Stage};
use crate::checkpoint::SigningKey;
use crate::config::{AuditConfig, Instance};
use crate::disk::DiskFile;
use crate::ids::{SegmentNo, Seq};
use crate::merkle::{CompactRange, Hash};
use crate::metrics::AuditMetrics;
use crate::progress::Progress;
use crate::record::{
    Counters, Entry, EventHeartbeat, EventSegment, EventStart, EventStop, EventStored, Gap, Heartbeat,
    KindGap, KindLifecycle, SegmentBegin, Start, Stop, Stored, Unnumbered, V1,
};
use crate::recover::{Before, Recovered};
use crate::ring::Ring;
use crate::segment::{SegmentBuilder, SegmentSummary};
use crate::spool::Spool;
use crate::time::Timestamp;
use crate::wal::{Group, Wal};

/// Records of one group at most; what is left follows in the next, without a wait.
const GROUP_RECORDS: usize = 16_384;
/// Bytes of one group at most, but for the last record.
const GROUP_BYTES: usize = 4 << 20;
/// How often the spool's limits are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

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
}

/// Why the writer ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}")]
pub struct WriteError {
    doing: &'static str,
    source: std::io::Error,
}

fn failed(doing: &'static str) -> impl FnOnce(std::io::Error) -> WriteError {
    move |source| WriteError { doing, source }
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
    open: Option<Open>,
    /// Used again and again.
    group: Group,
    drained: Vec<Entry>,
    /// Records of the log itself that wait for the next group.
    own: Vec<Entry>,
    last_heartbeat: Instant,
    last_housekeeping: Option<Instant>,
    spool_is_full: bool,
    growth: Growth,
}

/// The open segment.
struct Open {
    wal: Wal,
    building: Box<dyn DiskFile>,
    builder: SegmentBuilder,
    since: Instant,
    /// Records that passed the ring.
    captured: u64,
    /// Compressed, not yet written.
    out: Vec<u8>,
}

impl Open {
    fn write_out(&mut self) -> std::io::Result<()> {
        if !self.out.is_empty() {
            self.building.append(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }
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
            tree: recovered.tree,
            next_segment: recovered.next_segment,
            prev_sha256: recovered.prev_sha256,
            last_segment_ts: recovered.last_segment_ts,
            open: None,
            group: Group::default(),
            drained: Vec::new(),
            own: Vec::new(),
            last_heartbeat: Instant::now(),
            last_housekeeping: None,
            spool_is_full: false,
            growth: Growth::default(),
        };
        writer.announce(recovered.before);
        writer
    }

    /// The first records of a boot: `start`, and the gap that the boot before left.
    fn announce(&mut self, before: Before) {
        let ts = Timestamp::now();
        let config = self.instance.config_sha256().to_string();
        let key_id = self.key.key_id().to_string();
        let start = Start {
            seq: Unnumbered,
            v: V1,
            kind: KindLifecycle,
            ts,
            boot: &self.boot,
            event: EventStart,
            version: &self.instance.version,
            config: &config,
            key_id: &key_id,
            unclean: matches!(before, Before::Unclean(_) | Before::SpoolLost(_)),
            last_durable_seq: self.tree.end().checked_sub(1),
            heartbeat_interval_ms: u64::try_from(self.config.heartbeat_interval.as_millis())
                .unwrap_or(u64::MAX),
            clock: crate::clock::read(),
        };
        self.own.push(Entry::lifecycle(&start, ts));
        let (reason, from) = match before {
            Before::None | Before::Stopped => return,
            Before::Unclean(from) => ("crash", from),
            Before::SpoolLost(from) => ("spool_lost", from),
        };
        self.push_gap(None, reason, from.min(ts), ts);
    }

    fn push_gap(&mut self, lost: Option<u64>, reason: &str, from: Timestamp, to: Timestamp) {
        let ts = Timestamp::now();
        let gap = Gap { seq: Unnumbered, v: V1, kind: KindGap, ts, boot: &self.boot, lost, reason, from, to };
        self.own.push(Entry::gap(&gap));
    }

    /// Makes the boot's first records durable: only then may a request be served.
    pub(crate) fn begin(&mut self) -> Result<(), WriteError> {
        self.housekeep()?;
        self.write_group()
    }

    /// Writes until it is told to stop. What was captured is then durable, sealed and on its way to the shipper.
    pub(crate) fn run(mut self) -> Result<(), WriteError> {
        let mut last_group = Instant::now();
        let stop_by = loop {
            let interval = self.config.sync_interval;
            let wait = (last_group + interval).saturating_duration_since(Instant::now());
            if wait.is_zero() {
                self.ring.rest(interval);
            } else if !self.ring.is_filling() {
                std::thread::park_timeout(wait);
            }
            if let Some(stop_by) = self.listen() {
                break stop_by;
            }
            self.gather();
            if !self.drained.is_empty() {
                last_group = Instant::now();
            }
            self.write_group()?;
            self.rotate()?;
            self.housekeep()?;
        };
        self.finish(stop_by)
    }

    /// Takes what other threads said; the deadline, where it was to stop.
    fn listen(&mut self) -> Option<Instant> {
        while let Ok(control) = self.control.try_recv() {
            match control {
                Control::Stop(deadline) => return Some(deadline),
                Control::Stored(segment, sha256) => {
                    let ts = Timestamp::now();
                    let stored = Stored {
                        seq: Unnumbered,
                        v: V1,
                        kind: KindLifecycle,
                        ts,
                        boot: &self.boot,
                        event: EventStored,
                        segment: segment.0,
                        sha256: &sha256.to_string(),
                    };
                    self.own.push(Entry::lifecycle(&stored, ts));
                }
            }
        }
        None
    }

    /// Moves what is queued into the next group, with the gaps and the heartbeat that are due.
    fn gather(&mut self) {
        self.drained.clear();
        self.ring.drain(&mut self.drained, GROUP_RECORDS, GROUP_BYTES);
        for lost in self.ring.take_losses() {
            self.push_gap(Some(lost.count), lost.reason.as_str(), lost.from, lost.to);
        }
        if self.last_heartbeat.elapsed() >= self.config.heartbeat_interval {
            self.last_heartbeat = Instant::now();
            let ts = Timestamp::now();
            let clock = crate::clock::read();
            self.metrics.clock_error.set(crate::clock::error_seconds(&clock));
            let counters = self.counters();
            let boot = &self.boot;
            let event = EventHeartbeat;
            let heartbeat =
                Heartbeat { seq: Unnumbered, v: V1, kind: KindLifecycle, ts, boot, event, counters, clock };
            self.own.push(Entry::lifecycle(&heartbeat, ts));
        }
    }

    /// The counters as they are once the drained records, which precede the record that tells them, are durable.
    fn counters(&self) -> Counters {
        let drained = self.drained.len() as u64;
        let now = self.ring.accounting().snapshot();
        Counters { durable: now.durable + drained, queued: now.queued - drained, ..now }
    }

    /// Makes the drained and the own records durable, and then hashes and compresses them.
    fn write_group(&mut self) -> Result<(), WriteError> {
        if self.drained.is_empty() && self.own.is_empty() {
            return Ok(());
        }
        let mut entries = std::mem::take(&mut self.drained);
        let captured = entries.len();
        let bytes = entries.iter().map(|entry| entry.len() as u64).sum();
        entries.append(&mut self.own);
        if self.open.is_none() {
            entries.insert(0, self.open_segment()?);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        self.group.begin(open.builder.next_seq());
        entries.iter().for_each(|entry| self.group.push(entry));
        self.group.seal();

        let timer = self.metrics.fsync.start_timer();
        open.wal.append(&self.group).map_err(failed("append to the write-ahead log"))?;
        timer.observe_duration();
        self.ring.accounting().reached(Stage::Written, captured as u64);
        self.ring.appended(captured, bytes);
        self.ring.accounting().durable(captured as u64);
        self.metrics.tree_size.set(i64::try_from(self.group.next_seq().0).unwrap_or(i64::MAX));

        open.captured += captured as u64;
        for (entry, line) in entries.iter().zip(self.group.lines()) {
            open.builder.add(line, &entry.facts(), &mut open.out).map_err(failed("compress a frame"))?;
        }
        open.write_out().map_err(failed("write the segment under compression"))?;
        entries.clear();
        self.drained = entries;
        Ok(())
    }

    /// Opens the next segment; returns its first record.
    fn open_segment(&mut self) -> Result<Entry, WriteError> {
        let segment = self.next_segment;
        let level = self.config.segment.compression_level;
        let builder =
            SegmentBuilder::new(segment, self.tree.clone(), level).map_err(failed("begin a segment"))?;
        let building = self.spool.create_building(segment).map_err(failed("make a segment's file"))?;
        let wal = self.spool.create_wal(segment).map_err(failed("make a write-ahead log"))?;
        self.open =
            Some(Open { wal, building, builder, since: Instant::now(), captured: 0, out: Vec::new() });
        let ts = Timestamp::now().max(self.last_segment_ts);
        self.last_segment_ts = ts;
        let begin = SegmentBegin {
            seq: Unnumbered,
            v: V1,
            kind: KindLifecycle,
            ts,
            boot: &self.boot,
            event: EventSegment,
            log: self.config.log.as_str(),
            segment: segment.0,
            prev_sha256: &self.prev_sha256.to_string(),
        };
        Ok(Entry::lifecycle(&begin, ts))
    }

    /// Seals the open segment where it is due. One that holds `lifecycle` records alone waits for the heartbeat
    /// interval, so that an idle log does not feed on itself.
    fn rotate(&mut self) -> Result<(), WriteError> {
        let Some(open) = &self.open else { return Ok(()) };
        let max_age =
            if open.captured > 0 { self.config.segment.max_age } else { self.config.heartbeat_interval };
        let due =
            open.builder.raw_bytes() >= self.config.segment.max_bytes || open.since.elapsed() >= max_age;
        if due { self.seal() } else { Ok(()) }
    }

    fn seal(&mut self) -> Result<(), WriteError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let log = self.config.log.as_str();
        let finished =
            open.builder.finish(log, &self.boot, &mut open.out).map_err(failed("finish a segment"))?;
        let Some(summary) = finished else { return Ok(()) };
        let sealed = (|| {
            open.building.append(&open.out)?;
            open.building.sync()?;
            self.spool.seal(summary.segment)
        })();
        sealed.map_err(failed("seal a segment"))?;
        self.growth.add(summary.bytes);
        self.tree = summary.tree.clone();
        self.next_segment = summary.segment.next();
        self.prev_sha256 = summary.sha256;
        self.ring.accounting().reached(Stage::Sealed, open.captured);
        self.metrics.segments_sealed.inc();
        // The shipper ends only after this sender is gone, unless the log is split: then nothing is shipped any more.
        let _ = self.ship.send(Sealed { summary, captured: open.captured });
        Ok(())
    }

    /// Looks at the spool's limits; refuses service where they are reached, and no longer where they are not.
    fn housekeep(&mut self) -> Result<(), WriteError> {
        if self.last_housekeeping.is_some_and(|last| last.elapsed() < HOUSEKEEPING) {
            return Ok(());
        }
        let first = self.last_housekeeping.replace(Instant::now()).is_none();
        if first {
            self.metrics.clock_error.set(crate::clock::error_seconds(&crate::clock::read()));
        }
        // Told here and not by the shipper: one that hangs in the store, or died, could not say that time passes.
        let oldest = self.progress.read().oldest_waiting.map(|began| Timestamp::now().since(began));
        self.metrics.oldest_unshipped.set(oldest.unwrap_or_default().as_secs_f64());
        let limits = &self.config.spool;
        let bytes = self.spool.bytes().map_err(failed("list the spool"))?;
        let free = self.spool.free().map_err(failed("ask for the spool's free space"))?;
        self.metrics.spool_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics.spool_limit_bytes.set(i64::try_from(limits.max_bytes).unwrap_or(i64::MAX));
        let room = limits.max_bytes.saturating_sub(bytes).min(free.saturating_sub(limits.min_free));
        self.metrics.spool_seconds_left.set(self.growth.seconds_until(room));
        let was_full = std::mem::replace(&mut self.spool_is_full, room == 0);
        if self.spool_is_full && !was_full {
            tracing::error!(
                bytes,
                max_bytes = limits.max_bytes,
                free,
                min_free = limits.min_free,
                "the spool is full: service is refused"
            );
            self.ring.refuse(Reason::SpoolFull);
        } else if !self.spool_is_full && was_full {
            tracing::info!(bytes, free, "the spool has room again: service goes on");
            self.ring.relent(Reason::SpoolFull);
        }
        let warn_at = limits.max_bytes / 100 * u64::from(limits.warn_at_percent);
        if self.growth.crossed(bytes >= warn_at) {
            tracing::warn!(bytes, warn_at, max_bytes = limits.max_bytes, "the spool fills up");
        }
        Ok(())
    }

    /// The end of a boot: whatever was captured, then `stop`, then the last segment.
    fn finish(mut self, stop_by: Instant) -> Result<(), WriteError> {
        self.ring.refuse(Reason::Stopping);
        loop {
            self.gather();
            self.write_group()?;
            self.rotate()?;
            if self.ring.in_use() == 0 && self.ring.accounting().queued() == 0 {
                break;
            }
            if Instant::now() >= stop_by {
                tracing::error!(
                    slots = self.ring.in_use(),
                    "requests still hold slots: their records will be missing"
                );
                break;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let ts = Timestamp::now();
        self.drained.clear();
        let counters = self.counters();
        let boot = &self.boot;
        let stop = Stop { seq: Unnumbered, v: V1, kind: KindLifecycle, ts, boot, event: EventStop, counters };
        self.own.push(Entry::lifecycle(&stop, ts));
        self.write_group()?;
        self.seal()?;
        self.spool.update_state(|state| state.stopped = true).map_err(failed("write the spool's state"))
    }

    /// The number of the next record.
    pub(crate) fn next_seq(&self) -> Seq {
        self.open.as_ref().map_or(Seq(self.tree.end()), |open| open.builder.next_seq())
    }
}

/// How fast the log grows, to say how long the spool would last.
#[derive(Debug)]
struct Growth {
    /// Sealed bytes, and when counting began; halved each minute.
    bytes: f64,
    since: Instant,
    warned: bool,
}

impl Default for Growth {
    fn default() -> Growth {
        Growth { bytes: 0.0, since: Instant::now(), warned: false }
    }
}

impl Growth {
    fn add(&mut self, bytes: u64) {
        self.decay();
        self.bytes += bytes as f64;
    }

    /// Forgets what is older than some minutes.
    fn decay(&mut self) {
        let window = Duration::from_secs(120);
        if self.since.elapsed() > window {
            self.bytes /= 2.0;
            self.since = Instant::now() - window / 2;
        }
    }

    fn seconds_until(&mut self, room: u64) -> f64 {
        self.decay();
        let per_second = self.bytes / self.since.elapsed().as_secs_f64().max(1.0);
        if per_second > 0.0 { room as f64 / per_second } else { f64::INFINITY }
    }

    /// Whether a warning is due: at the first of a run of `above`.
    fn crossed(&mut self, above: bool) -> bool {
        let crossed = above && !self.warned;
        self.warned = above;
        crossed
    }
}
