//! A log as a reader sees it: what its store holds, and what its gateway's spool holds beyond that.

use super::{Archive, ArchiveError, Listing, SpoolContents};
use crate::checkpoint::LogName;
use crate::ids::Seq;
use crate::segment::read_index;

/// One log of an archive.
#[derive(Debug)]
pub struct LogView {
    /// Its name.
    pub name: LogName,
    /// The store's part.
    pub store: Option<Listing>,
    /// The spool's part.
    pub spool: Option<SpoolContents>,
}

impl LogView {
    /// How many segments it has, in the store and waiting in the spool.
    pub fn segments(&self) -> u64 {
        let stored = self.store.as_ref().map_or(0, |listing| listing.segments.len());
        (stored + self.spool.as_ref().map_or(0, |spool| spool.sealed.len())) as u64
    }

    /// The number after the last record that the store holds, by the index of its last segment. What the spool holds from
    /// there on is unsealed.
    pub fn end_of_store(&self) -> Seq {
        let Some(listing) = &self.store else { return Seq(0) };
        let mut segments = listing.segments.iter().rev();
        let end = segments.find_map(|(&number, object)| {
            let file = std::fs::File::open(listing.segment_path(number, object.date)).ok()?;
            Some(read_index(&file).ok()?.index.end_seq())
        });
        end.unwrap_or(Seq(0))
    }
}

impl Archive {
    /// All logs, by name: those of the store, and the spool's, which may not have reached the store yet.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn views(&self) -> Result<Vec<LogView>, ArchiveError> {
        // The spool first: what moves to the store meanwhile is then seen in both.
        let spool = self.spool().map(SpoolContents::read).transpose()?;
        let mut views = Vec::new();
        for folder in self.logs()? {
            if let Some(name) = folder.name(|_| false) {
                views.push(LogView { name, store: Some(folder.list()?), spool: None });
            }
        }
        if let Some(spool) = spool
            && let Some(name) = spool.log.clone()
        {
            match views.iter_mut().find(|view| view.name == name) {
                Some(view) => view.spool = Some(spool),
                None => views.push(LogView { name, store: None, spool: Some(spool) }),
            }
        }
        views.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }
}
