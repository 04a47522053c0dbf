//! What only shows when the parts of a configuration are held against one another.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};

use super::load::Parts;
use super::walk::{Walk, nearest};
use super::{Audit, Listener, Route};
use crate::route::Router;

/// Keeps an error for each part that does not go together with another.
pub(super) fn check(parts: &Parts, walk: &mut Walk<'_>) {
    let listen = parts.listen.as_deref().unwrap_or_default();
    let routes = parts.routes.as_deref().unwrap_or_default();
    // Where an item of a list could not be read, the indexes of the others would be wrong.
    let whole_listen = listen.len() == walk.items("listen");
    let whole_routes = routes.len() == walk.items("routes");
    if whole_listen {
        names_once("listen", listen.iter().map(|listener| listener.name.as_str()), walk);
        addresses_once(listen, parts, walk);
    }
    if whole_routes {
        names_once("routes", routes.iter().map(|route| route.name.as_str()), walk);
        upstreams_exist(routes, parts, walk);
        no_ties(routes, walk);
    }
    no_loops(listen, parts, walk);
    if let Some(audit) = &parts.audit {
        directories_apart(audit, walk);
    }
}

fn names_once<'n>(list: &str, names: impl Iterator<Item = &'n str>, walk: &mut Walk<'_>) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, name) in names.enumerate() {
        if let Some(first) = seen.get(name) {
            let at = walk.at(&format!("{list}[{first}].name"));
            walk.bad_value(
                &format!("{list}[{index}].name"),
                format!("expected another name: {at} has it already"),
                None,
            );
        } else {
            seen.insert(name, index);
        }
    }
}

/// Two listeners that would bind the same address.
fn addresses_once(listen: &[Listener], parts: &Parts, walk: &mut Walk<'_>) {
    let mut bound: Vec<(String, SocketAddr)> = (0..)
        .zip(listen)
        .map(|(index, listener): (usize, _)| (format!("listen[{index}].address"), listener.address))
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

fn upstreams_exist(routes: &[Route], parts: &Parts, walk: &mut Walk<'_>) {
    let Some(upstreams) = &parts.upstreams else { return };
    for (index, route) in routes.iter().enumerate() {
        if !upstreams.declared.iter().any(|name| *name == *route.upstream) {
            let meant =
                nearest(&route.upstream, upstreams.declared.iter().map(String::as_str)).map(str::to_owned);
            walk.bad_value(
                &format!("routes[{index}].upstream"),
                "expected the name of one of `upstreams`",
                meant,
            );
        }
    }
}

fn no_ties(routes: &[Route], walk: &mut Walk<'_>) {
    for tie in Router::new(routes).err().into_iter().flatten() {
        let at = walk.at(&format!("routes[{}]", tie.first));
        let (first, second) = (&routes[tie.first].name, &routes[tie.second].name);
        let rule = format!(
            "expected one route a request: `{second}` ties with `{first}` ({at}), give another host, path or method"
        );
        walk.bad_value(&format!("routes[{}].match", tie.second), rule, None);
    }
}

/// An endpoint that is the gateway itself.
fn no_loops(listen: &[Listener], parts: &Parts, walk: &mut Walk<'_>) {
    for (name, upstream) in parts.upstreams.iter().flat_map(|upstreams| &upstreams.by_name) {
        for (index, endpoint) in upstream.endpoints.fixed.iter().enumerate() {
            let own = |listener: &&Listener| listener.address == *endpoint && endpoint.port() != 0;
            if let Some(listener) = listen.iter().find(own) {
                let rule = format!(
                    "expected another server: the listener `{}` has this address, requests would go round",
                    listener.name
                );
                walk.bad_value(&format!("upstreams.{name}.endpoints.static[{index}]"), rule, None);
            }
        }
    }
}

/// The spool is emptied and the store never is: neither may lie in the other, nor the key in either of them.
fn directories_apart(audit: &Audit, walk: &mut Walk<'_>) {
    let (spool, store) = (lexical(&audit.spool.path), lexical(&audit.store.directory));
    let key = lexical(&audit.key.file);
    if spool == store {
        walk.bad_value("audit.store.directory", "expected another directory than `audit.spool.path`", None);
    } else if store.starts_with(&spool) || spool.starts_with(&store) {
        let rule = "expected a directory apart from `audit.spool.path`: neither may lie in the other";
        walk.bad_value("audit.store.directory", rule, None);
    }
    for (directory, name) in [(&spool, "audit.spool.path"), (&store, "audit.store.directory")] {
        if key.starts_with(directory) {
            walk.bad_value("audit.key.file", format!("expected a file outside of `{name}`"), None);
        }
    }
}

/// The path without `.` and `..`, as far as can be told without looking.
fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
