//! One process: the real recovery, ring, writer and shipper on the simulated disk, on one thread.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use prometheus::Registry;

use super::disk::{Part, SPOOL, STORE, SimDisk};
use super::model::{Boot, Captured};
use super::op::{Mode, Run};
use super::read::rest;
use crate::accounting::Reason;
use crate::audit_log::{Assembled, OpenError, assemble};
use crate::checkpoint::SigningKey;
use crate::config::{AuditConfig, Instance, KeyConfig, RingConfig, SegmentConfig, SpoolConfig, StoreConfig};
use crate::ids::Seq;
use crate::metrics::AuditMetrics;
use crate::record::{
    Counters, End, Ended, Entry, Headers, KindEnded, KindReceived, QueryKeys, QueryPairs, Received, Request,
    Response, Source, Unnumbered, V1,
};
use crate::ring::{Need, Recorder, Ticket};
use crate::ship::Try;
use crate::time::Timestamp;
use crate::writer::Round;

/// The log's name.
pub(super) const LOG: &str = "a.test/1";
const MAX_RECORD: usize = 4096;

/// One key for all runs: what it signs is the same on every machine.
static KEY: LazyLock<Arc<SigningKey>> =
    LazyLock::new(|| Arc::new(SigningKey::from_seed(LOG.parse().expect("a log's name"), &[7; 32])));

/// The log's key.
pub(super) fn key() -> &'static SigningKey {
    &KEY
}

/// What a strict request waits for: whether its `received` is durable.
type Wait = Pin<Box<dyn Future<Output = bool>>>;

/// A request that was received, and has not ended.
struct InFlight {
    ticket: Ticket,
    /// The place of its `received` among what was captured.
    received: Option<usize>,
    /// It is served (`best_effort`) though the spool cannot be told that it is: where the process dies before it can, the
    /// next one cannot know.
    untold: bool,
    id: String,
    path: String,
    /// Strict: not to be served before this says that its `received`, at that place of those captured, is durable.
    waits: Option<(usize, Wait)>,
}

/// A process.
pub(super) struct Gateway {
    log: Assembled,
    disk: SimDisk,
    in_flight: Vec<InFlight>,
    next_id: u32,
}

/// How the configuration is.
pub(super) fn config(run: &Run, create_log: bool) -> AuditConfig {
    let long = Duration::from_secs(3600);
    AuditConfig {
        log: LOG.parse().expect("a log's name"),
        key: KeyConfig { file: PathBuf::from("/unused"), create: false },
        create_log,
        sync_interval: Duration::from_millis(20),
        heartbeat_interval: if run.heartbeats { Duration::ZERO } else { long },
        max_record: MAX_RECORD,
        ring: RingConfig { slots: run.slots, max_bytes: 1 << 30 },
        spool: SpoolConfig { path: SPOOL.into(), max_bytes: 1 << 30, min_free: 1 << 20, warn_at_percent: 80 },
        segment: SegmentConfig { max_bytes: run.segment_bytes, max_age: long, compression_level: 1 },
        store: StoreConfig::Directory(STORE.into()),
    }
}

impl Gateway {
    /// Starts a process.
    pub(super) fn start(
        disk: &SimDisk,
        run: &Run,
        boot: &str,
        create_log: bool,
    ) -> Result<Gateway, OpenError> {
        disk.set_part(Part::Recovery);
        let metrics = AuditMetrics::new(&Registry::new()).expect("a registry of its own");
        // Each boot has a configuration of its own, as after an upgrade: it must reach the store before its records.
        let instance = Instance { version: "0".into(), config: format!("# {boot}\n").into_bytes().into() };
        let log = assemble(
            Arc::new(disk.clone()),
            KEY.clone(),
            config(run, create_log),
            instance,
            boot.to_owned(),
            metrics,
        )?;
        Ok(Gateway { log, disk: disk.clone(), in_flight: Vec::new(), next_id: 0 })
    }

    /// A request is received and, where its mode and the ring allow it, served.
    pub(super) fn request(&mut self, mode: Mode, path_bytes: u16, boot: &mut Boot) {
        self.disk.set_part(Part::Request);
        boot.quiet = false;
        let recorder = Recorder::new(self.log.ring.clone());
        let mut ticket = recorder.enter();
        let need = match mode {
            Mode::Buffered | Mode::BestEffort => Need::Record,
            Mode::Strict => Need::BeginAndEnd,
            Mode::Stream => Need::Stream,
        };
        let got = ticket.try_reserve(need);
        if !got && mode != Mode::BestEffort {
            recorder.refused(recorder.refusing().unwrap_or(Reason::RingFull));
            return;
        }
        self.next_id += 1;
        let id = format!("{}-{:04}", boot.name, self.next_id);
        let path = format!("/{}", "p".repeat(path_bytes.into()));
        let mut in_flight = InFlight {
            ticket,
            received: None,
            untold: recorder.refusing() == Some(Reason::WriterFailed),
            id,
            path,
            waits: None,
        };
        if got && matches!(mode, Mode::Strict | Mode::Stream) {
            let entry = in_flight.received(&boot.name);
            in_flight.received = Some(boot.captured.len());
            boot.captured.push(captured(&entry, in_flight.ticket.since(), None));
            if mode == Mode::Strict {
                let durable = in_flight.ticket.begin_durably(entry);
                let place = boot.captured.len() - 1;
                in_flight.waits = Some((place, Box::pin(async { durable.wait().await.is_ok() })));
            } else {
                in_flight.ticket.begin(entry);
            }
        }
        self.in_flight.push(in_flight);
    }

    /// A request ends.
    pub(super) fn end(&mut self, which: usize, boot: &mut Boot) {
        if !self.in_flight.is_empty() {
            let in_flight = self.in_flight.remove(which % self.in_flight.len());
            self.hand_over_end(in_flight, boot);
        }
    }

    fn hand_over_end(&self, in_flight: InFlight, boot: &mut Boot) {
        let entry = in_flight.ended(&boot.name);
        let record = captured(&entry, in_flight.ticket.since(), in_flight.received);
        let (before, untold) = (self.counters(), in_flight.untold);
        in_flight.ticket.end(entry);
        let after = self.counters();
        if after.lost > before.lost {
            boot.lost.push((!untold).then_some(record.ts));
        } else {
            boot.captured.push(record);
        }
    }

    /// The writer's thread goes round.
    pub(super) fn write(&mut self) -> Round {
        self.disk.set_part(Part::Writer);
        self.log.writer.listen();
        self.log.writer.retry_now();
        self.log.writer.step()
    }

    /// So much time passes that everything is due.
    pub(super) fn let_time_pass(&mut self) {
        self.log.writer.let_time_pass();
    }

    /// The shipper's thread goes round.
    pub(super) fn ship(&mut self) -> Try {
        self.disk.set_part(Part::Shipper);
        self.log.shipper.take();
        self.log.shipper.step()
    }

    /// SIGTERM, once all requests have ended; ships what is left. Whether the writer says that all is well.
    pub(super) fn stop(self) -> bool {
        let Gateway { log, disk, in_flight, .. } = self;
        drop(in_flight);
        disk.set_part(Part::Writer);
        let Assembled { writer, mut shipper, .. } = log;
        // The thread's panic is what whoever joins it learns.
        let finish = AssertUnwindSafe(|| writer.finish(Instant::now()));
        let stopped = std::panic::catch_unwind(finish).is_ok_and(|finished| finished.is_ok());
        disk.set_part(Part::Shipper);
        shipper.take();
        for _ in 0..3 {
            while shipper.step() == Try::Shipped {}
        }
        stopped
    }

    /// What the strict waiters learn: the places, among those captured, of the records that they were told to be
    /// durable. Who is refused ends with that.
    pub(super) fn poll(&mut self, boot: &mut Boot) -> Vec<usize> {
        let context = &mut Context::from_waker(Waker::noop());
        let (mut durable, mut refused) = (Vec::new(), Vec::new());
        for (at, in_flight) in self.in_flight.iter_mut().enumerate() {
            let Some((place, waits)) = &mut in_flight.waits else { continue };
            match waits.as_mut().poll(context) {
                Poll::Pending => continue,
                Poll::Ready(true) => durable.push(*place),
                Poll::Ready(false) => refused.push(at),
            }
            in_flight.waits = None;
        }
        for at in refused.into_iter().rev() {
            let in_flight = self.in_flight.remove(at);
            self.hand_over_end(in_flight, boot);
        }
        durable
    }

    pub(super) fn counters(&self) -> Counters {
        self.log.ring.accounting().snapshot()
    }

    /// Records of the log that are durable.
    pub(super) fn tree_size(&self) -> u64 {
        self.log.writer.next_seq().0
    }

    pub(super) fn refusing(&self) -> Option<Reason> {
        self.log.ring.refusing()
    }

    /// Requests that were served and have no record.
    pub(super) fn unrecorded(&self) -> Vec<Timestamp> {
        let served =
            self.in_flight.iter().filter(|in_flight| !in_flight.ticket.is_begun() && !in_flight.untold);
        served.map(|in_flight| in_flight.ticket.since()).collect()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

impl InFlight {
    fn request(&self) -> Request<'_> {
        Request {
            method: "GET",
            scheme: "http",
            host: "api.test",
            path: &self.path,
            raw: None,
            query: QueryKeys::default(),
            query_values: QueryPairs::default(),
            http: "1.1",
            bytes: 0,
            body_sha256: None,
            content_digest: None,
            headers: Headers::default(),
        }
    }

    fn received(&self, boot: &str) -> Entry {
        let record = Received {
            seq: Unnumbered,
            v: V1,
            kind: KindReceived,
            ts: self.ticket.since(),
            boot,
            request_id: &self.id,
            trace_id: None,
            listener: "edge",
            actor: None,
            source: source(),
            tls: None,
            request: self.request(),
            route: None,
            action: None,
            decision: None,
            config: "00000000",
            trunc: None,
        };
        Entry::received(&record, MAX_RECORD)
    }

    fn ended(&self, boot: &str) -> Entry {
        let record = Ended {
            seq: Unnumbered,
            v: V1,
            kind: KindEnded::Completed,
            ts: self.ticket.since(),
            boot,
            request_id: &self.id,
            trace_id: None,
            listener: "edge",
            actor: None,
            source: source(),
            tls: None,
            request: self.request(),
            route: None,
            action: None,
            decision: None,
            upstream: None,
            response: Some(Response { status: 200, bytes: 2, body_sha256: None }),
            end: End::Ok,
            error: None,
            duration_us: 5,
            config: "00000000",
            trunc: None,
        };
        Entry::ended(&record, MAX_RECORD)
    }
}

fn source() -> Source<'static> {
    Source { ip: [127, 0, 0, 1].into(), port: 1, peer: None, claimed: &[] }
}

/// A record as it is handed over.
fn captured(entry: &Entry, ts: Timestamp, received: Option<usize>) -> Captured {
    let mut line = Vec::new();
    entry.number(Seq(0), &mut line);
    line.pop();
    Captured { ts, rest: rest(&line).to_vec(), received }
}

/// What the waits of strict requests need to be asked: the timers of a runtime, which here never go off.
pub(super) fn timers() -> tokio::runtime::EnterGuard<'static> {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
    });
    RUNTIME.enter()
}
