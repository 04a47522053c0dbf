//! `identity`: who vouches for those who ask.

mod files;
mod jwt;

use std::path::PathBuf;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Serialize;

use super::node::Node;
use super::read::{Choice, Choices};
use super::value::Name;
use super::walk::{Read, ReadText, Unreadable, Walk};
use super::written::HeaderText;

pub use jwt::{Algorithm, Jwks, Jwt};

/// One who vouches: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Signed tokens: `Authorization: Bearer …` (RFC 6750, RFC 7519).
    Jwt(Jwt),
    /// Client certificates that a listener has verified.
    Mtls(Mtls),
    /// Keys of which only the hashes are known here.
    ApiKey(ApiKeys),
    /// The headers of a proxy in front that has proven itself.
    Header(EdgeHeaders),
}

/// Whom a client certificate speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Mtls {
    /// What of it is the actor's id.
    pub actor: CertificateActor,
    /// The trust domain of SPIFFE ids. With `actor: spiffe_id`, and there it must be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
}

/// What of a client certificate is the actor's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateActor {
    /// Its SPIFFE id.
    SpiffeId,
    /// Its one DNS name.
    SanDns,
    /// Its subject (RFC 4514).
    Subject,
}

/// Which keys are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ApiKeys {
    /// The header that holds a key.
    #[serde(serialize_with = "HeaderText::serialize")]
    #[schemars(with = "HeaderText")]
    pub header: HeaderName,
    /// The file with the SHA-256 of each key, and whose it is.
    pub file: PathBuf,
}

/// The headers in which a proxy in front says who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EdgeHeaders {
    /// The header that holds the actor's id.
    #[serde(serialize_with = "HeaderText::serialize")]
    #[schemars(with = "HeaderText")]
    pub actor: HeaderName,
    /// The header that holds the actor's groups, with commas between them.
    #[serde(serialize_with = "HeaderText::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<HeaderText>")]
    pub groups: Option<HeaderName>,
    /// The provider that vouches for the proxy itself: only then do its headers count.
    pub only_from: Name,
}

impl Provider {
    /// The headers that it reads, which no record may keep and no client may send on.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        let (first, second) = match self {
            Provider::Jwt(_) | Provider::Mtls(_) => (None, None),
            Provider::ApiKey(keys) => (Some(&keys.header), None),
            Provider::Header(edge) => (Some(&edge.actor), edge.groups.as_ref()),
        };
        first.into_iter().chain(second)
    }
}

/// The keys of which a provider has one.
const KINDS: [&str; 4] = ["jwt", "mtls", "api_key", "header"];

impl Read for Provider {
    const EXPECTED: &'static str = "a provider: one of `jwt`, `mtls`, `api_key`, `header`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut provider = walk.mapping(node, path, Self::EXPECTED)?;
        let jwt = provider.optional("jwt").map(Provider::Jwt);
        let mtls = provider.optional("mtls").map(Provider::Mtls);
        let api_key = provider.optional("api_key").map(Provider::ApiKey);
        let header = provider.optional("header").map(Provider::Header);
        let given = KINDS.iter().filter(|kind| provider.has(kind)).count();
        provider.finish();
        if given != 1 {
            walk.bad_value(path, "expected exactly one of `jwt`, `mtls`, `api_key`, `header`", None);
            return None;
        }
        jwt.or(mtls).or(api_key).or(header)
    }
}

impl Read for Mtls {
    const EXPECTED: &'static str = "a mapping with `actor`, `trust_domain`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut mtls = walk.mapping(node, path, Self::EXPECTED)?;
        let actor = mtls.required("actor");
        let trust_domain = mtls.optional("trust_domain").map(|TrustDomain(domain)| domain);
        match actor {
            Some(CertificateActor::SpiffeId) if !mtls.has("trust_domain") => {
                let rule = "expected the trust domain whose SPIFFE ids are believed, such as `example.org`";
                mtls.missing("trust_domain", rule);
            }
            Some(CertificateActor::SanDns | CertificateActor::Subject) if mtls.has("trust_domain") => {
                mtls.bad_value("trust_domain", "expected only beside `actor: spiffe_id`");
            }
            _ => {}
        }
        mtls.finish();
        Some(Mtls { actor: actor?, trust_domain })
    }
}

/// The trust domain of SPIFFE ids (SPIFFE-ID, section 2.1).
struct TrustDomain(String);

impl ReadText for TrustDomain {
    const EXPECTED: &'static str = "a trust domain such as `example.org`, in lower case";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if !text.is_empty() && text.len() <= 255 && text.bytes().all(plain) {
            return Ok(TrustDomain(text.to_owned()));
        }
        let bare = text.strip_prefix("spiffe://").unwrap_or(text).trim_end_matches('/').to_lowercase();
        let meant = (!bare.is_empty() && bare.bytes().all(plain)).then_some(bare);
        Err(Unreadable::default().meant(meant))
    }
}

impl Choice for CertificateActor {
    const EXPECTED: &'static str = "`spiffe_id`, `san_dns` or `subject`";
    const CHOICES: Choices<Self> =
        &[("spiffe_id", Self::SpiffeId), ("san_dns", Self::SanDns), ("subject", Self::Subject)];
    const LATER: &'static [&'static str] = &[];
}

impl Read for ApiKeys {
    const EXPECTED: &'static str = "a mapping with `header` and `file`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut keys = walk.mapping(node, path, Self::EXPECTED)?;
        let header: Option<OwnHeader> = keys.required("header");
        let file = keys.required("file");
        keys.finish();
        Some(ApiKeys { header: header?.0, file: file? })
    }
}

impl Read for EdgeHeaders {
    const EXPECTED: &'static str = "a mapping with `actor`, `groups`, `only_from`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut edge = walk.mapping(node, path, Self::EXPECTED)?;
        let actor: Option<OwnHeader> = edge.required("actor");
        let groups = edge.optional("groups").map(|OwnHeader(name)| name);
        let only_from = edge.required("only_from");
        if groups.is_some() && groups.as_ref() == actor.as_ref().map(|OwnHeader(name)| name) {
            edge.bad_value("groups", "expected another header than `actor`");
        }
        edge.finish();
        Some(EdgeHeaders { actor: actor?.0, groups, only_from: only_from? })
    }
}

/// Headers that have a meaning of their own in HTTP, or for the gateway: none of them names an identity.
const TAKEN: [&str; 20] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "expect",
    "forwarded",
    "x-forwarded-for",
    "x-request-id",
    "traceparent",
    "tracestate",
];

/// A header that is an identity provider's own.
struct OwnHeader(HeaderName);

impl ReadText for OwnHeader {
    const EXPECTED: &'static str = "the name of a header, such as `x-api-key`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        let header = HeaderName::from_bytes(text.as_bytes()).map_err(|_| Unreadable::default())?;
        if TAKEN.contains(&header.as_str()) {
            return Err(Unreadable::rule("expected another header: this one has a meaning of its own"));
        }
        Ok(OwnHeader(header))
    }
}
