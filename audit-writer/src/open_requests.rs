//! Requests that were received and have not ended: what a boot that dies leaves `unfinished`.
//!
//! The writer keeps the set as it makes records durable, and stores it in the spool's state at the end of each segment.
//! The next boot applies the records that came after that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{SegmentNo, TreeSize};
use crate::record::Kind;
use crate::time::Timestamp;

/// Requests by their id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpenRequests(BTreeMap<Box<str>, Timestamp>);

/// The requests that were open at the end of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAfter {
    /// The segment.
    pub segment: SegmentNo,
    /// Records of the log up to its last.
    pub size: TreeSize,
    /// What was open.
    pub requests: OpenRequests,
}

impl OpenRequests {
    /// Takes a record, in the order of the log.
    pub fn apply(&mut self, kind: Kind, request_id: Option<&str>, ts: Timestamp) {
        let Some(id) = request_id else { return };
        match kind {
            Kind::Received => drop(self.0.insert(id.into(), ts)),
            Kind::Completed | Kind::Aborted => drop(self.0.remove(id)),
            Kind::Rejected | Kind::Gap | Kind::Lifecycle => {}
        }
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// When the oldest of them was received.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.0.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_open_from_its_received_to_its_end() {
        let mut open = OpenRequests::default();
        let at = Timestamp::from_micros;
        open.apply(Kind::Received, Some("a"), at(2));
        open.apply(Kind::Received, Some("b"), at(1));
        open.apply(Kind::Completed, Some("c"), at(0));
        open.apply(Kind::Rejected, None, at(0));
        assert_eq!((open.len(), open.oldest()), (2, Some(at(1))));
        open.apply(Kind::Aborted, Some("b"), at(1));
        assert_eq!((open.len(), open.oldest()), (1, Some(at(2))));
        let text = serde_json::to_string(&open).expect("JSON");
        assert_eq!(serde_json::from_str::<OpenRequests>(&text).expect("read"), open);
        open.apply(Kind::Completed, Some("a"), at(2));
        assert!(open.is_empty() && open.oldest().is_none());
    }
}
