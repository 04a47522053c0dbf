//! Records of the log itself: made by the writer, never by a hook.

use schemars::JsonSchema;
use serde::Serialize;

use super::{KindLifecycle, Unnumbered, V1, word};
use crate::time::Timestamp;

word!(
    /// `segment`.
    EventSegment,
    "segment"
);
word!(
    /// `start`.
    EventStart,
    "start"
);
word!(
    /// `heartbeat`.
    EventHeartbeat,
    "heartbeat"
);
word!(
    /// `stored`.
    EventStored,
    "stored"
);
word!(
    /// `stop`.
    EventStop,
    "stop"
);

/// The first record of a segment: binds the log's name, the segment's number, and every byte of the file before.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Segment")]
pub struct SegmentBegin<'a> {
    /// Given by the writer.
    pub seq: Unnumbered,
    /// The format's version.
    pub v: V1,
    /// `lifecycle`.
    pub kind: KindLifecycle,
    /// The writer's clock; never decreases from segment to segment.
    pub ts: Timestamp,
    /// The gateway's boot: 8 hex digits.
    pub boot: &'a str,
    /// `segment`.
    pub event: EventSegment,
    /// The log's name.
    pub log: &'a str,
    /// The segment's number, from 0.
    pub segment: u64,
    /// SHA-256 of the whole file of the segment before; 64 zeros in segment 0.
    pub prev_sha256: &'a str,
}

/// A gateway began to serve.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Start")]
pub struct Start<'a> {
    /// Given by the writer.
    pub seq: Unnumbered,
    /// The format's version.
    pub v: V1,
    /// `lifecycle`.
    pub kind: KindLifecycle,
    /// The writer's clock.
    pub ts: Timestamp,
    /// The gateway's boot: 8 hex digits.
    pub boot: &'a str,
    /// `start`.
    pub event: EventStart,
    /// The gateway's version.
    pub version: &'a str,
    /// SHA-256 of the configuration, 64 hex digits: `configs/<sha256>.yaml` holds it.
    pub config: &'a str,
    /// Id of the key that signs, 8 hex digits.
    pub key_id: &'a str,
    /// Whether the boot before ended without a `stop`.
    pub unclean: bool,
    /// The number of the last record that the boot before made durable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_durable_seq: Option<u64>,
    /// A `heartbeat` follows at least this often, milliseconds.
    pub heartbeat_interval_ms: u64,
    /// The system clock.
    pub clock: Clock,
}

/// The gateway is alive; says what it has counted since its start.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Heartbeat")]
pub struct Heartbeat<'a> {
    /// Given by the writer.
    pub seq: Unnumbered,
    /// The format's version.
    pub v: V1,
    /// `lifecycle`.
    pub kind: KindLifecycle,
    /// The writer's clock.
    pub ts: Timestamp,
    /// The gateway's boot: 8 hex digits.
    pub boot: &'a str,
    /// `heartbeat`.
    pub event: EventHeartbeat,
    /// Counted up to this record.
    pub counters: Counters,
    /// The system clock.
    pub clock: Clock,
}

/// A segment and its checkpoint are in the store.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Stored")]
pub struct Stored<'a> {
    /// Given by the writer.
    pub seq: Unnumbered,
    /// The format's version.
    pub v: V1,
    /// `lifecycle`.
    pub kind: KindLifecycle,
    /// The writer's clock.
    pub ts: Timestamp,
    /// The gateway's boot: 8 hex digits.
    pub boot: &'a str,
    /// `stored`.
    pub event: EventStored,
    /// The segment's number.
    pub segment: u64,
    /// SHA-256 of its file, 64 hex digits.
    pub sha256: &'a str,
}

/// A gateway stopped cleanly: nothing of its boot follows.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Stop")]
pub struct Stop<'a> {
    /// Given by the writer.
    pub seq: Unnumbered,
    /// The format's version.
    pub v: V1,
    /// `lifecycle`.
    pub kind: KindLifecycle,
    /// The writer's clock.
    pub ts: Timestamp,
    /// The gateway's boot: 8 hex digits.
    pub boot: &'a str,
    /// `stop`.
    pub event: EventStop,
    /// Counted up to this record.
    pub counters: Counters,
}

/// What a boot has counted, of the records that pass the ring: `captured = durable + queued + lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// Records that were handed over, and those that were lost before.
    pub captured: u64,
    /// Records of this boot that are on the log before this one.
    pub durable: u64,
    /// Records handed over and not yet on the log.
    pub queued: u64,
    /// Records that could not be kept.
    pub lost: u64,
    /// Requests that were answered 503 for want of room for their record; none of the four before counts them. Logs of
    /// before 0.2 lack it.
    pub refused: u64,
}

/// The system clock's state, as the kernel knows it (`adjtimex(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Whether a time service keeps it.
    pub synchronized: bool,
    /// Bound of its error, microseconds; absent where the kernel would not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_error_us: Option<u64>,
}
