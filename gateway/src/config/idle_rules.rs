//! Rules of `allow` that can never match: what their author meant is not what would happen.

use http::Method;
use ipnet::{IpNet, Ipv4Net};

use super::allow::Allow;
use super::auth::Auth;
use super::load::Parts;
use super::route::{PathMatch, Route};
use super::walk::{Walk, join, nearest};
use crate::authorise::PathGlob;

/// Keeps an error for each rule, or part of one, that no request can match.
pub(super) fn no_idle_rules(parts: &Parts, walk: &mut Walk<'_>) {
    for (index, route) in parts.routes.present() {
        let below = format!("routes[{index}].allow");
        // Of a rule that could not be read nothing can be said, nor of those behind it.
        if has_errors(&below, walk) {
            continue;
        }
        for (place, rule) in route.allow.iter().enumerate() {
            let at = format!("{below}[{place}]");
            nobody_is_known(route, rule, &at, walk);
            other_methods(route, rule, &at, walk);
            other_paths(route, rule, &at, walk);
            mapped_sources(rule, &at, walk);
        }
        if has_errors(&below, walk) {
            continue;
        }
        for (place, rule) in route.allow.iter().enumerate() {
            let at = format!("{below}[{place}]");
            let earlier = route.allow.iter().take(place).position(|before| is_as_wide(before, rule, route));
            if let Some(earlier) = earlier {
                let (name, line) = (&route.allow[earlier].name, walk.at(&format!("{below}[{earlier}]")));
                let why = format!(
                    "expected a rule that can decide: `{name}` ({line}) matches all that this one matches, and comes first"
                );
                walk.bad_value(&at, why, None);
            }
        }
    }
}

fn has_errors(below: &str, walk: &Walk<'_>) -> bool {
    walk.errors.iter().any(|error| join(&error.path, &error.key).starts_with(below))
}

fn nobody_is_known(route: &Route, rule: &Allow, at: &str, walk: &mut Walk<'_>) {
    if route.auth != Auth::None {
        return;
    }
    for (key, given) in [("actors", !rule.actors.is_empty()), ("groups", !rule.groups.is_empty())] {
        if given {
            let why = format!("expected no `{key}` on a route with `auth: none`: nobody is known there");
            walk.bad_value(&format!("{at}.{key}"), why, None);
        }
    }
}

fn other_methods(route: &Route, rule: &Allow, at: &str, walk: &mut Walk<'_>) {
    let taken = &route.matches.methods;
    for (item, method) in rule.methods.iter().enumerate() {
        if !taken.is_empty() && !taken.contains(method) {
            let names: Vec<&str> = taken.iter().map(Method::as_str).collect();
            let meant = nearest(method.as_str(), names.iter().copied()).map(str::to_owned);
            let why = format!("expected a method that the route takes: {}", names.join(", "));
            walk.bad_value(&format!("{at}.methods[{item}]"), why, meant);
        }
    }
}

fn other_paths(route: &Route, rule: &Allow, at: &str, walk: &mut Walk<'_>) {
    let taken = route.matches.path();
    for (item, glob) in rule.paths.iter().enumerate() {
        if !glob.meets(taken) {
            let why = format!(
                "expected a glob that a path of the route can match: it takes {}",
                route.matches.pattern()
            );
            walk.bad_value(&format!("{at}.paths[{item}]"), why, meant(glob, taken));
        }
    }
}

/// Clients with an IPv4 address are known by that alone, whatever socket they came by.
fn mapped_sources(rule: &Allow, at: &str, walk: &mut Walk<'_>) {
    for (item, network) in rule.sources.iter().enumerate() {
        let IpNet::V6(network) = network else { continue };
        let Some(address) = network.addr().to_ipv4_mapped() else { continue };
        let meant =
            network.prefix_len().checked_sub(96).and_then(|length| Ipv4Net::new(address, length).ok());
        if let Some(meant) = meant {
            let why = "expected an IPv4 network: no client's address is of the other spelling";
            walk.bad_value(&format!("{at}.sources[{item}]"), why, Some(meant.to_string()));
        }
    }
}

/// The glob that was probably meant: below the route's path where it was written as an upstream is asked, or with the
/// route's path in place of one that is nearly the same.
fn meant(glob: &PathGlob, taken: PathMatch<'_>) -> Option<String> {
    let (PathMatch::Exact(path) | PathMatch::Prefix(path)) = taken;
    let text = glob.as_str();
    let end = text.match_indices('/').map(|(at, _)| at).nth(path.matches('/').count()).unwrap_or(text.len());
    let (beginning, rest) = text.split_at(end);
    let meant = match (nearest(beginning, [path]), taken) {
        (Some(_), _) => format!("{path}{rest}"),
        (None, PathMatch::Prefix(_)) => format!("{path}{text}"),
        (None, PathMatch::Exact(_)) => path.to_owned(),
    };
    meant.parse::<PathGlob>().ok().filter(|meant| meant.meets(taken)).map(|meant| meant.to_string())
}

/// Whether `wide` matches every request of the route that `narrow` matches.
fn is_as_wide(wide: &Allow, narrow: &Allow, route: &Route) -> bool {
    fn holds<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
        let covered = |one: &T| wide.iter().any(|other| covers(other, one));
        wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(covered))
    }
    let methods = if narrow.methods.is_empty() { &route.matches.methods } else { &narrow.methods };
    let paths =
        if narrow.paths.is_empty() { taken_paths(route.matches.path()) } else { narrow.paths.clone() };
    holds(&wide.actors, &narrow.actors, |one, other| one == other)
        && holds(&wide.groups, &narrow.groups, |one, other| one == other)
        && holds(&wide.methods, methods, |one, other| one == other)
        && holds(&wide.paths, &paths, PathGlob::covers)
        && holds(&wide.sources, &narrow.sources, |one, other| one.contains(other))
}

/// Globs that match what a route takes.
fn taken_paths(taken: PathMatch<'_>) -> Vec<PathGlob> {
    let globs = match taken {
        PathMatch::Exact(path) => vec![path.to_owned()],
        PathMatch::Prefix("/") => vec!["/**".to_owned()],
        PathMatch::Prefix(prefix) => vec![prefix.to_owned(), format!("{prefix}/**")],
    };
    // A path with parameters is no glob: then nothing is said to be as wide.
    globs.iter().filter_map(|glob| glob.parse().ok()).collect()
}
