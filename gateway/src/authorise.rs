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
    /// The client's address.
    pub source: IpAddr,
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
    let paths = (Candidate::new(question.path), bare.as_deref().map(Candidate::new));
    let place = rules.iter().position(|rule| rule.miss(question, &paths).is_none());
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
        source: exchange.client(),
    };
    let Some(decided) = capture.plan().and_then(|plan| decide(&plan.rules, &question)) else { return Ok(()) };
    capture.set_decision(decided);
    match decided {
        Decided::Allowed(_) => Ok(()),
        Decided::Denied => Err(Problem::denied()),
    }
}

/// A path as it is, and without its parameters where it has some: servers differ in which of both they see.
type Paths<'a> = (Candidate<'a>, Option<Candidate<'a>>);

/// What of a rule does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// `actors`.
    Actor,
    /// `groups`.
    Groups,
    /// `methods`.
    Method,
    /// `paths`.
    Path,
    /// `sources`.
    Source,
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

    /// Why it does not match; `None` where it does.
    pub fn why_not(&self, question: &Question<'_>) -> Option<Miss> {
        let bare = normalise::without_parameters(question.path);
        self.miss(question, &(Candidate::new(question.path), bare.as_deref().map(Candidate::new)))
    }

    fn miss(&self, question: &Question<'_>, (path, bare): &Paths<'_>) -> Option<Miss> {
        let principal = question.principal;
        let is_actor = || principal.is_some_and(|principal| has(&self.actors, principal.id.as_str()));
        let in_group = || {
            principal.is_some_and(|principal| principal.groups.iter().any(|group| has(&self.groups, group)))
        };
        let fits = |globs: &GlobSet| {
            globs.is_match_candidate(path) && bare.as_ref().is_none_or(|bare| globs.is_match_candidate(bare))
        };
        if !self.actors.is_empty() && !is_actor() {
            return Some(Miss::Actor);
        }
        if !self.groups.is_empty() && !in_group() {
            return Some(Miss::Groups);
        }
        if !self.methods.is_empty() && !self.methods.contains(question.method) {
            return Some(Miss::Method);
        }
        if !self.sources.is_empty() && !self.sources.iter().any(|network| network.contains(&question.source))
        {
            return Some(Miss::Source);
        }
        self.paths.as_ref().filter(|globs| !fits(globs)).map(|_| Miss::Path)
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
