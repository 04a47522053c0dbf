//! `routes[].auth`: whose word lets somebody in; and that providers and routes go together.

use schemars::JsonSchema;
use serde::Serialize;

use super::Config;
use super::error::{ConfigError, ErrorKind};
use super::identity::Provider;
use super::load::Parts;
use super::node::{Content, Node};
use super::value::Name;
use super::walk::{Read, Walk, nearest};

/// Who may use a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Everybody.
    None,
    /// Whoever one of these providers vouches for; the first that does decides who it is.
    #[schemars(with = "Providers")]
    AnyOf(Vec<Name>),
}

/// The names of providers, for the schema.
#[derive(JsonSchema)]
struct Providers(
    #[schemars(length(min = 1))]
    #[allow(dead_code, reason = "its type alone is used")]
    Vec<Name>,
);

impl Auth {
    /// The providers that are asked, in this order.
    pub fn providers(&self) -> &[Name] {
        match self {
            Auth::None => &[],
            Auth::AnyOf(names) => names,
        }
    }
}

impl Read for Auth {
    const EXPECTED: &'static str = "`none` or `{ any_of: […] }`: whom a route lets in must be written out";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        match &node.content {
            Content::Mapping(_) => {
                let mut auth = walk.mapping(node, path, Self::EXPECTED)?;
                let any_of: Option<Vec<Name>> = auth.required("any_of");
                if auth.is_empty_list("any_of") {
                    auth.bad_value("any_of", "expected at least one; `auth: none` lets everybody in");
                }
                auth.distinct("any_of", any_of.as_deref().unwrap_or_default());
                auth.finish();
                Some(Auth::AnyOf(any_of?))
            }
            Content::Scalar(_) => {
                let word = walk.text(node, path, Self::EXPECTED)?;
                if word == "none" {
                    return Some(Auth::None);
                }
                let meant = nearest(&word, ["none"]).map(str::to_owned);
                walk.bad_value(path, format!("expected {}", Self::EXPECTED), meant);
                None
            }
            Content::Sequence(_) => {
                walk.bad_value(path, format!("expected {}", Self::EXPECTED), None);
                None
            }
        }
    }
}

/// Keeps an error for each name of a provider that there is none of, and for each route that would record credentials.
pub(super) fn check(parts: &Parts, walk: &mut Walk<'_>) {
    let declared = parts.identity.as_ref().map(|identity| identity.declared.as_slice()).unwrap_or_default();
    for index in 0..walk.items("routes") {
        let list = format!("routes[{index}].auth.any_of");
        for item in 0..walk.items(&list) {
            provider_exists(declared, &format!("{list}[{item}]"), walk);
        }
    }
    let Some(identity) = &parts.identity else { return };
    for (name, provider) in &identity.by_name {
        let Provider::Header(edge) = provider else { continue };
        let path = format!("identity.{name}.header.only_from");
        provider_exists(declared, &path, walk);
        if matches!(identity.by_name.get(&edge.only_from), Some(Provider::Header(_))) {
            walk.bad_value(
                &path,
                "expected a provider of another kind: headers prove nothing by themselves",
                None,
            );
        }
    }
    for (index, route) in parts.routes.present() {
        for (item, header) in route.audit.headers.iter().enumerate() {
            let owner =
                identity.by_name.iter().find(|(_, provider)| provider.headers().any(|own| own == header));
            if let Some((name, _)) = owner {
                let rule =
                    format!("expected a header that no identity provider reads: this is one of `{name}`");
                walk.bad_value(&format!("routes[{index}].audit.headers[{item}]"), rule, None);
            }
        }
    }
}

fn provider_exists(declared: &[String], path: &str, walk: &mut Walk<'_>) {
    let Some(name) = walk.resolved(path).map(str::to_owned) else { return };
    if !declared.contains(&name) {
        let meant = nearest(&name, declared.iter().map(String::as_str)).map(str::to_owned);
        walk.bad_value(path, "expected the name of one of `identity`", meant);
    }
}

impl Config {
    /// Providers that nobody asks.
    pub(super) fn idle_providers(&self) -> impl Iterator<Item = ConfigError> {
        let asked = |name: &Name| {
            let by_route = self.routes.iter().any(|route| route.auth.providers().contains(name));
            let by_header =
                |provider: &Provider| matches!(provider, Provider::Header(edge) if edge.only_from == *name);
            by_route || self.identity.values().any(by_header)
        };
        self.identity.keys().filter(move |name| !asked(name)).map(|name| {
            let rule =
                "no route names this provider: put it into a route's `auth: { any_of: […] }`".to_owned();
            ConfigError { kind: ErrorKind::NoEffect, ..self.error_at(&format!("identity.{name}"), rule) }
        })
    }
}
