//! Who asks: identity providers, and whom they vouch for.
//!
//! A route names its providers, and they are asked in that order. Each looks at what the request presents to it, and
//! the first that vouches decides who asks. What one refuses, another may vouch for: an API key is good whatever stands
//! in `Authorization`. Where none vouches the request is answered 401, or 503 where one that was presented with
//! something cannot tell.
//!
//! Everything here runs on the threads that serve, and neither waits nor locks. Keys are read and fetched elsewhere,
//! and put behind an `ArcSwap`. No type here shows a credential or a key by `Debug`.

mod any_of;
mod api_key;
mod edge_header;
pub mod jwt;
mod metrics;
mod mtls;
mod presented;
mod providers;
mod refusal;

use std::sync::Arc;

use audit_writer::record::{Actor, ActorId};
use http::HeaderMap;

use crate::authorise::Decided;
use crate::capture::Capture;
use crate::problem::Problem;

pub use any_of::{AnyOf, Unidentified};
pub use metrics::{AuthCounters, AuthOutcome, IdentityMetrics};
pub use presented::Presented;
pub use providers::{Answer, Provider, Providers, StartError};
pub use refusal::Refusal;

/// Bytes of the longest id of an actor.
pub const MAX_ACTOR: usize = 256;

/// Bytes of the longest name of a group.
pub const MAX_GROUP: usize = 128;

/// The most groups that an actor is in.
pub const MAX_GROUPS: usize = 64;

/// Finds out who sent a request, for a route that wants to know.
///
/// # Errors
///
/// The answer to a request that nobody vouches for.
pub fn identify(headers: &HeaderMap, capture: &mut Capture) -> Result<(), Problem> {
    let Some(any_of) = capture.plan().and_then(|plan| plan.auth.as_ref()) else { return Ok(()) };
    let secured = capture.attempt.connection.secured.get();
    let certificate = secured.and_then(|secured| secured.client.as_ref());
    match any_of.identify(&Presented::now(headers, certificate)) {
        Ok(principal) => {
            capture.set_principal(principal);
            Ok(())
        }
        Err(Unidentified::Refused(refusal)) => {
            let problem = Problem::unauthenticated(refusal, any_of.challenge(refusal));
            capture.set_decision(Decided::Denied);
            Err(problem)
        }
        Err(Unidentified::Unavailable) => Err(Problem::identity_unavailable()),
    }
}

/// Somebody for whom an identity provider vouches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The actor's id.
    pub id: ActorId,
    /// How it proved who it is.
    pub scheme: Scheme,
    /// The name of the provider that vouches for it.
    pub provider: Arc<str>,
    /// The groups that the provider says it is in.
    pub groups: Box<[Box<str>]>,
}

impl Principal {
    /// As records tell it.
    pub fn told(&self) -> Actor<'_> {
        Actor { id: &self.id, scheme: self.scheme.as_str(), provider: &self.provider, groups: &self.groups }
    }

    /// The principal of these words of a provider's, unless they are beyond what may be told of anybody.
    fn bounded<'g>(
        provider: &Arc<str>,
        scheme: Scheme,
        id: &str,
        groups: impl Iterator<Item = &'g str>,
    ) -> Option<Principal> {
        let plain =
            |text: &str, most| !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control);
        let one_more_than_may_be = groups.take(MAX_GROUPS + 1);
        let groups: Option<Box<[Box<str>]>> =
            one_more_than_may_be.map(|group| plain(group, MAX_GROUP).then(|| group.into())).collect();
        let groups = groups.filter(|groups| groups.len() <= MAX_GROUPS)?;
        plain(id, MAX_ACTOR).then(|| Principal {
            id: ActorId::new(id),
            scheme,
            provider: provider.clone(),
            groups,
        })
    }
}

/// How somebody proves who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// A signed token (RFC 7519).
    Jwt,
    /// A client certificate.
    Mtls,
    /// A key that the gateway knows the hash of.
    ApiKey,
    /// The word of a proxy in front that has proven itself.
    Header,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Scheme; 4] = [Scheme::Jwt, Scheme::Mtls, Scheme::ApiKey, Scheme::Header];

    /// The word in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Jwt => "jwt",
            Scheme::Mtls => "mtls",
            Scheme::ApiKey => "api_key",
            Scheme::Header => "header",
        }
    }
}
