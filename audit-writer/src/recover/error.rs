//! Each disagreement of the start-up audit, with its numbers.

use crate::checkpoint::{CheckpointError, LogName};
use crate::ids::{SegmentNo, TreeSize};
use crate::merkle::{Hash, RangeError};
use crate::segment::BadSegment;
use crate::store::StoreError;

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
    /// The store cannot be asked, and without it an empty spool says nothing.
    #[error("the spool is empty and the store cannot be asked how far the log has come")]
    StoreAway(#[source] StoreError),
    /// The marker is not one of this log.
    #[error("the marker of log `{log}` in the store {store} is not one: {problem}")]
    Marker {
        /// Where the store is.
        store: String,
        /// The log.
        log: LogName,
        /// What is wrong with it.
        problem: String,
    },
    /// The log is signed by another key.
    #[error("log `{log}` in the store {store} belongs to the key {expected}; this gateway's is {found}")]
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
    /// The store's newest checkpoint is not ours.
    #[error("checkpoint {segment} in the store {store} is not this gateway's")]
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
         {theirs} over {their_size}"
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
    /// The store has segments that this spool never had.
    #[error(
        "the store's newest checkpoint is {theirs}, root {root}; this spool has nothing after segment {ours}: another \
         gateway writes this log, or the spool is an old copy"
    )]
    SpoolBehind {
        /// The spool's newest segment.
        ours: String,
        /// The store's newest checkpoint.
        theirs: SegmentNo,
        /// Its root.
        root: Hash,
    },
    /// The store lost what was committed.
    #[error("this spool committed segment {ours}, but the store's newest checkpoint is {theirs}")]
    SpoolAhead {
        /// What the spool committed.
        ours: SegmentNo,
        /// The store's newest checkpoint.
        theirs: String,
    },
    /// A segment is not what it should be.
    #[error("segment {segment} in {place}")]
    Segment {
        /// Its number.
        segment: SegmentNo,
        /// Where it lies.
        place: String,
        /// What is wrong with it.
        source: BadSegment,
    },
    /// The spool's files do not follow each other.
    #[error("the spool is broken: {problem}")]
    Spool {
        /// What is wrong with it.
        problem: String,
    },
    /// Hashes do not make a tree.
    #[error("the spool's state holds no tree")]
    Range(#[from] RangeError),
    /// The file system failed.
    #[error("cannot {doing} in the spool")]
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
            RecoverError::NoSuchLog { .. } => 78,
            RecoverError::StoreAway(_) | RecoverError::Io { .. } | RecoverError::Store(_) => 75,
            _ => 70,
        }
    }
}
