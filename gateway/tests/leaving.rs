//! The gateway leaves without losing a request or a record, and does not start where it cannot serve.

mod support;

use std::net::TcpListener;
use std::process::Stdio;

use support::gateway::{Gateway, Settings, command, configuration};
use support::upstream::Upstream;
use support::wait_for;

const IN_FLIGHT: usize = 64;

#[test]
fn requests_in_flight_are_answered_and_recorded_before_the_end() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(upstream.address, &Settings::default());
    let mut clients: Vec<_> = (0..IN_FLIGHT).map(|_| gateway.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /held/{number} HTTP/1.1\r\nHost: api.test\r\n\r\n"));
    }
    let idle = gateway.connect();
    wait_for("all are in flight", || (upstream.seen().len() == IN_FLIGHT).then_some(()));
    gateway.signal("TERM");
    wait_for("nothing is accepted any more", || std::net::TcpStream::connect(gateway.address).err());
    upstream.release();
    for client in &mut clients {
        let response = client.response().expect("an answer");
        assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    }
    assert!(gateway.wait().success());
    drop(idle);
    let records = gateway.records();
    let completed = records.iter().filter(|record| record["kind"] == "completed" && record["end"] == "ok");
    assert_eq!(completed.count(), IN_FLIGHT);
}

#[test]
fn a_lame_duck_is_not_ready_and_still_serves_and_a_second_signal_cuts_it_short() {
    let upstream = Upstream::start();
    let settings = Settings { shutdown: "{ lameduck: 1h, timeout: 1h }", ..Settings::default() };
    let mut gateway = Gateway::start(upstream.address, &settings);
    assert_eq!(gateway.admin("/readyz").status, 200);
    gateway.signal("HUP");
    gateway.signal("TERM");
    wait_for("it is not ready", || (gateway.admin("/readyz").status == 503).then_some(()));
    assert_eq!(gateway.admin("/livez").status, 200);
    let mut held = gateway.connect();
    held.send("GET /held/1 HTTP/1.1\r\nHost: api.test\r\n\r\n");
    wait_for("a request is in flight", || (!upstream.seen().is_empty()).then_some(()));
    gateway.signal("INT");
    wait_for("nothing is accepted any more", || std::net::TcpStream::connect(gateway.address).err());
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let records = gateway.records();
    let cut: Vec<_> = records.iter().filter(|record| record["request"]["path"] == "/held/1").collect();
    assert_eq!(cut.len(), 1);
    assert_eq!((&cut[0]["kind"], &cut[0]["end"]), (&"aborted".into(), &"shutdown".into()));
}

#[test]
fn an_address_in_use_is_fatal_before_anything_is_served() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("sealgate.yaml");
    let text = configuration(Upstream::start().address, &Settings::default());
    std::fs::write(&config, text.replacen("127.0.0.1:0", &address.to_string(), 1)).expect("a file");
    let output = command(&config).stderr(Stdio::piped()).output().expect("sealgate runs");
    assert_eq!(output.status.code(), Some(75));
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(error.contains(&address.to_string()) && error.contains("edge"), "{error}");
    assert!(!directory.path().join("spool").exists());
}
