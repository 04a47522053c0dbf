//! HTTP/2 with the h2 library as the client: many streams at once, some of them taken back.

mod support;

use std::collections::HashMap;

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::{Method, Request, StatusCode};
use support::gateway::{Gateway, Settings, of_port};
use support::upstream::Upstream;
use tokio::net::TcpStream;

fn start(upstream: &Upstream) -> Gateway {
    Gateway::start(upstream.address, &Settings { listener: ", http2: true", ..Settings::default() })
}

/// A connection, driven in the background, and its port.
async fn connect(gateway: &Gateway) -> (SendRequest<Bytes>, u16) {
    let tcp = TcpStream::connect(gateway.address).await.expect("the gateway accepts");
    let port = tcp.local_addr().expect("an address").port();
    let (client, connection) = handshake(tcp).await.expect("HTTP/2 is spoken");
    tokio::spawn(connection);
    (client, port)
}

fn request(method: Method, path: &str) -> Request<()> {
    let uri = format!("http://api.test{path}");
    Request::builder().method(method).uri(uri).body(()).expect("a request")
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime").block_on(test)
}

#[test]
fn each_of_many_streams_has_one_record_whether_it_is_served_or_taken_back() {
    const CONNECTIONS: usize = 3;
    const STREAMS: usize = 30;
    let upstream = Upstream::start();
    let gateway = start(&upstream);
    let ports = block_on(async {
        let mut ports = Vec::new();
        let mut served = Vec::new();
        for _ in 0..CONNECTIONS {
            let (mut client, port) = connect(&gateway).await;
            ports.push(port);
            for number in 0..STREAMS {
                client = client.ready().await.expect("room for a stream");
                let taken_back = number % 3 == 0;
                let path = if taken_back { "/held/taken-back" } else { "/served" };
                let (response, mut body) =
                    client.send_request(request(Method::POST, path), false).expect("a stream");
                if taken_back {
                    served.push(tokio::spawn(async move {
                        // When the upstream has it, or sooner.
                        tokio::task::yield_now().await;
                        body.send_reset(h2::Reason::CANCEL);
                        assert!(response.await.is_err());
                    }));
                } else {
                    served.push(tokio::spawn(async move {
                        body.send_data(Bytes::from_static(b"hello"), true).expect("a body");
                        let mut response = response.await.expect("an answer");
                        assert_eq!(response.status(), StatusCode::OK);
                        while let Some(piece) = response.body_mut().data().await {
                            let length = piece.expect("a body").len();
                            response.body_mut().flow_control().release_capacity(length).expect("room");
                        }
                    }));
                }
            }
        }
        for stream in served {
            stream.await.expect("as it should be");
        }
        ports
    });
    upstream.release();
    let records = gateway.stop();
    for port in ports {
        let mut ends = HashMap::new();
        for record in of_port(&records, port) {
            assert_eq!((&record["kind"], &record["request"]["http"]), (&"completed".into(), &"2".into()));
            *ends.entry(record["end"].as_str().expect("an end").to_owned()).or_insert(0) += 1;
        }
        let expected = [("ok".to_owned(), STREAMS - STREAMS / 3), ("client_closed".to_owned(), STREAMS / 3)];
        assert_eq!(ends, HashMap::from(expected));
    }
}

#[test]
fn a_stream_is_told_apart_from_its_neighbours() {
    let upstream = Upstream::start();
    let gateway = start(&upstream);
    block_on(async {
        let (client, _) = connect(&gateway).await;
        let mut client = client.ready().await.expect("room for a stream");
        let (held, _) = client.send_request(request(Method::GET, "/held/first"), true).expect("a stream");
        let (cut, _) = client.send_request(request(Method::GET, "/half"), true).expect("a stream");
        let mut cut = cut.await.expect("a head");
        assert_eq!(cut.status(), StatusCode::OK);
        let broken = loop {
            if let Err(error) = cut.body_mut().data().await.expect("no clean end") {
                break error;
            }
        };
        assert_eq!(broken.reason(), Some(h2::Reason::CANCEL), "{broken}");
        upstream.release();
        assert_eq!(held.await.expect("an answer").status(), StatusCode::OK, "the others go on");
    });
    let records = gateway.stop();
    let ends: HashMap<_, _> = records
        .iter()
        .map(|record| (record["request"]["path"].as_str().expect("a path"), &record["end"]))
        .collect();
    let expected = [("/held/first", &"ok".into()), ("/half", &"upstream_failed".into())];
    assert_eq!(ends, HashMap::from(expected));
}
