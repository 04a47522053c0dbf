//! `sealaudit`, the auditor's program.
fn main() {}
