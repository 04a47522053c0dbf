//! How far the log has come, as the writer and the shipper last said.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::ids::{SegmentNo, TreeSize};
use crate::merkle::Hash;
use crate::time::Timestamp;

/// What the shipper and the writer have done: they tell, the writer and `/status` read.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<Shipped>);

/// How far the store has come.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Shipped {
    /// Sealed segments that wait.
    pub waiting: usize,
    /// When the oldest of them began.
    pub oldest_waiting: Option<Timestamp>,
    /// The newest checkpoint that this boot put.
    pub last_checkpoint: Option<LastCheckpoint>,
    /// Why the store did not take the last thing that was tried.
    pub store_error: Option<String>,
    /// Why the writer cannot write at the moment.
    #[serde(skip)]
    pub writer_error: Option<String>,
}

/// A checkpoint that was put.
#[derive(Clone, Debug, Serialize)]
pub struct LastCheckpoint {
    /// Its number.
    pub segment: SegmentNo,
    /// The size that it signs.
    pub size: TreeSize,
    /// The root that it signs.
    pub root: Hash,
    /// When it was put.
    pub at: Timestamp,
}

impl Progress {
    pub(crate) fn read(&self) -> Shipped {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub(crate) fn update(&self, change: impl FnOnce(&mut Shipped)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
