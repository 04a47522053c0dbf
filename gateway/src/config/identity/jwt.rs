//! `identity.*.jwt`: which tokens are believed, and where the keys come from.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::node::Node;
use super::super::read::{Choice, Choices};
use super::super::value::DurationText;
use super::super::walk::{Read, Walk};
use super::super::written::UrlText;

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
