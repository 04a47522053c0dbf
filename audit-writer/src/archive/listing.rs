//! The objects of one log by their names alone: what is where, and what does not belong.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::ArchiveError;
use crate::ids::SegmentNo;
use crate::merkle::Hash;
use crate::segment;
use crate::time::Timestamp;

/// So many objects that do not belong are kept by name; what is more is counted.
const MAX_STRAYS: usize = 10_000;

/// The day of a segment's folder, `date=YYYY-MM-DD`; ten ASCII bytes that stand for a day or could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date([u8; 10]);

impl Date {
    /// The day of an instant, in UTC.
    pub fn of(ts: Timestamp) -> Date {
        Date(*ts.to_bytes().first_chunk().expect("a time begins with its date of ten bytes"))
    }

    /// The folder's name.
    pub fn folder(self) -> String {
        format!("date={self}")
    }

    fn from_folder(name: &str) -> Option<Date> {
        let date: [u8; 10] = name.strip_prefix("date=")?.as_bytes().try_into().ok()?;
        let fits = |(i, b): (usize, &u8)| if i == 4 || i == 7 { *b == b'-' } else { b.is_ascii_digit() };
        date.iter().enumerate().all(fits).then_some(Date(date))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.0).expect("digits and hyphens are ASCII"))
    }
}

/// A segment's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentObject {
    /// The day of its folder.
    pub date: Date,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Every object under a log's folder, sorted by what its name makes of it.
#[derive(Debug, Clone)]
pub struct Listing {
    root: PathBuf,
    /// Whether the marker is there.
    pub marker: bool,
    /// Segments. Of several with one number, the first by date.
    pub segments: BTreeMap<SegmentNo, SegmentObject>,
    /// Segments whose number another has as well.
    pub doubles: Vec<(SegmentNo, Date)>,
    /// Checkpoints, and their sizes in bytes.
    pub checkpoints: BTreeMap<SegmentNo, u64>,
    /// Configurations, by the hash in their names.
    pub configs: Vec<Hash>,
    /// Objects and folders that the format does not know, relative to the log.
    pub strays: Vec<PathBuf>,
    /// Strays beyond those that are kept.
    pub strays_left_out: u64,
}

impl Listing {
    /// Lists the log in `root`. Checkpoints are listed before segments: a gateway writes a segment first, so that a
    /// checkpoint that is listed has its segment even while the log grows.
    pub(super) fn read(root: &Path) -> Result<Listing, ArchiveError> {
        let mut listing = Listing {
            root: root.to_owned(),
            marker: false,
            segments: BTreeMap::new(),
            doubles: Vec::new(),
            checkpoints: BTreeMap::new(),
            configs: Vec::new(),
            strays: Vec::new(),
            strays_left_out: 0,
        };
        listing.list_checkpoints()?;
        for (name, metadata) in listing.entries(Path::new(""))? {
            match (name.to_str(), metadata.is_dir()) {
                (Some("log"), false) if metadata.is_file() => listing.marker = true,
                (Some("segments"), true) => listing.list_segments()?,
                (Some("checkpoints"), true) => {}
                (Some("configs"), true) => listing.list_configs()?,
                (Some("cosignatures" | "rollups"), true) => listing.stray_contents(&name)?,
                _ => listing.stray(name),
            }
        }
        Ok(listing)
    }

    /// Lists the checkpoints anew: those after segments that were not there before are new as well.
    pub fn list_checkpoints(&mut self) -> Result<(), ArchiveError> {
        let folder = PathBuf::from("checkpoints");
        self.checkpoints.clear();
        self.strays.retain(|stray| !stray.starts_with(&folder));
        if !is_folder(&self.root.join(&folder))? {
            return Ok(());
        }
        for (name, metadata) in self.entries(&folder)? {
            match name.file_name().and_then(|name| name.to_str()).and_then(SegmentNo::from_digits) {
                Some(number) if metadata.is_file() => drop(self.checkpoints.insert(number, metadata.len())),
                _ => self.stray(name),
            }
        }
        Ok(())
    }

    /// The marker's path.
    pub fn marker_path(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The path of the segment `number`, which lies under `date`.
    pub fn segment_path(&self, number: SegmentNo, date: Date) -> PathBuf {
        self.root.join("segments").join(date.folder()).join(segment::file_name(number))
    }

    /// The path of the checkpoint after the segment `number`.
    pub fn checkpoint_path(&self, number: SegmentNo) -> PathBuf {
        self.root.join("checkpoints").join(number.digits())
    }

    /// The path of the configuration whose SHA-256 is `hash`.
    pub fn config_path(&self, hash: Hash) -> PathBuf {
        self.root.join("configs").join(format!("{hash}.yaml"))
    }

    /// The greatest number that a segment or a checkpoint has.
    pub fn last(&self) -> Option<SegmentNo> {
        let segment = self.segments.last_key_value().map(|(&number, _)| number);
        let checkpoint = self.checkpoints.last_key_value().map(|(&number, _)| number);
        segment.max(checkpoint)
    }

    fn list_segments(&mut self) -> Result<(), ArchiveError> {
        for (folder, metadata) in self.entries(Path::new("segments"))? {
            let date = folder.file_name().and_then(|name| name.to_str()).and_then(Date::from_folder);
            let Some(date) = date.filter(|_| metadata.is_dir()) else {
                self.stray(folder);
                continue;
            };
            for (name, metadata) in self.entries(&folder)? {
                let stem = name
                    .file_name()
                    .and_then(|name| name.to_str())
                    .and_then(|n| n.strip_suffix(segment::EXTENSION));
                match stem.and_then(SegmentNo::from_digits).filter(|_| metadata.is_file()) {
                    Some(number) if self.segments.contains_key(&number) => self.doubles.push((number, date)),
                    Some(number) => {
                        self.segments.insert(number, SegmentObject { date, bytes: metadata.len() });
                    }
                    None => self.stray(name),
                }
            }
        }
        Ok(())
    }

    fn list_configs(&mut self) -> Result<(), ArchiveError> {
        for (name, metadata) in self.entries(Path::new("configs"))? {
            let stem =
                name.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".yaml"));
            match stem.and_then(|stem| stem.parse().ok()).filter(|_| metadata.is_file()) {
                Some(hash) => self.configs.push(hash),
                None => self.stray(name),
            }
        }
        Ok(())
    }

    /// Reserved folders: nothing that this version knows of lies there.
    fn stray_contents(&mut self, folder: &Path) -> Result<(), ArchiveError> {
        for (name, _) in self.entries(folder)? {
            self.stray(name);
        }
        Ok(())
    }

    fn stray(&mut self, name: PathBuf) {
        if self.strays.len() < MAX_STRAYS { self.strays.push(name) } else { self.strays_left_out += 1 }
    }

    /// The entries of a folder of the log, by name; links are not followed. What vanishes meanwhile is passed over.
    fn entries(&self, folder: &Path) -> Result<Vec<(PathBuf, fs::Metadata)>, ArchiveError> {
        let path = self.root.join(folder);
        let read = |source| ArchiveError::Read { path: path.clone(), source };
        let mut entries = Vec::new();
        for entry in fs::read_dir(&path).map_err(read)? {
            let entry = entry.map_err(read)?;
            match entry.metadata() {
                Ok(metadata) => entries.push((folder.join(entry.file_name()), metadata)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ArchiveError::Read { path: entry.path(), source }),
            }
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(entries)
    }
}

fn is_folder(path: &Path) -> Result<bool, ArchiveError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(ArchiveError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing_of(files: &[&str]) -> Listing {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        Listing::read(dir.path()).unwrap()
    }

    #[test]
    fn objects_are_sorted_by_their_names() {
        let config = format!("configs/{}.yaml", Hash::ZERO);
        let listing = listing_of(&[
            "log",
            "segments/date=2026-11-24/0000000000.ndjson.zst",
            "segments/date=2026-11-25/0000000001.ndjson.zst",
            "checkpoints/0000000000",
            "checkpoints/0000000001",
            &config,
        ]);
        assert!(listing.marker);
        assert_eq!(listing.segments.keys().map(|n| n.0).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(listing.segments[&SegmentNo(1)].date.to_string(), "2026-11-25");
        assert_eq!(listing.checkpoints.len(), 2);
        assert_eq!(listing.configs, [Hash::ZERO]);
        assert_eq!((listing.strays.len(), listing.doubles.len()), (0, 0));
        assert_eq!(listing.last(), Some(SegmentNo(1)));
    }

    #[test]
    fn whatever_else_lies_there_is_a_stray() {
        let strays = [
            "note",
            "LOG",
            "segments/x",
            "segments/date=2026-11-24/0.ndjson.zst",
            "segments/date=2026-11-24/0000000000.ndjson.zst.tmp",
            "segments/date=2026-11-24/0000000000.ndjson",
            "segments/date=2026-1-24/0000000000.ndjson.zst",
            "checkpoints/1",
            "checkpoints/00000000001",
            "checkpoints/.hidden",
            "configs/a.yaml",
            "cosignatures/x",
        ];
        let listing = listing_of(&strays);
        // A folder that does not belong is one stray, whatever lies in it.
        assert_eq!(listing.strays.len(), strays.len());
        assert!(listing.segments.is_empty() && listing.checkpoints.is_empty() && listing.configs.is_empty());
        assert!(!listing.marker);
    }

    #[test]
    fn the_second_segment_of_a_number_is_a_double() {
        let listing = listing_of(&[
            "segments/date=2026-11-24/0000000000.ndjson.zst",
            "segments/date=2026-11-25/0000000000.ndjson.zst",
        ]);
        assert_eq!(listing.segments.len(), 1);
        assert_eq!(
            listing.doubles.iter().map(|(n, d)| (n.0, d.to_string())).collect::<Vec<_>>(),
            [(0, "2026-11-25".into())]
        );
    }

    #[test]
    fn links_do_not_belong() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("checkpoints")).unwrap();
        fs::write(dir.path().join("real"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("log")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("checkpoints/0000000000"))
            .unwrap();
        let listing = Listing::read(dir.path()).unwrap();
        assert!(!listing.marker && listing.checkpoints.is_empty());
        assert_eq!(listing.strays.len(), 3);
    }

    #[test]
    fn the_date_of_an_instant_is_its_day() {
        let ts: Timestamp = "2026-11-24T23:59:59.999999Z".parse().unwrap();
        assert_eq!(Date::of(ts).folder(), "date=2026-11-24");
        assert_eq!(Date::from_folder("date=2026-11-24"), Some(Date::of(ts)));
        assert_eq!(Date::from_folder("date=2026/11/24"), None);
    }
}
