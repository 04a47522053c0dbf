//! All providers of a configuration, by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::api_key::ApiKeyProvider;
use super::edge_header::EdgeHeaderProvider;
use super::jwt::{Fetch, JwtProvider, KeyFile, KeyFileError};
use super::mtls::MtlsProvider;
use super::{AnyOf, IdentityMetrics, Presented, Principal, Refusal};
use crate::config::{self, Auth, Config, Jwks, Name, Problems};
use crate::reload::Reloadable;

/// How long the first key sets are waited for, all together.
const FIRST_KEYS: Duration = Duration::from_secs(2);

/// What a provider says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It vouches for this principal.
    Vouches(Arc<Principal>),
    /// It was presented with nothing.
    Nothing,
    /// It does not believe what it was presented with.
    Refuses(Refusal),
    /// It was presented with something, and cannot tell.
    Unavailable,
}

/// One who vouches.
#[derive(Debug)]
pub enum Provider {
    /// By signed tokens.
    Jwt(Arc<JwtProvider>),
    /// By client certificates.
    Mtls(MtlsProvider),
    /// By API keys.
    ApiKey(Arc<ApiKeyProvider>),
    /// By the headers of a proxy in front.
    Header(EdgeHeaderProvider),
}

impl Provider {
    /// Looks at what a request presents.
    pub fn identify(&self, presented: &Presented<'_>) -> Answer {
        match self {
            Provider::Jwt(provider) => provider.identify(presented),
            Provider::Mtls(provider) => provider.identify(presented),
            Provider::ApiKey(provider) => provider.identify(presented),
            Provider::Header(provider) => provider.identify(presented),
        }
    }

    /// The scheme of its challenge, with parameters of its own.
    pub(super) fn challenge(&self) -> String {
        match self {
            Provider::Jwt(_) => "Bearer".into(),
            Provider::Mtls(_) => "ClientCertificate".into(),
            Provider::ApiKey(keys) => format!("ApiKey header=\"{}\"", keys.header()),
            Provider::Header(_) => "EdgeIdentity".into(),
        }
    }
}

/// Why a provider cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file of its keys is wrong.
    #[error("API keys of provider `{provider}`")]
    ApiKeys {
        /// Its name.
        provider: Name,
        /// What is wrong with the file.
        #[source]
        problems: Problems,
    },
    /// The file of its key set is wrong.
    #[error("key set of provider `{provider}`: {}", file.display())]
    KeySet {
        /// Its name.
        provider: Name,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyFileError,
    },
    /// There can be no thread that fetches its key set.
    #[error("key set of provider `{provider}`: no thread to fetch it")]
    Fetch {
        /// Its name.
        provider: Name,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A name that there is no provider of; the configuration's own check finds it earlier, with its place.
    #[error("there is no provider `{0}`")]
    Unknown(Name),
}

/// All providers, by name.
#[derive(Default)]
pub struct Providers {
    by_name: BTreeMap<Name, Arc<Provider>>,
    reloadable: Vec<Arc<dyn Reloadable>>,
}

impl Providers {
    /// Reads what they need, and begins to fetch what comes from elsewhere. That is waited for, but not for long: what is
    /// not there by then makes its provider unavailable until it is.
    ///
    /// # Errors
    ///
    /// When one of them cannot do its work.
    pub fn start(config: &Config, metrics: &IdentityMetrics) -> Result<Providers, StartError> {
        let mut providers = Providers::default();
        let mut edges = Vec::new();
        let mut fetching = Vec::new();
        for (name, provider) in &config.identity {
            let made = match provider {
                config::Provider::Jwt(jwt) => {
                    let provider = Arc::new(JwtProvider::new(name, jwt));
                    match &jwt.jwks {
                        Jwks::File { file } => {
                            let part = KeyFile { provider: provider.clone(), file: file.clone() };
                            part.read().map_err(|source| StartError::KeySet {
                                provider: name.clone(),
                                file: file.clone(),
                                source,
                            })?;
                            providers.reloadable.push(Arc::new(part));
                        }
                        Jwks::Url { url, refresh, ca } => {
                            let fetch = Fetch {
                                provider: name.as_str().into(),
                                url: url.clone(),
                                refresh: *refresh,
                                ca: ca.clone(),
                                algorithms: jwt.algorithms.clone().into(),
                            };
                            let started = fetch.start(provider.keys(), metrics.jwks(name));
                            let error = |source| StartError::Fetch { provider: name.clone(), source };
                            fetching.push(started.map_err(error)?);
                        }
                    }
                    Provider::Jwt(provider)
                }
                config::Provider::Mtls(mtls) => Provider::Mtls(MtlsProvider::new(name, mtls)),
                config::Provider::ApiKey(keys) => {
                    let error = |problems| StartError::ApiKeys { provider: name.clone(), problems };
                    let provider = Arc::new(ApiKeyProvider::new(name, keys).map_err(error)?);
                    providers.reloadable.push(provider.clone());
                    Provider::ApiKey(provider)
                }
                config::Provider::Header(edge) => {
                    edges.push((name, edge));
                    continue;
                }
            };
            providers.by_name.insert(name.clone(), Arc::new(made));
        }
        // Each stands on one of the others.
        for (name, edge) in edges {
            let made = EdgeHeaderProvider::new(name, edge, providers.named(&edge.only_from)?);
            providers.by_name.insert(name.clone(), Arc::new(Provider::Header(made)));
        }
        let deadline = Instant::now() + FIRST_KEYS;
        for first in fetching {
            // It has come, it failed, or it comes later: the provider knows.
            let _ = first.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        Ok(providers)
    }

    /// What is read from files, and may be read again.
    pub fn reloadable(&self) -> impl Iterator<Item = Arc<dyn Reloadable>> {
        self.reloadable.iter().cloned()
    }

    /// Those of a route; none where it lets in everybody.
    ///
    /// # Errors
    ///
    /// When it names one that there is not.
    pub fn any_of(&self, auth: &Auth) -> Result<Option<AnyOf>, StartError> {
        match auth {
            Auth::None => Ok(None),
            Auth::AnyOf(names) => {
                let providers = names.iter().map(|name| self.named(name)).collect::<Result<_, _>>()?;
                Ok(Some(AnyOf::new(providers)))
            }
        }
    }

    fn named(&self, name: &Name) -> Result<Arc<Provider>, StartError> {
        self.by_name.get(name).cloned().ok_or_else(|| StartError::Unknown(name.clone()))
    }
}

#[cfg(test)]
mod tests;
