//! Keeps out of the evidence what has no business there, before a record exists.
//!
//! - [`HmacKey`] replaces a value by its HMAC: the same value is found again by whoever has the key, and told by nobody
//!   else.
//! - [`PathTemplates`] replaces segments of the path and of the raw target by the names that templates give them,
//!   whatever their spelling.
//!
//! Invariant: redaction comes before truncation. What is cut, and the digest of what was cut, are of redacted text.

mod hmac_key;
mod spelling;
mod template;

pub use hmac_key::{HmacKey, HmacKeyError};
pub use template::{MAX_TEMPLATE, PathTemplate, PathTemplates, Redacted, TemplateError};
