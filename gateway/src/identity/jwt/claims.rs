//! The claims of a token (RFC 7519, section 4) whose signature is good: whether it counts here and now, and for whom.

use std::sync::Arc;
use std::time::Duration;

use audit_writer::time::Timestamp;
use serde_json::{Map, Value};

use crate::config;
use crate::identity::{Principal, Refusal, Scheme};

/// Seconds since 1970 at the end of the year 9999: no token means a later moment.
const LAST: i64 = 253_402_300_799;

/// What claims must be.
pub(super) struct Expected {
    provider: Arc<str>,
    issuer: Box<str>,
    audience: Box<[Box<str>]>,
    leeway: Duration,
    actor_claim: Box<str>,
    groups_claim: Box<str>,
}

/// For whom a token counts, and when.
#[derive(Debug)]
pub(super) struct Believed {
    pub(super) principal: Principal,
    /// From then on, the leeway counted in.
    pub(super) not_before: Timestamp,
    /// Before then, the leeway counted in.
    pub(super) until: Timestamp,
}

impl Expected {
    /// As the configuration says.
    pub(super) fn new(provider: &Arc<str>, config: &config::Jwt) -> Expected {
        Expected {
            provider: provider.clone(),
            issuer: config.issuer.as_str().into(),
            audience: config.audience.iter().map(|audience| audience.as_str().into()).collect(),
            leeway: config.leeway,
            actor_claim: config.actor_claim.as_str().into(),
            groups_claim: config.groups_claim.as_str().into(),
        }
    }

    /// Whether these claims count at a moment, and for whom.
    pub(super) fn check(&self, claims: &Map<String, Value>, at: Timestamp) -> Result<Believed, Refusal> {
        match claims.get("iss") {
            Some(Value::String(issuer)) if **issuer == *self.issuer => {}
            Some(Value::String(_)) | None => return Err(Refusal::TokenIssuer),
            Some(_) => return Err(Refusal::TokenClaims),
        }
        let meant = |audience: &str| self.audience.iter().any(|own| **own == *audience);
        match claims.get("aud").map(texts) {
            Some(Some(audience)) if audience.iter().copied().any(meant) => {}
            Some(Some(_)) | None => return Err(Refusal::TokenAudience),
            Some(None) => return Err(Refusal::TokenClaims),
        }
        let leeway = i64::try_from(self.leeway.as_micros()).unwrap_or(i64::MAX);
        let until = claims.get("exp").and_then(moment).ok_or(Refusal::TokenClaims)?.saturating_add(leeway);
        let not_before = match claims.get("nbf") {
            Some(value) => moment(value).ok_or(Refusal::TokenClaims)?.saturating_sub(leeway),
            None => 0,
        };
        let (not_before, until) = (timestamp(not_before), timestamp(until));
        // "on or after which the JWT MUST NOT be accepted" (RFC 7519, section 4.1.4).
        if at >= until {
            return Err(Refusal::TokenExpired);
        }
        if at < not_before {
            return Err(Refusal::TokenNotYetValid);
        }
        let principal = self.principal(claims).ok_or(Refusal::TokenClaims)?;
        Ok(Believed { principal, not_before, until })
    }

    fn principal(&self, claims: &Map<String, Value>) -> Option<Principal> {
        let actor = claims.get(&*self.actor_claim)?.as_str()?;
        let groups = match claims.get(&*self.groups_claim) {
            Some(groups) => texts(groups)?,
            None => Vec::new(),
        };
        Principal::bounded(&self.provider, Scheme::Jwt, actor, groups.into_iter())
    }
}

/// A text, or a list of texts alone.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// A `NumericDate` in microseconds: seconds since 1970, whole or not (RFC 7519, section 2), no later than the year 9999.
fn moment(value: &Value) -> Option<i64> {
    if let Some(seconds) = value.as_i64() {
        return (-LAST..=LAST).contains(&seconds).then(|| seconds * 1_000_000);
    }
    let seconds = value.as_f64()?;
    // Microseconds up to there are whole numbers of a float that are an `i64`.
    (seconds.abs() <= LAST as f64).then_some((seconds * 1e6) as i64)
}

/// What lies before 1970 is long ago all the same.
fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_micros(u64::try_from(micros).unwrap_or(0))
}
