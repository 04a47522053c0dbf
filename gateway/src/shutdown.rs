//! How the gateway leaves: not ready, then deaf, then empty.
//!
//! On the first SIGTERM or SIGINT `/readyz` says 503 while connections are still accepted (`lameduck`), so that who
//! balances over gateways can look elsewhere. Then nothing is accepted any more, kept connections without a request
//! end, and requests in flight are waited for. A further signal cuts whichever of these is being waited for. What is
//! still in flight then is dropped with Pingora's runtimes, and recorded as `aborted`.
//!
//! Evidence that is found broken ends service as well, without the courtesy of a lameduck.
//!
//! SIGHUP does not lead out: it asks for what is read from files to be read again ([`reload`](crate::reload)).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use audit_writer::ring::Recorder;
use audit_writer::ship::Fatal;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;

use crate::config;
use crate::edge::Drain;
use crate::reload::Waker;

/// Of the time for a shutdown, the part that is kept for the audit log's own end.
const FOR_THE_LOG: u32 = 4;
/// The most that is kept for it.
const MOST_FOR_THE_LOG: Duration = Duration::from_secs(5);

/// Whether the gateway should be sent requests.
///
/// What fails it is that requests are refused, and that the gateway leaves. A queue or a spool that fills up does not:
/// in an outage of the store those of all gateways fill together, and they must not all be taken out at once.
pub struct Readiness {
    leaving: AtomicBool,
    recorder: Option<Recorder>,
}

impl Readiness {
    /// Ready for as long as `recorder` takes records; without one, where no request is refused for want of a record,
    /// until the gateway leaves.
    pub fn new(recorder: Option<Recorder>) -> Readiness {
        Readiness { leaving: AtomicBool::new(false), recorder }
    }

    /// Every reason why it should not; none when it is ready.
    pub fn reasons(&self) -> Vec<&'static str> {
        let leaving = self.leaving.load(Ordering::Acquire).then_some("lameduck");
        let refusing = self.recorder.iter().flat_map(Recorder::refusals).map(|reason| reason.as_str());
        leaving.into_iter().chain(refusing).collect()
    }
}

/// The signals that the process was sent, caught from the moment this exists.
pub struct Signals(mpsc::Receiver<()>);

impl Signals {
    /// Catches SIGTERM, SIGINT and SIGHUP on a thread of its own, so that none is missed before Pingora runs. On SIGHUP
    /// `waker` is told.
    ///
    /// # Errors
    ///
    /// When the thread or the handlers cannot be made.
    pub fn catch(waker: Waker) -> std::io::Result<Signals> {
        let (sender, receiver) = mpsc::channel(4);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut terminate, mut interrupt, mut hangup) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            )
        };
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                        _ = hangup.recv() => {
                            waker.hang_up();
                            continue;
                        }
                    }
                    // More signals than can wait say nothing new; none is waited for once the gateway has left.
                    if let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                        return;
                    }
                }
            });
        })?;
        Ok(Signals(receiver))
    }
}

/// Leads the gateway out when it is asked to leave.
pub struct Departure {
    signals: Mutex<Signals>,
    fatal: watch::Receiver<Option<Fatal>>,
    config: config::Shutdown,
    readiness: Arc<Readiness>,
    stop: watch::Sender<bool>,
    drain: Arc<Drain>,
    deadline: Arc<OnceLock<std::time::Instant>>,
}

impl Departure {
    /// On a signal `readiness` ends, then `stop` says true, and `drain` is waited for; on `fatal` at once.
    pub fn new(
        signals: Signals,
        fatal: watch::Receiver<Option<Fatal>>,
        config: config::Shutdown,
        readiness: Arc<Readiness>,
        stop: watch::Sender<bool>,
        drain: Arc<Drain>,
    ) -> Departure {
        Departure {
            signals: Mutex::new(signals),
            fatal,
            config,
            readiness,
            stop,
            drain,
            deadline: Arc::default(),
        }
    }

    /// When everything has to be over; set once the gateway leaves.
    pub fn deadline(&self) -> Arc<OnceLock<std::time::Instant>> {
        self.deadline.clone()
    }

    async fn leave(&self) {
        let Signals(signals) = &mut *self.signals.lock().await;
        let mut fatal = self.fatal.clone();
        let lameduck = tokio::select! {
            Ok(broken) = fatal.wait_for(Option::is_some) => {
                tracing::error!(error = broken.as_ref().map(tracing::field::display), "evidence broken: leaving");
                Duration::ZERO
            }
            // Some: the signals' thread lives as long as its receiver.
            Some(()) = signals.recv() => self.config.lameduck,
        };
        tracing::info!(?lameduck, "leaving: not ready any more, still accepting");
        self.readiness.leaving.store(true, Ordering::Release);
        let cut = tokio::select! {
            () = tokio::time::sleep(lameduck) => false,
            _ = signals.recv() => true,
        };

        let timeout = self.config.timeout;
        let begun = Instant::now();
        // Only ever set here, once.
        let _ = self.deadline.set((begun + timeout).into_std());
        tracing::info!(?timeout, connections = self.drain.open(), "leaving: accepting no more");
        self.stop.send_replace(true);
        let drain_until = begun + timeout - (timeout / FOR_THE_LOG).min(MOST_FOR_THE_LOG);
        let cut = tokio::select! {
            () = self.drain.empty() => return,
            () = tokio::time::sleep_until(drain_until) => cut,
            _ = signals.recv() => true,
        };
        self.drain.end();
        let why = if cut { "signal" } else { "shutdown.timeout" };
        tracing::warn!(connections = self.drain.open(), why, "leaving: cutting what is still open");
    }
}

#[async_trait]
impl ShutdownSignalWatch for Departure {
    async fn recv(&self) -> ShutdownSignal {
        self.leave().await;
        // Pingora's fast shutdown would not wait for tasks to be dropped, and with them their records.
        ShutdownSignal::GracefulTerminate
    }
}
