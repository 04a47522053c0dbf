//! A client over TLS that shows what it is told to show.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::SURELY;
use super::authority::Issued;
use super::client::Client;

/// How a client goes about TLS.
pub(crate) struct Tls {
    config: ClientConfig,
    name: &'static str,
}

impl Tls {
    /// One that believes these authorities, and shows a certificate where it has one.
    pub(crate) fn new(roots: RootCertStore, shown: Option<&Issued>) -> Tls {
        Tls::of(&[&TLS13, &TLS12], roots, shown)
    }

    /// The same, with these versions alone.
    pub(crate) fn of(
        versions: &[&'static SupportedProtocolVersion],
        roots: RootCertStore,
        shown: Option<&Issued>,
    ) -> Tls {
        let builder = ClientConfig::builder_with_provider(Arc::new(gateway::pem::provider()));
        let builder =
            builder.with_protocol_versions(versions).expect("versions").with_root_certificates(roots);
        let config = match shown {
            Some(issued) => builder
                .with_client_auth_cert(issued.chain.clone(), issued.private.clone_key())
                .expect("a pair"),
            None => builder.with_no_client_auth(),
        };
        Tls { config, name: "api.test" }
    }

    /// Asks for another name.
    pub(crate) fn named(self, name: &'static str) -> Tls {
        Tls { name, ..self }
    }

    /// Offers protocols (ALPN).
    pub(crate) fn offering(mut self, protocols: &[&str]) -> Tls {
        self.config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Remembers sessions, from one connection to the next.
    pub(crate) fn resuming(mut self) -> Tls {
        self.config.resumption = Resumption::in_memory_sessions(8);
        self
    }

    /// Connects, and shakes hands as far as the client can tell.
    pub(crate) fn connect(&self, address: SocketAddr) -> Result<Client, rustls::Error> {
        let (_, done) = self.try_connect(address);
        done
    }

    /// The same, with the port that the gateway sees, whatever becomes of it.
    pub(crate) fn try_connect(&self, address: SocketAddr) -> (u16, Result<Client, rustls::Error>) {
        let tcp = TcpStream::connect(address).expect("the gateway accepts");
        tcp.set_read_timeout(Some(SURELY)).expect("a timeout");
        let port = tcp.local_addr().expect("an address").port();
        let name = self.name.try_into().expect("a name");
        let connection = ClientConnection::new(Arc::new(self.config.clone()), name).expect("a connection");
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            if let Err(error) = stream.conn.complete_io(&mut stream.sock) {
                return (port, Err(reason(error)));
            }
        }
        (port, Ok(Client::over(stream)))
    }

    /// Connects and asks: the port, and the status or why there is none. A certificate that the gateway refuses shows
    /// only here: with TLS 1.3 the client is done before the gateway has seen it.
    pub(crate) fn ask(&self, address: SocketAddr, path: &str) -> (u16, Result<u16, rustls::Error>) {
        let tcp = TcpStream::connect(address).expect("the gateway accepts");
        tcp.set_read_timeout(Some(SURELY)).expect("a timeout");
        let port = tcp.local_addr().expect("an address").port();
        let name = self.name.try_into().expect("a name");
        let connection = ClientConnection::new(Arc::new(self.config.clone()), name).expect("a connection");
        let mut stream = StreamOwned::new(connection, tcp);
        let request = format!("GET {path} HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
        let mut answer = Vec::new();
        let done = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
        if let Err(error) = done {
            return (port, Err(reason(error)));
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (port, Ok(status))
    }
}

fn reason(error: std::io::Error) -> rustls::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => error.clone(),
        None => rustls::Error::General(error.to_string()),
    }
}
