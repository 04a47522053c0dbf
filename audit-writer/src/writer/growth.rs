//! How fast the log grows, to say how long the spool would last.

use std::time::{Duration, Instant};

/// Forgets what is older than some minutes.
const WINDOW: Duration = Duration::from_secs(120);

/// Sealed bytes over the last minutes.
#[derive(Debug)]
pub(super) struct Growth {
    /// Since `since`; halved each minute.
    bytes: f64,
    since: Instant,
}

impl Default for Growth {
    fn default() -> Growth {
        Growth { bytes: 0.0, since: Instant::now() }
    }
}

impl Growth {
    /// A segment of `bytes` bytes was sealed.
    pub(super) fn add(&mut self, bytes: u64) {
        self.decay();
        self.bytes += bytes as f64;
    }

    /// Seconds until `room` bytes are used; infinite at rest.
    pub(super) fn seconds_until(&mut self, room: u64) -> f64 {
        self.decay();
        let per_second = self.bytes / self.since.elapsed().as_secs_f64().max(1.0);
        if per_second > 0.0 { room as f64 / per_second } else { f64::INFINITY }
    }

    fn decay(&mut self) {
        if self.since.elapsed() > WINDOW {
            self.bytes /= 2.0;
            self.since = Instant::now() - WINDOW / 2;
        }
    }
}
