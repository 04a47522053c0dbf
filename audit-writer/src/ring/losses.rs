//! Records that could not be kept, until a gap declares them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::accounting::Reason;
use crate::time::Timestamp;

/// Losses to be declared by one gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) reason: Reason,
    pub(crate) count: u64,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// Losses that no gap has declared yet, by reason. Behind a lock: a loss is what happens when everything else has
/// failed, and count and times must be of one piece.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<[Option<Lost>; Reason::ALL.len()]>);

impl Losses {
    /// One more, of a request that was received at `since`.
    pub(crate) fn add(&self, reason: Reason, since: Timestamp) {
        let now = Timestamp::now().max(since);
        let mut losses = self.lock();
        let lost = losses[reason as usize].get_or_insert(Lost { reason, count: 0, from: since, to: now });
        lost.count += 1;
        lost.from = lost.from.min(since);
        lost.to = lost.to.max(now);
    }

    /// Those since the last call.
    pub(crate) fn take(&self) -> impl Iterator<Item = Lost> + use<> {
        std::mem::take(&mut *self.lock()).into_iter().flatten()
    }

    /// When the oldest of them was received.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.lock().iter().flatten().map(|lost| lost.from).min()
    }

    fn lock(&self) -> MutexGuard<'_, [Option<Lost>; Reason::ALL.len()]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
