//! `routes`: which request goes where, and what its record keeps.

use std::time::Duration;

use http::{HeaderName, Method};
use schemars::JsonSchema;
use serde::Serialize;

use super::durability::Durability;
use super::mapping::Mapping;
use super::node::{Content, Node};
use super::read::{Choice, Choices};
use super::value::{DurationText, Name};
use super::walk::{Read, ReadText, Unreadable, Walk, nearest};
use super::written::{DurationOrNone, HeaderTexts, MethodTexts};
use crate::normalise::{self, Scheme};

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
    /// The pattern that stands for every path that is taken.
    pub fn pattern(&self) -> String {
        match self.path() {
            PathMatch::Exact(path) => path.to_owned(),
            PathMatch::Prefix(prefix) => format!("{}/*", prefix.strip_suffix('/').unwrap_or(prefix)),
        }
    }

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

/// Headers that carry credentials: they never enter a record.
const CREDENTIALS: [HeaderName; 4] = [
    http::header::AUTHORIZATION,
    http::header::PROXY_AUTHORIZATION,
    http::header::COOKIE,
    http::header::SET_COOKIE,
];

impl Read for Route {
    const EXPECTED: &'static str = "a route (`name`, `match`, `upstream`, `auth`, …)";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut route = walk.mapping(node, path, Self::EXPECTED)?;
        let name = route.required("name");
        let matches: Option<Match> = route.required("match");
        let upstream = route.required("upstream");
        let rewrite = route.or("rewrite", Rewrite::default());
        let timeout = route.optional("timeout").map_or_else(default_timeout, |Timeout(timeout)| timeout);
        let auth = route.required("auth");
        let audit = route.or("audit", RouteAudit::default());
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            route.bad_value("timeout", "expected more than nothing, or `none`");
        }
        if let (Some(prefix), Some(matches)) = (&rewrite.strip_prefix, &matches) {
            let (PathMatch::Exact(taken) | PathMatch::Prefix(taken)) = matches.path();
            let rest = taken.strip_prefix(prefix.as_str());
            if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                let rule = format!("expected `{taken}` or what it begins with: other paths never come here");
                route.bad_value("rewrite.strip_prefix", rule);
            }
        }
        route.finish();
        let (name, matches, upstream, auth) = (name?, matches?, upstream?, auth?);
        Some(Route { name, matches, upstream, rewrite, timeout, auth, audit })
    }
}

impl Read for Match {
    const EXPECTED: &'static str = "a mapping with `hosts`, `path` or `path_prefix`, `methods`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut matches = walk.mapping(node, path, Self::EXPECTED)?;
        let hosts: Vec<HostName> = filled(&mut matches, "hosts");
        let hosts = hosts.into_iter().map(|HostName(host)| host).collect::<Vec<_>>();
        let exact = matches.optional("path").map(|NormalPath(path)| path);
        let prefix = matches.optional("path_prefix").map(|NormalPath(path)| path);
        let methods = filled(&mut matches, "methods");
        if matches.has("path") && matches.has("path_prefix") {
            matches.bad_value("path_prefix", "expected either `path` or `path_prefix`, not both");
        }
        refuse_trailing_slash(&mut matches, "path_prefix", prefix.as_deref());
        matches.distinct("hosts", &hosts);
        matches.distinct("methods", &methods);
        matches.finish();
        Some(Match { hosts, path: exact, path_prefix: prefix, methods })
    }
}

/// A list that is not empty where it is given.
fn filled<T: Read>(mapping: &mut Mapping<'_, '_, '_>, key: &'static str) -> Vec<T> {
    let values = mapping.optional(key);
    if mapping.is_empty_list(key) {
        mapping.bad_value(key, "expected at least one; leave the key out for any");
    }
    values.unwrap_or_default()
}

/// A prefix ends with a whole segment.
fn refuse_trailing_slash(mapping: &mut Mapping<'_, '_, '_>, key: &str, prefix: Option<&str>) {
    let whole = prefix.and_then(|prefix| prefix.strip_suffix('/')).filter(|whole| !whole.is_empty());
    if let Some(whole) = whole {
        let path = mapping.path_of(key);
        mapping.walk.bad_value(&path, "expected no slash at the end", Some(whole.to_owned()));
    }
}

/// A host as requests have it once they are normal, without its port.
struct HostName(String);

impl ReadText for HostName {
    const EXPECTED: &'static str = "a host name such as `api.example.com`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        if text.contains('*') {
            return Err(Unreadable::rule("expected one host: wildcards are not implemented in this version"));
        }
        let host =
            normalise::Host::parse(text.as_bytes(), Scheme::Http).map_err(|_| Unreadable::default())?;
        if host.name() == text {
            return Ok(HostName(text.to_owned()));
        }
        let rule = "expected a host as it is routed: in lower case, without port or dot at the end";
        Err(Unreadable::rule(rule).meant(Some(host.name())))
    }
}

/// A path as requests have it once they are normal.
struct NormalPath(String);

impl ReadText for NormalPath {
    const EXPECTED: &'static str = "a path that begins with `/`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        if !text.starts_with('/') {
            let rooted = format!("/{text}");
            let meant = normalise::path(rooted.as_bytes()).ok().filter(|_| !text.contains("://"));
            return Err(Unreadable::default().meant(meant));
        }
        match normalise::path(text.as_bytes()) {
            Ok(path) if path == text => Ok(NormalPath(text.to_owned())),
            Ok(path) => {
                Err(Unreadable::rule("expected a path as it is routed, in its one spelling")
                    .meant(Some(path)))
            }
            Err(refusal) => Err(Unreadable::rule(format!("no request has such a path: {refusal}"))),
        }
    }
}

/// A duration or `none`.
struct Timeout(Option<Duration>);

impl ReadText for Timeout {
    const EXPECTED: &'static str = "a duration such as `60s`, or `none`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        match text {
            "none" => Ok(Timeout(None)),
            _ => match DurationText::parse(text) {
                Some(duration) => Ok(Timeout(Some(duration))),
                None => Err(Unreadable { rule: None, ..Duration::read_text(text).err().unwrap_or_default() }),
            },
        }
    }
}

impl Read for Rewrite {
    const EXPECTED: &'static str = "a mapping with `strip_prefix`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut rewrite = walk.mapping(node, path, Self::EXPECTED)?;
        let strip_prefix = rewrite.optional("strip_prefix").map(|NormalPath(path)| path);
        if strip_prefix.as_deref() == Some("/") {
            rewrite.bad_value("strip_prefix", "expected at least one segment: `/` takes nothing off");
        }
        refuse_trailing_slash(&mut rewrite, "strip_prefix", strip_prefix.as_deref());
        rewrite.finish();
        Some(Rewrite { strip_prefix })
    }
}

impl Read for Auth {
    const EXPECTED: &'static str = "`none`: whom a route lets in must be written out";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let word = match &node.content {
            Content::Scalar(_) => walk.text(node, path, "`none`")?,
            Content::Sequence(_) | Content::Mapping(_) => String::new(),
        };
        if word == "none" {
            return Some(Auth::None);
        }
        let meant = nearest(&word, ["none"]).map(str::to_owned);
        walk.bad_value(path, "only `none` is implemented in this version", meant);
        None
    }
}

impl Read for RouteAudit {
    const EXPECTED: &'static str = "a mapping with `headers`, `query`, `path`, `durability`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut audit = walk.mapping(node, path, Self::EXPECTED)?;
        let headers: Vec<HeaderName> = audit.or("headers", Vec::new());
        let query = audit.or("query", Query::default());
        let path = audit.or("path", PathKept::default());
        let durability = audit.optional("durability");
        audit.distinct("headers", &headers);
        audit.finish();
        Some(RouteAudit { headers, query, path, durability })
    }
}

impl ReadText for HeaderName {
    const EXPECTED: &'static str = "the name of a request header, such as `user-agent`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        let header = HeaderName::from_bytes(text.as_bytes()).map_err(|_| Unreadable::default())?;
        if CREDENTIALS.contains(&header) {
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
