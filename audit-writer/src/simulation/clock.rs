//! The time of a simulated run: the same in each run of a seed. Other tests have the system's.

use std::cell::Cell;

use crate::time::Timestamp;

thread_local! {
    static NOW: Cell<Option<u64>> = const { Cell::new(None) };
}

/// 2027-01-15T08:00:00Z.
const BEGIN: u64 = 1_800_000_000_000_000;

/// The simulated time, where this thread runs a simulation. Each look takes a microsecond.
pub(crate) fn now() -> Option<Timestamp> {
    let now = NOW.get()?;
    NOW.set(Some(now + 1));
    Some(Timestamp::from_micros(now))
}

/// Time passes.
pub(super) fn advance(micros: u64) {
    NOW.set(NOW.get().map(|now| now + micros));
}

/// Simulated time, until this is dropped.
#[derive(Debug)]
pub(super) struct Simulated;

impl Simulated {
    pub(super) fn begin() -> Simulated {
        NOW.set(Some(BEGIN));
        Simulated
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        NOW.set(None);
    }
}
