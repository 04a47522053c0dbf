//! An issuer of tokens: one key on P-256, its key set, and what it signs.

use anyhow::anyhow;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

/// The issuer of the tokens.
pub(crate) const ISSUER: &str = "https://id.example.com";
/// For whom they are.
pub(crate) const AUDIENCE: &str = "api";
/// The end of the year 2100.
const END: u64 = 4_133_980_799;

/// The issuer.
pub(crate) struct Issuer {
    key: EcdsaKeyPair,
}

impl Issuer {
    /// An issuer with a new key.
    pub(crate) fn new() -> anyhow::Result<Issuer> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Ok(Issuer { key: key.map_err(|_| anyhow!("cannot make a key"))? })
    }

    /// Its key set, as it publishes it.
    pub(crate) fn key_set(&self) -> String {
        // An uncompressed point: 4, x, y.
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one", "x": x, "y": y }] })
            .to_string()
    }

    /// A token for this actor, as everyday ones are.
    pub(crate) fn token(&self, actor: &str) -> anyhow::Result<String> {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "one" });
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": actor, "iat": 1_764_000_000, "exp": END,
            "groups": ["ops", "billing", "everybody"], "email": "somebody@example.com",
            "jti": "5e1f7b1c-9a34-4d0c-8c8b-2b4d8f0a7e11",
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|_| anyhow!("cannot sign"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Verifies a token's signature and nothing else: the anchor.
    pub(crate) fn verify_alone(&self, token: &str) -> anyhow::Result<()> {
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| anyhow!("no token"))?;
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key());
        key.verify(signed.as_bytes(), &signature).map_err(|_| anyhow!("the signature is wrong"))
    }
}
