//! What would become of a request, where it would go, as what, and why: the same look-ups that serve, in words.

mod routed;
mod show;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use audit_writer::record::ActorId;
use http::Method;
use serde::Serialize;

use crate::authorise::{Decided, Question, Rule, decide};
use crate::config::{self, Auth, Config, Durability, DurationText, Listener, PathMatch};
use crate::identity::{MAX_ACTOR, MAX_GROUP, MAX_GROUPS, Principal, Scheme as Proof};
use crate::identity_headers;
use crate::normalise::{self, Refusal, Scheme};
use crate::route::{Route, Router};

pub use routed::{Routed, RuleSaid};

/// A request to be explained.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Its method.
    pub method: &'a str,
    /// The URL that a client asks for.
    pub url: &'a str,
    /// The id of the actor that an identity provider of the route vouches for, where one does.
    pub actor: Option<&'a str>,
    /// The groups that the actor is in.
    pub groups: &'a [String],
    /// The client's address; `None` for one that is in no network.
    pub source: Option<IpAddr>,
}

/// Why a request cannot be explained.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExplainError {
    /// Not a URL of HTTP.
    #[error("expected a URL such as http://api.example.com/orders/42, found `{0}`")]
    Url(String),
    /// Not a method.
    #[error("expected a method such as GET, found `{0}`")]
    Method(String),
    /// Nobody whom a provider would vouch for.
    #[error("expected an actor's id of 1 to {MAX_ACTOR} bytes without control characters")]
    Actor,
    /// Groups that no provider would put anybody in.
    #[error(
        "expected at most {MAX_GROUPS} groups, each of 1 to {MAX_GROUP} bytes without control characters"
    )]
    Groups,
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
    /// Its route wants to know who asks, and nobody was given: 401.
    Unauthenticated(Box<Answered>),
    /// No rule of its route lets it in: 403.
    Denied(Box<Answered>),
    /// It is sent to the same URL over TLS.
    Redirected {
        /// The status that answers it.
        status: u16,
        /// The listener that does.
        listener: String,
        /// Whether every answer is recorded, which is so where the log's mode is not `best_effort`.
        durability: Durability,
    },
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
        /// What must be certain of its record.
        durability: Durability,
    },
    /// It is refused before it is routed.
    Refused {
        /// The status that answers it.
        status: u16,
        /// A constant word.
        reason: &'static str,
        /// The same for people.
        why: String,
        /// What must be certain of its record.
        durability: Durability,
    },
}

/// A request that goes to an upstream.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Forwarded {
    /// Its route, and what its record keeps.
    #[serde(flatten)]
    pub routed: Routed,
    /// The upstream.
    pub upstream: String,
    /// Where the upstream answers.
    pub endpoints: Vec<SocketAddr>,
    /// The target that the upstream is asked for.
    pub sent: String,
    /// What the upstream is told about who asks.
    pub identity_headers: Vec<Told>,
    /// How long the whole exchange may take, or `none`.
    pub timeout: String,
}

/// A request that has a route, and is answered by the gateway.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Answered {
    /// The status that answers it.
    pub status: u16,
    /// A constant word: the record's `error`.
    pub reason: &'static str,
    /// Its route, and what its record keeps.
    #[serde(flatten)]
    pub routed: Routed,
}

/// A header that goes upstream.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Told {
    /// Its name.
    pub header: String,
    /// Its value: one of these, where it depends on which provider of the route vouches.
    pub values: Vec<String>,
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
/// When it is no request at all, or nobody could send it.
pub fn explain(config: &Config, router: &Router, asking: &Asking<'_>) -> Result<Explanation, ExplainError> {
    let Asking { method, url, .. } = *asking;
    let parsed = Method::from_bytes(method.as_bytes()).map_err(|_| ExplainError::Method(method.into()))?;
    let (scheme, authority) = parts(url).ok_or_else(|| ExplainError::Url(url.into()))?;
    check_actor(asking)?;
    let outcome = match normalise::request(&parsed, scheme, url.as_bytes(), [authority.as_bytes()]) {
        Err(refusal) => refused(config, refusal),
        Ok(target) => {
            let (host, path) = (target.host.to_string(), target.path.to_string());
            match redirecting(config, scheme, authority) {
                Some(listener) => Outcome::Redirected {
                    status: 308,
                    listener: listener.name.to_string(),
                    durability: config.durability(),
                },
                None => match router.take(target.host.name(), &path, &parsed) {
                    Err(refusal) => refused(config, refusal),
                    Ok(None) => no_route(config, target.host.name(), host, path),
                    Ok(Some(route)) => {
                        let target = Target { host, path, query: target.query.as_deref() };
                        of_route(config, route, &parsed, &target, asking)
                    }
                },
            }
        }
    };
    Ok(Explanation { method: method.into(), url: url.into(), outcome })
}

/// What a request asks for, in its one spelling.
struct Target<'a> {
    host: String,
    path: String,
    query: Option<&'a str>,
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

/// Whether a provider could vouch for such an actor.
fn check_actor(asking: &Asking<'_>) -> Result<(), ExplainError> {
    let plain =
        |text: &str, most| !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control);
    if asking.actor.is_some_and(|actor| !plain(actor, MAX_ACTOR)) {
        return Err(ExplainError::Actor);
    }
    let groups = asking.groups;
    if groups.len() > MAX_GROUPS || !groups.iter().all(|group| plain(group, MAX_GROUP)) {
        return Err(ExplainError::Groups);
    }
    Ok(())
}

/// The listener that answers every request of this kind with where to ask over TLS. Of several listeners without TLS,
/// the URL's port says which one is meant; where it is none of theirs, it is one that serves.
fn redirecting<'c>(config: &'c Config, scheme: Scheme, authority: &str) -> Option<&'c Listener> {
    if scheme == Scheme::Https {
        return None;
    }
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(80);
    let plain = || config.listen.iter().filter(|listener| listener.tls.is_none());
    match plain().find(|listener| listener.address.port() == port) {
        Some(meant) => Some(meant).filter(|listener| listener.redirect_to_https.is_some()),
        None if plain().all(|listener| listener.redirect_to_https.is_some()) => plain().next(),
        None => None,
    }
}

fn refused(config: &Config, refusal: Refusal) -> Outcome {
    Outcome::Refused {
        status: refusal.status(),
        reason: refusal.reason(),
        why: refusal.to_string(),
        durability: config.durability(),
    }
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
    Outcome::NoRoute { status, host, path, routes, durability: config.durability() }
}

/// What becomes of a request that has a route.
fn of_route(
    config: &Config,
    route: &Route,
    method: &Method,
    target: &Target<'_>,
    asking: &Asking<'_>,
) -> Outcome {
    let given = &config.routes[route.index];
    let principals = principals(config, given, asking);
    let principal = principals.first();
    if given.auth != Auth::None && principal.is_none() {
        let routed = Routed::new(config, route, target, asking, Vec::new());
        return Outcome::Unauthenticated(Box::new(Answered {
            status: 401,
            reason: "credentials_missing",
            routed,
        }));
    }
    // Rules that could not be made were refused with the configuration.
    let rules: Vec<Rule> = given.allow.iter().filter_map(|allow| Rule::new(allow).ok()).collect();
    let question = Question { principal, method, path: &target.path, source: asking.source };
    let decided = decide(&rules, &question);
    let said = routed::rules_said(&given.allow, &rules, &question, decided);
    let routed = Routed::new(config, route, target, asking, said);
    if decided == Some(Decided::Denied) {
        return Outcome::Denied(Box::new(Answered { status: 403, reason: "denied", routed }));
    }
    let path = route.upstream_path(&target.path);
    let endpoints = config.upstreams.get(&*route.upstream).map(|upstream| upstream.endpoints.fixed.clone());
    Outcome::Forwarded(Box::new(Forwarded {
        routed,
        upstream: route.upstream.to_string(),
        endpoints: endpoints.unwrap_or_default(),
        sent: target.query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")),
        identity_headers: told(&principals),
        timeout: route.timeout.map_or_else(|| "none".into(), DurationText::write),
    }))
}

/// The actor as each provider of the route would vouch for it; none where the route asks none, or nobody was given.
fn principals(config: &Config, route: &config::Route, asking: &Asking<'_>) -> Vec<Principal> {
    let Some(actor) = asking.actor else { return Vec::new() };
    let proof = |provider: &config::Provider| match provider {
        config::Provider::Jwt(_) => Proof::Jwt,
        config::Provider::Mtls(_) => Proof::Mtls,
        config::Provider::ApiKey(_) => Proof::ApiKey,
        config::Provider::Header(_) => Proof::Header,
    };
    let providers = route.auth.providers().iter();
    let known = providers.filter_map(|name| Some((name, config.identity.get(name)?)));
    known
        .map(|(name, provider)| Principal {
            id: ActorId::new(actor),
            scheme: proof(provider),
            provider: Arc::from(name.as_str()),
            groups: asking.groups.iter().map(|group| group.as_str().into()).collect(),
        })
        .collect()
}

/// What the upstream is told, whichever of these it is.
fn told(principals: &[Principal]) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    for (name, value) in principals.iter().flat_map(identity_headers::told) {
        match all.iter_mut().find(|told| told.header == name.as_str()) {
            Some(told) if told.values.contains(&value) => {}
            Some(told) => told.values.push(value),
            None => all.push(Told { header: name.to_string(), values: vec![value] }),
        }
    }
    all
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
