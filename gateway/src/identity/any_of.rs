//! The providers of a route, in their order.

use std::sync::Arc;

use http::HeaderValue;

use super::{Answer, Presented, Principal, Provider, Refusal};

/// The protection space (RFC 9110, section 11.5): routes share their providers.
const REALM: &str = "realm=\"sealgate\"";

/// The providers of a route.
#[derive(Debug)]
pub struct AnyOf {
    providers: Box<[Arc<Provider>]>,
    /// How each kind among them wants to be presented with something.
    challenges: Box<[Box<str>]>,
}

/// Why nobody vouches for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unidentified {
    /// The first that was presented with something refuses it.
    Refused(Refusal),
    /// One that was presented with something cannot tell.
    Unavailable,
}

impl AnyOf {
    /// Asks these, in this order.
    pub fn new(providers: Vec<Arc<Provider>>) -> AnyOf {
        let mut challenges: Vec<Box<str>> = Vec::new();
        for challenge in providers.iter().map(|provider| provider.challenge()) {
            let challenge = challenge.into_boxed_str();
            if !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
        }
        AnyOf { providers: providers.into(), challenges: challenges.into() }
    }

    /// The first principal that a provider vouches for.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn identify(&self, presented: &Presented<'_>) -> Result<Arc<Principal>, Unidentified> {
        let mut refusal = None;
        let mut unavailable = false;
        for provider in &self.providers {
            match provider.identify(presented) {
                Answer::Vouches(principal) => return Ok(principal),
                Answer::Nothing => {}
                Answer::Refuses(word) => {
                    refusal.get_or_insert(word);
                }
                Answer::Unavailable => unavailable = true,
            }
        }
        if unavailable {
            return Err(Unidentified::Unavailable);
        }
        Err(Unidentified::Refused(refusal.unwrap_or(Refusal::CredentialsMissing)))
    }

    /// The `WWW-Authenticate` of a 401 (RFC 9110, section 11.6.1): a challenge for each kind of provider. That of bearer
    /// tokens says what is wrong with one that was sent (RFC 6750, section 3).
    ///
    /// There are no registered schemes for API keys and client certificates: theirs are the gateway's own.
    pub fn challenge(&self, refusal: Refusal) -> HeaderValue {
        let mut text = String::with_capacity(128);
        for challenge in &self.challenges {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(challenge);
            text.push_str(if challenge.contains(' ') { ", " } else { " " });
            text.push_str(REALM);
            if challenge.starts_with("Bearer") && refusal.is_of_a_token() {
                text.push_str(", error=\"invalid_token\", error_description=\"");
                text.push_str(refusal.explanation());
                text.push('"');
            }
        }
        HeaderValue::try_from(text).expect("names of schemes and headers, and texts of our own")
    }
}
