//! What only shows when the parts of a configuration are held against one another.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::auth;
use super::idle_rules::no_idle_rules;
use super::load::Parts;
use super::walk::{Walk, nearest};
use super::{Listener, Route};
use crate::route::Router;

/// Keeps an error for each part that does not go together with another.
pub(super) fn check(parts: &Parts, walk: &mut Walk<'_>) {
    names_once("listen", walk);
    names_once("routes", walk);
    for index in 0..walk.items("routes") {
        names_once(&format!("routes[{index}].allow"), walk);
    }
    addresses_once(parts, walk);
    no_loops(parts, walk);
    upstreams_exist(parts, walk);
    auth::check(parts, walk);
    no_ties(parts, walk);
    no_idle_rules(parts, walk);
}

fn names_once(list: &str, walk: &mut Walk<'_>) {
    let mut first: HashMap<String, String> = HashMap::new();
    for index in 0..walk.items(list) {
        let path = format!("{list}[{index}].name");
        let Some(name) = walk.resolved(&path) else { continue };
        match first.get(name) {
            Some(before) => {
                let rule = format!("expected another name: {} has it already", walk.at(before));
                walk.bad_value(&path, rule, None);
            }
            None => {
                first.insert(name.to_owned(), path);
            }
        }
    }
}

/// Two listeners that would bind the same address.
fn addresses_once(parts: &Parts, walk: &mut Walk<'_>) {
    let mut bound: Vec<(String, SocketAddr)> = parts
        .listen
        .present()
        .map(|(index, listener)| (format!("listen[{index}].address"), listener.address))
        .collect();
    bound.extend(parts.admin.map(|admin| ("admin.address".into(), admin.address)));
    bound.extend(parts.metrics.map(|metrics| ("metrics.address".into(), metrics.address)));
    for (index, (path, address)) in bound.iter().enumerate() {
        if let Some((first, taken)) = bound[..index].iter().find(|(_, taken)| overlap(*taken, *address)) {
            let at = walk.at(first);
            walk.bad_value(
                path,
                format!("expected another address: `{first}` ({at}) listens on {taken} already"),
                None,
            );
        }
    }
}

/// Whether both cannot be bound at once. Port 0 is a new one each time.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let all = |ip: IpAddr, other: IpAddr| ip.is_unspecified() && (ip.is_ipv6() || other.is_ipv4());
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || all(a.ip(), b.ip()) || all(b.ip(), a.ip()))
}

fn upstreams_exist(parts: &Parts, walk: &mut Walk<'_>) {
    let Some(upstreams) = &parts.upstreams else { return };
    for index in 0..walk.items("routes") {
        let path = format!("routes[{index}].upstream");
        let Some(name) = walk.resolved(&path).map(str::to_owned) else { continue };
        if !upstreams.declared.contains(&name) {
            let meant = nearest(&name, upstreams.declared.iter().map(String::as_str)).map(str::to_owned);
            walk.bad_value(&path, "expected the name of one of `upstreams`", meant);
        }
    }
}

fn no_ties(parts: &Parts, walk: &mut Walk<'_>) {
    let (indexes, routes): (Vec<usize>, Vec<Route>) =
        parts.routes.present().map(|(index, route)| (index, route.clone())).unzip();
    for tie in Router::new(&routes).err().into_iter().flatten() {
        let at = walk.at(&format!("routes[{}]", indexes[tie.first]));
        let (first, second) = (&routes[tie.first].name, &routes[tie.second].name);
        let rule = format!(
            "expected one route a request: `{second}` ties with `{first}` ({at}), give another host, path or method"
        );
        walk.bad_value(&format!("routes[{}].match", indexes[tie.second]), rule, None);
    }
}

/// An endpoint that is the gateway itself.
fn no_loops(parts: &Parts, walk: &mut Walk<'_>) {
    for (name, upstream) in parts.upstreams.iter().flat_map(|upstreams| &upstreams.by_name) {
        for (index, endpoint) in upstream.endpoints.fixed.iter().enumerate() {
            let own = |(_, listener): &(usize, &Listener)| listener.address == *endpoint;
            if let Some((_, listener)) = parts.listen.present().find(own) {
                let rule = format!(
                    "expected another server: the listener `{}` has this address, requests would go round",
                    listener.name
                );
                walk.bad_value(&format!("upstreams.{name}.endpoints.static[{index}]"), rule, None);
            }
        }
    }
}
