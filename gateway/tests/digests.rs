//! Digests of bodies in records: of what came to its end, and of nothing else.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};
use support::gateway::{Gateway, Settings};
use support::upstream::Upstream;
use support::wait_for;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let routes = "  - { name: plain, match: { path_prefix: /plain }, upstream: main, auth: none }
  - { name: denied, match: { path_prefix: /denied }, upstream: main, auth: none, allow: [{ name: get, methods: [GET] }], audit: { body_digest: sha256 } }
  - { name: down, match: { path_prefix: /down }, upstream: down, auth: none, audit: { body_digest: sha256 } }
  - { name: digested, match: { hosts: [digest.test] }, upstream: main, auth: none, audit: { body_digest: sha256 } }";
    let gateway = Gateway::start(upstream.address, &Settings { routes, ..Settings::default() });
    (upstream, gateway)
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn only<'a>(records: &'a [Value], path: &str) -> &'a Value {
    let found: Vec<_> = records
        .iter()
        .filter(|record| record["request"]["path"] == path && record["kind"] != "received")
        .collect();
    assert_eq!(found.len(), 1, "one record of {path}");
    found[0]
}

/// The digest of the request's body, of the response's, and what became of the client's.
fn digests(record: &Value) -> [Option<&str>; 3] {
    [
        record["request"]["body_sha256"].as_str(),
        record["response"]["body_sha256"].as_str(),
        record["request"]["content_digest"].as_str(),
    ]
}

#[test]
fn both_bodies_are_told_by_their_digests_in_every_framing() {
    let (_upstream, gateway) = start();
    let mut client = gateway.connect();
    let claim = |body: &[u8]| format!("Content-Digest: sha-256=:{}:", BASE64.encode(Sha256::digest(body)));
    let sha_512 = format!("sha-512=:{}:", BASE64.encode(Sha512::digest(b"hello")));
    let mut answers = Vec::new();
    let large = vec![b'x'; 300_000];
    for (path, headers, body) in [
        ("/length", format!("Content-Length: 5\r\n{}", claim(b"hello")), b"hello".to_vec()),
        (
            "/chunks",
            format!("Transfer-Encoding: chunked\r\nContent-Digest: {sha_512}\r\n{}", claim(b"hello")),
            b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n".to_vec(),
        ),
        ("/other", format!("Content-Length: 5\r\n{}", claim(b"hullo")), b"hello".to_vec()),
        ("/broken", "Content-Length: 5\r\nContent-Digest: sha-256=hello".into(), b"hello".to_vec()),
        (
            "/old",
            "Content-Length: 5\r\nContent-Digest: md5=:XUFAKrxLKna5cZ2REBfFkg==:".into(),
            b"hello".to_vec(),
        ),
        ("/empty", format!("Content-Length: 0\r\n{}", claim(b"")), Vec::new()),
        ("/large", format!("Content-Length: {}\r\n{}", large.len(), claim(&large)), large.clone()),
    ] {
        client.send(format!("POST {path} HTTP/1.1\r\nHost: digest.test\r\n{headers}\r\n\r\n")).send(&body);
        answers.push(hex(&client.response().expect("an answer").body));
    }
    let streamed = {
        client.send("GET /chunked/1 HTTP/1.1\r\nHost: digest.test\r\n\r\n");
        client.response().expect("an answer").body
    };
    client.send("HEAD /headed HTTP/1.1\r\nHost: digest.test\r\n\r\n");
    assert_eq!(client.head().expect("a head").0, 200);
    client.send("GET /old/empty HTTP/1.1\r\nHost: digest.test\r\n\r\n");
    assert_eq!(client.response().expect("an answer").status, 204);
    client.send("GET /old/end HTTP/1.1\r\nHost: digest.test\r\n\r\n");
    assert_eq!(client.response().expect("an answer").body, b"old, until the end");
    assert_eq!(gateway.connect().get("/plain").status, 200);

    let records = gateway.stop();
    let hello = hex(b"hello");
    for (path, answer, request, content_digest) in [
        ("/length", &answers[0], &*hello, "match"),
        ("/chunks", &answers[1], &*hello, "match"),
        ("/other", &answers[2], &*hello, "mismatch"),
        ("/broken", &answers[3], &*hello, "malformed"),
        ("/old", &answers[4], &*hello, "unsupported"),
        ("/empty", &answers[5], EMPTY, "match"),
        ("/large", &answers[6], &*hex(&large), "match"),
    ] {
        let found = digests(only(&records, path));
        assert_eq!(found, [Some(request), Some(answer.as_str()), Some(content_digest)], "{path}");
    }
    assert_eq!(digests(only(&records, "/chunked/1")), [None, Some(&*hex(&streamed)), None]);
    assert_eq!(digests(only(&records, "/old/end")), [None, Some(&*hex(b"old, until the end")), None]);
    for path in ["/headed", "/old/empty", "/plain"] {
        assert_eq!(digests(only(&records, path)), [None; 3], "{path}");
    }
}

#[test]
fn what_did_not_come_to_its_end_has_no_digest() {
    let (upstream, gateway) = start();
    let claim = format!("Content-Digest: sha-256=:{}:", BASE64.encode(Sha256::digest(b"hello")));
    // The client leaves within its body; the upstream within its answer.
    let mut client = gateway.connect();
    client.send(format!(
        "POST /left HTTP/1.1\r\nHost: digest.test\r\nContent-Length: 9\r\n{claim}\r\n\r\nhell"
    ));
    client.finish();
    client.rest();
    let mut client = gateway.connect();
    client.send("POST /half/1 HTTP/1.1\r\nHost: digest.test\r\nContent-Length: 5\r\n\r\nhello");
    client.rest();
    // What the gateway answers by itself has gone as a whole.
    let mut client = gateway.connect();
    client.send(format!(
        "POST /denied HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n{claim}\r\n\r\nhello"
    ));
    let denied = client.response().expect("an answer");
    assert_eq!(denied.status, 403);
    let mut client = gateway.connect();
    client
        .send(format!("POST /down HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n{claim}\r\n\r\nhello"));
    let down = client.response().expect("an answer");
    assert_eq!(down.status, 502);
    wait_for("the upstream has both", || (upstream.seen().len() >= 2).then_some(()));

    let records = gateway.stop();
    assert_eq!(digests(only(&records, "/left")), [None, None, Some("incomplete")]);
    assert_eq!(digests(only(&records, "/half/1")), [Some(&*hex(b"hello")), None, None]);
    assert_eq!(digests(only(&records, "/denied")), [None, Some(&*hex(&denied.body)), Some("incomplete")]);
    assert_eq!(digests(only(&records, "/down")), [None, Some(&*hex(&down.body)), Some("incomplete")]);
}

#[test]
fn an_upgraded_connection_has_no_digests() {
    let (_upstream, gateway) = start();
    for _ in 0..5 {
        let mut client = gateway.connect();
        client.send(
            "GET /upgrade HTTP/1.1\r\nHost: digest.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Content-Digest: sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:\r\n\r\n",
        );
        assert_eq!(client.head().expect("a head").0, 101);
        client.send("ping");
        assert_eq!(client.exactly(4).expect("an echo"), b"ping");
        client.finish();
        client.rest();
    }
    let records = gateway.stop();
    assert_eq!(records.len(), 10);
    assert!(records.iter().all(|record| digests(record) == [None; 3]), "{records:#?}");
}
