//! The spool's limits: looked at each second.

use std::time::{Duration, Instant};

use super::{WriteError, Writer, failed};
use crate::accounting::Reason;
use crate::time::Timestamp;

const EVERY: Duration = Duration::from_secs(1);

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Option<Instant>,
    is_full: bool,
    /// It has warned that the spool fills up, and that still holds.
    warned: bool,
}

impl Watch {
    #[cfg(test)]
    pub(super) fn let_time_pass(&mut self) {
        self.last = None;
    }

    /// Whether service is refused for the spool's limits.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }
}

impl Writer {
    /// Sees that the spool is whole; refuses service where its limits are reached, and no longer where they are not; moves
    /// the metrics; makes the low watermark durable.
    pub(super) fn housekeep(&mut self) -> Result<(), WriteError> {
        if self.watch.last.is_some_and(|last| last.elapsed() < EVERY) {
            return Ok(());
        }
        if self.watch.last.is_none() {
            self.metrics.clock_error.set(crate::clock::error_seconds(&crate::clock::read()));
        }
        // A deleted spool does not show in files that are open, nor in those that are new.
        self.restore_spool()?;
        // Told here and not by the shipper: one that hangs in the store, or died, could not say that time passes.
        let oldest = self.progress.read().oldest_waiting.map(|began| Timestamp::now().since(began));
        self.metrics.oldest_unshipped.set(oldest.unwrap_or_default().as_secs_f64());
        let limits = &self.config.spool;
        let bytes = self.spool.bytes().map_err(failed("list the spool"))?;
        let free = self.spool.free().map_err(failed("ask for the spool's free space"))?;
        self.metrics.spool_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics.spool_limit_bytes.set(i64::try_from(limits.max_bytes).unwrap_or(i64::MAX));
        let room = limits.max_bytes.saturating_sub(bytes).min(free.saturating_sub(limits.min_free));
        self.metrics.spool_seconds_left.set(self.growth.seconds_until(room));
        let was_full = std::mem::replace(&mut self.watch.is_full, room == 0);
        if self.watch.is_full && !was_full {
            tracing::error!(
                bytes,
                max_bytes = limits.max_bytes,
                free,
                min_free = limits.min_free,
                "the spool is full: service is refused"
            );
            self.ring.refuse(Reason::SpoolFull);
        } else if !self.watch.is_full && was_full {
            tracing::info!(bytes, free, "the spool has room again: service goes on");
            self.ring.relent(Reason::SpoolFull);
        }
        let warn_at = limits.max_bytes / 100 * u64::from(limits.warn_at_percent);
        let fills = bytes >= warn_at;
        if fills && !std::mem::replace(&mut self.watch.warned, fills) {
            tracing::warn!(bytes, warn_at, max_bytes = limits.max_bytes, "the spool fills up");
        }
        self.watch.warned = fills;
        self.ring.sync_watermark().map_err(failed("sync the watermark"))?;
        // Only now: after an error it looks again at once.
        self.watch.last = Some(Instant::now());
        Ok(())
    }
}
