//! Instants on the log: microseconds since the Unix epoch, always written with 27 bytes.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since 1970-01-01T00:00:00Z, between the years 1970 and 9999.
///
/// Its text form has always 27 bytes, `2026-11-24T09:12:03.123456Z` (RFC 3339, section 5.6), so that texts
/// order as the instants do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// The text is not a timestamp of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a time like 2026-11-24T09:12:03.123456Z (27 bytes), found {found:?}")]
pub struct BadTimestamp {
    found: String,
}

/// 9999-12-31T23:59:59.999999Z.
const LAST: u64 = 253_402_300_799_999_999;
const DAY_SECONDS: u64 = 86_400;

impl Timestamp {
    /// The bytes of the text form.
    pub const LEN: usize = 27;

    /// The system clock's time.
    pub fn now() -> Timestamp {
        #[cfg(test)]
        if let Some(now) = crate::simulation::clock::now() {
            return now;
        }
        SystemTime::now().into()
    }

    /// `micros` since the Unix epoch; what lies past the year 9999 is held there.
    pub const fn from_micros(micros: u64) -> Timestamp {
        Timestamp(if micros > LAST { LAST } else { micros })
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero where `earlier` is later.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The text form.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let (seconds, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let (year, month, day) = civil(seconds / DAY_SECONDS);
        let of_day = seconds % DAY_SECONDS;
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        digits(&mut text[11..13], of_day / 3600);
        digits(&mut text[14..16], of_day / 60 % 60);
        digits(&mut text[17..19], of_day % 60);
        digits(&mut text[20..26], micros);
        text
    }

    /// Reads the text form, and nothing else: a date that does not exist, a leap second, another length or
    /// offset is refused.
    pub fn parse(text: &[u8]) -> Option<Timestamp> {
        let pattern = b"dddd-dd-ddTdd:dd:dd.ddddddZ";
        let fits = text.len() == Self::LEN
            && text.iter().zip(pattern).all(|(b, p)| if *p == b'd' { b.is_ascii_digit() } else { b == p });
        if !fits {
            return None;
        }
        let number =
            |range: std::ops::Range<usize>| text[range].iter().fold(0, |n, b| n * 10 + u64::from(b - b'0'));
        let (year, month, day) = (number(0..4), number(5..7), number(8..10));
        let (hour, minute, second) = (number(11..13), number(14..16), number(17..19));
        if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = days_from_civil(year, month, day);
        if civil(days) != (year, month, day) {
            return None;
        }
        let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second;
        Some(Timestamp(seconds * 1_000_000 + number(20..26)))
    }
}

/// Writes `value` in decimal over the whole of `out`.
fn digits(out: &mut [u8], mut value: u64) {
    for place in out.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The Gregorian date of a day counted from 1970-01-01. Years are counted from March, so that the leap day is
/// the last of its year, within eras of 400 years (146,097 days).
fn civil(days: u64) -> (u64, u64, u64) {
    let since_year_0 = days + 719_468;
    let (era, day_of_era) = (since_year_0 / 146_097, since_year_0 % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    (era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year)
        .wrapping_sub(719_468)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.to_bytes()).expect("digits and ASCII punctuation are UTF-8"))
    }
}

impl FromStr for Timestamp {
    type Err = BadTimestamp;
    fn from_str(text: &str) -> Result<Timestamp, BadTimestamp> {
        Timestamp::parse(text.as_bytes())
            .ok_or_else(|| BadTimestamp { found: text.chars().take(64).collect() })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(
            std::str::from_utf8(&self.to_bytes()).expect("digits and ASCII punctuation are UTF-8"),
        )
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_text_is_what_a_calendar_library_says(micros in 0..=LAST) {
            let expected = jiff::Timestamp::from_microsecond(micros as i64).expect("in range");
            let text = Timestamp::from_micros(micros).to_string();
            prop_assert_eq!(&text, &format!("{expected:.6}"));
            prop_assert_eq!(text.parse::<Timestamp>(), Ok(Timestamp::from_micros(micros)));
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_exactly(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(time) = Timestamp::parse(&text) {
                prop_assert_eq!(&time.to_bytes()[..], &text[..]);
            }
        }
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in [
            "",
            "2026-11-24",
            "2026-02-29T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-00-10T00:00:00.000000Z",
            "2026-01-00T00:00:00.000000Z",
            "2026-01-01T24:00:00.000000Z",
            "2026-12-31T23:59:60.000000Z",
            "1969-12-31T23:59:59.999999Z",
            "2026-11-24T09:12:03.123456+",
            "0000-01-01T00:00:00.000000Z",
            "2026-11-24T09:12:03.12345678Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
        assert!("2024-02-29T00:00:00.000000Z".parse::<Timestamp>().is_ok());
    }
}
