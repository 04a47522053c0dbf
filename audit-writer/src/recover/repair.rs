//! What recovery put right, told once each, with its numbers.

use crate::ids::{SegmentNo, Seq};
use crate::wal::Torn;

/// A disagreement that a boot settles by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// A file that was being written under another name when a boot died.
    Leftover {
        /// Its name.
        name: String,
    },
    /// A segment under compression: made again from the write-ahead log.
    Building {
        /// Its number.
        segment: SegmentNo,
    },
    /// A sealed segment that the store has: the boot died before it removed its copy.
    Shipped {
        /// Its number.
        segment: SegmentNo,
    },
    /// A write-ahead log whose segment is sealed: the boot died before it removed it.
    Sealed {
        /// Its number.
        segment: SegmentNo,
    },
    /// A write-ahead log without a whole group: its boot died before it had recorded anything.
    Empty {
        /// Its number.
        segment: SegmentNo,
    },
    /// A write-ahead log ends in a group that is not whole: what a crash leaves. Nobody was told that it is durable.
    Torn {
        /// Its number.
        segment: SegmentNo,
        /// Bytes of the whole groups.
        at: usize,
        /// Bytes of the file.
        bytes: usize,
        /// Why the group was not taken.
        reason: Torn,
    },
    /// A write-ahead log has whole groups behind a bad one: records that were durable are damaged, and cannot be kept.
    Damaged {
        /// Its number.
        segment: SegmentNo,
        /// Bytes of the whole groups before the bad one.
        at: usize,
        /// Bytes of the file.
        bytes: usize,
        /// Why the group was not taken.
        reason: Torn,
        /// Whole groups behind it.
        groups: usize,
        /// The number after their last record.
        end: Seq,
        /// The file's new name.
        kept: String,
    },
    /// Records that were durable are gone: a write-ahead log was cut, or removed.
    Gone {
        /// The number of the first that is missing.
        from: Seq,
        /// The number after the last.
        end: Seq,
    },
    /// A segment of the store without its checkpoint, which this spool lacks: it goes on from what is known, and is taken over.
    Adopted {
        /// Its number.
        segment: SegmentNo,
        /// Its records.
        records: u64,
    },
    /// The store cannot be asked: the spool takes what comes until it is back.
    StoreAway {
        /// What it said.
        error: String,
    },
}

impl Repair {
    /// Says so: as an error where records are lost, as a warning where an operator should look.
    pub(super) fn tell(&self) {
        match self {
            Repair::Leftover { name } => {
                tracing::info!(name, "removed a file of the spool that was never finished")
            }
            Repair::Building { segment } => {
                tracing::info!(
                    segment = segment.0,
                    "removed an unfinished segment: it is made again from its write-ahead log"
                );
            }
            Repair::Shipped { segment } => {
                tracing::info!(segment = segment.0, "removed a sealed segment that is in the store");
            }
            Repair::Sealed { segment } => {
                tracing::info!(segment = segment.0, "removed the write-ahead log of a sealed segment");
            }
            Repair::Empty { segment } => {
                tracing::info!(segment = segment.0, "removed a write-ahead log without records")
            }
            Repair::Torn { segment, at, bytes, reason } => {
                tracing::warn!(segment = segment.0, at, bytes, %reason, "the write-ahead log ends in a torn group, as after a crash: its whole groups are sealed");
            }
            Repair::Damaged { segment, at, bytes, reason, groups, end, kept } => {
                tracing::error!(
                    segment = segment.0, at, bytes, %reason, whole_groups_behind = groups, last_record_behind = end.0 - 1, kept,
                    "the write-ahead log is damaged: records that were durable are lost, and a gap declares it; the file is kept aside: check the disk"
                );
            }
            Repair::Gone { from, end } => {
                tracing::error!(
                    first = from.0,
                    last = end.0 - 1,
                    "records that were durable are gone from the spool, and a gap declares it: a write-ahead log was cut or removed; check the disk, and who can write there"
                );
            }
            Repair::Adopted { segment, records } => {
                tracing::warn!(
                    segment = segment.0,
                    records,
                    "took a segment over from the store: it has no checkpoint yet, and this spool lacks it"
                );
            }
            Repair::StoreAway { error } => {
                tracing::warn!(error, "the store is away: the log goes on in the spool");
            }
        }
    }
}
