//! A certificate authority of a test, and what it signs.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

/// An authority, with a directory for its files.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

/// A certificate and its key, in files and in memory.
pub(crate) struct Issued {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) chain: Vec<rustls_pki_types::CertificateDer<'static>>,
    pub(crate) private: rustls_pki_types::PrivateKeyDer<'static>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), &pem).expect("a file");
        Authority { issuer: Issuer::new(params, key), directory }
    }

    /// The file of its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    pub(crate) fn roots(&self) -> rustls::RootCertStore {
        gateway::pem::read_authorities(&self.file()).expect("authorities")
    }

    /// A certificate for a server of this name.
    pub(crate) fn server(&self, name: &str) -> Issued {
        self.issue(name, ExtendedKeyUsagePurpose::ServerAuth, |_| {})
    }

    /// A certificate for a server of this name that has expired.
    pub(crate) fn expired(&self, name: &str) -> Issued {
        self.issue(name, ExtendedKeyUsagePurpose::ServerAuth, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    /// A certificate for a client of this name.
    pub(crate) fn client(&self, name: &str) -> Issued {
        self.issue(name, ExtendedKeyUsagePurpose::ClientAuth, |_| {})
    }

    /// A certificate of this name for one purpose, and with what else is to be changed.
    pub(crate) fn issue(
        &self,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages.push(purpose);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let serial = std::fs::read_dir(self.directory.path()).expect("a directory").count();
        let file =
            |ending: &str, text: &str| write(self.directory.path(), &format!("{serial}.{ending}"), text);
        Issued {
            cert: file("pem", &certificate.pem()),
            key: file("key", &key.serialize_pem()),
            chain: vec![certificate.der().clone()],
            private: key.serialize_der().try_into().expect("PKCS #8"),
        }
    }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}
