//! API keys: the gateway knows the SHA-256 of each, and nothing from which a key could be made.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use audit_writer::time::Timestamp;
use http::HeaderName;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{Answer, Presented, Principal, Refusal, Scheme};
use crate::config::{self, Problems, read_api_keys};
use crate::reload::Reloadable;

/// Bytes of the longest key.
const MAX_KEY: usize = 1024;

/// A provider that knows keys.
pub struct ApiKeyProvider {
    name: Arc<str>,
    header: HeaderName,
    file: PathBuf,
    keys: ArcSwap<Keys>,
}

/// What a file held.
struct Keys {
    /// One for each of `known`, and compared as a whole: close to one another in memory.
    hashes: Box<[[u8; 32]]>,
    known: Box<[Known]>,
}

/// Whom a key stands for.
struct Known {
    principal: Arc<Principal>,
    not_after: Option<Timestamp>,
}

impl ApiKeyProvider {
    /// Reads the keys.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with their file.
    pub fn new(name: &str, config: &config::ApiKeys) -> Result<ApiKeyProvider, Problems> {
        let name: Arc<str> = name.into();
        let keys = ArcSwap::from_pointee(Keys::new(&name, read_api_keys(&config.file)?));
        Ok(ApiKeyProvider { name, header: config.header.clone(), file: config.file.clone(), keys })
    }

    /// The header that holds a key.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    pub(super) fn identify(&self, presented: &Presented<'_>) -> Answer {
        let key = match presented.only(&self.header) {
            Ok(Some(key)) => key.as_bytes(),
            Ok(None) => return Answer::Nothing,
            Err(refusal) => return Answer::Refuses(refusal),
        };
        if key.len() > MAX_KEY {
            return Answer::Refuses(Refusal::ApiKeyUnknown);
        }
        let keys = self.keys.load();
        match keys.find(&Sha256::digest(key).into()) {
            None => Answer::Refuses(Refusal::ApiKeyUnknown),
            Some(known) if known.not_after.is_some_and(|not_after| presented.at > not_after) => {
                Answer::Refuses(Refusal::ApiKeyExpired)
            }
            Some(known) => Answer::Vouches(known.principal.clone()),
        }
    }
}

impl Keys {
    fn new(provider: &Arc<str>, keys: Vec<config::ApiKey>) -> Keys {
        let known = keys.iter().map(|key| Known {
            principal: Arc::new(Principal {
                id: audit_writer::record::ActorId::new(&key.actor),
                scheme: Scheme::ApiKey,
                provider: provider.clone(),
                groups: key.groups.iter().map(|group| group.as_str().into()).collect(),
            }),
            not_after: key.not_after,
        });
        Keys { known: known.collect(), hashes: keys.iter().map(|key| key.sha256).collect() }
    }

    /// Whose key has this hash. It takes as long wherever it stands, and whether it is there at all.
    fn find(&self, hash: &[u8; 32]) -> Option<&Known> {
        let mut found = Choice::from(0);
        let mut place = 0u64;
        for (index, known) in (0u64..).zip(&self.hashes) {
            let equal = known.ct_eq(hash);
            place.conditional_assign(&index, equal);
            found |= equal;
        }
        let place = usize::try_from(place).ok()?;
        bool::from(found).then(|| self.known.get(place)).flatten()
    }
}

impl Reloadable for ApiKeyProvider {
    fn what(&self) -> String {
        format!("API keys of provider `{}`", self.name)
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.file.clone()]
    }

    fn reload(&self) -> Result<(), String> {
        let keys = read_api_keys(&self.file).map_err(|problems| problems.to_string())?;
        self.keys.store(Arc::new(Keys::new(&self.name, keys)));
        Ok(())
    }
}

// Hashes of weak keys can be guessed from.
impl fmt::Debug for ApiKeyProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyProvider")
            .field("name", &self.name)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
