//! Who asks: identity providers, and whom they vouch for.

use std::sync::Arc;

use audit_writer::record::{Actor, ActorId};

/// Bytes of the longest id of an actor.
pub const MAX_ACTOR: usize = 256;

/// Bytes of the longest name of a group.
pub const MAX_GROUP: usize = 128;

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
