//! Moments as RFC 3339 writes them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ids::Millis;

/// Takes a moment; those before 1970 count as its beginning. None for any other text.
pub fn parse(text: &str) -> Option<Millis> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let ms = moment.unix_timestamp_nanos() / 1_000_000;
    Some(Millis(u64::try_from(ms.max(0)).ok()?))
}

/// Writes a moment in UTC; the last one that has a year of four digits, where it is later.
pub fn format(at: Millis) -> String {
    const LAST_MS: u64 = 253_402_300_799_999;
    let nanos = i128::from(at.0.min(LAST_MS)) * 1_000_000;
    let moment =
        OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("its year has four digits");
    moment.format(&Rfc3339).expect("its year has four digits")
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
            "+024-10-09T00:00:00Z",
            "1728432000",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(format(Millis(1_709_251_199_250)), "2024-02-29T23:59:59.25Z");
        assert_eq!(format(Millis(951_782_400_000)), "2000-02-29T00:00:00Z");
        assert_eq!(format(Millis(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }

    proptest! {
        #[test]
        fn every_moment_comes_back(ms in 0..253_402_300_800_000_u64) {
            prop_assert_eq!(parse(&format(Millis(ms))), Some(Millis(ms)));
        }
    }
}
