//! `routes[].auth`: whose word lets somebody in; and that providers and routes go together.

use http::HeaderName;
use schemars::JsonSchema;
use serde::Serialize;

use super::error::{ConfigError, ErrorKind};
use super::identity::Provider;
use super::load::{Named, Parts};
use super::node::{Content, Node};
use super::value::Name;
use super::walk::{Read, Walk, nearest};
use super::{ClientAuthMode, Config, Listener, Route};

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
        never_asked(identity, index, route, walk);
        let list = format!("routes[{index}].audit.headers");
        for item in 0..walk.items(&list) {
            let path = format!("{list}[{item}]");
            let header = walk.resolved(&path).and_then(|text| HeaderName::from_bytes(text.as_bytes()).ok());
            let reads = |provider: &Provider| provider.headers().any(|own| header.as_ref() == Some(own));
            if let Some((name, _)) = identity.by_name.iter().find(|(_, provider)| reads(provider)) {
                let rule =
                    format!("expected a header that no identity provider reads: this is one of `{name}`");
                walk.bad_value(&path, rule, None);
            }
        }
    }
}

/// A proxy's headers are asked before the provider that vouches for the proxy, or never: that one vouches first.
fn never_asked(identity: &Named<Provider>, index: usize, route: &Route, walk: &mut Walk<'_>) {
    let names = route.auth.providers();
    for (place, name) in names.iter().enumerate() {
        let Some(Provider::Header(edge)) = identity.by_name.get(name) else { continue };
        if names[..place].contains(&edge.only_from) {
            let rule = format!(
                "expected `{name}` before `{}`: that one vouches for the proxy itself, and the first that vouches decides",
                edge.only_from
            );
            walk.bad_value(&format!("routes[{index}].auth.any_of[{place}]"), rule, None);
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
    /// Providers that nobody asks, and those that nobody can present anything to.
    pub(super) fn idle_providers(&self) -> impl Iterator<Item = ConfigError> {
        let warning = |path: String, rule: &str| {
            Some(ConfigError { kind: ErrorKind::NoEffect, ..self.error_at(&path, rule.into()) })
        };
        let idle = move |name: &Name| {
            let rule = "no route names this provider: put it into a route's `auth: { any_of: […] }`";
            if self.is_asked(name) { None } else { warning(format!("identity.{name}"), rule) }
        };
        let asks = |listener: &Listener| {
            listener.tls.as_ref().is_some_and(|tls| tls.client_auth.mode != ClientAuthMode::Off)
        };
        let certificates = self.listen.iter().any(asks);
        let unreachable = move |name: &Name, provider: &Provider| {
            let rule = "no listener asks its clients for a certificate: give one `tls: { client_auth: … }`";
            let in_vain = matches!(provider, Provider::Mtls(_)) && !certificates;
            if in_vain { warning(format!("identity.{name}.mtls"), rule) } else { None }
        };
        self.identity
            .iter()
            .flat_map(move |(name, provider)| idle(name).into_iter().chain(unreachable(name, provider)))
    }

    /// Whether a route names a provider, or a proxy's headers stand on it.
    fn is_asked(&self, name: &Name) -> bool {
        let stands_on = |provider: &Provider| match provider {
            Provider::Header(edge) => edge.only_from == *name,
            Provider::Jwt(_) | Provider::Mtls(_) | Provider::ApiKey(_) => false,
        };
        self.routes.iter().any(|route| route.auth.providers().contains(name))
            || self.identity.values().any(stands_on)
    }
}
