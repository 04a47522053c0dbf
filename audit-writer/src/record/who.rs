//! Who asked, how the connection was secured, and what was decided.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// The id of an actor: shared, so that a record can carry it to the writer without a copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActorId(Arc<str>);

impl ActorId {
    /// An actor's id.
    pub fn new(id: &str) -> ActorId {
        ActorId(id.into())
    }
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for ActorId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl JsonSchema for ActorId {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "ActorId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Who asked, as an identity provider vouches for it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Actor<'a> {
    /// The actor's id, by which rules and searches name it.
    pub id: &'a ActorId,
    /// How it proved who it is: `jwt`, `mtls`, `api_key` or `header`.
    pub scheme: &'a str,
    /// The name of the identity provider.
    pub provider: &'a str,
    /// The groups that the provider says it is in.
    #[serde(skip_serializing_if = "is_empty")]
    pub groups: &'a [Box<str>],
}

/// How the client's connection was secured (RFC 8446, RFC 5246).
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls<'a> {
    /// `TLSv1.3` or `TLSv1.2`; absent where the handshake did not come so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'a str>,
    /// The cipher suite, by its IANA name; absent where the handshake did not come so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher: Option<&'a str>,
    /// The server name that the client asked for (RFC 6066, section 3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<&'a str>,
    /// SHA-256 of the client's certificate (DER), 64 hex digits; present where one was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_sha256: Option<&'a str>,
    /// Its subject (RFC 4514).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_subject: Option<&'a str>,
    /// Its subject alternative names, each with its type before it: `DNS:…`, `URI:…`, `email:…`, `IP:…`.
    #[serde(skip_serializing_if = "is_empty")]
    pub client_cert_san: &'a [Box<str>],
    /// Its SPIFFE id, where its one URI is such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_spiffe_id: Option<&'a str>,
}

/// What was decided about a request, and by which rule.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision<'a> {
    /// Whether it was let in.
    pub outcome: Outcome,
    /// The name of the rule that decided; absent where none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
}

/// Whether a request was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was.
    Allow,
    /// It was not: nobody vouched for its sender (401), or no rule lets the sender do this (403).
    Deny,
}

fn is_empty<T>(list: &&[T]) -> bool {
    list.is_empty()
}
