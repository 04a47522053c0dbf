//! A log in order: the tree, the chain of files, the clock and the counters, from one segment to the next.
//!
//! [`Chain::take`] is given what the workers found, strictly by number. Where a segment is missing or changed the tree
//! ends; it begins again at the next segment whose stored `before` has the root that the checkpoint before it signs, so
//! that one bad segment does not hide what is good after it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::report::{Ago, FindingKind, LogReport, NoticeKind, Place};
use super::segment::{Checked, Commitment, Derived};
use super::tally::{RequestKey, Tally};
use crate::checkpoint::Checkpoint;
use crate::ids::{SegmentNo, Seq, TreeSize};
use crate::merkle::{CompactRange, Hash};
use crate::time::Timestamp;

mod counts;

use counts::Boot;

/// Where a log stands after a segment: all that the next segment is held against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// The number of the next segment.
    pub(super) next: SegmentNo,
    /// The tree so far; none where it was lost.
    pub(super) tree: Option<Vec<Hash>>,
    /// The size of the tree so far.
    pub(super) size: TreeSize,
    /// SHA-256 of the segment before.
    pub(super) prev_sha256: Option<Hash>,
    /// `ts` of the first record of the segment before.
    pub(super) prev_ts: Option<Timestamp>,
    /// The boot that wrote it.
    pub(super) boot: Option<Boot>,
    /// Requests received and not ended so far, and in no gap, by a shortened request id.
    pub(super) open: HashMap<RequestKey, Seq>,
    /// Whether those are all: whether every record was read since the log's begin, or since a gap that counted them.
    #[serde(default)]
    pub(super) open_is_whole: bool,
    /// Requests whose end, if they had one, went with a spool that was lost: how many, and the first.
    #[serde(default)]
    pub(super) without_trace: Option<(u64, Seq)>,
    pub(super) records: u64,
    pub(super) declared_lost: u64,
    pub(super) declared_lost_unknown: u64,
    pub(super) newest: Option<Timestamp>,
}

impl Standing {
    /// Before the first record of a log.
    pub(super) fn beginning() -> Standing {
        Standing {
            next: SegmentNo(0),
            tree: Some(Vec::new()),
            size: TreeSize(0),
            prev_sha256: Some(Hash::ZERO),
            prev_ts: None,
            boot: None,
            open: HashMap::new(),
            open_is_whole: true,
            without_trace: None,
            records: 0,
            declared_lost: 0,
            declared_lost_unknown: 0,
            newest: None,
        }
    }

    /// In the middle of a log whose segments before `next` are not read.
    pub(super) fn at(next: SegmentNo) -> Standing {
        Standing { next, tree: None, prev_sha256: None, open_is_whole: false, ..Standing::beginning() }
    }
}

/// A log that is being verified in order.
pub(super) struct Chain {
    log: String,
    standing: Standing,
    /// What the checkpoint before signs, if it verifies.
    signed_before: Option<Checkpoint>,
    /// SHA-256 of the files that were read.
    files: HashMap<SegmentNo, Hash>,
    /// Configurations that must be in the store, and the first `start` record that names each.
    configs: HashMap<Hash, Place>,
    /// Whether the segment before had no findings.
    before_is_good: bool,
    /// Segments that cannot be proven because one before them was changed.
    unproven: Option<(SegmentNo, SegmentNo)>,
}

impl Chain {
    /// Goes on from `standing`; `signed_before` is the checkpoint at which that is.
    pub(super) fn new(log: &str, standing: Standing, signed_before: Option<Checkpoint>) -> Chain {
        let (files, configs) = (HashMap::new(), HashMap::new());
        Chain {
            log: log.to_owned(),
            standing,
            signed_before,
            files,
            configs,
            before_is_good: true,
            unproven: None,
        }
    }

    /// Configurations that must be in the store, and where the log names them: a gateway puts them before the segment
    /// that does.
    pub(super) fn configs(&self) -> &HashMap<Hash, Place> {
        &self.configs
    }

    fn place(&self, number: SegmentNo) -> Place {
        Place::log(&self.log).segment(number)
    }

    /// Takes the next number that there is anything of; numbers may be missing, but never go back.
    pub(super) fn take(&mut self, checked: Checked, report: &mut LogReport) {
        let Checked { number, commitment, sha256, stored, derived, remarks } = checked;
        if number != self.standing.next {
            self.before_is_good = false;
            self.signed_before = None;
            self.standing.prev_sha256 = None;
            self.interrupt(None, report);
        }
        let good_so_far = remarks.findings.is_empty() && remarks.unreadable.is_empty();
        report.absorb(remarks);
        self.files.extend(sha256.map(|sha256| (number, sha256)));

        let signed = match commitment {
            Commitment::Signed(checkpoint) => Some(checkpoint),
            Commitment::Unproven | Commitment::Absent => {
                report.root_ok = false;
                None
            }
        };
        if let (Some(before), Some(signed)) = (&self.signed_before, &signed)
            && before.size == signed.size
            && before.root != signed.root
        {
            let message = format!(
                "two roots are signed for the size {}: {} and {}",
                signed.size, before.root, signed.root
            );
            report.finding(FindingKind::Split, self.place(number), message);
        }
        let mut findings = report.findings_in_all();
        match derived {
            Some(derived) => {
                self.link(number, &derived, report);
                findings = report.findings_in_all();
                self.check_clock(number, &derived, report);
                self.standing.prev_ts = Some(derived.first_ts);
                self.standing.newest = self.standing.newest.max(Some(derived.max_ts));
                let boot = derived.boot;
                self.count(number, boot, &derived.tally, report);
                let stored = stored.as_ref().map(|stored| (&*stored.bytes, &*stored.index.before));
                self.grow(number, derived, stored, signed.as_ref(), report);
            }
            None => self.interrupt(signed.as_ref(), report),
        }
        self.standing.prev_sha256 = sha256;
        if let Some(checkpoint) = &signed {
            report.checkpoints.good += 1;
            report.size = Some(checkpoint.size.0);
            report.root = Some(checkpoint.root);
        }
        self.before_is_good = sha256.is_some() && good_so_far && findings == report.findings_in_all();
        report.segments.good += u64::from(self.before_is_good);
        self.signed_before = signed;
        self.standing.next = number.next();
    }

    /// What binds a segment to the one before: the hash of its file.
    fn link(&mut self, number: SegmentNo, derived: &Derived, report: &mut LogReport) {
        let named = derived.prev_sha256;
        match (number.previous(), self.standing.prev_sha256) {
            (None, _) if named != Hash::ZERO => {
                let message = format!("it is the first, and its first record names {named} before it");
                report.finding(FindingKind::Changed, self.place(number), message);
            }
            // Of a segment with findings of its own it goes without saying.
            (Some(before), Some(found)) if found != named && self.before_is_good => {
                let message = format!("the file hashes to {found}, segment {number} names {named} before it");
                report.finding(FindingKind::Changed, self.place(before), message);
                report.segments.good -= 1;
            }
            _ => {}
        }
    }

    fn check_clock(&self, number: SegmentNo, derived: &Derived, report: &mut LogReport) {
        if let Some(before) = self.standing.prev_ts.filter(|&before| derived.first_ts < before) {
            let message = format!("it begins at {}, the segment before began at {before}", derived.first_ts);
            report.finding(FindingKind::Clock, self.place(number), message);
        }
    }

    /// Joins the segment's records to the tree and holds it against index and checkpoint.
    fn grow(
        &mut self,
        number: SegmentNo,
        derived: Derived,
        stored: Option<(&[u8], &[Hash])>,
        signed: Option<&Checkpoint>,
        report: &mut LogReport,
    ) {
        let range = derived.index.range().clone();
        let first_seq = Seq(range.start());
        let records = self.place(number).records(first_seq, range.len());
        self.standing.records += range.len();

        let known = self.tree_before(first_seq, stored.map(|(_, before)| before));
        if self.standing.tree.is_some() && first_seq != self.standing.size.next_seq() {
            let expected = self.standing.size.next_seq();
            let kind = if first_seq > expected { FindingKind::Missing } else { FindingKind::Reordered };
            let message = format!("its first record is seq {first_seq}, expected seq {expected}");
            report.finding(kind, records.clone(), message);
        }
        let stored_before =
            stored.and_then(|(_, before)| CompactRange::from_hashes(0, first_seq.0, before.to_vec()).ok());
        // Where the tree before is not known, the index can still be held against itself.
        if let Some(before) = known.as_ref().or(stored_before.as_ref()) {
            let boot = String::from_utf8_lossy(&derived.boot);
            let rebuilt = derived.index.finish(&self.log, number, &boot, before);
            let bytes = rebuilt.map(|index| index.to_bytes()).unwrap_or_default();
            let found = stored.map_or(&[][..], |(bytes, _)| bytes);
            if let Some(at) = first_difference(&bytes, found) {
                let message =
                    format!("the index is not what the records derive: it differs from byte {at} on");
                report.finding(FindingKind::Changed, records.clone(), message);
            }
        } else {
            let message = "the index does not hold the compact range of the records before";
            report.finding(FindingKind::Changed, records.clone(), message);
        }

        let Some(mut tree) = known else {
            self.unproven = Some((self.unproven.map_or(number, |(first, _)| first), number));
            report.root_ok = false;
            return self.lose_the_tree(signed);
        };
        tree.append(&range).expect("the tree before ends where the segment begins");
        let root = tree.root().expect("the tree begins with the first record");
        let agrees = match signed {
            Some(Checkpoint { size, .. }) if *size != tree.size() => {
                let message = format!(
                    "the records end with size {}, checkpoint {number} signs size {size}",
                    tree.size()
                );
                report.finding(FindingKind::Changed, records, message);
                false
            }
            Some(Checkpoint { root: signed, .. }) if *signed != root => {
                let message = format!("leaves hash to {root}, checkpoint {number} signs {signed}");
                report.finding(FindingKind::Changed, records, message);
                false
            }
            _ => true,
        };
        if agrees {
            self.standing.size = tree.size();
            self.standing.tree = Some(tree.hashes().to_vec());
        } else {
            report.root_ok = false;
            self.lose_the_tree(signed);
        }
    }

    /// The tree of all records before `first_seq`: as it was followed, or else as the index says, if the checkpoint
    /// before signs its root.
    fn tree_before(&self, first_seq: Seq, stored: Option<&[Hash]>) -> Option<CompactRange> {
        let followed = self.standing.tree.clone().filter(|_| self.standing.size.next_seq() == first_seq);
        if let Some(hashes) = followed {
            return CompactRange::from_hashes(0, first_seq.0, hashes).ok();
        }
        let signed = self.signed_before.as_ref().filter(|signed| signed.size.next_seq() == first_seq)?;
        let range = CompactRange::from_hashes(0, first_seq.0, stored?.to_vec()).ok()?;
        (range.root() == Ok(signed.root)).then_some(range)
    }

    /// Nothing is known of a segment: neither the tree nor what its boot counted can be followed across it.
    fn interrupt(&mut self, signed: Option<&Checkpoint>, report: &mut LogReport) {
        report.root_ok = false;
        self.standing.boot = None;
        self.standing.open_is_whole = false;
        self.lose_the_tree(signed);
    }

    fn lose_the_tree(&mut self, signed: Option<&Checkpoint>) {
        self.standing.tree = None;
        self.standing.size = signed.map_or(self.standing.size, |signed| signed.size);
    }

    /// The files that `stored` records name are those that were read.
    fn check_stored(&self, number: SegmentNo, tally: &Tally, report: &mut LogReport) {
        for &(seq, segment, sha256) in &tally.stored {
            if segment >= number {
                let message = format!("says that segment {segment} was stored, which came later");
                report.finding(FindingKind::Changed, self.place(number).records(seq, 1), message);
                continue;
            }
            if let Some(found) = self.files.get(&segment).filter(|&&found| found != sha256) {
                let message =
                    format!("the file hashes to {found}, the `stored` record at seq {seq} says {sha256}");
                report.finding(FindingKind::Changed, self.place(segment), message);
            }
        }
    }

    /// Says what only the end shows; gives where the log stands.
    pub(super) fn finish(self, now: Timestamp, report: &mut LogReport) -> Standing {
        if let Some((first, last)) = self.unproven {
            let place = Place::log(&self.log).segments(first, last);
            let message = "what came before was changed or is missing, so these records cannot be proven";
            report.finding(FindingKind::Changed, place, message);
        }
        let standing = self.standing;
        report.records = standing.records;
        report.declared_lost = standing.declared_lost;
        report.declared_lost_unknown = standing.declared_lost_unknown;
        report.newest = standing.newest;
        report.open = standing.open.len() as u64 + standing.without_trace.map_or(0, |(count, _)| count);
        if let Some(first) = standing.open.values().min() {
            let message = format!(
                "{} requests were received, and have neither an end on the log nor a gap that counts them",
                standing.open.len()
            );
            report.notice(NoticeKind::Open, Place::log(&self.log).records(*first, 1), message);
        }
        if let Some((count, first)) = standing.without_trace {
            let message = format!(
                "{count} requests were received, and have no end on the log: it may have gone with the spool that was lost"
            );
            report.notice(NoticeKind::Open, Place::log(&self.log).records(first, 1), message);
        }
        if let (Some(boot), Some(newest)) = (&standing.boot, standing.newest) {
            let silent = now.since(newest);
            let allowed = std::time::Duration::from_millis(boot.heartbeat_interval_ms.saturating_mul(2));
            if !boot.stopped && silent > allowed {
                let (silent, heartbeat) = (Ago(silent.as_secs()), Ago(boot.heartbeat_interval_ms / 1000));
                let message = format!(
                    "no `stop`, and silent since {newest}: for {silent}, more than two heartbeats of {heartbeat}"
                );
                report.finding(FindingKind::OpenEnd, Place::log(&self.log), message);
            }
        }
        standing
    }
}

/// Where two texts differ first; `None` where they are the same.
fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    (a != b).then(|| a.iter().zip(b).take_while(|(a, b)| a == b).count())
}
