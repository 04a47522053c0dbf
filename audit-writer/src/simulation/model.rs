//! What the log must hold: the simple model that the real writer is held against.
//!
//! A boot hands records over in an order. Of them a beginning is on the log, whole and byte for byte; it is at least
//! what the boot said to be durable. What follows is lost, and lies in a gap that a later boot declares before it serves.

use std::collections::BTreeMap;

use crate::time::Timestamp;

/// A record that was handed over to the writer.
#[derive(Clone, Debug)]
pub(super) struct Captured {
    /// When its request was received.
    pub(super) ts: Timestamp,
    /// The line but for its number.
    pub(super) rest: Vec<u8>,
    /// Of an end: the place of its `received`, where it has one.
    pub(super) received: Option<usize>,
}

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It still runs.
    Running,
    /// With a `stop`.
    Stopped,
    /// Its process was killed, or its start failed.
    Killed,
    /// Power went.
    PowerLost,
}

/// One attempt to start, and what it did.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    /// 8 hex digits.
    pub(super) name: String,
    /// It served: its first records were durable.
    pub(super) began: bool,
    pub(super) captured: Vec<Captured>,
    /// How many of them the boot said to be durable.
    pub(super) durable: usize,
    /// Requests whose records were declared lost, by when they were received, in the order of the declaration. None of
    /// one that was served though the spool could not even be told of it.
    pub(super) lost: Vec<Option<Timestamp>>,
    /// At its end: requests that were served, and had no record of their end.
    pub(super) in_flight: Vec<Timestamp>,
    /// Nothing was owed, and the writer had time to say so.
    pub(super) quiet: bool,
    /// Nothing failed in it.
    pub(super) untroubled: bool,
    /// Every request received before it was on the log when the writer last wrote.
    pub(super) watermark: Timestamp,
    pub(super) ending: Ending,
    /// Its spool was removed, and with it what was not in the store.
    pub(super) spool_lost: bool,
}

impl Boot {
    pub(super) fn new(name: String) -> Boot {
        Boot {
            name,
            began: false,
            captured: Vec::new(),
            durable: 0,
            lost: Vec::new(),
            in_flight: Vec::new(),
            quiet: false,
            untroubled: true,
            watermark: Timestamp::default(),
            ending: Ending::Running,
            spool_lost: false,
        }
    }
}

/// All boots of one log, and what was seen of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) boots: Vec<Boot>,
    /// Lines that were seen when they were durable: they never change. By number, from 0.
    pub(super) durable: Vec<Vec<u8>>,
    /// Checkpoints that were seen in the store: they never change either.
    pub(super) checkpoints: BTreeMap<String, Vec<u8>>,
}
