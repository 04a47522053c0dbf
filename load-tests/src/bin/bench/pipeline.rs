//! Ring to durable record: what the writer's core can take, against hashing and compressing the same bytes alone.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use audit_writer::{
    audit_log::AuditLog,
    config::{AuditConfig, Instance, KeyConfig, RingConfig, SegmentConfig, SpoolConfig, StoreConfig},
    merkle::{CompactRange, leaf_hash},
    metrics::AuditMetrics,
    record::Entry,
    ring::Need,
    segment::{EXTENSION, FRAME_TARGET},
};
use load_tests::folder;

use crate::{
    cores::{MEASURED, OTHER, bind_thread, process_time, thread_time},
    median::median,
    record::{MAX_RECORD, exchanges},
    report::{Line, Report},
};

const RECORDS: u64 = 1_500_000;
const ANCHOR_ROUNDS: usize = 3;
/// Nothing here takes longer, unless something is broken.
const LIMIT: Duration = Duration::from_secs(120);

/// An audit log of its own, as `sealgate proxy` would open it.
pub(crate) struct Pipeline {
    pub(crate) log: AuditLog,
}

impl Pipeline {
    /// A new log in `folder`. Its threads run where the calling thread may run now.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Pipeline> {
        fs::create_dir_all(folder)?;
        let config = AuditConfig {
            log: "bench.localhost/gw-1".parse()?,
            key: KeyConfig { file: folder.join("gateway.key"), create: true },
            create_log: true,
            sync_interval: Duration::from_millis(20),
            heartbeat_interval: Duration::from_secs(300),
            max_record: MAX_RECORD,
            ring: RingConfig { slots: 65_536, max_bytes: 256 << 20 },
            spool: SpoolConfig {
                path: folder.join("spool"),
                max_bytes: 10 << 30,
                min_free: 64 << 20,
                warn_at_percent: 80,
            },
            segment: SegmentConfig {
                max_bytes: 64 << 20,
                max_age: Duration::from_secs(60),
                compression_level: 1,
            },
            store: StoreConfig::Directory(folder.join("store")),
        };
        let about = Instance {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: Arc::from(&b"version: 1\n"[..]),
        };
        let metrics = AuditMetrics::new(&prometheus::Registry::new())?;
        let log = AuditLog::open(config, about, metrics).context("cannot open the audit log")?;
        Ok(Pipeline { log })
    }

    /// Seals and ships what is left.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.log.stop(Instant::now() + LIMIT).context("cannot stop the audit log")?;
        Ok(())
    }
}

/// Waits until so many captured records are durable.
pub(crate) fn wait_until_durable(log: &AuditLog, count: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    while log.status_view().read().counters.durable < count {
        ensure!(Instant::now() < deadline, "the records were not durable within {} s", LIMIT.as_secs());
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What the pipeline took.
struct Took {
    /// Until all records were durable.
    wall: Duration,
    /// Processor time of all threads behind the ring, for a record.
    nanoseconds: f64,
    /// How often the ring was full: more than never, and the writer was what limited it.
    full: u64,
}

/// Measures both, and leaves the store in `folder`.
pub(crate) fn measure(folder: &Path) -> anyhow::Result<Report> {
    bind_thread(MEASURED)?;
    let pipeline = Pipeline::open(folder)?;
    bind_thread(OTHER)?;
    let took = run(pipeline)?;

    let chunks = chunks(folder)?;
    let bytes: usize = chunks.iter().map(Vec::len).sum();
    let lines = chunks.iter().flatten().filter(|byte| **byte == b'\n').count();
    bind_thread(MEASURED)?;
    let mut rounds = Vec::new();
    for _ in 0..ANCHOR_ROUNDS {
        rounds.push(hash_and_compress(&chunks)?.as_nanos() as f64 / lines as f64);
    }
    let anchor = median(rounds);
    let limit = if took.full > 0 { "the writer" } else { "the hook" };
    Ok(Report {
        title: "ring to durable record",
        how: format!(
            "{RECORDS} records of {} bytes: numbered, hashed, written, synced, compressed, sealed and shipped on core {MEASURED}; \
             made on core {OTHER}; {limit} was what limited it",
            bytes / lines
        ),
        lines: vec![
            Line {
                what: "all threads behind the ring, processor time a record".into(),
                figure: format!("{:.0} ns", took.nanoseconds),
                ratio: Some(took.nanoseconds / anchor),
                target: "at most 1.25 ×",
            },
            Line::anchor("leaf, nodes and zstd -1 of the same bytes", format!("{anchor:.0} ns")),
            Line {
                what: "records durable, a second of the wall clock".into(),
                figure: format!("{:.0}", RECORDS as f64 / took.wall.as_secs_f64()),
                ratio: None,
                target: "at least 550,000",
            },
        ],
    })
}

/// Fills the ring as fast as it takes records, until all of them are in the store.
fn run(pipeline: Pipeline) -> anyhow::Result<Took> {
    let (process, thread) = (process_time(), thread_time());
    let recorder = pipeline.log.recorder();
    let exchanges = exchanges();
    let started = Instant::now();
    let mut full = 0;
    for exchange in exchanges.iter().cycle().take(RECORDS as usize) {
        let mut ticket = recorder.enter();
        while !ticket.try_reserve(Need::Record) {
            full += 1;
            ensure!(started.elapsed() < LIMIT, "the writer did not keep up at all");
            thread::sleep(Duration::from_micros(200));
        }
        let entry = Entry::ended(&exchange.record(ticket.since(), recorder.boot()), MAX_RECORD);
        ticket.end(entry);
    }
    wait_until_durable(&pipeline.log, RECORDS)?;
    let wall = started.elapsed();
    pipeline.stop()?;
    let behind_the_ring = (process_time() - process) - (thread_time() - thread);
    Ok(Took { wall, nanoseconds: behind_the_ring.as_nanos() as f64 / RECORDS as f64, full })
}

/// The lines of the log as they were written, in pieces of a frame's size.
fn chunks(folder: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut chunks = Vec::new();
    for path in segments(&folder.join("store"))? {
        let raw = zstd::decode_all(fs::File::open(&path)?)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let mut chunk = Vec::with_capacity(FRAME_TARGET * 2);
        for line in raw.split_inclusive(|byte| *byte == b'\n') {
            chunk.extend_from_slice(line);
            if chunk.len() >= FRAME_TARGET {
                chunks.push(std::mem::replace(&mut chunk, Vec::with_capacity(FRAME_TARGET * 2)));
            }
        }
        chunks.push(chunk);
    }
    Ok(chunks)
}

/// The segments of a store.
pub(crate) fn segments(store: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let is_segment = |path: &PathBuf| path.to_str().is_some_and(|path| path.ends_with(EXTENSION));
    Ok(folder::files(store)?.into_iter().filter(is_segment).collect())
}

/// What nobody can do without: each line's leaf hash, the tree over them, and the compressed bytes.
fn hash_and_compress(chunks: &[Vec<u8>]) -> anyhow::Result<Duration> {
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    compressor.set_parameter(zstd::stream::raw::CParameter::ChecksumFlag(true))?;
    let mut tree = CompactRange::new(0);
    let mut compressed = 0;
    let started = thread_time();
    for chunk in chunks {
        for line in chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            tree.push(leaf_hash(line));
        }
        compressed += compressor.compress(chunk)?.len();
    }
    let took = thread_time() - started;
    std::hint::black_box((tree.root()?, compressed));
    Ok(took)
}
