//! Search: the indexes say which segments and frames may hold what is looked for, and only those are read.
//!
//! Results come newest first: within a log by `seq`, and logs among each other by `ts`. A log is walked backwards and
//! lazily, so that a search that has enough reads no further. An index is believed here; `verify` is what holds it
//! against its records.

use std::io;
use std::ops::ControlFlow;

use thiserror::Error;

use crate::archive::LogView;
use crate::checkpoint::LogName;
use crate::ids::Seq;
use crate::time::Timestamp;

mod by_id;
mod by_seq;
mod cursor;
mod filter;
mod follow;
mod overview;
mod reader;
mod record;

pub use by_seq::find as find_record;
pub use filter::{Filter, Network, Pattern, Statuses};
pub use follow::{FollowError, Follower};
pub use overview::Overview;
pub use reader::Stats;
pub use record::{Actor, Decision, Record, Request, Response, Source};

use by_id::IdTime;
use cursor::Cursor;
use reader::Reader;

/// A record that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its log.
    pub log: LogName,
    /// Its number.
    pub seq: Seq,
    /// Its time.
    pub ts: Timestamp,
    /// Its line as it was stored, without the newline.
    pub line: Vec<u8>,
    /// Whether only the gateway's spool has it yet.
    pub unsealed: bool,
}

/// Why nothing could be searched.
#[derive(Debug, Error)]
pub enum SearchError {
    /// zstd has no memory.
    #[error("no frame can be read: {0}")]
    Reader(#[source] io::Error),
}

/// How a search ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many records were found.
    pub found: u64,
    /// Whether there may be more than the limit let through.
    pub limited: bool,
    /// What was read.
    pub stats: Stats,
    /// What could not be read, or is no record.
    pub troubles: Vec<String>,
}

/// Finds records that fit `filter`, newest first, at most `limit`, and hands each to `found`, which may end the search.
///
/// A search for UUIDv7 request ids without times first reads frames about the time that each id names, and is content with
/// the record that ends the request; only where it finds nothing there, everything is read. Times given with an id ask for
/// every record of that id between them.
///
/// # Errors
/// See [`SearchError`]; files that cannot be read are told in the summary.
pub fn search(
    views: &[LogView],
    filter: &Filter,
    limit: Option<usize>,
    mut found: impl FnMut(Hit) -> ControlFlow<()>,
) -> Result<Summary, SearchError> {
    let mut reader = Reader::new(filter.clone()).map_err(SearchError::Reader)?;
    reader.stats.segments = views.iter().map(LogView::segments).sum();
    let limit = limit.unwrap_or(usize::MAX);
    let mut summary = Summary::default();
    let mut give = |hit: Hit, summary: &mut Summary| {
        if summary.found == limit as u64 {
            summary.limited = true;
            return ControlFlow::Break(());
        }
        summary.found += 1;
        found(hit)
    };
    let times =
        IdTime::of_all(&filter.request_id).filter(|_| filter.since.is_none() && filter.until.is_none());
    match times.and_then(|times| by_id::search(views, &times, &mut reader)) {
        Some(hits) => {
            let _ended = hits.into_iter().try_for_each(|hit| give(hit, &mut summary));
        }
        None => {
            reader.stats.unsealed_records = 0;
            let cursor = |view| Cursor::new(view, limit.saturating_add(1));
            let mut cursors: Vec<Cursor<'_>> = views.iter().map(cursor).collect();
            while let Some(hit) = newest(&mut cursors, &mut reader) {
                if give(hit, &mut summary).is_break() {
                    break;
                }
            }
        }
    }
    summary.stats = reader.stats;
    summary.troubles = reader.into_troubles();
    Ok(summary)
}

/// The newest of the hits that the logs come up with.
fn newest(cursors: &mut [Cursor<'_>], reader: &mut Reader) -> Option<Hit> {
    let heads = cursors.iter_mut().enumerate();
    let heads = heads.filter_map(|(at, cursor)| cursor.peek(reader).map(|hit| (hit.ts, at)));
    let (_, at) = heads.max_by_key(|&(ts, at)| (ts, std::cmp::Reverse(at)))?;
    cursors[at].take()
}
