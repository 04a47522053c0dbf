//! What `sealgate validate` looks at beyond the text: the files that a configuration names. Nothing is changed.

use std::path::Path;

use audit_writer::key_file::{self, KeyFileError};
use audit_writer::redact::HmacKeyError;
use rustix::fs::{Access, access};

use super::error::{ConfigError, ErrorKind, Problem, Problems};
use super::walk::split;
use super::{Audit, Config};

impl Config {
    /// Looks at the key files, at certificates and what is beside them, and at the directories of spool and store, as
    /// far as they exist. Gives what is good today, and will soon not be.
    ///
    /// # Errors
    ///
    /// Everything that would keep a gateway from starting here, and can be seen without changing anything.
    pub fn check_environment(&self) -> Result<Vec<Problem>, Problems> {
        let audit = &self.audit;
        let findings = [
            ("audit.key.file", key(audit)),
            ("audit.redact.hmac_key", audit.redact.read_hmac_key().err().map(|error| hmac_key(&error))),
            ("audit.spool.path", directory(&audit.spool.path)),
            ("audit.store.directory", directory(&audit.store.directory)),
            ("audit.create_log", marker(audit)),
        ];
        let findings = findings.into_iter().filter_map(|(path, rule)| Some(self.error_at(path, rule?)));
        let errors: Vec<ConfigError> = findings
            .chain(self.check_listener_files())
            .chain(self.check_upstream_files())
            .chain(self.check_identity_files())
            .collect();
        if errors.is_empty() {
            Ok(Problems::sorted(self.ending_certificates().collect(), &self.loaded.files))
        } else {
            Err(Problems::new(errors, &self.loaded.files))
        }
    }

    /// An error about the value at `path`; of a key that was left out, about the nearest mapping that is there.
    pub(super) fn error_at(&self, path: &str, rule: String) -> ConfigError {
        let (parent, key) = split(path);
        let seen = &self.loaded.seen;
        let own = seen.get(path);
        let (place, _) = own.or_else(|| seen.get(parent)).cloned().unwrap_or_default();
        ConfigError {
            key: key.to_owned(),
            path: parent.to_owned(),
            value: own.map(|(_, value)| value.clone()),
            ..ConfigError::new(place, ErrorKind::BadValue, rule)
        }
    }

    /// Where the value at `path` stands, as text: "line 4", or with its file where there are several.
    pub(super) fn at(&self, path: &str) -> String {
        let Some((place, _)) = self.loaded.seen.get(path) else { return String::new() };
        match self.loaded.files.as_slice() {
            [] | [_] => format!("line {}", place.line),
            files => {
                format!("{}:{}", files.get(usize::from(place.file)).map_or("", String::as_str), place.line)
            }
        }
    }
}

/// What is wrong with the key file.
fn key(audit: &Audit) -> Option<String> {
    let file = &audit.key.file;
    match key_file::read(file) {
        Ok(key) if *key.name() != audit.log => {
            Some(format!("expected the key of the log `{}`, found that of `{}`", audit.log, key.name()))
        }
        Ok(_) => None,
        Err(KeyFileError::Absent { .. }) if audit.key.create => file.parent().and_then(directory),
        Err(KeyFileError::Absent { .. }) => {
            Some("expected a key: there is no such file, and `create` is not `true`".into())
        }
        Err(KeyFileError::NoFile { .. }) => Some("expected a key file".into()),
        Err(KeyFileError::Exposed { mode, .. }) => {
            Some(format!("expected a file for its owner's eyes only (mode 0600), found mode {mode:04o}"))
        }
        Err(KeyFileError::Form { source, .. }) => Some(format!("expected a key: {source}")),
        Err(KeyFileError::Read { source, .. }) => Some(format!("expected a key: {source}")),
        Err(error) => Some(format!("expected a key: {error}")),
    }
}

/// What is wrong with the file of the key for HMAC.
fn hmac_key(error: &HmacKeyError) -> String {
    match error {
        HmacKeyError::File(KeyFileError::Read { source, .. }) => format!("expected a key for HMAC: {source}"),
        error => format!("expected a key for HMAC: {error}"),
    }
}

/// What is wrong with a directory that is there, or that is to be made.
fn directory(path: &Path) -> Option<String> {
    let existing = path.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok())?;
    if !existing.is_dir() {
        return Some(format!("expected a directory: {} is none", existing.display()));
    }
    match access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => None,
        Err(error) => Some(format!("expected a directory to write into: {}: {error}", existing.display())),
    }
}

/// Whether the log could go on, or begin.
fn marker(audit: &Audit) -> Option<String> {
    let marker = audit.store.directory.join(audit.log.as_str()).join("log");
    (!audit.create_log && !marker.exists()).then(|| {
        "expected `true` where a log is to begin: this log is not in the store; where it was, look for the store first".into()
    })
}
