//! The start-up audit: what a boot finds in the spool and in the store, and how it goes on from there.
//!
//! Whole groups of a write-ahead log are sealed as they are; sealed segments are derived again from their records; the
//! store's head is compared with what this spool committed. Nothing is repaired silently: what can be put right without
//! a loss, or with one that the log then declares, is a [`Repair`]; what cannot is a [`RecoverError`], with its numbers
//! and with what an operator does next.
//!
//! Invariants: a boot that dies here leaves a spool from which the next one finds the same: what says that records were
//! lost is durable before what told of it is removed. All files of the spool are reached through its
//! [`Disk`](crate::disk::Disk). The thread that opens the log owns it.

mod before;
mod damage;
mod error;
mod from_spool;
mod from_store;
mod repair;
mod store_head;
mod wal;

use serde::{Deserialize, Serialize};

pub use error::RecoverError;
pub use repair::Repair;

use crate::checkpoint::{Checkpoint, LogName, SigningKey};
use crate::ids::{SegmentNo, TreeSize};
use crate::merkle::{CompactRange, Hash, RangeError};
use crate::open_requests::OpenRequests;
use crate::record::{Brief, Kind};
use crate::segment::SegmentSummary;
use crate::spool::{Committed, Spool, State};
use crate::store::{Layout, Store};
use crate::time::Timestamp;

/// Where a boot goes on.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The tree of all records so far.
    pub(crate) tree: CompactRange,
    /// The number of the segment to begin.
    pub(crate) next_segment: SegmentNo,
    /// SHA-256 of the file before it.
    pub(crate) prev_sha256: Hash,
    /// `ts` of the last segment's first record: the next one's is not less.
    pub(crate) last_segment_ts: Timestamp,
    /// Sealed segments that are not known to be in the store, in order.
    pub(crate) pending: Vec<SegmentSummary>,
    /// How the boot before ended.
    pub(crate) before: Before,
    /// What boots before have received and not ended, and no gap counts yet.
    pub(crate) unfinished: OpenRequests,
}

/// How the boot before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// There was none: the log begins.
    None,
    /// With a `stop`.
    Stopped,
    /// Without: what it had not written is lost since this time, if anything is.
    Unclean(Option<Timestamp>),
    /// Its spool is gone: what had not been shipped is lost since this time.
    SpoolLost(Timestamp),
}

impl Before {
    /// Whether there was a boot that ended without a `stop`.
    pub(crate) fn is_unclean(self) -> bool {
        matches!(self, Before::Unclean(_) | Before::SpoolLost(_))
    }

    /// The reason of the gap that it leaves, and since when records are missing.
    pub(crate) fn lost(self) -> Option<(&'static str, Timestamp)> {
        match self {
            Before::None | Before::Stopped | Before::Unclean(None) => None,
            Before::Unclean(Some(since)) => Some(("crash", since)),
            Before::SpoolLost(since) => Some(("spool_lost", since)),
        }
    }
}

/// The create-only marker of a log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    v: u32,
    log: LogName,
    keys: Vec<String>,
}

/// What recovery works with.
#[derive(Debug)]
pub(crate) struct Recovery<'a> {
    pub(crate) spool: &'a Spool,
    pub(crate) store: &'a dyn Store,
    pub(crate) key: &'a SigningKey,
    pub(crate) create_log: bool,
    pub(crate) compression_level: i32,
}

/// What recovery has followed so far: the end of what is known, and what it found on the way.
struct Trail {
    tree: CompactRange,
    next_segment: SegmentNo,
    prev_sha256: Hash,
    last_segment_ts: Timestamp,
    pending: Vec<SegmentSummary>,
    /// The tree and the file's hash before the first of `pending`.
    base: (CompactRange, Hash),
    /// The boot that wrote the newest segment, where that is known.
    newest_boot: Option<String>,
    /// Records that may have passed the ring are lost since this time, whatever the watermark says.
    damaged_since: Option<Timestamp>,
    /// Requests that are open, from `open_from` on.
    open: OpenRequests,
    open_from: TreeSize,
}

impl Trail {
    fn new() -> Trail {
        Trail {
            tree: CompactRange::new(0),
            next_segment: SegmentNo(0),
            prev_sha256: Hash::ZERO,
            last_segment_ts: Timestamp::default(),
            pending: Vec::new(),
            base: (CompactRange::new(0), Hash::ZERO),
            newest_boot: None,
            damaged_since: None,
            open: OpenRequests::default(),
            open_from: TreeSize(0),
        }
    }

    fn of(committed: &Committed, size: TreeSize) -> Result<Trail, RangeError> {
        let tree = CompactRange::from_hashes(0, size.0, committed.range.clone())?;
        Ok(Trail {
            base: (tree.clone(), committed.sha256),
            tree,
            next_segment: committed.segment.next(),
            prev_sha256: committed.sha256,
            last_segment_ts: committed.first_ts,
            newest_boot: committed.boot.clone(),
            open_from: size,
            ..Trail::new()
        })
    }

    /// Goes on after a segment that waits to be shipped.
    fn advance(&mut self, summary: SegmentSummary) {
        self.tree = summary.tree.clone();
        self.next_segment = summary.segment.next();
        self.prev_sha256 = summary.sha256;
        self.last_segment_ts = summary.first_ts;
        self.newest_boot = Some(summary.boot.clone());
        self.pending.push(summary);
    }

    /// Takes a record, in the order of the log, to know which requests are open.
    fn follow(&mut self, brief: &Brief<'_>, line: &[u8]) {
        if brief.seq.size_after() <= self.open_from {
            return;
        }
        self.open_from = brief.seq.size_after();
        if brief.kind == Kind::Gap && counts_what_is_open(line) {
            self.open = OpenRequests::default();
        }
        self.open.apply(brief.kind, brief.request_id.as_deref(), brief.ts);
    }

    fn declare(&mut self, since: Timestamp) {
        self.damaged_since = Some(self.damaged_since.map_or(since, |earlier| earlier.min(since)));
    }

    fn end(self, before: Before) -> Recovered {
        let Trail { tree, next_segment, prev_sha256, last_segment_ts, pending, open: unfinished, .. } = self;
        Recovered { tree, next_segment, prev_sha256, last_segment_ts, pending, before, unfinished }
    }
}

impl Recovery<'_> {
    /// Audits spool and store, and says where to go on.
    pub(crate) fn run(&self, state: Option<State>) -> Result<Recovered, RecoverError> {
        // A killed boot may have made names that only the page cache knows. What is removed below is removed on their
        // strength, so they must not be undone by a power failure.
        self.spool.disk().sync_dir(self.spool.path()).map_err(io("sync the directory"))?;
        self.remove_leftovers()?;
        let contents = self.spool.contents().map_err(io("list the files"))?;
        let segments = contents.sealed.len() + contents.wals.len();
        match state {
            Some(state) => self.resume_from_spool(&state, &contents),
            None if segments == 0 => self.resume_from_store(),
            None => Err(RecoverError::StateMissing { path: self.spool.path().into(), segments }),
        }
    }

    /// Removes files that were being written under another name when a boot died: nothing refers to them.
    fn remove_leftovers(&self) -> Result<(), RecoverError> {
        let names = self.spool.disk().list(self.spool.path()).map_err(io("list the files"))?;
        for name in names {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with('.') && name.ends_with(".tmp") {
                let path = self.spool.path().join(&name);
                self.spool.disk().remove(&path).map_err(io("remove a file that was never finished"))?;
                Repair::Leftover { name }.tell();
            }
        }
        Ok(())
    }

    fn log(&self) -> &LogName {
        self.key.name()
    }

    fn layout(&self) -> Layout {
        Layout::new(self.log().clone())
    }
}

/// Whether a gap counts the requests that are open before it, or says that their ends may have gone with a spool.
fn counts_what_is_open(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Gap<'a> {
        #[serde(borrow)]
        reason: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice(line).is_ok_and(|gap: Gap<'_>| matches!(&*gap.reason, "unfinished" | "spool_lost"))
}

/// The checkpoint after a segment, unsigned.
pub(crate) fn checkpoint_of(log: &LogName, summary: &SegmentSummary) -> Result<Checkpoint, RangeError> {
    Ok(Checkpoint { origin: log.clone(), size: summary.tree.size(), root: summary.tree.root()? })
}

/// What the spool remembers of a segment whose checkpoint is in the store.
pub(crate) fn committed(summary: &SegmentSummary, checkpoint: String) -> Committed {
    Committed {
        segment: summary.segment,
        sha256: summary.sha256,
        first_ts: summary.first_ts,
        boot: Some(summary.boot.clone()),
        checkpoint,
        range: summary.tree.hashes().to_vec(),
    }
}

fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> RecoverError {
    move |source| RecoverError::Io { doing, source }
}
