//! What a TLS handshake settled: taken from it once, and told by every record of the connection.

use audit_writer::record::Tls;
use audit_writer::time::Timestamp;

/// What is spoken on a connection, above TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (RFC 9112), and 1.0.
    #[default]
    Http1,
    /// HTTP/2 (RFC 9113).
    Http2,
}

/// A secured connection.
#[derive(Debug)]
pub struct Secured {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: &'static str,
    /// The server name that the client asked for, in lower case (RFC 6066, section 3).
    pub sni: Option<Box<str>>,
    /// What both sides agreed to speak (ALPN, RFC 7301).
    pub protocol: Protocol,
    /// The client's certificate, where one was presented and verified.
    pub client: Option<ClientCertificate>,
}

/// A client's certificate that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of its DER, 64 hex digits.
    pub sha256: Box<str>,
    /// Its subject (RFC 4514).
    pub subject: Box<str>,
    /// Its subject alternative names, each with its type before it: `DNS:…`, `URI:…`, `email:…`, `IP:…`.
    pub san: Box<[Box<str>]>,
    /// Its SPIFFE id: its one URI, where that is such.
    pub spiffe_id: Option<Box<str>>,
    /// Until when it holds: a kept connection may last longer.
    pub not_after: Timestamp,
}

impl Secured {
    /// As records tell it.
    pub fn told(&self) -> Tls<'_> {
        let client = self.client.as_ref();
        Tls {
            version: Some(self.version),
            cipher: Some(self.cipher),
            sni: self.sni.as_deref(),
            client_cert_sha256: client.map(|client| &*client.sha256),
            client_cert_subject: client.map(|client| &*client.subject),
            client_cert_san: client.map(|client| &*client.san).unwrap_or_default(),
            client_spiffe_id: client.and_then(|client| client.spiffe_id.as_deref()),
        }
    }
}
