//! What is counted within one segment, reduced so that segments can be counted apart and summed up in order.
//!
//! The definition that `accounting` holds a log against: the records of a boot that passed its ring are those of the kinds
//! `received`, `completed`, `aborted` and `rejected`. A heartbeat or a stop says in `durable` how many of them are on the
//! log before it, and in `lost` at least what the gaps of that boot before it declare; a stop, exactly that, and `queued`
//! zero: nothing comes after it. `lost` and `refused` never go back within a boot. And `captured = durable + queued + lost`.
//!
//! What a boot says of those before it (`crash`, `spool_lost`, `unfinished`) it says in gaps right after its `start`; that of
//! `unfinished` counts the requests of theirs that were received, have no end, and were not counted before.

use std::collections::HashMap;
use std::time::Duration;

use super::lifecycle::{Counters, Event, Gap};
use super::report::{FindingKind, LogReport, Place};
use crate::ids::{SegmentNo, Seq};
use crate::merkle::Hash;
use crate::record::Kind;
use crate::time::Timestamp;

/// So many request ids, `stored` records or configurations of one segment are kept in memory: far more than an honest
/// segment has.
const MAX_KEPT: usize = 4 << 20;

/// A number that a record claims, less what was counted in its segment before it: what must have been counted in the
/// segments of the boot before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) seq: Seq,
    pub(super) before: i128,
}

/// A counter of a boot's that never goes back, as it was claimed within one segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rising {
    /// The first claim, and where.
    pub(super) first: Option<(Seq, u64)>,
    /// The last one.
    pub(super) last: Option<u64>,
}

impl Rising {
    /// Takes a claim; gives the one before where this one is less.
    fn claim(&mut self, seq: Seq, value: u64) -> Option<u64> {
        self.first.get_or_insert((seq, value));
        self.last.replace(value).filter(|last| value < *last)
    }
}

/// What was counted in one segment.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Records that passed the ring.
    pub(super) ring: u64,
    /// Losses that gaps declare by number.
    pub(super) declared_lost: u64,
    /// Gaps that cannot say how many.
    pub(super) declared_lost_unknown: u64,
    /// Losses that gaps declare of this boot.
    pub(super) lost_of_boot: u64,
    /// Where `durable` was claimed, first.
    pub(super) durable: Option<Claim>,
    /// Where the least `lost` was claimed, against the gaps up to there.
    pub(super) least_lost: Option<Claim>,
    /// What `lost` said.
    pub(super) lost: Rising,
    /// What `refused` said.
    pub(super) refused: Rising,
    /// Where a stop claimed `lost`.
    pub(super) lost_at_stop: Option<Claim>,
    /// Whether the last thing that happened is a stop.
    pub(super) stopped: bool,
    /// What a `start` says of the time between heartbeats.
    pub(super) heartbeat_interval_ms: Option<u64>,
    /// Files that `stored` records name.
    pub(super) stored: Vec<(Seq, SegmentNo, Hash)>,
    /// Configurations that `start` records name.
    pub(super) configs: Vec<(Seq, Hash)>,
    /// Requests that were received and not ended since, in this segment.
    pub(super) open: HashMap<RequestKey, Seq>,
    /// Requests that ended in this segment.
    pub(super) ended: Vec<RequestKey>,
    /// The `start` that only gaps of boots before have followed so far.
    start: Option<Timestamp>,
    /// What a gap says that boots before have left unfinished, and where.
    pub(super) unfinished: Option<(Seq, Option<u64>)>,
    /// Whether a gap says that a spool was lost.
    pub(super) spool_lost: bool,
}

/// The clock may be put back by so much between two readings that an honest gateway makes of it.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// A request id, shortened to 64 bits.
pub(super) type RequestKey = u64;

impl Tally {
    /// Counts a record that passed the ring.
    pub(super) fn passed_the_ring(&mut self, kind: Kind, request_id: Option<&[u8]>, seq: Seq) {
        self.ring += 1;
        self.stopped = false;
        self.start = None;
        let Some(key) = request_id.map(request_key) else { return };
        match kind {
            Kind::Received if self.open.len() < MAX_KEPT => drop(self.open.insert(key, seq)),
            Kind::Completed | Kind::Aborted => {
                if !self.open.is_empty() {
                    self.open.remove(&key);
                }
                // Also where it was received in this segment: the same id may be open from one before.
                if self.ended.len() < MAX_KEPT {
                    self.ended.push(key);
                }
            }
            _ => {}
        }
    }

    /// Counts a gap; `place` is the record's.
    pub(super) fn gap(&mut self, seq: Seq, gap: &Gap<'_>, place: Place, remarks: &mut LogReport) {
        if gap.from > gap.to {
            let message = format!("the gap begins at {}, after its end at {}", gap.from, gap.to);
            remarks.finding(FindingKind::Clock, place.clone(), message);
        }
        if gap.is_of_this_boot() {
            self.start = None;
        } else {
            self.gap_of_boots_before(seq, gap, place, remarks);
        }
        match gap.lost {
            Some(lost) => {
                self.declared_lost = self.declared_lost.saturating_add(lost);
                if gap.is_of_this_boot() {
                    self.lost_of_boot = self.lost_of_boot.saturating_add(lost);
                }
            }
            None => self.declared_lost_unknown += 1,
        }
    }

    fn gap_of_boots_before(&mut self, seq: Seq, gap: &Gap<'_>, place: Place, remarks: &mut LogReport) {
        match self.start {
            Some(start) if gap.to.since(start) > CLOCK_TOLERANCE => {
                let message = format!(
                    "the gap of a boot before ends at {}, after this boot's start at {start}",
                    gap.to
                );
                remarks.finding(FindingKind::Clock, place.clone(), message);
            }
            Some(_) => {}
            None => {
                let message =
                    format!("the gap ({}) tells of a boot before, and does not follow a `start`", gap.reason);
                remarks.finding(FindingKind::Accounting, place.clone(), message);
            }
        }
        if gap.reason == "spool_lost" {
            self.spool_lost = true;
        }
        if gap.reason == "unfinished" && self.unfinished.replace((seq, gap.lost)).is_some() {
            let message = "what is unfinished is declared a second time";
            remarks.finding(FindingKind::Accounting, place, message);
        }
    }

    /// Takes an event of the log itself; `place` is the record's, `ts` its time.
    pub(super) fn event(
        &mut self,
        seq: Seq,
        ts: Timestamp,
        event: Event<'_>,
        place: Place,
        remarks: &mut LogReport,
    ) {
        self.start = matches!(event, Event::Start { .. }).then_some(ts);
        match event {
            Event::Start { config, heartbeat_interval_ms } => {
                self.heartbeat_interval_ms = heartbeat_interval_ms.or(self.heartbeat_interval_ms);
                self.configs
                    .extend(config.filter(|_| self.configs.len() < MAX_KEPT).map(|config| (seq, config)));
            }
            Event::Stored { segment, sha256 } if self.stored.len() < MAX_KEPT => {
                self.stored.push((seq, segment, sha256));
            }
            Event::Heartbeat(counters) => self.counters(seq, &counters, place, remarks),
            Event::Stop(counters) => {
                self.counters(seq, &counters, place.clone(), remarks);
                if counters.queued > 0 {
                    let message = format!(
                        "a stop leaves {} records queued: they are neither on the log nor lost",
                        counters.queued
                    );
                    remarks.finding(FindingKind::Accounting, place, message);
                }
                self.lost_at_stop =
                    Some(Claim { seq, before: i128::from(counters.lost) - i128::from(self.lost_of_boot) });
                self.stopped = true;
            }
            Event::Stored { .. } | Event::Segment { .. } | Event::Other => {}
        }
    }

    fn counters(&mut self, seq: Seq, counters: &Counters, place: Place, remarks: &mut LogReport) {
        if !counters.add_up() {
            let Counters { captured, durable, queued, lost, .. } = counters;
            let message =
                format!("captured {captured} is not durable {durable} + queued {queued} + lost {lost}");
            remarks.finding(FindingKind::Accounting, place.clone(), message);
        }
        let before = i128::from(counters.durable) - i128::from(self.ring);
        let first = *self.durable.get_or_insert(Claim { seq, before });
        if first.before != before {
            let expected = first.before + i128::from(self.ring);
            let message = format!(
                "durable is {}, but {expected} by the records since the counters at seq {}",
                counters.durable, first.seq
            );
            remarks.finding(FindingKind::Accounting, place.clone(), message);
        }
        if let Some(last) = self.lost.claim(seq, counters.lost) {
            let message = format!("lost goes back from {last} to {}", counters.lost);
            remarks.finding(FindingKind::Accounting, place.clone(), message);
        }
        if let Some(refused) = counters.refused
            && let Some(last) = self.refused.claim(seq, refused)
        {
            let message = format!("refused goes back from {last} to {refused}");
            remarks.finding(FindingKind::Accounting, place, message);
        }
        let claim = Claim { seq, before: i128::from(counters.lost) - i128::from(self.lost_of_boot) };
        if self.least_lost.is_none_or(|least| claim.before < least.before) {
            self.least_lost = Some(claim);
        }
    }
}

/// Shortens a request id. Two ids with one key would at worst hide an `open` notice.
fn request_key(id: &[u8]) -> RequestKey {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |key: u64, word: u64| {
        let key = (key ^ word).wrapping_mul(FACTOR);
        key ^ key >> 32
    };
    let (words, rest) = id.as_chunks::<8>();
    let key = words.iter().fold(id.len() as u64, |key, word| mix(key, u64::from_le_bytes(*word)));
    rest.iter().fold(key, |key, &byte| mix(key, u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(tally: &mut Tally, seq: u64, durable: u64, lost: u64) -> Vec<String> {
        let mut remarks = LogReport::new("a");
        let counters = Counters { captured: durable + lost, durable, queued: 0, lost, refused: None };
        let ts = Timestamp::default();
        tally.event(Seq(seq), ts, Event::Heartbeat(counters), Place::default(), &mut remarks);
        remarks.findings.into_iter().map(|finding| finding.message).collect()
    }

    fn completed(tally: &mut Tally, id: &[u8]) {
        tally.passed_the_ring(Kind::Completed, Some(id), Seq(0));
    }

    #[test]
    fn counters_within_a_segment_must_agree_with_its_records() {
        let mut tally = Tally::default();
        completed(&mut tally, b"a");
        assert!(heartbeat(&mut tally, 2, 11, 0).is_empty());
        completed(&mut tally, b"b");
        assert!(heartbeat(&mut tally, 4, 12, 0).is_empty());
        let findings = heartbeat(&mut tally, 5, 13, 0);
        assert_eq!(findings, ["durable is 13, but 12 by the records since the counters at seq 2"]);
        assert_eq!(tally.durable, Some(Claim { seq: Seq(2), before: 10 }));
    }

    #[test]
    fn the_least_lost_that_was_claimed_is_kept() {
        let mut tally = Tally::default();
        let _ = heartbeat(&mut tally, 1, 0, 20);
        tally.lost_of_boot = 17;
        let _ = heartbeat(&mut tally, 2, 0, 20);
        assert_eq!(tally.least_lost, Some(Claim { seq: Seq(2), before: 3 }));
    }

    #[test]
    fn lost_never_goes_back() {
        let mut tally = Tally::default();
        assert!(heartbeat(&mut tally, 1, 0, 3).is_empty());
        assert!(heartbeat(&mut tally, 2, 0, 3).is_empty());
        assert_eq!(heartbeat(&mut tally, 3, 0, 2), ["lost goes back from 3 to 2"]);
        assert_eq!(tally.lost, Rising { first: Some((Seq(1), 3)), last: Some(2) });
    }

    #[test]
    fn a_request_is_open_until_it_ends_and_ends_are_kept_for_segments_before() {
        let key = request_key;
        let mut tally = Tally::default();
        tally.passed_the_ring(Kind::Received, Some(b"one"), Seq(1));
        tally.passed_the_ring(Kind::Received, Some(b"two"), Seq(2));
        completed(&mut tally, b"one");
        completed(&mut tally, b"three");
        assert_eq!(tally.open.values().collect::<Vec<_>>(), [&Seq(2)]);
        assert_eq!(tally.ended, [key(b"one"), key(b"three")]);
        assert_eq!(tally.ring, 4);
    }

    #[test]
    fn request_keys_differ_where_ids_do() {
        let id = b"0199c3f2-7b1e-7cc0-8000-00000000000a";
        let mut keys =
            std::collections::HashSet::from([request_key(id), request_key(b""), request_key(b"\0")]);
        for at in 0..id.len() {
            let mut other = *id;
            other[at] ^= 1;
            assert!(keys.insert(request_key(&other)), "byte {at}");
        }
    }
}
