//! Every reason to refuse a token, beside the token that is believed but for that reason.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::issuer::{Issuer, NOW, at, claims, config, encoded, key_set};
use super::*;

const ALL: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

fn provider(algorithms: &[Algorithm], keys: &[Value]) -> JwtProvider {
    let provider = JwtProvider::new("corp", &config(algorithms));
    provider.use_keys(KeySet::parse(key_set(keys).as_bytes(), algorithms).expect("a key set"));
    provider
}

fn answer(provider: &JwtProvider, credentials: &[u8], moment: Timestamp) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, credentials.try_into().expect("a value"));
    provider.identify(&Presented { headers: &headers, certificate: None, at: moment })
}

/// The actor, or why there is none, judged by a provider that remembers nothing.
fn judge(provider: &JwtProvider, token: &str, moment: Timestamp) -> Result<String, Refusal> {
    let anew = provider.verify_anew(token.as_bytes(), moment).map(|who| who.id.as_str().to_owned());
    match answer(provider, format!("Bearer {token}").as_bytes(), moment) {
        Answer::Vouches(principal) => assert_eq!(Ok(principal.id.as_str()), anew.as_deref()),
        Answer::Refuses(refusal) => assert_eq!(Err(refusal), anew),
        other => panic!("{other:?}"),
    }
    anew
}

/// An issuer and a provider that believes it.
fn pair(algorithm: Algorithm) -> (Issuer, JwtProvider) {
    let issuer = Issuer::new("k1", algorithm);
    let provider = provider(&[algorithm], &[issuer.jwk()]);
    (issuer, provider)
}

fn good() -> Result<String, Refusal> {
    Ok("alice@example.com".into())
}

#[test]
fn a_good_token_of_each_algorithm_names_its_actor_and_groups() {
    for algorithm in ALL {
        let (issuer, provider) = pair(algorithm);
        let token = issuer.sign(&claims());
        assert_eq!(judge(&provider, &token, at(0)), good());
        let Answer::Vouches(who) = answer(&provider, format!("bEaReR   {token}").as_bytes(), at(0)) else {
            panic!("it is believed");
        };
        assert_eq!((who.scheme, &*who.provider), (crate::identity::Scheme::Jwt, "corp"));
        assert_eq!(&*who.groups, ["ops".into(), "billing".into()]);
    }
}

#[test]
fn other_schemes_of_authorization_are_nothing_for_it() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let token = issuer.sign(&claims());
    for other in [
        "Basic YTpi",
        "Beare",
        "Bearers x",
        &format!("Token {token}"),
        &token,
        &format!("Bearer,{token}"),
        "",
    ] {
        assert_eq!(answer(&provider, other.as_bytes(), at(0)), Answer::Nothing, "{other}");
    }
    let mut headers = HeaderMap::new();
    let identify =
        |headers: &HeaderMap| provider.identify(&Presented { headers, certificate: None, at: at(0) });
    assert_eq!(identify(&headers), Answer::Nothing);
    headers.append(AUTHORIZATION, format!("Bearer {token}").try_into().expect("a value"));
    assert!(matches!(identify(&headers), Answer::Vouches(_)));
    headers.append(AUTHORIZATION, "Basic YTpi".try_into().expect("a value"));
    assert_eq!(identify(&headers), Answer::Refuses(Refusal::CredentialsAmbiguous));
}

#[test]
fn what_is_no_compact_token_is_malformed() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let token = issuer.sign(&claims());
    let [header, payload, signature] = *token.split('.').collect::<Vec<_>>() else { panic!("three parts") };
    assert_eq!(judge(&provider, &token, at(0)), good());
    for broken in [
        "",
        ".",
        "..",
        &format!("{header}.{payload}"),
        &format!(".{payload}.{signature}"),
        &format!("{token}.{signature}.x"),
        &format!("{token} {token}"),
        &format!("{token},{token}"),
        // The padding that base64url has not.
        &format!("{header}=.{payload}.{signature}"),
        // A JWE has five parts (RFC 7516), and a nested token is no claims.
        &format!("{header}.a.b.c.d"),
        &issuer.sign_texts(&issuer.header().to_string(), &token),
        &issuer.sign_texts(&issuer.header().to_string(), "[]"),
        &issuer.sign_texts(&issuer.header().to_string(), "{\"sub\":\"alice\""),
        &issuer.sign_texts("[]", &claims().to_string()),
        &issuer.sign_texts("{}", &claims().to_string()),
        &issuer.sign_texts("{\"alg\":1}", &claims().to_string()),
    ] {
        assert_eq!(judge(&provider, broken, at(0)), Err(Refusal::TokenMalformed), "{broken}");
    }
    // JSON serialisation (RFC 7515, section 7.2).
    let json = json!({ "payload": payload, "protected": header, "signature": signature }).to_string();
    assert_eq!(judge(&provider, &json, at(0)), Err(Refusal::TokenMalformed));
}

#[test]
fn a_token_is_read_up_to_its_limit() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let sized = |length: usize| {
        let mut padded = claims();
        padded["padding"] = "x".repeat(length).into();
        issuer.sign(&padded)
    };
    let fits = sized(12_000);
    assert!(fits.len() <= MAX_TOKEN);
    assert_eq!(judge(&provider, &fits, at(0)), good());
    for length in [12_300, 100 * 1024] {
        let token = sized(length);
        assert!(token.len() > MAX_TOKEN);
        let refused = answer(&provider, format!("Bearer {token}").as_bytes(), at(0));
        assert_eq!(refused, Answer::Refuses(Refusal::TokenTooLarge));
    }
}

#[test]
fn an_algorithm_must_be_accepted_and_be_the_keys() {
    let (issuer, provider) = pair(Algorithm::Rs256);
    let (claims, jwk) = (claims().to_string(), issuer.jwk());
    assert_eq!(judge(&provider, &issuer.sign_texts(&issuer.header().to_string(), &claims), at(0)), good());
    let with = |algorithm: &str| {
        let mut header = issuer.header();
        header["alg"] = algorithm.into();
        issuer.sign_texts(&header.to_string(), &claims)
    };
    for algorithm in
        ["none", "None", "NONE", "nOnE", "", "HS256", "RS384", "PS256", "ES256", "rs256", "RS256 "]
    {
        assert_eq!(judge(&provider, &with(algorithm), at(0)), Err(Refusal::TokenAlgorithm), "{algorithm}");
    }
    // Nothing signed at all.
    let unsigned = format!("{}.{}.", encoded(r#"{"alg":"none","kid":"k1"}"#), encoded(&claims));
    assert_eq!(judge(&provider, &unsigned, at(0)), Err(Refusal::TokenAlgorithm));
    let unsigned = format!("{}.{}.", encoded(issuer.header().to_string()), encoded(&claims));
    assert_eq!(judge(&provider, &unsigned, at(0)), Err(Refusal::TokenSignature));

    // HMAC with the public key as its secret, in each form in which a verifier could have it.
    let signed = format!("{}.{}", encoded(r#"{"alg":"HS256","kid":"k1"}"#), encoded(&claims));
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().expect("a modulus")).expect("base64url");
    for secret in [jwk.to_string().into_bytes(), modulus, key_set(std::slice::from_ref(&jwk)).into_bytes()] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let forged = format!("{signed}.{}", encoded(aws_lc_rs::hmac::sign(&key, signed.as_bytes())));
        assert_eq!(judge(&provider, &forged, at(0)), Err(Refusal::TokenAlgorithm));
    }
}

#[test]
fn a_token_of_one_algorithm_is_not_held_against_a_key_of_another() {
    let (ec, rsa) = (Issuer::new("ec", Algorithm::Es256), Issuer::new("rsa", Algorithm::Rs256));
    let provider = provider(&ALL, &[ec.jwk(), rsa.jwk()]);
    assert_eq!(judge(&provider, &rsa.sign(&claims()), at(0)), good());
    let mut header = rsa.header();
    header["kid"] = "ec".into();
    let crossed = rsa.sign_texts(&header.to_string(), &claims().to_string());
    assert_eq!(judge(&provider, &crossed, at(0)), Err(Refusal::TokenAlgorithm));
}

#[test]
fn a_key_is_looked_up_by_its_name_and_nowhere_else() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let with = |id: Value| {
        let mut header = issuer.header();
        header["kid"] = id;
        issuer.sign_texts(&header.to_string(), &claims().to_string())
    };
    assert_eq!(judge(&provider, &with("k1".into()), at(0)), good());
    let traversals = [
        "k2",
        "",
        "K1",
        "k1 ",
        "../k1",
        "../../../../dev/null",
        "/etc/passwd",
        "k1\u{0}",
        "' OR 1=1 --",
        "http://evil/k1",
    ];
    for id in traversals {
        assert_eq!(judge(&provider, &with(id.into()), at(0)), Err(Refusal::TokenKeyUnknown), "{id}");
    }
    for id in [json!(1), json!(null), json!(["k1"]), json!({ "k1": "k1" })] {
        assert_eq!(judge(&provider, &with(id.clone()), at(0)), Err(Refusal::TokenMalformed), "{id}");
    }
}

#[test]
fn without_a_name_the_only_key_of_its_algorithm_is_meant() {
    let (issuer, other) = (Issuer::new("k1", Algorithm::Es256), Issuer::new("k2", Algorithm::Es256));
    let edwards = Issuer::new("k3", Algorithm::EdDsa);
    let nameless = issuer.sign_texts(r#"{"alg":"ES256"}"#, &claims().to_string());
    let one = provider(&ALL, &[issuer.jwk(), edwards.jwk()]);
    assert_eq!(judge(&one, &nameless, at(0)), good());
    let two = provider(&ALL, &[issuer.jwk(), other.jwk()]);
    assert_eq!(judge(&two, &nameless, at(0)), Err(Refusal::TokenKeyUnknown));
    let none = provider(&ALL, &[edwards.jwk()]);
    assert_eq!(judge(&none, &nameless, at(0)), Err(Refusal::TokenKeyUnknown));
}

#[test]
fn a_signature_is_of_these_very_bytes_by_this_very_key() {
    for algorithm in ALL {
        let (issuer, provider) = pair(algorithm);
        let token = issuer.sign(&claims());
        assert_eq!(judge(&provider, &token, at(0)), good());
        // Another's key by the same name.
        let thief = Issuer::new("k1", algorithm);
        assert_eq!(judge(&provider, &thief.sign(&claims()), at(0)), Err(Refusal::TokenSignature));
        let [header, _, signature] = *token.split('.').collect::<Vec<_>>() else { panic!("three parts") };
        let mut other = claims();
        other["sub"] = "mallory@example.com".into();
        let swapped = format!("{header}.{}.{signature}", encoded(other.to_string()));
        assert_eq!(judge(&provider, &swapped, at(0)), Err(Refusal::TokenSignature));
        for bad in
            ["", "AA", &"A".repeat(86), &"A".repeat(342), &format!("{signature}="), &format!("{signature}AA")]
        {
            let broken = format!("{}{bad}", &token[..token.len() - signature.len()]);
            assert_eq!(judge(&provider, &broken, at(0)), Err(Refusal::TokenSignature), "{bad}");
        }
    }
}

#[test]
fn a_header_says_nothing_about_where_its_key_is() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let thief = Issuer::new("k1", Algorithm::Es256);
    for (name, value) in [
        ("jwk", thief.jwk()),
        ("jku", "https://evil.example/jwks".into()),
        ("x5u", "https://evil.example/chain.pem".into()),
        ("x5c", json!(["MIIB"])),
    ] {
        let with = |issuer: &Issuer| {
            let mut header = issuer.header();
            header[name] = value.clone();
            issuer.sign_texts(&header.to_string(), &claims().to_string())
        };
        assert_eq!(judge(&provider, &with(&issuer), at(0)), good(), "{name} changes nothing");
        assert_eq!(judge(&provider, &with(&thief), at(0)), Err(Refusal::TokenSignature), "{name}");
    }
}

#[test]
fn what_must_be_understood_and_is_not_is_refused() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let with = |name: &str, value: Value| {
        let mut header = issuer.header();
        header[name] = value;
        issuer.sign_texts(&header.to_string(), &claims().to_string())
    };
    for (name, value) in
        [("b64", json!(true)), ("typ", json!("at+jwt")), ("cty", json!("x")), ("x", json!({}))]
    {
        assert_eq!(judge(&provider, &with(name, value), at(0)), good(), "{name}");
    }
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("b64", json!("false")),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("cty", json!("JWT")),
        ("cty", json!("jwt")),
        ("cty", json!(1)),
    ] {
        let token = with(name, value.clone());
        assert_eq!(judge(&provider, &token, at(0)), Err(Refusal::TokenMalformed), "{name}: {value}");
    }
}

#[test]
fn a_member_that_occurs_twice_is_refused_however_it_is_spelled() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let (header, body) = (issuer.header().to_string(), claims().to_string());
    assert_eq!(judge(&provider, &issuer.sign_texts(&header, &body), at(0)), good());
    for more in
        [r#""sub":"root""#, r#""sub":"alice@example.com""#, r#""\u0073ub":"root""#, r#""x":{"a":1,"a":2}"#]
    {
        let twice = body.replacen('{', &format!("{{{more},"), 1);
        let token = issuer.sign_texts(&header, &twice);
        assert_eq!(judge(&provider, &token, at(0)), Err(Refusal::TokenMalformed), "{more}");
    }
    for more in [r#""alg":"none""#, r#""kid":"k1""#, r#""\u0061lg":"ES256""#] {
        let twice = header.replacen('{', &format!("{{{more},"), 1);
        let token = issuer.sign_texts(&twice, &body);
        assert_eq!(judge(&provider, &token, at(0)), Err(Refusal::TokenMalformed), "{more}");
    }
}

/// A token whose claim `name` is `value`; without it where there is none.
fn changed(issuer: &Issuer, name: &str, value: Option<Value>) -> String {
    let mut claims = claims();
    let object = claims.as_object_mut().expect("an object");
    object.remove(name);
    object.extend(value.map(|value| (name.to_owned(), value)));
    issuer.sign(&claims)
}

#[test]
fn a_token_counts_until_its_end_and_the_leeway_after() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let judged = |exp: Value, millis| judge(&provider, &changed(&issuer, "exp", Some(exp)), at(millis));
    assert_eq!(judged(json!(NOW), 29_999), good());
    assert_eq!(judged(json!(NOW), 30_000), Err(Refusal::TokenExpired));
    assert_eq!(judged(json!(NOW as f64 + 0.5), 30_499), good());
    assert_eq!(judged(json!(NOW as f64 + 0.5), 30_500), Err(Refusal::TokenExpired));
    assert_eq!(judged(json!(253_402_300_799i64), 0), good());
    for past in [json!(0), json!(-1), json!(-1.5), json!(i64::from(i32::MIN)), json!(NOW - 31)] {
        assert_eq!(judged(past.clone(), 0), Err(Refusal::TokenExpired), "{past}");
    }
    for bad in [
        json!((NOW + 60).to_string()),
        json!(null),
        json!(true),
        json!([NOW + 60]),
        json!(253_402_300_800i64),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e300),
        json!(-1e300),
    ] {
        assert_eq!(judged(bad.clone(), 0), Err(Refusal::TokenClaims), "{bad}");
    }
    assert_eq!(judge(&provider, &changed(&issuer, "exp", None), at(0)), Err(Refusal::TokenClaims));
}

#[test]
fn a_token_counts_from_its_begin_less_the_leeway() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let judged = |nbf: Value, millis| judge(&provider, &changed(&issuer, "nbf", Some(nbf)), at(millis));
    assert_eq!(judged(json!(NOW + 30), 0), good());
    assert_eq!(judged(json!(NOW + 30), -1), Err(Refusal::TokenNotYetValid));
    assert_eq!(judged(json!(NOW + 31), 0), Err(Refusal::TokenNotYetValid));
    assert_eq!(judged(json!(0), 0), good());
    assert_eq!(judged(json!(-5), 0), good());
    for bad in [json!(NOW.to_string()), json!(null), json!(u64::MAX), json!([])] {
        assert_eq!(judged(bad.clone(), 0), Err(Refusal::TokenClaims), "{bad}");
    }
}

#[test]
fn an_issuer_and_an_audience_are_these_very_texts() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let judged = |name, value| judge(&provider, &changed(&issuer, name, value), at(0));
    for audience in [json!("api"), json!("web"), json!(["other", "web"]), json!(["api"])] {
        assert_eq!(judged("aud", Some(audience.clone())), good(), "{audience}");
    }
    for other in [json!("API"), json!("api "), json!(""), json!([]), json!(["other"])] {
        assert_eq!(judged("aud", Some(other.clone())), Err(Refusal::TokenAudience), "{other}");
    }
    assert_eq!(judged("aud", None), Err(Refusal::TokenAudience));
    for bad in [json!(1), json!(null), json!({ "api": true }), json!(["api", 1]), json!([["api"]])] {
        assert_eq!(judged("aud", Some(bad.clone())), Err(Refusal::TokenClaims), "{bad}");
    }
    for other in ["https://id.example.com/", "https://evil.example", "https://ID.example.com", ""] {
        assert_eq!(judged("iss", Some(other.into())), Err(Refusal::TokenIssuer), "{other}");
    }
    assert_eq!(judged("iss", None), Err(Refusal::TokenIssuer));
    assert_eq!(judged("iss", Some(json!(["https://id.example.com"]))), Err(Refusal::TokenClaims));
}

#[test]
fn an_actor_and_groups_are_taken_whole_or_not_at_all() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let actor = |value| judge(&provider, &changed(&issuer, "sub", value), at(0));
    let longest = "x".repeat(crate::identity::MAX_ACTOR);
    assert_eq!(actor(Some(longest.clone().into())), Ok(longest.clone()));
    for bad in [
        json!(""),
        json!(format!("{longest}x")),
        json!("a\nb"),
        json!("a\u{0}"),
        json!("\u{7f}"),
        json!(7),
        json!(null),
    ] {
        assert_eq!(actor(Some(bad.clone())), Err(Refusal::TokenClaims), "{bad}");
    }
    assert_eq!(actor(None), Err(Refusal::TokenClaims));

    let groups = |value: Option<Value>| {
        let principal = provider.verify_anew(changed(&issuer, "groups", value).as_bytes(), at(0));
        principal.map(|who| who.groups.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(groups(None), Ok(vec![]));
    assert_eq!(groups(Some(json!([]))), Ok(vec![]));
    assert_eq!(groups(Some(json!("ops"))), Ok(vec!["ops".into()]));
    assert_eq!(groups(Some(json!(["a", "b, c"]))), Ok(vec!["a".into(), "b, c".into()]));
    let many = |count: usize| json!((0..count).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(groups(Some(many(64))).map(|groups| groups.len()), Ok(64));
    assert!(groups(Some(json!("x".repeat(128)))).is_ok());
    for bad in [
        many(65),
        json!("x".repeat(129)),
        json!(""),
        json!(["ops", ""]),
        json!(["ops", "a\r\nb"]),
        json!(["ops", 1]),
        json!([["ops"]]),
        json!({ "ops": true }),
        json!(null),
        json!(1),
    ] {
        assert_eq!(groups(Some(bad.clone())), Err(Refusal::TokenClaims), "{bad}");
    }
}

#[test]
fn other_claims_can_be_the_actor_and_the_groups() {
    let issuer = Issuer::new("k1", Algorithm::Es256);
    let mut config = config(&[Algorithm::Es256]);
    config.actor_claim = "https://example.com/mail".into();
    config.groups_claim = "roles".into();
    let provider = JwtProvider::new("corp", &config);
    provider.use_keys(KeySet::parse(key_set(&[issuer.jwk()]).as_bytes(), &ALL).expect("a key set"));
    assert_eq!(judge(&provider, &issuer.sign(&claims()), at(0)), Err(Refusal::TokenClaims));
    let mut other = claims();
    other["https://example.com/mail"] = "bob@example.com".into();
    other["roles"] = "admin".into();
    let who = provider.verify_anew(issuer.sign(&other).as_bytes(), at(0)).expect("it is believed");
    assert_eq!((who.id.as_str(), &*who.groups), ("bob@example.com", &["admin".into()][..]));
}

#[test]
fn what_was_believed_is_remembered_until_it_ends_or_keys_change() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let token = issuer.sign(&claims());
    let credentials = format!("Bearer {token}");
    let vouched = |moment| match answer(&provider, credentials.as_bytes(), moment) {
        Answer::Vouches(principal) => Ok(principal),
        Answer::Refuses(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    };
    let first = vouched(at(0)).expect("it is believed");
    assert!(Arc::ptr_eq(&first, &vouched(at(89_999)).expect("it is remembered")), "the very same");
    assert_eq!(vouched(at(90_000)), Err(Refusal::TokenExpired), "exp and the leeway are over");

    // The same set read again changes nothing.
    let set = |keys: &[Value]| KeySet::parse(key_set(keys).as_bytes(), &ALL).expect("a key set");
    provider.use_keys(set(&[issuer.jwk()]));
    assert!(Arc::ptr_eq(&first, &vouched(at(0)).expect("it is remembered")));
    // With another key beside it, it is verified again, and is good; without its key it is not.
    let next = Issuer::new("k2", Algorithm::Es256);
    provider.use_keys(set(&[issuer.jwk(), next.jwk()]));
    let again = vouched(at(0)).expect("its key is still there");
    assert!(!Arc::ptr_eq(&first, &again));
    provider.use_keys(set(&[next.jwk()]));
    assert_eq!(vouched(at(0)), Err(Refusal::TokenKeyUnknown));
    assert_eq!(judge(&provider, &next.sign(&claims()), at(0)), good());
}

#[test]
fn without_keys_a_token_is_neither_good_nor_bad() {
    let issuer = Issuer::new("k1", Algorithm::Es256);
    let provider = JwtProvider::new("corp", &config(&ALL));
    let credentials = format!("Bearer {}", issuer.sign(&claims()));
    assert_eq!(answer(&provider, credentials.as_bytes(), at(0)), Answer::Unavailable);
    assert_eq!(answer(&provider, b"Basic YTpi", at(0)), Answer::Nothing);
    provider.use_keys(KeySet::parse(key_set(&[issuer.jwk()]).as_bytes(), &ALL).expect("a key set"));
    assert!(matches!(answer(&provider, credentials.as_bytes(), at(0)), Answer::Vouches(_)));
}

#[test]
fn nothing_that_is_shown_holds_a_token_or_a_key() {
    let (issuer, provider) = pair(Algorithm::Es256);
    let token = issuer.sign(&claims());
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").try_into().expect("a value"));
    let presented = Presented { headers: &headers, certificate: None, at: at(0) };
    let answer = provider.identify(&presented);
    let jwk = issuer.jwk();
    let mut private = jwk.clone();
    private["d"] = "c2VjcmV0LXByaXZhdGUtbWVtYmVyLW9mLWEta2V5ISEh".into();
    private["use"] = "enc".into();
    let refused = KeySet::parse(key_set(&[private.clone()]).as_bytes(), &ALL).expect_err("no key is left");
    let set = KeySet::parse(key_set(std::slice::from_ref(&jwk)).as_bytes(), &ALL).expect("a key set");
    let shown = format!("{presented:?} {answer:?} {provider:?} {refused:?} {refused} {set:?}");
    let signature = token.rsplit('.').next().expect("a signature");
    let secrets = [&token, signature, jwk["x"].as_str().expect("x"), private["d"].as_str().expect("d")];
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("corp") && shown.contains("use"), "{shown}");
}

proptest! {
    /// Whatever a client sends as its credentials is answered, and believed only where it was signed.
    #[test]
    fn no_bytes_are_believed_and_none_panics(
        credentials in proptest::collection::vec(any::<u8>().prop_filter("a header", |b| *b >= 0x20 && *b != 0x7f), 0..400),
    ) {
        let (_, provider) = pair(Algorithm::EdDsa);
        for credentials in [credentials.clone(), [b"Bearer ", &*credentials].concat()] {
            prop_assert!(!matches!(answer(&provider, &credentials, at(0)), Answer::Vouches(_)));
        }
    }

    /// The same of what is nearly a token: any header and claims, signed by nobody.
    #[test]
    fn no_near_token_is_believed_and_none_panics(
        header in any::<String>(), claims in any::<String>(), signature in any::<Vec<u8>>(), cut in 0usize..200,
    ) {
        let (issuer, provider) = pair(Algorithm::EdDsa);
        let token = format!("{}.{}.{}", encoded(&header), encoded(&claims), encoded(&signature));
        prop_assert!(provider.verify_anew(token.as_bytes(), at(0)).is_err());
        let good = issuer.sign(&super::issuer::claims());
        let broken = &good[..good.len().saturating_sub(cut + 1)];
        prop_assert!(provider.verify_anew(broken.as_bytes(), at(0)).is_err());
        prop_assert!(provider.verify_anew(issuer.sign_texts(&header, &claims).as_bytes(), at(0)).is_err());
    }
}
