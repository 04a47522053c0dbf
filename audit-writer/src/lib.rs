//! The audit log of Sealgate: from one served request to evidence that can be checked.

pub mod checkpoint;
pub mod ids;
pub mod merkle;
