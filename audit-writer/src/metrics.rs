//! Every metric of the audit log, once. The gateway serves them beside its own.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::accounting::{Accounting, Reason, Stage};
use crate::ring::Ring;
use crate::time::Timestamp;

/// What the writer and the shipper set.
#[derive(Clone, Debug)]
pub struct AuditMetrics {
    pub(crate) segments_sealed: IntCounter,
    pub(crate) segments_uploaded: IntCounter,
    upload_failures: IntCounterVec,
    pub(crate) tree_size: IntGauge,
    pub(crate) oldest_unshipped: Gauge,
    pub(crate) spool_bytes: IntGauge,
    pub(crate) spool_limit_bytes: IntGauge,
    pub(crate) spool_seconds_left: Gauge,
    pub(crate) fsync: Histogram,
    pub(crate) upload: Histogram,
    pub(crate) strict_wait: Histogram,
    pub(crate) clock_error: Gauge,
    pub(crate) checkpoint_timestamp: Gauge,
    gap_timestamp: GaugeVec,
    registry: Registry,
}

/// Reasons of the gaps that a boot writes for the one before it.
const OF_THE_BOOT_BEFORE: [&str; 3] = ["crash", "spool_lost", "unfinished"];
/// Seconds: from a fast disk's cache to a disk in trouble.
const FSYNC_BUCKETS: [f64; 12] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0];
/// Seconds.
const UPLOAD_BUCKETS: [f64; 11] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

impl AuditMetrics {
    /// The metrics, registered in `registry`.
    ///
    /// # Errors
    /// They are registered there already.
    pub fn new(registry: &Registry) -> Result<AuditMetrics, prometheus::Error> {
        let gauge = |name: &str, help: &str| register(registry, Gauge::new(name, help)?);
        let int_gauge = |name: &str, help: &str| register(registry, IntGauge::new(name, help)?);
        let counters = |name: &str, help: &str, label: &str| {
            register(registry, IntCounterVec::new(Opts::new(name, help), &[label])?)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            register(
                registry,
                Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?,
            )
        };
        let segments = counters(
            "sealgate_audit_segments_total",
            "Segments by the stage that they have reached.",
            "stage",
        )?;
        let upload_failures = counters(
            "sealgate_audit_upload_failures_total",
            "Attempts to put an object into the store that failed, by kind.",
            "kind",
        )?;
        for kind in ["unavailable", "conflict"] {
            upload_failures.with_label_values(&[kind]);
        }
        let gap_timestamp = register(
            registry,
            GaugeVec::new(
                Opts::new(
                    "sealgate_audit_gap_timestamp_seconds",
                    "When this boot last wrote a gap, by reason, since the Unix epoch; 0 before the first.",
                ),
                &["reason"],
            )?,
        )?;
        for reason in Reason::ALL.map(Reason::as_str).into_iter().chain(OF_THE_BOOT_BEFORE) {
            gap_timestamp.with_label_values(&[reason]);
        }
        Ok(AuditMetrics {
            segments_sealed: segments.with_label_values(&["sealed"]),
            segments_uploaded: segments.with_label_values(&["uploaded"]),
            upload_failures,
            tree_size: int_gauge("sealgate_audit_tree_size", "Records of the log that are durable.")?,
            oldest_unshipped: gauge(
                "sealgate_audit_oldest_unshipped_seconds",
                "Age of the oldest segment that is not in the store; 0 where all are.",
            )?,
            spool_bytes: int_gauge("sealgate_audit_spool_bytes", "Bytes that the spool holds.")?,
            spool_limit_bytes: int_gauge(
                "sealgate_audit_spool_limit_bytes",
                "Bytes that the spool may hold; service is refused above.",
            )?,
            spool_seconds_left: gauge(
                "sealgate_audit_spool_seconds_left",
                "Time until the spool is full at the rate of the last minute, were the store away; +Inf at rest.",
            )?,
            fsync: histogram(
                "sealgate_audit_fsync_seconds",
                "Time to write and sync a group of records.",
                &FSYNC_BUCKETS,
            )?,
            upload: histogram(
                "sealgate_audit_upload_seconds",
                "Time to put a segment and its checkpoint into the store.",
                &UPLOAD_BUCKETS,
            )?,
            strict_wait: histogram(
                "sealgate_audit_strict_wait_seconds",
                "Time that a request of a strict route waited until its `received` record was durable.",
                &FSYNC_BUCKETS,
            )?,
            clock_error: gauge(
                "sealgate_audit_clock_error_seconds",
                "Bound of the system clock's error, as the kernel knows it; +Inf where it does not.",
            )?,
            checkpoint_timestamp: gauge(
                "sealgate_audit_checkpoint_timestamp_seconds",
                "When the last checkpoint was put into the store, since the Unix epoch; 0 before the first.",
            )?,
            gap_timestamp,
            registry: registry.clone(),
        })
    }

    pub(crate) fn upload_failed(&self, kind: &str) {
        self.upload_failures.with_label_values(&[kind]).inc();
    }

    pub(crate) fn gap_written(&self, reason: &str, at: Timestamp) {
        self.gap_timestamp.with_label_values(&[reason]).set(at.as_micros() as f64 / 1e6);
    }

    /// Serves what the hooks count, read at each scrape.
    ///
    /// # Errors
    /// It is registered already: one audit log a registry.
    pub(crate) fn register_ring(&self, ring: Arc<Ring>) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(RingCollector::new(ring)?))
    }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

const STAGES: [(&str, Stage); 4] = [
    ("written", Stage::Written),
    ("durable", Stage::Durable),
    ("sealed", Stage::Sealed),
    ("uploaded", Stage::Uploaded),
];

/// The families that are read from the ring and its accounting at a scrape.
struct RingCollector {
    ring: Arc<Ring>,
    descriptions: Vec<Desc>,
}

struct RingFamilies {
    records: IntCounterVec,
    lost: IntCounterVec,
    refused: IntCounterVec,
    refusing: IntGaugeVec,
    slots: IntGaugeVec,
    bytes: IntGauge,
}

impl RingFamilies {
    fn new() -> Result<RingFamilies, prometheus::Error> {
        let counters = |name, help, label| IntCounterVec::new(Opts::new(name, help), &[label]);
        Ok(RingFamilies {
            records: counters(
                "sealgate_audit_records_total",
                "Records by the stage that they have reached; captured = durable + queued + lost.",
                "stage",
            )?,
            lost: counters(
                "sealgate_audit_lost_total",
                "Records that could not be kept; each is declared by a gap record.",
                "reason",
            )?,
            refused: counters(
                "sealgate_audit_refused_total",
                "Requests that were refused because their record could not be kept.",
                "reason",
            )?,
            refusing: IntGaugeVec::new(
                Opts::new("sealgate_audit_refusing", "1 where service is refused for the reason, else 0."),
                &["reason"],
            )?,
            slots: IntGaugeVec::new(
                Opts::new(
                    "sealgate_audit_ring_slots",
                    "Slots of the ring: free, reserved, or filled (queued).",
                ),
                &["state"],
            )?,
            bytes: IntGauge::new("sealgate_audit_ring_bytes", "Bytes of the records that are queued.")?,
        })
    }

    fn read(&self, ring: &Ring) -> Vec<MetricFamily> {
        let accounting: &Accounting = ring.accounting();
        let (counters, lost) = accounting.by_reason();
        self.records.with_label_values(&["captured"]).inc_by(counters.captured);
        for (name, stage) in STAGES {
            let count = if stage == Stage::Durable { counters.durable } else { accounting.at(stage) };
            self.records.with_label_values(&[name]).inc_by(count);
        }
        for reason in Reason::ALL {
            self.lost.with_label_values(&[reason.as_str()]).inc_by(lost[reason as usize]);
            self.refused.with_label_values(&[reason.as_str()]).inc_by(accounting.refused_for(reason));
            self.refusing.with_label_values(&[reason.as_str()]).set(i64::from(ring.refuses(reason)));
        }
        let slots = ring.slots();
        for (state, count) in
            [("free", slots.free), ("reserved", slots.reserved), ("filled", counters.queued)]
        {
            self.slots.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.bytes.set(i64::try_from(ring.queued_bytes()).unwrap_or(i64::MAX));
        [
            self.records.collect(),
            self.lost.collect(),
            self.refused.collect(),
            self.refusing.collect(),
            self.slots.collect(),
            self.bytes.collect(),
        ]
        .concat()
    }

    fn descriptions(&self) -> Vec<Desc> {
        let parts = [
            self.records.desc(),
            self.lost.desc(),
            self.refused.desc(),
            self.refusing.desc(),
            self.slots.desc(),
            self.bytes.desc(),
        ];
        parts.into_iter().flatten().cloned().collect()
    }
}

impl RingCollector {
    fn new(ring: Arc<Ring>) -> Result<RingCollector, prometheus::Error> {
        let descriptions = RingFamilies::new()?.descriptions();
        Ok(RingCollector { ring, descriptions })
    }
}

impl Collector for RingCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let families = RingFamilies::new().expect("the same names were good when the collector was made");
        families.read(&self.ring)
    }
}
