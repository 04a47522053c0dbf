//! Who may do what: a route's rules, of which the first that matches decides.
//!
//! A rule matches where everything that it gives matches; of each list, any one. Where a route has rules and none
//! matches, the request is denied. Nothing here allocates, waits or locks, but for a path with parameters (`;…`),
//! which is also matched without them.

mod glob;

use std::net::IpAddr;

use audit_writer::record::{Decision, Outcome};
use globset::{Candidate, GlobSet};
use http::Method;
use ipnet::IpNet;

use crate::capture::Capture;
use crate::config::Allow;
use crate::identity::Principal;
use crate::normalise;
use crate::problem::Problem;

pub use glob::{GlobError, MAX_GLOB, PathGlob};

/// A rule at work. An empty list stands for one that is not given.
#[derive(Debug)]
pub struct Rule {
    /// Its name, as records have it.
    pub name: Box<str>,
    /// Sorted.
    actors: Box<[Box<str>]>,
    /// Sorted.
    groups: Box<[Box<str>]>,
    methods: Box<[Method]>,
    paths: Option<GlobSet>,
    sources: Box<[IpNet]>,
}

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who asks, where an identity provider vouches for somebody.
    pub principal: Option<&'a Principal>,
    /// The method, as received.
    pub method: &'a Method,
    /// The normalised path.
    pub path: &'a str,
    /// The client's address; `None` where it is not known, and in no network.
    pub source: Option<IpAddr>,
}

/// What was decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// It is let in: by the rule of this place in its route's list, or, where the route has none, because somebody
    /// vouched for its sender.
    Allowed(Option<usize>),
    /// It is not.
    Denied,
}

/// Decides by a route's rules; `None` where there is nothing to decide: no rules, and nobody who had to be known.
pub fn decide(rules: &[Rule], question: &Question<'_>) -> Option<Decided> {
    if rules.is_empty() {
        return question.principal.map(|_| Decided::Allowed(None));
    }
    let bare = normalise::without_parameters(question.path);
    let asked = Asked::new(question, bare.as_deref());
    let place = rules.iter().position(|rule| rule.matches(&asked));
    Some(place.map_or(Decided::Denied, |place| Decided::Allowed(Some(place))))
}

/// Decides about a request whose route is taken, by that route's rules.
///
/// # Errors
///
/// The answer to one that is denied.
pub fn authorise(capture: &mut Capture) -> Result<(), Problem> {
    let exchange = capture.exchange();
    let question = Question {
        principal: exchange.principal.as_deref(),
        method: &exchange.asked.method,
        path: exchange.asked.path(),
        source: Some(exchange.client()),
    };
    let Some(decided) = capture.plan().and_then(|plan| decide(&plan.rules, &question)) else { return Ok(()) };
    capture.set_decision(decided);
    match decided {
        Decided::Allowed(_) => Ok(()),
        Decided::Denied => Err(Problem::denied()),
    }
}

/// What rules look at, with the path as it is, and without its parameters where it has some: servers differ in which
/// of both they see.
struct Asked<'a> {
    question: &'a Question<'a>,
    path: Candidate<'a>,
    bare: Option<Candidate<'a>>,
}

impl<'a> Asked<'a> {
    fn new(question: &'a Question<'a>, bare: Option<&'a str>) -> Asked<'a> {
        Asked { question, path: Candidate::new(question.path), bare: bare.map(Candidate::new) }
    }
}

/// What a rule may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criterion {
    /// `actors`.
    Actors,
    /// `groups`.
    Groups,
    /// `methods`.
    Methods,
    /// `sources`.
    Sources,
    /// `paths`.
    Paths,
}

impl Criterion {
    /// All of them; the one that takes longest is the last.
    const ALL: [Criterion; 5] =
        [Criterion::Actors, Criterion::Groups, Criterion::Methods, Criterion::Sources, Criterion::Paths];
}

impl Rule {
    /// The rule that the configuration gives.
    ///
    /// # Errors
    ///
    /// Its globs are too much for one set.
    pub fn new(allow: &Allow) -> Result<Rule, globset::Error> {
        let paths = (!allow.paths.is_empty()).then(|| GlobSet::new(allow.paths.iter().map(PathGlob::glob)));
        Ok(Rule {
            name: allow.name.as_str().into(),
            actors: sorted(&allow.actors),
            groups: sorted(&allow.groups),
            methods: allow.methods.iter().cloned().collect(),
            paths: paths.transpose()?,
            sources: allow.sources.iter().copied().collect(),
        })
    }

    /// Everything of it that does not match; nothing where the rule does.
    pub fn misses(&self, question: &Question<'_>) -> Vec<Criterion> {
        let bare = normalise::without_parameters(question.path);
        let asked = Asked::new(question, bare.as_deref());
        Criterion::ALL.into_iter().filter(|criterion| !self.meets(*criterion, &asked)).collect()
    }

    fn matches(&self, asked: &Asked<'_>) -> bool {
        Criterion::ALL.into_iter().all(|criterion| self.meets(criterion, asked))
    }

    fn meets(&self, criterion: Criterion, asked: &Asked<'_>) -> bool {
        let Question { principal, method, source, .. } = *asked.question;
        match criterion {
            Criterion::Actors => {
                self.actors.is_empty()
                    || principal.is_some_and(|principal| has(&self.actors, principal.id.as_str()))
            }
            Criterion::Groups => {
                self.groups.is_empty()
                    || principal.is_some_and(|principal| {
                        principal.groups.iter().any(|group| has(&self.groups, group))
                    })
            }
            Criterion::Methods => self.methods.is_empty() || self.methods.contains(method),
            Criterion::Sources => {
                self.sources.is_empty()
                    || source
                        .is_some_and(|source| self.sources.iter().any(|network| network.contains(&source)))
            }
            Criterion::Paths => self.paths.as_ref().is_none_or(|globs| {
                globs.is_match_candidate(&asked.path)
                    && asked.bare.as_ref().is_none_or(|bare| globs.is_match_candidate(bare))
            }),
        }
    }
}

fn sorted(texts: &[String]) -> Box<[Box<str>]> {
    let mut sorted: Box<[Box<str>]> = texts.iter().map(|text| text.as_str().into()).collect();
    sorted.sort_unstable();
    sorted
}

fn has(sorted: &[Box<str>], text: &str) -> bool {
    sorted.binary_search_by(|one| (**one).cmp(text)).is_ok()
}

impl Decided {
    /// As records tell it; `rules` are the route's.
    pub fn told(self, rules: &[Rule]) -> Decision<'_> {
        match self {
            Decided::Allowed(place) => Decision {
                outcome: Outcome::Allow,
                rule: place.and_then(|place| rules.get(place)).map(|rule| &*rule.name),
            },
            Decided::Denied => Decision { outcome: Outcome::Deny, rule: None },
        }
    }
}

#[cfg(test)]
mod tests;
