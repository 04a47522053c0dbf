//! `listen[].tls`: with what a listener proves itself, and what it asks of its clients.

use std::path::PathBuf;

use audit_writer::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::Config;
use super::error::{ConfigError, ErrorKind};
use super::node::Node;
use super::read::{Choice, Choices};
use super::walk::{Read, Walk};
use crate::edge::check_tls;
use crate::pem::{self, SOON, Validity};

/// TLS on a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ListenerTls {
    /// The oldest version of TLS that is spoken, in quotes: `"1.2"` or `"1.3"`.
    #[schemars(default)]
    pub min_version: TlsVersion,
    /// The certificates, each with its key. The name that a client asks for chooses among them; the first is for those
    /// who ask for another name, or none.
    #[schemars(length(min = 1))]
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients show a certificate of their own.
    #[schemars(default)]
    pub client_auth: ClientAuth,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), with ECDHE and AEAD ciphers only.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V1_3,
}

/// A certificate and its key, in PEM files. They are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, and after it the chain that leads to an authority.
    pub cert: PathBuf,
    /// The certificate's private key, not encrypted.
    pub key: PathBuf,
}

/// Whether clients show a certificate of their own, and which are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct ClientAuth {
    /// Whether they must.
    pub mode: ClientAuthMode,
    /// The authorities whose certificates are believed. Only where `mode` is not `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// Whether a client shows a certificate. One that is shown must be good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// It is not asked for one.
    #[default]
    Off,
    /// It is asked, and may have none.
    Optional,
    /// Without one there is no connection.
    Required,
}

impl Choice for TlsVersion {
    const EXPECTED: &'static str = "`\"1.2\"` or `\"1.3\"`";
    const CHOICES: Choices<Self> = &[("1.2", Self::V1_2), ("1.3", Self::V1_3)];
    const LATER: &'static [&'static str] = &[];
}

impl Choice for ClientAuthMode {
    const EXPECTED: &'static str = "`off`, `optional` or `required`";
    const CHOICES: Choices<Self> =
        &[("off", Self::Off), ("optional", Self::Optional), ("required", Self::Required)];
    const LATER: &'static [&'static str] = &[];
}

impl Read for ListenerTls {
    const EXPECTED: &'static str = "a mapping with `certificates`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut tls = walk.mapping(node, path, Self::EXPECTED)?;
        let min_version = tls.or("min_version", TlsVersion::default());
        let certificates: Option<Vec<CertificateFiles>> = tls.required("certificates");
        if tls.is_empty_list("certificates") {
            tls.bad_value("certificates", "expected at least one");
        }
        tls.distinct("certificates", certificates.as_deref().unwrap_or_default());
        let client_auth = tls.or("client_auth", ClientAuth::default());
        tls.finish();
        Some(ListenerTls { min_version, certificates: certificates?, client_auth })
    }
}

impl Read for CertificateFiles {
    const EXPECTED: &'static str = "a mapping with `cert` and `key`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut files = walk.mapping(node, path, Self::EXPECTED)?;
        let (cert, key) = (files.required("cert"), files.required("key"));
        files.finish();
        Some(CertificateFiles { cert: cert?, key: key? })
    }
}

impl Read for ClientAuth {
    const EXPECTED: &'static str = "a mapping with `mode` and `ca`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut auth = walk.mapping(node, path, Self::EXPECTED)?;
        let mode: Option<ClientAuthMode> = auth.required("mode");
        let ca = auth.optional("ca");
        match mode {
            Some(ClientAuthMode::Off) if auth.has("ca") => {
                auth.bad_value("ca", "expected only beside `mode: optional` or `mode: required`");
            }
            Some(ClientAuthMode::Optional | ClientAuthMode::Required) if !auth.has("ca") => {
                auth.missing("ca", "expected the file of the authorities whose certificates are believed");
            }
            _ => {}
        }
        auth.finish();
        Some(ClientAuth { mode: mode?, ca })
    }
}

impl Config {
    /// What is wrong with the files of listeners, each at the place that names the file.
    pub(super) fn check_listener_files(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for (index, listener) in self.listen.iter().enumerate() {
            for (key, rule) in listener.tls.iter().flat_map(|tls| check_tls(tls, Timestamp::now())) {
                errors.push(self.error_at(&format!("listen[{index}].tls.{key}"), rule));
            }
        }
        errors
    }

    /// The certificates that are good, but end soon.
    pub(super) fn ending_certificates(&self) -> impl Iterator<Item = ConfigError> {
        let listeners = self.listen.iter().enumerate().flat_map(|(listener, settings)| {
            let certificates = settings.tls.iter().flat_map(|tls| &tls.certificates).enumerate();
            certificates.map(move |(index, files)| {
                (format!("listen[{listener}].tls.certificates[{index}].cert"), files)
            })
        });
        let upstreams = self.upstreams.iter().filter_map(|(name, upstream)| {
            Some((format!("upstreams.{name}.tls.client.cert"), upstream.tls.as_ref()?.client.as_ref()?))
        });
        listeners.chain(upstreams).filter_map(|(path, files)| {
            let chain = pem::read_chain(&files.cert).ok()?;
            let not_after = Validity::of(chain.first()?)?.not_after;
            let soon = not_after.since(Timestamp::now()) < SOON;
            let rule =
                || format!("expected a certificate that is good for two weeks, this one ends {not_after}");
            soon.then(|| ConfigError { kind: ErrorKind::Doubtful, ..self.error_at(&path, rule()) })
        })
    }
}
