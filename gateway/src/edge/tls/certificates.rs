//! Which certificate a client is shown: by the server name that it asks for (SNI, RFC 6066, section 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The certificates of a listener.
///
/// An exact name goes before a wildcard, which stands for one label (RFC 6125, section 6.4.3), and either before the
/// first certificate, which is for everybody else. Where several have a name, the client gets the first whose key it
/// understands: so an ECDSA certificate may stand beside an RSA one.
#[derive(Debug)]
pub(super) struct Certificates {
    all: Vec<Arc<CertifiedKey>>,
    exact: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// By what follows the `*.`.
    wildcard: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    pub(super) fn new(certified: Vec<CertifiedKey>) -> Certificates {
        let all: Vec<Arc<CertifiedKey>> = certified.into_iter().map(Arc::new).collect();
        let mut certificates = Certificates { all, exact: HashMap::new(), wildcard: HashMap::new() };
        for certified in &certificates.all {
            for name in names(certified) {
                let (of, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut certificates.wildcard, parent),
                    None => (&mut certificates.exact, &*name),
                };
                of.entry(name.into()).or_default().push(certified.clone());
            }
        }
        certificates
    }

    /// Those for a name, or for a client that asks for none.
    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let Some(name) = name else { return &self.all };
        let name = name.to_ascii_lowercase();
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(&*name).or_else(parent).unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.of(hello.server_name());
        let understood =
            |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(hello.signature_schemes()).is_some();
        candidates.iter().find(understood).or(candidates.first()).cloned()
    }
}

/// The DNS names of a certificate, in lower case. The common name is none (RFC 6125, section 6.4.4).
fn names(certified: &CertifiedKey) -> Vec<String> {
    let Some(Ok((_, certificate))) = certified.cert.first().map(|der| X509Certificate::from_der(der)) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns).collect()
}
