//! What `sealgate validate` sees in the files that `identity` names.

use super::super::error::ConfigError;
use super::super::{Config, Jwks, Provider, read_api_keys};
use crate::identity::jwt::read_key_file;
use crate::pem;

impl Config {
    /// Looks at key sets, authorities and files of API keys. Nothing is fetched.
    pub(in crate::config) fn check_identity_files(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for (name, provider) in &self.identity {
            let mut wrong = |key: &str, rule: String| {
                errors.push(self.error_at(&format!("identity.{name}.{key}"), rule));
            };
            match provider {
                Provider::Jwt(jwt) => match &jwt.jwks {
                    Jwks::File { file } => {
                        if let Err(error) = read_key_file(file, &jwt.algorithms) {
                            wrong("jwt.jwks.file", format!("expected a key set: {error}"));
                        }
                    }
                    Jwks::Url { ca, .. } => {
                        if let Some(Err(error)) = ca.as_deref().map(pem::read_authorities) {
                            wrong("jwt.jwks.ca", format!("expected authorities: {}", error.fault));
                        }
                    }
                },
                Provider::ApiKey(keys) => {
                    let problems = read_api_keys(&keys.file).err();
                    for problem in problems.iter().flat_map(|problems| problems.iter()) {
                        wrong("api_key.file", format!("expected a file of keys: {problem}"));
                    }
                }
                Provider::Mtls(_) | Provider::Header(_) => {}
            }
        }
        errors
    }
}
