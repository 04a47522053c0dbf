//! The auditor's own `verify`, on a copy of the store in a directory.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use super::check::{Failure, failure};
use super::disk::STORE;
use super::gateway::key;
use super::read::Files;
use crate::archive::Archive;
use crate::checkpoint::Keyring;
use crate::time::Timestamp;
use crate::verify::{Options, State, verify as audit};

/// It finds nothing. A configuration that only a lost spool held is not there, and verify says so, rightly.
pub(super) fn verify(files: &Files, now: Timestamp, is_spool_lost: bool) -> Result<(), Failure> {
    let directory = tempfile::tempdir().expect("a directory");
    for (path, (bytes, _)) in files {
        let path = directory.path().join(path.strip_prefix(STORE).unwrap_or(path));
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("made");
        fs::write(path, bytes).expect("written");
    }
    let mut keys = Keyring::default();
    keys.add(key().verifier_key().clone());
    let mut options = Options::new();
    (options.threads, options.now) = (NonZeroUsize::MIN, now);
    let archive = Archive::open(directory.path().to_str().expect("UTF-8")).expect("a store");
    let (report, _) = audit(&archive, &keys, &options, &State::default(), &|_| ()).expect("it can be read");
    let log = &report.logs[0];
    let is_lost = |message: &str| is_spool_lost && message.starts_with("`configs/");
    if let Some(finding) = log.findings.iter().find(|finding| !is_lost(&finding.message)) {
        return failure("verify finds nothing", format!("{:?}: {}", finding.kind, finding.message));
    }
    if !log.unreadable.is_empty() || !log.root_ok {
        return failure("verify finds nothing", format!("{log:?}"));
    }
    Ok(())
}
