//! `durability`: what must be certain of a request's evidence before the request is served.
//!
//! It can be written for the whole gateway and for a route. Of what is written, the stricter holds: whoever answers
//! for the gateway sets a floor, and no route gets below it.

use schemars::JsonSchema;
use serde::Serialize;

use super::error::{ConfigError, ErrorKind, Problem, Problems};
use super::read::{Choice, Choices};
use super::{Config, Route};

/// What must be durable before the upstream sees a request.
// Ordered: what compares greater is stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Nothing: a request is served even where no record can be kept of it, and the loss is declared.
    BestEffort,
    /// A place for the record is reserved; without one, the request is refused. A crash loses at most
    /// `sync_interval` of records.
    Buffered,
    /// A `received` record is synced; without one, the request is refused. A crash loses nothing that was forwarded.
    Strict,
}

impl Durability {
    /// The word in the configuration, in `/status` and in `sealgate explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Durability::BestEffort => "best_effort",
            Durability::Buffered => "buffered",
            Durability::Strict => "strict",
        }
    }
}

/// Where the durability of a request was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenIn {
    /// `routes[].audit.durability`, which is the only one, or the stricter.
    Route,
    /// `audit.durability`, which is the only one, or not the laxer.
    Audit,
    /// Nowhere.
    Nowhere,
}

impl Config {
    /// What holds for the requests that no route takes.
    pub fn durability(&self) -> Durability {
        self.audit.durability.unwrap_or(Durability::Buffered)
    }

    /// What holds for the requests of a route, and where that was written.
    pub fn durability_of(&self, route: &Route) -> (Durability, WrittenIn) {
        match (route.audit.durability, self.audit.durability) {
            (Some(of_route), of_all) if Some(of_route) > of_all => (of_route, WrittenIn::Route),
            (_, Some(of_all)) => (of_all, WrittenIn::Audit),
            (_, None) => (Durability::Buffered, WrittenIn::Nowhere),
        }
    }

    /// What is written in the configuration and has no effect, sorted by place. It is no error: that the gateway is
    /// made stricter for a while must not need every route to be edited.
    pub fn warnings(&self) -> Vec<Problem> {
        let of_all = self.audit.durability;
        let weaker = |route: &Route| route.audit.durability.is_some_and(|own| Some(own) < of_all);
        let of_all = of_all.map_or("", Durability::as_str);
        let at = self.at("audit.durability");
        let routes = self.routes.iter().enumerate().filter(|(_, route)| weaker(route));
        let warnings = routes.map(|(index, _)| {
            let rule = format!("`audit.durability` ({at}) is `{of_all}`, and the stricter of the two holds");
            let error = self.error_at(&format!("routes[{index}].audit.durability"), rule);
            ConfigError { kind: ErrorKind::NoEffect, ..error }
        });
        Problems::sorted(
            warnings.chain(self.idle_redactions()).chain(self.idle_providers()).collect(),
            &self.loaded.files,
        )
    }
}

impl Choice for Durability {
    const EXPECTED: &'static str = "`strict`, `buffered` or `best_effort`";
    const CHOICES: Choices<Self> =
        &[("strict", Self::Strict), ("buffered", Self::Buffered), ("best_effort", Self::BestEffort)];
    const LATER: &'static [&'static str] = &[];
}

#[cfg(test)]
mod tests {
    use super::Durability::{BestEffort, Buffered, Strict};
    use super::*;

    fn config(of_all: Option<&str>, of_route: Option<&str>) -> Config {
        let written =
            |word: Option<&str>| word.map(|word| format!(", durability: {word}")).unwrap_or_default();
        let text = format!(
            "version: 1
listen: [{{ name: a, address: 127.0.0.1:0 }}]
upstreams: {{ u: {{ endpoints: {{ static: [127.0.0.1:1] }} }} }}
routes: [{{ name: r, match: {{ path: / }}, upstream: u, auth: none, audit: {{ query: keys{} }} }}]
audit: {{ log: l/g, key: {{ file: k }}, spool: {{ path: s }}, store: {{ directory: d }}{} }}
",
            written(of_route),
            written(of_all),
        );
        Config::from_text("x", text).expect("a configuration")
    }

    #[test]
    fn of_what_is_written_the_stricter_holds() {
        let words = [None, Some("best_effort"), Some("buffered"), Some("strict")];
        let expected = [
            [
                (Buffered, WrittenIn::Nowhere),
                (BestEffort, WrittenIn::Route),
                (Buffered, WrittenIn::Route),
                (Strict, WrittenIn::Route),
            ],
            [
                (BestEffort, WrittenIn::Audit),
                (BestEffort, WrittenIn::Audit),
                (Buffered, WrittenIn::Route),
                (Strict, WrittenIn::Route),
            ],
            [
                (Buffered, WrittenIn::Audit),
                (Buffered, WrittenIn::Audit),
                (Buffered, WrittenIn::Audit),
                (Strict, WrittenIn::Route),
            ],
            [
                (Strict, WrittenIn::Audit),
                (Strict, WrittenIn::Audit),
                (Strict, WrittenIn::Audit),
                (Strict, WrittenIn::Audit),
            ],
        ];
        for (of_all, row) in words.into_iter().zip(expected) {
            for (of_route, expected) in words.into_iter().zip(row) {
                let config = config(of_all, of_route);
                assert_eq!(config.durability_of(&config.routes[0]), expected, "{of_all:?} {of_route:?}");
            }
        }
    }

    #[test]
    fn what_has_no_effect_is_told_with_its_place_and_is_no_error() {
        let warned = |of_all, of_route| {
            let warnings = config(of_all, of_route).warnings();
            warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            warned(Some("strict"), Some("best_effort")),
            [
                "x:4:100: warning: no effect of `durability` in routes[0].audit (value: best_effort): `audit.durability` (line 5) is `strict`, and the stricter of the two holds"
            ]
        );
        for (of_all, of_route) in [
            (Some("strict"), Some("strict")),
            (Some("buffered"), Some("strict")),
            (None, Some("best_effort")),
            (Some("strict"), None),
        ] {
            assert_eq!(warned(of_all, of_route), Vec::<String>::new());
        }
    }
}
