//! HTTP/2 (RFC 9113): every stream with an owner.
//!
//! ```text
//! transport ─► tap (ledger) ─► h2 library ─► stream ─► HttpProxy (Pingora), a task a stream
//! ```
//!
//! A stream that the library hands out is an [`Attempt`] of its own, in a task of its own, and a hook claims it like any
//! other. What the library keeps to itself, or never understands, is in the [`Ledger`](ledger::Ledger), and becomes one
//! `rejected` record each.
//!
//! The library bounds what a client can make it do by floods of frames, of header blocks and of resets; its defences
//! are on, and narrowed here. On top of them a connection has a budget of malformed streams and of streams that are
//! taken back.

mod frames;
mod head;
mod ledger;
mod preface;
mod stream;
mod tap;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason as Code, RecvStream};
use http::Request;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::attempt::{Attempt, Connection, Guard};
use super::rejection::Reason;
use ledger::{End, Unheard};
use stream::Stream;
use tap::{SharedLedger, Tap};

pub(super) use preface::is_announced;

/// Streams that may be open at once.
const MOST_STREAMS: u32 = 100;
/// Streams of a connection that the library may reset or refuse before it ends the connection.
const MOST_REFUSED: usize = 128;
/// Malformed streams of a connection.
const MOST_MALFORMED: u32 = 32;
/// Requests of a connection that may still be worked on. More than can be open means that most were taken back.
const MOST_AT_WORK: usize = 2 * MOST_STREAMS as usize;
/// Streams that may be taken back within a second. A client that leaves takes back what it has open, once.
const MOST_RESETS: u32 = 2 * MOST_STREAMS;
/// Streams that wait for the library at once; it takes them in as it reads them, unless it ignores them.
const MOST_WAITING: usize = 4 * MOST_STREAMS as usize;
/// Bytes of responses that a stream may have buffered. A client's windows bound them as well.
const SEND_BUFFER: usize = 64 * 1024;
/// Bytes of requests that a client may send before any of them are taken, over all streams. A stream has 64 KiB, the
/// protocol's own.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How long a client without a stream has, once it was told that the connection ends, to do its part.
const FAREWELL: Duration = Duration::from_millis(500);

/// Serves a connection until it ends.
pub(super) async fn serve<A, S>(app: &Arc<A>, io: S, attempt: &Arc<Attempt>, stop: &ShutdownWatch)
where
    A: HttpServerApp + Send + Sync + 'static,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connection = attempt.connection.clone();
    // Its streams are the attempts from here on.
    attempt.close_unrecorded();
    let ledger = SharedLedger::default();
    let mut books = Books { ledger: ledger.clone(), connection: connection.clone(), end: None };
    let handshake = options(&connection).handshake(Tap::new(io, connection.clone(), ledger.clone()));
    let library = match unless(stop, handshake).await {
        Some(Ok(library)) => library,
        Some(Err(_)) => {
            // It may still be sending; what the library had to say should reach it.
            attempt.linger();
            let (reason, whole) = ledger.lock().handshake_failed(connection.accepted);
            return connection.reject_heard(reason, &whole);
        }
        None => {
            books.end = Some(End::Shutdown);
            return;
        }
    };
    let at_work = Arc::new(AtWork::new(connection.accepted));
    let mut driver =
        Driver { app, library, connection, ledger, at_work, stop, malformed: 0, alarm: Alarm::default() };
    let end = driver.drive().await;
    if matches!(end, End::Protocol | End::Flood) {
        attempt.linger();
    }
    books.end = Some(end);
}

/// What the library is told.
fn options(connection: &Connection) -> Builder {
    let mut options = Builder::new();
    options
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(u32::try_from(connection.listener.header_bytes).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(Some(MOST_REFUSED))
        // A client that leaves takes back all that it has open, perhaps before any of it was looked at.
        .max_pending_accept_reset_streams(MOST_STREAMS as usize)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_connection_window_size(CONNECTION_WINDOW);
    options
}

/// What `task` gives, unless the gateway stops before.
async fn unless<F: Future>(stop: &ShutdownWatch, task: F) -> Option<F::Output> {
    let mut stop = stop.clone();
    tokio::select! {
        given = task => Some(given),
        // An error means that the sender is gone, which it is not before the gateway stops.
        _ = stop.wait_for(|stop| *stop) => None,
    }
}

/// Sees to it that what is left in the ledger is recorded, also when the task panics or is dropped.
struct Books {
    ledger: SharedLedger,
    connection: Arc<Connection>,
    end: Option<End>,
}

impl Drop for Books {
    fn drop(&mut self) {
        let dropped = if std::thread::panicking() { End::Panic } else { End::Shutdown };
        let end = self.end.unwrap_or(dropped);
        let left = self.ledger.lock().close(end, self.connection.accepted);
        for (reason, unheard) in left {
            self.connection.reject_heard(reason, &unheard);
        }
    }
}

impl Connection {
    fn reject_heard(&self, reason: Reason, unheard: &Unheard) {
        self.reject(reason, unheard.bytes, unheard.answered(), unheard.began);
    }
}

/// The requests of a connection that are worked on.
struct AtWork {
    connected: Instant,
    count: AtomicUsize,
    /// When the last one was over, in microseconds since `connected`.
    over_us: AtomicU64,
    none: Notify,
}

impl AtWork {
    fn new(connected: Instant) -> AtWork {
        AtWork { connected, count: AtomicUsize::new(0), over_us: AtomicU64::new(0), none: Notify::new() }
    }

    fn begin(self: &Arc<Self>) -> Working {
        self.count.fetch_add(1, Ordering::Relaxed);
        Working(self.clone())
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    fn last_over(&self) -> Instant {
        self.connected + Duration::from_micros(self.over_us.load(Ordering::Acquire))
    }
}

/// One of them.
struct Working(Arc<AtWork>);

impl Drop for Working {
    fn drop(&mut self) {
        let micros = u64::try_from(self.0.connected.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.over_us.fetch_max(micros, Ordering::AcqRel);
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_one();
        }
    }
}

/// What happens to a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "it is handled at once; a box would cost each stream an allocation"
)]
enum Event {
    Stream(Request<RecvStream>, SendResponse<Bytes>),
    Over(Option<h2::Error>),
    Stop,
    /// Nothing was asked for in time.
    Idle,
    /// The last request is over: from now on the connection is idle.
    NoneAtWork,
    /// The client does what no honest one does.
    Flood,
}

/// A connection and its library.
struct Driver<'a, A, S> {
    app: &'a Arc<A>,
    library: h2::server::Connection<Tap<S>, Bytes>,
    connection: Arc<Connection>,
    ledger: SharedLedger,
    at_work: Arc<AtWork>,
    stop: &'a ShutdownWatch,
    malformed: u32,
    alarm: Alarm,
}

impl<A, S> Driver<'_, A, S>
where
    A: HttpServerApp + Send + Sync + 'static,
    S: AsyncRead + AsyncWrite + Unpin,
{
    async fn drive(&mut self) -> End {
        let mut stop = self.stop.clone();
        let at_work = self.at_work.clone();
        // Since when the client knows that the connection ends, and why it does.
        let mut leaving: Option<(Instant, End)> = None;
        loop {
            let event = {
                let mut stopped = pin!(stop.wait_for(|stop| *stop));
                let mut none_at_work = pin!(at_work.none.notified());
                poll_fn(|cx| {
                    if leaving.is_none() && stopped.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Event::Stop);
                    }
                    let event = self.poll_event(leaving.map(|(since, _)| since), cx);
                    if event.is_pending() && none_at_work.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Event::NoneAtWork);
                    }
                    event
                })
                .await
            };
            match event {
                Event::Stream(request, response) => self.spawn(request, response),
                Event::NoneAtWork => {}
                Event::Stop => {
                    self.library.graceful_shutdown();
                    leaving = Some((Instant::now(), End::Shutdown));
                }
                Event::Idle => match leaving {
                    // The client did not do its part.
                    Some((_, end)) => return end,
                    None => {
                        self.library.graceful_shutdown();
                        leaving = Some((Instant::now(), End::Closed));
                    }
                },
                Event::Flood => match leaving {
                    Some((_, End::Flood)) => return End::Flood,
                    _ => {
                        self.library.abrupt_shutdown(Code::ENHANCE_YOUR_CALM);
                        leaving = Some((Instant::now(), End::Flood));
                    }
                },
                Event::Over(error) => {
                    return match (end_of(error), leaving) {
                        (End::Closed, Some((_, end))) => end,
                        (end, _) => end,
                    };
                }
            }
        }
    }

    fn poll_event(&mut self, leaving: Option<Instant>, cx: &mut Context<'_>) -> Poll<Event> {
        let accepted = pin!(self.library.accept()).poll(cx);
        match accepted {
            Poll::Ready(Some(Ok((request, response)))) => {
                return Poll::Ready(Event::Stream(request, response));
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::Over(Some(error))),
            Poll::Ready(None) => return Poll::Ready(Event::Over(None)),
            Poll::Pending => {}
        }
        if self.judge() {
            return Poll::Ready(Event::Flood);
        }
        match self.due(leaving) {
            Some(due) => self.alarm.poll(due, cx).map(|()| Event::Idle),
            None => Poll::Pending,
        }
    }

    /// Records what the library has answered by itself; says whether the client has gone too far.
    fn judge(&mut self) -> bool {
        let mut ledger = self.ledger.lock();
        let answered = ledger.take_answered();
        let (resets, waiting) = (ledger.resets(), ledger.waiting());
        drop(ledger);
        for (reason, unheard) in answered {
            self.malformed += u32::from(reason == Reason::H2MalformedStream);
            self.connection.reject_heard(reason, &unheard);
        }
        self.malformed >= MOST_MALFORMED
            || self.at_work.count() > MOST_AT_WORK
            || waiting > MOST_WAITING
            || resets > MOST_RESETS
    }

    /// When a connection without a request has to end, if it is one.
    fn due(&self, leaving: Option<Instant>) -> Option<Instant> {
        if self.at_work.count() > 0 {
            return None;
        }
        let patience = self.connection.listener.patience;
        Some(match leaving {
            Some(since) => since.max(self.at_work.last_over()) + FAREWELL,
            None if self.ledger.lock().is_unused() => self.connection.accepted + patience.header,
            None => self.at_work.last_over() + patience.keepalive_idle,
        })
    }

    /// Gives a stream its task.
    fn spawn(&self, request: Request<RecvStream>, response: SendResponse<Bytes>) {
        self.ledger.lock().hand_out(response.stream_id().as_u32());
        let attempt = Attempt::new(self.connection.clone());
        let stream = Stream::new(request, response, attempt.clone(), self.ledger.clone());
        let working = self.at_work.begin();
        let (app, stop) = (self.app.clone(), self.stop.clone());
        pingora_runtime::current_handle().spawn(async move {
            let _working = working;
            let _guard = Guard(&attempt);
            let session = ServerSession::new_custom(Box::new(stream));
            attempt.scope(app.process_new_http(session, &stop)).await;
            attempt.close(*stop.borrow());
        });
    }
}

/// What an error of the library says about how the connection ended.
fn end_of(error: Option<h2::Error>) -> End {
    match error {
        Some(error) if error.is_go_away() && error.is_library() => match error.reason() {
            Some(Code::ENHANCE_YOUR_CALM) => End::Flood,
            _ => End::Protocol,
        },
        _ => End::Closed,
    }
}
