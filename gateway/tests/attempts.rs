//! No attempt goes unseen: whatever a client does, it gets an answer or a close, and leaves one record.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use support::client::Client;
use support::gateway::{Gateway, Settings, of_port};
use support::upstream::Upstream;
use support::wait_for;

/// What a client does after it has sent its bytes.
#[derive(Clone, Copy)]
enum Then {
    Wait,
    Finish,
    Leave,
}

struct Row {
    name: &'static str,
    sent: Vec<u8>,
    then: Then,
    /// The statuses that come, until the gateway closes.
    answers: &'static [u16],
    /// For each record: its kind, and its `reason` or `error`.
    records: &'static [(&'static str, &'static str)],
}

fn row(
    name: &'static str,
    sent: impl Into<Vec<u8>>,
    answers: &'static [u16],
    records: &'static [(&'static str, &'static str)],
) -> Row {
    Row { name, sent: sent.into(), then: Then::Wait, answers, records }
}

const MALFORMED: &[(&str, &str)] = &[("rejected", "malformed_request")];
const GOOD_THEN_MALFORMED: &[(&str, &str)] = &[("completed", "-"), ("rejected", "malformed_request")];
const GOOD: &str = "GET /good HTTP/1.1\r\nHost: api.test\r\n\r\n";

fn rows() -> Vec<Row> {
    let get = |headers: &str| format!("GET /x HTTP/1.1\r\n{headers}\r\n");
    let post =
        |headers: &str, body: &str| format!("POST /x HTTP/1.1\r\nHost: api.test\r\n{headers}\r\n{body}");
    let large = "y".repeat(100 * 1024);
    vec![
        row("garbage", "\x01\x02 nonsense\r\n\r\n", &[400], MALFORMED),
        row(
            "a TLS ClientHello",
            [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196][..], &[0; 196]].concat(),
            &[400],
            MALFORMED,
        ),
        row("HTTP/0.9", "GET /x\r\n\r\n", &[400], MALFORMED),
        row("an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400], MALFORMED),
        row("a space in the target", "GET /a b HTTP/1.1\r\nHost: api.test\r\n\r\n", &[400], MALFORMED),
        row("NUL in the target", "GET /\0 HTTP/1.1\r\nHost: api.test\r\n\r\n", &[400], MALFORMED),
        row("NUL in a header", get("Host: api.test\r\nX: a\0b\r\n"), &[400], MALFORMED),
        row("a header without a colon", get("Host api.test\r\n"), &[400], MALFORMED),
        row("a doubled Host", get("Host: a\r\nHost: a\r\n"), &[400], MALFORMED),
        row(
            "two Content-Lengths that differ",
            post("Content-Length: 1\r\nContent-Length: 2\r\n", "a"),
            &[400],
            MALFORMED,
        ),
        row("a Content-Length that is no number", post("Content-Length: abc\r\n", ""), &[400], MALFORMED),
        row("a coding that is not chunked", post("Transfer-Encoding: gzip\r\n", ""), &[400], MALFORMED),
        row(
            "100 KiB of headers",
            get(&format!("Host: api.test\r\nX: {large}\r\n")),
            &[431],
            &[("rejected", "header_too_large")],
        ),
        row(
            "100 KiB of a target",
            format!("GET /{large} HTTP/1.1\r\n\r\n"),
            &[431],
            &[("rejected", "header_too_large")],
        ),
        row("half a head, then nothing", "GET /x HTTP/1.1\r\nHo", &[408], &[("rejected", "header_timeout")]),
        row("not a byte", "", &[], &[("rejected", "no_request")]),
        Row {
            then: Then::Finish,
            ..row("half a head, then FIN", "GET /x HT", &[], &[("rejected", "closed_in_header")])
        },
        Row { then: Then::Leave, ..row("opened and closed", "", &[], &[("rejected", "no_request")]) },
        row("no Host", get("X: y\r\n"), &[400], &[("completed", "missing_host")]),
        row("a malformed Host", get("Host: a b\r\n"), &[400], &[("completed", "bad_host")]),
        row(
            "a target that climbs out",
            "GET /../etc HTTP/1.1\r\nHost: api.test\r\n\r\n",
            &[400],
            &[("completed", "above_root")],
        ),
        row(
            "an encoded slash",
            "GET /a%2fb HTTP/1.1\r\nHost: api.test\r\n\r\n",
            &[400],
            &[("completed", "encoded_separator")],
        ),
        row(
            "the target *",
            "OPTIONS * HTTP/1.1\r\nHost: api.test\r\n\r\n",
            &[400],
            &[("completed", "asterisk_target")],
        ),
        row(
            "CONNECT",
            "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
            &[405],
            &[("completed", "connect")],
        ),
        row(
            "both lengths",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            &[400],
            &[("completed", "conflicting_length")],
        ),
        row(
            "a repeated Content-Length",
            post("Content-Length: 1\r\nContent-Length: 1\r\n", "a"),
            &[400],
            &[("completed", "repeated_length")],
        ),
        row(
            "a declared body beyond the limit",
            post("Content-Length: 1000000\r\n", "x"),
            &[413],
            &[("completed", "body_too_large")],
        ),
        row(
            "a chunked body beyond the limit",
            post("Transfer-Encoding: chunked\r\n", &format!("{:x}\r\n{large}\r\n", large.len())),
            &[413],
            &[("completed", "body_too_large")],
        ),
        row(
            "a good one, then a malformed one",
            format!("{GOOD}BAD\r\n\r\n"),
            &[200, 400],
            GOOD_THEN_MALFORMED,
        ),
        row(
            "a good one, then half a head",
            format!("{GOOD}GET /half HT"),
            &[200, 408],
            &[("completed", "-"), ("rejected", "header_timeout")],
        ),
        row(
            "three good ones, the last of which closes",
            format!("{GOOD}{GOOD}GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
            &[200, 200, 200],
            &[("completed", "-"), ("completed", "-"), ("completed", "-")],
        ),
    ]
}

#[test]
fn every_attempt_has_its_answer_and_its_record() {
    let upstream = Upstream::start();
    let settings = Settings {
        listener: ", timeouts: { header: 400ms, keepalive_idle: 10s }, limits: { header_bytes: 16KiB, body_bytes: 64KiB }",
        ..Settings::default()
    };
    let gateway = Gateway::start(upstream.address, &settings);
    let over = AtomicBool::new(false);
    let (rows, neighbour) = std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let mut client = gateway.connect();
            let mut served = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(client.get("/neighbour").status, 200);
                served += 1;
            }
            served
        });
        let clients: Vec<_> =
            rows().into_iter().map(|row| scope.spawn(|| (attempt(&gateway, &row), row))).collect();
        let rows: Vec<_> =
            clients.into_iter().map(|client| client.join().expect("a row is played")).collect();
        over.store(true, Ordering::Relaxed);
        (rows, neighbour.join().expect("neighbours are served"))
    });
    let rejected: usize =
        rows.iter().flat_map(|(_, row)| row.records).filter(|(kind, _)| *kind == "rejected").count();
    wait_for("all rejections are counted", || {
        let text = String::from_utf8(gateway.admin("/metrics").body).expect("text");
        let counted: usize = text
            .lines()
            .filter(|line| line.starts_with("sealgate_rejected_total"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
            .sum();
        (counted == rejected).then_some(())
    });

    let records = gateway.stop();
    for ((port, answers), row) in &rows {
        assert_eq!(answers, row.answers, "{}", row.name);
        let found = of_port(&records, *port);
        let words: Vec<_> = found.iter().map(|record| (text(&record["kind"]), word(record))).collect();
        assert_eq!(words, row.records, "{}", row.name);
        for record in found {
            if record["kind"] == "rejected" {
                assert!(record["bytes"].as_u64().expect("a number") <= row.sent.len() as u64, "{}", row.name);
                assert_eq!(record["listener"], "edge", "{}", row.name);
            }
        }
    }
    let neighbours = records.iter().filter(|record| record["request"]["path"] == "/neighbour").count();
    assert_eq!(neighbours, neighbour);
    let expected: usize = rows.iter().map(|(_, row)| row.records.len()).sum();
    assert_eq!(records.len(), expected + neighbours, "nothing is recorded twice");
}

/// Plays a row: the client's port, and the statuses that came until the gateway closed.
fn attempt(gateway: &Gateway, row: &Row) -> (u16, Vec<u16>) {
    let mut client: Client = gateway.connect();
    let port = client.port();
    client.send(&row.sent);
    match row.then {
        Then::Wait => {}
        Then::Finish => client.finish(),
        Then::Leave => return (port, Vec::new()),
    }
    let mut answers = Vec::new();
    while let Some(response) = client.response() {
        answers.push(response.status);
        if response.status >= 400 {
            let problem: Value = serde_json::from_slice(&response.body).expect("problem details");
            assert_eq!(problem["status"], response.status, "{}", row.name);
            assert_eq!(response.header("connection"), Some("close"), "{}", row.name);
            assert_eq!(response.header("server"), None, "{}", row.name);
        }
    }
    (port, answers)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn word(record: &Value) -> &str {
    text(if record["kind"] == "rejected" { &record["reason"] } else { &record["error"] })
}

#[test]
fn connections_beyond_a_limit_are_closed_and_recorded() {
    let upstream = Upstream::start();
    let settings = Settings { listener: ", limits: { connections_per_address: 2 }", ..Settings::default() };
    let gateway = Gateway::start(upstream.address, &settings);
    let mut first = gateway.connect();
    let mut second = gateway.connect();
    assert_eq!((first.get("/1").status, second.get("/2").status), (200, 200));
    let mut third = gateway.connect();
    let port = third.port();
    assert!(third.rest().is_empty());
    // Places are given back.
    drop(second);
    wait_for("a place is free again", || {
        let mut fourth = gateway.connect();
        fourth
            .send("GET /4 HTTP/1.1\r\nHost: api.test\r\n\r\n")
            .response()
            .filter(|response| response.status == 200)
    });
    assert_eq!(first.get("/still").status, 200);
    let records = gateway.stop();
    let third = of_port(&records, port);
    assert_eq!(third.len(), 1);
    assert_eq!((text(&third[0]["kind"]), word(third[0])), ("rejected", "connection_limit_per_address"));
}
