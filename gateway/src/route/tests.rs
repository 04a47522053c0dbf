use http::Method;
use proptest::prelude::*;

use super::{Router, Tie};
use crate::config::{self, Auth, Match, Name, PathMatch, Rewrite, RouteAudit};
use crate::normalise::Refusal;

/// A route from `host,host METHOD,METHOD =/exact` or `/prefix`; `*` for any.
fn route(index: usize, rule: &str) -> config::Route {
    let mut words = rule.split(' ');
    let mut list = || match words.next().unwrap() {
        "*" => Vec::new(),
        some => some.split(',').map(str::to_owned).collect(),
    };
    let (hosts, methods) = (list(), list());
    let path = words.next().unwrap();
    let exact = path.strip_prefix('=').map(str::to_owned);
    let path_prefix = if exact.is_none() { Some(path.to_owned()) } else { None };
    let methods = methods.iter().map(|method| method.parse().unwrap()).collect();
    config::Route {
        name: Name::parse(&format!("r{index}")).unwrap(),
        matches: Match { hosts, path: exact, path_prefix, methods },
        upstream: Name::parse("u").unwrap(),
        rewrite: Rewrite::default(),
        timeout: None,
        auth: Auth::None,
        allow: Vec::new(),
        audit: RouteAudit::default(),
    }
}

fn routes(rules: &[&str]) -> Vec<config::Route> {
    rules.iter().enumerate().map(|(index, rule)| route(index, rule)).collect()
}

fn found(router: &Router, host: &str, path: &str, method: Method) -> Option<usize> {
    router.find(host, path, &method).map(|route| route.index)
}

#[test]
fn the_most_specific_route_wins() {
    let router = Router::new(&routes(&[
        "* * /",
        "* * /orders",
        "* * =/orders/42",
        "* GET,POST /orders",
        "api.example.com * /orders",
        "api.example.com DELETE /",
        "* * /orders/archive/2025",
    ]))
    .unwrap();
    let get = |host: &str, path: &str| found(&router, host, path, Method::GET);
    assert_eq!(get("h", "/"), Some(0));
    assert_eq!(get("h", "/ordersX"), Some(0), "a prefix ends with a whole segment");
    assert_eq!(get("h", "/orders"), Some(3));
    assert_eq!(get("h", "/orders/"), Some(3));
    assert_eq!(get("h", "/orders/42"), Some(2));
    assert_eq!(get("h", "/orders/42/"), Some(3), "an exact path is exact");
    assert_eq!(get("h", "/orders/archive/2024"), Some(3));
    assert_eq!(get("h", "/orders/archive/2025/x"), Some(6));
    assert_eq!(get("api.example.com", "/orders/42"), Some(4), "an exact host comes before an exact path");
    assert_eq!(get("api.example.com", "/users"), Some(0), "a host without a match leaves it to the others");
    assert_eq!(found(&router, "h", "/orders", Method::DELETE), Some(1));
    assert_eq!(found(&router, "api.example.com", "/users", Method::DELETE), Some(5));
    assert_eq!(found(&router, "h", "no-slash", Method::GET), None);
}

#[test]
fn the_root_is_a_path_like_any_other() {
    let router = Router::new(&routes(&["* * =/", "* * /a"])).unwrap();
    assert_eq!(found(&router, "h", "/", Method::GET), Some(0));
    assert_eq!(found(&router, "h", "/b", Method::GET), None);
    assert_eq!(found(&router, "h", "/a/", Method::GET), Some(1));
}

#[test]
fn routes_that_take_the_same_request_tie() {
    let ties = |rules: &[&str]| Router::new(&routes(rules)).err().unwrap_or_default();
    assert_eq!(ties(&["* * /a", "* * /a"]), [Tie { first: 0, second: 1 }]);
    assert_eq!(ties(&["* GET,PUT /a", "* POST /a", "* PUT,HEAD /a"]), [Tie { first: 0, second: 2 }]);
    assert_eq!(ties(&["a,b * /a", "b,c * /a"]), [Tie { first: 0, second: 1 }]);
    assert_eq!(ties(&["* * /a", "* GET /a", "x * /a", "* * =/a"]), []);
}

#[test]
fn a_prefix_is_taken_off_by_whole_segments() {
    let mut config = route(0, "* * /orders");
    config.rewrite.strip_prefix = Some("/orders".into());
    let router = Router::new(&[config]).unwrap();
    let route = router.find("h", "/orders", &Method::GET).unwrap();
    assert_eq!(route.upstream_path("/orders"), "/");
    assert_eq!(route.upstream_path("/orders/"), "/");
    assert_eq!(route.upstream_path("/orders/42"), "/42");
    assert_eq!(route.upstream_path("/ordersX"), "/ordersX");
}

/// The rules read out: of all routes that match, the first in the order of their ranks.
fn slow(routes: &[config::Route], host: &str, path: &str, method: &Method) -> Option<usize> {
    let rank = |(index, route): (usize, &config::Route)| {
        let m = &route.matches;
        let by_host = m.hosts.iter().any(|h| h == host);
        let by_method = m.methods.contains(method);
        let by_path = match m.path() {
            PathMatch::Exact(exact) => (exact == path).then_some((1, exact.len())),
            PathMatch::Prefix("/") => Some((0, 0)),
            PathMatch::Prefix(prefix) => {
                (path == prefix || path.starts_with(&format!("{prefix}/"))).then_some((0, prefix.len()))
            }
        };
        let matches = (by_host || m.hosts.is_empty()) && (by_method || m.methods.is_empty());
        by_path.filter(|_| matches).map(|by_path| (by_host, by_path, by_method, index))
    };
    routes.iter().enumerate().filter_map(rank).max().map(|(.., index)| index)
}

fn rule() -> impl Strategy<Value = String> {
    let host = prop::sample::select(vec!["*", "a", "b", "a,b"]);
    let method = prop::sample::select(vec!["*", "GET", "POST", "GET,POST"]);
    let segment = prop::sample::select(vec!["x", "y", "xy"]);
    let path = prop::collection::vec(segment, 0..4).prop_map(|segments| format!("/{}", segments.join("/")));
    (host, method, prop::bool::ANY, path).prop_map(|(host, method, exact, path)| {
        format!("{host} {method} {}{path}", if exact { "=" } else { "" })
    })
}

#[test]
fn parameters_of_a_path_take_no_other_route() {
    let router = Router::new(&routes(&["* * /", "* * /admin", "* GET /get"])).unwrap();
    let take = |path: &str| router.take("h", path, &Method::GET).map(|route| route.map(|route| route.index));
    for (path, taken) in [
        ("/admin/x;v=1", Ok(Some(1))),
        ("/other;v=1", Ok(Some(0))),
        ("/admin;v=1", Err(Refusal::Parameters)),
        ("/admin%3Bv=1/x", Err(Refusal::Parameters)),
        ("/;x/admin", Err(Refusal::Parameters)),
        ("/get;/x", Err(Refusal::Parameters)),
    ] {
        assert_eq!(take(path), taken, "{path}");
    }
    let narrow = Router::new(&routes(&["* * =/a;b"])).unwrap();
    assert!(narrow.take("h", "/a;b", &Method::GET).is_err());
    assert_eq!(narrow.take("h", "/a", &Method::GET).map(|route| route.is_some()), Ok(false));
}

proptest! {
    #[test]
    fn a_router_agrees_with_the_rules(
        rules in prop::collection::vec(rule(), 1..10),
        asked in prop::collection::vec(("[abc]", "(/(x|y|xy|z)?){1,5}", prop::bool::ANY), 20),
    ) {
        // Keep what does not tie with those before.
        let mut kept: Vec<config::Route> = Vec::new();
        for rule in &rules {
            kept.push(route(kept.len(), rule));
            if Router::new(&kept).is_err() {
                kept.pop();
            }
        }
        let router = Router::new(&kept).unwrap();
        for (host, path, get) in asked {
            let method = if get { Method::GET } else { Method::POST };
            prop_assert_eq!(found(&router, &host, &path, method.clone()), slow(&kept, &host, &path, &method));
        }
    }
}
