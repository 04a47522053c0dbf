//! The system clock, as the kernel knows it: whether a time service keeps it, and how wrong it may be.

use rtime_clock::adjtime::{Timex, adjtimex};

use crate::record::Clock;

/// `STA_UNSYNC` of `adjtimex(2)`.
const UNSYNCHRONIZED: i32 = 0x40;

/// Asks the kernel. Where it does not answer, the clock counts as not synchronized and its error as unknown.
pub fn read() -> Clock {
    #[cfg(test)]
    if crate::simulation::clock::now().is_some() {
        return Clock { synchronized: true, max_error_us: Some(1000) };
    }
    let mut state = Timex::new();
    match adjtimex(&mut state) {
        Ok(_) => Clock {
            synchronized: state.0.status & UNSYNCHRONIZED == 0,
            max_error_us: u64::try_from(state.0.maxerror).ok(),
        },
        Err(_) => Clock { synchronized: false, max_error_us: None },
    }
}

/// The bound of the clock's error in seconds; infinite where it is unknown.
pub fn error_seconds(clock: &Clock) -> f64 {
    clock.max_error_us.map_or(f64::INFINITY, |micros| micros as f64 / 1e6)
}
