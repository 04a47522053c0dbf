//! How the boot before ended, and since when records of it may be missing.

use super::{Before, Recovery, Trail};
use crate::spool::{Contents, State};

impl Recovery<'_> {
    pub(super) fn before(&self, state: &State, _contents: &Contents, trail: &Trail) -> Before {
        if state.stopped {
            Before::Stopped
        } else if trail.tree.is_empty() {
            Before::None
        } else {
            Before::Unclean(Some(trail.last_segment_ts))
        }
    }
}
