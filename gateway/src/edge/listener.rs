//! One listener at work: its settings, its limits, and where its rejections go.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::limit::ConnectionLimit;
use super::rejection::Rejections;
use super::tls::ServerTls;
use crate::client_address::ClientAddresses;

/// Connections that the kernel may hold ready for `accept`.
const BACKLOG: i32 = 4096;

/// What every connection of one listener shares.
pub struct Listener {
    /// Its name: the record's `listener`.
    pub name: Box<str>,
    /// Whether HTTP/2 is spoken as well as HTTP/1.1.
    pub http2: bool,
    /// TLS, where it is not plain.
    pub tls: Option<Arc<ServerTls>>,
    /// The port of the `https` URL that every request is sent to, where it answers nothing else.
    pub redirect_to_https: Option<u16>,
    /// Whose address is the client's.
    pub client_addresses: ClientAddresses,
    /// How long a connection may stand still.
    pub patience: Patience,
    /// Bytes of the largest head.
    pub header_bytes: u64,
    /// Bytes of the largest body.
    pub body_bytes: u64,
    /// How many connections may be open.
    pub connections: Arc<ConnectionLimit>,
    /// Where attempts go that no hook saw.
    pub rejections: Rejections,
}

/// How long a connection may stand still.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From a head's first byte, or the connection's start, to the head's end.
    pub header: Duration,
    /// Between two reads of a body.
    pub body_idle: Duration,
    /// While a write makes no progress.
    pub write_idle: Duration,
    /// Between two requests.
    pub keepalive_idle: Duration,
}

/// Binds an address, so that nothing is served where any listener cannot be.
///
/// An unspecified IPv6 address (`[::]`) takes IPv4 as well, whatever the host's default is.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

    #[test]
    fn an_address_in_use_is_an_error() {
        let first = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = first.local_addr().expect("an address");
        let error = bind(address).expect_err("in use");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }

    #[test]
    fn the_unspecified_ipv6_address_takes_ipv4_as_well() {
        let Ok(listener) = bind((Ipv6Addr::UNSPECIFIED, 0).into()) else {
            return; // a host without IPv6
        };
        let port = listener.local_addr().expect("an address").port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("reached over IPv4");
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("reached over IPv6");
    }
}
