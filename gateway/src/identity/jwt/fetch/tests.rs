//! A server of key sets, in each way in which it can let a gateway down.

use prometheus::Registry;

use super::super::JwtProvider;
use super::super::issuer::{Issuer, at, claims, config, key_set};
use super::server::{Answer, Server};
use super::*;
use crate::identity::{IdentityMetrics, Refusal};

const ES256: [Algorithm; 1] = [Algorithm::Es256];

fn fetch(url: String) -> Fetch {
    Fetch {
        provider: "corp".into(),
        url,
        refresh: Duration::from_millis(30),
        ca: None,
        algorithms: ES256.into(),
    }
}

/// A provider whose keys are fetched, and what it counts.
fn provider(fetch: Fetch) -> (JwtProvider, IdentityMetrics, Registry) {
    let registry = Registry::new();
    let metrics = IdentityMetrics::new(&registry).expect("a new registry");
    let provider = JwtProvider::new("corp", &config(&ES256));
    let first = fetch.start(provider.keys(), metrics.jwks("corp")).expect("a thread");
    first.recv_timeout(Duration::from_secs(10)).expect("the first attempt ends");
    (provider, metrics, registry)
}

fn counted(registry: &Registry, outcome: &str) -> u64 {
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
    let name = format!(r#"sealgate_jwks_refreshes_total{{outcome="{outcome}",provider="corp"}} "#);
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).expect("it is counted")
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn set(issuers: &[&Issuer]) -> Answer {
    Answer::Text(key_set(&issuers.iter().map(|issuer| issuer.jwk()).collect::<Vec<_>>()))
}

fn judge(provider: &JwtProvider, issuer: &Issuer) -> Result<(), Refusal> {
    provider.verify_anew(issuer.sign(&claims()).as_bytes(), at(0)).map(drop)
}

#[test]
fn known_keys_serve_whatever_becomes_of_their_server() {
    let (old, new) = (Issuer::new("old", Algorithm::Es256), Issuer::new("new", Algorithm::Es256));
    let mut server = Server::new(set(&[&old]));
    let (provider, _metrics, registry) = provider(fetch(server.url()));
    assert_eq!(judge(&provider, &old), Ok(()));
    assert_eq!(judge(&provider, &new), Err(Refusal::TokenKeyUnknown));
    let bad = [
        Answer::Text("<html>sign in</html>".into()),
        Answer::Text(r#"{"keys":[]}"#.into()),
        Answer::Text(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#.into()),
        Answer::Text(String::new()),
        Answer::Endless,
        Answer::Status(500, "/".into()),
        Answer::Status(404, "/".into()),
        Answer::Status(204, "/".into()),
        Answer::Status(302, server.url()),
    ];
    for answer in bad {
        server.answer(answer);
        let before = counted(&registry, "failed");
        until("two attempts fail", || counted(&registry, "failed") >= before + 2);
        assert_eq!(judge(&provider, &old), Ok(()));
    }
    server.stop();
    let before = counted(&registry, "failed");
    until("nobody can be reached", || counted(&registry, "failed") >= before + 2);
    assert_eq!(judge(&provider, &old), Ok(()));
    // It comes back, with another key.
    server.answer(set(&[&new]));
    server.start();
    until("the new key is known", || judge(&provider, &new).is_ok());
    assert_eq!(judge(&provider, &old), Err(Refusal::TokenKeyUnknown));
}

#[test]
fn keys_that_come_late_are_used_when_they_come() {
    let issuer = Issuer::new("k1", Algorithm::Es256);
    let server = Server::new(Answer::Status(503, "/".into()));
    let (provider, _metrics, registry) = provider(fetch(server.url()));
    assert!(!provider.keys().are_known());
    assert_eq!((counted(&registry, "ok"), counted(&registry, "failed") > 0), (0, true));
    server.answer(set(&[&issuer]));
    until("its key is known", || judge(&provider, &issuer).is_ok());
}

#[test]
fn an_unknown_key_has_the_server_asked_once_and_not_again_soon() {
    let (old, new) = (Issuer::new("old", Algorithm::Es256), Issuer::new("new", Algorithm::Es256));
    let server = Server::new(set(&[&old]));
    let rarely = Fetch { refresh: Duration::from_secs(3600), ..fetch(server.url()) };
    let (provider, _metrics, _registry) = provider(rarely);
    server.answer(set(&[&old, &new]));
    let mut headers = http::HeaderMap::new();
    let credentials = format!("Bearer {}", new.sign(&claims()));
    headers.insert(http::header::AUTHORIZATION, credentials.try_into().expect("a value"));
    let presented = crate::identity::Presented { headers: &headers, certificate: None, at: at(0) };
    for _ in 0..1000 {
        let refused = crate::identity::Answer::Refuses(Refusal::TokenKeyUnknown);
        assert_eq!(provider.identify(&presented), refused);
    }
    assert!(provider.keys().is_asked());
    assert_eq!(server.asked(), 1, "the spacing is not over");
}

#[test]
fn a_server_must_prove_itself_to_the_authorities_that_are_given() {
    let issuer = Issuer::new("k1", Algorithm::Es256);
    let (server, certificate) = Server::with_tls(set(&[&issuer]));
    let directory = tempfile::tempdir().expect("a directory");
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &certificate).expect("a file");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let once = |ca: Option<PathBuf>| runtime.block_on(Fetch { ca, ..fetch(server.url()) }.once());
    assert!(once(Some(ca.clone())).is_ok());
    assert!(matches!(once(None), Err(FetchError::Reach(_))), "the system's authorities do not know it");
    let (_, other) = Server::with_tls(Answer::Never);
    std::fs::write(&ca, other).expect("a file");
    assert!(matches!(once(Some(ca.clone())), Err(FetchError::Reach(_))), "another's certificate");
    std::fs::write(&ca, "nothing").expect("a file");
    assert!(matches!(once(Some(ca)), Err(FetchError::Authorities(_))));
    assert_eq!(server.asked(), 1);
}

#[test]
fn a_server_that_never_answers_is_left() {
    let server = Server::new(Answer::Never);
    // With nothing else to do, the clock of this runtime goes on to when patience ends.
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    assert!(matches!(runtime.block_on(fetch(server.url()).once()), Err(FetchError::Slow)));
}

#[test]
fn what_is_told_of_a_failure_holds_nothing_of_the_url_or_the_answer() {
    let server = Server::new(Answer::Text(r#"{"keys":"hunter2"}"#.into()));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tell = |url: String| runtime.block_on(fetch(url).once()).expect_err("it fails").told();
    let told = tell(format!("{}?token=hunter2", server.url()));
    assert!(told.contains("key set") && !told.contains("hunter2"), "{told}");
    server.answer(Answer::Status(302, "http://evil.example/?token=hunter2".into()));
    let told = tell(server.url());
    assert_eq!(told, "the server answered 302 Found: redirects are not followed");
    let told = tell("http://127.0.0.1:1/?token=hunter2".into());
    assert!(told.starts_with("cannot reach the server: ") && !told.contains("hunter2"), "{told}");
}
