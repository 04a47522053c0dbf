//! For tests: an issuer that signs whatever header and claims it is given.

use audit_writer::time::Timestamp;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::config::{self, Algorithm, Jwks};

/// The moment at which tests judge, in seconds.
pub(crate) const NOW: i64 = 1_800_000_000;

/// That moment and some milliseconds more.
pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(u64::try_from((NOW * 1000 + millis) * 1000).expect("after 1970"))
}

/// One who signs tokens with one key.
pub(crate) struct Issuer {
    pub(crate) id: &'static str,
    key: Signing,
}

enum Signing {
    Rs256(Box<RsaKeyPair>),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Issuer {
    pub(crate) fn new(id: &'static str, algorithm: Algorithm) -> Issuer {
        let key = match algorithm {
            Algorithm::Rs256 => {
                Signing::Rs256(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")))
            }
            Algorithm::Es256 => {
                Signing::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
            }
            Algorithm::EdDsa => Signing::EdDsa(Ed25519KeyPair::generate().expect("a key")),
        };
        Issuer { id, key }
    }

    /// The public key.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Signing::Rs256(key) => {
                let RsaPublicKeyComponents { n, e } =
                    RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({ "kty": "RSA", "n": encoded(n), "e": encoded(e) })
            }
            Signing::Es256(key) => {
                let point = key.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..]) })
            }
            Signing::EdDsa(key) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(key.public_key()) }),
        };
        jwk["kid"] = self.id.into();
        jwk
    }

    /// The header that such a token has.
    pub(crate) fn header(&self) -> Value {
        let algorithm = match &self.key {
            Signing::Rs256(_) => "RS256",
            Signing::Es256(_) => "ES256",
            Signing::EdDsa(_) => "EdDSA",
        };
        json!({ "alg": algorithm, "kid": self.id, "typ": "JWT" })
    }

    /// A token of these very texts.
    pub(crate) fn sign_texts(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = match &self.key {
            Signing::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let random = SystemRandom::new();
                key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).expect("a signature");
                signature
            }
            Signing::Es256(key) => {
                key.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature").as_ref().to_vec()
            }
            Signing::EdDsa(key) => key.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", encoded(signature))
    }

    /// A token with its own header and these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_texts(&self.header().to_string(), &claims.to_string())
    }
}

/// What is believed.
pub(crate) fn claims() -> Value {
    json!({
        "iss": "https://id.example.com",
        "aud": "api",
        "sub": "alice@example.com",
        "exp": NOW + 60,
        "groups": ["ops", "billing"],
    })
}

/// What believes it.
pub(crate) fn config(algorithms: &[Algorithm]) -> config::Jwt {
    config::Jwt {
        issuer: "https://id.example.com".into(),
        audience: vec!["api".into(), "web".into()],
        jwks: Jwks::File { file: "jwks.json".into() },
        algorithms: algorithms.into(),
        leeway: std::time::Duration::from_secs(30),
        actor_claim: "sub".into(),
        groups_claim: "groups".into(),
    }
}

/// The set of some keys.
pub(crate) fn key_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
