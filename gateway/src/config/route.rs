//! `routes`: which request goes where.

use std::time::Duration;

use http::Method;
use schemars::JsonSchema;
use serde::Serialize;

use super::allow::Allow;
use super::auth::Auth;
use super::mapping::Mapping;
use super::node::Node;
use super::route_audit::RouteAudit;
use super::value::{DurationText, Name};
use super::walk::{Read, ReadText, Unreadable, Walk};
use super::written::{DurationOrNone, MethodTexts};
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
    /// Who may do what: the first rule that matches decides, and a request that none matches is answered 403. Without
    /// rules, whoever `auth` lets in may do everything.
    #[schemars(default)]
    pub allow: Vec<Allow>,
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
        let allow = route.filled("allow");
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
        Some(Route { name, matches, upstream, rewrite, timeout, auth, allow, audit })
    }
}

impl Read for Match {
    const EXPECTED: &'static str = "a mapping with `hosts`, `path` or `path_prefix`, `methods`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut matches = walk.mapping(node, path, Self::EXPECTED)?;
        let hosts: Vec<HostName> = matches.filled("hosts");
        let hosts = hosts.into_iter().map(|HostName(host)| host).collect::<Vec<_>>();
        let exact = matches.optional("path").map(|NormalPath(path)| path);
        let prefix = matches.optional("path_prefix").map(|NormalPath(path)| path);
        let methods = matches.filled("methods");
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
