//! What becomes durable together: the records of one group, and the lines that they became.

use crate::ids::Seq;
use crate::record::Entry;
use crate::ring::Queued;
use crate::segment::Facts;
use crate::wal::Group;

/// Records on their way to the disk. They stay here until they are there: an error on the way loses none of them, and
/// the lines keep their numbers.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The record that begins a segment, where this is its first group.
    pub(super) begin: Option<Entry>,
    /// Taken from the ring.
    pub(super) records: Vec<Queued>,
    /// Records of the log itself.
    pub(super) own: Vec<Entry>,
    pub(super) group: Group,
    pub(super) stage: Stage,
}

/// How far a batch has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Records may be added.
    #[default]
    Gathering,
    /// The lines have their numbers, which they keep.
    Numbered,
    /// The lines are durable, and not yet in the segment under compression.
    Durable,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.own.is_empty()
    }

    /// Gives the lines their numbers, from `first` on.
    pub(super) fn number(&mut self, first: Seq) {
        self.group.begin(first);
        let (records, own) = (self.records.iter().map(|queued| &queued.entry), self.own.iter());
        self.begin.iter().chain(records).chain(own).for_each(|entry| self.group.push(entry));
        self.group.seal();
        self.stage = Stage::Numbered;
    }

    /// The lines, each with its newline, and what the index takes from them.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&[u8], Facts<'_>)> {
        let (records, own) = (self.records.iter().map(|queued| &queued.entry), self.own.iter());
        let entries = self.begin.iter().chain(records).chain(own);
        self.group.lines().zip(entries.map(Entry::facts))
    }

    /// Lets go of its records; the room that they took stays.
    pub(super) fn clear(&mut self) {
        self.begin = None;
        self.records.clear();
        self.own.clear();
        self.stage = Stage::Gathering;
    }
}
