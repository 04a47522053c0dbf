//! The stream that lies under everything else: plain TCP, or TLS over it.
//!
//! The write buffer lies above TLS: a response's head and a short body are one TLS record, and one write. Which of the
//! two a connection has is a branch, not a box: a plain connection pays nothing for the other kind.

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::attempt::Attempt;

/// A response's head and a short body leave in one write.
const WRITE_BUFFER: usize = 4096;
/// For how long a closed connection is read on, at most, so that its client gets to see the answer.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// A TCP stream below TLS. While a handshake goes on, what is read counts for its attempt.
pub(super) struct Wire {
    tcp: TcpStream,
    counter: Option<Arc<Attempt>>,
}

impl Wire {
    /// A stream whose bytes count for `attempt`.
    pub(super) fn counted(tcp: TcpStream, attempt: Arc<Attempt>) -> Wire {
        Wire { tcp, counter: Some(attempt) }
    }

    /// Below TLS.
    pub(super) fn tcp_mut(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(cx, buf);
        if let Some(attempt) = &self.counter {
            attempt.receive((buf.filled().len() - before) as u64);
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// What a connection's bytes go through.
pub(super) enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS, after its handshake.
    Secured(Box<TlsStream<Wire>>),
}

impl Stream {
    /// TLS, after its handshake.
    pub(super) fn secured(mut stream: Box<TlsStream<Wire>>) -> Stream {
        // From here the tap counts, and what is within.
        stream.get_mut().0.counter = None;
        Stream::Secured(stream)
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Secured(stream) => &stream.get_ref().0.tcp,
        }
    }

    fn tcp_mut(&mut self) -> &mut TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Secured(stream) => stream.get_mut().0.tcp_mut(),
        }
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Secured(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Secured(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }
    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Secured(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Secured(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A client's stream. What Pingora keeps beside one, a read buffer of 64 KiB, is left out: Pingora reads into
/// its own.
pub(super) struct Transport {
    /// Taken when dropped.
    stream: Option<BufWriter<Stream>>,
    /// The attempt on whose behalf the stream is open.
    owner: Arc<Attempt>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transport({})", self.owner.connection.peer)
    }
}

impl Transport {
    pub(super) fn new(stream: Stream, attempt: Arc<Attempt>) -> Transport {
        Transport { stream: Some(BufWriter::with_capacity(WRITE_BUFFER, stream)), owner: attempt }
    }

    fn stream(&mut self) -> Pin<&mut BufWriter<Stream>> {
        Pin::new(self.stream.as_mut().expect("the stream is taken only when it is dropped"))
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if self.owner.lingers() => {
                // The attempt goes along: with its permit, the connection counts until it is really gone.
                let attempt = self.owner.clone();
                runtime.spawn(async move {
                    // Whatever comes of it, the connection closes.
                    let _ = tokio::time::timeout(LINGER, async {
                        stream.shutdown().await?;
                        linger(stream.get_mut().tcp_mut()).await
                    })
                    .await;
                    drop(attempt);
                });
            }
            _ => {
                let _ = stream.flush().now_or_never();
            }
        }
    }
}

/// Closes our half and reads what the client still sends, so that the kernel does not answer it with a reset that
/// would discard our answer from the client's buffer (RFC 9112, section 9.6).
pub(super) async fn linger(tcp: &mut TcpStream) -> io::Result<()> {
    tcp.shutdown().await?;
    let mut discarded = [0; 4096];
    while tcp.read(&mut discarded).await? > 0 {}
    Ok(())
}

#[async_trait]
impl Shutdown for Transport {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Transport {
    fn id(&self) -> UniqueIDType {
        self.stream.as_ref().map_or(-1, |stream| stream.get_ref().tcp().as_raw_fd())
    }
}

// The hooks know the connection from their attempt; digests that nobody reads would cost each request an allocation.
impl GetTimingDigest for Transport {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}
impl GetProxyDigest for Transport {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}
impl GetSocketDigest for Transport {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
impl Ssl for Transport {}
#[async_trait]
impl Peek for Transport {}
