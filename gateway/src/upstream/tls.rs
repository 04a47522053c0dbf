//! With what an upstream is verified, and what the gateway shows to it. Read from files once; read again when they
//! change.
//!
//! Pingora keeps connections by the peer that they were made for, and does not count authorities among what makes two
//! peers differ, nor more of a client's certificate than its serial number. So each set of credentials has a group
//! key of its own: a connection is only used again for what it was verified with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use audit_writer::time::Timestamp;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use prometheus::IntGauge;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use crate::config;
use crate::pem::{self, Fault, KeyPair, PemError, SOON, Validity};
use crate::reload::Reloadable;

/// Set in every group key of credentials; those of upgrades ([`super::Endpoint::peer`]) count from 1.
const OF_CREDENTIALS: u64 = 1 << 63;

/// What connections to one upstream are verified with.
pub(super) struct UpstreamTls {
    upstream: Box<str>,
    config: config::UpstreamTls,
    /// When the gateway's own certificate there ends, where it shows one.
    expiry: Option<IntGauge>,
    serving: ArcSwap<Credentials>,
}

impl UpstreamTls {
    /// Reads the files. `expiry` is told when the gateway's own certificate ends.
    pub(super) fn new(
        upstream: &str,
        config: &config::UpstreamTls,
        expiry: Option<IntGauge>,
    ) -> Result<UpstreamTls, PemError> {
        let credentials = Credentials::read(config)?;
        let tls = UpstreamTls {
            upstream: upstream.into(),
            config: config.clone(),
            expiry,
            serving: ArcSwap::from_pointee(credentials),
        };
        tls.tell_expiry();
        Ok(tls)
    }

    /// Has `peer` verified, and shown what it is to be shown. No file is touched.
    pub(super) fn secure(&self, peer: &mut HttpPeer) {
        let credentials = self.serving.load();
        peer.options.ca = credentials.authorities.clone();
        peer.client_cert_key = credentials.client.clone();
        peer.group_key = credentials.group_key;
    }

    /// Tells when the certificate that is shown ends.
    fn tell_expiry(&self) {
        let (Some(gauge), Some(files)) = (&self.expiry, &self.config.client) else { return };
        let Some(Validity { not_after, .. }) = self.serving.load().validity else { return };
        gauge.set(i64::try_from(not_after.as_micros() / 1_000_000).unwrap_or(i64::MAX));
        if not_after.since(Timestamp::now()) < SOON {
            let certificate = files.cert.display();
            tracing::warn!(upstream = %self.upstream, %certificate, %not_after, "a certificate ends soon");
        }
    }
}

impl Reloadable for UpstreamTls {
    fn what(&self) -> String {
        format!("authorities and client certificate of upstream `{}`", self.upstream)
    }

    fn files(&self) -> Vec<PathBuf> {
        let client = self.config.client.iter().flat_map(|client| [&client.cert, &client.key]);
        self.config.ca.iter().chain(client).cloned().collect()
    }

    fn reload(&self) -> Result<(), String> {
        let credentials = Credentials::read(&self.config).map_err(|error| error.to_string())?;
        self.serving.store(Arc::new(credentials));
        self.tell_expiry();
        Ok(())
    }
}

/// What was read, in the shape that Pingora takes.
struct Credentials {
    /// The authorities that are believed; the system's where there is nothing.
    authorities: Option<Arc<CaType>>,
    /// The gateway's own certificate and key.
    client: Option<Arc<CertKey>>,
    /// From when to when that certificate holds.
    validity: Option<Validity>,
    /// Tells connections of other credentials apart.
    group_key: u64,
}

impl Credentials {
    fn read(config: &config::UpstreamTls) -> Result<Credentials, PemError> {
        let authorities = config.ca.as_ref().map(|file| read_authorities(file)).transpose()?;
        let pair = |files: &config::CertificateFiles| {
            KeyPair::read_holding(&files.cert, &files.key, Timestamp::now())
        };
        let client = config.client.as_ref().map(pair).transpose()?;
        let chain = client.as_ref().map(|pair| pair.chain.as_slice()).unwrap_or_default();
        let group_key = group_key(authorities.as_deref().unwrap_or_default(), chain);
        Ok(Credentials {
            authorities: authorities.map(|certificates| {
                certificates.iter().map(|der| WrappedX509::new(der.to_vec(), parse_x509)).collect()
            }),
            validity: client.as_ref().map(|pair| pair.validity),
            client: client.map(|pair| {
                let chain = pair.chain.iter().map(|der| der.to_vec()).collect();
                Arc::new(CertKey::new(chain, pair.key.secret_der().to_vec()))
            }),
            group_key,
        })
    }
}

/// The authorities of a file, each of which can be used: Pingora makes a store of them for each connection.
fn read_authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let certificates = pem::read_certificates(file)?;
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        if store.add(certificate.clone()).is_err() {
            return Err(PemError { path: file.to_owned(), fault: Fault::BadCertificate(index + 1) });
        }
    }
    Ok(certificates)
}

fn group_key(authorities: &[CertificateDer<'_>], chain: &[CertificateDer<'_>]) -> u64 {
    let mut hash = Sha256::new();
    for list in [authorities, chain] {
        hash.update((list.len() as u64).to_be_bytes());
        for certificate in list {
            hash.update(Sha256::digest(certificate));
        }
    }
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hash.finalize().into();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) | OF_CREDENTIALS
}

/// What is wrong with the files of an upstream's TLS at `now`: the key that names each, and what was expected.
pub fn check(config: &config::UpstreamTls, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    match &config.ca {
        Some(file) => {
            let error = read_authorities(file).err();
            wrong.extend(error.map(|error| ("ca", format!("expected authorities: {}", error.fault))));
        }
        None if rustls_native_certs::load_native_certs().certs.is_empty() => {
            wrong.push(("ca", "expected a file: this system has no authorities of its own".into()));
        }
        None => {}
    }
    if let Some(files) = &config.client
        && let Err(error) = KeyPair::read_holding(&files.cert, &files.key, now)
    {
        let (key, what) = if error.path == files.key {
            ("client.key", "its key")
        } else {
            ("client.cert", "a certificate")
        };
        wrong.push((key, format!("expected {what}: {}", error.fault)));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair as NewKey};
    use std::fs;

    struct Files {
        directory: tempfile::TempDir,
        config: config::UpstreamTls,
    }

    impl Files {
        fn new() -> Files {
            let directory = tempfile::tempdir().expect("a directory");
            let path = |name: &str| directory.path().join(name);
            let tls = format!(
                "{{ sni: orders.test, ca: {}, client: {{ cert: {}, key: {} }} }}",
                path("ca.pem").display(),
                path("gw.pem").display(),
                path("gw.key").display()
            );
            let text = format!(
                "version: 1\nlisten: [{{ name: a, address: 127.0.0.1:1 }}]\nupstreams:\n  orders: {{ endpoints: {{ \
                 static: [127.0.0.1:2] }}, tls: {tls} }}\nroutes: [{{ name: a, match: {{ path: / }}, upstream: \
                 orders, auth: none }}]\naudit: {{ log: a/b, key: {{ file: k }}, spool: {{ path: s }}, store: {{ \
                 directory: d }} }}\n"
            );
            let config = config::Config::from_text("test", text).expect("a configuration");
            let config =
                config.upstreams.into_values().next().and_then(|upstream| upstream.tls).expect("TLS");
            let files = Files { directory, config };
            files.write("ca", "ca.pem");
            files.write("gateway", "gw.pem");
            files
        }

        /// Puts another certificate of this name, and its key, into the files.
        fn write(&self, name: &str, file: &str) {
            let key = NewKey::generate().expect("a key");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            let certificate = params.self_signed(&key).expect("a certificate");
            fs::write(self.directory.path().join(file), certificate.pem()).expect("a file");
            let key_file = self.directory.path().join(file).with_extension("key");
            fs::write(key_file, key.serialize_pem()).expect("a file");
        }

        fn peer(&self, tls: &UpstreamTls) -> HttpPeer {
            let mut peer = HttpPeer::new("127.0.0.1:1", true, "orders.test".into());
            tls.secure(&mut peer);
            peer
        }
    }

    #[test]
    fn what_changes_is_used_and_its_connections_are_others() {
        let files = Files::new();
        let gauge = IntGauge::new("ends", "ends").expect("a metric");
        let tls = UpstreamTls::new("orders", &files.config, Some(gauge.clone())).expect("files");
        assert!(gauge.get() > 1_700_000_000);
        let before = files.peer(&tls);
        tls.reload().expect("the same files");
        assert_eq!(files.peer(&tls).group_key, before.group_key, "what did not change keeps its connections");
        for file in ["ca.pem", "gw.pem"] {
            let before = files.peer(&tls);
            files.write("another", file);
            tls.reload().expect("other files");
            assert_ne!(files.peer(&tls).group_key, before.group_key, "{file}");
            assert!(files.peer(&tls).group_key & OF_CREDENTIALS != 0);
        }
    }

    #[test]
    fn what_cannot_be_read_changes_nothing_and_is_told_by_its_key() {
        let files = Files::new();
        let tls = UpstreamTls::new("orders", &files.config, None).expect("files");
        let before = files.peer(&tls).group_key;
        assert_eq!(check(&files.config, Timestamp::now()), []);
        let long_past = Timestamp::from_micros(1);
        assert_eq!(
            check(&files.config, long_past).iter().map(|(key, _)| *key).collect::<Vec<_>>(),
            ["client.cert"]
        );
        for (file, text, key) in [
            ("ca.pem", "no PEM at all", "ca"),
            ("gw.key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "client.key"),
            ("gw.pem", "", "client.cert"),
        ] {
            let path = files.directory.path().join(file);
            let kept = fs::read(&path).expect("a file");
            fs::write(&path, text).expect("a file");
            let error = tls.reload().expect_err(file);
            assert!(error.contains(file) && !error.contains("c2VjcmV0"), "{error}");
            assert_eq!(files.peer(&tls).group_key, before);
            let found = check(&files.config, Timestamp::now());
            assert_eq!(found.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [key], "{found:?}");
            fs::write(&path, kept).expect("a file");
        }
        assert_eq!(tls.files().len(), 3);
    }
}
