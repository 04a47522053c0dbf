//! One HTTP/2 stream, as Pingora's proxy serves it.
//!
//! Pingora's own session for HTTP/2 waits for a client without end, and can be given no deadline. So this one takes its
//! place, by the way that Pingora keeps open for other protocols. What it holds against the clock is what the tap of an
//! HTTP/1.1 connection does: the next piece of a body, room for the next piece of a response, and the end of the
//! exchange. Each of them ends in an error while the stream is still there, so that it can be answered.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream as MessageStream;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, DATE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Response, StatusCode};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::body_buffer::FixedBuffer;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::head;
use super::tap::SharedLedger;
use crate::edge::alarm::Alarm;
use crate::edge::attempt::{Attempt, Cut};
use crate::edge::transport::LINGER;

/// Bytes that a client may send on a stream before any of them are taken (RFC 9113, section 6.9.2).
const WINDOW: usize = 65_535;
/// Bytes of a body that are kept for a second try at an upstream; as much as Pingora keeps of others.
const KEPT_FOR_RETRY: usize = 64 * 1024;
/// Of a connection, not of a message (RFC 9113, section 8.2.2), and not known by name to the `http` crate.
const HOP_BY_HOP: [&str; 2] = ["keep-alive", "proxy-connection"];

type Messages = Box<dyn MessageStream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// A request and the way for its response.
pub(super) struct Stream {
    attempt: Arc<Attempt>,
    ledger: SharedLedger,
    head: RequestHeader,
    /// Taken when dropped.
    body: Option<RecvStream>,
    /// Whether the body was read to its end.
    exhausted: bool,
    received: usize,
    kept: Option<FixedBuffer>,
    response: SendResponse<Bytes>,
    writer: Option<SendStream<Bytes>>,
    written: Option<Box<ResponseHeader>>,
    /// Whether the response is whole.
    ended: bool,
    sent: usize,
    read_wait: Wait,
    write_wait: Wait,
    drain_timeout: Option<Duration>,
}

/// A wait for the client.
#[derive(Default)]
struct Wait {
    /// How long it may take.
    patience: Option<Duration>,
    since: Option<Instant>,
    alarm: Alarm,
}

impl Wait {
    fn over(&mut self) {
        self.since = None;
    }

    /// Ready once it has taken too long: by itself, or since the exchange is to be over.
    fn poll(&mut self, attempt: &Attempt, cx: &mut Context<'_>) -> Poll<Cut> {
        let idle = self.patience.map(|patience| *self.since.get_or_insert_with(Instant::now) + patience);
        let (due, cut) = match (idle, attempt.deadline()) {
            (Some(idle), Some(deadline)) if idle < deadline => (idle, Cut::None),
            (_, Some(deadline)) => (deadline, Cut::Deadline),
            (Some(idle), None) => (idle, Cut::None),
            (None, None) => return Poll::Pending,
        };
        ready!(self.alarm.poll(due, cx));
        Poll::Ready(cut)
    }
}

impl Stream {
    pub(super) fn new(
        request: http::Request<RecvStream>,
        response: SendResponse<Bytes>,
        attempt: Arc<Attempt>,
        ledger: SharedLedger,
    ) -> Stream {
        let (parts, body) = request.into_parts();
        let write_idle = attempt.connection.listener.patience.write_idle;
        Stream {
            attempt,
            ledger,
            head: head::of(parts),
            body: Some(body),
            exhausted: false,
            received: 0,
            kept: None,
            response,
            writer: None,
            written: None,
            ended: false,
            sent: 0,
            read_wait: Wait::default(),
            write_wait: Wait { patience: Some(write_idle), ..Wait::default() },
            drain_timeout: None,
        }
    }

    /// What the library's error means for a stream.
    fn broken(&self, error: h2::Error) -> Box<Error> {
        let etype = if error.is_reset() && error.is_library() {
            // The library reset it: what followed its head broke the protocol.
            ErrorType::InvalidHTTPHeader
        } else {
            self.gone()
        };
        Error::because(etype, "an HTTP/2 stream", error).into_down()
    }

    /// The stream is gone: mostly since the client has taken it back, or has broken off.
    fn gone(&self) -> ErrorType {
        if !self.ledger.lock().is_stalled() {
            return ErrorType::ConnectionClosed;
        }
        self.attempt.set_cut(Cut::WriteIdle);
        ErrorType::WriteTimedout
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(None)) };
        match body.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                self.read_wait.over();
                self.received += data.len();
                self.attempt.receive(data.len() as u64);
                if let Some(kept) = &mut self.kept {
                    kept.write_to_buffer(&data);
                }
                // Where it fails the stream is gone, which the next read says.
                let _ = body.flow_control().release_capacity(data.len());
                Poll::Ready(Ok(Some(data)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(self.broken(error))),
            Poll::Ready(None) => {
                self.read_wait.over();
                self.exhausted = true;
                Poll::Ready(Ok(None))
            }
            Poll::Pending => {
                let cut = ready!(self.read_wait.poll(&self.attempt, cx));
                self.attempt.set_cut(cut);
                Poll::Ready(Err(Error::new_down(ErrorType::ReadTimedout)))
            }
        }
    }

    /// Waits for the client to take the request back, or for the end of the exchange's time.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        let reset = match &mut self.writer {
            Some(writer) => writer.poll_reset(cx),
            None => self.response.poll_reset(cx),
        };
        match reset {
            Poll::Ready(Ok(_)) => Poll::Ready(Error::new_down(self.gone())),
            Poll::Ready(Err(error)) => Poll::Ready(self.broken(error)),
            Poll::Pending => {
                // Nothing of a body is waited for: only the whole exchange can take too long.
                let patience = self.read_wait.patience.take();
                let late = self.read_wait.poll(&self.attempt, cx);
                self.read_wait.patience = patience;
                let cut = ready!(late);
                self.attempt.set_cut(cut);
                Poll::Ready(Error::new_down(ErrorType::ReadTimedout))
            }
        }
    }

    /// Waits for room for some of the response's body: how much.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        let Some(writer) = &mut self.writer else {
            return Poll::Ready(Err(Error::explain(ErrorType::InternalError, "a body before its head")));
        };
        loop {
            match writer.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(room))) => {
                    self.write_wait.over();
                    return Poll::Ready(Ok(room));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.broken(error))),
                Poll::Ready(None) => return Poll::Ready(Err(Error::new_down(self.gone()))),
                Poll::Pending => {
                    let cut = match ready!(self.write_wait.poll(&self.attempt, cx)) {
                        Cut::None => Cut::WriteIdle,
                        cut => cut,
                    };
                    self.attempt.set_cut(cut);
                    return Poll::Ready(Err(Error::new_down(ErrorType::WriteTimedout)));
                }
            }
        }
    }

    fn write_head(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.written.is_some() || head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        let interim = head.status.is_informational();
        if !interim {
            head.insert_header(DATE, get_cached_date())?;
        }
        for name in [TRANSFER_ENCODING, CONNECTION, UPGRADE] {
            head.remove_header(&name);
        }
        for name in HOP_BY_HOP {
            head.remove_header(name);
        }
        let response = Response::from_parts(head.as_owned_parts(), ());
        if interim {
            return self.response.send_informational(response).map_err(|error| self.broken(error));
        }
        let writer = self.response.send_response(response, end).map_err(|error| self.broken(error))?;
        self.writer = Some(writer);
        self.written = Some(head);
        self.ended = end;
        Ok(())
    }

    async fn write_data(&mut self, mut data: Bytes, end: bool) -> Result<()> {
        if self.is_bodiless() {
            data.clear();
        }
        while !data.is_empty() && !self.ended {
            if let Some(writer) = &mut self.writer {
                writer.reserve_capacity(data.len());
            }
            let room = poll_fn(|cx| self.poll_room(cx)).await?;
            let piece = data.split_to(room.min(data.len()));
            let (length, last) = (piece.len(), end && data.is_empty());
            if let Some(writer) = &mut self.writer {
                let sent = writer.send_data(piece, last);
                sent.map_err(|error| self.broken(error))?;
            }
            self.sent += length;
            self.ended = last;
        }
        if end { self.end() } else { Ok(()) }
    }

    /// Whether the response has no body, whatever is given for one (RFC 9110, section 6.4.1).
    fn is_bodiless(&self) -> bool {
        let status = self.written.as_ref().map(|head| head.status);
        self.head.method == Method::HEAD
            || matches!(status, Some(StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED))
    }

    /// Ends the response, where it has begun and is not whole.
    fn end(&mut self) -> Result<()> {
        if let Some(writer) = &mut self.writer
            && !self.ended
        {
            let sent = writer.send_data(Bytes::new(), true);
            sent.map_err(|error| self.broken(error))?;
            self.ended = true;
        }
        Ok(())
    }

    fn end_with(&mut self, trailers: HeaderMap) -> Result<()> {
        if let Some(writer) = &mut self.writer
            && !self.ended
        {
            let sent = writer.send_trailers(trailers);
            sent.map_err(|error| self.broken(error))?;
            self.ended = true;
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        if self.ended
            && !self.exhausted
            && !body.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(linger(body));
        }
    }
}

/// Reads what a client still sends of a body that nobody wants, so that the answer is not overtaken by a reset: there
/// are clients that then forget the answer. Nothing more is asked for meanwhile, so it is a window at most.
async fn linger(mut body: RecvStream) {
    let discard = async {
        let mut room = WINDOW;
        while let Some(Ok(data)) = body.data().await {
            room = room.saturating_sub(data.len());
            if room == 0 {
                break;
            }
        }
    };
    // Whatever comes of it, the stream ends.
    let _ = timeout(LINGER, discard).await;
}

#[async_trait]
impl Session for Stream {
    fn req_header(&self) -> &RequestHeader {
        &self.head
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.head
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_body(cx)).await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        let until = self.drain_timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let piece = self.read_body_bytes();
            let piece = match until {
                Some(until) => tokio::time::timeout_at(until, piece)
                    .await
                    .map_err(|_| Error::new_down(ErrorType::ReadTimedout))?,
                None => piece.await,
            };
            if piece?.is_none() {
                return Ok(());
            }
        }
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.write_head(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.write_head(Box::new(head.clone()), end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.write_data(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.end_with(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= match task {
                HttpTask::Header(head, last) => {
                    self.write_head(head, last)?;
                    last
                }
                HttpTask::Body(data, last) => {
                    self.write_data(data.unwrap_or_default(), last).await?;
                    last
                }
                HttpTask::Trailer(Some(trailers)) => {
                    self.end_with(*trailers)?;
                    true
                }
                HttpTask::Trailer(None) | HttpTask::Done => true,
                HttpTask::UpgradedBody(..) => {
                    return Error::e_explain(ErrorType::InternalError, "an upgrade over HTTP/2");
                }
                HttpTask::Failed(error) => return Err(error),
            };
        }
        if end {
            self.end()?;
        }
        Ok(end)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_wait.patience = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.read_wait.patience
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_wait.patience = timeout;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.write_wait.patience
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.drain_timeout = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    fn request_summary(&self) -> String {
        let path = self.head.uri.path();
        format!("{} {path}", self.head.method)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        if !self.ended {
            self.response.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    fn is_body_done(&mut self) -> bool {
        self.exhausted || self.body.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    async fn finish(&mut self) -> Result<()> {
        self.end()
    }

    fn is_body_empty(&mut self) -> bool {
        self.received == 0 && self.is_body_done()
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            Err(poll_fn(|cx| self.poll_gone(cx)).await)
        } else {
            self.read_body_bytes().await
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn body_bytes_read(&self) -> usize {
        self.received
    }

    // Hooks know the connection from their attempt.
    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    // There is none: the library reads the head from its compressed form, within the listener's limit.
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.kept.get_or_insert_with(|| FixedBuffer::new(KEPT_FOR_RETRY));
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.kept.as_ref().is_some_and(FixedBuffer::is_truncated)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.kept.as_ref().filter(|kept| !kept.is_truncated()).and_then(FixedBuffer::get_buffer)
    }

    // There are no messages beside the request and its response.
    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Messages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
