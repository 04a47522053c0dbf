//! An upstream that does what the path asks of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use super::SURELY;

/// A request as the upstream saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Listens on a port of its own, for as long as the test runs.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    released: Mutex<bool>,
    release: Condvar,
}

impl Upstream {
    pub(crate) fn start() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let upstream = Upstream { address, shared: Arc::default() };
        let shared = upstream.shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        upstream
    }

    /// What has come in so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no test has failed here").clone()
    }

    /// Lets every request to `/held…` go on.
    pub(crate) fn release(&self) {
        *self.shared.released.lock().expect("no test has failed here") = true;
        self.shared.release.notify_all();
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut writer = stream;
    while let Some(seen) = read_head(&mut reader) {
        let path = seen.target.clone();
        if path.starts_with("/continue") {
            let _ = writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let body = read_body(&mut reader, &seen.head);
        shared
            .seen
            .lock()
            .expect("no test has failed here")
            .push(Seen { body: body.clone(), ..seen.clone() });
        let answered = match path.split('/').nth(1).unwrap_or_default() {
            "hang-up" => return,
            "half" => {
                let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
                return;
            }
            "held" => {
                let released = shared.released.lock().expect("no test has failed here");
                let waited = shared.release.wait_timeout_while(released, SURELY, |released| !*released);
                drop(waited);
                reply(&mut writer, b"held")
            }
            "silent" => {
                // Until the gateway gives up.
                let _ = reader.read(&mut [0; 1]);
                return;
            }
            "chunked" => writer.write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                  5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n",
            ),
            "upgrade" => {
                let _ = writer.write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                );
                let mut bytes = [0; 1024];
                while let Ok(read @ 1..) = reader.read(&mut bytes) {
                    let _ = writer.write_all(&bytes[..read]);
                }
                return;
            }
            "old" => {
                // HTTP/1.0: with a length on a connection that may stay, without one until it closes.
                let _ = match path.split('/').nth(2).unwrap_or_default() {
                    "length" => writer.write_all(
                        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold",
                    ),
                    "empty" => writer.write_all(b"HTTP/1.0 204 No Content\r\n\r\n"),
                    _ => writer.write_all(b"HTTP/1.0 200 OK\r\n\r\nold, until the end"),
                };
                return;
            }
            "hop" => writer.write_all(
                b"HTTP/1.1 200 OK\r\nConnection: X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n\
                  X-Public: 1\r\nContent-Length: 2\r\n\r\nok",
            ),
            _ if seen.head.starts_with("HEAD ") => {
                writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n")
            }
            _ => reply(&mut writer, &[seen.head.as_bytes(), &body].concat()),
        };
        if answered.is_err() {
            return;
        }
    }
}

fn reply(writer: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    writer.write_all(&[head.as_bytes(), body].concat())
}

fn read_head(reader: &mut impl BufRead) -> Option<Seen> {
    let mut head = String::new();
    loop {
        let start = head.len();
        match reader.read_line(&mut head) {
            Ok(0) | Err(_) => return None,
            Ok(_) if &head[start..] == "\r\n" => break,
            Ok(_) => {}
        }
    }
    let target = head.split(' ').nth(1)?.to_owned();
    Some(Seen { target, head, body: Vec::new() })
}

fn read_body(reader: &mut impl BufRead, head: &str) -> Vec<u8> {
    let head = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if let Some((_, rest)) = head.split_once("content-length: ") {
        let length = rest.lines().next().and_then(|text| text.parse().ok()).unwrap_or(0);
        body.resize(length, 0);
        if reader.read_exact(&mut body).is_err() {
            body.clear();
        }
    } else if head.contains("transfer-encoding: chunked") {
        loop {
            let mut line = String::new();
            let Ok(1..) = reader.read_line(&mut line) else { return body };
            let size = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
            let mut chunk = vec![0; size + 2];
            if reader.read_exact(&mut chunk).is_err() || size == 0 {
                return body;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    body
}
