//! `audit.redact`: what no record tells as it was, and how it is told instead.

use std::path::PathBuf;

use audit_writer::redact::{HmacKey, HmacKeyError, PathTemplate};
use http::HeaderName;
use schemars::JsonSchema;
use serde::Serialize;

use super::Config;
use super::error::{ConfigError, ErrorKind};
use super::mapping::Mapping;
use super::node::Node;
use super::walk::{Read, ReadText, Slots, Unreadable, Walk};
use super::written::{HmacTexts, TemplateTexts};

/// What no record tells as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct Redact {
    /// The key for HMAC: at least 32 random bytes, as they are, in hexadecimal digits or base64; mode 0600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac_key: Option<PathBuf>,
    /// What is replaced by its HMAC, where a route keeps it: `request.headers.NAME`.
    #[serde(with = "HmacTexts")]
    pub hmac: Vec<HeaderName>,
    /// Segments of paths to be replaced by their names, such as `/reset/{token}`: in every path that begins so.
    #[serde(with = "TemplateTexts")]
    pub paths: Vec<PathTemplate>,
}

impl Redact {
    /// Reads the key for HMAC; `None` where none is configured.
    ///
    /// # Errors
    ///
    /// See [`HmacKeyError`].
    pub fn read_hmac_key(&self) -> Result<Option<HmacKey>, HmacKeyError> {
        self.hmac_key.as_deref().map(HmacKey::read).transpose()
    }
}

/// The most templates, and the most headers: each costs every request that may meet it.
const MOST: usize = 256;

impl Read for Redact {
    const EXPECTED: &'static str = "a mapping with `hmac_key`, `hmac`, `paths`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut redact = walk.mapping(node, path, Self::EXPECTED)?;
        let hmac_key = redact.optional("hmac_key");
        let hmac: Vec<Marked> = each_once(&mut redact, "hmac");
        let hmac: Vec<HeaderName> = hmac.into_iter().map(|Marked(header)| header).collect();
        let paths: Vec<PathTemplate> = each_once(&mut redact, "paths");
        if !hmac.is_empty() && !redact.has("hmac_key") {
            redact.missing("hmac_key", "expected the file of the key for `hmac`");
        }
        for (key, length) in [("hmac", hmac.len()), ("paths", paths.len())] {
            if length > MOST {
                redact.bad_value(key, format!("expected at most {MOST}"));
            }
        }
        redact.finish();
        Some(Redact { hmac_key, hmac, paths })
    }
}

/// The values of a list; one that is there twice is an error at its own place.
fn each_once<T: Read + Clone + PartialEq>(mapping: &mut Mapping<'_, '_, '_>, key: &'static str) -> Vec<T> {
    let slots: Slots<T> = mapping.or(key, Slots::default());
    let mut values: Vec<T> = Vec::new();
    for (index, value) in slots.present() {
        if values.contains(value) {
            mapping.bad_value(&format!("{key}[{index}]"), "expected once, and it is already in this list");
        }
        values.push(value.clone());
    }
    values
}

/// A header whose value is replaced by its HMAC.
#[derive(Clone, PartialEq)]
struct Marked(HeaderName);

/// Headers that records tell in another place, as they are: an HMAC beside that would hide nothing.
const TOLD_ELSEWHERE: [(&str, &str); 4] = [
    ("host", "request.host"),
    ("x-forwarded-for", "source"),
    ("x-request-id", "request_id"),
    ("traceparent", "trace_id"),
];

impl ReadText for Marked {
    const EXPECTED: &'static str = "`request.headers.NAME`, such as `request.headers.x-patient-id`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        let Some(name) = text.strip_prefix("request.headers.") else {
            let meant = HeaderName::read_text(text).map(|name| format!("request.headers.{name}"));
            return Err(Unreadable::default().meant(meant.ok().filter(|_| !text.contains('.'))));
        };
        let header = HeaderName::read_text(name).map_err(|why| Unreadable { suggestion: None, ..why })?;
        match TOLD_ELSEWHERE.iter().find(|(told, _)| header == *told) {
            Some((_, field)) => Err(Unreadable::rule(format!(
                "expected another header: records tell this one as `{field}` as well"
            ))),
            None => Ok(Marked(header)),
        }
    }
}

impl ReadText for PathTemplate {
    const EXPECTED: &'static str = "a template such as `/reset/{token}`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        text.parse().map_err(|error: audit_writer::redact::TemplateError| {
            let rooted = !text.starts_with('/') && !text.contains("://");
            let meant = format!("/{text}").parse::<PathTemplate>().ok().filter(|_| rooted);
            Unreadable::rule(error.to_string()).meant(meant.map(|meant| meant.to_string()))
        })
    }
}

impl Config {
    /// What of `audit.redact` hides nothing.
    pub(super) fn idle_redactions(&self) -> impl Iterator<Item = ConfigError> {
        let redact = &self.audit.redact;
        let kept = |header: &HeaderName| self.routes.iter().any(|route| route.audit.headers.contains(header));
        let idle =
            redact.hmac.iter().enumerate().filter(move |(_, header)| !kept(header)).map(|(index, _)| {
                let rule = "no route keeps this header: put it on a route's `audit.headers`".to_owned();
                self.error_at(&format!("audit.redact.hmac[{index}]"), rule)
            });
        let unused = redact.hmac_key.is_some() && redact.hmac.is_empty();
        let unused =
            unused.then(|| self.error_at("audit.redact.hmac_key", "`hmac` names nothing to hash".into()));
        idle.chain(unused).map(|error| ConfigError { kind: ErrorKind::NoEffect, ..error })
    }
}
