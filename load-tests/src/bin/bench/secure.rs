//! The whole gateway with everything of identity on, against the same gateway without: processor time a request on
//! kept connections, and a handshake.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer as Signer, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::{net::TcpStream, task::JoinSet, time::Instant};
use tokio_rustls::TlsConnector;

use crate::{
    cores::{MEASURED, OTHER, bind_thread},
    median::median,
    report::{Line, Report},
    rig::{self, Secure, Server},
    token::Issuer,
};

const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 16;
/// The header whose value is told as an HMAC.
const PATIENT: &str = "X-Patient-Id: patient-4711\r\n";

/// Where a client connects to, and with what.
#[derive(Clone)]
struct Way {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    request: Arc<str>,
}

/// Measures all of it; the gateway has one core, clients and the upstream the other.
pub(crate) fn measure(folder: &Path) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    bind_thread(OTHER)?;
    runtime.block_on(take_turns(folder))
}

async fn take_turns(folder: &Path) -> anyhow::Result<Report> {
    let upstream = rig::upstream(folder).await?;
    let issuer = Issuer::new()?;
    let certificates = Certificates::write(folder)?;
    fs::write(folder.join("jwks.json"), issuer.key_set())?;
    let (gateway, Secure { tls, mtls }) = rig::secure_gateway(folder, upstream.address).await?;
    let request = |path: &str, more: &str| -> Arc<str> {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\n{more}\r\n").into()
    };
    let bearer = format!("Authorization: Bearer {}\r\n{PATIENT}", issuer.token("alice")?);
    let way = |address, tls: Option<&TlsConnector>, request| Way { address, tls: tls.cloned(), request };
    let ways = [
        way(gateway.address, None, request("/plain/42", "")),
        way(mtls, Some(&certificates.shown), request("/plain/42", "")),
        way(mtls, Some(&certificates.shown), request("/orders/42", &bearer)),
    ];
    let handshakes = [
        way(gateway.address, None, request("/plain/42", "")),
        way(tls, Some(&certificates.silent), request("/plain/42", "")),
        way(mtls, Some(&certificates.shown), request("/plain/42", "")),
    ];
    let (mut requests, mut openings) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
    for _ in 0..ROUNDS {
        for (way, times) in ways.iter().zip(&mut requests) {
            times.push(round(&gateway, way, Kept::Yes).await?);
        }
        for (way, times) in handshakes.iter().zip(&mut openings) {
            times.push(round(&gateway, way, Kept::No).await?);
        }
    }
    rig::stop(gateway).await?;
    let [plain, kept, all] = requests.map(median);
    let [tcp, server, mutual] = openings.map(median);
    let line = |what: &str, figure: f64, anchor: f64| Line {
        what: what.into(),
        figure: format!("{figure:.1} µs"),
        ratio: Some(figure / anchor),
        target: "",
    };
    Ok(Report {
        title: "identity in the gateway",
        how: format!(
            "all threads of the gateway, on core {MEASURED}; {CONNECTIONS} clients and NGINX, 1 KiB a reply, on core {OTHER}; \
             {ROUNDS} rounds of {} s each in turn, medians; keys on P-256, TLS 1.3; a handshake is what a connection with one \
             request costs above a request on a kept one",
            ROUND.as_secs()
        ),
        lines: vec![
            line("everything: mTLS, JWT (seen before), rules, HMAC, body digests", all, plain),
            line("mTLS on kept connections, `auth: none`", kept, plain),
            Line::anchor("the same gateway, plain TCP, `auth: none`", format!("{plain:.1} µs")),
            line("a handshake of mTLS, and its connection", mutual - kept, server - kept),
            line("a handshake without a client certificate, and its connection", server - kept, tcp - plain),
            Line::anchor("a TCP connection", format!("{:.1} µs", tcp - plain)),
        ],
    })
}

/// Whether a connection serves more than one request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

/// Microseconds of the gateway's processor time a request.
async fn round(gateway: &Server, way: &Way, kept: Kept) -> anyhow::Result<f64> {
    let until = Instant::now() + ROUND;
    let before = gateway.process.processor_time()?;
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        clients.spawn(client(way.clone(), kept, until));
    }
    let mut requests = 0;
    while let Some(done) = clients.join_next().await {
        requests += done??;
    }
    let used = gateway.process.processor_time()? - before;
    ensure!(requests > 0, "nothing was answered");
    Ok(used.as_secs_f64() * 1e6 / requests as f64)
}

/// Asks until then; how often it was answered.
async fn client(way: Way, kept: Kept, until: Instant) -> anyhow::Result<u64> {
    let mut requests = 0;
    while Instant::now() < until {
        let tcp = TcpStream::connect(way.address).await?;
        tcp.set_nodelay(true)?;
        requests += match &way.tls {
            None => ask(tcp, &way.request, kept, until).await?,
            Some(tls) => {
                let name = ServerName::try_from("localhost")?;
                ask(tls.connect(name, tcp).await?, &way.request, kept, until).await?
            }
        };
    }
    Ok(requests)
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
    kept: Kept,
    until: Instant,
) -> anyhow::Result<u64> {
    let mut answer = Vec::with_capacity(4096);
    let mut requests = 0;
    loop {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        answer.clear();
        while !is_whole(&answer) {
            ensure!(stream.read_buf(&mut answer).await? > 0, "the gateway hung up in the middle");
        }
        ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        requests += 1;
        if kept == Kept::No || Instant::now() >= until {
            return Ok(requests);
        }
    }
}

/// Whether a head and the body whose length it tells are there.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length =
        head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
    answer.len() >= end + 4 + length.unwrap_or(0)
}

/// What the clients connect with.
struct Certificates {
    /// Shows a certificate.
    shown: TlsConnector,
    /// Shows none.
    silent: TlsConnector,
}

impl Certificates {
    /// Makes an authority, the gateway's certificate in `server.pem` and `server.key`, and the clients' own.
    fn write(folder: &Path) -> anyhow::Result<Certificates> {
        let mut authority = CertificateParams::new(vec![])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let own = authority.self_signed(&key)?;
        let signer = Signer::new(authority, key);
        fs::write(folder.join("ca.pem"), own.pem())?;
        let issue = |name: &str, purpose| {
            let mut params = CertificateParams::new(vec![name.to_owned()])?;
            params.extended_key_usages.push(purpose);
            let key = KeyPair::generate()?;
            params.signed_by(&key, &signer).map(|certificate| (certificate, key))
        };
        let (server, server_key) = issue("localhost", ExtendedKeyUsagePurpose::ServerAuth)?;
        fs::write(folder.join("server.pem"), server.pem())?;
        fs::write(folder.join("server.key"), server_key.serialize_pem())?;
        let (client, client_key) = issue("bench.example.org", ExtendedKeyUsagePurpose::ClientAuth)?;
        let client_key = PrivateKeyDer::try_from(client_key.serialize_der()).ok().context("PKCS #8")?;
        let mut roots = RootCertStore::empty();
        roots.add(own.der().clone())?;
        let builder = || {
            let provider = Arc::new(gateway::pem::provider());
            let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            builder.map(|builder| builder.with_root_certificates(roots.clone()))
        };
        let connector = |mut config: ClientConfig| {
            // Each handshake is a whole one.
            config.resumption = rustls::client::Resumption::disabled();
            TlsConnector::from(Arc::new(config))
        };
        Ok(Certificates {
            shown: connector(builder()?.with_client_auth_cert(vec![client.der().clone()], client_key)?),
            silent: connector(builder()?.with_no_client_auth()),
        })
    }
}
