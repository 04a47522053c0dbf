//! What the writer does after an error: refuse service, keep what it holds, and try again until it works.
//!
//! Nothing is lost meanwhile: the batch that failed stays in memory with its numbers, what is queued stays queued, and
//! no slot is given. Who waits for a record to be durable is let go at once. A fault that another try passes (no space,
//! a file system that was read-only for a while) costs the time that it lasted; after a failed sync, a panic, or where
//! the spool was deleted, the files are made again first.

use std::time::{Duration, Instant};

use super::batch::Stage;
use super::{WriteError, Writer, failed};
use crate::accounting::Reason;

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// An error that is not over.
#[derive(Debug)]
pub(super) struct Trouble {
    since: Instant,
    reason: Reason,
    text: String,
    wait: Duration,
    pub(super) retry_at: Instant,
}

impl Writer {
    /// Refuses service for `error`, and says when to try again.
    pub(super) fn fail(&mut self, error: &WriteError) {
        let reason = if error.is_for_want_of_room() { Reason::SpoolFull } else { Reason::WriterFailed };
        let text = crate::error_chain(error);
        let now = Instant::now();
        let (since, wait) = match &self.trouble {
            Some(trouble) => (trouble.since, (trouble.wait * 2).min(LAST_RETRY)),
            None => (now, FIRST_RETRY),
        };
        if self.trouble.as_ref().is_none_or(|trouble| trouble.text != text) {
            tracing::error!(
                error = text,
                reason = reason.as_str(),
                "the audit writer cannot write: service is refused until it can"
            );
        }
        self.ring.refuse(reason);
        if let Some(before) = self.trouble.as_ref().filter(|before| before.reason != reason) {
            self.relent(before.reason);
        }
        self.progress.update(|progress| progress.writer_error = Some(text.clone()));
        self.trouble = Some(Trouble { since, reason, text, wait, retry_at: now + wait });
        self.disappoint();
    }

    /// Whoever waits for a record to be durable waits no longer.
    pub(super) fn disappoint(&mut self) {
        self.ring.drain(&mut self.backlog, usize::MAX, usize::MAX);
        self.count_in_hand();
        self.backlog.iter_mut().chain(&mut self.batch.records).for_each(crate::ring::Queued::disappoint);
    }

    /// Makes again what an error left of the spool, so that writing can go on.
    pub(super) fn mend(&mut self) -> Result<(), WriteError> {
        if self.trouble.is_some() {
            self.restore_spool()?;
        }
        if let Some(open) = self.open.as_mut().filter(|open| open.is_broken()) {
            open.mend(&self.spool).map_err(failed("make the open segment's files again"))?;
            if self.batch.stage == Stage::Durable {
                // It came with the durable groups.
                self.batch.clear();
            }
        }
        if !self.ring.watermark_is_sound() {
            self.ring.renew_watermark().map_err(failed("make the watermark again"))?;
        }
        Ok(())
    }

    /// Makes again what another hand took from the spool's directory.
    pub(super) fn restore_spool(&mut self) -> Result<(), WriteError> {
        let renew = || self.ring.renew_watermark();
        if self.spool.restore(&self.instance.config, renew).map_err(failed("make the spool again"))? {
            tracing::warn!(spool = %self.spool.path().display(), "the spool was deleted under the gateway: made again");
            self.open.iter_mut().for_each(super::open_segment::OpenSegment::distrust);
        }
        Ok(())
    }

    /// Service goes on, where it was refused for an error.
    pub(super) fn recovered(&mut self) {
        let Some(trouble) = self.trouble.take() else {
            // A request found the watermark not to be written, and the writer has made it again by now.
            if self.ring.refuses(Reason::WriterFailed) {
                self.ring.relent(Reason::WriterFailed);
            }
            return;
        };
        tracing::info!(after = ?trouble.since.elapsed(), was = trouble.text, "the audit writer writes again: service goes on");
        self.progress.update(|progress| progress.writer_error = None);
        self.relent(trouble.reason);
    }

    fn relent(&self, reason: Reason) {
        if reason != Reason::SpoolFull || !self.watch.is_full() {
            self.ring.relent(reason);
        }
    }
}
