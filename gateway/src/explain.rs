//! Where a request would go, as what, and why: the same look-up that serves, in words.

use std::fmt;
use std::net::SocketAddr;

use audit_writer::redact::PathTemplates;
use http::Method;
use serde::Serialize;

use crate::config::{self, Config, Durability, DurationText, PathKept, PathMatch, WrittenIn};
use crate::normalise::{self, Refusal, Scheme};
use crate::route::{Route, Router};

/// Why a request cannot be explained.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExplainError {
    /// Not a URL of HTTP.
    #[error("expected a URL such as http://api.example.com/orders/42, found `{0}`")]
    Url(String),
    /// Not a method.
    #[error("expected a method such as GET, found `{0}`")]
    Method(String),
}

/// What would become of a request.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The method.
    pub method: String,
    /// The URL as it was given.
    pub url: String,
    /// What becomes of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What becomes of a request.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It goes to an upstream.
    Forwarded(Box<Forwarded>),
    /// No route takes it.
    NoRoute {
        /// The status that answers it: 405 where a route takes the path, but not the method, otherwise 404.
        status: u16,
        /// The host that was looked up.
        host: String,
        /// The path that was looked up.
        path: String,
        /// Each route, and why it is not the one.
        routes: Vec<Miss>,
    },
    /// It is refused before it is routed.
    Refused {
        /// The status that answers it.
        status: u16,
        /// A constant word.
        reason: &'static str,
        /// The same for people.
        why: String,
    },
}

/// A request that goes to an upstream.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Forwarded {
    /// The host in its one spelling.
    pub host: String,
    /// The path in its one spelling: what is routed and recorded.
    pub path: String,
    /// The route.
    pub route: String,
    /// Its place in the configuration.
    pub index: usize,
    /// What of it matched.
    pub why: String,
    /// The upstream.
    pub upstream: String,
    /// Where the upstream answers.
    pub endpoints: Vec<SocketAddr>,
    /// The target that the upstream is asked for.
    pub sent: String,
    /// How long the whole exchange may take, or `none`.
    pub timeout: String,
    /// Who may use the route.
    pub auth: String,
    /// What must be durable before the upstream sees the request.
    pub durability: Durability,
    /// Where that is written: `routes[0].audit.durability`, `audit.durability`, or nowhere.
    pub durability_from: String,
    /// The path that the record has.
    pub recorded_path: String,
    /// The request headers that the record keeps.
    pub headers: Vec<String>,
    /// What the record keeps of the query.
    pub query: &'static str,
}

/// A route that does not take a request.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Miss {
    /// The route.
    pub route: String,
    /// What of it does not match.
    pub why: String,
}

/// Says what would become of a request.
///
/// # Errors
///
/// When it is no request at all.
pub fn explain(
    config: &Config,
    router: &Router,
    method: &str,
    url: &str,
) -> Result<Explanation, ExplainError> {
    let parsed = Method::from_bytes(method.as_bytes()).map_err(|_| ExplainError::Method(method.into()))?;
    let (scheme, authority) = parts(url).ok_or_else(|| ExplainError::Url(url.into()))?;
    let outcome = match normalise::request(&parsed, scheme, url.as_bytes(), [authority.as_bytes()]) {
        Err(refusal) => refused(refusal),
        Ok(target) => {
            let (host, path) = (target.host.to_string(), target.path.to_string());
            match router.find(target.host.name(), &path, &parsed) {
                None => no_route(config, target.host.name(), host, path),
                Some(route) => {
                    let sent = match &target.query {
                        Some(query) => format!("{}?{query}", route.upstream_path(&path)),
                        None => route.upstream_path(&path).to_owned(),
                    };
                    Outcome::Forwarded(Box::new(forwarded(config, route, host, path, sent)))
                }
            }
        }
    };
    Ok(Explanation { method: method.into(), url: url.into(), outcome })
}

/// The scheme and authority of a URL.
fn parts(url: &str) -> Option<(Scheme, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    (!authority.is_empty()).then_some((scheme, authority))
}

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused { status: refusal.status(), reason: refusal.reason(), why: refusal.to_string() }
}

fn no_route(config: &Config, name: &str, host: String, path: String) -> Outcome {
    let mut status = 404;
    let miss = |route: &config::Route| {
        let why = why_not(route, name, &path).unwrap_or_else(|| {
            status = 405;
            let methods: Vec<&str> = route.matches.methods.iter().map(Method::as_str).collect();
            format!("its methods are {}", methods.join(", "))
        });
        Miss { route: route.name.to_string(), why }
    };
    let routes = config.routes.iter().map(miss).collect();
    Outcome::NoRoute { status, host, path, routes }
}

fn forwarded(config: &Config, route: &Route, host: String, path: String, sent: String) -> Forwarded {
    let (durability, written) = config.durability_of(&config.routes[route.index]);
    let endpoints = config.upstreams.get(&*route.upstream).map(|upstream| upstream.endpoints.fixed.clone());
    Forwarded {
        recorded_path: recorded_path(config, &config.routes[route.index], &path),
        why: why(&config.routes[route.index], &host),
        host,
        path,
        route: route.name.to_string(),
        index: route.index,
        upstream: route.upstream.to_string(),
        endpoints: endpoints.unwrap_or_default(),
        sent,
        timeout: route.timeout.map_or_else(|| "none".into(), DurationText::write),
        auth: match &config.routes[route.index].auth {
            config::Auth::None => "none".into(),
            config::Auth::AnyOf(providers) => format!("any of {}", providers.join(", ")),
        },
        durability,
        durability_from: match written {
            WrittenIn::Route => format!("routes[{}].audit.durability", route.index),
            WrittenIn::Audit => "audit.durability".into(),
            WrittenIn::Nowhere => "default".into(),
        },
        headers: route
            .headers
            .iter()
            .map(|header| match config.audit.redact.hmac.contains(header) {
                true => format!("{header} (hmac)"),
                false => header.to_string(),
            })
            .collect(),
        query: route.query.as_str(),
    }
}

/// The path as a record has it.
fn recorded_path(config: &Config, route: &config::Route, path: &str) -> String {
    if route.audit.path == PathKept::Route {
        return route.matches.pattern();
    }
    let templates = PathTemplates::new(config.audit.redact.paths.iter().cloned());
    templates.redact(path, None).map_or_else(|| path.to_owned(), |redacted| redacted.path.into())
}

/// What of a route matched, most decisive first.
fn why(route: &config::Route, host: &str) -> String {
    let m = &route.matches;
    let host = if m.hosts.is_empty() { "any host".into() } else { format!("host {host}") };
    let path = match m.path() {
        PathMatch::Exact(path) => format!("path {path}, exactly"),
        PathMatch::Prefix(prefix) => format!("the longest path_prefix, {prefix}"),
    };
    let method = if m.methods.is_empty() { "any method" } else { "its method" };
    format!("{host}; {path}; {method}")
}

/// What of a route's host or path a request does not meet.
fn why_not(route: &config::Route, host: &str, path: &str) -> Option<String> {
    let m = &route.matches;
    if !m.hosts.is_empty() && !m.hosts.iter().any(|given| given == host) {
        return Some(format!("its hosts are {}", m.hosts.join(", ")));
    }
    let below = |prefix: &str| {
        prefix == "/"
            || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match m.path() {
        PathMatch::Exact(exact) if exact != path => Some(format!("its path is {exact}")),
        PathMatch::Prefix(prefix) if !below(prefix) => Some(format!("its path_prefix is {prefix}")),
        _ => None,
    }
}

impl Explanation {
    /// Whether the request would reach an upstream.
    pub fn is_forwarded(&self) -> bool {
        matches!(self.outcome, Outcome::Forwarded(_))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.url)?;
        match &self.outcome {
            Outcome::Forwarded(to) => {
                let endpoints: Vec<String> = to.endpoints.iter().map(ToString::to_string).collect();
                let headers = if to.headers.is_empty() { "none".into() } else { to.headers.join(", ") };
                writeln!(f, "  route       {} (routes[{}]): {}", to.route, to.index, to.why)?;
                writeln!(f, "  host        {}", to.host)?;
                writeln!(f, "  path        {}", to.path)?;
                writeln!(f, "  upstream    {} at {}", to.upstream, endpoints.join(", "))?;
                writeln!(f, "  sent        {} {}", self.method, to.sent)?;
                writeln!(f, "  timeout     {}", to.timeout)?;
                writeln!(f, "  auth        {}", to.auth)?;
                let from = match to.durability_from.as_str() {
                    "default" => "by default".into(),
                    written => format!("by `{written}`"),
                };
                writeln!(f, "  durability  {}: {from}; {}", to.durability.as_str(), promise(to.durability))?;
                write!(f, "  recorded    path: {}; headers: {headers}; query: {}", to.recorded_path, to.query)
            }
            Outcome::NoRoute { status, host, path, routes } => {
                let method = if *status == 405 { format!(", method {}", self.method) } else { String::new() };
                writeln!(
                    f,
                    "  no route takes host {host}, path {path}{method}: it is answered {status}, and recorded"
                )?;
                let lines: Vec<String> =
                    routes.iter().map(|miss| format!("  not {}: {}", miss.route, miss.why)).collect();
                f.write_str(&lines.join("\n"))
            }
            Outcome::Refused { status, reason, why } => {
                write!(f, "  refused before routing: {why}: it is answered {status} ({reason}), and recorded")
            }
        }
    }
}

/// What a mode promises, in a line.
fn promise(mode: Durability) -> &'static str {
    match mode {
        Durability::Strict => {
            "a `received` record is synced before it goes upstream, a crash loses none; 503 when that cannot be"
        }
        Durability::Buffered => {
            "a place for its record is reserved first, a crash loses at most `sync_interval`; 503 when there is none"
        }
        Durability::BestEffort => {
            "it is served whether a record can be kept or not; what is lost is declared"
        }
    }
}
