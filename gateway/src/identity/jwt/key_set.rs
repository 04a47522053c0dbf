//! A set of keys (JWKS, RFC 7517): the public keys of an issuer, as far as they can be used here.
//!
//! Keys of a type, use or algorithm that is not wanted are passed over (RFC 7517, section 5), each for a reason that can
//! be told. A set of which none is left is refused, so that it never takes the place of one that serves. Of what a
//! set holds beside public keys, private members as well, nothing is read.

use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::json;
use crate::config::Algorithm;
use crate::identity::Refusal;

/// Bits of the shortest and of the longest modulus of RSA (RFC 7518, section 3.3; the longest that is verified).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The most keys of one set.
const MOST_KEYS: usize = 256;

/// Keys that tokens may be signed with.
pub struct KeySet {
    keys: Box<[Key]>,
    sha256: [u8; 32],
    /// Which set of this process it is: no two have the same.
    generation: u64,
}

/// One key.
pub(super) struct Key {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Why a set of keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// It is no JSON, no object, or has a member twice.
    #[error("expected a key set: this is no JSON object in which each member occurs once")]
    NoJson,
    /// It has no `keys`.
    #[error("expected a key set: a JSON object with the list `keys`")]
    NoKeys,
    /// It is longer than any is.
    #[error("expected at most {MOST_KEYS} keys, found {0}")]
    TooMany(usize),
    /// Two keys have one name and algorithm.
    #[error("keys[{1}] has the same `kid` and algorithm as keys[{0}]: which of them is meant cannot be told")]
    Ambiguous(usize, usize),
    /// None of its keys can be used.
    #[error("none of its {} keys can be used{}", .0.len(), why(.0))]
    NoneUsable(Vec<Unusable>),
}

/// The first reasons of several.
fn why(reasons: &[Unusable]) -> String {
    const MOST: usize = 3;
    let told = reasons.iter().take(MOST).enumerate();
    let told: Vec<String> = told.map(|(index, reason)| format!("keys[{index}]: {reason}")).collect();
    let more = if reasons.len() > MOST { "; …" } else { "" };
    if told.is_empty() { String::new() } else { format!(": {}{more}", told.join("; ")) }
}

/// Why a key is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// It is no object.
    #[error("it is no JSON object")]
    NoObject,
    /// It is of no type that is known here.
    #[error("its `kty` and `crv` are not `RSA`, `EC` with `P-256`, or `OKP` with `Ed25519`")]
    Type,
    /// It is for an algorithm that the provider does not accept.
    #[error("it is for {}, which is not among `algorithms`", .0.as_str())]
    NotAccepted(Algorithm),
    /// Its `alg` is not the one of its type.
    #[error("its `alg` is not {}", .0.as_str())]
    OtherAlgorithm(Algorithm),
    /// It is not for signatures.
    #[error("its `use` is not `sig`")]
    Use,
    /// It is not for verifying.
    #[error("its `key_ops` do not contain `verify`")]
    Operations,
    /// Its `kid` is no text.
    #[error("its `kid` is no text")]
    KeyId,
    /// A number that makes it up is missing, no base64url, or of another length.
    #[error("`{0}` is missing, or not what it must be")]
    Member(&'static str),
    /// It is too short to be safe, or too long to be verified.
    #[error("its modulus has {0} bits, expected {least} to {most}", least = RSA_BITS.start(), most = RSA_BITS.end())]
    Bits(usize),
}

impl KeySet {
    /// Reads a set; keys for other algorithms than these are passed over.
    ///
    /// # Errors
    ///
    /// When it is no set of keys, or none of them can be used. Nothing of it is in the error.
    pub fn parse(text: &[u8], algorithms: &[Algorithm]) -> Result<KeySet, KeySetError> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static GENERATIONS: AtomicU64 = AtomicU64::new(0);
        let set = json::object(text).ok_or(KeySetError::NoJson)?;
        let Some(Value::Array(items)) = set.get("keys") else { return Err(KeySetError::NoKeys) };
        if items.len() > MOST_KEYS {
            return Err(KeySetError::TooMany(items.len()));
        }
        let mut keys: Vec<(usize, Key)> = Vec::new();
        let mut passed_over = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.as_object().ok_or(Unusable::NoObject).and_then(|jwk| Key::read(jwk, algorithms)) {
                Ok(key) => {
                    let same = |other: &Key| other.id.is_some() && other.is(key.id.as_deref(), key.algorithm);
                    if let Some((first, _)) = keys.iter().find(|(_, other)| same(other)) {
                        return Err(KeySetError::Ambiguous(*first, index));
                    }
                    keys.push((index, key));
                }
                Err(reason) => passed_over.push(reason),
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoneUsable(passed_over));
        }
        Ok(KeySet {
            keys: keys.into_iter().map(|(_, key)| key).collect(),
            sha256: Sha256::digest(text).into(),
            generation: GENERATIONS.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// The key that a token names (RFC 7515, section 4.1.4); without a name, the only one of its algorithm.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&Key, Refusal> {
        let mut of_algorithm = self.keys.iter().filter(|key| key.algorithm == algorithm);
        match id {
            None => {
                let key = of_algorithm.next().ok_or(Refusal::TokenKeyUnknown)?;
                if of_algorithm.next().is_some() { Err(Refusal::TokenKeyUnknown) } else { Ok(key) }
            }
            Some(_) => of_algorithm.find(|key| key.id.as_deref() == id).ok_or_else(|| {
                let known = self.keys.iter().any(|key| key.id.as_deref() == id);
                if known { Refusal::TokenAlgorithm } else { Refusal::TokenKeyUnknown }
            }),
        }
    }

    /// Which set of this process it is.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether it was read from the very same text.
    pub(super) fn is_same(&self, other: &KeySet) -> bool {
        self.sha256 == other.sha256
    }

    /// The algorithms of its keys.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        let mut seen = HashSet::new();
        self.keys.iter().map(|key| key.algorithm).filter(move |algorithm| seen.insert(algorithm.as_str()))
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Key {
    fn read(jwk: &Map<String, Value>, algorithms: &[Algorithm]) -> Result<Key, Unusable> {
        let text = |name| jwk.get(name).and_then(Value::as_str);
        let algorithm = match (text("kty"), text("crv")) {
            (Some("RSA"), _) => Algorithm::Rs256,
            (Some("EC"), Some("P-256")) => Algorithm::Es256,
            (Some("OKP"), Some("Ed25519")) => Algorithm::EdDsa,
            _ => return Err(Unusable::Type),
        };
        if jwk.get("alg").is_some_and(|alg| *alg != algorithm.as_str()) {
            return Err(Unusable::OtherAlgorithm(algorithm));
        }
        if !algorithms.contains(&algorithm) {
            return Err(Unusable::NotAccepted(algorithm));
        }
        if jwk.get("use").is_some_and(|purpose| *purpose != "sig") {
            return Err(Unusable::Use);
        }
        let verifies = |ops: &Value| ops.as_array().is_some_and(|ops| ops.iter().any(|op| *op == "verify"));
        if jwk.get("key_ops").is_some_and(|ops| !verifies(ops)) {
            return Err(Unusable::Operations);
        }
        let id = match jwk.get("kid") {
            Some(Value::String(id)) => Some(id.as_str().into()),
            Some(_) => return Err(Unusable::KeyId),
            None => None,
        };
        let member = |name| bytes(jwk, name).ok_or(Unusable::Member(name));
        let of_length = |name, length| member(name).and_then(|bytes| exactly(bytes, length, name));
        let key = match algorithm {
            Algorithm::Rs256 => rsa(&member("n")?, &member("e")?)?,
            // An uncompressed point (SEC 1, section 2.3.3).
            Algorithm::Es256 => {
                DecodingKey::from_ec_der(&[&[4], &*of_length("x", 32)?, &*of_length("y", 32)?].concat())
            }
            Algorithm::EdDsa => DecodingKey::from_ed_der(&of_length("x", 32)?),
        };
        Ok(Key { id, algorithm, key })
    }

    fn is(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        self.id.as_deref() == id && self.algorithm == algorithm
    }

    /// Whether a signature, in base64url, is this key's over a message.
    pub(super) fn signed(&self, message: &[u8], signature: &str) -> bool {
        let algorithm = match self.algorithm {
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        };
        jsonwebtoken::crypto::verify(signature, message, &self.key, algorithm).unwrap_or(false)
    }
}

/// The bytes of a member in base64url.
fn bytes(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_str()?).ok().filter(|bytes| !bytes.is_empty())
}

fn exactly(bytes: Vec<u8>, length: usize, name: &'static str) -> Result<Vec<u8>, Unusable> {
    if bytes.len() == length { Ok(bytes) } else { Err(Unusable::Member(name)) }
}

/// A key of RSA; its numbers begin with the first byte that is not zero.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<DecodingKey, Unusable> {
    let bare =
        |number: &'_ [u8]| -> Vec<u8> { number.iter().copied().skip_while(|byte| *byte == 0).collect() };
    let (modulus, exponent) = (bare(modulus), bare(exponent));
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(Unusable::Bits(bits));
    }
    // Odd, more than one, and of a size that anybody uses: the work of a signature grows with it.
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    if !odd || exponent == [1] || exponent.len() > 4 {
        return Err(Unusable::Member("e"));
    }
    Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

#[cfg(test)]
mod tests;
