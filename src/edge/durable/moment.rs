//! Moments as RFC 3339 writes them.

use crate::ids::Millis;

const DAY_S: i64 = 24 * 60 * 60;

/// Takes a moment; those before 1970 count as its beginning. None for any other text.
pub(super) fn parse(text: &str) -> Option<Millis> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, rest) = rest.split_at_checked(8)?;
    let (fraction_ms, zone) = fraction(rest)?;
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = fields(time, ':', [2, 2, 2])?;
    let real = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        // A leap second counts as the one behind it.
        && second <= 60;
    if !real {
        return None;
    }
    let seconds = days(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    let ms = (seconds - zone_s(zone)?) * 1000 + fraction_ms;
    Some(Millis(u64::try_from(ms).unwrap_or(0)))
}

/// Writes a moment in UTC.
pub(super) fn format(at: Millis) -> String {
    let (seconds, ms) = (at.0 / 1000, at.0 % 1000);
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let (year, month, day) = date(seconds.div_euclid(DAY_S));
    let second = seconds.rem_euclid(DAY_S);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = if ms == 0 { String::new() } else { format!(".{ms:03}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Three numbers of exactly these many digits.
fn fields(text: &str, between: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut out = [0; 3];
    for (number, digits) in out.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *number = whole(part)?;
    }
    parts.next().is_none().then_some(out)
}

fn whole(digits: &str) -> Option<i64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The fraction in milliseconds, and what follows it.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(text) = text.strip_prefix('.') else { return Some((0, text)) };
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(count);
    if digits.is_empty() {
        return None;
    }
    let ms: String = digits.chars().chain("00".chars()).take(3).collect();
    Some((whole(&ms)?, rest))
}

/// Seconds that a zone is ahead of UTC.
fn zone_s(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let [hour, minute, _] = fields(&format!("{}:00", &zone[1..]), ':', [2, 2, 2])?;
    (hour < 24 && minute < 60).then_some(sign * (hour * 3600 + minute * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Hinnant, `days_from_civil`): years begin
/// in March, so that the leap day is the last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date so many days from 1970-01-01 (Hinnant, `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_read_in_every_zone_and_written_in_utc() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-10-09T00:00:00Z", 1_728_432_000_000),
            ("2024-02-29t23:59:59.25z", 1_709_251_199_250),
            ("2024-10-09T02:00:00.0009+02:00", 1_728_432_000_000),
            ("2024-10-08T18:30:00-05:30", 1_728_432_000_000),
            ("1969-12-31T23:59:59Z", 0),
        ] {
            assert_eq!(parse(text), Some(Millis(ms)), "{text}");
        }
        for text in [
            "",
            "not-a-timestamp",
            "2024-10-09",
            "2024-10-09T00:00:00",
            "2024-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-10-09T24:00:00Z",
            "2024-10-09T00:00:00.Z",
            "2024-10-09T00:00:00+2:00",
            "2024-10-09T00:00:00+ä:0",
            "+024-10-09T00:00:00Z",
            "1728432000",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(format(Millis(1_709_251_199_250)), "2024-02-29T23:59:59.250Z");
        assert_eq!(format(Millis(951_782_400_000)), "2000-02-29T00:00:00Z");
    }

    proptest! {
        #[test]
        fn every_moment_comes_back(ms in 0..253_402_300_800_000_u64) {
            prop_assert_eq!(parse(&format(Millis(ms))), Some(Millis(ms)));
        }
    }
}
