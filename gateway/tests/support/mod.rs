//! A real gateway process, a real upstream and clients that write bytes.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::print_stderr, reason = "the harness shows it where a test fails")]

pub(crate) mod authority;
pub(crate) mod client;
pub(crate) mod gateway;
pub(crate) mod modern;
pub(crate) mod secure;
pub(crate) mod upstream;

use std::time::{Duration, Instant};

/// Longer than anything takes that is going to happen.
pub(crate) const SURELY: Duration = Duration::from_secs(20);

/// Waits until `condition` gives something; `what` tells what was waited for in vain.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SURELY;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
