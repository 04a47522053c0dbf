//! The record: one JSON object a line, serialised once from borrowed fields (`docs/format.md`, "Record").
//!
//! The types of this module *are* the schema: their fields, in their order, are what is written, and the closed
//! JSON Schemas of `audit-writer/schema` are generated from them. Fields without a value are left out; only
//! `lost` of a [`Gap`] may be null.
//!
//! A hook does not know its record's number: every type begins with [`Unnumbered`], and the writer puts the
//! number in its place ([`Entry`]).

mod cut;
mod encode;
mod lifecycle;
mod line;
mod parts;
pub(crate) mod scan;
pub mod schema;
mod who;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

pub use cut::LEAST_MAX_RECORD;
pub use encode::Entry;
pub use lifecycle::{Clock, Counters, Heartbeat, SegmentBegin, Start, Stop, Stored};
pub(crate) use lifecycle::{EventHeartbeat, EventSegment, EventStart, EventStop, EventStored};
pub use line::{Brief, SegmentLine};
pub use parts::{
    ContentDigest, Cut, Headers, QueryKeys, QueryPairs, Request, Response, Source, Trunc, Upstream,
};
pub use scan::BadLine;
pub use who::{Actor, ActorId, Decision, Outcome, Tls};

use crate::time::Timestamp;

/// Bytes of the longest line that the format allows, without its newline.
pub const MAX_LINE: usize = 65_535;

/// What a record tells of (`kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A request was read and will be served; its end is another record.
    Received,
    /// A request was answered, or failed, and its end was seen.
    Completed,
    /// A request was served at least in part, and its end was not seen.
    Aborted,
    /// An attempt that never became a request.
    Rejected,
    /// Records that could not be kept.
    Gap,
    /// The log itself: segments, starts, heartbeats, stops.
    Lifecycle,
}

impl Kind {
    /// Every kind, in the order of the format.
    pub const ALL: [Kind; 6] =
        [Kind::Received, Kind::Completed, Kind::Aborted, Kind::Rejected, Kind::Gap, Kind::Lifecycle];

    /// The word in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Received => "received",
            Kind::Completed => "completed",
            Kind::Aborted => "aborted",
            Kind::Rejected => "rejected",
            Kind::Gap => "gap",
            Kind::Lifecycle => "lifecycle",
        }
    }

    /// The kind that a record's word names.
    pub fn parse(word: &[u8]) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str().as_bytes() == word)
    }

    /// Whether records of this kind pass the ring; `gap` and `lifecycle` are made by the writer.
    pub const fn passes_the_ring(self) -> bool {
        !matches!(self, Kind::Gap | Kind::Lifecycle)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The place of the number that only the writer gives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unnumbered;

impl Serialize for Unnumbered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(0)
    }
}

impl JsonSchema for Unnumbered {
    fn schema_name() -> Cow<'static, str> {
        "Seq".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "description": "index of the record in the log's tree" })
    }
}

/// The version of the format.
#[derive(Clone, Copy, Debug, Default)]
pub struct V1;

impl Serialize for V1 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl JsonSchema for V1 {
    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": 1 })
    }
}

/// A unit type that is always the same word.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $word:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($word)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "const": $word })
            }
        }
    };
}
use word;

word!(
    /// `received`.
    KindReceived,
    "received"
);
word!(
    /// `rejected`.
    KindRejected,
    "rejected"
);
word!(
    /// `gap`.
    KindGap,
    "gap"
);
word!(
    /// `lifecycle`.
    KindLifecycle,
    "lifecycle"
);

/// `completed` or `aborted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KindEnded {
    /// The end was seen.
    Completed,
    /// The end was not seen.
    Aborted,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The whole response went to the client.
    Ok,
    /// The client went away, or failed, before the whole response had gone.
    ClientClosed,
    /// The upstream could not be reached, or failed.
    UpstreamFailed,
    /// A time limit passed.
    Timeout,
    /// The gateway answered by itself: no route, malformed, too large.
    Refused,
    /// The gateway failed.
    Internal,
    /// A hook panicked (`aborted`).
    Panic,
    /// The request's task was dropped (`aborted`).
    Cancelled,
    /// Cut by the shutdown timeout (`aborted`).
    Shutdown,
}

/// The name of a route: shared, so that a record can carry it to the writer without a copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteName(Arc<str>);

impl RouteName {
    /// A route's name.
    pub fn new(name: &str) -> RouteName {
        RouteName(name.into())
    }
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for RouteName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl JsonSchema for RouteName {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "RouteName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// A request that ended (`completed`), or whose end was not seen (`aborted`).
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Ended")]
pub struct Ended<'a> {
    /// Given by the writer.
    pub seq: Unnumbered,
    /// The format's version.
    pub v: V1,
    /// `completed` or `aborted`.
    pub kind: KindEnded,
    /// When the request was received.
    pub ts: Timestamp,
    /// The gateway's boot: 8 hex digits.
    pub boot: &'a str,
    /// Unique id of the request.
    pub request_id: &'a str,
    /// W3C trace id: 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// Name of the listener.
    pub listener: &'a str,
    /// Who asked, where an identity provider vouched for somebody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor<'a>>,
    /// From where.
    pub source: Source<'a>,
    /// How the connection was secured, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls<'a>>,
    /// What was asked.
    pub request: Request<'a>,
    /// Name of the route, where one matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a RouteName>,
    /// What the route calls such a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'a str>,
    /// What was decided, where there was something to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision<'a>>,
    /// Who answered, where one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream<'a>>,
    /// What was answered, where anything was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// How it ended.
    pub end: End,
    /// A constant word for the failure; never text of a client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
    /// From the request's head to its end, microseconds.
    pub duration_us: u64,
    /// The configuration that served: the first 8 hex digits of its SHA-256.
    pub config: &'a str,
    /// The values that were cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunc: Option<&'a Trunc>,
}

/// A request that will be served, and that lives long: its end is an [`Ended`] of the same request id.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Received")]
pub struct Received<'a> {
    /// Given by the writer.
    pub seq: Unnumbered,
    /// The format's version.
    pub v: V1,
    /// `received`.
    pub kind: KindReceived,
    /// When the request was received.
    pub ts: Timestamp,
    /// The gateway's boot: 8 hex digits.
    pub boot: &'a str,
    /// Unique id of the request.
    pub request_id: &'a str,
    /// W3C trace id: 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// Name of the listener.
    pub listener: &'a str,
    /// Who asked, where an identity provider vouched for somebody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor<'a>>,
    /// From where.
    pub source: Source<'a>,
    /// How the connection was secured, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls<'a>>,
    /// What was asked.
    pub request: Request<'a>,
    /// Name of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a RouteName>,
    /// What the route calls such a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'a str>,
    /// What was decided, where there was something to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision<'a>>,
    /// The configuration that serves: the first 8 hex digits of its SHA-256.
    pub config: &'a str,
    /// The values that were cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunc: Option<&'a Trunc>,
}

/// An attempt that never became a request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Rejected")]
pub struct Rejected<'a> {
    /// Given by the writer.
    pub seq: Unnumbered,
    /// The format's version.
    pub v: V1,
    /// `rejected`.
    pub kind: KindRejected,
    /// When the attempt began.
    pub ts: Timestamp,
    /// The gateway's boot: 8 hex digits.
    pub boot: &'a str,
    /// Name of the listener.
    pub listener: &'a str,
    /// From where.
    pub source: Source<'a>,
    /// What is known of the TLS handshake, where one was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls<'a>>,
    /// A constant word.
    pub reason: &'a str,
    /// Bytes that were read of the attempt.
    pub bytes: u64,
    /// What was answered, where anything was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// From the attempt's begin to its end, microseconds.
    pub duration_us: u64,
    /// The values that were cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunc: Option<&'a Trunc>,
}

/// Records that could not be kept: how many, why, from when to when.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Gap")]
pub struct Gap<'a> {
    /// Given by the writer.
    pub seq: Unnumbered,
    /// The format's version.
    pub v: V1,
    /// `gap`.
    pub kind: KindGap,
    /// The writer's clock.
    pub ts: Timestamp,
    /// The gateway's boot: 8 hex digits.
    pub boot: &'a str,
    /// How many; null where it cannot be known.
    #[schemars(schema_with = "count_or_null")]
    pub lost: Option<u64>,
    /// A constant word.
    pub reason: &'a str,
    /// From when.
    pub from: Timestamp,
    /// To when.
    pub to: Timestamp,
}

fn count_or_null(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["integer", "null"], "minimum": 0 })
}

#[cfg(test)]
mod tests;
