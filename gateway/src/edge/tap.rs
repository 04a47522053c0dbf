//! The stream that Pingora sees: it notices what no hook is told of.
//!
//! A tap counts what is read, holds the deadlines that Pingora has not got (a head's, an idle connection's, a stalled
//! write's, the whole exchange's), and refuses a head that is too large or whose first line Pingora would repair. When
//! it refuses, or when Pingora does so before any hook, the gateway's own answer is sent, and the attempt knows what
//! happened.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::{SslDigest, TlsRef};
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::alarm::Alarm;
use super::answer::Answer;
use super::attempt::{Attempt, Cut, Phase};
use super::request_line::RequestLine;

/// A stream for HTTP/1.1, watched on behalf of its attempts.
pub(super) struct Tap<S> {
    io: S,
    attempt: Arc<Attempt>,
    /// Since when nothing, or no whole head, has been there to read.
    waiting: Option<(Phase, Instant)>,
    read_alarm: Alarm,
    /// Since when a write has made no progress.
    stalled: Option<Instant>,
    write_alarm: Alarm,
    /// The request line of a head that is being read.
    line: RequestLine,
    /// Whether the head was refused: there is nothing more to read.
    refused: bool,
    /// What is left to send of an answer of the edge's own.
    answer: &'static [u8],
}

impl<S> Tap<S> {
    pub(super) fn new(io: S, attempt: Arc<Attempt>) -> Tap<S> {
        Tap {
            io,
            attempt,
            waiting: None,
            read_alarm: Alarm::default(),
            stalled: None,
            write_alarm: Alarm::default(),
            line: RequestLine::default(),
            refused: false,
            answer: &[],
        }
    }

    /// When waiting for the client has to end, and why it then did.
    fn read_due(&mut self, phase: Phase) -> Option<(Instant, Cut)> {
        let connection = &self.attempt.connection;
        let patience = connection.listener.patience;
        if phase == Phase::Claimed {
            return self.attempt.deadline().map(|due| (due, Cut::Deadline));
        }
        if self.attempt.is_first() {
            return Some((connection.accepted + patience.header, Cut::HeaderTimeout));
        }
        let since = match self.waiting {
            Some((of, since)) if of == phase => since,
            _ => {
                let now = Instant::now();
                self.waiting = Some((phase, now));
                if phase == Phase::Head {
                    self.attempt.set_began(now);
                }
                now
            }
        };
        match phase {
            Phase::Idle => Some((since + patience.keepalive_idle, Cut::None)),
            _ => Some((since + patience.header, Cut::HeaderTimeout)),
        }
    }

    /// Answers with one of the edge's own; the client may still be sending.
    fn answer_with(&mut self, answer: Answer) {
        self.attempt.set_answered(answer.status, answer.body);
        self.attempt.linger();
        self.answer = answer.bytes();
    }

    /// Breaks off reading. A head that was begun is answered.
    fn refuse(&mut self, cut: Cut) {
        self.attempt.set_cut(cut);
        self.refused = true;
        match cut {
            Cut::HeaderTooLarge => self.answer_with(Answer::TOO_LARGE),
            Cut::Malformed => self.answer_with(Answer::MALFORMED),
            Cut::HeaderTimeout if self.attempt.received() > 0 => self.answer_with(Answer::TIMEOUT),
            _ => {}
        }
    }

    /// Looks at bytes of a head; says whether it goes on. The line of a pipelined head, whose beginning came in with
    /// the request before, has passed already: nobody could tell where it began.
    fn read_head(&mut self, phase: Phase, bytes: &[u8]) -> bool {
        if phase == Phase::Idle && !bytes.is_empty() {
            self.line = RequestLine::default();
            self.attempt.set_phase(Phase::Head);
        }
        let well = self.line.read(bytes).is_ok();
        if !well {
            self.refuse(Cut::Malformed);
        }
        well
    }

    /// A write that stalls may do so for a while, and not beyond the exchange's deadline.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let since = *self.stalled.get_or_insert_with(Instant::now);
        let idle: Duration = self.attempt.connection.listener.patience.write_idle;
        let (due, cut) = match self.attempt.deadline() {
            Some(deadline) if deadline < since + idle => (deadline, Cut::Deadline),
            _ => (since + idle, Cut::WriteIdle),
        };
        ready!(self.write_alarm.poll(due, cx));
        self.attempt.set_cut(cut);
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// Holds a write's outcome against the clock.
    fn watch_write<T>(&mut self, wrote: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if wrote.is_pending() {
            return self.poll_stalled(cx).map(Err);
        }
        self.stalled = None;
        wrote
    }
}

impl<S: AsyncWrite + Unpin> Tap<S> {
    /// Sends what is left of an answer of the edge's own.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.answer.is_empty() {
            let wrote = Pin::new(&mut self.io).poll_write(cx, self.answer);
            match ready!(self.watch_write(wrote, cx))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.answer = &self.answer[written..],
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the answer to a refused head, if there is one, and ends reading.
    fn poll_refused<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.poll_answer(cx))?;
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        ready!(self.watch_write(flushed, cx))?;
        Poll::Ready(Err(io::Error::other("the head was refused")))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tap = &mut *self;
        if tap.refused {
            return tap.poll_refused(cx);
        }
        let phase = tap.attempt.phase();
        // A head that is not complete within the limit is larger than the limit.
        if phase != Phase::Claimed && tap.attempt.received() > tap.attempt.connection.listener.header_bytes {
            tap.refuse(Cut::HeaderTooLarge);
            return tap.poll_refused(cx);
        }
        let before = buf.filled().len();
        match Pin::new(&mut tap.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let bytes = &buf.filled()[before..];
                tap.attempt.receive(bytes.len() as u64);
                if phase == Phase::Claimed || tap.read_head(phase, bytes) {
                    return Poll::Ready(Ok(()));
                }
                buf.set_filled(before);
                tap.poll_refused(cx)
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let Some((due, cut)) = tap.read_due(phase) else { return Poll::Pending };
                ready!(tap.read_alarm.poll(due, cx));
                if phase == Phase::Claimed {
                    // The hooks answer.
                    tap.attempt.set_cut(cut);
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                tap.refuse(cut);
                tap.poll_refused(cx)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let tap = &mut *self;
        if tap.attempt.phase() != Phase::Claimed {
            // Pingora refuses a head before any hook: ours is sent in place of its answer.
            tap.answer_with(Answer::MALFORMED);
            return Poll::Ready(Ok(bytes.len()));
        }
        let wrote = Pin::new(&mut tap.io).poll_write(cx, bytes);
        tap.watch_write(wrote, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = &mut *self;
        ready!(tap.poll_answer(cx))?;
        let flushed = Pin::new(&mut tap.io).poll_flush(cx);
        tap.watch_write(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = &mut *self;
        ready!(tap.poll_answer(cx))?;
        let shut = Pin::new(&mut tap.io).poll_shutdown(cx);
        tap.watch_write(shut, cx)
    }
}

impl<S> std::fmt::Debug for Tap<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tap({})", self.attempt.connection.peer)
    }
}

#[async_trait]
impl<S: IO> Shutdown for Tap<S> {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}
impl<S: IO> UniqueID for Tap<S> {
    fn id(&self) -> UniqueIDType {
        self.io.id()
    }
}
impl<S: IO> Ssl for Tap<S> {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.io.get_ssl()
    }
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.io.get_ssl_digest()
    }
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.io.selected_alpn_proto()
    }
}
impl<S: IO> GetTimingDigest for Tap<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.io.get_timing_digest()
    }
}
impl<S: IO> GetProxyDigest for Tap<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.io.get_proxy_digest()
    }
}
impl<S: IO> GetSocketDigest for Tap<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.io.get_socket_digest()
    }
}
#[async_trait]
impl<S: IO> Peek for Tap<S> {}
