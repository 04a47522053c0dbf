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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::pem;

    fn certified(names: &[&str]) -> CertifiedKey {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let der = key.serialize_der().try_into().unwrap();
        CertifiedKey::from_der(vec![certificate.der().clone()], der, &pem::provider()).unwrap()
    }

    #[test]
    fn a_name_chooses_exactly_then_by_wildcard_then_the_first() {
        let certificates = Certificates::new(vec![
            certified(&["api.test", "192.0.2.1"]),
            certified(&["*.api.test", "Www.Test"]),
            certified(&["v2.api.test", "*.test"]),
            certified(&[]),
        ]);
        let place = |name: Option<&str>| {
            let chosen = certificates.of(name).first().unwrap();
            certificates.all.iter().position(|one| Arc::ptr_eq(one, chosen)).unwrap()
        };
        for (name, expected) in [
            (Some("api.test"), 0),
            (Some("API.test"), 0),
            (Some("v1.api.test"), 1),
            (Some("v2.api.test"), 2),
            (Some("a.v1.api.test"), 0),
            (Some("www.test"), 1),
            (Some("other.test"), 2),
            (Some("test"), 0),
            (Some("192.0.2.1"), 0),
            (Some("*.api.test"), 1),
            (Some("unknown.example"), 0),
            (Some(""), 0),
            (None, 0),
        ] {
            assert_eq!(place(name), expected, "{name:?}");
        }
    }

    #[test]
    fn of_several_for_a_name_each_is_a_candidate() {
        let certificates =
            Certificates::new(vec![certified(&["a.test"]), certified(&["b.test"]), certified(&["a.test"])]);
        assert_eq!(certificates.of(Some("a.test")).len(), 2);
        assert_eq!(certificates.of(None).len(), 3);
    }
}
