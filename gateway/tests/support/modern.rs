//! Upstreams that speak TLS and HTTP/2: real servers of the libraries that services use.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, Issued};

/// How an upstream is set up.
pub(crate) struct Setup<'a> {
    /// With what it proves itself; none for plain TCP.
    pub(crate) identity: Option<&'a Issued>,
    /// Whose certificates its clients must show.
    pub(crate) clients: Option<&'a Authority>,
    /// What it offers by ALPN; the first is spoken where there is no TLS.
    pub(crate) protocols: &'a [&'a str],
    /// Whether it speaks TLS 1.2 at most.
    pub(crate) old: bool,
}

/// A server, for as long as the test runs. It answers 200 with its own trailers, where HTTP/2 has them.
#[derive(Clone)]
pub(crate) struct Modern {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    seen: Mutex<Vec<String>>,
}

impl Modern {
    pub(crate) fn start(setup: &Setup<'_>) -> Modern {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("a socket");
        let modern = Modern { address, shared: Arc::default() };
        let acceptor = setup.identity.map(|identity| TlsAcceptor::from(Arc::new(server(identity, setup))));
        let h2 = setup.protocols.first() == Some(&"h2");
        let shared = modern.shared.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a socket");
                while let Ok((tcp, _)) = listener.accept().await {
                    tokio::spawn(connection(tcp, acceptor.clone(), h2, shared.clone()));
                }
            });
        });
        modern
    }

    /// The requests that came in, as `VERSION METHOD TARGET AUTHORITY`.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().expect("no test has failed here").clone()
    }

    /// How many connections carried a request.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn saw(&self, line: String) {
        self.seen.lock().expect("no test has failed here").push(line);
    }
}

fn server(identity: &Issued, setup: &Setup<'_>) -> ServerConfig {
    let provider = Arc::new(gateway::pem::provider());
    let versions: &[_] = if setup.old { &[&TLS12] } else { &[&TLS13, &TLS12] };
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(versions).expect("versions");
    let builder = match setup.clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let chain = identity.chain.clone();
    let mut config = builder.with_single_cert(chain, identity.private.clone_key()).expect("a certificate");
    config.alpn_protocols = setup.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn connection(tcp: TcpStream, acceptor: Option<TlsAcceptor>, h2: bool, shared: Arc<Shared>) {
    let _ = match acceptor {
        None if h2 => serve_h2(tcp, &shared).await,
        None => serve_h1(tcp, &shared).await,
        Some(acceptor) => match acceptor.accept(tcp).await {
            Ok(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => serve_h2(tls, &shared).await,
            Ok(tls) => serve_h1(tls, &shared).await,
            Err(error) => Err(error),
        },
    };
}

async fn serve_h1(stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = true;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        shared.connections.fetch_add(usize::from(std::mem::take(&mut first)), Ordering::Relaxed);
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        shared.saw(format!("HTTP/1.1 {method} {target} {}", header("host").unwrap_or_default()));
        if header("upgrade").is_some() {
            let switched =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(switched).await?;
            stream.flush().await?;
            let mut echoed = String::new();
            stream.read_line(&mut echoed).await?;
            stream.write_all(echoed.as_bytes()).await?;
            return stream.flush().await;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
        stream.flush().await?;
    }
}

async fn serve_h2(stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Arc<Shared>) -> io::Result<()> {
    let mut connection = h2::server::handshake(stream).await.map_err(io::Error::other)?;
    let mut first = true;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted.map_err(io::Error::other)?;
        shared.connections.fetch_add(usize::from(std::mem::take(&mut first)), Ordering::Relaxed);
        tokio::spawn(answer(request, respond, shared.clone()));
    }
    Ok(())
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    shared: Arc<Shared>,
) -> Result<(), h2::Error> {
    let uri = request.uri();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    shared.saw(format!("HTTP/2 {} {} {authority}", request.method(), uri.path()));
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        length += chunk.len();
        body.flow_control().release_capacity(chunk.len())?;
    }
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(format!("read {length}").into(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
