//! Who a client's certificate names: read once a handshake, from a certificate that rustls has verified.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use audit_writer::time::Timestamp;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::super::secured::ClientCertificate;
use super::distinguished_name;

/// Bytes of the longest SPIFFE id (SPIFFE-ID, section 2.3).
const MAX_SPIFFE_ID: usize = 2048;

impl ClientCertificate {
    /// What a certificate says; none where that cannot be read.
    pub(super) fn read(der: &CertificateDer<'_>) -> Option<ClientCertificate> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let san: Vec<Box<str>> = match certificate.subject_alternative_name().ok()? {
            Some(names) => names.value.general_names.iter().map(told).collect(),
            None => Vec::new(),
        };
        let not_after = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        Some(ClientCertificate {
            sha256: hexadecimal(&Sha256::digest(der)).into(),
            subject: distinguished_name::text(certificate.subject()).into(),
            spiffe_id: spiffe_id(&san).map(Into::into),
            san: san.into(),
            not_after: Timestamp::from_micros(not_after.saturating_mul(1_000_000)),
        })
    }
}

/// A name with its type before it.
fn told(name: &GeneralName<'_>) -> Box<str> {
    match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::RFC822Name(address) => format!("email:{address}"),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => format!("IP:{}", Ipv4Addr::from(v4)),
            (_, Ok(v6)) => format!("IP:{}", Ipv6Addr::from(v6)),
            _ => format!("IP:#{}", hexadecimal(bytes)),
        },
        GeneralName::DirectoryName(name) => format!("directory:{}", distinguished_name::text(name)),
        GeneralName::RegisteredID(id) => format!("id:{id}"),
        GeneralName::OtherName(id, _) => format!("other:{id}"),
        GeneralName::X400Address(_) => "x400".to_owned(),
        GeneralName::EDIPartyName(_) => "edi".to_owned(),
    }
    .into()
}

/// The SPIFFE id of an X.509-SVID: its only URI, where that is well-formed (SPIFFE-ID, section 2; X509-SVID, section 2).
fn spiffe_id(san: &[Box<str>]) -> Option<&str> {
    let mut uris = san.iter().filter_map(|name| name.strip_prefix("URI:"));
    let (Some(uri), None) = (uris.next(), uris.next()) else { return None };
    let rest = uri.strip_prefix("spiffe://").filter(|_| uri.len() <= MAX_SPIFFE_ID)?;
    let (trust_domain, path) = rest.split_once('/')?;
    let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    let in_segment = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_segment);
    let well =
        !trust_domain.is_empty() && trust_domain.bytes().all(in_domain) && path.split('/').all(is_segment);
    well.then_some(uri)
}

/// Bytes as hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_is_the_only_uri_and_well_formed() {
        let id = |names: &[&str]| {
            let names: Vec<Box<str>> = names.iter().map(|name| (*name).into()).collect();
            spiffe_id(&names).map(str::to_owned)
        };
        assert_eq!(
            id(&["DNS:a.test", "URI:spiffe://example.org/ns/prod/sa/Billing_1"]).as_deref(),
            Some("spiffe://example.org/ns/prod/sa/Billing_1")
        );
        for names in [
            &["DNS:spiffe://example.org/a"][..],
            &["URI:spiffe://example.org/a", "URI:spiffe://example.org/b"],
            &["URI:spiffe://example.org/a", "URI:https://example.org"],
            &["URI:spiffe://example.org"],
            &["URI:spiffe://example.org/"],
            &["URI:spiffe://example.org/a/"],
            &["URI:spiffe://example.org//a"],
            &["URI:spiffe://example.org/../a"],
            &["URI:spiffe://Example.org/a"],
            &["URI:spiffe://u@example.org/a"],
            &["URI:spiffe://example.org:443/a"],
            &["URI:spiffe://example.org/a?b"],
            &["URI:spiffe://example.org/a%2fb"],
            &["URI:spiffe:///a"],
            &["URI:SPIFFE://example.org/a"],
            &["URI:https://example.org/a"],
            &[],
        ] {
            assert_eq!(id(names), None, "{names:?}");
        }
        let long = format!("URI:spiffe://example.org/{}", "a".repeat(MAX_SPIFFE_ID));
        assert_eq!(id(&[&long]), None);
    }

    #[test]
    fn every_name_is_told_with_its_type() {
        use rcgen::{CertificateParams, DnType, KeyPair, SanType};

        let mut params = CertificateParams::new(vec!["a.test".to_owned(), "192.0.2.1".to_owned()]).unwrap();
        params.subject_alt_names.extend([
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::URI("spiffe://example.org/billing".try_into().unwrap()),
            SanType::Rfc822Name("ops@example.org".try_into().unwrap()),
            SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "ops".into())),
        ]);
        params.distinguished_name.push(DnType::CommonName, "billing");
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = ClientCertificate::read(certificate.der()).unwrap();
        let names: Vec<&str> = read.san.iter().map(|name| &**name).collect();
        assert_eq!(
            names,
            [
                "DNS:a.test",
                "IP:192.0.2.1",
                "IP:2001:db8::1",
                "URI:spiffe://example.org/billing",
                "email:ops@example.org",
                "other:1.3.6.1.4.1.311.20.2.3",
            ]
        );
        assert_eq!(read.spiffe_id.as_deref(), Some("spiffe://example.org/billing"));
        assert_eq!(&*read.subject, "CN=billing");
        assert_eq!(read.not_after.to_string(), "2030-01-01T00:00:00.000000Z");
        assert_eq!(*read.sha256, *hexadecimal(&Sha256::digest(certificate.der())));
        assert_eq!(ClientCertificate::read(&CertificateDer::from(&b"\x30\x00"[..])), None);
    }
}
