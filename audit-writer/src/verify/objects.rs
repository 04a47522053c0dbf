//! The objects of a log beside segments and checkpoints, and numbers that are missing: what names alone tell.

use std::collections::HashMap;
use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::report::{FindingKind, LogReport, Place};
use super::segment::hash_from;
use crate::archive::{Listing, read_bounded};
use crate::checkpoint::{Keyring, LogName, VerifierKey};
use crate::ids::SegmentNo;
use crate::merkle::Hash;

/// No marker is larger, in bytes: some hundred keys.
const MAX_MARKER: u64 = 64 << 10;

/// The marker `<log>/log`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    v: u32,
    log: String,
    keys: Vec<String>,
}

/// Checks what needs no record: strays, missing numbers, the marker, configurations.
pub(super) fn check(listing: &Listing, name: &LogName, keys: &Keyring, report: &mut LogReport) {
    let place = || Place::log(name.as_str());
    for stray in &listing.strays {
        report.finding(
            FindingKind::Inserted,
            place(),
            format!("`{}` does not belong to a log", stray.display()),
        );
    }
    if listing.strays_left_out > 0 {
        let message = format!("{} more objects do not belong to a log", listing.strays_left_out);
        report.finding(FindingKind::Inserted, place(), message);
    }
    for &(number, date) in &listing.doubles {
        let message = format!("the segment lies under {} as well", date.folder());
        report.finding(FindingKind::Inserted, place().segment(number), message);
    }
    let numbers = listing.last().map_or(0, |last| last.0 + 1);
    for (first, last) in missing(listing.segments.keys(), numbers) {
        report.finding(FindingKind::Missing, place().segments(first, last), "no segment of this number");
    }
    for (first, last) in missing(listing.checkpoints.keys(), numbers) {
        let message = match listing.segments.last_key_value() {
            Some((&newest, _)) if first == newest && last == newest => {
                "no checkpoint of this number (a gateway that was interrupted here commits the segment when it starts again)"
            }
            _ => "no checkpoint of this number",
        };
        report.finding(FindingKind::Missing, place().segments(first, last), message);
    }
    check_marker(listing, name, keys, report);
}

/// Ranges of numbers below `end` that are not among `present`.
fn missing<'a>(present: impl Iterator<Item = &'a SegmentNo>, end: u64) -> Vec<(SegmentNo, SegmentNo)> {
    let mut expected = 0;
    let mut ranges = Vec::new();
    for number in present.copied().chain([SegmentNo(end)]) {
        if number.0 > expected {
            ranges.push((SegmentNo(expected), SegmentNo(number.0 - 1)));
        }
        expected = number.0 + 1;
    }
    ranges
}

fn check_marker(listing: &Listing, name: &LogName, keys: &Keyring, report: &mut LogReport) {
    let place = || Place::log(name.as_str());
    if !listing.marker {
        return report.finding(FindingKind::Missing, place(), "the marker `log` is not there");
    }
    let path = listing.marker_path();
    let bytes = match read_bounded(&path, MAX_MARKER) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::Other => {
            return report.finding(FindingKind::Changed, place(), format!("the marker `log`: {error}"));
        }
        Err(error) => return report.unreadable(&path, error),
    };
    let marker = match serde_json::from_slice::<Marker>(&bytes) {
        Ok(marker) => marker,
        Err(error) => {
            return report.finding(FindingKind::Changed, place(), format!("the marker `log`: {error}"));
        }
    };
    if marker.v != 1 || marker.log != name.as_str() || marker.keys.is_empty() {
        let message = "the marker `log` is not version 1, of this log, with at least one key";
        return report.finding(FindingKind::Changed, place(), message);
    }
    if serde_json::to_vec(&marker).ok().as_deref() != Some(&bytes) {
        return report.finding(FindingKind::Changed, place(), "the marker `log` is not in its one encoding");
    }
    // That there is no key at all for the log was said already.
    let trusted = keys.of(name);
    for key in &marker.keys {
        match key.parse::<VerifierKey>() {
            Ok(key) if trusted.is_empty() || trusted.contains(&key) => {}
            Ok(key) => {
                let message =
                    format!("the marker `log` names the key {}, which is not trusted", key.key_id());
                report.finding(FindingKind::UnknownKey, place(), message);
            }
            Err(error) => report.finding(FindingKind::Changed, place(), format!("the marker `log`: {error}")),
        }
    }
}

/// Checks that each configuration is what its name says, and that those that served are there.
pub(super) fn check_configs(
    listing: &Listing,
    name: &LogName,
    served: &HashMap<Hash, Place>,
    report: &mut LogReport,
) {
    for &config in &listing.configs {
        let path = listing.config_path(config);
        match File::open(&path).and_then(|file| hash_from(&file, 0)) {
            Ok(found) => {
                if found != config {
                    let message = format!("`configs/{config}.yaml` hashes to {found}");
                    report.finding(FindingKind::Changed, Place::log(name.as_str()), message);
                }
            }
            Err(error) => report.unreadable(&path, error),
        }
    }
    let mut absent: Vec<_> = served.iter().filter(|(config, _)| !listing.configs.contains(config)).collect();
    absent.sort_by_key(|(_, place)| place.seq);
    for (config, place) in absent {
        let message = format!("`configs/{config}.yaml`, which the `start` record names, is not there");
        report.finding(FindingKind::Missing, place.clone(), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_numbers_are_told_as_ranges_however_many_they_are() {
        let missing = |numbers: &[u64], end| {
            let numbers: Vec<SegmentNo> = numbers.iter().map(|&n| SegmentNo(n)).collect();
            super::missing(numbers.iter(), end).iter().map(|(a, b)| (a.0, b.0)).collect::<Vec<_>>()
        };
        assert_eq!(missing(&[], 0), []);
        assert_eq!(missing(&[0, 1, 2], 3), []);
        assert_eq!(missing(&[], 3), [(0, 2)]);
        assert_eq!(missing(&[1, 4], 6), [(0, 0), (2, 3), (5, 5)]);
        assert_eq!(missing(&[0, 9_999_999_999], 10_000_000_000), [(1, 9_999_999_998)]);
    }
}
