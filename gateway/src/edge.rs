//! The listener stack: no attempt unseen.
//!
//! ```text
//! accept ─► connection limits ─► TLS ─► write buffer ─► tap ─► request loop ─► HttpProxy (Pingora)
//! ```
//!
//! Pingora tells its hooks only of requests whose head it could read. Everything else, a malformed head, one that
//! stalls or is too large, a connection without a request or beyond a limit, a TLS handshake that fails, would pass
//! without a trace. So the edge
//! accepts connections itself, watches their streams (`tap`), and runs the request loop around
//! `HttpProxy::process_new_http` with an owner for every [`Attempt`]: a context that claimed it, or else one
//! `rejected` record.
//!
//! Runs on the threads of its Pingora service; a connection is one task.

mod alarm;
mod answer;
mod attempt;
mod http1;
mod http2;
mod limit;
mod listener;
mod rejection;
mod request_line;
mod secured;
mod tap;
mod tls;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::HttpServerApp;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::net::{TcpListener, TcpStream};

pub use attempt::{Attempt, Connection, Cut};
pub use limit::{ConnectionLimit, Drain, Permit};
pub use listener::{Listener, Patience, bind};
pub use rejection::{Reason, Rejection, Rejections};
pub use secured::{ClientCertificate, Protocol, Secured};
pub(crate) use tls::check as check_tls;
pub use tls::{ServerTls, TlsError};
use transport::{Stream, Transport};

/// How long `accept` rests when the process has no file descriptor left.
const REST: Duration = Duration::from_millis(200);

/// The listeners of a gateway, as a Pingora service.
pub struct Edge<A> {
    app: Arc<A>,
    listeners: Vec<(Arc<Listener>, std::net::TcpListener)>,
    stop: ShutdownWatch,
}

impl<A> Edge<A> {
    /// Serves `app` on sockets that are bound already, until `stop` says true.
    ///
    /// `stop` is the gateway's own, so that requests can drain before Pingora's server sees the signal.
    pub fn new(
        app: Arc<A>,
        listeners: Vec<(Arc<Listener>, std::net::TcpListener)>,
        stop: ShutdownWatch,
    ) -> Edge<A> {
        Edge { app, listeners, stop }
    }
}

#[async_trait]
impl<A> ServiceWithDependents for Edge<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let mut accepting = Vec::new();
        for (listener, socket) in self.listeners.drain(..) {
            match TcpListener::from_std(socket) {
                Ok(socket) => {
                    let (app, stop) = (self.app.clone(), self.stop.clone());
                    accepting.push(tokio::spawn(accept(app, listener, socket, stop)));
                }
                Err(error) => tracing::error!(listener = %listener.name, %error, "listener not served"),
            }
        }
        ready.notify_ready();
        futures::future::join_all(accepting).await;
        // Kept connections without a request end here.
        self.app.http_cleanup().await;
    }

    fn name(&self) -> &str {
        "edge"
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// Accepts the connections of one listener until the gateway stops.
async fn accept<A>(app: Arc<A>, listener: Arc<Listener>, socket: TcpListener, mut stop: ShutdownWatch)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut resting = false;
    while !*stop.borrow() {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            // An error means that the sender is gone, which it is not before the gateway stops.
            _ = stop.changed() => continue,
        };
        match accepted {
            Ok((tcp, peer)) => {
                resting = false;
                admit(&app, &listener, tcp, peer, &stop);
            }
            Err(error) if is_exhausted(&error) => {
                if !resting {
                    tracing::error!(listener = %listener.name, %error, "no connection can be accepted");
                }
                resting = true;
                tokio::time::sleep(REST).await;
            }
            // The client was gone again before it was accepted.
            Err(_) => {}
        }
    }
}

/// Whether the process or the host is out of file descriptors or memory.
fn is_exhausted(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| exhausted.iter().any(|errno| errno.raw_os_error() == code))
}

/// Gives a connection its task, or records which limit it met.
fn admit<A>(app: &Arc<A>, listener: &Arc<Listener>, tcp: TcpStream, peer: SocketAddr, stop: &ShutdownWatch)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    // An IPv4 client of a dual-stack socket is an IPv4 client.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    match listener.connections.admit(peer.ip()) {
        Ok(permit) => {
            // Without it, a small answer may wait for the client's delayed acknowledgement; only that is lost.
            let _ = tcp.set_nodelay(true);
            let attempt = Attempt::new(Connection::new(listener.clone(), peer, permit));
            let (app, stop) = (app.clone(), stop.clone());
            pingora_runtime::current_handle().spawn(connection(app, tcp, attempt, stop));
        }
        Err(reason) => listener.rejections.record(&Rejection {
            reason,
            peer,
            bytes: 0,
            answered: None,
            took: Duration::ZERO,
            tls: None,
        }),
    }
}

/// One connection, from its first byte to its last.
async fn connection<A>(app: Arc<A>, tcp: TcpStream, attempt: Arc<Attempt>, stop: ShutdownWatch)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let listener = &attempt.connection.listener;
    let (stream, protocol) = match &listener.tls {
        // In a box, so that plain connections' tasks need no room for it.
        Some(tls) => match Box::pin(tls::secure(tcp, tls, &attempt, &stop)).await {
            Some((stream, protocol)) => (Stream::secured(stream), protocol),
            None => return,
        },
        None if listener.http2 => {
            let deadline = attempt.connection.accepted + listener.patience.header;
            let mut stopped = stop.clone();
            let announced = tokio::select! {
                announced = http2::is_announced(&tcp, deadline) => announced,
                _ = stopped.wait_for(|stop| *stop) => false,
            };
            (Stream::Plain(tcp), if announced { Protocol::Http2 } else { Protocol::Http1 })
        }
        None => (Stream::Plain(tcp), Protocol::Http1),
    };
    let transport = Transport::new(stream, attempt.clone());
    match protocol {
        Protocol::Http1 => attempt.scope(http1::serve(&app, transport, &attempt, &stop)).await,
        Protocol::Http2 => http2::serve(&app, transport, &attempt, &stop).await,
    }
}
