//! `routes[].allow`: the rules that say who may do what.

use globset::GlobSet;
use http::Method;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Serialize;

use super::node::Node;
use super::value::Name;
use super::walk::{Read, ReadText, Unreadable, Walk};
use super::written::{GlobTexts, MethodTexts, NetworkTexts};
use crate::authorise::{GlobError, PathGlob};
use crate::identity::{MAX_ACTOR, MAX_GROUP};

/// A rule: lets in what matches everything that it gives. Of each list any one; what is left out matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Allow {
    /// The record's field `decision.rule`.
    pub name: Name,
    /// The actors' ids, exactly.
    #[schemars(default)]
    pub actors: Vec<String>,
    /// The groups that an actor is in, at least one of them.
    #[schemars(default)]
    pub groups: Vec<String>,
    /// The methods.
    #[serde(with = "MethodTexts")]
    #[schemars(default)]
    pub methods: Vec<Method>,
    /// Globs over the normalised path: `*` within a segment, `**` for any number of segments. `/orders/**` is what lies
    /// below `/orders`, without itself.
    #[serde(with = "GlobTexts")]
    #[schemars(default)]
    pub paths: Vec<PathGlob>,
    /// Networks that the client's address is in.
    #[serde(with = "NetworkTexts")]
    #[schemars(default)]
    pub sources: Vec<IpNet>,
}

impl Read for Allow {
    const EXPECTED: &'static str = "a rule (`name`, `actors`, `groups`, `methods`, `paths`, `sources`)";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut rule = walk.mapping(node, path, Self::EXPECTED)?;
        let name = rule.required("name");
        let actors: Vec<ActorText> = rule.filled("actors");
        let actors: Vec<String> = actors.into_iter().map(|ActorText(actor)| actor).collect();
        let groups: Vec<GroupText> = rule.filled("groups");
        let groups: Vec<String> = groups.into_iter().map(|GroupText(group)| group).collect();
        let methods: Vec<Method> = rule.filled("methods");
        let paths: Vec<PathGlob> = rule.filled("paths");
        let sources: Vec<IpNet> = rule.filled("sources");
        rule.distinct("actors", &actors);
        rule.distinct("groups", &groups);
        rule.distinct("methods", &methods);
        rule.distinct("paths", &paths);
        rule.distinct("sources", &sources);
        if let Err(error) = GlobSet::new(paths.iter().map(PathGlob::glob)) {
            rule.bad_value("paths", format!("expected fewer or shorter globs: {error}"));
        }
        rule.finish();
        Some(Allow { name: name?, actors, groups, methods, paths, sources })
    }
}

/// The id of an actor.
struct ActorText(String);

impl ReadText for ActorText {
    const EXPECTED: &'static str = "an actor's id, such as `alice@example.com`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        bounded(text, MAX_ACTOR, "actor's id").map(ActorText)
    }
}

/// The name of a group.
struct GroupText(String);

impl ReadText for GroupText {
    const EXPECTED: &'static str = "the name of a group, such as `ops`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        bounded(text, MAX_GROUP, "group").map(GroupText)
    }
}

/// A text that somebody may be vouched for with.
fn bounded(text: &str, most: usize, what: &str) -> Result<String, Unreadable> {
    let text = String::read_text(text)?;
    if text.len() > most {
        return Err(Unreadable::rule(format!("expected at most {most} bytes: no {what} is longer")));
    }
    Ok(text)
}

impl ReadText for PathGlob {
    const EXPECTED: &'static str = "a glob over paths, such as `/orders/**`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        text.parse().map_err(|error: GlobError| {
            let meant = match &error {
                GlobError::OtherSpelling(meant) => Some(meant.clone()),
                GlobError::NoPath if !text.contains("://") => {
                    format!("/{text}").parse::<PathGlob>().ok().map(|glob| glob.to_string())
                }
                _ => None,
            };
            Unreadable::rule(error.to_string()).meant(meant)
        })
    }
}
