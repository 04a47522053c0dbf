use std::sync::Arc;

use audit_writer::record::ActorId;

use super::*;
use crate::config::Name;
use crate::identity::Scheme;

fn allow(name: &str) -> Allow {
    Allow {
        name: Name::parse(name).expect("a name"),
        actors: Vec::new(),
        groups: Vec::new(),
        methods: Vec::new(),
        paths: Vec::new(),
        sources: Vec::new(),
    }
}

fn rules(allow: &[Allow]) -> Vec<Rule> {
    allow.iter().map(|allow| Rule::new(allow).expect("a rule")).collect()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn principal(id: &str, groups: &[&str]) -> Principal {
    Principal {
        id: ActorId::new(id),
        scheme: Scheme::Jwt,
        provider: Arc::from("corp"),
        groups: groups.iter().map(|group| Box::from(*group)).collect(),
    }
}

fn question<'a>(principal: Option<&'a Principal>, method: &'a Method, path: &'a str) -> Question<'a> {
    Question { principal, method, path, source: Some([203, 0, 113, 9].into()) }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = rules(&[
        Allow { groups: texts(&["ops", "audit"]), methods: vec![Method::GET], ..allow("ops-read") },
        Allow { actors: texts(&["svc-billing", "root"]), ..allow("billing") },
        Allow { paths: vec!["/orders/public/*".parse().expect("a glob")], ..allow("public") },
        Allow { sources: vec!["10.0.0.0/8".parse().expect("a network")], ..allow("inside") },
    ]);
    let decide =
        |who: Option<&Principal>, method: Method, path: &str| decide(&rules, &question(who, &method, path));
    let ops = principal("alice@example.com", &["dev", "ops"]);
    let root = principal("root", &["audit"]);
    let nobody = principal("mallory", &["OPS", "op", "opss"]);
    assert_eq!(decide(Some(&ops), Method::GET, "/orders/1"), Some(Decided::Allowed(Some(0))));
    assert_eq!(decide(Some(&ops), Method::POST, "/orders/1"), Some(Decided::Denied));
    assert_eq!(decide(Some(&root), Method::GET, "/orders/1"), Some(Decided::Allowed(Some(0))));
    assert_eq!(decide(Some(&root), Method::POST, "/orders/1"), Some(Decided::Allowed(Some(1))));
    assert_eq!(decide(Some(&nobody), Method::GET, "/orders/1"), Some(Decided::Denied));
    assert_eq!(decide(Some(&nobody), Method::GET, "/orders/public/1"), Some(Decided::Allowed(Some(2))));
    assert_eq!(decide(None, Method::GET, "/orders/public/1"), Some(Decided::Allowed(Some(2))));
    assert_eq!(decide(None, Method::GET, "/orders/public/1/2"), Some(Decided::Denied));
    let inside = Question { source: Some([10, 9, 8, 7].into()), ..question(None, &Method::GET, "/orders/1") };
    assert_eq!(super::decide(&rules, &inside), Some(Decided::Allowed(Some(3))));
    assert_eq!(Decided::Allowed(Some(1)).told(&rules).rule, Some("billing"));
}

#[test]
fn without_rules_whoever_is_known_may_and_where_nobody_has_to_be_known_nothing_is_decided() {
    let alice = principal("alice@example.com", &[]);
    assert_eq!(decide(&[], &question(Some(&alice), &Method::GET, "/")), Some(Decided::Allowed(None)));
    assert_eq!(decide(&[], &question(None, &Method::GET, "/")), None);
}

#[test]
fn all_that_a_rule_gives_must_match() {
    let whole = Allow {
        actors: texts(&["alice"]),
        groups: texts(&["ops"]),
        methods: vec![Method::GET],
        paths: vec!["/a/*".parse().expect("a glob")],
        sources: vec!["203.0.113.0/24".parse().expect("a network")],
        ..allow("whole")
    };
    let rule = &rules(&[whole])[0];
    let alice = principal("alice", &["ops"]);
    let fits = question(Some(&alice), &Method::GET, "/a/b");
    assert_eq!(rule.misses(&fits), []);
    for (miss, question) in [
        (Criterion::Sources, Question { source: None, ..fits }),
        (Criterion::Actors, Question { principal: Some(&principal("Alice", &["ops"])), ..fits }),
        (Criterion::Groups, Question { principal: Some(&principal("alice", &[])), ..fits }),
        (Criterion::Methods, Question { method: &Method::HEAD, ..fits }),
        (Criterion::Paths, Question { path: "/a/b/c", ..fits }),
        (Criterion::Paths, Question { path: "/a", ..fits }),
        (Criterion::Sources, Question { source: Some([203, 0, 114, 9].into()), ..fits }),
        (Criterion::Sources, Question { source: "::ffff:203.0.113.9".parse().ok(), ..fits }),
    ] {
        assert_eq!(rule.misses(&question), [miss], "{question:?}");
    }
}

#[test]
fn everything_that_does_not_match_is_told() {
    let strict = Allow { actors: texts(&["alice"]), groups: texts(&["ops"]), ..allow("strict") };
    let rule = &rules(&[strict])[0];
    let misses = rule.misses(&question(None, &Method::GET, "/"));
    assert_eq!(misses, [Criterion::Actors, Criterion::Groups]);
}

/// A servlet container takes `;…` off before it looks at a path, others do not.
#[test]
fn parameters_of_a_path_get_nobody_around_a_rule() {
    let rules = rules(&[Allow { paths: vec!["/**/*.css".parse().expect("a glob")], ..allow("styles") }]);
    let decide = |path: &str| decide(&rules, &question(None, &Method::GET, path));
    let allowed = Some(Decided::Allowed(Some(0)));
    assert_eq!(decide("/site/main.css"), allowed);
    assert_eq!(decide("/site;v=2/main.css"), allowed);
    assert_eq!(decide("/admin/users;x.css"), Some(Decided::Denied));
    assert_eq!(decide("/admin/users%3Bx.css"), Some(Decided::Denied));
    assert_eq!(decide("/admin/users/;.css"), Some(Decided::Denied));
    assert_eq!(decide("/main.css;x"), Some(Decided::Denied));
}
