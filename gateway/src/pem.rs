//! Certificates and keys in PEM files (RFC 7468): read whole, held against one another, and never shown.
//!
//! No error holds a byte of what was read: a file that is named by mistake may be a key. A file is read at most once
//! for each use, only where it is a regular one, and only up to [`MAX_FILE`].

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use audit_writer::time::Timestamp;
use rustix::fs::{Mode, OFlags};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Bytes of the largest file: a bundle of all public authorities has a quarter of them.
pub const MAX_FILE: u64 = 1024 * 1024;
/// A certificate that ends sooner than this is worth a warning.
pub const SOON: Duration = Duration::from_secs(14 * 86_400);
/// The most certificates in one chain. Clients take fewer.
const MAX_CHAIN: usize = 10;

/// What is wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct PemError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub fault: Fault,
}

/// What is wrong with a file of certificates or keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It cannot be read.
    #[error("{0}")]
    Read(io::Error),
    /// It is a directory, a pipe, a device.
    #[error("this is no file")]
    NoFile,
    /// It is larger than [`MAX_FILE`].
    #[error("the file is larger than {} KiB", MAX_FILE / 1024)]
    TooLarge,
    /// A section has no end, or what is in it is not base64.
    #[error("the PEM is damaged: a section without an end, or text in it that is not base64")]
    Damaged,
    /// There is no certificate in it.
    #[error("there is no certificate in it (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    /// There are more certificates than any client takes.
    #[error("there are more than {MAX_CHAIN} certificates in it, which is no chain")]
    LongChain,
    /// A certificate is none.
    #[error("certificate {0} in it cannot be read")]
    BadCertificate(usize),
    /// There is no private key in it.
    #[error("there is no private key in it (`-----BEGIN PRIVATE KEY-----`)")]
    NoKey,
    /// The private key is encrypted.
    #[error("the private key in it is encrypted: nobody would be there to type a passphrase")]
    EncryptedKey,
    /// There is more than one private key.
    #[error("there is more than one private key in it")]
    SeveralKeys,
    /// The private key is none, or of a kind that is not understood.
    #[error(
        "the private key in it cannot be used: expected RSA of 2048 bits or more, ECDSA on P-256 or P-384, or Ed25519"
    )]
    BadKey,
    /// The private key is not that of the first certificate.
    #[error("the private key in it is not that of the first certificate in {}", .0.display())]
    OtherKey(PathBuf),
    /// The certificate does not hold yet.
    #[error("the certificate does not hold before {0}")]
    NotYet(Timestamp),
    /// The certificate holds no more.
    #[error("the certificate has expired: it held until {0}")]
    Expired(Timestamp),
}

impl Fault {
    /// Whether it is one of a private key, whatever else stands in the same file.
    pub fn is_of_key(&self) -> bool {
        matches!(
            self,
            Fault::NoKey | Fault::EncryptedKey | Fault::SeveralKeys | Fault::BadKey | Fault::OtherKey(_)
        )
    }
}

/// A certificate with the chain above it, and its private key.
pub struct KeyPair {
    /// The certificate first, then those that lead to an authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The first certificate's private key.
    pub key: PrivateKeyDer<'static>,
    /// From when to when the first certificate holds.
    pub validity: Validity,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

impl KeyPair {
    /// Reads a chain and the key of its first certificate. Both may stand in the same file.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read, or they do not belong together.
    pub fn read(certificates: &Path, key: &Path) -> Result<KeyPair, PemError> {
        let chain = read_chain(certificates)?;
        let validity = Validity::of(&chain[0])
            .ok_or_else(|| PemError { path: certificates.to_owned(), fault: Fault::BadCertificate(1) })?;
        let pair = KeyPair { chain, key: read_key(key)?, validity };
        match pair.certified(&provider()) {
            Ok(_) => Ok(pair),
            Err(error) => {
                let (path, fault) = match error {
                    rustls::Error::InconsistentKeys(_) => (key, Fault::OtherKey(certificates.to_owned())),
                    rustls::Error::InvalidCertificate(_) => (certificates, Fault::BadCertificate(1)),
                    _ => (key, Fault::BadKey),
                };
                Err(PemError { path: path.to_owned(), fault })
            }
        }
    }

    /// [`KeyPair::read`], and the certificate must hold at `now`.
    ///
    /// # Errors
    ///
    /// As [`KeyPair::read`], and when the certificate holds not yet or no more.
    pub fn read_holding(certificates: &Path, key: &Path, now: Timestamp) -> Result<KeyPair, PemError> {
        let pair = KeyPair::read(certificates, key)?;
        let fault = match pair.validity.at(now) {
            Holds::Now => return Ok(pair),
            Holds::NotYet => Fault::NotYet(pair.validity.not_before),
            Holds::NoMore => Fault::Expired(pair.validity.not_after),
        };
        Err(PemError { path: certificates.to_owned(), fault })
    }

    /// As rustls wants it.
    ///
    /// # Errors
    ///
    /// None for a pair that was read.
    pub fn certified(&self, provider: &CryptoProvider) -> Result<CertifiedKey, rustls::Error> {
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), provider)
    }
}

/// The cryptography that everything here uses; named, so that none is chosen by what else happens to be linked.
pub fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Reads a certificate, and the chain above it.
///
/// # Errors
///
/// When the file cannot be read, or anything in it is no certificate.
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let chain = read_certificates(path)?;
    if chain.len() > MAX_CHAIN {
        return Err(PemError { path: path.to_owned(), fault: Fault::LongChain });
    }
    Ok(chain)
}

/// Reads the authorities whose certificates are believed.
///
/// # Errors
///
/// When the file cannot be read, has no certificate, or one that cannot be used.
pub fn read_authorities(path: &Path) -> Result<RootCertStore, PemError> {
    let mut authorities = RootCertStore::empty();
    for (index, certificate) in read_certificates(path)?.into_iter().enumerate() {
        authorities
            .add(certificate)
            .map_err(|_| PemError { path: path.to_owned(), fault: Fault::BadCertificate(index + 1) })?;
    }
    Ok(authorities)
}

/// Reads all certificates of a file: at least one.
///
/// # Errors
///
/// When the file cannot be read, or anything in it is no certificate.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let wrong = |fault| PemError { path: path.to_owned(), fault };
    let text = read_file(path).map_err(wrong)?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(damaged(&error)))?;
    if certificates.is_empty() {
        return Err(wrong(Fault::NoCertificate));
    }
    for (index, certificate) in certificates.iter().enumerate() {
        if !matches!(X509Certificate::from_der(certificate), Ok(([], _))) {
            return Err(wrong(Fault::BadCertificate(index + 1)));
        }
    }
    Ok(certificates)
}

/// Reads the one private key of a file: PKCS#8, PKCS#1 or SEC1, not encrypted.
///
/// # Errors
///
/// When the file cannot be read, or there is not one key in it.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let wrong = |fault| PemError { path: path.to_owned(), fault };
    let text = read_file(path).map_err(wrong)?;
    let encrypted = [&b"-----BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| text.windows(mark.len()).any(|window| window == *mark)) {
        return Err(wrong(Fault::EncryptedKey));
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(&text);
    let key = match keys.next() {
        Some(Ok(key)) => key,
        Some(Err(error)) => return Err(wrong(damaged(&error))),
        None => return Err(wrong(Fault::NoKey)),
    };
    match keys.next() {
        None => Ok(key),
        Some(Ok(_)) => Err(wrong(Fault::SeveralKeys)),
        Some(Err(error)) => Err(wrong(damaged(&error))),
    }
}

/// The library's errors hold the lines that they complain about: they go no further than here.
fn damaged(error: &pem::Error) -> Fault {
    match error {
        pem::Error::SectionTooLarge => Fault::TooLarge,
        _ => Fault::Damaged,
    }
}

/// Reads a regular file of at most [`MAX_FILE`] bytes. A pipe without a writer does not hold it up.
///
/// # Errors
///
/// When it cannot be read, is no regular file, or is too large.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Fault> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| Fault::Read(error.into()))?;
    let file = File::from(opened);
    if !file.metadata().map_err(Fault::Read)?.is_file() {
        return Err(Fault::NoFile);
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(Fault::Read)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Fault::TooLarge);
    }
    Ok(bytes)
}

/// From when to when a certificate holds (RFC 5280, section 4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub not_before: Timestamp,
    /// Until then.
    pub not_after: Timestamp,
}

/// How a moment lies to a certificate's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It does not hold yet.
    NotYet,
    /// It holds.
    Now,
    /// It holds no more.
    NoMore,
}

impl Validity {
    /// That of a certificate; none where it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Validity> {
        let (_, read) = X509Certificate::from_der(certificate).ok()?;
        let moment = |time: x509_parser::time::ASN1Time| {
            // What was before 1970 is long ago all the same.
            Timestamp::from_micros(u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1_000_000))
        };
        let validity = read.validity();
        Some(Validity { not_before: moment(validity.not_before), not_after: moment(validity.not_after) })
    }

    /// Whether the certificate holds at `moment`.
    pub fn at(self, moment: Timestamp) -> Holds {
        if moment < self.not_before {
            Holds::NotYet
        } else if moment > self.not_after {
            Holds::NoMore
        } else {
            Holds::Now
        }
    }
}

#[cfg(test)]
mod tests;
