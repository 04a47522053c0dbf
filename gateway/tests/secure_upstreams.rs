//! Upstreams behind TLS, and such as speak HTTP/2: who is not who they should be gets no request.

mod support;

use serde_json::Value;
use support::authority::{Authority, Issued};
use support::gateway::{Gateway, Settings};
use support::modern::{Modern, Setup};
use support::upstream::Upstream;
use support::wait_for;

const H1: &[&str] = &["http/1.1"];

/// A server over TLS that asks its clients for nothing.
fn secure(identity: &Issued, protocols: &[&str]) -> Modern {
    Modern::start(&Setup { identity: Some(identity), clients: None, protocols, old: false })
}

fn line(name: &str, server: &Modern, rest: &str) -> String {
    format!("  {name}: {{ endpoints: {{ static: ['{}'] }}, {rest} }}\n", server.address)
}

fn only<'a>(records: &'a [Value], path: &str) -> &'a Value {
    let found: Vec<_> = records.iter().filter(|record| record["request"]["path"] == path).collect();
    assert_eq!(found.len(), 1, "one record of {path}");
    found[0]
}

/// A gateway with a route for each upstream, by the first segment of the path.
fn gateway(upstreams: &[(&'static str, &Modern, String)]) -> Gateway {
    let main = Upstream::start();
    let lines = upstreams.iter().map(|(name, server, rest)| line(name, server, rest)).collect();
    let routes: String = upstreams
        .iter()
        .map(|(name, ..)| {
            format!(
                "  - {{ name: {name}, match: {{ path_prefix: /{name} }}, upstream: {name}, auth: none }}\n"
            )
        })
        .collect();
    let settings = Settings { upstreams: lines, routes: routes.leak(), ..Settings::default() };
    Gateway::start(main.address, &settings)
}

fn client(issued: &Issued) -> String {
    format!("client: {{ cert: '{}', key: '{}' }}", issued.cert.display(), issued.key.display())
}

#[test]
fn only_the_upstream_that_proves_itself_gets_the_request() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let good = secure(&ours.server("orders.test"), H1);
    let foreign = secure(&theirs.server("orders.test"), H1);
    let misnamed = secure(&ours.server("users.test"), H1);
    let expired = secure(&ours.expired("orders.test"), H1);
    let purpose = secure(&ours.client("orders.test"), H1);
    let by_address = secure(&ours.server("127.0.0.1"), H1);
    let no_tls = Modern::start(&Setup { identity: None, clients: None, protocols: H1, old: false });
    let verified = format!("tls: {{ sni: orders.test, ca: '{}' }}", ours.file().display());
    let system = "tls: { sni: orders.test }".to_owned();
    let gateway = gateway(&[
        ("good", &good, verified.clone()),
        ("foreign", &foreign, verified.clone()),
        ("misnamed", &misnamed, verified.clone()),
        ("expired", &expired, verified.clone()),
        ("purpose", &purpose, verified.clone()),
        ("plain", &no_tls, verified.clone()),
        ("system", &good, system),
        ("address", &by_address, format!("tls: {{ sni: 127.0.0.1, ca: '{}' }}", ours.file().display())),
    ]);
    let mut asking = gateway.connect();
    for number in 1..=8 {
        assert_eq!(asking.get(&format!("/good/{number}")).status, 200, "{number}");
    }
    assert_eq!(asking.get("/address/1").status, 200);
    let refused = [
        ("foreign", &foreign, "upstream_tls_certificate_unknown_issuer"),
        ("misnamed", &misnamed, "upstream_tls_certificate_wrong_name"),
        ("expired", &expired, "upstream_tls_certificate_expired"),
        ("purpose", &purpose, "upstream_tls_certificate_wrong_purpose"),
        ("plain", &no_tls, "upstream_tls_handshake"),
        // Who made the certificate is nobody whom the system knows.
        ("system", &good, "upstream_tls_certificate_unknown_issuer"),
    ];
    for (name, ..) in refused {
        let answer = gateway.connect().get(&format!("/{name}/secret"));
        assert_eq!(answer.status, 502, "{name}");
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            !body.contains("certificate") && !body.contains("orders.test"),
            "the client learns nothing: {body}"
        );
    }
    assert!(
        good.seen().iter().all(|seen| seen.starts_with("HTTP/1.1 GET /good/") && seen.ends_with(" api.test"))
    );
    // One may be wanted again before it has been put back.
    assert!(good.connections() < 8, "connections are kept");

    let records = gateway.stop();
    let record = only(&records, "/good/1");
    assert_eq!(record["upstream"]["addr"], good.address.to_string());
    assert!(record["upstream"]["connect_us"].as_u64().is_some_and(|micros| micros > 0));
    assert!((2..=8).any(|number| only(&records, &format!("/good/{number}"))["upstream"]["reused"] == true));
    for (name, server, word) in refused {
        let record = only(&records, &format!("/{name}/secret"));
        assert_eq!((&record["error"], &record["end"]), (&word.into(), &"upstream_failed".into()), "{name}");
        assert_eq!(record["response"]["status"], 502);
        assert_eq!(record["upstream"]["name"], name);
        assert!(server.seen().iter().all(|seen| !seen.contains("secret")), "{name} got the request");
    }
}

#[test]
fn the_gateway_shows_its_certificate_to_those_who_ask_for_one() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let identity = ours.server("orders.test");
    let asks = |old| Setup { identity: Some(&identity), clients: Some(&ours), protocols: H1, old };
    let (new, old) = (Modern::start(&asks(false)), Modern::start(&asks(true)));
    let verified =
        |client: &str| format!("tls: {{ sni: orders.test, ca: '{}'{client} }}", ours.file().display());
    let right = verified(&format!(", {}", client(&ours.client("gateway"))));
    let wrong = verified(&format!(", {}", client(&theirs.client("gateway"))));
    let gateway = gateway(&[
        ("right", &new, right.clone()),
        ("right-old", &old, right),
        ("none", &new, verified("")),
        ("none-old", &old, verified("")),
        ("wrong-old", &old, wrong),
    ]);
    for name in ["right", "right-old"] {
        assert_eq!(gateway.connect().get(&format!("/{name}/1")).status, 200, "{name}");
    }
    for name in ["none", "none-old", "wrong-old"] {
        assert_eq!(gateway.connect().get(&format!("/{name}/secret")).status, 502, "{name}");
    }
    let expiry = gateway.metric("sealgate_upstream_certificate_expiry_timestamp_seconds{upstream=\"right\"}");
    assert!(expiry > 1.7e9, "{expiry}");
    let records = gateway.stop();
    for name in ["none-old", "wrong-old"] {
        assert_eq!(only(&records, &format!("/{name}/secret"))["error"], "upstream_tls_alert", "{name}");
    }
    assert_eq!(only(&records, "/none/secret")["end"], "upstream_failed");
    for server in [new, old] {
        assert!(server.seen().iter().all(|seen| !seen.contains("secret")), "{:?}", server.seen());
    }
}

#[test]
fn connections_of_other_credentials_are_never_shared() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = secure(&ours.server("orders.test"), H1);
    let verified =
        |authority: &Authority| format!("tls: {{ sni: orders.test, ca: '{}' }}", authority.file().display());
    // The same address and name: what tells them apart is whom they believe.
    let gateway = gateway(&[("ours", &server, verified(&ours)), ("theirs", &server, verified(&theirs))]);
    let mut kept = gateway.connect();
    assert_eq!(kept.get("/ours/1").status, 200);
    assert_eq!(kept.get("/theirs/1").status, 502);
    assert_eq!(gateway.connect().get("/ours/2").status, 200);
    assert!(server.seen().iter().all(|seen| seen.contains("/ours/")));
}

#[test]
fn authorities_that_are_replaced_are_believed_without_a_restart() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = secure(&ours.server("orders.test"), H1);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ca.pem");
    std::fs::copy(theirs.file(), &file).expect("a file");
    let gateway =
        gateway(&[("orders", &server, format!("tls: {{ sni: orders.test, ca: '{}' }}", file.display()))]);
    assert_eq!(gateway.connect().get("/orders/1").status, 502);
    std::fs::copy(ours.file(), directory.path().join("new.pem")).expect("a file");
    std::fs::rename(directory.path().join("new.pem"), &file).expect("the same directory");
    gateway.signal("HUP");
    wait_for("the new authority is believed", || {
        (gateway.connect().get("/orders/2").status == 200).then_some(())
    });
}

#[test]
fn an_upgrade_passes_through_tls() {
    let ours = Authority::new("ours");
    let server = secure(&ours.server("orders.test"), &["h2", "http/1.1"]);
    let verified = format!("protocol: alpn, tls: {{ sni: orders.test, ca: '{}' }}", ours.file().display());
    let gateway = gateway(&[("alpn", &server, verified)]);
    assert_eq!(gateway.connect().get("/alpn/plain").status, 200);
    let mut client = gateway.connect();
    client.send(
        "GET /alpn/socket HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(client.response().expect("an answer").status, 101);
    client.send("through\n");
    assert_eq!(client.rest(), b"through\n");
    let seen = server.seen();
    assert_eq!(seen, ["HTTP/2 GET /alpn/plain api.test", "HTTP/1.1 GET /alpn/socket api.test"]);
}

#[test]
fn http_2_is_spoken_where_it_is_agreed_on() {
    let ours = Authority::new("ours");
    let identity = ours.server("orders.test");
    let offers =
        |protocols| Modern::start(&Setup { identity: Some(&identity), clients: None, protocols, old: false });
    let (both, h1, silent) = (offers(&["h2", "http/1.1"]), offers(H1), offers(&[]));
    let h2c = Modern::start(&Setup { identity: None, clients: None, protocols: &["h2"], old: false });
    let tls = format!("tls: {{ sni: orders.test, ca: '{}' }}", ours.file().display());
    let with = |protocol: &str| format!("protocol: {protocol}, {tls}");
    let gateway = gateway(&[
        ("h2", &both, with("h2")),
        ("alpn-h2", &both, with("alpn")),
        ("alpn-h1", &h1, with("alpn")),
        ("alpn-none", &silent, with("alpn")),
        ("h1", &both, with("h1")),
        ("h2c", &h2c, "protocol: h2c".into()),
        ("not-h2", &h1, with("h2")),
        ("mute", &silent, with("h2")),
    ]);
    let mut client = gateway.connect();
    for name in ["h2", "h2c", "alpn-h2", "alpn-h1", "alpn-none", "h1"] {
        for number in 0..3 {
            client.send(format!(
                "POST /{name}/{number} HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\nhello"
            ));
            let answer = client.response().expect("an answer");
            assert_eq!(answer.status, 200, "{name}");
            let expected: &[u8] =
                if name.ends_with('1') || name.ends_with("none") { b"ok" } else { b"read 5" };
            assert_eq!(answer.body, expected, "{name}");
        }
    }
    for name in ["not-h2", "mute"] {
        assert_eq!(gateway.connect().get(&format!("/{name}/secret")).status, 502, "{name}");
    }
    let versions = |server: &Modern, path: &str| {
        let seen = server.seen().into_iter().filter(|seen| seen.contains(path));
        seen.map(|seen| seen.split(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(versions(&both, "/h2/"), ["HTTP/2"; 3]);
    assert_eq!(versions(&both, "/alpn-h2/"), ["HTTP/2"; 3]);
    assert_eq!(versions(&both, "/h1/"), ["HTTP/1.1"; 3]);
    assert_eq!(versions(&h1, "/alpn-h1/"), ["HTTP/1.1"; 3]);
    assert_eq!(versions(&h2c, "/h2c/"), ["HTTP/2"; 3]);
    assert!(h2c.connections() < 3, "requests share a connection");
    assert!(h1.seen().iter().chain(&silent.seen()).all(|seen| !seen.contains("secret")));

    let records = gateway.stop();
    assert_eq!(only(&records, "/not-h2/secret")["error"], "upstream_tls_alert");
    assert_eq!(only(&records, "/mute/secret")["error"], "upstream_not_h2");
}

#[test]
fn validate_finds_what_a_handshake_would_stumble_over() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (client, other, expired) =
        (ours.client("gateway"), theirs.client("gateway"), ours.expired("gateway"));
    let pair = |cert: &Issued, key: &Issued| {
        let (ca, cert, key) = (ours.file(), cert.cert.display().to_string(), key.key.display().to_string());
        format!("    tls: {{ sni: a, ca: {}, client: {{ cert: {cert}, key: {key} }} }}\n", ca.display())
    };
    let findings = |tls: &str| {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = Settings::default();
        let text = support::gateway::configuration("127.0.0.1:1".parse().expect("an address"), &settings);
        let upstream = format!("upstreams:\n  secure:\n    endpoints: {{ static: [127.0.0.1:2] }}\n{tls}");
        let text = text.replace("upstreams:\n", &upstream);
        let file = directory.path().join("sealgate.yaml");
        std::fs::write(&file, text).expect("a file");
        let config = gateway::config::Config::load(&file).expect("a configuration");
        let problems = config.check_environment().err();
        let problems = problems.iter().flat_map(|problems| problems.iter());
        problems
            .map(|problem| format!("{}: {}: {}", problem.line, problem.key, problem.rule))
            .collect::<Vec<_>>()
    };
    assert_eq!(findings(&pair(&client, &client)), Vec::<String>::new());
    let wrong_key = findings(&pair(&client, &other));
    assert!(
        wrong_key.len() == 1
            && wrong_key[0].starts_with("9: key: expected its key: the private key in it is not"),
        "{wrong_key:?}"
    );
    let ended = findings(&pair(&expired, &expired));
    assert!(
        ended.len() == 1
            && ended[0].starts_with("9: cert: expected a certificate: the certificate has expired"),
        "{ended:?}"
    );
    let missing = findings("    tls: { sni: a, ca: nowhere.pem }\n");
    assert!(
        missing.len() == 1 && missing[0].starts_with("9: ca: expected authorities: No such file"),
        "{missing:?}"
    );
}
