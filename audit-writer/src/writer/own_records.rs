//! The records that the log writes of itself: `lifecycle` and `gap`.

use std::time::{Duration, Instant};

use super::Writer;
use crate::merkle::Hash;
use crate::record::{
    Counters, Entry, EventHeartbeat, EventSegment, EventStart, EventStop, EventStored, Gap, Heartbeat,
    KindGap, KindLifecycle, SegmentBegin, Start, Stop, Stored, Unnumbered, V1,
};
use crate::recover::Recovered;
use crate::time::Timestamp;

impl Writer {
    /// The first records of a boot: `start`, and the gaps that the boot before left.
    pub(super) fn announce(&mut self, recovered: &Recovered) {
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
            unclean: recovered.before.is_unclean(),
            last_durable_seq: self.tree.end().checked_sub(1),
            heartbeat_interval_ms: millis(self.config.heartbeat_interval),
            clock: crate::clock::read(),
        };
        self.batch.own.push(Entry::lifecycle(&start, ts));
        if let Some((reason, from)) = recovered.before.lost() {
            self.push_gap(None, reason, from.min(ts), ts);
        }
        let unfinished = &recovered.unfinished;
        if let Some(oldest) = unfinished.oldest() {
            self.push_gap(Some(unfinished.len() as u64), "unfinished", oldest.min(ts), ts);
        }
    }

    pub(super) fn push_gap(&mut self, lost: Option<u64>, reason: &str, from: Timestamp, to: Timestamp) {
        let ts = Timestamp::now();
        let gap = Gap { seq: Unnumbered, v: V1, kind: KindGap, ts, boot: &self.boot, lost, reason, from, to };
        self.batch.own.push(Entry::gap(&gap));
        self.metrics.gap_written(reason, ts);
    }

    /// A segment and its checkpoint are in the store.
    pub(super) fn stored_record(&self, segment: crate::ids::SegmentNo, sha256: Hash) -> Entry {
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
        Entry::lifecycle(&stored, ts)
    }

    /// A heartbeat, where one is due.
    pub(super) fn heartbeat(&mut self) {
        if self.last_heartbeat.elapsed() < self.config.heartbeat_interval {
            return;
        }
        self.last_heartbeat = Instant::now();
        let ts = Timestamp::now();
        let clock = crate::clock::read();
        self.metrics.clock_error.set(crate::clock::error_seconds(&clock));
        let (counters, boot, event) = (self.counters(), &self.boot, EventHeartbeat);
        let heartbeat =
            Heartbeat { seq: Unnumbered, v: V1, kind: KindLifecycle, ts, boot, event, counters, clock };
        self.batch.own.push(Entry::lifecycle(&heartbeat, ts));
    }

    /// The last record of a boot.
    pub(super) fn stop_record(&mut self) {
        let ts = Timestamp::now();
        let (counters, boot, event) = (self.counters(), &self.boot, EventStop);
        let stop = Stop { seq: Unnumbered, v: V1, kind: KindLifecycle, ts, boot, event, counters };
        self.batch.own.push(Entry::lifecycle(&stop, ts));
    }

    /// The first record of the next segment.
    pub(super) fn segment_record(&mut self) -> Entry {
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
            segment: self.next_segment.0,
            prev_sha256: &self.prev_sha256.to_string(),
        };
        Entry::lifecycle(&begin, ts)
    }

    /// The counters as they are once the gathered records, which precede the record that tells them, are durable.
    fn counters(&self) -> Counters {
        let gathered = self.batch.records.len() as u64;
        let now = self.ring.accounting().snapshot();
        Counters { durable: now.durable + gathered, queued: now.queued.saturating_sub(gathered), ..now }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
