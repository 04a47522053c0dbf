//! Providers of a whole configuration, asked in the order of a route.

use audit_writer::time::Timestamp;
use http::HeaderMap;
use prometheus::Registry;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::edge::ClientCertificate;
use crate::identity::jwt::issuer::{Issuer, claims, key_set};
use crate::identity::{Presented, Scheme, Unidentified};

struct Fixture {
    providers: Providers,
    config: Config,
    issuer: Issuer,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new(any_of: &str) -> Fixture {
        let directory = tempfile::tempdir().expect("a directory");
        let issuer = Issuer::new("k1", config::Algorithm::Es256);
        let (keys, jwks) = (directory.path().join("keys.yaml"), directory.path().join("jwks.json"));
        let digest = Sha256::digest("partner-key");
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(&keys, format!("keys: [{{ actor: svc-billing, sha256: {hash} }}]")).expect("a file");
        std::fs::write(&jwks, key_set(&[issuer.jwk()])).expect("a file");
        let text = format!(
            "version: 1
listen: [{{ name: plain, address: 127.0.0.1:8080 }}]
upstreams: {{ u: {{ endpoints: {{ static: [127.0.0.1:9001] }} }} }}
identity:
  corp: {{ jwt: {{ issuer: https://id.example.com, audience: [api], jwks: {{ file: {} }}, algorithms: [ES256] }} }}
  far: {{ jwt: {{ issuer: https://id.example.com, audience: [api], jwks: {{ url: http://127.0.0.1:1/jwks }}, algorithms: [ES256] }} }}
  mesh: {{ mtls: {{ actor: subject }} }}
  partners: {{ api_key: {{ header: x-partner-key, file: {} }} }}
  edge: {{ header: {{ actor: x-user, groups: x-groups, only_from: mesh }} }}
  gate: {{ header: {{ actor: x-user, only_from: far }} }}
routes: [{{ name: all, match: {{ path_prefix: / }}, upstream: u, auth: {{ any_of: [{any_of}] }} }}]
audit: {{ log: x.test/gw-1, key: {{ file: key }}, spool: {{ path: spool }}, store: {{ directory: store }} }}
",
            jwks.display(),
            keys.display(),
        );
        let config = Config::from_text("test", text).expect("a configuration");
        let metrics = IdentityMetrics::new(&Registry::new()).expect("a new registry");
        let providers = Providers::start(&config, &metrics).expect("providers");
        Fixture { providers, config, issuer, _directory: directory }
    }

    fn any_of(&self) -> AnyOf {
        self.providers.any_of(&self.config.routes[0].auth).expect("they are there").expect("not `none`")
    }

    /// Who asks, and how it proved that.
    fn ask(
        &self,
        headers: &[(&'static str, &str)],
        certificate: Option<&ClientCertificate>,
    ) -> Result<(String, Scheme), Unidentified> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        let presented = Presented { headers: &map, certificate, at: crate::identity::jwt::issuer::at(0) };
        self.any_of().identify(&presented).map(|who| (who.id.as_str().to_owned(), who.scheme))
    }
}

fn certificate(subject: &str) -> ClientCertificate {
    ClientCertificate {
        sha256: "00".repeat(32).into(),
        subject: subject.into(),
        san: Box::default(),
        spiffe_id: None,
        not_after: Timestamp::from_micros(u64::MAX),
    }
}

fn refused(refusal: Refusal) -> Result<(String, Scheme), Unidentified> {
    Err(Unidentified::Refused(refusal))
}

#[test]
fn the_first_that_vouches_decides() {
    let fixture = Fixture::new("corp, partners, mesh");
    let bearer = format!("Bearer {}", fixture.issuer.sign(&claims()));
    let token = ("authorization", bearer.as_str());
    let key = ("x-partner-key", "partner-key");
    let certificate = certificate("CN=proxy");
    let alice = Ok(("alice@example.com".to_owned(), Scheme::Jwt));
    let billing = Ok(("svc-billing".to_owned(), Scheme::ApiKey));
    assert_eq!(fixture.ask(&[token, key], Some(&certificate)), alice);
    assert_eq!(fixture.ask(&[key], Some(&certificate)), billing);
    assert_eq!(fixture.ask(&[], Some(&certificate)), Ok(("CN=proxy".into(), Scheme::Mtls)));
    // What one refuses, another may vouch for.
    assert_eq!(fixture.ask(&[("authorization", "Bearer x"), key], None), billing);
    assert_eq!(fixture.ask(&[token, ("x-partner-key", "wrong")], None), alice);
    // None vouches: the first refusal is told.
    assert_eq!(fixture.ask(&[], None), refused(Refusal::CredentialsMissing));
    assert_eq!(fixture.ask(&[("authorization", "Basic YTpi")], None), refused(Refusal::CredentialsMissing));
    let both = [("authorization", "Bearer x"), ("x-partner-key", "wrong")];
    assert_eq!(fixture.ask(&both, None), refused(Refusal::TokenMalformed));
    assert_eq!(fixture.ask(&both[1..], None), refused(Refusal::ApiKeyUnknown));
    assert_eq!(fixture.ask(&[token, token], None), refused(Refusal::CredentialsAmbiguous));
}

#[test]
fn a_provider_without_keys_is_unavailable_to_those_who_need_it_alone() {
    let fixture = Fixture::new("far, partners");
    let bearer = format!("Bearer {}", fixture.issuer.sign(&claims()));
    let token = ("authorization", bearer.as_str());
    assert_eq!(fixture.ask(&[token], None), Err(Unidentified::Unavailable));
    assert_eq!(fixture.ask(&[token, ("x-partner-key", "wrong")], None), Err(Unidentified::Unavailable));
    assert!(fixture.ask(&[token, ("x-partner-key", "partner-key")], None).is_ok());
    assert_eq!(fixture.ask(&[], None), refused(Refusal::CredentialsMissing));
}

#[test]
fn a_proxys_headers_count_where_the_proxy_proves_itself() {
    let fixture = Fixture::new("edge, mesh, partners");
    let proxy = certificate("CN=proxy");
    let user = ("x-user", "bob@example.com");
    assert_eq!(fixture.ask(&[user], Some(&proxy)), Ok(("bob@example.com".into(), Scheme::Header)));
    // The proxy for itself.
    assert_eq!(fixture.ask(&[], Some(&proxy)), Ok(("CN=proxy".into(), Scheme::Mtls)));
    assert_eq!(fixture.ask(&[("x-groups", "ops")], Some(&proxy)), Ok(("CN=proxy".into(), Scheme::Mtls)));
    for forged in [&[user][..], &[("x-groups", "ops")], &[user, ("x-groups", "ops")]] {
        assert_eq!(fixture.ask(forged, None), refused(Refusal::EdgeUnproven), "{forged:?}");
        assert_eq!(fixture.ask(forged, Some(&certificate(""))), refused(Refusal::EdgeUnproven), "{forged:?}");
        // Somebody with a key of their own is not somebody else by a header.
        let with_key = [forged, &[("x-partner-key", "partner-key")]].concat();
        assert_eq!(fixture.ask(&with_key, None), Ok(("svc-billing".into(), Scheme::ApiKey)));
    }
    // What a proven proxy may not say either; it does not count as the proxy's own request.
    let edge = Fixture::new("edge");
    for bad in
        [&[("x-user", "")][..], &[("x-user", &"x".repeat(257))], &[user, ("x-groups", &"g,".repeat(65))]]
    {
        assert_eq!(edge.ask(bad, Some(&proxy)), refused(Refusal::EdgeIdentity), "{bad:?}");
    }
    assert_eq!(edge.ask(&[user, user], Some(&proxy)), refused(Refusal::CredentialsAmbiguous));
    let twice = [user, ("x-groups", "a"), ("x-groups", "b")];
    assert_eq!(edge.ask(&twice, Some(&proxy)), refused(Refusal::CredentialsAmbiguous));
}

#[test]
fn groups_of_a_proxy_are_separated_by_commas() {
    let fixture = Fixture::new("edge");
    let mut headers = HeaderMap::new();
    headers.insert("x-user", "bob".parse().expect("a value"));
    headers.insert("x-groups", " ops,billing team ,, eu".parse().expect("a value"));
    let proxy = certificate("CN=proxy");
    let who = fixture.any_of().identify(&Presented::now(&headers, Some(&proxy))).expect("it is proven");
    assert_eq!(&*who.groups, ["ops".into(), "billing team".into(), "eu".into()]);
}

#[test]
fn a_proxy_that_cannot_be_judged_is_no_proof() {
    let fixture = Fixture::new("gate");
    let bearer = format!("Bearer {}", fixture.issuer.sign(&claims()));
    let user = ("x-user", "bob");
    assert_eq!(fixture.ask(&[user, ("authorization", &bearer)], None), Err(Unidentified::Unavailable));
    assert_eq!(fixture.ask(&[user], None), refused(Refusal::EdgeUnproven));
}

#[test]
fn a_challenge_names_what_would_be_taken() {
    let challenge = |any_of: &str, refusal| {
        Fixture::new(any_of).any_of().challenge(refusal).to_str().expect("text").to_owned()
    };
    assert_eq!(challenge("corp", Refusal::CredentialsMissing), "Bearer realm=\"sealgate\"");
    assert_eq!(
        challenge("corp", Refusal::TokenExpired),
        "Bearer realm=\"sealgate\", error=\"invalid_token\", error_description=\"the token has expired\""
    );
    assert_eq!(
        challenge("corp, far, partners, edge, mesh", Refusal::ApiKeyUnknown),
        "Bearer realm=\"sealgate\", ApiKey header=\"x-partner-key\", realm=\"sealgate\", \
         EdgeIdentity realm=\"sealgate\", ClientCertificate realm=\"sealgate\""
    );
    for refusal in Refusal::ALL {
        assert!(!refusal.explanation().contains(['"', '\\']), "{refusal:?} stands in quotes");
        assert!(http::HeaderValue::from_str(refusal.explanation()).is_ok());
    }
}

#[test]
fn a_file_that_cannot_be_used_keeps_a_gateway_from_starting() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path().display();
    let start = |identity: &str, name: &str| {
        let text = format!(
            "version: 1
listen: [{{ name: plain, address: 127.0.0.1:8080 }}]
upstreams: {{ u: {{ endpoints: {{ static: [127.0.0.1:9001] }} }} }}
identity: {{ x: {identity} }}
routes: [{{ name: all, match: {{ path_prefix: / }}, upstream: u, auth: {{ any_of: [x] }} }}]
audit: {{ log: x.test/gw-1, key: {{ file: {at}/key, create: true }}, create_log: true, spool: {{ path: {at}/spool }}, store: {{ directory: {at}/store }} }}
"
        );
        let config = Config::from_text("test.yaml", text).expect("a configuration");
        let metrics = IdentityMetrics::new(&Registry::new()).expect("a new registry");
        let error = Providers::start(&config, &metrics).err().expect("it does not start");
        let found = config.check_environment().expect_err("it is found before").to_string();
        assert!(found.starts_with("test.yaml:4:") && found.contains(name), "{found}");
        (error, found)
    };
    let jwks = directory.path().join("jwks.json");
    let jwt = format!(
        "{{ jwt: {{ issuer: i, audience: [a], jwks: {{ file: {at}/jwks.json }}, algorithms: [RS256] }} }}"
    );
    let (error, found) = start(&jwt, "`file` in identity.x.jwt.jwks");
    assert!(matches!(error, StartError::KeySet { .. }) && found.contains("No such file"), "{error} {found}");
    for (text, words) in [
        (String::new(), "this is no JSON object"),
        ("-----BEGIN CERTIFICATE-----".into(), "this is no JSON object"),
        ("{\"keys\":[]}".into(), "none of its 0 keys can be used"),
        (
            key_set(&[Issuer::new("k1", config::Algorithm::Es256).jwk()]),
            "keys[0]: it is for ES256, which is not among `algorithms`",
        ),
    ] {
        std::fs::write(&jwks, text).expect("a file");
        let (error, found) = start(&jwt, "`file` in identity.x.jwt.jwks");
        assert!(matches!(error, StartError::KeySet { .. }) && found.contains(words), "{error} {found}");
    }
    let keys = format!("{{ api_key: {{ header: x-k, file: {at}/keys.yaml }} }}");
    std::fs::write(directory.path().join("keys.yaml"), "keys:\n  - { actor: a }\n  - { sha256: b }\n")
        .expect("a file");
    let (error, found) = start(&keys, "`file` in identity.x.api_key");
    assert!(matches!(error, StartError::ApiKeys { .. }));
    assert!(found.lines().count() == 3 && found.contains("keys.yaml:2:5: missing key `sha256`"), "{found}");
}
