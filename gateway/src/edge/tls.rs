//! TLS on a listener (rustls): what it proves itself with, and whom it lets in.
//!
//! What was read from files stands behind an `ArcSwap`: a handshake takes what is there when its `ClientHello` came,
//! connections that are open keep what they have, and a reload replaces it as a whole, or not at all. Reads files when
//! the gateway starts and on the reload's thread; a handshake touches none.
//!
//! Where clients show certificates, no session is resumed: a resumed one would outlive a certificate that has expired,
//! or whose authority is believed no more. Elsewhere sessions are resumed by tickets whose keys change by themselves.
//! There is no early data: it could be replayed.

mod certificates;
mod client;
mod distinguished_name;
mod handshake;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use audit_writer::time::Timestamp;
use prometheus::IntGaugeVec;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::config::{self, ClientAuthMode, TlsVersion};
use crate::pem::{self, KeyPair, PemError, SOON};
use crate::reload::Reloadable;
use certificates::Certificates;
pub(super) use handshake::secure;

/// Why a listener has no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] PemError),
    /// What was read does not make a configuration.
    #[error("TLS cannot be set up from what was read")]
    Setup(#[source] rustls::Error),
    /// The authorities that clients' certificates are held against cannot be used.
    #[error("{}: the authorities in it cannot be used", .0.display())]
    Authorities(PathBuf),
}

/// TLS on one listener.
pub struct ServerTls {
    listener: Box<str>,
    settings: config::ListenerTls,
    protocols: Vec<Vec<u8>>,
    expiry: IntGaugeVec,
    current: ArcSwap<ServerConfig>,
}

impl ServerTls {
    /// Reads what a listener needs for TLS; `None` for one that is plain. When its certificates end shows in `expiry`,
    /// by listener and file.
    ///
    /// # Errors
    ///
    /// When a file cannot be used, or a certificate does not hold now.
    pub fn read(
        listener: &config::Listener,
        expiry: IntGaugeVec,
    ) -> Result<Option<Arc<ServerTls>>, TlsError> {
        let Some(settings) = listener.tls.clone() else { return Ok(None) };
        let protocols = protocols(listener);
        let read = Read::from_files(&settings, &protocols)?;
        let tls = ServerTls {
            listener: listener.name.as_str().into(),
            settings,
            protocols,
            expiry,
            current: ArcSwap::from(read.config.clone()),
        };
        tls.tell(&read);
        Ok(Some(Arc::new(tls)))
    }

    /// What a handshake that begins now goes by.
    fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Tells when certificates end.
    fn tell(&self, read: &Read) {
        let now = Timestamp::now();
        for (files, not_after) in self.settings.certificates.iter().zip(&read.ends) {
            let seconds = i64::try_from(not_after.as_micros() / 1_000_000).unwrap_or(i64::MAX);
            let certificate = files.cert.display().to_string();
            self.expiry.with_label_values(&[&*self.listener, &certificate]).set(seconds);
            if not_after.since(now) < SOON {
                tracing::warn!(listener = %self.listener, certificate, %not_after, "a certificate ends soon");
            }
        }
    }
}

impl Reloadable for ServerTls {
    fn what(&self) -> String {
        format!("TLS of listener `{}`", self.listener)
    }

    fn files(&self) -> Vec<PathBuf> {
        let certificates = self.settings.certificates.iter();
        let pairs = certificates.flat_map(|files| [files.cert.clone(), files.key.clone()]);
        pairs.chain(self.settings.client_auth.ca.clone()).collect()
    }

    fn reload(&self) -> Result<(), String> {
        let read = Read::from_files(&self.settings, &self.protocols).map_err(|error| error.to_string())?;
        self.current.store(read.config.clone());
        self.tell(&read);
        Ok(())
    }
}

/// The protocols that are offered (ALPN, RFC 7301), the preferred one first.
fn protocols(listener: &config::Listener) -> Vec<Vec<u8>> {
    let http2 = listener.http2.then(|| b"h2".to_vec());
    http2.into_iter().chain([b"http/1.1".to_vec()]).collect()
}

/// What stands in the files.
struct Read {
    config: Arc<ServerConfig>,
    /// When each certificate ends.
    ends: Vec<Timestamp>,
}

impl Read {
    fn from_files(settings: &config::ListenerTls, protocols: &[Vec<u8>]) -> Result<Read, TlsError> {
        let provider = Arc::new(pem::provider());
        let mut certified = Vec::new();
        let mut ends = Vec::new();
        for files in &settings.certificates {
            let pair = KeyPair::read_holding(&files.cert, &files.key, Timestamp::now())?;
            ends.push(pair.validity.not_after);
            certified.push(pair.certified(&provider).map_err(TlsError::Setup)?);
        }
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions(settings.min_version))
            .map_err(TlsError::Setup)?;
        let builder = match settings.client_auth.mode {
            ClientAuthMode::Off => builder.with_no_client_auth(),
            mode => {
                let ca =
                    settings.client_auth.ca.as_ref().expect("the configuration demands it beside a mode");
                let authorities = Arc::new(pem::read_authorities(ca)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider);
                let verifier = match mode {
                    ClientAuthMode::Optional => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                builder.with_client_cert_verifier(
                    verifier.build().map_err(|_| TlsError::Authorities(ca.clone()))?,
                )
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Certificates::new(certified)));
        config.alpn_protocols = protocols.to_vec();
        // A stateful store would be a lock that connections share; tickets are none.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if settings.client_auth.mode == ClientAuthMode::Off {
            config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(TlsError::Setup)?;
        } else {
            config.send_tls13_tickets = 0;
        }
        Ok(Read { config: Arc::new(config), ends })
    }
}

/// What is wrong with the files of a listener's TLS at `now`: the key that names each, and what was expected.
pub(crate) fn check(settings: &config::ListenerTls, now: Timestamp) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    for (index, files) in settings.certificates.iter().enumerate() {
        let Err(error) = KeyPair::read_holding(&files.cert, &files.key, now) else { continue };
        let (key, what) =
            match error.fault.is_of_key() || (error.path == files.key && files.key != files.cert) {
                true => ("key", "the certificate's key"),
                false => ("cert", "a certificate"),
            };
        wrong.push((format!("certificates[{index}].{key}"), format!("expected {what}: {}", error.fault)));
    }
    if let Some(ca) = &settings.client_auth.ca
        && let Err(error) = pem::read_authorities(ca)
    {
        wrong.push(("client_auth.ca".to_owned(), format!("expected authorities: {}", error.fault)));
    }
    wrong
}

/// The versions from the oldest that is spoken.
fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match oldest {
        TlsVersion::V1_2 => &ALL,
        TlsVersion::V1_3 => &ALL[..1],
    }
}
