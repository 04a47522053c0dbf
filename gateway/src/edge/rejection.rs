//! What becomes of an attempt that no hook ever saw: exactly one `rejected` record.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use audit_writer::record::{Entry, KindRejected, Rejected, Response, Source, Tls, Unnumbered, V1};
use audit_writer::ring::{Need, Recorder, Ticket};
use audit_writer::time::Timestamp;
use prometheus::IntCounter;

/// Why an attempt never became a request: the record's `reason`, and the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The head was no HTTP request that can be understood, or it was ambiguous. Answered 400.
    MalformedRequest,
    /// The head was not complete in time. Answered 408.
    HeaderTimeout,
    /// The head was larger than the listener allows. Answered 431.
    HeaderTooLarge,
    /// The client closed the connection within a head.
    ClosedInHeader,
    /// A connection was opened, and closed or left without a byte.
    NoRequest,
    /// The listener had as many connections as it may.
    ConnectionLimit,
    /// The address had as many connections as it may.
    AddressLimit,
    /// The gateway was shutting down when the head was not yet complete.
    Shutdown,
    /// The gateway failed while it read the head.
    Internal,
    /// What a client of HTTP/2 began with was not the preface.
    H2Handshake,
    /// The connection broke a rule of HTTP/2, and ended.
    H2ProtocolError,
    /// The client asked for more work over HTTP/2 than can be honest, and the connection ended.
    H2Flood,
    /// The head of an HTTP/2 stream was no request that can be understood. The stream was reset.
    H2MalformedStream,
    /// An HTTP/2 client had as many streams open as it may. The stream was refused.
    H2StreamRefused,
    /// An HTTP/2 connection ended before the stream was served.
    H2StreamDropped,
    /// The TLS handshake was not complete in time.
    TlsTimeout,
    /// The client closed the connection within the TLS handshake.
    TlsClosed,
    /// What came in place of a TLS handshake was none, or broke the protocol.
    TlsMalformed,
    /// Client and listener have no version, cipher or protocol in common.
    TlsIncompatible,
    /// The client broke the TLS handshake off with an alert: it may not believe the listener's certificate.
    TlsAlert,
    /// The client showed no certificate where one is required.
    TlsClientCertificateMissing,
    /// The client's certificate has expired.
    TlsClientCertificateExpired,
    /// The client's certificate does not hold yet.
    TlsClientCertificateNotYetValid,
    /// The client's certificate is of no authority that the listener believes.
    TlsClientCertificateUnknownIssuer,
    /// The client's certificate is not for clients.
    TlsClientCertificateWrongPurpose,
    /// The client's certificate cannot be verified for another reason.
    TlsClientCertificateInvalid,
    /// The TLS handshake failed for another reason.
    TlsError,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 27] = [
        Reason::MalformedRequest,
        Reason::HeaderTimeout,
        Reason::HeaderTooLarge,
        Reason::ClosedInHeader,
        Reason::NoRequest,
        Reason::ConnectionLimit,
        Reason::AddressLimit,
        Reason::Shutdown,
        Reason::Internal,
        Reason::H2Handshake,
        Reason::H2ProtocolError,
        Reason::H2Flood,
        Reason::H2MalformedStream,
        Reason::H2StreamRefused,
        Reason::H2StreamDropped,
        Reason::TlsTimeout,
        Reason::TlsClosed,
        Reason::TlsMalformed,
        Reason::TlsIncompatible,
        Reason::TlsAlert,
        Reason::TlsClientCertificateMissing,
        Reason::TlsClientCertificateExpired,
        Reason::TlsClientCertificateNotYetValid,
        Reason::TlsClientCertificateUnknownIssuer,
        Reason::TlsClientCertificateWrongPurpose,
        Reason::TlsClientCertificateInvalid,
        Reason::TlsError,
    ];

    /// The word in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::MalformedRequest => "malformed_request",
            Reason::HeaderTimeout => "header_timeout",
            Reason::HeaderTooLarge => "header_too_large",
            Reason::ClosedInHeader => "closed_in_header",
            Reason::NoRequest => "no_request",
            Reason::ConnectionLimit => "connection_limit",
            Reason::AddressLimit => "connection_limit_per_address",
            Reason::Shutdown => "shutdown",
            Reason::Internal => "internal",
            Reason::H2Handshake => "h2_handshake",
            Reason::H2ProtocolError => "h2_protocol_error",
            Reason::H2Flood => "h2_flood",
            Reason::H2MalformedStream => "h2_malformed_stream",
            Reason::H2StreamRefused => "h2_stream_refused",
            Reason::H2StreamDropped => "h2_stream_dropped",
            Reason::TlsTimeout => "tls_timeout",
            Reason::TlsClosed => "tls_closed",
            Reason::TlsMalformed => "tls_malformed",
            Reason::TlsIncompatible => "tls_incompatible",
            Reason::TlsAlert => "tls_alert",
            Reason::TlsClientCertificateMissing => "tls_client_certificate_missing",
            Reason::TlsClientCertificateExpired => "tls_client_certificate_expired",
            Reason::TlsClientCertificateNotYetValid => "tls_client_certificate_not_yet_valid",
            Reason::TlsClientCertificateUnknownIssuer => "tls_client_certificate_unknown_issuer",
            Reason::TlsClientCertificateWrongPurpose => "tls_client_certificate_wrong_purpose",
            Reason::TlsClientCertificateInvalid => "tls_client_certificate_invalid",
            Reason::TlsError => "tls_error",
        }
    }
}

/// An attempt that is to be recorded.
#[derive(Debug, Clone, Copy)]
pub struct Rejection<'a> {
    /// Why.
    pub reason: Reason,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Bytes that were read.
    pub bytes: u64,
    /// The status that was answered, and the bytes of its body.
    pub answered: Option<(u16, u64)>,
    /// For how long it had been going on.
    pub took: Duration,
    /// What is known of the TLS handshake, where one was begun.
    pub tls: Option<Tls<'a>>,
}

/// Writes the `rejected` records of one listener.
pub struct Rejections {
    listener: Box<str>,
    recorder: Recorder,
    counters: Arc<[IntCounter; Reason::ALL.len()]>,
}

impl Rejections {
    /// Records for the listener of this name; `counters` has one for each of [`Reason::ALL`], in its order.
    pub fn new(
        listener: &str,
        recorder: Recorder,
        counters: Arc<[IntCounter; Reason::ALL.len()]>,
    ) -> Rejections {
        Rejections { listener: listener.into(), recorder, counters }
    }

    /// Records one attempt. Never waits: without a free slot the record is declared lost.
    pub fn record(&self, rejection: &Rejection<'_>) {
        self.record_with(self.recorder.enter(), rejection);
    }

    /// The same for one that the log accounts for already.
    pub fn record_with(&self, mut ticket: Ticket, rejection: &Rejection<'_>) {
        self.counters[rejection.reason as usize].inc();
        if !ticket.try_reserve(Need::Record) {
            ticket.lost();
            return;
        }
        let ended = Timestamp::now();
        let took = u64::try_from(rejection.took.as_micros()).unwrap_or(u64::MAX);
        ticket.end(Entry::rejected(&Rejected {
            seq: Unnumbered,
            v: V1,
            kind: KindRejected,
            ts: Timestamp::from_micros(ended.as_micros().saturating_sub(took)),
            boot: self.recorder.boot(),
            listener: &self.listener,
            source: Source { ip: rejection.peer.ip(), port: rejection.peer.port(), peer: None, claimed: &[] },
            tls: rejection.tls,
            reason: rejection.reason.as_str(),
            bytes: rejection.bytes,
            response: rejection.answered.map(|(status, bytes)| Response { status, bytes, body_sha256: None }),
            duration_us: took,
            trunc: None,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_word() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert_eq!(Reason::ALL.into_iter().filter(|other| other.as_str() == reason.as_str()).count(), 1);
        }
    }
}
