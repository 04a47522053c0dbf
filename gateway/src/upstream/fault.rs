//! What went wrong between the gateway and an upstream, in one constant word: the record's `error`.
//!
//! Pingora keeps of a failed handshake only the text of the library's error, so the word is read out of that text.
//! What a server puts into its certificate comes after what is looked for.

use std::io;

use pingora_core::{Error, ErrorType};

/// The error type of an upstream that was to be spoken to in HTTP/2, and did not agree.
pub const NOT_H2: ErrorType = ErrorType::Custom("upstream_not_h2");

/// How the library says that a certificate was refused, and what follows for each reason.
const CERTIFICATE: &str = "invalid peer certificate: ";
const REASONS: [(&str, &str); 5] = [
    ("UnknownIssuer", "upstream_tls_certificate_unknown_issuer"),
    ("certificate not valid for name", "upstream_tls_certificate_wrong_name"),
    ("certificate expired", "upstream_tls_certificate_expired"),
    ("certificate not valid yet", "upstream_tls_certificate_not_yet_valid"),
    ("certificate does not allow extended key usage", "upstream_tls_certificate_wrong_purpose"),
];
const ALERT: &str = "received fatal alert: ";

/// The word for an error of the upstream's side.
pub fn word(error: &Error) -> &'static str {
    match error.etype() {
        ErrorType::TLSHandshakeFailure => {
            of_handshake(error.context.as_ref().map_or("", |text| text.as_str()))
        }
        // A TLS 1.3 server judges the client's certificate after the handshake has ended on this side.
        _ if is_alert(error) => "upstream_tls_alert",
        etype => etype.as_str(),
    }
}

/// The word for a handshake that failed, by what the library said.
fn of_handshake(said: &str) -> &'static str {
    if let Some((_, reason)) = said.split_once(CERTIFICATE) {
        let known = REASONS.iter().find(|(begin, _)| reason.starts_with(begin));
        return known.map_or("upstream_tls_certificate_invalid", |(_, word)| word);
    }
    if said.contains(ALERT) { "upstream_tls_alert" } else { "upstream_tls_handshake" }
}

/// Whether the upstream broke the connection off with an alert of TLS (RFC 8446, section 6.2).
fn is_alert(error: &Error) -> bool {
    let cause = error.root_cause();
    let io = cause.downcast_ref::<io::Error>();
    let io = io.or_else(|| cause.downcast_ref::<h2::Error>().and_then(h2::Error::get_io));
    let tls = io.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::AlertReceived(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::CertificateError::{self, BadEncoding, BadSignature, UnknownIssuer};
    use rustls_pki_types::{ServerName, UnixTime};
    use std::time::Duration;

    fn handshake(error: &rustls::Error) -> &'static str {
        let context =
            format!("TLS connect() failed:  TLSHandshakeFailure cause: {error}, SNI: orders.internal");
        word(&Error::explain(ErrorType::TLSHandshakeFailure, context))
    }

    #[test]
    fn a_certificate_that_is_refused_is_told_by_its_fault() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let name = ServerName::try_from("orders.internal").expect("a name");
        // What a server presents is its own choice, and no reason.
        let presented = vec!["received fatal alert: certificate expired".to_owned()];
        for (error, expected) in [
            (UnknownIssuer, "unknown_issuer"),
            (CertificateError::NotValidForNameContext { expected: name, presented }, "wrong_name"),
            (CertificateError::ExpiredContext { time: at(2), not_after: at(1) }, "expired"),
            (CertificateError::NotValidYetContext { time: at(1), not_before: at(2) }, "not_yet_valid"),
            (
                CertificateError::InvalidPurposeContext {
                    required: rustls::ExtendedKeyPurpose::ServerAuth,
                    presented: vec![],
                },
                "wrong_purpose",
            ),
            (BadEncoding, "invalid"),
            (BadSignature, "invalid"),
        ] {
            let expected = format!("upstream_tls_certificate_{expected}");
            assert_eq!(handshake(&rustls::Error::InvalidCertificate(error)), expected);
        }
    }

    #[test]
    fn an_alert_and_any_other_failure_have_their_words() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        assert_eq!(handshake(&alert), "upstream_tls_alert");
        assert_eq!(handshake(&rustls::Error::DecryptError), "upstream_tls_handshake");
        let read = io::Error::new(io::ErrorKind::InvalidData, alert);
        assert_eq!(word(&Error::because(ErrorType::ReadError, "response", read)), "upstream_tls_alert");
        assert_eq!(word(&Error::new_up(ErrorType::ReadError)), "ReadError");
        assert_eq!(word(&Error::new_up(NOT_H2)), "upstream_not_h2");
    }
}
