//! Who may do what: a route's rules, of which the first that matches decides.

use audit_writer::record::{Decision, Outcome};

/// A rule at work.
#[derive(Debug)]
pub struct Rule {
    /// Its name, as records have it.
    pub name: Box<str>,
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
