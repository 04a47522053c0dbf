//! The audit log of Sealgate: from one served request to evidence that can be checked.
//!
//! ```text
//! hook ─► record ─► ring ─► writer ─► wal, segment ─► spool ─► ship ─► store
//! ```

pub mod accounting;
pub mod archive;
pub mod audit_log;
pub mod checkpoint;
pub mod clock;
pub mod config;
pub mod disk;
pub mod ids;
pub mod key_file;
pub mod merkle;
pub mod metrics;
pub mod open_requests;
pub mod progress;
pub mod record;
pub mod recover;
pub mod redact;
pub mod ring;
pub mod search;
pub mod segment;
pub mod ship;
#[cfg(test)]
mod simulation;
pub mod spool;
pub mod store;
mod sync;
#[cfg(test)]
mod test_support;
pub mod time;
pub mod verify;
pub mod wal;
pub mod watermark;
pub mod writer;

/// An error and all its causes, on one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
