//! What a request brings along to prove who sent it.

use std::fmt;

use audit_writer::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Refusal;
use crate::edge::ClientCertificate;

/// What providers look at.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The certificate that the connection's client has shown, and that was verified.
    pub certificate: Option<&'a ClientCertificate>,
    /// The moment at which it is judged.
    pub at: Timestamp,
}

impl<'a> Presented<'a> {
    /// What a request brings along, judged now.
    pub fn now(headers: &'a HeaderMap, certificate: Option<&'a ClientCertificate>) -> Presented<'a> {
        Presented { headers, certificate, at: Timestamp::now() }
    }

    /// The one value of a header that holds a credential, if it is there.
    ///
    /// Two servers may read two values differently, and a client must not choose which of two counts.
    pub(super) fn only(&self, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Refusal> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next();
        if values.next().is_some() { Err(Refusal::CredentialsAmbiguous) } else { Ok(first) }
    }
}

// Headers hold credentials.
impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("at", &self.at).finish_non_exhaustive()
    }
}
