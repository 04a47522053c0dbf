//! One log at a glance: `sealaudit logs`.

use std::fs::File;

use serde::Serialize;

use crate::archive::LogView;
use crate::checkpoint::LogName;
use crate::ids::SegmentNo;
use crate::segment::{Index, read_index};
use crate::time::Timestamp;

/// What the names and a few indexes of a log say. Nothing is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Its name.
    pub log: LogName,
    /// Records in the store.
    pub records: u64,
    /// Records that only the gateway's spool has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsealed: Option<u64>,
    /// Segments in the store.
    pub segments: u64,
    /// Checkpoints in the store.
    pub checkpoints: u64,
    /// The time of the first record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// The time of the newest record in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Seconds since the newest record that the last checkpoint covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_age_s: Option<u64>,
}

impl Overview {
    /// Looks at a log; ages are held against `now`.
    pub fn of(view: &LogView, now: Timestamp) -> Overview {
        let index = |number: Option<SegmentNo>| {
            let (listing, number) = (view.store.as_ref()?, number?);
            let object = listing.segments.get(&number)?;
            let file = File::open(listing.segment_path(number, object.date)).ok()?;
            Some(read_index(&file).ok()?.index)
        };
        let listing = view.store.as_ref();
        let first =
            index(listing.and_then(|listing| listing.segments.first_key_value()).map(|(number, _)| *number));
        let last =
            index(listing.and_then(|listing| listing.segments.last_key_value()).map(|(number, _)| *number));
        let covered = index(
            listing.and_then(|listing| listing.checkpoints.last_key_value()).map(|(number, _)| *number),
        );
        let records = last.as_ref().map_or(0, |last| last.end_seq().0);
        Overview {
            log: view.name.clone(),
            records,
            unsealed: view
                .spool
                .as_ref()
                .map(|spool| spool.end_seq().map_or(0, |end| end.0.saturating_sub(records))),
            segments: listing.map_or(0, |listing| listing.segments.len() as u64),
            checkpoints: listing.map_or(0, |listing| listing.checkpoints.len() as u64),
            first: first.map(|first: Index| first.min_ts),
            last: last.map(|last| last.max_ts),
            checkpoint_age_s: covered.map(|covered| now.since(covered.max_ts).as_secs()),
        }
    }
}
