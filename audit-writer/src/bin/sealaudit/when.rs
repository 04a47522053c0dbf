//! Times and durations as they are typed.

use std::time::Duration;

use audit_writer::time::Timestamp;

/// A duration: `500ms`, `90s`, `10m`, `12h`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}`: expected a duration like 90s, 10m, 12h or 7d");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| format!("`{text}` is too long"))
}

/// An instant: RFC 3339, a date (its beginning, in UTC), or a duration ago.
pub(crate) fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = duration(text) {
        let micros = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
        return Ok(Timestamp::from_micros(Timestamp::now().as_micros().saturating_sub(micros)));
    }
    let is_date = text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok();
    let instant = if is_date { format!("{text}T00:00:00Z").parse() } else { text.parse::<jiff::Timestamp>() };
    let micros = instant.ok().and_then(|instant| u64::try_from(instant.as_microsecond()).ok());
    micros.map(Timestamp::from_micros).ok_or_else(|| {
        format!("`{text}`: expected a time like 2026-11-24T09:12:03Z, a date like 2026-11-24, or 15m or 7d for so long ago")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_in_each_of_their_forms() {
        let at = |text: &str| instant(text).unwrap().to_string();
        assert_eq!(at("2026-11-24T09:12:03Z"), "2026-11-24T09:12:03.000000Z");
        assert_eq!(at("2026-11-24T09:12:03.123456+02:00"), "2026-11-24T07:12:03.123456Z");
        assert_eq!(at("2026-11-24"), "2026-11-24T00:00:00.000000Z");
        let ago = Timestamp::now().since(instant("15m").unwrap()).as_secs();
        assert!((899..=905).contains(&ago), "{ago}");
    }

    #[test]
    fn durations_have_one_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("400d"), Ok(Duration::from_secs(400 * 86_400)));
        for bad in
            ["", "m", "10", "10 m", "-1s", "1.5h", "10min", "99999999999999999999s", "999999999999999999d"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        for bad in ["", "yesterday", "2026-13-01", "09:12", "2026-11-24T09:12:03", "1960-01-01"] {
            assert!(instant(bad).unwrap_err().contains("expected a time like"), "{bad}");
        }
    }
}
