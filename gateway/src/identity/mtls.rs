//! Client certificates: the listener has verified them, here they become an actor.

use std::sync::Arc;

use super::{Answer, Presented, Principal, Refusal, Scheme};
use crate::config::{self, CertificateActor};
use crate::edge::ClientCertificate;

/// A provider that reads an actor from a client certificate.
#[derive(Debug)]
pub struct MtlsProvider {
    name: Arc<str>,
    actor: CertificateActor,
    /// What SPIFFE ids begin with: `spiffe://example.org/`.
    prefix: Option<Box<str>>,
}

impl MtlsProvider {
    /// As the configuration says.
    pub fn new(name: &str, config: &config::Mtls) -> MtlsProvider {
        let prefix = config.trust_domain.as_ref().map(|domain| format!("spiffe://{domain}/").into());
        MtlsProvider { name: name.into(), actor: config.actor, prefix }
    }

    pub(super) fn identify(&self, presented: &Presented<'_>) -> Answer {
        let Some(certificate) = presented.certificate else { return Answer::Nothing };
        // A kept connection may outlive the certificate that it was opened with.
        let actor = if presented.at > certificate.not_after { None } else { self.actor_of(certificate) };
        match actor.and_then(|id| Principal::bounded(&self.name, Scheme::Mtls, id, std::iter::empty())) {
            Some(principal) => Answer::Vouches(Arc::new(principal)),
            None => Answer::Refuses(Refusal::CertificateIdentity),
        }
    }

    fn actor_of<'c>(&self, certificate: &'c ClientCertificate) -> Option<&'c str> {
        match self.actor {
            CertificateActor::SpiffeId => {
                let id = certificate.spiffe_id.as_deref()?;
                let path = id.strip_prefix(self.prefix.as_deref()?)?;
                (!path.is_empty()).then_some(id)
            }
            CertificateActor::SanDns => {
                let mut names = certificate.san.iter().filter_map(|name| name.strip_prefix("DNS:"));
                let name = names.next()?;
                // Of several, none is the one that is meant.
                names.next().is_none().then_some(name)
            }
            CertificateActor::Subject => Some(&certificate.subject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn certificate(subject: &str, san: &[&str], spiffe_id: Option<&str>) -> ClientCertificate {
        ClientCertificate {
            sha256: "00".repeat(32).into(),
            subject: subject.into(),
            san: san.iter().map(|name| (*name).into()).collect(),
            spiffe_id: spiffe_id.map(Into::into),
            not_after: audit_writer::time::Timestamp::from_micros(u64::MAX),
        }
    }

    fn actor(
        config: &config::Mtls,
        certificate: Option<&ClientCertificate>,
    ) -> Result<String, Option<Refusal>> {
        let headers = HeaderMap::new();
        match MtlsProvider::new("mesh", config).identify(&Presented::now(&headers, certificate)) {
            Answer::Vouches(principal) => {
                assert_eq!((principal.scheme, &*principal.provider), (Scheme::Mtls, "mesh"));
                assert!(principal.groups.is_empty());
                Ok(principal.id.as_str().to_owned())
            }
            Answer::Refuses(refusal) => Err(Some(refusal)),
            Answer::Nothing => Err(None),
            Answer::Unavailable => panic!("it always knows"),
        }
    }

    #[test]
    fn a_spiffe_id_counts_in_its_trust_domain_alone() {
        let config =
            config::Mtls { actor: CertificateActor::SpiffeId, trust_domain: Some("example.org".into()) };
        let of = |id| actor(&config, Some(&certificate("CN=x", &["DNS:x.example.org"], id)));
        assert_eq!(of(Some("spiffe://example.org/billing")), Ok("spiffe://example.org/billing".into()));
        for id in [
            None,
            Some("spiffe://example.org"),
            Some("spiffe://example.org/"),
            Some("spiffe://example.org.evil/billing"),
            Some("spiffe://evil/example.org/billing"),
            Some("spiffe://EXAMPLE.org/billing"),
            Some("https://example.org/billing"),
        ] {
            assert_eq!(of(id), Err(Some(Refusal::CertificateIdentity)), "{id:?}");
        }
        assert_eq!(actor(&config, None), Err(None));
    }

    #[test]
    fn of_several_dns_names_none_is_the_actor() {
        let config = config::Mtls { actor: CertificateActor::SanDns, trust_domain: None };
        let of = |san: &[&str]| actor(&config, Some(&certificate("CN=x", san, None)));
        assert_eq!(of(&["DNS:billing.example.org"]), Ok("billing.example.org".into()));
        assert_eq!(
            of(&["IP:10.0.0.1", "DNS:billing.example.org", "URI:x:y"]),
            Ok("billing.example.org".into())
        );
        for san in [&[][..], &["IP:10.0.0.1"], &["DNS:a.example.org", "DNS:b.example.org"], &["DNS:"]] {
            assert_eq!(of(san), Err(Some(Refusal::CertificateIdentity)), "{san:?}");
        }
    }

    #[test]
    fn a_subject_is_taken_whole_or_not_at_all() {
        let config = config::Mtls { actor: CertificateActor::Subject, trust_domain: None };
        let of = |subject: &str| actor(&config, Some(&certificate(subject, &[], None)));
        assert_eq!(of("CN=billing,O=Example"), Ok("CN=billing,O=Example".into()));
        assert_eq!(of(&"x".repeat(super::super::MAX_ACTOR)).map(|id| id.len()), Ok(super::super::MAX_ACTOR));
        for subject in ["", "CN=a\nb", &"x".repeat(super::super::MAX_ACTOR + 1)] {
            assert_eq!(of(subject), Err(Some(Refusal::CertificateIdentity)), "{subject:?}");
        }
    }
}
