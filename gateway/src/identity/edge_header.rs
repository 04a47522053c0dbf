//! Identity headers of a proxy in front: its word counts where another provider vouches for the proxy itself.

use std::sync::Arc;

use http::HeaderName;

use super::{Answer, Presented, Principal, Provider, Refusal, Scheme};
use crate::config;

/// A provider that takes a proxy's word.
#[derive(Debug)]
pub struct EdgeHeaderProvider {
    name: Arc<str>,
    actor: HeaderName,
    groups: Option<HeaderName>,
    only_from: Arc<Provider>,
}

impl EdgeHeaderProvider {
    /// As the configuration says; `only_from` vouches for the proxy.
    pub fn new(name: &str, config: &config::EdgeHeaders, only_from: Arc<Provider>) -> EdgeHeaderProvider {
        let (actor, groups) = (config.actor.clone(), config.groups.clone());
        EdgeHeaderProvider { name: name.into(), actor, groups, only_from }
    }

    pub(super) fn identify(&self, presented: &Presented<'_>) -> Answer {
        let named = |name: &HeaderName| presented.headers.contains_key(name);
        if !named(&self.actor) && !self.groups.as_ref().is_some_and(named) {
            return Answer::Nothing;
        }
        match self.only_from.identify(presented) {
            Answer::Vouches(_) => {}
            Answer::Nothing | Answer::Refuses(_) => return Answer::Refuses(Refusal::EdgeUnproven),
            Answer::Unavailable => return Answer::Unavailable,
        }
        match self.principal(presented) {
            Ok(Some(principal)) => Answer::Vouches(Arc::new(principal)),
            // A proxy that has proven itself, and speaks for nobody.
            Ok(None) => Answer::Nothing,
            Err(refusal) => Answer::Refuses(refusal),
        }
    }

    /// Whom the headers name.
    fn principal(&self, presented: &Presented<'_>) -> Result<Option<Principal>, Refusal> {
        let text = |name| match presented.only(name)? {
            Some(value) => std::str::from_utf8(value.as_bytes()).map(Some).map_err(|_| Refusal::EdgeIdentity),
            None => Ok(None),
        };
        let Some(actor) = text(&self.actor)? else { return Ok(None) };
        let groups = match &self.groups {
            Some(name) => text(name)?.unwrap_or_default(),
            None => "",
        };
        let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty());
        Principal::bounded(&self.name, Scheme::Header, actor, groups).map(Some).ok_or(Refusal::EdgeIdentity)
    }
}
