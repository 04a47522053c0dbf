//! The stream that the h2 library sees: it keeps the ledger, and the deadlines that the library has not got.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::ledger::Ledger;
use crate::edge::alarm::Alarm;
use crate::edge::attempt::Connection;

/// A ledger, shared between a connection's stream and its loop. Both are the same task: it is never waited for.
#[derive(Clone, Default)]
pub(super) struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        // It is whole at every step, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream for HTTP/2.
pub(super) struct Tap<S> {
    io: S,
    connection: Arc<Connection>,
    ledger: SharedLedger,
    read_alarm: Alarm,
    /// Since when a write has made no progress.
    stalled: Option<Instant>,
    write_alarm: Alarm,
}

impl<S> Tap<S> {
    pub(super) fn new(io: S, connection: Arc<Connection>, ledger: SharedLedger) -> Tap<S> {
        Tap {
            io,
            connection,
            ledger,
            read_alarm: Alarm::default(),
            stalled: None,
            write_alarm: Alarm::default(),
        }
    }

    /// Holds a write's outcome against the clock.
    fn watch_write<T>(&mut self, wrote: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        ready!(self.write_alarm.poll(since + self.connection.listener.patience.write_idle, cx));
        self.ledger.lock().stall();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tap = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut tap.io).poll_read(cx, buf);
        let mut ledger = tap.ledger.lock();
        match read {
            Poll::Ready(Ok(())) => {
                match &buf.filled()[before..] {
                    [] => ledger.end(),
                    bytes => ledger.read(bytes),
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                ledger.end();
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                let connection = &tap.connection;
                let Some(since) = ledger.waits_since(connection.accepted) else { return Poll::Pending };
                ready!(tap.read_alarm.poll(since + connection.listener.patience.header, cx));
                ledger.time_out();
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let tap = &mut *self;
        let wrote = Pin::new(&mut tap.io).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = wrote {
            tap.ledger.lock().wrote(&bytes[..written]);
        }
        tap.watch_write(wrote, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = &mut *self;
        let flushed = Pin::new(&mut tap.io).poll_flush(cx);
        tap.watch_write(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = &mut *self;
        let shut = Pin::new(&mut tap.io).poll_shutdown(cx);
        tap.watch_write(shut, cx)
    }
}
