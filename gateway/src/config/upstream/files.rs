//! What `sealgate validate` finds in the files that TLS to upstreams needs.

use audit_writer::time::Timestamp;

use crate::config::Config;
use crate::config::error::ConfigError;
use crate::upstream;

impl Config {
    /// What is wrong with them, each at the place that names the file.
    pub(in crate::config) fn check_upstream_files(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for (name, upstream) in &self.upstreams {
            for (key, rule) in upstream.tls.iter().flat_map(|tls| upstream::check(tls, Timestamp::now())) {
                errors.push(self.error_at(&format!("upstreams.{name}.tls.{key}"), rule));
            }
        }
        errors
    }
}
