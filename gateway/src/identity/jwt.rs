//! Signed tokens: compact JWS (RFC 7515) with claims (RFC 7519) in `Authorization: Bearer` (RFC 6750).
//!
//! What a token says about its own verification counts for nothing but choosing among what is configured: `alg` must
//! be accepted and be the key's, `kid` is looked up among known keys, and where a header names a key, a certificate or
//! a URL (`jwk`, `x5c`, `jku`, `x5u`) nobody looks. What is not understood and would change the meaning is refused
//! (`crit`, `b64`, `zip`, `enc`), as is JSON that two readers could read differently (RFC 8725, sections 2 and 3).
//!
//! What was verified is remembered by the digest of its bytes, so that a token's signature is checked once, not once a
//! request.

mod cache;
mod claims;
mod fetch;
mod json;
mod key_set;
mod keys;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use audit_writer::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;

use super::{Answer, Presented, Principal, Refusal};
use crate::config::{self, Algorithm};
use cache::{Cached, TokenCache};
use claims::{Believed, Expected};
use keys::Keys;

pub use fetch::{Fetch, FetchError};
pub use key_set::{KeySet, KeySetError, Unusable};
pub use keys::{KeyFileError, read_key_file};

/// Bytes of the longest token that is read.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Bytes of the longest set of keys that is read.
pub const MAX_KEY_SET: usize = 1024 * 1024;

/// A provider that believes signed tokens.
pub struct JwtProvider {
    name: Arc<str>,
    expected: Expected,
    algorithms: Box<[Algorithm]>,
    keys: Arc<Keys>,
    cache: TokenCache,
}

impl JwtProvider {
    /// A provider that has no keys yet: it is unavailable until [`JwtProvider::use_keys`].
    pub fn new(name: &str, config: &config::Jwt) -> JwtProvider {
        let name: Arc<str> = name.into();
        JwtProvider {
            expected: Expected::new(&name, config),
            algorithms: config.algorithms.clone().into(),
            keys: Arc::new(Keys::default()),
            cache: TokenCache::default(),
            name,
        }
    }

    /// Believes these keys from now on.
    pub fn use_keys(&self, keys: KeySet) {
        self.keys.replace(keys);
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The keys behind it.
    pub(super) fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Looks at the bearer token of a request.
    pub fn identify(&self, presented: &Presented<'_>) -> Answer {
        let token = match presented.only(&AUTHORIZATION) {
            Ok(Some(credentials)) => bearer(credentials.as_bytes()),
            Ok(None) => None,
            Err(refusal) => return Answer::Refuses(refusal),
        };
        let Some(token) = token else { return Answer::Nothing };
        if token.len() > MAX_TOKEN {
            return Answer::Refuses(Refusal::TokenTooLarge);
        }
        let keys = self.keys.load();
        let Some(keys) = keys.as_ref() else { return Answer::Unavailable };
        let digest = cache::digest(token);
        if let Some(principal) = self.cache.get(&digest, keys.generation(), presented.at) {
            return Answer::Vouches(principal);
        }
        match self.verify(token, keys, presented.at) {
            Ok(Believed { principal, not_before, until }) => {
                let principal = Arc::new(principal);
                let generation = keys.generation();
                let valid = (not_before, until);
                self.cache.put(Cached { digest, generation, valid, principal: principal.clone() });
                Answer::Vouches(principal)
            }
            Err(refusal) => {
                if refusal == Refusal::TokenKeyUnknown {
                    self.keys.ask();
                }
                Answer::Refuses(refusal)
            }
        }
    }

    /// Verifies a token without looking into what is remembered, and without remembering it.
    ///
    /// # Errors
    ///
    /// Why it is not believed; [`Refusal::TokenKeyUnknown`] where no keys are known at all.
    pub fn verify_anew(&self, token: &[u8], at: Timestamp) -> Result<Principal, Refusal> {
        let keys = self.keys.load();
        let keys = keys.as_ref().ok_or(Refusal::TokenKeyUnknown)?;
        self.verify(token, keys, at).map(|believed| believed.principal)
    }

    fn verify(&self, token: &[u8], keys: &KeySet, at: Timestamp) -> Result<Believed, Refusal> {
        let jws = Jws::split(token).ok_or(Refusal::TokenMalformed)?;
        let header = Header::read(jws.header).ok_or(Refusal::TokenMalformed)?;
        let accepted = self.algorithms.iter().find(|algorithm| algorithm.as_str() == header.algorithm);
        let key = keys.find(header.key_id.as_deref(), *accepted.ok_or(Refusal::TokenAlgorithm)?)?;
        if !key.signed(jws.signed, jws.signature) {
            return Err(Refusal::TokenSignature);
        }
        let claims = URL_SAFE_NO_PAD.decode(jws.payload).map_err(|_| Refusal::TokenMalformed)?;
        let claims = json::object(&claims).ok_or(Refusal::TokenMalformed)?;
        self.expected.check(&claims, at)
    }
}

// The keys are public, but nobody needs them in a log; tokens are remembered by their digests.
impl fmt::Debug for JwtProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtProvider").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The token of a bearer's credentials (RFC 6750, section 2.1); none where they are of another scheme.
fn bearer(credentials: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"Bearer";
    let (scheme, rest) = credentials.split_at_checked(SCHEME.len())?;
    let separated = rest.first().is_none_or(|byte| *byte == b' ' || *byte == b'\t');
    (scheme.eq_ignore_ascii_case(SCHEME) && separated).then(|| rest.trim_ascii())
}

/// The parts of a token in its compact form (RFC 7515, section 7.1).
struct Jws<'t> {
    header: &'t [u8],
    payload: &'t [u8],
    signature: &'t str,
    /// What the signature is of.
    signed: &'t [u8],
}

impl<'t> Jws<'t> {
    fn split(token: &'t [u8]) -> Option<Jws<'t>> {
        let mut parts = token.split(|byte| *byte == b'.');
        let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        // Five parts are an encrypted token (RFC 7516).
        if parts.next().is_some() {
            return None;
        }
        let signed = &token[..header.len() + 1 + payload.len()];
        Some(Jws { header, payload, signature: std::str::from_utf8(signature).ok()?, signed })
    }
}

/// What of a token's header is looked at (RFC 7515, section 4.1).
struct Header {
    algorithm: String,
    key_id: Option<String>,
}

impl Header {
    fn read(encoded: &[u8]) -> Option<Header> {
        let mut header = json::object(&URL_SAFE_NO_PAD.decode(encoded).ok()?)?;
        // Extensions that must be understood, and none is; and what makes another thing of the payload.
        let changes_the_meaning = ["crit", "enc", "zip"].iter().any(|name| header.contains_key(*name))
            || header.get("b64").is_some_and(|encoded| *encoded != true)
            || header.get("cty").is_some_and(|kind| kind.as_str().is_none_or(is_jwt));
        if changes_the_meaning {
            return None;
        }
        let mut text = |name| match header.remove(name) {
            Some(serde_json::Value::String(text)) => Some(Some(text)),
            Some(_) => None,
            None => Some(None),
        };
        Some(Header { algorithm: text("alg")??, key_id: text("kid")? })
    }
}

/// Whether a content type says that the payload is a token itself (RFC 7519, section 5.2).
fn is_jwt(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("JWT") || kind.eq_ignore_ascii_case("application/jwt")
}

/// The part of a provider that is read from a file, and may be read again.
pub(super) struct KeyFile {
    pub(super) provider: Arc<JwtProvider>,
    pub(super) file: PathBuf,
}

impl KeyFile {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or holds no key that could be used.
    pub(super) fn read(&self) -> Result<(), KeyFileError> {
        self.provider.use_keys(read_key_file(&self.file, &self.provider.algorithms)?);
        Ok(())
    }
}

impl crate::reload::Reloadable for KeyFile {
    fn what(&self) -> String {
        format!("key set of provider `{}`", self.provider.name)
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.file.clone()]
    }

    fn reload(&self) -> Result<(), String> {
        self.read().map_err(|error| format!("{}: {error}", self.file.display()))
    }
}

#[cfg(test)]
pub(super) mod issuer;
#[cfg(test)]
mod tests;
