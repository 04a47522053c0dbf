//! A handshake, and why it failed: each that fails is one `rejected` record, with the reason that rustls gives.

use std::io;
use std::sync::Arc;

use pingora_core::server::ShutdownWatch;
use rustls::server::Acceptor;
use rustls::{CertificateError, CipherSuite, Error, ProtocolVersion, ServerConnection};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::attempt::{Attempt, Guard};
use super::super::rejection::Reason;
use super::super::secured::{ClientCertificate, Protocol, Secured};
use super::super::transport::{LINGER, Wire, linger};
use super::ServerTls;

/// Secures a connection within the time that a head has: its stream and what is spoken on it, with what was settled
/// told to the connection. Where the handshake fails, its record is all that comes of it.
pub(in super::super) async fn secure(
    tcp: TcpStream,
    tls: &ServerTls,
    attempt: &Arc<Attempt>,
    stop: &ShutdownWatch,
) -> Option<(Box<TlsStream<Wire>>, Protocol)> {
    let guard = Guard(attempt);
    let connection = &attempt.connection;
    let deadline = connection.accepted + connection.listener.patience.header;
    let mut sni = None;
    let mut stop = stop.clone();
    let failed = tokio::select! {
        shaken = timeout_at(deadline, shake(Wire::counted(tcp, attempt.clone()), tls, &mut sni)) => match shaken {
            Ok(Ok(stream)) => match secured(stream.get_ref().1) {
                Some(secured) => {
                    let protocol = secured.protocol;
                    // Only ever set here.
                    let _ = connection.secured.set(secured);
                    attempt.secured();
                    guard.disarm();
                    return Some((stream, protocol));
                }
                None => Failed { reason: Reason::TlsClientCertificateInvalid, wire: None },
            },
            Ok(Err(failed)) => failed,
            Err(_) => Failed { reason: Reason::TlsTimeout, wire: None },
        },
        // An error means that the sender is gone, which it is not before the gateway stops.
        _ = stop.wait_for(|stop| *stop) => Failed { reason: Reason::Shutdown, wire: None },
    };
    let reason = if attempt.received() == 0 { Reason::NoRequest } else { failed.reason };
    attempt.fail_handshake(reason, sni.as_deref());
    drop(guard);
    if let Some(mut wire) = failed.wire {
        // So that the client gets to see the alert.
        let _ = tokio::time::timeout(LINGER, linger(wire.tcp_mut())).await;
    }
    None
}

/// A handshake that failed, and the stream where there is still somebody to hear why.
struct Failed {
    reason: Reason,
    wire: Option<Wire>,
}

/// The whole handshake; the name that is asked for is told as soon as it is known.
async fn shake(
    wire: Wire,
    tls: &ServerTls,
    sni: &mut Option<Box<str>>,
) -> Result<Box<TlsStream<Wire>>, Failed> {
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), wire);
    let start = match (&mut acceptor).await {
        Ok(start) => start,
        Err(error) => return Err(Failed { reason: reason(&error), wire: acceptor.take_io() }),
    };
    *sni = start.client_hello().server_name().map(|name| name.to_ascii_lowercase().into());
    match start.into_stream(tls.current()).into_fallible().await {
        Ok(stream) => Ok(Box::new(stream)),
        Err((error, wire)) => Err(Failed { reason: reason(&error), wire: Some(wire) }),
    }
}

/// What a handshake settled; nothing where the client's certificate was verified, but cannot be read.
fn secured(connection: &ServerConnection) -> Option<Secured> {
    let client = match connection.peer_certificates().and_then(<[_]>::first) {
        Some(certificate) => Some(ClientCertificate::read(certificate)?),
        None => None,
    };
    Some(Secured {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: connection.negotiated_cipher_suite().map_or("", |suite| cipher(suite.suite())),
        sni: connection.server_name().map(|name| name.to_ascii_lowercase().into()),
        protocol: match connection.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        },
        client,
    })
}

/// A cipher suite by its IANA name; rustls has names of its own for those of TLS 1.3.
fn cipher(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        suite => suite.as_str().unwrap_or_default(),
    }
}

/// Why a handshake failed.
fn reason(error: &io::Error) -> Reason {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        // The end of the stream, or a reset.
        return Reason::TlsClosed;
    };
    match error {
        Error::AlertReceived(_) => Reason::TlsAlert,
        Error::NoCertificatesPresented => Reason::TlsClientCertificateMissing,
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Reason::TlsIncompatible,
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord
        | Error::DecryptError => Reason::TlsMalformed,
        _ => Reason::TlsError,
    }
}

/// Why a client's certificate was refused.
fn of_certificate(error: &CertificateError) -> Reason {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Reason::TlsClientCertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Reason::TlsClientCertificateNotYetValid
        }
        CertificateError::UnknownIssuer => Reason::TlsClientCertificateUnknownIssuer,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Reason::TlsClientCertificateWrongPurpose
        }
        _ => Reason::TlsClientCertificateInvalid,
    }
}
