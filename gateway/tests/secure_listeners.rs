//! Listeners with TLS: who is let in, what is told of it, and that certificates change under open connections.

mod support;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{DnType, ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error, HandshakeKind};
use serde_json::{Value, json};
use support::authority::{Authority, Issued};
use support::gateway::{Gateway, Settings, of_port};
use support::secure::Tls;
use support::upstream::Upstream;
use support::{SURELY, wait_for};

/// A gateway whose only listener has these certificates, and what else is said of `tls` and beside it.
fn gateway(certificates: &[&Issued], tls: &str, beside: &str) -> Gateway {
    let pairs = certificates
        .iter()
        .map(|issued| format!("{{ cert: '{}', key: '{}' }}", issued.cert.display(), issued.key.display()));
    let pairs = pairs.collect::<Vec<_>>().join(", ");
    let listener = format!(", tls: {{ certificates: [{pairs}]{tls} }}{beside}");
    let settings = Settings { listener: listener.leak(), ..Settings::default() };
    Gateway::start(Upstream::start().address, &settings)
}

fn client_auth(mode: &str, ca: &Path) -> String {
    format!(", client_auth: {{ mode: {mode}, ca: '{}' }}", ca.display())
}

fn only(records: &[Value], port: u16) -> &Value {
    let found = of_port(records, port);
    assert_eq!(found.len(), 1, "one record of port {port}: {found:?}");
    found[0]
}

#[test]
fn a_secured_connection_serves_like_a_plain_one_and_its_records_tell_how_it_is_secured() {
    let ours = Authority::new("ours");
    let gateway = gateway(&[&ours.server("api.test")], "", "");
    let (new, old) = (Tls::new(ours.roots(), None), Tls::of(&[&TLS12], ours.roots(), None));
    let mut client = new.connect(gateway.address).expect("a handshake");
    let port = client.port();
    assert_eq!(client.get("/1").status, 200);
    let body = "x".repeat(300_000);
    client
        .send(format!("POST /2 HTTP/1.1\r\nHost: api.test\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let echoed = client.response().expect("an answer");
    assert_eq!(echoed.status, 200);
    assert!(echoed.body.ends_with(body.as_bytes()));
    // Two at once, then one that is malformed.
    client.send(
        "GET /3 HTTP/1.1\r\nHost: api.test\r\n\r\nGET /4 HTTP/1.1\r\nHost: api.test\r\n\r\nBAD\r\n\r\n",
    );
    let statuses: Vec<u16> =
        std::iter::from_fn(|| client.response()).map(|response| response.status).collect();
    assert_eq!(statuses, [200, 200, 400]);
    let (old_port, status) = old.ask(gateway.address, "/old");
    assert_eq!(status, Ok(200));
    assert_eq!(
        gateway.connect().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").rest()[0],
        21,
        "an alert, no HTTP"
    );

    let records = gateway.stop();
    let of_new = of_port(&records, port);
    assert_eq!(of_new.len(), 5);
    for record in &of_new {
        let expected = json!({ "version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "sni": "api.test" });
        assert_eq!(record["tls"], expected, "{record}");
    }
    assert!(of_new[..4].iter().all(|record| record["request"]["scheme"] == "https"));
    assert_eq!((&of_new[4]["kind"], &of_new[4]["reason"]), (&json!("rejected"), &json!("malformed_request")));
    assert!(
        of_new[4]["bytes"].as_u64().expect("a number") <= 7,
        "what was decrypted counts, not the handshake"
    );
    let expected = json!({ "version": "TLSv1.2", "cipher": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "sni": "api.test" });
    assert_eq!(only(&records, old_port)["tls"], expected);
}

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let ours = Authority::new("ours");
    let (first, wild, exact) =
        (ours.server("api.test"), ours.server("*.shop.test"), ours.server("www.shop.test"));
    let gateway = gateway(&[&first, &wild, &exact], "", "");
    for (name, expected) in [
        ("api.test", &first),
        ("a.shop.test", &wild),
        ("www.shop.test", &exact),
        ("unknown.test", &first),
        ("127.0.0.1", &first),
    ] {
        let client = Tls::new(ours.roots(), None).named(name).connect(gateway.address);
        if let Ok(client) = client {
            assert_eq!(client.tls().peer_certificates().expect("a chain")[0], expected.chain[0], "{name}");
        } else {
            // It was shown the first one, which is not for this name.
            assert!(["unknown.test", "127.0.0.1"].contains(&name), "{name}");
        }
    }
    let records = gateway.stop();
    let alerts: Vec<_> = records.iter().filter(|record| record["reason"] == "tls_alert").collect();
    assert_eq!(alerts.len(), 2);
    assert_eq!((&alerts[0]["tls"]["sni"], &alerts[1]["tls"]), (&json!("unknown.test"), &Value::Null));
}

#[test]
fn only_the_client_with_the_right_certificate_is_let_in_and_each_refusal_has_its_reason() {
    let (ours, theirs, server) = (Authority::new("ours"), Authority::new("theirs"), Authority::new("server"));
    let good = ours.issue("svc-billing", ExtendedKeyUsagePurpose::ClientAuth, |params| {
        params.subject_alt_names.push(SanType::URI("spiffe://example.org/billing".try_into().expect("text")));
        params.distinguished_name.push(DnType::OrganizationName, "Example, Ltd");
    });
    let dated = |from, to| {
        ours.issue("dated", ExtendedKeyUsagePurpose::ClientAuth, |params| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        })
    };
    let (expired, early) = (dated(2020, 2021), dated(2090, 2091));
    let (foreign, purpose) = (theirs.client("svc-billing"), ours.server("svc-billing"));
    let required = gateway(&[&server.server("api.test")], &client_auth("required", &ours.file()), "");
    let optional = gateway(&[&server.server("api.test")], &client_auth("optional", &ours.file()), "");
    let refused = [
        (None, "missing", AlertDescription::CertificateRequired),
        (Some(&expired), "expired", AlertDescription::CertificateExpired),
        (Some(&early), "not_yet_valid", AlertDescription::CertificateExpired),
        (Some(&foreign), "unknown_issuer", AlertDescription::UnknownCA),
        (Some(&purpose), "wrong_purpose", AlertDescription::UnsupportedCertificate),
    ];
    for (gateway, optional) in [(required, false), (optional, true)] {
        let mut ports = Vec::new();
        for versions in [&[&TLS13][..], &[&TLS12]] {
            for (shown, word, alert) in &refused {
                let (port, status) = Tls::of(versions, server.roots(), *shown).ask(gateway.address, "/x");
                if optional && shown.is_none() {
                    assert_eq!(status, Ok(200));
                    ports.push((port, None));
                    continue;
                }
                let alert = match (word, versions[0] == &TLS12) {
                    // RFC 5246 knows no other.
                    (&"missing", true) => AlertDescription::HandshakeFailure,
                    _ => *alert,
                };
                assert!(
                    matches!(&status, Err(Error::AlertReceived(received)) if *received == alert
                        || *word == "not_yet_valid" || *word == "missing"),
                    "{word}: {status:?}"
                );
                ports.push((port, Some(format!("tls_client_certificate_{word}"))));
            }
            let (port, status) = Tls::of(versions, server.roots(), Some(&good)).ask(gateway.address, "/good");
            assert_eq!(status, Ok(200));
            ports.push((port, None));
        }
        let records = gateway.stop();
        for (port, reason) in ports {
            let record = only(&records, port);
            match reason {
                Some(reason) => {
                    assert_eq!((&record["kind"], &record["reason"]), (&json!("rejected"), &json!(reason)));
                    assert_eq!(record["tls"], json!({ "sni": "api.test" }));
                    assert!(record["bytes"].as_u64().expect("a number") > 200);
                }
                None if record["request"]["path"] == "/good" => {
                    let tls = &record["tls"];
                    assert_eq!(tls["client_cert_subject"], "O=Example\\, Ltd,CN=svc-billing", "{record}");
                    assert_eq!(
                        tls["client_cert_san"],
                        json!(["DNS:svc-billing", "URI:spiffe://example.org/billing"])
                    );
                    assert_eq!(tls["client_spiffe_id"], "spiffe://example.org/billing");
                    assert_eq!(tls["client_cert_sha256"].as_str().map(str::len), Some(64));
                }
                None => assert_eq!(record["tls"]["client_cert_sha256"], Value::Null),
            }
        }
    }
}

#[test]
fn a_handshake_that_fails_leaves_one_record_with_its_reason() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let gateway =
        gateway(&[&ours.server("api.test")], ", min_version: \"1.3\"", ", timeouts: { header: 500ms }");
    let mut expected: Vec<(u16, &str, Value)> = Vec::new();
    let sni = json!({ "sni": "api.test" });
    for (client, reason) in [
        (Tls::of(&[&TLS12], ours.roots(), None), "tls_incompatible"),
        (Tls::new(ours.roots(), None).offering(&["h2"]), "tls_incompatible"),
        (Tls::new(theirs.roots(), None), "tls_alert"),
    ] {
        let (port, done) = client.try_connect(gateway.address);
        assert!(done.is_err(), "{reason}");
        expected.push((port, reason, sni.clone()));
    }
    let raw = |bytes: &[u8]| {
        let mut tcp = TcpStream::connect(gateway.address).expect("the gateway accepts");
        tcp.set_read_timeout(Some(SURELY)).expect("a timeout");
        tcp.write_all(bytes).expect("sent");
        let port = tcp.local_addr().expect("an address").port();
        (tcp, port)
    };
    let half = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];
    let mut open = Vec::new();
    for (bytes, then, reason) in [
        (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], None, "tls_malformed"),
        (&[0x16, 3, 1, 0, 2, 1, 0], Some(Shutdown::Write), "tls_closed"),
        (&half, Some(Shutdown::Write), "tls_closed"),
        (&half, None, "tls_timeout"),
        (&b""[..], Some(Shutdown::Both), "no_request"),
        (&b""[..], None, "no_request"),
    ] {
        let (tcp, port) = raw(bytes);
        if let Some(how) = then {
            tcp.shutdown(how).expect("shut");
        }
        open.push(tcp);
        expected.push((port, reason, Value::Null));
    }
    // The good one, beside all of these.
    let (port, status) =
        Tls::new(ours.roots(), None).offering(&["h2", "http/1.1"]).ask(gateway.address, "/good");
    assert_eq!(status, Ok(200));
    wait_for("all are counted", || {
        (gateway.metric("sealgate_rejected_total{reason=\"tls_timeout\"}") == 1.0
            && gateway.metric("sealgate_rejected_total{reason=\"no_request\"}") == 2.0)
            .then_some(())
    });
    let records = gateway.stop();
    assert_eq!(only(&records, port)["response"]["status"], 200);
    for (port, reason, tls) in expected {
        let record = only(&records, port);
        assert_eq!((&record["kind"], &record["reason"]), (&json!("rejected"), &json!(reason)), "{record}");
        assert_eq!(record["tls"], tls, "{record}");
    }
    assert_eq!(records.len(), 10);
}

#[test]
fn certificates_change_under_open_connections_and_what_is_broken_changes_nothing() {
    let (ours, clients, others) =
        (Authority::new("ours"), Authority::new("clients"), Authority::new("others"));
    let (first, second) = (ours.server("api.test"), ours.server("api.test"));
    let gateway = gateway(&[&first], &client_auth("optional", &clients.file()), "");
    let served = || {
        let client = Tls::new(ours.roots(), None).connect(gateway.address).expect("a handshake");
        client.tls().peer_certificates().expect("a chain")[0].clone()
    };
    let reloads =
        |outcome: &str| gateway.metric(&format!("sealgate_config_reloads_total{{outcome=\"{outcome}\"}}"));
    let known = clients.client("svc");
    let mut open = Tls::new(ours.roots(), Some(&known)).connect(gateway.address).expect("a handshake");
    assert_eq!(open.get("/before").status, 200);
    assert_eq!(served(), first.chain[0]);

    // A broken one, on the signal, every time that somebody asks.
    let good = std::fs::read(&first.cert).expect("a file");
    std::fs::write(&first.cert, &good[..good.len() / 2]).expect("a file");
    for _ in 0..2 {
        let before = reloads("failed");
        gateway.signal("HUP");
        wait_for("the failure is counted", || (reloads("failed") > before).then_some(()));
        assert_eq!(served(), first.chain[0]);
    }
    // Another one, and its key after it: without a signal.
    std::fs::copy(&second.cert, &first.cert).expect("a copy");
    std::fs::copy(&second.key, &first.key).expect("a copy");
    wait_for("the new certificate is served", || (served() == second.chain[0]).then_some(()));
    // Other authorities for clients: the old ones are believed no more.
    std::fs::copy(others.file(), clients.file()).expect("a copy");
    gateway.signal("HUP");
    let ask = |shown: &Issued| Tls::new(ours.roots(), Some(shown)).ask(gateway.address, "/asked").1;
    let new = others.client("svc");
    wait_for("the new authority is believed", || (ask(&new) == Ok(200)).then_some(()));
    assert_eq!(ask(&known), Err(Error::AlertReceived(AlertDescription::UnknownCA)));
    assert_eq!(open.get("/after").status, 200, "what is open stays open");
    let port = open.port();
    drop(open);
    let records = gateway.stop();
    assert_eq!(of_port(&records, port).len(), 2);
}

#[test]
fn a_session_is_resumed_only_where_no_certificate_is_asked_for() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let open = gateway(&[&ours.server("api.test")], "", "");
    let asking = gateway(&[&ours.server("api.test")], &client_auth("optional", &clients.file()), "");
    for (gateway, expected) in [(&open, HandshakeKind::Resumed), (&asking, HandshakeKind::Full)] {
        for versions in [&[&TLS13][..], &[&TLS12]] {
            let tls = Tls::of(versions, ours.roots(), None).resuming();
            let mut first = tls.connect(gateway.address).expect("a handshake");
            // The ticket comes with the answer.
            assert_eq!(first.get("/1").status, 200);
            let mut again = tls.connect(gateway.address).expect("a handshake");
            assert_eq!(again.get("/2").status, 200);
            assert_eq!(again.tls().handshake_kind(), Some(expected));
        }
    }
}

#[test]
fn http2_is_agreed_on_where_the_listener_speaks_it() {
    let ours = Authority::new("ours");
    for (beside, expected) in [("", "http/1.1"), (", http2: true", "h2")] {
        let gateway = gateway(&[&ours.server("api.test")], "", beside);
        let both = Tls::new(ours.roots(), None).offering(&["h2", "http/1.1"]);
        let client = both.connect(gateway.address).expect("a handshake");
        assert_eq!(client.tls().alpn_protocol(), Some(expected.as_bytes()));
        let old = Tls::new(ours.roots(), None).offering(&["http/1.1"]);
        assert_eq!(old.ask(gateway.address, "/").1, Ok(200));
        assert_eq!(Tls::new(ours.roots(), None).ask(gateway.address, "/").1, Ok(200));
    }
}

#[test]
fn a_listener_may_send_everybody_to_the_one_with_tls() {
    let settings = Settings { listener: ", redirect_to_https: 8443", ..Settings::default() };
    let upstream = Upstream::start();
    let gateway = Gateway::start(upstream.address, &settings);
    let mut client = gateway.connect();
    let port = client.port();
    let mut location = |target: &str, host: &str| {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client.response().expect("an answer");
        assert_eq!(answer.status, 308);
        answer.header("location").expect("a location").to_owned()
    };
    assert_eq!(location("/a?b=c", "api.test"), "https://api.test:8443/a?b=c");
    assert_eq!(location("/", "API.test:8080"), "https://api.test:8443/");
    assert_eq!(location("//evil.test/../x", "[::1]:80"), "https://[::1]:8443/x");
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.response().map(|answer| answer.status), Some(400), "without a host it leads nowhere");
    let records = gateway.stop();
    let of_port = of_port(&records, port);
    assert_eq!(of_port.len(), 4);
    for record in &of_port[..3] {
        assert_eq!((&record["end"], &record["error"]), (&json!("refused"), &json!("redirected_to_https")));
        assert_eq!(record["route"], Value::Null);
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn validate_finds_what_would_keep_a_listener_from_starting() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (good, other, expired) =
        (ours.server("api.test"), theirs.server("api.test"), ours.expired("api.test"));
    let early = ours.issue("api.test", ExtendedKeyUsagePurpose::ServerAuth, |params| {
        params.not_before = date_time_ymd(2090, 1, 1);
    });
    let empty = Authority::new("empty");
    std::fs::write(empty.file(), "").expect("a file");
    let found = |cert: &Path, key: &Path, rest: &str| {
        let listener = format!(
            ", tls: {{ certificates: [{{ cert: '{}', key: '{}' }}]{rest} }}",
            cert.display(),
            key.display()
        );
        let settings = Settings { listener: listener.leak(), ..Settings::default() };
        let text = support::gateway::configuration("127.0.0.1:1".parse().expect("an address"), &settings);
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("sealgate.yaml");
        std::fs::write(&file, text).expect("a file");
        let config = gateway::config::Config::load(&file).expect("a configuration");
        let shown = |problem: &gateway::config::Problem| {
            (problem.line, problem.problem.clone(), format!("{}: {}", problem.key, problem.rule))
        };
        match config.check_environment() {
            Ok(doubts) => doubts.iter().map(shown).collect::<Vec<_>>(),
            Err(problems) => problems.iter().map(shown).collect(),
        }
    };
    assert_eq!(found(&good.cert, &good.key, ""), []);
    for (cert, key, rest, rule) in [
        (
            &good.cert,
            &other.key,
            String::new(),
            "key: expected the certificate's key: the private key in it is not that",
        ),
        (&good.key, &good.key, String::new(), "cert: expected a certificate: there is no certificate"),
        (
            &good.cert,
            &good.cert,
            String::new(),
            "key: expected the certificate's key: there is no private key",
        ),
        (
            &expired.cert,
            &expired.key,
            String::new(),
            "cert: expected a certificate: the certificate has expired",
        ),
        (
            &early.cert,
            &early.key,
            String::new(),
            "cert: expected a certificate: the certificate does not hold before",
        ),
        (
            &good.cert,
            &good.cert.with_extension("none"),
            String::new(),
            "key: expected the certificate's key: No such file",
        ),
        (
            &good.cert,
            &good.key,
            client_auth("required", &empty.file()),
            "ca: expected authorities: there is no certificate",
        ),
    ] {
        let problems = found(cert, key, &rest);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].0, problems[0].1.as_str()), (3, "bad value for"));
        assert!(problems[0].2.starts_with(rule), "{problems:?}");
    }
    let ending = ours.issue("api.test", ExtendedKeyUsagePurpose::ServerAuth, |params| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
        params.not_after = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(7 * 86_400);
    });
    let doubts = found(&ending.cert, &ending.key, "");
    assert_eq!(doubts[0].1, "doubtful value for");
    assert!(doubts[0].2.starts_with("cert: expected a certificate that is good for two weeks"), "{doubts:?}");
}
