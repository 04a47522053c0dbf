//! A client that writes exactly the bytes it is given.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use rustls::{ClientConnection, StreamOwned};

use super::SURELY;

/// One connection to a gateway.
pub(crate) struct Client {
    stream: Stream,
    buffered: Vec<u8>,
}

/// What its bytes go through.
enum Stream {
    Plain(TcpStream),
    Secured(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Secured(tls) => &tls.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(bytes),
            Stream::Secured(tls) => tls.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(bytes),
            Stream::Secured(tls) => tls.write(bytes),
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.flush(),
            Stream::Secured(tls) => tls.flush(),
        }
    }
}

/// A response, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the gateway accepts");
        stream.set_read_timeout(Some(SURELY)).expect("a timeout");
        Client { stream: Stream::Plain(stream), buffered: Vec::new() }
    }

    /// The same over TLS.
    pub(crate) fn over(tls: StreamOwned<ClientConnection, TcpStream>) -> Client {
        Client { stream: Stream::Secured(Box::new(tls)), buffered: Vec::new() }
    }

    /// What TLS settled.
    pub(crate) fn tls(&self) -> &ClientConnection {
        match &self.stream {
            Stream::Secured(tls) => &tls.conn,
            Stream::Plain(_) => panic!("this connection is plain"),
        }
    }

    /// The port that the gateway sees: what tells this connection's records from others'.
    pub(crate) fn port(&self) -> u16 {
        self.stream.tcp().local_addr().expect("an address").port()
    }

    /// Sends bytes; a gateway that has hung up meanwhile is no failure here.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Sends a GET and waits for its answer.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n\r\n"));
        self.response().expect("an answer")
    }

    /// Sends no more.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.tcp().shutdown(Shutdown::Write);
    }

    /// Everything that is still to come, until the gateway closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffered);
        // A reset ends it as well as a close.
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }

    /// The next response to anything but HEAD, or none when the gateway has closed.
    pub(crate) fn response(&mut self) -> Option<Response> {
        let (status, head) = self.head()?;
        let bare = Response { status, head, body: Vec::new() };
        let body = match (bare.header("content-length"), bare.header("transfer-encoding")) {
            _ if status < 200 || status == 204 || status == 304 => Vec::new(),
            (_, Some(_)) => self.chunked()?,
            (Some(length), None) => self.exactly(length.parse().expect("a number"))?,
            (None, None) => self.rest(),
        };
        Some(Response { body, ..bare })
    }

    /// The next response's head alone.
    pub(crate) fn head(&mut self) -> Option<(u16, String)> {
        let end = loop {
            if let Some(at) = self.buffered.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head: Vec<u8> = self.buffered.drain(..end).collect();
        let head = String::from_utf8(head).expect("a head is text");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        Some((status, head))
    }

    /// So many bytes.
    pub(crate) fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffered.len() < length {
            self.more()?;
        }
        Some(self.buffered.drain(..length).collect())
    }

    fn chunked(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = self.buffered.windows(2).position(|window| window == b"\r\n") {
                    break at;
                }
                self.more()?;
            };
            let line: Vec<u8> = self.buffered.drain(..end + 2).collect();
            let size = std::str::from_utf8(&line[..end]).expect("text");
            let size = usize::from_str_radix(size.split(';').next().expect("a size"), 16).expect("hex");
            body.extend(self.exactly(size)?);
            self.exactly(2)?;
            if size == 0 {
                return Some(body);
            }
        }
    }

    fn more(&mut self) -> Option<()> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => None,
            Ok(read) => {
                self.buffered.extend_from_slice(&bytes[..read]);
                Some(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("neither an answer nor a close: {error}"),
        }
    }
}
