//! Strict readers for what providers put into headers: one spelling of a value is accepted, the one the provider emits.
//! Nothing is trimmed, no case is folded, padding and trailing bits must be canonical.

/// `bytes` bytes written as lower-case hex.
pub fn hex(text: &str, bytes: usize) -> Option<Vec<u8>> {
    hex_by(text, bytes, |digit| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    })
}

/// `bytes` bytes written as upper-case hex.
pub fn hex_upper(text: &str, bytes: usize) -> Option<Vec<u8>> {
    hex_by(text, bytes, |digit| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    })
}

fn hex_by(text: &str, bytes: usize, digit: impl Fn(u8) -> Option<u8>) -> Option<Vec<u8>> {
    if text.len() != bytes.checked_mul(2)? {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Bytes as lower-case hex.
pub fn to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 })).collect()
}

/// Base64 of RFC 4648 section 4, with its padding.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    sextets(digits, b'+', b'/')
}

/// Base64 of RFC 4648 section 5 (URL-safe), without padding.
pub fn base64url(text: &str) -> Option<Vec<u8>> {
    sextets(text, b'-', b'_')
}

fn sextets(digits: &str, char62: u8, char63: u8) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        _ if digit == char62 => Some(62),
        _ if digit == char63 => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for quad in digits.as_bytes().chunks(4) {
        let mut word = 0u32;
        for &digit in quad {
            word = word << 6 | u32::from(value(digit)?);
        }
        word <<= 6 * (4 - quad.len());
        let [_, one, two, three] = word.to_be_bytes();
        match quad.len() {
            4 => bytes.extend([one, two, three]),
            3 if three == 0 => bytes.extend([one, two]),
            2 if two == 0 && three == 0 => bytes.push(one),
            _ => return None,
        }
    }
    Some(bytes)
}

/// An unsigned integer as a program prints it: digits only, no sign, no leading zero, at most 2^64 − 1.
pub fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits { text.parse().ok() } else { None }
}

/// A time of RFC 3339 as programs print it (`2026-09-21T14:13:20Z`, perhaps with a fraction, which is cut off, or with an
/// offset such as `-07:00`), in Unix seconds. None before 1970, and for leap seconds, which no clock of a provider prints.
pub fn rfc3339(text: &str) -> Option<u64> {
    let (text, east, west) = match text.strip_suffix('Z') {
        Some(text) => (text, 0, 0),
        None => {
            let (text, zone) = text.split_at_checked(text.len().checked_sub(6)?)?;
            match zone.split_at_checked(1)? {
                ("+", offset) => (text, seconds_of(offset)?, 0),
                ("-", offset) => (text, 0, seconds_of(offset)?),
                _ => return None,
            }
        }
    };
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !fraction.is_none_or(digits) || whole.len() != 19 {
        return None;
    }
    let shape = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    };
    if !whole.bytes().enumerate().all(shape) {
        return None;
    }
    let number = |from: usize, to: usize| whole.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || !(1..=days_of(year, month)?).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let leaps = |years: u64| years / 4 - years / 100 + years / 400;
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    let months: u64 = (1..month).map_while(|month| days_of(year, month)).sum();
    let local = (((years + months + day - 1) * 24 + hour) * 60 + minute) * 60 + second;
    (local + west).checked_sub(east)
}

/// An offset, `07:00`.
fn seconds_of(offset: &str) -> Option<u64> {
    let (hours, minutes) = offset.split_once(':')?;
    let two = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (hours, minutes) = (two(hours) && two(minutes)).then_some((hours, minutes))?;
    let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some((hours * 60 + minutes) * 60)
}

/// The days of a month.
fn days_of(year: u64, month: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => Some(28 + u64::from(leap)),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn base64_agrees_with_the_base64_crate(text in "[A-Za-z0-9+/=]{0,12}") {
            prop_assert_eq!(base64(&text), STANDARD.decode(&text).ok());
        }

        #[test]
        fn base64url_agrees_with_the_base64_crate(text in "[A-Za-z0-9_=-]{0,12}") {
            prop_assert_eq!(base64url(&text), URL_SAFE_NO_PAD.decode(&text).ok());
        }

        #[test]
        fn any_text_is_a_time_or_not(text in "[0-9TZ:.é-]{0,26}") {
            let _ = rfc3339(&text);
        }

        #[test]
        fn a_later_day_is_a_later_time(year in 1970u64..9999, month in 1u64..13, day in 1u64..28, second in 0u64..60) {
            let at = |day: u64| rfc3339(&format!("{year:04}-{month:02}-{day:02}T00:00:{second:02}Z")).unwrap();
            prop_assert_eq!(at(day + 1) - at(day), 86_400);
            prop_assert_eq!(at(day) % 86_400, second);
        }

        #[test]
        fn every_value_has_one_spelling(bytes in proptest::collection::vec(any::<u8>(), 0..40), number: u64) {
            let spelled: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(to_hex(&bytes), spelled.clone());
            prop_assert_eq!(hex(&spelled, bytes.len()), Some(bytes.clone()));
            prop_assert_eq!(hex_upper(&spelled.to_uppercase(), bytes.len()), Some(bytes.clone()));
            prop_assert_eq!(base64(&STANDARD.encode(&bytes)), Some(bytes));
            prop_assert_eq!(decimal(&number.to_string()), Some(number));
        }
    }

    #[test]
    fn hex_of_another_length_or_case_is_not_hex() {
        assert_eq!(hex("00ff", 2), Some(vec![0, 255]));
        for wrong in ["", "00f", "00ff0", "00ff00", "00FF", "0xff", " 0ff", "00f\u{e9}"] {
            assert_eq!(hex(wrong, 2), None, "{wrong:?}");
        }
        assert_eq!(hex_upper("00ff", 2), None);
    }

    #[test]
    fn times_are_counted_from_1970() {
        let known = [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("2026-09-21T14:13:20Z", 1_790_000_000),
            ("2026-09-21T14:13:20.999Z", 1_790_000_000),
            ("2026-09-21T07:13:20-07:00", 1_790_000_000),
            ("2026-09-21T19:43:20.5+05:30", 1_790_000_000),
            ("2100-03-01T00:00:00.000000Z", 4_107_542_400),
        ];
        for (text, seconds) in known {
            assert_eq!(rfc3339(text), Some(seconds), "{text}");
        }
        let wrong = [
            "2026-09-21T14:13:20",
            "2026-09-21 14:13:20Z",
            "2026-09-21T14:13:20+00:0",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "1969-12-31T23:59:59Z",
            "2026-1-01T00:00:00Z",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:00\u{e9}Z",
            "",
        ];
        for text in wrong {
            assert_eq!(rfc3339(text), None, "{text:?}");
        }
    }

    #[test]
    fn decimals_are_digits_only() {
        assert_eq!(decimal("18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "+1", "-1", "01", "00", " 1", "1 ", "1_0", "1.0", "1e3", "١", "18446744073709551616"] {
            assert_eq!(decimal(wrong), None, "{wrong:?}");
        }
    }
}
