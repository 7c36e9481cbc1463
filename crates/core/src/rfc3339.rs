//! Points in time as text: RFC 3339 section 5.6 `date-time`, and nothing wider.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// In UTC, to the millisecond.
pub fn format(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Reads a `date-time`. Digits of the second beyond the ninth are refused; a leap second reads as the one before it.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (head, tail) = text.as_bytes().split_first_chunk::<19>()?;
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        mo1,
        mo2,
        b'-',
        d1,
        d2,
        b'T' | b't',
        h1,
        h2,
        b':',
        mi1,
        mi2,
        b':',
        s1,
        s2,
    ] = head
    else {
        return None;
    };
    let [year, month, day] = [
        number(&[*y1, *y2, *y3, *y4])?,
        number(&[*mo1, *mo2])?,
        number(&[*d1, *d2])?,
    ];
    let [hour, minute, second] = [
        number(&[*h1, *h2])?,
        number(&[*mi1, *mi2])?,
        number(&[*s1, *s2])?,
    ];
    let (nanosecond, zone) = match tail {
        [b'.', rest @ ..] => {
            let (digits, zone) =
                rest.split_at(rest.iter().take_while(|b| b.is_ascii_digit()).count());
            let scale =
                10_i32.checked_pow(9_u32.checked_sub(u32::try_from(digits.len()).ok()?)?)?;
            (number(digits)?.checked_mul(scale)?, zone)
        }
        zone => (0, zone),
    };
    let offset = match zone {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (
                number(&[*h1, *h2]).filter(|hours| *hours < 24)?,
                number(&[*m1, *m2]).filter(|minutes| *minutes < 60)?,
            );
            (hours * 60 + minutes) * if *sign == b'-' { -60 } else { 60 }
        }
        _ => return None,
    };
    let small = |value: i32| i8::try_from(value).ok();
    let second = if second == 60 { 59 } else { second };
    let civil = DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        nanosecond,
    )
    .ok()?;
    Offset::from_seconds(offset).ok()?.to_timestamp(civil).ok()
}

/// One to nine digits.
fn number(digits: &[u8]) -> Option<i32> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |number: i32, digit| {
        if digit.is_ascii_digit() {
            Some(number * 10 + i32::from(digit - b'0'))
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn date_times_are_rfc_3339_and_nothing_wider() {
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.123456789Z",
            "2026-01-02t03:04:05z",
            "2026-01-02T03:04:05.1+05:30",
            "2024-02-29T00:00:00-00:00",
            "1990-12-31T23:59:60Z",
        ] {
            assert_eq!(parse(text), Some(text.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05.1234567890Z",
            "2026-01-02T03:04:05+0530",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T03:04:05+00:60",
            "2026-13-02T03:04:05Z",
            "2026-02-30T03:04:05Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:61Z",
            "20260102T030405Z",
            "2026-01-02T03:04:05Z[UTC]",
            "+002026-01-02T03:04:05Z",
            "2026-01-02T03:04:05Zulu",
            "2026-01-02T03:04:05.5",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_to_the_millisecond(millis in -62_135_596_800_000_i64..253_402_207_200_000) {
            let time = Timestamp::from_millisecond(millis).unwrap();
            prop_assert_eq!(parse(&format(time)), Some(time));
        }

        #[test]
        fn offsets_are_read_as_the_library_reads_them(text in "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?[+-][012][0-9]:[0-5][0-9]") {
            prop_assume!(text.get(text.len() - 5..).is_none_or(|offset| offset < "24:00"));
            prop_assert_eq!(parse(&text), text.parse::<Timestamp>().ok());
        }
    }
}
