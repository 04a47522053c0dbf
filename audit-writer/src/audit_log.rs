//! The audit log of one gateway, put together: recovery, ring, writer thread, shipper thread.

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use serde::Serialize;
use tokio::sync::watch;

use crate::accounting::Reason;
use crate::checkpoint::{LogName, SigningKey};
use crate::config::{AuditConfig, Instance, StoreConfig};
use crate::disk::{Disk, RealDisk};
use crate::key_file::{self, KeyFileError};
use crate::metrics::AuditMetrics;
use crate::progress::{Progress, Shipped};
use crate::record::Counters;
use crate::recover::{RecoverError, Recovery};
use crate::ring::{Recorder, Ring};
use crate::ship::{Fatal, Shipper, ShipperParts};
use crate::spool::{Spool, SpoolError};
use crate::store::{DirectoryStore, Layout, Store};
use crate::watermark::Watermark;
use crate::writer::{Control, Parts, WriteError, Writer};

/// Messages to the writer, which takes them all every `sync_interval`.
const CONTROLS: usize = 64;

/// What a thread gets beyond the deadline of a stop, to end what it is doing.
const GRACE: Duration = Duration::from_secs(1);

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// No spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The start-up audit found something.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The first records cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A thread, or a metric, cannot be made.
    #[error("cannot {doing}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// 70 where evidence is broken, 75 where trying again may help, 78 where the configuration is wrong.
    pub fn exit_code(&self) -> u8 {
        match self {
            OpenError::Recover(error) => error.exit_code(),
            OpenError::Key(_) | OpenError::Spool(SpoolError::OtherLog { .. }) => 78,
            OpenError::Spool(SpoolError::State { .. }) => 70,
            OpenError::Spool(_) | OpenError::Write(_) | OpenError::System { .. } => 75,
        }
    }
}

/// What a log was when it was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// What its boot counted.
    pub counters: Counters,
    /// Sealed segments that are still in the spool; the next start ships them.
    pub unshipped_segments: usize,
}

/// Why a log did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The writer cannot write; what it could not write is declared at the next start.
    #[error("the writer failed")]
    Writer(#[source] WriteError),
    /// The writer panicked.
    #[error("the writer panicked")]
    Panicked,
    /// The writer did not end in time: its disk hangs.
    #[error("the writer hangs: its disk does not answer")]
    Hangs,
}

/// What `/status` says of a log.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The log's name.
    pub log: String,
    /// The verifier key that an auditor needs.
    pub verifier_key: String,
    /// The boot: 8 hex digits.
    pub boot: String,
    /// Records that are durable, of all boots.
    pub tree_size: u64,
    /// What this boot counted.
    pub counters: Counters,
    /// Slots of the ring in all.
    pub ring_slots: usize,
    /// Slots that are held or filled.
    pub ring_slots_in_use: usize,
    /// The spool.
    pub spool: SpoolStatus,
    /// The store.
    pub store: StoreStatus,
    /// Why service is refused, if it is.
    pub refusing: Option<&'static str>,
    /// What the writer cannot do at the moment, and why.
    pub writer_error: Option<String>,
}

/// What `/status` says of the spool.
#[derive(Debug, Serialize)]
pub struct SpoolStatus {
    /// Its directory.
    pub path: String,
    /// Bytes that it holds.
    pub bytes: u64,
    /// Bytes that it may hold.
    pub max_bytes: u64,
}

/// What `/status` says of the store.
#[derive(Debug, Serialize)]
pub struct StoreStatus {
    /// Where it is.
    pub location: String,
    /// How far it has come.
    #[serde(flatten)]
    pub shipped: Shipped,
}

/// An open audit log. It is to be [`stop`](AuditLog::stop)ped: dropped otherwise, its threads end with the process, and
/// the next start declares it.
#[derive(Debug)]
pub struct AuditLog {
    config: AuditConfig,
    verifier_key: String,
    ring: Arc<Ring>,
    metrics: AuditMetrics,
    store: Arc<dyn Store>,
    progress: Arc<Progress>,
    fatal: watch::Receiver<Option<Fatal>>,
    control: Sender<Control>,
    stop_by: Arc<OnceLock<Instant>>,
    writer: JoinHandle<Result<(), WriteError>>,
    shipper: JoinHandle<usize>,
}

impl AuditLog {
    /// Opens the log: takes the spool, audits what it and the store hold, and makes the `start` record durable.
    ///
    /// # Errors
    /// See [`OpenError`]; [`OpenError::exit_code`] says what a program should exit with.
    pub fn open(
        config: AuditConfig,
        instance: Instance,
        metrics: AuditMetrics,
    ) -> Result<AuditLog, OpenError> {
        AuditLog::open_on(Arc::new(RealDisk), config, instance, metrics)
    }

    /// The same on a disk of one's own: the seam through which tests inject faults.
    ///
    /// # Errors
    /// As [`open`](AuditLog::open).
    pub fn open_on(
        disk: Arc<dyn Disk>,
        config: AuditConfig,
        instance: Instance,
        metrics: AuditMetrics,
    ) -> Result<AuditLog, OpenError> {
        let key = Arc::new(key_file::open(&config.key.file, &config.log, config.key.create)?);
        let verifier_key = key.verifier_key().to_string();
        let boot = format!("{:08x}", uuid::Uuid::new_v4().as_u128() as u32);
        let log = assemble(disk, key, config.clone(), instance, boot, metrics.clone())?;
        let Assembled { ring, store, progress, fatal, control, stop_by, writer, shipper } = log;
        let writer = spawn("audit-writer", move || writer.run())?;
        ring.set_writer(writer.thread().clone());
        let shipper = spawn("audit-shipper", move || shipper.run())?;
        Ok(AuditLog {
            config,
            verifier_key,
            ring,
            metrics,
            store,
            progress,
            fatal,
            control,
            stop_by,
            writer,
            shipper,
        })
    }

    /// The hooks' end.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(self.ring.clone())
    }

    /// The log's name.
    pub fn log(&self) -> &LogName {
        &self.config.log
    }

    /// The verifier key that an auditor needs.
    pub fn verifier_key(&self) -> &str {
        &self.verifier_key
    }

    /// Turns to a value once evidence is broken: the gateway must then end, with exit code 70.
    pub fn fatal(&self) -> watch::Receiver<Option<Fatal>> {
        self.fatal.clone()
    }

    /// The state of the log; a view that lives on without it.
    pub fn status_view(&self) -> StatusView {
        StatusView {
            config: self.config.clone(),
            verifier_key: self.verifier_key.clone(),
            ring: self.ring.clone(),
            metrics: self.metrics.clone(),
            store: self.store.clone(),
            progress: self.progress.clone(),
        }
    }

    /// Writes what was captured, then `stop`; seals; ships until `deadline` at the latest; joins both threads. A shipper
    /// that hangs in the store is left alone: what it holds is in the spool.
    ///
    /// It is to be called when no request is served any more. What still holds a slot at the deadline has no record.
    ///
    /// # Errors
    /// The writer cannot write, or its disk hangs.
    pub fn stop(self, deadline: Instant) -> Result<Stopped, StopError> {
        let _ = self.stop_by.set(deadline);
        let latest = deadline + GRACE;
        // A writer that has ended listens no more; its result says so.
        let _ = self.control.send_deadline(Control::Stop(deadline), latest);
        self.writer.thread().unpark();
        let written = join_until(self.writer, latest);
        let unshipped_segments = match join_until(self.shipper, latest) {
            Some(shipped) => shipped.unwrap_or(usize::MAX),
            None => {
                tracing::error!(
                    "the store does not answer: what it lacks is in the spool, and shipped by the next start"
                );
                self.progress.read().waiting
            }
        };
        written.ok_or(StopError::Hangs)?.map_err(|_| StopError::Panicked)?.map_err(StopError::Writer)?;
        Ok(Stopped { counters: self.ring.accounting().snapshot(), unshipped_segments })
    }
}

/// Joins a thread, unless it goes on beyond `latest`.
fn join_until<T>(thread: JoinHandle<T>, latest: Instant) -> Option<std::thread::Result<T>> {
    while !thread.is_finished() {
        if Instant::now() >= latest {
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Some(thread.join())
}

/// Reads the state of a log.
#[derive(Clone, Debug)]
pub struct StatusView {
    config: AuditConfig,
    verifier_key: String,
    ring: Arc<Ring>,
    metrics: AuditMetrics,
    store: Arc<dyn Store>,
    progress: Arc<Progress>,
}

impl StatusView {
    /// The state now. Waits for nothing.
    pub fn read(&self) -> Status {
        Status {
            log: self.config.log.to_string(),
            verifier_key: self.verifier_key.clone(),
            boot: Recorder::new(self.ring.clone()).boot().to_owned(),
            tree_size: u64::try_from(self.metrics.tree_size.get()).unwrap_or_default(),
            counters: self.ring.accounting().snapshot(),
            ring_slots: self.config.slots(),
            ring_slots_in_use: self.ring.in_use(),
            spool: SpoolStatus {
                path: self.config.spool.path.display().to_string(),
                bytes: u64::try_from(self.metrics.spool_bytes.get()).unwrap_or_default(),
                max_bytes: self.config.spool.max_bytes,
            },
            store: StoreStatus { location: self.store.location(), shipped: self.progress.read() },
            refusing: self.ring.refusing().map(Reason::as_str),
            writer_error: self.progress.read().writer_error,
        }
    }
}

/// A log that is open: its first records are durable. It has no threads yet.
pub(crate) struct Assembled {
    pub(crate) ring: Arc<Ring>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) fatal: watch::Receiver<Option<Fatal>>,
    pub(crate) control: Sender<Control>,
    pub(crate) stop_by: Arc<OnceLock<Instant>>,
    pub(crate) writer: Writer,
    pub(crate) shipper: Shipper,
}

/// Opens the log as the boot named `boot`, all but its threads.
pub(crate) fn assemble(
    disk: Arc<dyn Disk>,
    key: Arc<SigningKey>,
    config: AuditConfig,
    instance: Instance,
    boot: String,
    metrics: AuditMetrics,
) -> Result<Assembled, OpenError> {
    let (spool, state) = Spool::open(&config.spool.path, &config.log, disk.clone())?;
    let StoreConfig::Directory(root) = &config.store;
    let store: Arc<dyn Store> = Arc::new(DirectoryStore::new(root.clone(), disk.clone()));
    let recovery = Recovery {
        spool: &spool,
        store: &*store,
        key: &key,
        create_log: config.create_log,
        compression_level: config.segment.compression_level,
    };
    let mut recovered = recovery.run(state)?;
    let pending = std::mem::take(&mut recovered.pending);
    let in_spool = |source| RecoverError::Io { doing: "write the state", source };
    spool.keep_config(&instance.config).map_err(in_spool)?;

    let no_machine = |source| RecoverError::Io { doing: "ask for the machine's boot", source };
    let watermark = Watermark::new(disk, &config.spool.path, &boot).map_err(no_machine)?;
    let ring = Ring::new(config.slots(), boot.clone(), watermark, metrics.strict_wait.clone());
    metrics.register_ring(ring.clone()).map_err(system("register the metrics"))?;
    let spool = Arc::new(spool);
    let (control, control_receiver) = crossbeam_channel::bounded(CONTROLS);
    // Never waited on, also where the shipper hangs in the store: the spool's limits bound it.
    let (ship, sealed) = crossbeam_channel::unbounded();
    let (fatal_sender, fatal) = watch::channel(None);
    let progress = Arc::new(Progress::default());
    let stop_by = Arc::new(OnceLock::new());
    let layout = Layout::new(config.log.clone());

    let mut writer = Writer::new(
        Parts {
            config,
            instance,
            boot: boot.clone(),
            key: key.clone(),
            ring: ring.clone(),
            spool: spool.clone(),
            metrics: metrics.clone(),
            control: control_receiver,
            ship,
            progress: progress.clone(),
        },
        recovered,
    );
    writer.begin()?;
    tracing::info!(log = %key.name(), %boot, next_record = writer.next_seq().0, "the audit log is open");
    let shipper = Shipper::new(
        ShipperParts {
            spool,
            store: store.clone(),
            key,
            layout,
            ring: ring.clone(),
            metrics,
            progress: progress.clone(),
            sealed,
            writer: control.clone(),
            stop_by: stop_by.clone(),
            fatal: fatal_sender,
        },
        pending,
    );
    Ok(Assembled { ring, store, progress, fatal, control, stop_by, writer, shipper })
}

fn spawn<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, OpenError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(system("start a thread"))
}

fn system<E: std::error::Error + Send + Sync + 'static>(doing: &'static str) -> impl FnOnce(E) -> OpenError {
    move |source| OpenError::System { doing, source: Box::new(source) }
}
