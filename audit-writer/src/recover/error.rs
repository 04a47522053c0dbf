//! Each disagreement of the start-up audit that a boot cannot settle: its numbers, and what the operator does next.

use std::path::PathBuf;

use crate::checkpoint::{CheckpointError, LogName};
use crate::ids::{SegmentNo, Seq, TreeSize};
use crate::merkle::{Hash, RangeError};
use crate::segment::BadSegment;
use crate::store::StoreError;

/// What an operator can always do with a spool that is broken, and what it costs.
const MOVE_ASIDE: &str = "restore it from a copy, or move the whole spool aside: the log then goes on from the store's \
                          head, and declares what was not shipped";

/// Why a boot cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store has no such log, and it may not begin here.
    #[error(
        "the store {store} holds no log `{log}`: is the right store configured and mounted? A new log begins only \
         with `audit.create_log: true`, and only from an empty spool"
    )]
    NoSuchLog {
        /// Where the store is.
        store: String,
        /// The log.
        log: LogName,
    },
    /// The store has no such log, but the spool has: the store is not mounted, or lost.
    #[error(
        "the store {store} holds no log `{log}`, but this spool has committed {committed} of its segments and holds \
         {pending} more: mount or configure the store that has it. A store that is lost is restored from a copy, or the \
         log ends here and another begins, under another name and with an empty spool"
    )]
    StoreLost {
        /// Where the store is.
        store: String,
        /// The log.
        log: LogName,
        /// Segments that were committed.
        committed: u64,
        /// Segments that wait to be shipped.
        pending: usize,
    },
    /// The store cannot be asked, and without it an empty spool says nothing.
    #[error(
        "the spool is empty and the store cannot be asked how far the log has come: start again when it can be reached"
    )]
    StoreAway(#[source] StoreError),
    /// The marker is not one of this log.
    #[error(
        "the marker of log `{log}` in the store {store} is not one: {problem}. Restore it from a copy of the store"
    )]
    Marker {
        /// Where the store is.
        store: String,
        /// The log.
        log: LogName,
        /// What is wrong with it.
        problem: String,
    },
    /// The log is signed by another key.
    #[error(
        "log `{log}` in the store {store} belongs to the key {expected}; this gateway's is {found}. Restore the key that \
         belongs to it, or begin a log under another name"
    )]
    WrongKey {
        /// Where the store is.
        store: String,
        /// The log.
        log: LogName,
        /// The keys of the marker.
        expected: String,
        /// Ours.
        found: String,
    },
    /// The store's checkpoint is not ours.
    #[error(
        "checkpoint {segment} in the store {store} is not this gateway's: somebody else writes there, or it was changed. \
         Find out with `sealaudit verify` before anything else is written"
    )]
    ForeignCheckpoint {
        /// Where the store is.
        store: String,
        /// Its number.
        segment: SegmentNo,
        /// What is wrong with it.
        source: CheckpointError,
    },
    /// Spool and store tell different histories.
    #[error(
        "split log: after segment {segment} the spool's tree has root {ours} over {our_size} records, the store's \
         {theirs} over {their_size}. Two gateways have written this log, or one from an old copy of its spool: stop the \
         other one, keep both spools, and let an auditor decide"
    )]
    Split {
        /// The segment.
        segment: SegmentNo,
        /// The spool's root.
        ours: Hash,
        /// Its size.
        our_size: TreeSize,
        /// The store's root.
        theirs: Hash,
        /// Its size.
        their_size: TreeSize,
    },
    /// The store holds a segment that does not go on from this log.
    #[error(
        "split log: the store {store} holds a segment {segment} without a checkpoint that does not go on from this \
         spool's root {root} over {size} records. Two gateways have written this log: stop the other one, keep both \
         spools, and let an auditor decide"
    )]
    ForeignSegment {
        /// Where the store is.
        store: String,
        /// Its number.
        segment: SegmentNo,
        /// The spool's root before it.
        root: Hash,
        /// The spool's size before it.
        size: TreeSize,
        /// Why it does not.
        source: BadSegment,
    },
    /// The store has segments that this spool never had.
    #[error(
        "the store's newest checkpoint is {theirs}, root {their_root} over {their_size} records; this spool ends with \
         segment {ours}, root {our_root} over {our_size}: another gateway writes this log, or the spool is an old copy. \
         If nobody else does, move the spool aside: the log then goes on from the store's head, and declares what is lost"
    )]
    SpoolBehind {
        /// The spool's newest segment.
        ours: String,
        /// Its root.
        our_root: Hash,
        /// Its size.
        our_size: TreeSize,
        /// The store's newest checkpoint.
        theirs: SegmentNo,
        /// Its root.
        their_root: Hash,
        /// Its size.
        their_size: TreeSize,
    },
    /// The store lost what was committed.
    #[error(
        "this spool committed segment {ours}, but the newest checkpoint in the store {store} is {theirs}: what was \
         committed is gone, or this is an old copy of the store. Restore it, or mount the right one"
    )]
    SpoolAhead {
        /// Where the store is.
        store: String,
        /// What the spool committed.
        ours: SegmentNo,
        /// The store's newest checkpoint.
        theirs: String,
    },
    /// A segment of the store is not what its checkpoint signs.
    #[error(
        "segment {segment} in {place} is damaged: restore it from a copy; `sealaudit verify` says what else is"
    )]
    StoreSegment {
        /// Its number.
        segment: SegmentNo,
        /// Where it lies.
        place: String,
        /// What is wrong with it.
        source: BadSegment,
    },
    /// A sealed segment of the spool is not what was sealed.
    #[error("`{path}`, sealed and not yet shipped, is damaged{wal}: {}", MOVE_ASIDE, path = .path.display())]
    SealedDamaged {
        /// The file.
        path: PathBuf,
        /// Whether its write-ahead log is there still.
        wal: String,
        /// What is wrong with it.
        source: BadSegment,
    },
    /// A sealed segment is not there, but a later one is.
    #[error(
        "the spool `{path}` holds segment {found}, but not segment {missing} before it: {}",
        MOVE_ASIDE,
        path = .path.display()
    )]
    SegmentMissing {
        /// The spool.
        path: PathBuf,
        /// The number that is missing.
        missing: SegmentNo,
        /// The number that is there.
        found: SegmentNo,
    },
    /// The newest sealed segments are not there.
    #[error(
        "the spool `{path}` has sealed segment {sealed}, up to record {end}, but holds nothing after \
         record {found}: {}",
        MOVE_ASIDE,
        path = .path.display()
    )]
    SegmentsGone {
        /// The spool.
        path: PathBuf,
        /// The number that was sealed last.
        sealed: SegmentNo,
        /// Records up to its end.
        end: TreeSize,
        /// Records that are there.
        found: TreeSize,
    },
    /// Segments, but nothing that says which log they are of and how far the store has it.
    #[error(
        "the spool `{path}` holds {segments} segments, but no `state`: {}",
        MOVE_ASIDE,
        path = .path.display()
    )]
    StateMissing {
        /// The spool.
        path: PathBuf,
        /// How many.
        segments: usize,
    },
    /// The state remembers a checkpoint that is not ours.
    #[error(
        "the state in `{path}` remembers checkpoint {segment}, which is not this gateway's: restore the key that wrote \
         this spool, or the spool that belongs to this key",
        path = .path.display()
    )]
    StateCheckpoint {
        /// The spool.
        path: PathBuf,
        /// Its number.
        segment: SegmentNo,
        /// What is wrong with it.
        source: CheckpointError,
    },
    /// The state's hashes are not those of its checkpoint.
    #[error(
        "the hashes in the state in `{path}` have the root {found}, its checkpoint {segment} signs \
         {signed}: {}",
        MOVE_ASIDE,
        path = .path.display()
    )]
    StateTree {
        /// The spool.
        path: PathBuf,
        /// The checkpoint's number.
        segment: SegmentNo,
        /// The root of the hashes.
        found: Hash,
        /// The root that is signed.
        signed: Hash,
    },
    /// The state's hashes make no tree.
    #[error("the spool's state holds no tree: {}", MOVE_ASIDE)]
    Range(#[from] RangeError),
    /// A write-ahead log of a segment that cannot be the next.
    #[error(
        "`{path}` is there, but the segment to go on with is {expected}, not {segment}: {}",
        MOVE_ASIDE,
        path = .path.display()
    )]
    WalOutOfPlace {
        /// The file.
        path: PathBuf,
        /// Its number.
        segment: SegmentNo,
        /// The number that would go on.
        expected: SegmentNo,
    },
    /// A write-ahead log that does not go on from the records before.
    #[error(
        "`{path}` begins with record {found}, but the records before end with {expected}: {}",
        MOVE_ASIDE,
        path = .path.display()
    )]
    WalNumbers {
        /// The file.
        path: PathBuf,
        /// Its first record.
        found: Seq,
        /// The record that would go on.
        expected: Seq,
    },
    /// A write-ahead log of another history.
    #[error("`{path}` begins {found}, expected is {expected}: {}", MOVE_ASIDE, path = .path.display())]
    WalForeign {
        /// The file.
        path: PathBuf,
        /// How it should begin.
        expected: String,
        /// How it begins.
        found: String,
    },
    /// The file system failed.
    #[error("cannot {doing} in the spool: start again when the disk works")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// The store failed at a log's creation, or while it was read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RecoverError {
    /// 70 where evidence is broken, 75 where trying again may help, 78 where the configuration is wrong.
    pub fn exit_code(&self) -> u8 {
        match self {
            RecoverError::NoSuchLog { .. } | RecoverError::StoreLost { .. } => 78,
            RecoverError::StoreAway(_) | RecoverError::Io { .. } => 75,
            RecoverError::Store(StoreError::Unavailable { .. }) => 75,
            _ => 70,
        }
    }
}
