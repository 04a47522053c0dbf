//! A request that has a route: what of the route matched, what its rules say, and what its record keeps.

use audit_writer::redact::PathTemplates;
use http::Method;
use serde::Serialize;

use super::{Asking, Target};
use crate::authorise::{Criterion, Decided, Question, Rule};
use crate::config::{self, Allow, Auth, Config, Durability, PathKept, PathMatch, WrittenIn};
use crate::credentials;
use crate::route::Route;

/// A request's route, and what its record keeps.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Routed {
    /// The host in its one spelling.
    pub host: String,
    /// The path in its one spelling: what is routed, authorised and recorded.
    pub path: String,
    /// The route.
    pub route: String,
    /// Its place in the configuration.
    pub index: usize,
    /// What of it matched.
    pub why: String,
    /// Who may use the route.
    pub auth: String,
    /// Who asks; absent where nobody has to be known, or nobody is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The groups that the actor is in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The rule that lets it in, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What each rule says, in their order.
    pub rules: Vec<RuleSaid>,
    /// What records call such a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
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
    /// Whether the record tells digests of bodies.
    pub body_digest: &'static str,
}

/// What a rule says about a request.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct RuleSaid {
    /// Its name.
    pub name: String,
    /// `matches`, `does_not_match`, or `not_reached` behind the first that matches.
    pub says: Says,
    /// Everything of it that does not match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

/// How a rule and a request go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// It matches, and so decides.
    Matches,
    /// It does not.
    DoesNotMatch,
    /// One before it decides.
    NotReached,
}

impl Routed {
    pub(super) fn new(
        config: &Config,
        route: &Route,
        target: &Target<'_>,
        asking: &Asking<'_>,
        rules: Vec<RuleSaid>,
    ) -> Routed {
        let given = &config.routes[route.index];
        let (durability, written) = config.durability_of(given);
        let known = asking.actor.filter(|_| given.auth != Auth::None);
        Routed {
            host: target.host.clone(),
            path: target.path.clone(),
            route: route.name.to_string(),
            index: route.index,
            why: why(given, &target.host),
            auth: match &given.auth {
                Auth::None => "none".into(),
                Auth::AnyOf(providers) => format!("any of {}", providers.join(", ")),
            },
            actor: known.map(str::to_owned),
            groups: if known.is_some() { asking.groups.to_vec() } else { Vec::new() },
            rule: rules.iter().find(|rule| rule.says == Says::Matches).map(|rule| rule.name.clone()),
            rules,
            action: given.audit.action.as_ref().map(ToString::to_string),
            durability,
            durability_from: match written {
                WrittenIn::Route => format!("routes[{}].audit.durability", route.index),
                WrittenIn::Audit => "audit.durability".into(),
                WrittenIn::Nowhere => "default".into(),
            },
            recorded_path: recorded_path(config, given, &target.path),
            headers: route
                .headers
                .iter()
                .map(|header| match config.audit.redact.hmac.contains(header) {
                    true => format!("{header} (hmac)"),
                    false => header.to_string(),
                })
                .collect(),
            query: route.query.as_str(),
            body_digest: given.audit.body_digest.as_str(),
        }
    }
}

/// The path as a record has it.
fn recorded_path(config: &Config, route: &config::Route, path: &str) -> String {
    if route.audit.path == PathKept::Route {
        return route.matches.pattern();
    }
    let templates = PathTemplates::new(config.audit.redact.paths.iter().cloned());
    let redacted = templates.redact(path, None);
    credentials::path(redacted.as_ref().map_or(path, |redacted| &redacted.path)).into_owned()
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

/// What each of a route's rules says.
pub(super) fn rules_said(
    given: &[Allow],
    rules: &[Rule],
    question: &Question<'_>,
    decided: Option<Decided>,
) -> Vec<RuleSaid> {
    let decisive = match decided {
        Some(Decided::Allowed(place)) => place,
        Some(Decided::Denied) | None => None,
    };
    let said = |(place, (allow, rule)): (usize, (&Allow, &Rule))| RuleSaid {
        name: rule.name.to_string(),
        says: match decisive {
            Some(decisive) if decisive == place => Says::Matches,
            Some(decisive) if decisive < place => Says::NotReached,
            _ => Says::DoesNotMatch,
        },
        why: match decisive {
            Some(decisive) if decisive <= place => Vec::new(),
            _ => {
                rule.misses(question).into_iter().map(|criterion| miss(allow, criterion, question)).collect()
            }
        },
    };
    given.iter().zip(rules).enumerate().map(said).collect()
}

/// Why something that a rule gives does not match, in words.
fn miss(allow: &Allow, criterion: Criterion, question: &Question<'_>) -> String {
    let nobody = question.principal.is_none();
    match criterion {
        Criterion::Actors if nobody => {
            format!("its actors are {}, and nobody is known", allow.actors.join(", "))
        }
        Criterion::Actors => format!("its actors are {}", allow.actors.join(", ")),
        Criterion::Groups if nobody => {
            format!("its groups are {}, and nobody is known", allow.groups.join(", "))
        }
        Criterion::Groups => format!("its groups are {}", allow.groups.join(", ")),
        Criterion::Methods => format!("its methods are {}", listed(allow.methods.iter().map(Method::as_str))),
        Criterion::Sources => match question.source {
            Some(source) => format!("its sources are {}, not {source}", listed(&allow.sources)),
            None => format!("its sources are {}, and no --source was given", listed(&allow.sources)),
        },
        Criterion::Paths => format!("its paths are {}", listed(&allow.paths)),
    }
}

fn listed(items: impl IntoIterator<Item = impl ToString>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
