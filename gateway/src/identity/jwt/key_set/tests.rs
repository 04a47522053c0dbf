//! Which keys of a set are used, and why the others are not.

use serde_json::json;

use super::super::issuer::{Issuer, encoded, key_set};
use super::*;

const ALL: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

fn jwks(keys: &[Value]) -> Result<usize, KeySetError> {
    KeySet::parse(key_set(keys).as_bytes(), &ALL).map(|set| set.algorithms().count())
}

fn passed_over(jwk: Value) -> Unusable {
    match KeySet::parse(key_set(&[jwk]).as_bytes(), &ALL) {
        Err(KeySetError::NoneUsable(reasons)) => reasons[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_that_are_not_for_this_are_passed_over() {
    let issuers = ALL.map(|algorithm| Issuer::new("k", algorithm));
    for issuer in &issuers {
        let with = |name: &str, value: Value| {
            let mut jwk = issuer.jwk();
            jwk[name] = value;
            jwk
        };
        let algorithm = issuer.header()["alg"].clone();
        for (name, value) in
            [("use", json!("sig")), ("key_ops", json!(["verify", "sign"])), ("alg", algorithm)]
        {
            assert_eq!(jwks(&[with(name, value)]), Ok(1), "{name}");
        }
        assert_eq!(passed_over(with("use", json!("enc"))), Unusable::Use);
        assert_eq!(passed_over(with("use", json!(["sig"]))), Unusable::Use);
        assert_eq!(passed_over(with("key_ops", json!(["sign"]))), Unusable::Operations);
        assert_eq!(passed_over(with("key_ops", json!("verify"))), Unusable::Operations);
        assert!(matches!(passed_over(with("alg", json!("PS256"))), Unusable::OtherAlgorithm(_)));
        assert_eq!(passed_over(with("kid", json!(1))), Unusable::KeyId);
        assert_eq!(passed_over(with("kty", json!("oct"))), Unusable::Type);
    }
    let [rsa, ec, edwards] = &issuers;
    let with = |issuer: &Issuer, name: &str, value: &str| {
        let mut jwk = issuer.jwk();
        jwk[name] = value.into();
        jwk
    };
    assert_eq!(passed_over(with(ec, "crv", "P-384")), Unusable::Type);
    assert_eq!(passed_over(with(edwards, "crv", "Ed448")), Unusable::Type);
    for (issuer, name) in [(ec, "x"), (ec, "y"), (edwards, "x"), (rsa, "n"), (rsa, "e")] {
        for bad in ["", "AA==", "$$", "é"] {
            assert_eq!(passed_over(with(issuer, name, bad)), Unusable::Member(name), "{name}: {bad}");
        }
    }
    assert_eq!(passed_over(with(ec, "x", &encoded([1; 31]))), Unusable::Member("x"));
    assert_eq!(passed_over(with(ec, "y", &encoded([1; 33]))), Unusable::Member("y"));
    assert_eq!(passed_over(with(rsa, "e", &encoded([1]))), Unusable::Member("e"));
    assert_eq!(passed_over(with(rsa, "e", &encoded([1, 0, 0]))), Unusable::Member("e"));
    // 2048 bits written as more, and fewer written as 2048.
    assert_eq!(passed_over(with(rsa, "n", &encoded([0xff; 128]))), Unusable::Bits(1024));
    assert_eq!(
        passed_over(with(rsa, "n", &encoded([&[0; 128][..], &[0xff; 128]].concat()))),
        Unusable::Bits(1024)
    );
    assert_eq!(passed_over(with(rsa, "n", &encoded([0xff; 1025]))), Unusable::Bits(8200));
    assert_eq!(
        passed_over(with(rsa, "n", &encoded([&[0x7f][..], &[0xff; 255]].concat()))),
        Unusable::Bits(2047)
    );
    assert!(KeySet::parse(key_set(&[ec.jwk()]).as_bytes(), &[Algorithm::Rs256]).is_err());
    // One that can be used is enough.
    assert_eq!(jwks(&[with(rsa, "use", "enc"), json!(7), ec.jwk()]), Ok(1));
}

#[test]
fn what_is_no_key_set_is_refused_with_a_reason() {
    let issuer = Issuer::new("k1", Algorithm::Es256);
    let refused = |text: &str| KeySet::parse(text.as_bytes(), &ALL).expect_err(text);
    for garbage in ["", "<html>", "null", "[]", "{", r#"{"keys":[],"keys":[]}"#] {
        assert_eq!(refused(garbage), KeySetError::NoJson, "{garbage}");
    }
    for other in ["{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, &issuer.jwk().to_string()] {
        assert_eq!(refused(other), KeySetError::NoKeys, "{other}");
    }
    assert_eq!(refused(r#"{"keys":[]}"#).to_string(), "none of its 0 keys can be used");
    assert_eq!(
        refused(r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#).to_string(),
        "none of its 1 keys can be used: keys[0]: its `kty` and `crv` are not `RSA`, `EC` with `P-256`, or `OKP` with `Ed25519`"
    );
    let many: Vec<Value> = vec![json!({}); 257];
    assert_eq!(refused(&key_set(&many)), KeySetError::TooMany(257));
    let other = Issuer::new("k1", Algorithm::Es256);
    assert_eq!(refused(&key_set(&[issuer.jwk(), other.jwk()])), KeySetError::Ambiguous(0, 1));
    // One name for keys of two algorithms is no question.
    let edwards = Issuer::new("k1", Algorithm::EdDsa);
    assert_eq!(jwks(&[issuer.jwk(), edwards.jwk()]), Ok(2));
}
