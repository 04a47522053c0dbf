//! Requests as they come: each is answered as HTTP says, and recorded once as it was.

mod support;

use serde_json::Value;
use support::gateway::{Gateway, Settings, of_port};
use support::upstream::Upstream;
use support::wait_for;

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let routes = "  - { name: down, match: { path_prefix: /down }, upstream: down, auth: none }
  - { name: brief, match: { path_prefix: /silent }, upstream: main, auth: none, timeout: 300ms }
  - { name: kept, match: { path_prefix: /kept, methods: [GET, PUT] }, upstream: main, auth: none, rewrite: { strip_prefix: /kept }, audit: { headers: [user-agent, x-many] } }
  - { name: only, match: { hosts: [only.test], path_prefix: /only }, upstream: main, auth: none }";
    let gateway = Gateway::start(upstream.address, &Settings { routes, ..Settings::default() });
    (upstream, gateway)
}

fn only<'a>(records: &'a [Value], path: &str) -> &'a Value {
    let found: Vec<_> = records.iter().filter(|record| record["request"]["path"] == path).collect();
    assert_eq!(found.len(), 1, "one record of {path}");
    found[0]
}

#[test]
fn kept_and_pipelined_requests_are_answered_in_order_and_recorded_each() {
    let (_upstream, gateway) = start();
    let mut kept = gateway.connect();
    for number in 0..5 {
        assert_eq!(kept.get(&format!("/kept-{number}")).status, 200);
    }
    let mut pipelined = gateway.connect();
    let requests: String =
        (0..5).map(|number| format!("GET /piped-{number} HTTP/1.1\r\nHost: api.test\r\n\r\n")).collect();
    pipelined.send(requests);
    for number in 0..5 {
        let response = pipelined.response().expect("an answer");
        assert!(response.body.starts_with(format!("GET /piped-{number} ").as_bytes()));
    }
    let (kept_port, piped_port) = (kept.port(), pipelined.port());
    let records = gateway.stop();
    for (port, name) in [(kept_port, "kept"), (piped_port, "piped")] {
        let paths: Vec<_> =
            of_port(&records, port).iter().map(|record| record["request"]["path"].clone()).collect();
        assert_eq!(paths, (0..5).map(|number| format!("/{name}-{number}")).collect::<Vec<_>>());
    }
}

#[test]
fn what_goes_upstream_is_what_was_routed_and_says_where_it_came_from() {
    let (upstream, gateway) = start();
    let mut client = gateway.connect();
    client.send(
        "GET /kept/./a//%7Eb/../c?k=v&flag HTTP/1.1\r\nHost: API.test:80\r\nUser-Agent: probe\r\nX-Many: 1\r\n\
         X-Many: 2\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n\
         X-Request-Id: forged-by-a-client\r\nConnection: X-Drop\r\nX-Drop: me\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n",
    );
    let response = client.response().expect("an answer");
    let id = response.header("x-request-id").expect("an id").to_owned();
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.target, "/a/c?k=v&flag");
    let head = seen.head.to_ascii_lowercase();
    let all = |name: &str| {
        let prefix = format!("{name}: ");
        head.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(all("host"), ["api.test:80"]);
    assert_eq!(all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(all("x-forwarded-proto"), ["http"]);
    assert_eq!(all("x-forwarded-host"), ["api.test:80"]);
    assert_eq!(all("x-request-id"), [id.as_str()]);
    assert_eq!(all("traceparent").len(), 1);
    assert!(all("forwarded").is_empty() && all("x-drop").is_empty());

    let records = gateway.stop();
    let record = only(&records, "/kept/a/c");
    assert_eq!(record["request_id"], id);
    assert_eq!(record["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(record["request"]["raw"], "/kept/./a//%7Eb/../c");
    assert_eq!(record["request"]["host"], "api.test");
    assert_eq!(record["request"]["query"], serde_json::json!(["k", "flag"]));
    assert_eq!(record["request"]["headers"], serde_json::json!({ "user-agent": "probe", "x-many": "1, 2" }));
    assert_eq!(record["source"]["claimed"], serde_json::json!(["6.6.6.6"]));
    assert_eq!((&record["route"], &record["end"]), (&"kept".into(), &"ok".into()));
}

#[test]
fn what_no_route_takes_is_answered_with_what_would_be() {
    let (_upstream, gateway) = start();
    let mut client = gateway.connect();
    client.send("DELETE /kept/1 HTTP/1.1\r\nHost: api.test\r\n\r\n");
    // `all` takes it: the route with the longer path has the wrong method.
    assert_eq!(client.response().expect("an answer").status, 200);
    let records = gateway.stop();
    assert_eq!(only(&records, "/kept/1")["route"], "all");
}

#[test]
fn an_upstream_that_fails_is_told_apart_from_one_that_is_slow() {
    let (_upstream, gateway) = start();
    let mut statuses = Vec::new();
    for path in ["/down/1", "/hang-up/1", "/silent/1"] {
        let response = gateway.connect().get(path);
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        let problem: Value = serde_json::from_slice(&response.body).expect("problem details");
        assert_eq!(problem["request_id"], response.header("x-request-id").expect("an id"));
        statuses.push(response.status);
    }
    assert_eq!(statuses, [502, 502, 504]);
    let mut half = gateway.connect();
    half.send("GET /half/1 HTTP/1.1\r\nHost: api.test\r\n\r\n");
    assert!(half.rest().ends_with(b"half"));
    let records = gateway.stop();
    for (path, status, end, error) in [
        ("/down/1", 502, "upstream_failed", Some("ConnectRefused")),
        ("/hang-up/1", 502, "upstream_failed", Some("ConnectionClosed")),
        ("/silent/1", 504, "timeout", None),
        ("/half/1", 200, "upstream_failed", None),
    ] {
        let record = only(&records, path);
        assert_eq!((&record["response"]["status"], &record["end"]), (&status.into(), &end.into()), "{path}");
        if let Some(error) = error {
            assert_eq!(record["error"], error, "{path}");
        }
    }
}

#[test]
fn bodies_pass_in_every_framing_and_are_counted() {
    let (upstream, gateway) = start();
    let mut client = gateway.connect();
    client.send(
        "POST /counted HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    assert_eq!(client.response().expect("an answer").status, 200);
    assert_eq!(upstream.seen().pop().expect("a request").body, b"hello");
    client.send("HEAD /headed HTTP/1.1\r\nHost: api.test\r\n\r\n");
    assert_eq!(client.head().expect("a head").0, 200);
    let streamed = client.get("/chunked/1");
    assert_eq!(streamed.body, b"hello world");
    client.send(
        "POST /continue/1 HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert_eq!(client.head().expect("an interim answer").0, 100);
    client.send("body");
    assert_eq!(client.response().expect("an answer").status, 200);
    let hop = gateway.connect().get("/hop/1");
    assert_eq!(
        (hop.header("x-private"), hop.header("keep-alive"), hop.header("x-public")),
        (None, None, Some("1"))
    );
    let records = gateway.stop();
    let bytes = |path: &str| {
        let record = only(&records, path);
        (
            record["request"]["bytes"].as_u64(),
            record["response"]["bytes"].as_u64(),
            record["response"]["status"].as_u64(),
        )
    };
    assert_eq!(bytes("/counted").0, Some(5));
    assert_eq!(bytes("/headed"), (Some(0), Some(0), Some(200)));
    assert_eq!(bytes("/chunked/1").1, Some(11));
    assert_eq!((bytes("/continue/1").0, bytes("/continue/1").2), (Some(4), Some(200)));
}

#[test]
fn an_upstream_of_http_1_0_is_answered_for_in_http_1_1() {
    let (_upstream, gateway) = start();
    let mut client = gateway.connect();
    for (path, status, body) in [
        ("/old/length", 200, &b"old"[..]),
        ("/old/end", 200, b"old, until the end"),
        ("/old/empty", 204, b""),
    ] {
        // One connection for all: the client is told where each ends.
        let response = client.get(path);
        assert!(response.head.starts_with("HTTP/1.1 "), "{}", response.head);
        assert_eq!((response.status, &*response.body), (status, body), "{path}");
        assert_eq!(response.header("connection"), Some("keep-alive"), "{path}");
    }
    for (path, body) in [("/old/end", &b"old, until the end"[..]), ("/chunked/1", b"hello world")] {
        let mut client = gateway.connect();
        client.send(format!("GET {path} HTTP/1.0\r\nHost: api.test\r\nConnection: keep-alive\r\n\r\n"));
        let response = client.response().expect("an answer");
        assert!(response.head.starts_with("HTTP/1.1 200 "), "{}", response.head);
        assert_eq!(
            (response.header("transfer-encoding"), response.header("connection")),
            (None, Some("close"))
        );
        assert_eq!(response.body, body, "{path}: no chunks for who cannot read them");
    }
    gateway.stop();
}

#[test]
fn a_client_that_leaves_is_recorded_as_gone() {
    let (upstream, gateway) = start();
    let mut client = gateway.connect();
    client.send("GET /held/1 HTTP/1.1\r\nHost: api.test\r\n\r\n");
    wait_for("the upstream has the request", || (!upstream.seen().is_empty()).then_some(()));
    drop(client);
    wait_for("the request has ended", || {
        (gateway.metric("sealgate_http_requests_in_flight") == 0.0).then_some(())
    });
    let records = gateway.stop();
    let record = only(&records, "/held/1");
    assert_eq!((&record["kind"], &record["end"]), (&"completed".into(), &"client_closed".into()));
    assert_eq!(record["response"], Value::Null);
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways_and_is_recorded_at_its_begin_and_end() {
    let (_upstream, gateway) = start();
    // More than one: Pingora may lose a race with a quick 101 (see `upstream::connect_anew`).
    let ports: Vec<u16> = (0..20)
        .map(|_| {
            let mut client = gateway.connect();
            client.send(
                "GET /upgrade HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            );
            assert_eq!(client.head().expect("a head").0, 101);
            client.send("ping");
            assert_eq!(client.exactly(4).expect("an echo"), b"ping");
            client.finish();
            client.rest();
            client.port()
        })
        .collect();
    let records = gateway.stop();
    for port in ports {
        let found = of_port(&records, port);
        let kinds: Vec<_> = found.iter().map(|record| record["kind"].as_str()).collect();
        assert_eq!(kinds, [Some("received"), Some("completed")]);
        assert_eq!(found[0]["request_id"], found[1]["request_id"]);
        let response = &found[1]["response"];
        assert_eq!((&response["status"], &response["bytes"]), (&101.into(), &4.into()));
    }
}

#[test]
fn a_request_that_cannot_be_recorded_is_not_served() {
    let upstream = Upstream::start();
    let settings = Settings { audit: "  admit_timeout: 50ms\n  ring: { slots: 16 }", ..Settings::default() };
    let gateway = Gateway::start(upstream.address, &settings);
    let mut holders: Vec<_> = (0..16).map(|_| gateway.connect()).collect();
    for holder in &mut holders {
        holder.send("GET /held HTTP/1.1\r\nHost: api.test\r\n\r\n");
    }
    wait_for("the upstream has them", || (upstream.seen().len() == 16).then_some(()));
    let refused = gateway.connect().get("/refused");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(gateway.metric("sealgate_audit_refused_total{reason=\"ring_full\"}"), 1.0);
    assert_eq!(upstream.seen().len(), 16, "it was not forwarded");
    upstream.release();
    for holder in &mut holders {
        assert_eq!(holder.response().expect("an answer").status, 200);
    }
    let records = gateway.stop();
    assert_eq!(records.iter().filter(|record| record["request"]["path"] == "/held").count(), 16);
    // A slot may have become free by the time that the refusal was recorded. Nothing was served, so nothing is lost.
    assert!(records.iter().filter(|record| record["request"]["path"] == "/refused").count() <= 1);
    assert!(records.iter().all(|record| record["kind"] != "gap"));
}
