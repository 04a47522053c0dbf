//! The index of a segment: what it holds, where, and how it continues the tree.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::SET_MAX;
use crate::ids::{SegmentNo, Seq};
use crate::merkle::{CompactRange, Hash};
use crate::record::Kind;
use crate::time::Timestamp;

/// The index, J: its keys in exactly this order, compact, without a newline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// The format's version: 1.
    pub v: u32,
    /// The log's name.
    pub log: String,
    /// The segment's number.
    pub segment: SegmentNo,
    /// The boot that wrote it: 8 hex digits.
    pub boot: String,
    /// The number of its first record.
    pub first_seq: Seq,
    /// Its records.
    pub count: u64,
    /// The sum of `lost` of its gaps.
    pub lost: u64,
    /// Its gaps whose `lost` is null.
    pub lost_unknown: u64,
    /// The least `ts` of its records.
    pub min_ts: Timestamp,
    /// The greatest `ts` of its records.
    pub max_ts: Timestamp,
    /// Bytes of its lines, with their newlines.
    pub raw_bytes: u64,
    /// Its data frames.
    pub frames: Vec<Frame>,
    /// The compact range of the records before it.
    pub before: Vec<Hash>,
    /// The compact range of its records.
    pub range: Vec<Hash>,
    /// The distinct values of its records.
    pub sets: Sets,
}

/// A data frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its compressed bytes.
    pub len: u64,
    /// Bytes of its lines, with their newlines.
    pub raw_len: u64,
    /// The number of its first record.
    pub first_seq: Seq,
    /// Its records.
    pub count: u64,
    /// The least `ts` of its records.
    pub min_ts: Timestamp,
    /// The greatest `ts` of its records.
    pub max_ts: Timestamp,
    /// SHA-256 of its compressed bytes.
    pub sha256: Hash,
}

/// Sorted distinct values; null past [`SET_MAX`] of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sets {
    /// `actor.id`.
    pub actor: Option<Vec<String>>,
    /// `route`.
    pub route: Option<Vec<String>>,
    /// `response.status`.
    pub status: Option<Vec<u16>>,
    /// `kind`.
    pub kind: Option<Vec<String>>,
}

impl Index {
    /// J.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an index has string keys only")
    }

    /// The number after its last record.
    pub fn end_seq(&self) -> Seq {
        Seq(self.first_seq.0 + self.count)
    }
}

/// What the index takes from one record.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `ts`.
    pub ts: Timestamp,
    /// `kind`.
    pub kind: Kind,
    /// `actor.id`.
    pub actor: Option<&'a str>,
    /// `route`.
    pub route: Option<&'a str>,
    /// `response.status`.
    pub status: Option<u16>,
    /// `lost`, where the record is a gap.
    pub gap: Option<Option<u64>>,
}

/// Builds the index of one segment, record by record and frame by frame.
///
/// Every record is [`add`](IndexBuilder::add)ed in order; [`end_frame`](IndexBuilder::end_frame) closes the frame of
/// the records added since the frame before.
#[derive(Debug)]
pub struct IndexBuilder {
    first_seq: Seq,
    lost: u64,
    lost_unknown: u64,
    frames: Vec<Frame>,
    open: Option<OpenFrame>,
    range: CompactRange,
    actor: Distinct,
    route: Distinct,
    status: BTreeSet<u16>,
    kind: BTreeSet<Kind>,
}

#[derive(Debug)]
struct OpenFrame {
    first_seq: Seq,
    raw_len: u64,
    min_ts: Timestamp,
    max_ts: Timestamp,
}

impl IndexBuilder {
    /// An index of records from `first_seq` on.
    pub fn new(first_seq: Seq) -> IndexBuilder {
        IndexBuilder {
            first_seq,
            lost: 0,
            lost_unknown: 0,
            frames: Vec::new(),
            open: None,
            range: CompactRange::new(first_seq.0),
            actor: Distinct::default(),
            route: Distinct::default(),
            status: BTreeSet::new(),
            kind: BTreeSet::new(),
        }
    }

    /// Takes the next record: its facts, its leaf hash, and the bytes of its line with the newline.
    pub fn add(&mut self, facts: &Facts<'_>, leaf: Hash, line_bytes: usize) {
        let seq = self.next_seq();
        self.range.push(leaf);
        let frame = self.open.get_or_insert(OpenFrame {
            first_seq: seq,
            raw_len: 0,
            min_ts: facts.ts,
            max_ts: facts.ts,
        });
        frame.raw_len += line_bytes as u64;
        frame.min_ts = frame.min_ts.min(facts.ts);
        frame.max_ts = frame.max_ts.max(facts.ts);
        if let Some(actor) = facts.actor {
            self.actor.insert(actor);
        }
        if let Some(route) = facts.route {
            self.route.insert(route);
        }
        if let Some(status) = facts.status {
            self.status.insert(status);
        }
        self.kind.insert(facts.kind);
        match facts.gap {
            Some(Some(lost)) => self.lost = self.lost.saturating_add(lost),
            Some(None) => self.lost_unknown += 1,
            None => {}
        }
    }

    /// Closes the frame of the records added since the last one. Does nothing where there are none.
    pub fn end_frame(&mut self, offset: u64, len: u64, sha256: Hash) {
        let Some(open) = self.open.take() else { return };
        self.frames.push(Frame {
            offset,
            len,
            raw_len: open.raw_len,
            first_seq: open.first_seq,
            count: self.next_seq().0 - open.first_seq.0,
            min_ts: open.min_ts,
            max_ts: open.max_ts,
            sha256,
        });
    }

    /// The number of the next record.
    pub fn next_seq(&self) -> Seq {
        Seq(self.range.end())
    }

    /// The compact range of the records so far.
    pub fn range(&self) -> &CompactRange {
        &self.range
    }

    /// The index, where at least one frame was closed and none is open. `before` is the tree of all records before.
    pub fn finish(self, log: &str, segment: SegmentNo, boot: &str, before: &CompactRange) -> Option<Index> {
        let (min_ts, max_ts) = (
            self.frames.iter().map(|frame| frame.min_ts).min()?,
            self.frames.iter().map(|frame| frame.max_ts).max()?,
        );
        if self.open.is_some() {
            return None;
        }
        Some(Index {
            v: 1,
            log: log.to_owned(),
            segment,
            boot: boot.to_owned(),
            first_seq: self.first_seq,
            count: self.range.len(),
            lost: self.lost,
            lost_unknown: self.lost_unknown,
            min_ts,
            max_ts,
            raw_bytes: self.frames.iter().map(|frame| frame.raw_len).sum(),
            frames: self.frames,
            before: before.hashes().to_vec(),
            range: self.range.hashes().to_vec(),
            sets: Sets {
                actor: self.actor.into_sorted(),
                route: self.route.into_sorted(),
                status: (self.status.len() <= SET_MAX).then(|| self.status.into_iter().collect()),
                kind: Some(sorted(self.kind.into_iter().map(|kind| kind.as_str().to_owned()).collect())),
            },
        })
    }
}

/// Distinct texts, up to one more than [`SET_MAX`]. Runs of one value cost a comparison.
#[derive(Debug, Default)]
struct Distinct {
    last: String,
    seen: HashSet<Box<str>>,
}

impl Distinct {
    fn insert(&mut self, value: &str) {
        if (self.last == value && !self.seen.is_empty()) || self.seen.len() > SET_MAX {
            return;
        }
        if !self.seen.contains(value) {
            self.seen.insert(value.into());
        }
        self.last.clear();
        self.last.push_str(value);
    }

    fn into_sorted(self) -> Option<Vec<String>> {
        (self.seen.len() <= SET_MAX).then(|| sorted(self.seen.into_iter().map(String::from).collect()))
    }
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort_unstable();
    values
}
