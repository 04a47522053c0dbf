//! `routes`: which request goes where, and what its record keeps.

use std::time::Duration;

use http::Method;
use schemars::JsonSchema;
use serde::Serialize;

use super::value::{DurationOrNone, MethodTexts, Name};

/// One route.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Route {
    /// Label in metrics, and the record's field `route`.
    pub name: Name,
    /// Which requests it takes.
    #[serde(rename = "match")]
    pub matches: Match,
    /// The upstream that they go to.
    pub upstream: Name,
    /// What is changed on the way.
    #[schemars(default)]
    pub rewrite: Rewrite,
    /// How long the whole exchange may take; `none` for streams.
    #[serde(with = "DurationOrNone")]
    #[schemars(default = "default_timeout")]
    pub timeout: Option<Duration>,
    /// Who may use it: must be written out.
    pub auth: Auth,
    /// What its records keep beyond the usual.
    #[schemars(default)]
    pub audit: RouteAudit,
}

/// `timeout` where a route gives none.
pub(super) fn default_timeout() -> Option<Duration> {
    Some(Duration::from_secs(60))
}

/// Which requests a route takes: all that is given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Match {
    /// Any of these hosts, exactly, without a port; any host when left out.
    #[schemars(default)]
    pub hosts: Vec<String>,
    /// This path, exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// This path and whatever lies below it, by whole segments: `/orders`, `/orders/42`, never `/ordersX`.
    /// `/` when neither `path` nor `path_prefix` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Any of these methods; any method when left out.
    #[serde(with = "MethodTexts")]
    #[schemars(default)]
    pub methods: Vec<Method>,
}

/// The path that a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathMatch<'a> {
    /// This path alone.
    Exact(&'a str),
    /// This path and what lies below it.
    Prefix(&'a str),
}

impl Match {
    /// The path that is asked for; everything (`/` as a prefix) when none is given.
    pub fn path(&self) -> PathMatch<'_> {
        match (&self.path, &self.path_prefix) {
            (Some(path), _) => PathMatch::Exact(path),
            (None, Some(prefix)) => PathMatch::Prefix(prefix),
            (None, None) => PathMatch::Prefix("/"),
        }
    }
}

/// What is changed between client and upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct Rewrite {
    /// Taken off the front of the path before it goes upstream. The record keeps the path before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Everybody.
    None,
}

/// What a route's records keep beyond the usual.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct RouteAudit {
    /// Request headers to keep, in lower case. Credentials are never among them.
    pub headers: Vec<String>,
    /// What to keep of the query.
    pub query: Query,
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
}
