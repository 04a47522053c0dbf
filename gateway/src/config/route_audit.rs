//! `routes[].audit`: what the records of a route's requests keep.

use http::HeaderName;
use schemars::JsonSchema;
use serde::Serialize;

use super::durability::Durability;
use super::node::Node;
use super::read::{Choice, Choices};
use super::value::Name;
use super::walk::{Read, ReadText, Unreadable, Walk};
use super::written::HeaderTexts;
use crate::credentials::is_for_credentials;

/// What a route's records keep beyond the usual.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct RouteAudit {
    /// Request headers to keep, in lower case. Credentials are never among them.
    #[serde(with = "HeaderTexts")]
    pub headers: Vec<HeaderName>,
    /// What to keep of the query.
    pub query: Query,
    /// What to keep of the path.
    pub path: PathKept,
    /// What must be durable before the upstream sees a request: the stricter of this and `audit.durability`, where
    /// both are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// What such a request does, such as `orders.access`: the record's field `action`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Name>,
    /// Whether records keep the SHA-256 of bodies, and what becomes of a `Content-Digest`.
    pub body_digest: BodyDigest,
}

/// What to keep of the query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// Nothing.
    None,
    /// The names of its keys.
    #[default]
    Keys,
    /// Its keys, and its pairs with their values.
    Values,
}

impl Query {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Query::None => "none",
            Query::Keys => "keys",
            Query::Values => "values",
        }
    }
}

/// What to keep of the path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathKept {
    /// The path, but for what `audit.redact.paths` hides.
    #[default]
    Full,
    /// The route's pattern alone: `match.path`, or `match.path_prefix` with `/*` behind it.
    Route,
}

/// Whether records keep digests of bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BodyDigest {
    /// They do not.
    #[default]
    None,
    /// The SHA-256 of the request's body and of the response's, and whether a request's `Content-Digest` (RFC 9530) is
    /// that of its body.
    Sha256,
}

impl BodyDigest {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            BodyDigest::None => "none",
            BodyDigest::Sha256 => "sha256",
        }
    }
}

impl Read for RouteAudit {
    const EXPECTED: &'static str =
        "a mapping with `headers`, `query`, `path`, `durability`, `action`, `body_digest`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut audit = walk.mapping(node, path, Self::EXPECTED)?;
        let headers: Vec<HeaderName> = audit.or("headers", Vec::new());
        let query = audit.or("query", Query::default());
        let path = audit.or("path", PathKept::default());
        let durability = audit.optional("durability");
        let action = audit.optional("action");
        let body_digest = audit.or("body_digest", BodyDigest::default());
        audit.distinct("headers", &headers);
        audit.finish();
        Some(RouteAudit { headers, query, path, durability, action, body_digest })
    }
}

impl ReadText for HeaderName {
    const EXPECTED: &'static str = "the name of a request header, such as `user-agent`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        let header = HeaderName::from_bytes(text.as_bytes()).map_err(|_| Unreadable::default())?;
        if is_for_credentials(&header) {
            return Err(Unreadable::rule("expected a header without credentials: they never enter a record"));
        }
        Ok(header)
    }
}

impl Choice for Query {
    const EXPECTED: &'static str = "`none`, `keys` or `values`";
    const CHOICES: Choices<Self> = &[("none", Self::None), ("keys", Self::Keys), ("values", Self::Values)];
    const LATER: &'static [&'static str] = &[];
}

impl Choice for PathKept {
    const EXPECTED: &'static str = "`full` or `route`";
    const CHOICES: Choices<Self> = &[("full", Self::Full), ("route", Self::Route)];
    const LATER: &'static [&'static str] = &[];
}

impl Choice for BodyDigest {
    const EXPECTED: &'static str = "`none` or `sha256`";
    const CHOICES: Choices<Self> = &[("none", Self::None), ("sha256", Self::Sha256)];
    const LATER: &'static [&'static str] = &[];
}
