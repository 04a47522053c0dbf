//! Whatever bytes clients send: what they are answered is what is recorded, in the same order, and nothing is missing.

mod support;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use support::gateway::{Gateway, Settings, of_port};
use support::upstream::Upstream;

const CONNECTIONS: usize = 300;
const AT_ONCE: usize = 16;

/// Pieces of requests, good and bad, in any order.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "GET /a HTTP/1.1\r\n",
        "POST /b HTTP/1.1\r\nHost: api.test\r\n",
        "DELETE http://api.test/c?d HTTP/1.1\r\n",
        "GET /old HTTP/1.0\r\n",
        "CONNECT api.test:443 HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "GET /a b HTTP/1.1\r\n",
        "Host: api.test\r\n",
        "Host: other.test\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "X: y\r\n",
        "X\0: y\r\n",
        "\r\n",
        "hello",
        "5\r\nhello\r\n0\r\n\r\n",
        "0\r\n\r\n",
        "zz\r\n",
    ]);
    let piece = prop_oneof![
        9 => known.prop_map(|text: &str| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

#[test]
fn what_is_answered_is_what_is_recorded() {
    let upstream = Upstream::start();
    let settings = Settings {
        listener: ", timeouts: { header: 300ms, body_idle: 300ms, keepalive_idle: 300ms }",
        ..Settings::default()
    };
    let gateway = Gateway::start(upstream.address, &settings);
    let mut runner = TestRunner::deterministic();
    let strategy = bytes();
    let sent: Vec<Vec<u8>> = (0..CONNECTIONS)
        .map(|_| strategy.new_tree(&mut runner).expect("a strategy without filters").current())
        .collect();
    let mut played = Vec::new();
    for batch in sent.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let clients: Vec<_> = batch.iter().map(|bytes| scope.spawn(|| play(&gateway, bytes))).collect();
            played.extend(clients.into_iter().map(|client| client.join().expect("a client")));
        });
    }
    let records = gateway.stop();
    for (bytes, (port, answered)) in sent.iter().zip(&played) {
        let text = bytes.escape_ascii();
        let found = of_port(&records, *port);
        assert!(!found.is_empty(), "no record of {text}");
        let recorded: Vec<u64> =
            found.iter().filter_map(|record| record["response"]["status"].as_u64()).collect();
        assert_eq!(&recorded, answered, "{text}\n{found:#?}");
    }
}

/// The client's port, and the final statuses that came until the gateway closed.
fn play(gateway: &Gateway, bytes: &[u8]) -> (u16, Vec<u64>) {
    let mut client = gateway.connect();
    let port = client.port();
    client.send(bytes);
    let answers = std::iter::from_fn(|| client.response());
    (port, answers.map(|response| u64::from(response.status)).filter(|status| *status >= 200).collect())
}
