//! What an audit log needs to be told. The gateway makes it from its configuration file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::LogName;
use crate::merkle::Hash;

/// The audit log of one gateway.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// The log's name.
    pub log: LogName,
    /// The key that signs its checkpoints.
    pub key: KeyConfig,
    /// Whether the log may begin here.
    pub create_log: bool,
    /// A group of records is written and synced at least this often.
    pub sync_interval: Duration,
    /// A `heartbeat` is written this often; a segment of `lifecycle` records alone waits as long.
    pub heartbeat_interval: Duration,
    /// Bytes of the longest line.
    pub max_record: usize,
    /// The queue to the writer.
    pub ring: RingConfig,
    /// The local directory.
    pub spool: SpoolConfig,
    /// When a segment is sealed, and how it is compressed.
    pub segment: SegmentConfig,
    /// Where segments go.
    pub store: StoreConfig,
}

/// The key file.
#[derive(Clone, Debug)]
pub struct KeyConfig {
    /// Its path; the public key lies beside it, with the ending `.pub`.
    pub file: PathBuf,
    /// Whether to make it where there is none.
    pub create: bool,
}

/// The bounds of the queue.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Records at most.
    pub slots: usize,
    /// Bytes at most, each record taken at its longest.
    pub max_bytes: u64,
}

/// The local directory and its bounds.
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// Its path.
    pub path: PathBuf,
    /// Bytes that it may hold; service is refused above.
    pub max_bytes: u64,
    /// Bytes that its file system must have free; service is refused below.
    pub min_free: u64,
    /// Per cent of `max_bytes` from which on it warns.
    pub warn_at_percent: u8,
}

/// When a segment is sealed, and how it is compressed.
#[derive(Clone, Debug)]
pub struct SegmentConfig {
    /// Raw bytes after which it is sealed.
    pub max_bytes: u64,
    /// Age at which it is sealed.
    pub max_age: Duration,
    /// zstd's level.
    pub compression_level: i32,
}

/// Where segments go.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// A directory: tamper-evident, not write-once.
    Directory(PathBuf),
}

impl AuditConfig {
    /// Requests that can be in flight: `min(ring.slots, ring.max_bytes / max_record)`, at least one.
    pub fn slots(&self) -> usize {
        let by_bytes = self.ring.max_bytes / self.max_record.max(1) as u64;
        self.ring.slots.min(usize::try_from(by_bytes).unwrap_or(usize::MAX)).max(1)
    }
}

/// Who writes the log: recorded at its start.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The gateway's version.
    pub version: String,
    /// The configuration as it was loaded, secrets left as references: it goes into the store.
    pub config: Arc<[u8]>,
}

impl Instance {
    /// The configuration's SHA-256.
    pub fn config_sha256(&self) -> Hash {
        Hash::of(&self.config)
    }
}
