//! The shipper: one thread that commits sealed segments to the store, strictly in order.
//!
//! ```text
//! segment N is sealed in the spool
//!   → checkpoints/N−1 in the store is ours, checkpoints/N is absent
//!   → put segment N → sign → put checkpoints/N            creating it is the commit
//!   → state of the spool → forget the local copy
//! ```
//!
//! Nothing is signed before the store has arbitrated: an honest gateway never signs two roots for one size. What the
//! store cannot take is tried again, with backoff and jitter; the spool holds it as long.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tokio::sync::watch;

use crate::accounting::{Reason, Stage};
use crate::checkpoint::{Checkpoint, SigningKey};
use crate::ids::SegmentNo;
use crate::merkle::Hash;
use crate::metrics::AuditMetrics;
use crate::progress::{LastCheckpoint, Progress};
use crate::recover::{checkpoint_of, committed};
use crate::ring::Ring;
use crate::segment::{SegmentSummary, object_name};
use crate::spool::Spool;
use crate::store::{Content, Layout, Store, StoreError};
use crate::time::Timestamp;
use crate::writer::{Control, KEPT_OPEN, Sealed};

const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// How often the age of what waits is looked at.
const TICK: Duration = Duration::from_secs(1);
/// The shortest wait.
const MOMENT: Duration = Duration::from_millis(10);

/// Evidence is broken: the gateway must not serve on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The store holds another history of this log.
    #[error("split log `{log}` at segment {segment}: ours is {ours}, the store's is {theirs}")]
    Split {
        /// The log.
        log: String,
        /// Where the histories part.
        segment: SegmentNo,
        /// Our root and size, or our object's hash.
        ours: String,
        /// The store's.
        theirs: String,
    },
    /// A sealed segment vanished before it was in the store.
    #[error(
        "segment {segment} of log `{log}` was taken from the spool before it was in the store, and is lost: move the \
         spool away and start again, the log then goes on from the store and declares it"
    )]
    SegmentLost {
        /// The log.
        log: String,
        /// The segment.
        segment: SegmentNo,
    },
}

/// Why a segment was not committed.
enum ShipError {
    Fatal(Fatal),
    /// To be tried again; the kind is a metric's label.
    Retry(&'static str, String),
}

/// What the shipper works with.
pub(crate) struct ShipperParts {
    pub(crate) spool: Arc<Spool>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) layout: Layout,
    pub(crate) ring: Arc<Ring>,
    pub(crate) metrics: AuditMetrics,
    pub(crate) progress: Arc<Progress>,
    pub(crate) sealed: Receiver<Sealed>,
    pub(crate) writer: Sender<Control>,
    pub(crate) stop_by: Arc<OnceLock<Instant>>,
    pub(crate) fatal: watch::Sender<Option<Fatal>>,
}

/// The shipper's own state.
pub(crate) struct Shipper {
    parts: ShipperParts,
    queue: VecDeque<Sealed>,
    backoff: Duration,
    writer_lives: bool,
}

/// How a try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    /// Nothing waits.
    Idle,
    /// A segment is in the store.
    Shipped,
    /// To be tried again after this time.
    Again(Duration),
    /// Evidence is broken.
    Broken,
}

impl Shipper {
    /// A shipper that begins with `pending`.
    pub(crate) fn new(parts: ShipperParts, pending: Vec<SegmentSummary>) -> Shipper {
        let sealed = |summary| Sealed { summary, captured: 0, file: None };
        Shipper {
            parts,
            queue: pending.into_iter().map(sealed).collect(),
            backoff: FIRST_BACKOFF,
            writer_lives: true,
        }
    }

    /// Ships until the writer has ended and all is shipped, or the time for a stop is over. Returns how many segments
    /// are left in the spool.
    pub(crate) fn run(mut self) -> usize {
        loop {
            let wait = match self.step() {
                Try::Idle if !self.writer_lives => return 0,
                Try::Idle => TICK,
                Try::Shipped => continue,
                Try::Again(wait) => wait,
                Try::Broken => return self.queue.len(),
            };
            self.wait(wait);
            let is_over = self.parts.stop_by.get().is_some_and(|by| Instant::now() >= *by);
            if is_over && !self.queue.is_empty() {
                tracing::error!(
                    segments = self.queue.len(),
                    "stopped before all segments were shipped: the next start ships them"
                );
                return self.queue.len();
            }
        }
    }

    /// Tries to ship the oldest segment that waits. A panic is a try that failed.
    pub(crate) fn step(&mut self) -> Try {
        self.show();
        let Some(mut next) = self.queue.pop_front() else { return Try::Idle };
        let shipped = std::panic::catch_unwind(AssertUnwindSafe(|| self.ship(&mut next)));
        let shipped =
            shipped.unwrap_or_else(|_| Err(ShipError::Retry("panic", "the shipper panicked".to_owned())));
        let segment = next.summary.segment.0;
        match shipped {
            Ok(()) => {
                self.backoff = FIRST_BACKOFF;
                Try::Shipped
            }
            Err(ShipError::Fatal(fatal)) => {
                tracing::error!(%fatal, "evidence is broken: service is refused");
                self.queue.push_front(next);
                self.parts.metrics.upload_failed("conflict");
                self.parts.ring.refuse(Reason::SplitLog);
                let _ = self.parts.fatal.send(Some(fatal));
                Try::Broken
            }
            Err(ShipError::Retry(kind, error)) => {
                tracing::warn!(segment, %error, retry_in = ?self.backoff, "a segment was not shipped");
                self.queue.push_front(next);
                self.parts.metrics.upload_failed(kind);
                self.parts.progress.update(|shipped| shipped.store_error = Some(error));
                let wait = jitter(self.backoff);
                self.backoff = (self.backoff * 2).min(LAST_BACKOFF);
                Try::Again(wait)
            }
        }
    }

    /// Takes what the writer has sealed, without a wait.
    #[cfg(test)]
    #[allow(dead_code, reason = "the simulation drives the shipper without a thread")]
    pub(crate) fn take(&mut self) {
        while let Ok(sealed) = self.parts.sealed.try_recv() {
            self.enqueue(sealed);
        }
    }

    fn enqueue(&mut self, mut sealed: Sealed) {
        if self.queue.len() >= KEPT_OPEN {
            sealed.file = None;
        }
        self.queue.push_back(sealed);
    }

    /// Waits, and takes what the writer has sealed meanwhile; not longer than to the end of a stop, but always a moment.
    fn wait(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        loop {
            let by = self.parts.stop_by.get().map_or(until, |by| until.min(*by));
            let moment = by.saturating_duration_since(Instant::now()).clamp(MOMENT, TICK);
            if !self.writer_lives {
                std::thread::sleep(moment);
            } else {
                match self.parts.sealed.recv_timeout(moment) {
                    Ok(sealed) => {
                        self.enqueue(sealed);
                        if self.queue.len() == 1 {
                            return;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => self.show(),
                    Err(RecvTimeoutError::Disconnected) => {
                        self.writer_lives = false;
                        return;
                    }
                }
            }
            if Instant::now() >= by {
                return;
            }
        }
    }

    fn show(&self) {
        self.parts.progress.update(|shipped| {
            shipped.waiting = self.queue.len();
            shipped.oldest_waiting = self.queue.front().map(|sealed| sealed.summary.first_ts);
        });
    }

    fn ship(&mut self, sealed: &mut Sealed) -> Result<(), ShipError> {
        let spool = &self.parts.spool;
        for sha256 in spool.contents().map_err(in_spool)?.configs {
            let name = self.parts.layout.config(sha256);
            let path = spool.config_path(sha256);
            self.parts.put(sealed.summary.segment, &name, Content::File(&path))?;
            spool.forget_config(sha256).map_err(in_spool)?;
        }
        let timer = self.parts.metrics.upload.start_timer();
        self.parts.find_in_spool(sealed)?;
        let summary = &sealed.summary;
        let note = self.parts.commit(summary)?;
        timer.observe_duration();
        let now = committed(summary, note);
        spool.update_state(|state| state.committed = Some(now)).map_err(in_spool)?;
        spool.forget(summary.segment).map_err(in_spool)?;
        // A writer that has ended does not record it: the checkpoint itself is the proof.
        let _ = self.parts.writer.send(Control::Stored(summary.segment, summary.sha256));
        self.parts.ring.accounting().reached(Stage::Uploaded, sealed.captured);
        self.parts.metrics.segments_uploaded.inc();
        let at = Timestamp::now();
        self.parts.metrics.checkpoint_timestamp.set(at.as_micros() as f64 / 1e6);
        let root = summary.tree.root().unwrap_or(Hash::ZERO);
        self.parts.progress.update(|shipped| {
            shipped.store_error = None;
            let size = summary.tree.size();
            shipped.last_checkpoint = Some(LastCheckpoint { segment: summary.segment, size, root, at });
        });
        Ok(())
    }
}

impl ShipperParts {
    /// A sealed segment that another hand took from the spool is put there again, while its file is open.
    fn find_in_spool(&self, sealed: &mut Sealed) -> Result<(), ShipError> {
        let segment = sealed.summary.segment;
        if self.spool.has_sealed(segment).map_err(in_spool)? {
            return Ok(());
        }
        // Where the directory is not there, this fails: it may come back with all that was in it.
        self.spool.contents().map_err(in_spool)?;
        let Some(file) = &mut sealed.file else {
            return Err(ShipError::Fatal(Fatal::SegmentLost { log: self.key.name().to_string(), segment }));
        };
        let bytes = file.read_back().map_err(in_spool)?;
        if Hash::of(&bytes) != sealed.summary.sha256 {
            return Err(ShipError::Retry("spool", format!("segment {segment} cannot be read back whole")));
        }
        self.spool.adopt(segment, &bytes).map_err(in_spool)?;
        tracing::warn!(segment = segment.0, "a sealed segment was deleted from the spool: put there again");
        Ok(())
    }

    /// Puts a segment and its checkpoint; returns the checkpoint.
    fn commit(&self, summary: &SegmentSummary) -> Result<String, ShipError> {
        let segment = summary.segment;
        let broken = |error: String| ShipError::Fatal(self.split(segment, "no tree".to_owned(), error));
        let ours = checkpoint_of(self.key.name(), summary).map_err(|error| broken(error.to_string()))?;
        self.check_previous(segment)?;
        if let Some(bytes) = self.get(&self.layout.checkpoint(segment))? {
            self.check_is(segment, &ours, &bytes)?;
        }
        let name = self.layout.segment(&object_name(segment, summary.first_ts));
        self.put(segment, &name, Content::File(&self.spool.sealed_path(segment)))?;
        let note = ours.sign([&*self.key]).map_err(|error| broken(error.to_string()))?;
        self.put(segment, &self.layout.checkpoint(segment), Content::Bytes(note.as_bytes()))?;
        Ok(note)
    }

    /// The checkpoint before is in the store, and is the one that this spool committed.
    fn check_previous(&self, segment: SegmentNo) -> Result<(), ShipError> {
        let Some(committed) = self.spool.committed() else { return Ok(()) };
        let previous = committed.segment;
        match self.get(&self.layout.checkpoint(previous))? {
            Some(bytes) if bytes == committed.checkpoint.as_bytes() => Ok(()),
            Some(bytes) => {
                let theirs = describe(&bytes);
                Err(ShipError::Fatal(self.split(previous, describe(committed.checkpoint.as_bytes()), theirs)))
            }
            None => Err(ShipError::Retry(
                "unavailable",
                format!(
                    "checkpoint {previous} is not in the store {}: is it mounted? segment {segment} waits",
                    self.store.location()
                ),
            )),
        }
    }

    /// A checkpoint that is there already is ours: an earlier try, whose answer was lost.
    fn check_is(&self, segment: SegmentNo, ours: &Checkpoint, bytes: &[u8]) -> Result<(), ShipError> {
        let keys = [self.key.verifier_key().clone()];
        match Checkpoint::parse_and_verify(bytes, self.key.name(), &keys) {
            Ok(theirs) if theirs == *ours => Ok(()),
            _ => {
                let own = format!("root {} over {} records", ours.root, ours.size);
                Err(ShipError::Fatal(self.split(segment, own, describe(bytes))))
            }
        }
    }

    fn split(&self, segment: SegmentNo, ours: String, theirs: String) -> Fatal {
        Fatal::Split { log: self.key.name().to_string(), segment, ours, theirs }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, ShipError> {
        self.store.get(name).map_err(|error| ShipError::Retry("unavailable", crate::error_chain(&error)))
    }

    fn put(&self, segment: SegmentNo, name: &str, content: Content<'_>) -> Result<(), ShipError> {
        self.store.put_new(name, content).map_err(|error| match error {
            StoreError::Conflict { ref ours, ref found, .. } => {
                let (ours, theirs) = (format!("{name} with SHA-256 {ours}"), format!("SHA-256 {found}"));
                ShipError::Fatal(self.split(segment, ours, theirs))
            }
            error => ShipError::Retry("unavailable", crate::error_chain(&error)),
        })
    }
}

fn in_spool(error: std::io::Error) -> ShipError {
    ShipError::Retry("spool", format!("in the spool: {error}"))
}

/// What a checkpoint says, for a message.
fn describe(bytes: &[u8]) -> String {
    match Checkpoint::parse_unverified(bytes) {
        Ok(checkpoint) => format!("root {} over {} records", checkpoint.root, checkpoint.size),
        Err(error) => format!("no checkpoint ({error})"),
    }
}

/// Between half of a time and the whole of it.
fn jitter(wait: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    wait / 2 + wait.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}
