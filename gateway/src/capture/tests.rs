//! Every way through a capture, with and without room on every step: each leaves one record of the end, or one declared
//! loss, or, where nothing was served, at least a counted refusal.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use audit_writer::audit_log::{AuditLog, StatusView};
use audit_writer::config::Instance;
use audit_writer::metrics::AuditMetrics;
use audit_writer::record::Counters;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use super::*;
use crate::config::Config;
use crate::edge::{Connection, Drain, Listener};
use crate::evidence::{Service, secure};
use crate::identity::Providers;
use crate::metrics::Metrics;
use crate::{admission, serve};

const SLOTS: usize = 16;

/// A gateway without sockets, on a log of its own.
struct Fixture {
    gateway: Arc<Gateway>,
    listener: Arc<Listener>,
    status: StatusView,
    log: Option<AuditLog>,
    _stop: watch::Sender<bool>,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let directory = tempfile::tempdir().expect("a directory");
        let config = Config::from_text("test", text(directory.path())).expect("a configuration");
        let registry = prometheus::Registry::new();
        let metrics = Metrics::new(registry.clone()).expect("metrics");
        let read = serve::FromFiles {
            hmac_key: None,
            providers: Providers::default(),
            pools: serve::pools(&config, &metrics).expect("no files"),
        };
        let instance = Instance { version: "test".into(), config: config.text().as_bytes().into() };
        let audit_metrics = AuditMetrics::new(&registry).expect("metrics");
        let log = AuditLog::open(serve::audit_config(&config.audit), instance, audit_metrics).expect("a log");
        let (stop, stopped) = watch::channel(false);
        let drain = Arc::new(Drain::default());
        let gateway =
            serve::gateway(&config, &metrics, &read, log.recorder(), stopped, drain.clone()).expect("routes");
        let listener = serve::edge_listener(&config.listen[0], None, &metrics, log.recorder(), drain);
        let (gateway, listener) = (Arc::new(gateway), Arc::new(listener));
        Fixture { gateway, listener, status: log.status_view(), log: Some(log), _stop: stop, directory }
    }

    fn counters(&self) -> Counters {
        self.status.read().counters
    }

    /// Holds every slot that is free.
    fn fill(&self) -> Vec<Ticket> {
        let ticket = || {
            let mut ticket = self.gateway.recorder.enter();
            ticket.try_reserve(Need::Record).then_some(ticket)
        };
        std::iter::from_fn(ticket).collect()
    }

    /// Waits until the writer has written what it has, so that the slots of that are free.
    async fn settle(&self) {
        while self.status.read().ring_slots_in_use > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let log = self.log.take().expect("it is stopped once");
        log.stop(std::time::Instant::now() + Duration::from_secs(10)).expect("a clean stop");
        // The store makes its files immutable where it may.
        let directory = self.directory.path();
        let _ = std::process::Command::new("chattr").args(["-R", "-i"]).arg(directory).output();
    }
}

fn text(directory: &Path) -> String {
    let at = directory.display();
    let routes: String = ["strict", "buffered", "best_effort"]
        .map(|mode| {
            format!(
                "  - {{ name: {mode}, match: {{ path_prefix: /{mode} }}, upstream: u, auth: none, audit: {{ durability: {mode} }} }}\n"
            )
        })
        .concat();
    format!(
        "version: 1
listen: [{{ name: edge, address: 127.0.0.1:0 }}]
upstreams: {{ u: {{ endpoints: {{ static: [127.0.0.1:1] }} }} }}
routes:
{routes}audit:
  log: test.localhost/gw-1
  key: {{ file: {at}/key, create: true }}
  create_log: true
  admit_timeout: 1ms
  sync_interval: 1ms
  ring: {{ slots: {SLOTS} }}
  spool: {{ path: {at}/spool, min_free: 0B }}
  store: {{ directory: {at}/store }}
"
    )
}

/// How much room there is for a request on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Free,
    /// For the first slot, and no other.
    One,
    None,
}

/// Where a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// Its task is dropped before the first hook.
    BeforeTheHead,
    /// Its task is dropped before it is decided whether it is served.
    BeforeTheDecision,
    /// Its task is dropped while it is served.
    Cut,
    /// A hook panics.
    Panic,
    /// It is logged as it should.
    Logged,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    request: &'static str,
    room: Room,
    exit: Exit,
    room_at_the_end: bool,
}

fn cases() -> impl Iterator<Item = Case> {
    let requests = [
        "GET /strict",
        "GET /buffered",
        "GET /best_effort",
        "STREAM /strict",
        "STREAM /buffered",
        "STREAM /best_effort",
        "GET /nowhere",
    ];
    let exits = [Exit::BeforeTheHead, Exit::BeforeTheDecision, Exit::Cut, Exit::Panic, Exit::Logged];
    requests.into_iter().flat_map(move |request| {
        [Room::Free, Room::One, Room::None].into_iter().flat_map(move |room| {
            exits.into_iter().flat_map(move |exit| {
                [true, false].map(|room_at_the_end| Case { request, room, exit, room_at_the_end })
            })
        })
    })
}

async fn session(request: &str) -> Session {
    let (method, path) = request.split_once(' ').expect("a method and a path");
    let accept = if method == "STREAM" { "Accept: text/event-stream\r\n" } else { "" };
    let (mut client, server) = tokio::io::duplex(1024);
    let head = format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n{accept}\r\n");
    client.write_all(head.as_bytes()).await.expect("room for a head");
    let mut session = Session::new_h1(Box::new(server));
    session.read_request().await.expect("a request");
    session
}

/// What the hooks of [`crate::proxy`] do; whether the request was served.
async fn play(fixture: &Fixture, case: Case) -> Option<bool> {
    let mut full = Vec::new();
    let mut session = session(case.request).await;
    let mut capture = Capture::new(fixture.gateway.clone());
    if case.room == Room::None {
        full = fixture.fill();
    }
    let mut served = None;
    if case.exit != Exit::BeforeTheHead {
        capture.ticket().try_reserve(Need::Record);
        capture.begin(&session);
        if case.room == Room::One {
            full = fixture.fill();
        }
    }
    if !matches!(case.exit, Exit::BeforeTheHead | Exit::BeforeTheDecision) {
        let admitted = admission::admit(&session, &mut capture);
        let service = if admitted.is_ok() { Service::Forward } else { Service::Answer };
        served = Some(secure(&session, &mut capture, service).await.is_ok());
    }
    // `received` may have been written by now, and have left its slot to others.
    if case.room_at_the_end {
        full.clear();
    } else {
        full.extend(fixture.fill());
    }
    match case.exit {
        Exit::Logged => capture.finish(&mut session, None),
        Exit::Panic => {
            let panicked = std::panic::catch_unwind(AssertUnwindSafe(move || {
                let _capture = capture;
                std::panic::resume_unwind(Box::new("a hook panics"));
            }));
            assert!(panicked.is_err());
        }
        _ => drop(capture),
    }
    served
}

#[tokio::test]
async fn each_request_is_on_the_log_or_declared_lost_or_was_refused() {
    let fixture = Fixture::new();
    for case in cases() {
        fixture.settle().await;
        let before = fixture.counters();
        let peer = ([127, 0, 0, 1], 40_000).into();
        let permit = fixture.listener.connections.admit([127, 0, 0, 1].into()).expect("a place");
        let attempt = Attempt::new(Connection::new(fixture.listener.clone(), peer, permit));
        let served = attempt.scope(play(&fixture, case)).await;
        let after = fixture.counters();

        let stream = case.request.starts_with("STREAM");
        let (strict, best_effort) =
            (case.request.ends_with("/strict"), case.request.ends_with("/best_effort"));
        let needs_two = stream || strict;
        let room = match case.room {
            Room::Free => true,
            Room::One => !needs_two,
            Room::None => false,
        };
        let decided = !matches!(case.exit, Exit::BeforeTheHead | Exit::BeforeTheDecision);
        let expected = decided.then_some(room || best_effort);
        assert_eq!(served, expected, "{case:?}");

        let begun = u64::from(decided && needs_two && room);
        let held = match (case.exit, case.room) {
            (Exit::BeforeTheHead, _) | (_, Room::None) => false,
            (_, Room::Free) => true,
            // Refused for want of the second, it has given back the first.
            (_, Room::One) => !decided || room || best_effort,
        };
        let recorded = u64::from(held || case.room_at_the_end);
        // Of an attempt whose head no hook has seen, the edge declares the loss.
        let owed = case.exit == Exit::BeforeTheHead || served == Some(true);
        let lost = u64::from(recorded == 0 && owed);
        let refused = u64::from(served == Some(false) || (recorded == 0 && !owed && !decided));
        let found =
            (after.captured - before.captured, after.lost - before.lost, after.refused - before.refused);
        assert_eq!(found, (begun + recorded + lost, lost, refused), "{case:?}");
        assert!(recorded + lost + refused >= 1, "{case:?}: nothing tells of it");
    }
}
