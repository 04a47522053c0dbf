//! `audit`: the audit log of this gateway.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{ByteSize, DurationText, Percent};

/// The audit log of this gateway.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Audit {
    /// The log's name (its C2SP origin), such as `audit.example.com/gw-1`: unique a gateway, for ever.
    pub log: String,
    /// The key that signs its checkpoints.
    pub key: Key,
    /// Whether this log may begin here. Where it is `false` and the log is not in the store, the gateway refuses to
    /// start: a lost disk must not look like a new log.
    #[schemars(default)]
    pub create_log: bool,
    /// What must be durable before the upstream sees a request.
    #[schemars(default)]
    pub durability: Durability,
    /// How long a request waits for a slot before it is refused with 503.
    #[serde(with = "DurationText")]
    #[schemars(default = "default_admit_timeout")]
    pub admit_timeout: Duration,
    /// How often records are written and synced.
    #[serde(with = "DurationText")]
    #[schemars(default = "default_sync_interval")]
    pub sync_interval: Duration,
    /// How often the log says that it is alive.
    #[serde(with = "DurationText")]
    #[schemars(default = "default_heartbeat_interval")]
    pub heartbeat_interval: Duration,
    /// The longest record; longer values are cut, and say so.
    #[schemars(default = "default_max_record")]
    pub max_record: ByteSize,
    /// The queue between the requests and the writer.
    #[schemars(default)]
    pub ring: Ring,
    /// The local directory that survives a crash and a store outage.
    pub spool: Spool,
    /// When a segment is sealed.
    #[schemars(default)]
    pub segment: Segment,
    /// Where sealed segments go.
    pub store: Store,
}

/// `admit_timeout` where none is given.
pub(super) fn default_admit_timeout() -> Duration {
    Duration::from_millis(50)
}

/// `sync_interval` where none is given.
pub(super) fn default_sync_interval() -> Duration {
    Duration::from_millis(20)
}

/// `heartbeat_interval` where none is given.
pub(super) fn default_heartbeat_interval() -> Duration {
    Duration::from_secs(300)
}

/// `max_record` where none is given.
pub(super) fn default_max_record() -> ByteSize {
    ByteSize::kib(8)
}

/// The key that signs the log's checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Key {
    /// The key file; its name must equal `audit.log`.
    pub file: PathBuf,
    /// Whether to make the key where the file does not exist.
    #[schemars(default)]
    pub create: bool,
}

/// What must be durable before the upstream sees a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// A place in the ring is reserved; a crash loses at most `sync_interval` of records.
    #[default]
    Buffered,
}

/// The queue between the requests and the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct Ring {
    /// Records that may wait or be reserved at once.
    #[schemars(range(min = 1))]
    pub slots: u32,
    /// The memory that they may take: requests in flight are at most `min(slots, max_bytes / max_record)`.
    pub max_bytes: ByteSize,
}

impl Default for Ring {
    fn default() -> Self {
        Ring { slots: 65_536, max_bytes: ByteSize::mib(256) }
    }
}

/// The local directory that survives a crash and a store outage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Spool {
    /// The directory.
    pub path: PathBuf,
    /// What it may hold; service is refused beyond.
    #[schemars(default = "default_spool_max_bytes")]
    pub max_bytes: ByteSize,
    /// What must stay free on its file system; service is refused below.
    #[schemars(default = "default_spool_min_free")]
    pub min_free: ByteSize,
    /// How full it may be before the gateway warns.
    #[schemars(default = "default_spool_warn_at")]
    pub warn_at: Percent,
}

/// `spool.max_bytes` where none is given.
pub(super) fn default_spool_max_bytes() -> ByteSize {
    ByteSize::gib(10)
}

/// `spool.min_free` where none is given.
pub(super) fn default_spool_min_free() -> ByteSize {
    ByteSize::gib(1)
}

/// `spool.warn_at` where none is given.
pub(super) fn default_spool_warn_at() -> Percent {
    Percent::new(80)
}

/// When a segment is sealed, and how it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct Segment {
    /// Uncompressed records in one segment.
    pub max_bytes: ByteSize,
    /// Its age: what has not left the machine by then is sealed and shipped.
    #[serde(with = "DurationText")]
    pub max_age: Duration,
    /// The level of zstd.
    #[schemars(range(min = 1, max = 19))]
    pub compression_level: u8,
}

impl Default for Segment {
    fn default() -> Self {
        Segment { max_bytes: ByteSize::mib(64), max_age: Duration::from_secs(60), compression_level: 1 }
    }
}

/// Where sealed segments go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Store {
    /// A directory: tamper-evident, but not write-once.
    pub directory: PathBuf,
}
