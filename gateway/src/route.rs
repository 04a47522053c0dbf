//! Which route a request takes: exact host first, then any host; then an exact path, then the longest prefix by whole
//! segments; then methods given. Only routes that match in everything compete.
//!
//! A [`Router`] is built once from the configuration and never changes. A look-up walks the path's segments down a
//! tree that is only as deep as the longest path of the configuration, whatever the request's path is, and allocates
//! nothing. It expects host, path and method as [`crate::normalise`] leaves them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use crate::config::{self, Name, PathMatch, Query};
use crate::normalise::{self, Refusal};

/// What is known about a route before any request comes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// Its place in the configuration, from 0: an index for what others keep by route.
    pub index: usize,
    /// Its name.
    pub name: Name,
    /// The upstream that its requests go to.
    pub upstream: Name,
    /// The methods that it takes; any when empty.
    pub methods: Vec<Method>,
    /// What is taken off the front of the path.
    pub strip_prefix: Option<String>,
    /// How long the whole exchange may take; no limit when `None`.
    pub timeout: Option<Duration>,
    /// Request headers that its records keep.
    pub headers: Vec<HeaderName>,
    /// What its records keep of the query.
    pub query: Query,
}

impl Route {
    fn new(index: usize, route: &config::Route) -> Self {
        Route {
            index,
            name: route.name.clone(),
            upstream: route.upstream.clone(),
            methods: route.matches.methods.clone(),
            strip_prefix: route.rewrite.strip_prefix.clone(),
            timeout: route.timeout,
            headers: route.audit.headers.clone(),
            query: route.audit.query,
        }
    }

    /// The path that the upstream is asked for: `strip_prefix` is taken off, by whole segments.
    pub fn upstream_path<'p>(&self, path: &'p str) -> &'p str {
        let rest = self.strip_prefix.as_deref().and_then(|prefix| path.strip_prefix(prefix));
        match rest {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            _ => path,
        }
    }
}

/// Two routes that would take the same request, so that neither is the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tie {
    /// The index of the route that comes first in the configuration.
    pub first: usize,
    /// The index of the other.
    pub second: usize,
}

/// All routes, ready to be looked up.
#[derive(Debug, Default)]
pub struct Router {
    routes: Vec<Arc<Route>>,
    hosts: HashMap<Box<str>, Node>,
    any_host: Node,
}

/// The routes whose path ends here, and what lies below.
#[derive(Debug, Default)]
struct Node {
    below: BTreeMap<Box<str>, Node>,
    exact: Candidates,
    prefix: Candidates,
}

/// The routes of one host and path, which only their methods tell apart.
#[derive(Debug, Default)]
struct Candidates {
    by_method: Vec<(Method, Arc<Route>)>,
    any_method: Option<Arc<Route>>,
}

impl Router {
    /// Builds the router.
    ///
    /// # Errors
    ///
    /// Every pair of routes that ties.
    pub fn new(routes: &[config::Route]) -> Result<Router, Vec<Tie>> {
        let mut router = Router::default();
        let mut ties = Vec::new();
        for (index, config) in routes.iter().enumerate() {
            let route = Arc::new(Route::new(index, config));
            router.routes.push(Arc::clone(&route));
            let path = config.matches.path();
            let mut first = None;
            if config.matches.hosts.is_empty() {
                first = router.any_host.insert(path, &route);
            }
            for host in &config.matches.hosts {
                let tied = router.hosts.entry(host.as_str().into()).or_default().insert(path, &route);
                first = first.or(tied);
            }
            ties.extend(first.filter(|&first| first != index).map(|first| Tie { first, second: index }));
        }
        if ties.is_empty() { Ok(router) } else { Err(ties) }
    }

    /// Every route, by its index.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The route of a request: as [`Router::find`], but that a path with parameters must take the same one without them.
    /// A server behind may take them off first, and serve what another route was to guard.
    ///
    /// # Errors
    ///
    /// It takes another one without them, or none.
    pub fn take(&self, host: &str, path: &str, method: &Method) -> Result<Option<&Arc<Route>>, Refusal> {
        let found = self.find(host, path, method);
        let (Some(route), Some(bare)) = (found, normalise::without_parameters(path)) else {
            return Ok(found);
        };
        match self.find(host, &bare, method) {
            Some(other) if other.index == route.index => Ok(found),
            _ => Err(Refusal::Parameters),
        }
    }

    /// The route of a request, by the host's name without its port, the path and the method.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Option<&Arc<Route>> {
        let below = path.strip_prefix('/')?;
        let of_host = self.hosts.get(host).and_then(|node| node.find(Some(below), method));
        of_host.or_else(|| self.any_host.find(Some(below), method))
    }
}

impl Node {
    /// Adds a route; returns the one that it ties with.
    fn insert(&mut self, path: PathMatch<'_>, route: &Arc<Route>) -> Option<usize> {
        let (PathMatch::Exact(text) | PathMatch::Prefix(text)) = path;
        let segments = text.strip_prefix('/').unwrap_or(text);
        let mut node = self;
        // The prefix `/` is the root itself; the path `/` is the empty segment below it.
        if !matches!(path, PathMatch::Prefix("/")) {
            for segment in segments.split('/') {
                node = node.below.entry(segment.into()).or_default();
            }
        }
        match path {
            PathMatch::Exact(_) => node.exact.insert(route),
            PathMatch::Prefix(_) => node.prefix.insert(route),
        }
    }

    /// The deepest match at or below this node; `path` is what remains of it, `None` at its end.
    fn find(&self, path: Option<&str>, method: &Method) -> Option<&Arc<Route>> {
        let deeper = match path {
            None => self.exact.find(method),
            Some(path) => {
                let (segment, rest) = match path.split_once('/') {
                    Some((segment, rest)) => (segment, Some(rest)),
                    None => (path, None),
                };
                self.below.get(segment).and_then(|node| node.find(rest, method))
            }
        };
        deeper.or_else(|| self.prefix.find(method))
    }
}

impl Candidates {
    /// Adds a route; returns the one that it ties with.
    fn insert(&mut self, route: &Arc<Route>) -> Option<usize> {
        if route.methods.is_empty() {
            let tied = self.any_method.as_ref().map(|first| first.index);
            self.any_method.get_or_insert_with(|| Arc::clone(route));
            return tied;
        }
        let mut tied = None;
        for method in &route.methods {
            match self.by_method.iter().find(|(taken, _)| taken == method) {
                Some((_, first)) => tied = tied.or(Some(first.index)),
                None => self.by_method.push((method.clone(), Arc::clone(route))),
            }
        }
        tied
    }

    fn find(&self, method: &Method) -> Option<&Arc<Route>> {
        let given = self.by_method.iter().find(|(taken, _)| taken == method).map(|(_, route)| route);
        given.or(self.any_method.as_ref())
    }
}

#[cfg(test)]
mod tests;
