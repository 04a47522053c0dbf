//! Where segments and checkpoints go: objects by name, created once, never changed.
//!
//! ```text
//! <log>/log                                              marker
//! <log>/segments/date=YYYY-MM-DD/NNNNNNNNNN.ndjson.zst
//! <log>/checkpoints/NNNNNNNNNN
//! <log>/configs/<sha256>.yaml
//! ```

mod dir;

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

pub use dir::DirectoryStore;

use crate::checkpoint::LogName;
use crate::ids::SegmentNo;
use crate::merkle::Hash;
use crate::time::Timestamp;

/// A store's operations. Every object is create-only.
pub trait Store: Send + Sync + fmt::Debug {
    /// Creates an object. One that exists with the same bytes is a retry that succeeded.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where it exists with other bytes; [`StoreError::Unavailable`] where the store cannot
    /// be asked.
    fn put_new(&self, name: &str, content: Content<'_>) -> Result<(), StoreError>;

    /// All of an object, if it is there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// The names directly below a folder, in no order; none where the folder is not there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError>;

    /// Makes what a new log needs before its first object. Only at a log's creation: a store that is away must not
    /// be taken for an empty one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn prepare(&self) -> Result<(), StoreError>;

    /// Where the store is, for messages.
    fn location(&self) -> String;
}

/// What is put.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// The bytes of a local file.
    File(&'a Path),
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not be asked, or failed: to be tried again.
    #[error("the store {location} is not available ({doing} `{name}`)")]
    Unavailable {
        /// Where it is.
        location: String,
        /// What was tried.
        doing: &'static str,
        /// On which object.
        name: String,
        /// What it said.
        source: io::Error,
    },
    /// An object that should be created is there already, with other bytes.
    #[error("`{name}` is in the store {location} with other bytes (SHA-256 {found}, ours {ours})")]
    Conflict {
        /// Where it is.
        location: String,
        /// The object.
        name: String,
        /// SHA-256 of what should be put.
        ours: Hash,
        /// SHA-256 of what is there.
        found: Hash,
    },
}

/// The names of one log's objects.
#[derive(Clone, Debug)]
pub struct Layout(LogName);

impl Layout {
    /// Of `log`.
    pub fn new(log: LogName) -> Layout {
        Layout(log)
    }
    /// The create-only marker.
    pub fn marker(&self) -> String {
        format!("{}/log", self.0)
    }
    /// The folder of the segments' dates.
    pub fn segments(&self) -> String {
        format!("{}/segments", self.0)
    }
    /// A segment; `object` is [`crate::segment::object_name`].
    pub fn segment(&self, object: &str) -> String {
        format!("{}/{object}", self.0)
    }
    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> String {
        format!("{}/checkpoints", self.0)
    }
    /// The checkpoint after a segment.
    pub fn checkpoint(&self, segment: SegmentNo) -> String {
        format!("{}/checkpoints/{}", self.0, segment.digits())
    }
    /// A configuration that served.
    pub fn config(&self, sha256: Hash) -> String {
        format!("{}/configs/{sha256}.yaml", self.0)
    }
}

/// The number of the newest checkpoint in the store.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub fn newest_checkpoint(store: &dyn Store, layout: &Layout) -> Result<Option<SegmentNo>, StoreError> {
    let names = store.list(&layout.checkpoints())?;
    Ok(names.iter().filter_map(|name| SegmentNo::from_digits(name)).max())
}

/// The name of a segment's object, searched under every date from that of `not_before` on, the newest first.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub fn find_segment(
    store: &dyn Store,
    layout: &Layout,
    segment: SegmentNo,
    not_before: Timestamp,
) -> Result<Option<String>, StoreError> {
    let folder = layout.segments();
    let oldest = format!("date={}", &not_before.to_string()[..10]);
    let mut dates = store.list(&folder)?;
    dates.retain(|date| *date >= oldest);
    dates.sort_unstable_by(|a, b| b.cmp(a));
    let file = crate::segment::file_name(segment);
    for date in dates {
        let folder = format!("{folder}/{date}");
        if store.list(&folder)?.contains(&file) {
            return Ok(Some(format!("{folder}/{file}")));
        }
    }
    Ok(None)
}

/// The SHA-256 of what a reader gives.
fn digest(mut reader: impl Read) -> io::Result<Hash> {
    use sha2::{Digest, Sha256};
    let mut sha256 = Sha256::new();
    let mut chunk = vec![0; 256 << 10];
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(Hash(sha256.finalize().into())),
            Ok(len) => sha256.update(&chunk[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
