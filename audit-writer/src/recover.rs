//! The start-up audit: what a boot finds in the spool and in the store, and how it goes on from there.
//!
//! Whole groups of a write-ahead log are sealed as they are; sealed segments are derived again from their records; the
//! store's head is compared with what this spool committed. Nothing is repaired silently: each disagreement is an error
//! of its own, with its numbers.

mod empty_spool;
mod error;

use std::fs::File;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use error::RecoverError;

use crate::checkpoint::{Checkpoint, LogName, SigningKey};
use crate::ids::{SegmentNo, Seq, TreeSize};
use crate::merkle::{CompactRange, Hash, RangeError};
use crate::open_requests::OpenRequests;
use crate::record::{Brief, SegmentLine};
use crate::segment::{Expected, SegmentBuilder, SegmentSummary, derive};
use crate::spool::{Committed, Spool, State};
use crate::store::{self, Layout, Store, StoreError};
use crate::time::Timestamp;
use crate::wal;

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
    /// What it received and did not end.
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

/// The end of what is known so far.
struct Head {
    tree: CompactRange,
    next_segment: SegmentNo,
    prev_sha256: Hash,
    last_segment_ts: Timestamp,
}

impl Head {
    fn new() -> Head {
        Head {
            tree: CompactRange::new(0),
            next_segment: SegmentNo(0),
            prev_sha256: Hash::ZERO,
            last_segment_ts: Timestamp::default(),
        }
    }

    fn of(committed: &Committed, size: TreeSize) -> Result<Head, RangeError> {
        Ok(Head {
            tree: CompactRange::from_hashes(0, size.0, committed.range.clone())?,
            next_segment: committed.segment.next(),
            prev_sha256: committed.sha256,
            last_segment_ts: committed.first_ts,
        })
    }

    fn advance(&mut self, summary: &SegmentSummary) {
        self.tree = summary.tree.clone();
        self.next_segment = summary.segment.next();
        self.prev_sha256 = summary.sha256;
        self.last_segment_ts = summary.first_ts;
    }
}

impl Recovery<'_> {
    /// Audits spool and store, and says where to go on.
    pub(crate) fn run(&self, state: Option<State>) -> Result<Recovered, RecoverError> {
        let contents = self.spool.contents().map_err(io("list the files"))?;
        match state {
            Some(state) => self.resume_from_spool(&state, &contents),
            None if contents.sealed.is_empty() && contents.wals.is_empty() => self.resume_from_store(),
            None => Err(RecoverError::Spool { problem: "it has segments, but no state".to_owned() }),
        }
    }

    fn log(&self) -> &LogName {
        self.key.name()
    }

    fn layout(&self) -> Layout {
        Layout::new(self.log().clone())
    }

    /// The usual start: the spool knows its log.
    fn resume_from_spool(
        &self,
        state: &State,
        contents: &crate::spool::Contents,
    ) -> Result<Recovered, RecoverError> {
        let mut head = match &state.committed {
            None => Head::new(),
            Some(committed) => {
                let checkpoint = self.verified(committed.segment, committed.checkpoint.as_bytes())?;
                let head = Head::of(committed, checkpoint.size)?;
                if head.tree.root()? != checkpoint.root {
                    return Err(RecoverError::Spool {
                        problem: "its state's hashes do not make the root of its checkpoint".to_owned(),
                    });
                }
                head
            }
        };
        for segment in &contents.building {
            self.spool.remove_building(*segment).map_err(io("remove an unfinished segment"))?;
        }
        let last_write = self.last_write(contents);
        let mut pending = Vec::new();
        for &segment in &contents.sealed {
            if segment < head.next_segment {
                // In the store already: the boot died before it removed its copy.
                self.spool.forget(segment).map_err(io("remove a shipped segment"))?;
                continue;
            }
            let summary = self.derive_sealed(segment, &head)?;
            head.advance(&summary);
            pending.push(summary);
        }
        for &segment in &contents.wals {
            if segment < head.next_segment {
                // Sealed: the boot died before it removed the log.
                self.spool.remove_wal(segment).map_err(io("remove a sealed write-ahead log"))?;
            } else if let Some(summary) = self.seal_wal(segment, &head)? {
                head.advance(&summary);
                pending.push(summary);
            }
        }
        match self.check_store(state, &pending) {
            // The spool takes what comes until the store is back.
            Err(RecoverError::Store(error @ StoreError::Unavailable { .. })) => {
                tracing::warn!(error = %crate::error_chain(&error), "the store is away; the log goes on in the spool");
            }
            other => other?,
        }
        let before = if state.stopped {
            Before::Stopped
        } else if head.tree.is_empty() {
            // The log was made, and nothing was served yet.
            Before::None
        } else {
            Before::Unclean(Some(last_write))
        };
        Ok(recovered(head, pending, before))
    }

    /// When the boot before last wrote: what it had in memory came after that.
    fn last_write(&self, contents: &crate::spool::Contents) -> Timestamp {
        let wals = contents.wals.iter().map(|segment| self.spool.path().join(wal::file_name(*segment)));
        let sealed = contents.sealed.iter().map(|segment| self.spool.sealed_path(*segment));
        let modified = |path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let state = self.spool.path().join("state");
        let newest = wals.chain(sealed).chain([state]).filter_map(modified).max();
        newest.unwrap_or_else(SystemTime::now).into()
    }

    fn derive_sealed(&self, segment: SegmentNo, head: &Head) -> Result<SegmentSummary, RecoverError> {
        if segment != head.next_segment {
            let problem = format!("segment {segment} is there, but not segment {}", head.next_segment);
            return Err(RecoverError::Spool { problem });
        }
        let path = self.spool.sealed_path(segment);
        let file = File::open(&path).map_err(io("open a sealed segment"))?;
        let expected =
            Expected { log: self.log(), segment, before: &head.tree, prev_sha256: head.prev_sha256 };
        derive(&file, &expected).map_err(|source| RecoverError::Segment {
            segment,
            place: path.display().to_string(),
            source,
        })
    }

    /// Seals the whole groups of a write-ahead log, as they are.
    fn seal_wal(&self, segment: SegmentNo, head: &Head) -> Result<Option<SegmentSummary>, RecoverError> {
        let broken = |problem: String| RecoverError::Spool { problem };
        if segment != head.next_segment {
            return Err(broken(format!(
                "wal-{} is there, but not segment {}",
                segment.digits(),
                head.next_segment
            )));
        }
        let bytes = self.spool.read_wal(segment).map_err(io("read a write-ahead log"))?;
        let scan = wal::scan(&bytes);
        if let Some(torn) = scan.stopped {
            let (good, all) = (scan.good_bytes, bytes.len());
            tracing::warn!(segment = segment.0, good, all, reason = %torn, "the write-ahead log ends in a torn group");
        }
        let Some(first) = scan.lines.first() else {
            self.spool.remove_wal(segment).map_err(io("remove an empty write-ahead log"))?;
            return Ok(None);
        };
        if scan.first_seq != Some(Seq(head.tree.end())) {
            let found = scan.first_seq.unwrap_or_default();
            return Err(broken(format!(
                "wal-{} begins with record {found}, not {}",
                segment.digits(),
                head.tree.end()
            )));
        }
        let begin = SegmentLine::parse(first)
            .filter(|begin| begin.segment == segment && begin.prev_sha256 == head.prev_sha256)
            .ok_or_else(|| {
                broken(format!("wal-{} does not begin segment {segment} of this log", segment.digits()))
            })?;
        let seal = io("seal a write-ahead log");
        let sealed = (|| {
            let mut builder = SegmentBuilder::new(segment, head.tree.clone(), self.compression_level)?;
            let mut file = self.spool.create_building(segment)?;
            let (mut line, mut out) = (Vec::new(), Vec::new());
            for raw in &scan.lines {
                let brief = Brief::parse(raw).map_err(std::io::Error::other)?;
                line.clear();
                line.extend_from_slice(raw);
                line.push(b'\n');
                builder.add(&line, &brief.facts(), &mut out)?;
                file.append(&out)?;
                out.clear();
            }
            let summary = builder.finish(self.log().as_str(), &begin.boot, &mut out)?;
            file.append(&out)?;
            file.sync()?;
            self.spool.seal(segment)?;
            self.spool.clear_sealed(segment);
            Ok(summary)
        })();
        sealed.map_err(seal)
    }

    /// The store holds this log, and its head is what this spool committed, or has and has not yet noted.
    fn check_store(&self, state: &State, pending: &[SegmentSummary]) -> Result<(), RecoverError> {
        let layout = self.layout();
        if !self.check_marker(&layout)? {
            return Err(RecoverError::NoSuchLog { store: self.store.location(), log: self.log().clone() });
        }
        let newest = store::newest_checkpoint(self.store, &layout)?;
        let committed = state.committed.as_ref();
        if let Some(committed) =
            committed.filter(|committed| newest.is_none_or(|newest| newest < committed.segment))
        {
            let theirs = newest.map_or("none".to_owned(), |newest| newest.to_string());
            return Err(RecoverError::SpoolAhead { ours: committed.segment, theirs });
        }
        let Some(newest) = newest else { return Ok(()) };
        let theirs = self.checkpoint(&layout, newest)?;
        let ours = match committed.filter(|committed| committed.segment == newest) {
            Some(committed) => Some(self.verified(newest, committed.checkpoint.as_bytes())?),
            None => {
                let summary = pending.iter().find(|summary| summary.segment == newest);
                summary.map(|summary| checkpoint_of(self.log(), summary)).transpose()?
            }
        };
        match ours {
            Some(ours) if ours == theirs => Ok(()),
            Some(ours) => Err(RecoverError::Split {
                segment: newest,
                ours: ours.root,
                our_size: ours.size,
                theirs: theirs.root,
                their_size: theirs.size,
            }),
            None => {
                let last =
                    pending.last().map(|last| last.segment).or(committed.map(|committed| committed.segment));
                let ours = last.map_or("none".to_owned(), |last| last.to_string());
                Err(RecoverError::SpoolBehind { ours, theirs: newest, root: theirs.root })
            }
        }
    }

    /// Whether the marker is there; that it names this log and our key.
    fn check_marker(&self, layout: &Layout) -> Result<bool, RecoverError> {
        let Some(bytes) = self.store.get(&layout.marker())? else { return Ok(false) };
        let (store, log) = (self.store.location(), self.log().clone());
        let marker: Marker = match serde_json::from_slice(&bytes) {
            Ok(marker) => marker,
            Err(error) => return Err(RecoverError::Marker { store, log, problem: error.to_string() }),
        };
        if marker.v != 1 || marker.log != log {
            let problem = format!("it is version {} of log {}", marker.v, marker.log);
            return Err(RecoverError::Marker { store, log, problem });
        }
        let found = self.key.verifier_key().to_string();
        if !marker.keys.contains(&found) {
            return Err(RecoverError::WrongKey { store, log, expected: marker.keys.join(", "), found });
        }
        Ok(true)
    }

    fn checkpoint(&self, layout: &Layout, segment: SegmentNo) -> Result<Checkpoint, RecoverError> {
        let bytes = self.store.get(&layout.checkpoint(segment))?.unwrap_or_default();
        self.verified(segment, &bytes)
    }

    fn verified(&self, segment: SegmentNo, bytes: &[u8]) -> Result<Checkpoint, RecoverError> {
        let keys = [self.key.verifier_key().clone()];
        Checkpoint::parse_and_verify(bytes, self.log(), &keys).map_err(|source| {
            RecoverError::ForeignCheckpoint { store: self.store.location(), segment, source }
        })
    }
}

fn recovered(head: Head, pending: Vec<SegmentSummary>, before: Before) -> Recovered {
    let Head { tree, next_segment, prev_sha256, last_segment_ts } = head;
    Recovered {
        tree,
        next_segment,
        prev_sha256,
        last_segment_ts,
        pending,
        before,
        unfinished: OpenRequests::default(),
    }
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
        checkpoint,
        range: summary.tree.hashes().to_vec(),
    }
}

fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> RecoverError {
    move |source| RecoverError::Io { doing, source }
}
