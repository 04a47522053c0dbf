//! `identity`: who vouches for those who ask.

mod files;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderName, Uri};
use schemars::JsonSchema;
use serde::Serialize;

use super::node::Node;
use super::read::{Choice, Choices};
use super::value::{DurationText, Name};
use super::walk::{Read, ReadText, Unreadable, Walk};
use super::written::{HeaderText, UrlText};

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

/// Which tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Jwt {
    /// The only `iss`.
    pub issuer: String,
    /// Any of these must be in `aud`.
    #[schemars(length(min = 1))]
    pub audience: Vec<String>,
    /// The issuer's keys.
    pub jwks: Jwks,
    /// The algorithms of signatures that are believed.
    #[schemars(length(min = 1))]
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks of issuer and gateway may be apart; at most 5m.
    #[serde(with = "DurationText")]
    #[schemars(default = "default_leeway")]
    pub leeway: Duration,
    /// The claim that is the actor's id.
    #[schemars(default = "default_actor_claim")]
    pub actor_claim: String,
    /// The claim that holds the actor's groups: a text, or a list of them. It may be missing from a token.
    #[schemars(default = "default_groups_claim")]
    pub groups_claim: String,
}

fn default_leeway() -> String {
    "30s".into()
}

fn default_refresh() -> String {
    "10m".into()
}

fn default_actor_claim() -> String {
    "sub".into()
}

fn default_groups_claim() -> String {
    "groups".into()
}

/// Where a set of keys (JWKS, RFC 7517) comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(deny_unknown_fields)]
pub enum Jwks {
    /// From a file, which is read again when it changes.
    File {
        /// The file.
        file: PathBuf,
    },
    /// From a server, asked in the background.
    Url {
        /// Its `https://` URL; `http://` to this host alone.
        #[schemars(with = "UrlText")]
        url: String,
        /// How often it is asked.
        #[serde(with = "DurationText")]
        #[schemars(default = "default_refresh")]
        refresh: Duration,
        /// The authorities that may vouch for the server; those of the system when left out.
        #[serde(skip_serializing_if = "Option::is_none")]
        ca: Option<PathBuf>,
    },
}

/// An algorithm of signatures (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of at least 2,048 bits.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// EdDSA on Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// The word in tokens and in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }
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

impl Read for Jwt {
    const EXPECTED: &'static str = "a mapping with `issuer`, `audience`, `jwks`, `algorithms`, …";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        const MOST_LEEWAY: Duration = Duration::from_secs(300);
        let mut jwt = walk.mapping(node, path, Self::EXPECTED)?;
        let issuer = jwt.required("issuer");
        let audience: Option<Vec<String>> = jwt.required("audience");
        let jwks = jwt.required("jwks");
        let algorithms: Option<Vec<Algorithm>> = jwt.required("algorithms");
        let leeway = jwt.within("leeway", Duration::from_secs(30), Duration::ZERO..=MOST_LEEWAY);
        let actor_claim = jwt.or("actor_claim", default_actor_claim());
        let groups_claim = jwt.or("groups_claim", default_groups_claim());
        for list in ["audience", "algorithms"] {
            if jwt.is_empty_list(list) {
                jwt.bad_value(list, "expected at least one");
            }
        }
        jwt.distinct("audience", audience.as_deref().unwrap_or_default());
        jwt.distinct("algorithms", algorithms.as_deref().unwrap_or_default());
        jwt.finish();
        Some(Jwt {
            issuer: issuer?,
            audience: audience?,
            jwks: jwks?,
            algorithms: algorithms?,
            leeway,
            actor_claim,
            groups_claim,
        })
    }
}

impl Read for Jwks {
    const EXPECTED: &'static str = "a mapping with `url` or `file`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        const REFRESH: Duration = Duration::from_secs(600);
        let mut jwks = walk.mapping(node, path, Self::EXPECTED)?;
        let file = jwks.optional("file");
        let url: Option<JwksUrl> = jwks.optional("url");
        let refresh =
            jwks.within("refresh", REFRESH, Duration::from_secs(1)..=Duration::from_secs(24 * 3600));
        let ca = jwks.optional("ca");
        if jwks.has("file") {
            for other in ["url", "refresh", "ca"] {
                if jwks.has(other) {
                    jwks.bad_value(other, "expected `file` alone, or `url` with what belongs to it");
                }
            }
        } else if !jwks.has("url") {
            jwks.missing("url", "expected `url`, or `file`");
        }
        jwks.finish();
        match (file, url) {
            (Some(file), _) => Some(Jwks::File { file }),
            (None, Some(JwksUrl(url))) => Some(Jwks::Url { url, refresh, ca }),
            (None, None) => None,
        }
    }
}

/// Where a set of keys is fetched from.
struct JwksUrl(String);

impl Read for JwksUrl {
    const EXPECTED: &'static str = "a URL such as `https://id.example.com/jwks`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let text = walk.text(node, path, Self::EXPECTED)?;
        let uri = text.parse::<Uri>().ok();
        let parts = uri.as_ref().and_then(|uri| Some((uri.scheme()?, uri.authority()?)));
        let rule = match parts {
            Some((_, authority)) if authority.as_str().contains('@') => {
                // What stands before the `@` may be a password, and errors tell what is written.
                walk.hide(path, "a URL with a user in it");
                "expected a URL without a user or a password in it".to_owned()
            }
            _ if text.contains('#') => "expected a URL without a fragment (`#`)".to_owned(),
            Some((scheme, _)) if *scheme == Scheme::HTTPS => return Some(JwksUrl(text)),
            Some((scheme, authority)) if *scheme == Scheme::HTTP && is_this_host(authority.host()) => {
                return Some(JwksUrl(text));
            }
            Some((scheme, _)) if *scheme == Scheme::HTTP => {
                "expected `https://`: whoever can change the keys on their way can make any token".to_owned()
            }
            _ => format!("expected {}", Self::EXPECTED),
        };
        walk.bad_value(path, rule, None);
        None
    }
}

/// Whether what goes to this host never leaves the machine.
fn is_this_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Choice for Algorithm {
    const EXPECTED: &'static str = "`RS256`, `ES256` or `EdDSA`";
    const CHOICES: Choices<Self> = &[("RS256", Self::Rs256), ("ES256", Self::Es256), ("EdDSA", Self::EdDsa)];
    const LATER: &'static [&'static str] = &["RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512"];
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
