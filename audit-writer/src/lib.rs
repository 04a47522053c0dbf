//! The audit log of Sealgate: from one served request to evidence that can be checked.
//!
//! ```text
//! hook ─► record ─► ring ─► writer ─► wal, segment ─► spool ─► ship ─► store
//! ```

pub mod accounting;
pub mod archive;
pub mod checkpoint;
pub mod clock;
pub mod config;
pub mod disk;
pub mod ids;
pub mod key_file;
pub mod merkle;
pub mod metrics;
pub mod record;
pub mod ring;
pub mod segment;
pub mod spool;
pub mod store;
#[cfg(test)]
mod test_support;
pub mod time;
pub mod verify;
pub mod wal;
