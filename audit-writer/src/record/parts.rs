//! The parts that records of requests are made of.

use std::borrow::Cow;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::merkle::Hash;

/// The client's end of the connection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source<'a> {
    /// The client's address.
    #[schemars(with = "String")]
    pub ip: IpAddr,
    /// The client's port, or that of the peer that spoke for it.
    pub port: u16,
    /// The TCP peer, where it is not the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub peer: Option<IpAddr>,
    /// What `X-Forwarded-For` said, as received, whether it was believed or not.
    #[serde(skip_serializing_if = "is_empty")]
    pub claimed: &'a [Cow<'a, str>],
}

fn is_empty<T>(list: &&[T]) -> bool {
    list.is_empty()
}

/// What was asked.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request<'a> {
    /// The method, as received.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The canonical host; empty where the request named none that could be read.
    pub host: &'a str,
    /// The normalised path: the one that was routed.
    pub path: &'a str,
    /// The target as received, without its query, where it differs from `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<&'a str>,
    /// The names of the query's keys.
    #[serde(skip_serializing_if = "QueryKeys::is_empty")]
    pub query: QueryKeys<'a>,
    /// The query's pairs as they were written, where the route keeps values.
    #[serde(skip_serializing_if = "QueryPairs::is_empty")]
    pub query_values: QueryPairs<'a>,
    /// `1.0`, `1.1` or `2`.
    pub http: &'a str,
    /// Bytes of the body that were received.
    pub bytes: u64,
    /// SHA-256 of the body, where the route asks for it and the whole of it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub body_sha256: Option<Hash>,
    /// What became of the client's `Content-Digest`, where the route asks for digests and the client sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<ContentDigest>,
    /// Headers of the route's allow-list, names in lower case.
    #[serde(skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers<'a>,
}

/// Whether a body is what its `Content-Digest` says (RFC 9530).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContentDigest {
    /// Each digest that could be checked is the body's.
    Match,
    /// One of them is not.
    Mismatch,
    /// None is of an algorithm that is checked (`sha-256`, `sha-512`).
    Unsupported,
    /// The field cannot be read.
    Malformed,
    /// The body did not come to its end.
    Incomplete,
}

/// The names of a query's keys, as they were written; never their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryKeys<'a>(pub &'a str);

impl<'a> QueryKeys<'a> {
    /// The keys, in their order; an empty key is passed over.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        self.0
            .split('&')
            .map(|pair| pair.split_once('=').map_or(pair, |(key, _)| key))
            .filter(|key| !key.is_empty())
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty() || self.iter().next().is_none()
    }
}

impl Serialize for QueryKeys<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl JsonSchema for QueryKeys<'_> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "QueryKeys".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string" }, "minItems": 1 })
    }
}

/// A query's pairs, `key=value` or `key`, as they were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryPairs<'a>(pub &'a str);

impl<'a> QueryPairs<'a> {
    /// The pairs, in their order; an empty one is passed over.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        self.0.split('&').filter(|pair| !pair.is_empty())
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty() || self.iter().next().is_none()
    }
}

impl Serialize for QueryPairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl JsonSchema for QueryPairs<'_> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "QueryPairs".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string" }, "minItems": 1 })
    }
}

/// Headers by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a>(pub &'a [(&'a str, Cow<'a, str>)]);

impl Headers<'_> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl JsonSchema for Headers<'_> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Headers".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "string" }, "minProperties": 1 })
    }
}

/// The upstream that was asked.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream<'a> {
    /// Its name.
    pub name: &'a str,
    /// The endpoint's address; of the last attempt.
    pub addr: &'a str,
    /// How many endpoints were tried.
    pub attempts: u32,
    /// Whether a kept connection served.
    pub reused: bool,
    /// Time to connect, microseconds; 0 for a kept connection.
    pub connect_us: u64,
    /// From the request's begin to the response's head, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttfb_us: Option<u64>,
}

/// What was answered.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// The status that went to the client.
    pub status: u16,
    /// Bytes of the body that went to the client.
    pub bytes: u64,
    /// SHA-256 of the body, where the route asks for it and the whole of it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub body_sha256: Option<Hash>,
}

/// Values that were cut to keep a record within `max_record`, by their path in the record.
pub type Trunc = std::collections::BTreeMap<String, Cut>;

/// What a value was before it was cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Its bytes.
    pub bytes: u64,
    /// Their SHA-256.
    #[schemars(with = "String")]
    pub sha256: Hash,
}
