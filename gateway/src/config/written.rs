//! How the values of other crates' types are written: for the schema, and for showing a configuration.
//!
//! Each type here stands for a way of writing alone. In memory the values have the types that serve.

use std::borrow::Cow;
use std::time::Duration;

use audit_writer::redact::{MAX_TEMPLATE, PathTemplate};
use http::{HeaderName, Method};
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serializer;

use super::value::DurationText;
use crate::authorise::{MAX_GLOB, PathGlob};

/// A duration or the word `none`. In memory it is an `Option<Duration>`.
pub(super) enum DurationOrNone {}

impl DurationOrNone {
    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => DurationText::serialize(duration, serializer),
            None => serializer.serialize_str("none"),
        }
    }
}

impl JsonSchema for DurationOrNone {
    fn schema_name() -> Cow<'static, str> {
        "DurationOrNone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A duration such as `60s`, or `none`.", "pattern": r"^([0-9]+(ms|s|m|h|d)|none|.*\$\{.*)$" })
    }
}

/// An IP address and port as it is written. In memory it is a `SocketAddr`.
pub(super) enum AddressText {}

impl JsonSchema for AddressText {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "An IP address and port: `127.0.0.1:8080`, `[::]:8080`.", "pattern": r"^(([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}|.*\$\{.*)$" })
    }
}

/// A list of [`AddressText`], at least one.
pub(super) enum AddressTexts {}

impl JsonSchema for AddressTexts {
    fn schema_name() -> Cow<'static, str> {
        "Addresses".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<AddressText>();
        json_schema!({ "type": "array", "items": item, "minItems": 1 })
    }
}

/// IP networks as they are written. In memory they are [`IpNet`]s; a bare address is a network of one.
pub(super) enum NetworkTexts {}

impl NetworkTexts {
    pub(super) fn serialize<S: Serializer>(networks: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(networks.iter().map(ToString::to_string))
    }
}

impl JsonSchema for NetworkTexts {
    fn schema_name() -> Cow<'static, str> {
        "Networks".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string", "pattern": r"^([0-9A-Fa-f:.]+(/[0-9]{1,3})?|.*\$\{.*)$" } })
    }
}

/// HTTP methods as they are written. In memory they are [`Method`]s.
pub(super) enum MethodTexts {}

impl MethodTexts {
    pub(super) fn serialize<S: Serializer>(methods: &[Method], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(methods.iter().map(Method::as_str))
    }
}

impl JsonSchema for MethodTexts {
    fn schema_name() -> Cow<'static, str> {
        "Methods".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string", "pattern": r"^([A-Z][A-Z-]*|.*\$\{.*)$", "examples": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] } })
    }
}

/// A log's name as it is written. In memory it is a `LogName`.
pub(super) enum LogText {}

impl JsonSchema for LogText {
    fn schema_name() -> Cow<'static, str> {
        "LogName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^([a-z0-9.-]+(/[a-z0-9._-]+)*|.*\$\{.*)$", "maxLength": 200 })
    }
}

/// A header's name as it is written. In memory it is a [`HeaderName`].
pub(super) enum HeaderText {}

impl HeaderText {
    pub(super) fn serialize<S: Serializer>(header: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(header.as_str())
    }

    pub(super) fn optional<S: Serializer>(
        header: &Option<HeaderName>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(header.as_ref().map_or("", HeaderName::as_str))
    }
}

impl JsonSchema for HeaderText {
    fn schema_name() -> Cow<'static, str> {
        "Header".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// A URL as it is written. In memory it is the same text, once it was read.
pub(super) enum UrlText {}

impl JsonSchema for UrlText {
    fn schema_name() -> Cow<'static, str> {
        "Url".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^(https?://.+|.*\$\{.*)$", "not": { "pattern": "#" } })
    }
}

/// Header names as they are written. In memory they are [`HeaderName`]s.
pub(super) enum HeaderTexts {}

impl HeaderTexts {
    pub(super) fn serialize<S: Serializer>(headers: &[HeaderName], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(headers.iter().map(HeaderName::as_str))
    }
}

impl JsonSchema for HeaderTexts {
    fn schema_name() -> Cow<'static, str> {
        "Headers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string", "minLength": 1 } })
    }
}

/// What is replaced by its HMAC, as it is written. In memory they are [`HeaderName`]s.
pub(super) enum HmacTexts {}

impl HmacTexts {
    pub(super) fn serialize<S: Serializer>(headers: &[HeaderName], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(headers.iter().map(|name| format!("request.headers.{name}")))
    }
}

impl JsonSchema for HmacTexts {
    fn schema_name() -> Cow<'static, str> {
        "HmacFields".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "maxItems": 256, "items": { "type": "string", "pattern": r"^(request\.headers\..+|.*\$\{.*)$" } })
    }
}

/// Templates of paths as they are written. In memory they are [`PathTemplate`]s.
pub(super) enum TemplateTexts {}

impl TemplateTexts {
    pub(super) fn serialize<S: Serializer>(
        templates: &[PathTemplate],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(templates.iter().map(ToString::to_string))
    }
}

impl JsonSchema for TemplateTexts {
    fn schema_name() -> Cow<'static, str> {
        "PathTemplates".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "maxItems": 256, "items": { "type": "string", "maxLength": MAX_TEMPLATE, "pattern": r"^(/(.*/)?\{[A-Za-z0-9_-]+\}(/.*)?|.*\$\{.*)$" } })
    }
}

/// Globs over paths as they are written. In memory they are [`PathGlob`]s.
pub(super) enum GlobTexts {}

impl GlobTexts {
    pub(super) fn serialize<S: Serializer>(globs: &[PathGlob], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(globs.iter().map(PathGlob::as_str))
    }
}

impl JsonSchema for GlobTexts {
    fn schema_name() -> Cow<'static, str> {
        "PathGlobs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string", "maxLength": MAX_GLOB, "pattern": r"^(/[^?\[\]{};]*|.*\$\{.*)$" } })
    }
}

/// A whole number greater than nothing, or a variable that holds one.
pub(super) enum Count {}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "pattern": r"\$\{" }] })
    }
}

/// A port to connect to, or a variable that holds one.
pub(super) enum Port {}

impl JsonSchema for Port {
    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 65535 }, { "type": "string", "pattern": r"\$\{" }] })
    }
}

/// `true` or `false`, or a variable that holds one of them.
pub(super) enum Switch {}

impl JsonSchema for Switch {
    fn schema_name() -> Cow<'static, str> {
        "Switch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "boolean" }, { "type": "string", "pattern": r"\$\{" }] })
    }
}
