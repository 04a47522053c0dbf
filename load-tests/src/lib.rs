//! What stands around Sealgate when it is shown or measured: services to put behind it and a load to send through it.
//!
//! Nothing here shares code with the gateway or with the audit log. The load generator keeps its own counts, so that
//! what it says can be held against what the log says.

pub mod folder;
pub mod load;
pub mod process;
pub mod services;
