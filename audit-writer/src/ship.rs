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
use crate::writer::{Control, Sealed};

const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// How often the age of what waits is looked at.
const TICK: Duration = Duration::from_secs(1);

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
}

/// Why a segment was not committed.
enum ShipError {
    Fatal(Fatal),
    /// To be tried again; the kind is a metric's label.
    Retry(&'static str, String),
}

/// The shipper's own state.
pub(crate) struct Shipper {
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

impl Shipper {
    /// Ships `pending`, and what comes after it, until the writer has ended and all is shipped, or the time for a stop
    /// is over. Returns how many segments are left in the spool.
    pub(crate) fn run(self, pending: Vec<SegmentSummary>) -> usize {
        let mut queue: VecDeque<Sealed> =
            pending.into_iter().map(|summary| Sealed { summary, captured: 0 }).collect();
        let mut configs_are_stored = false;
        let mut backoff = FIRST_BACKOFF;
        let mut writer_lives = true;
        loop {
            self.show(&queue);
            let wait = match queue.front() {
                None if !writer_lives => return 0,
                None => TICK,
                Some(next) => match self.ship(&mut configs_are_stored, next) {
                    Ok(()) => {
                        backoff = FIRST_BACKOFF;
                        queue.pop_front();
                        continue;
                    }
                    Err(ShipError::Fatal(fatal)) => {
                        tracing::error!(%fatal, "the log is split: service is refused");
                        self.metrics.upload_failed("conflict");
                        self.ring.refuse(Reason::SplitLog);
                        let _ = self.fatal.send(Some(fatal));
                        return queue.len();
                    }
                    Err(ShipError::Retry(kind, error)) => {
                        tracing::warn!(segment = next.summary.segment.0, %error, retry_in = ?backoff, "a segment was not shipped");
                        self.metrics.upload_failed(kind);
                        self.progress.update(|shipped| shipped.store_error = Some(error));
                        let wait = jitter(backoff);
                        backoff = (backoff * 2).min(LAST_BACKOFF);
                        wait
                    }
                },
            };
            writer_lives = self.wait(wait, &mut queue, writer_lives);
            if !queue.is_empty() && self.stop_by.get().is_some_and(|by| Instant::now() >= *by) {
                tracing::error!(
                    segments = queue.len(),
                    "stopped before all segments were shipped: the next start ships them"
                );
                return queue.len();
            }
        }
    }

    /// Waits, and takes what the writer has sealed meanwhile. Whether the writer lives.
    fn wait(&self, wait: Duration, queue: &mut VecDeque<Sealed>, writer_lives: bool) -> bool {
        let until = Instant::now() + wait;
        loop {
            let now = Instant::now();
            let by = self.stop_by.get().map_or(until, |by| until.min(*by));
            if now >= by {
                return writer_lives;
            }
            if !writer_lives {
                std::thread::sleep((by - now).min(TICK));
                continue;
            }
            match self.sealed.recv_timeout((by - now).min(TICK)) {
                Ok(sealed) => {
                    queue.push_back(sealed);
                    if queue.len() == 1 {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.show(queue),
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn show(&self, queue: &VecDeque<Sealed>) {
        self.progress.update(|shipped| {
            shipped.waiting = queue.len();
            shipped.oldest_waiting = queue.front().map(|sealed| sealed.summary.first_ts);
        });
    }

    fn ship(&self, configs_are_stored: &mut bool, sealed: &Sealed) -> Result<(), ShipError> {
        let in_spool = |error: std::io::Error| ShipError::Retry("spool", format!("in the spool: {error}"));
        if !*configs_are_stored {
            for sha256 in self.spool.contents().map_err(in_spool)?.configs {
                let path = self.spool.config_path(sha256);
                self.put(sealed.summary.segment, &self.layout.config(sha256), Content::File(&path))?;
                self.spool.forget_config(sha256).map_err(in_spool)?;
            }
            *configs_are_stored = true;
        }
        let timer = self.metrics.upload.start_timer();
        let summary = &sealed.summary;
        let note = self.commit(summary)?;
        timer.observe_duration();
        let now = committed(summary, note);
        self.spool.update_state(|state| state.committed = Some(now)).map_err(in_spool)?;
        self.spool.forget(summary.segment).map_err(in_spool)?;
        // A writer that has ended does not record it: the checkpoint itself is the proof.
        let _ = self.writer.send(Control::Stored(summary.segment, summary.sha256));
        self.ring.accounting().reached(Stage::Uploaded, sealed.captured);
        self.metrics.segments_uploaded.inc();
        let at = Timestamp::now();
        self.metrics.checkpoint_timestamp.set(at.as_micros() as f64 / 1e6);
        let root = summary.tree.root().unwrap_or(Hash::ZERO);
        self.progress.update(|shipped| {
            shipped.store_error = None;
            let size = summary.tree.size();
            shipped.last_checkpoint = Some(LastCheckpoint { segment: summary.segment, size, root, at });
        });
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
