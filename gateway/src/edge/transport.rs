//! The plain TCP stream that lies under everything else.

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

use super::attempt::Attempt;

/// A response's head and a short body leave in one write.
const WRITE_BUFFER: usize = 4096;
/// For how long a closed connection is read on, at most, so that its client gets to see the answer.
const LINGER: Duration = Duration::from_secs(1);

/// A client's TCP stream. What Pingora keeps beside one, a read buffer of 64 KiB, is left out: Pingora reads into
/// its own.
#[derive(Debug)]
pub(super) struct Transport {
    /// Taken when dropped.
    tcp: Option<BufWriter<TcpStream>>,
    owner: Owner,
}

/// The attempt on whose behalf the stream is open; printed by Pingora's logs as nothing.
struct Owner(Arc<Attempt>);

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.connection.peer)
    }
}

impl Transport {
    pub(super) fn new(tcp: TcpStream, attempt: Arc<Attempt>) -> Transport {
        Transport { tcp: Some(BufWriter::with_capacity(WRITE_BUFFER, tcp)), owner: Owner(attempt) }
    }

    fn tcp(&mut self) -> Pin<&mut BufWriter<TcpStream>> {
        Pin::new(self.tcp.as_mut().expect("the stream is taken only when it is dropped"))
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.tcp().poll_read(cx, buf)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.tcp().poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_shutdown(cx)
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        let Some(mut tcp) = self.tcp.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if self.owner.0.lingers() => {
                // The attempt goes along: with its permit, the connection counts until it is really gone.
                let attempt = self.owner.0.clone();
                runtime.spawn(async move {
                    // Whatever comes of it, the connection closes.
                    let _ = tokio::time::timeout(LINGER, linger(&mut tcp)).await;
                    drop(attempt);
                });
            }
            _ => {
                let _ = tcp.flush().now_or_never();
            }
        }
    }
}

/// Closes our half and reads what the client still sends, so that the kernel does not answer it with a reset that
/// would discard our answer from the client's buffer (RFC 9112, section 9.6).
async fn linger(tcp: &mut BufWriter<TcpStream>) -> io::Result<()> {
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
        self.tcp.as_ref().map_or(-1, |tcp| tcp.get_ref().as_raw_fd())
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
