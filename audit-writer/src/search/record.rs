//! A record as searches and tables see it: the fields that can be asked for, borrowed from the line.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;

use crate::ids::Seq;
use crate::time::Timestamp;

/// The fields of a record that a filter or a table asks for; whatever else it has is passed over.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Record<'a> {
    /// Its number.
    pub seq: Seq,
    /// Its kind.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// Its time.
    pub ts: Timestamp,
    /// The request's id.
    #[serde(borrow, default)]
    pub request_id: Option<Cow<'a, str>>,
    /// The trace's id.
    #[serde(borrow, default)]
    pub trace_id: Option<Cow<'a, str>>,
    /// Who asked.
    #[serde(borrow, default)]
    pub actor: Option<Actor<'a>>,
    /// From where.
    #[serde(borrow, default)]
    pub source: Option<Source<'a>>,
    /// What was asked.
    #[serde(borrow, default)]
    pub request: Option<Request<'a>>,
    /// The route.
    #[serde(borrow, default)]
    pub route: Option<Cow<'a, str>>,
    /// What the route calls it.
    #[serde(borrow, default)]
    pub action: Option<Cow<'a, str>>,
    /// Whether it was allowed.
    #[serde(borrow, default)]
    pub decision: Option<Decision<'a>>,
    /// What was answered.
    #[serde(default)]
    pub response: Option<Response>,
    /// How it ended.
    #[serde(borrow, default)]
    pub end: Option<Cow<'a, str>>,
    /// How long it took, in microseconds.
    #[serde(default)]
    pub duration_us: Option<u64>,
    /// The event, of `lifecycle`.
    #[serde(borrow, default)]
    pub event: Option<Cow<'a, str>>,
    /// The reason, of `gap` and `rejected`.
    #[serde(borrow, default)]
    pub reason: Option<Cow<'a, str>>,
    /// How many were lost, of `gap`.
    #[serde(default)]
    pub lost: Option<u64>,
}

/// `actor`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Actor<'a> {
    /// Its id.
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    /// Its groups.
    #[serde(borrow, default)]
    pub groups: Vec<Cow<'a, str>>,
}

/// `source`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Source<'a> {
    /// The client's address.
    #[serde(borrow, default)]
    pub ip: Option<Cow<'a, str>>,
}

impl Source<'_> {
    /// The client's address, where it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.ip.as_deref()?.parse().ok()
    }
}

/// `request`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Request<'a> {
    /// The method.
    #[serde(borrow, default)]
    pub method: Option<Cow<'a, str>>,
    /// The host.
    #[serde(borrow, default)]
    pub host: Option<Cow<'a, str>>,
    /// The path that was routed.
    #[serde(borrow, default)]
    pub path: Option<Cow<'a, str>>,
}

/// `decision`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Decision<'a> {
    /// `allow` or `deny`.
    #[serde(borrow, default)]
    pub outcome: Option<Cow<'a, str>>,
    /// The rule that decided.
    #[serde(borrow, default)]
    pub rule: Option<Cow<'a, str>>,
}

/// `response`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Response {
    /// The status.
    #[serde(default)]
    pub status: Option<u16>,
}

impl<'a> Record<'a> {
    /// Reads a line without its newline.
    ///
    /// # Errors
    /// It is no JSON object with the fields of a record.
    pub fn parse(line: &'a [u8]) -> Result<Record<'a>, serde_json::Error> {
        serde_json::from_slice(line)
    }

    /// Whether it says that its request has ended.
    pub fn ends_its_request(&self) -> bool {
        matches!(&*self.kind, "completed" | "aborted" | "rejected")
    }
}
