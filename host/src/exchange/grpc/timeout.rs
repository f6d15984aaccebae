//! `grpc-timeout`: how long the client waits for a call, in the words of gRPC: one to eight digits and a unit.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

/// The field.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What is not a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// More digits are not allowed.
const DIGITS_MAX: usize = 8;
/// The first number that has too many.
const VALUE_END: u128 = 100_000_000;

const SECOND: u128 = 1_000_000_000;
/// The units with their nanoseconds, the finest first.
const UNITS: [(u8, u128); 6] =
    [(b'n', 1), (b'u', 1_000), (b'm', 1_000_000), (b'S', SECOND), (b'M', 60 * SECOND), (b'H', 3600 * SECOND)];

/// How long the client waits, when it says so.
pub fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Malformed> {
    let mut values = headers.get_all(GRPC_TIMEOUT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(value.as_bytes()).map(Some),
        (Some(_), Some(_)) => Err(Malformed),
    }
}

fn parse(value: &[u8]) -> Result<Duration, Malformed> {
    let (unit, digits) = value.split_last().ok_or(Malformed)?;
    let (_, nanoseconds) = UNITS.iter().find(|(letter, _)| letter == unit).ok_or(Malformed)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let value = digits.iter().fold(0, |value, digit| value * 10 + u128::from(digit - b'0'));
    Ok(from_nanoseconds(value * nanoseconds))
}

fn from_nanoseconds(count: u128) -> Duration {
    let seconds = u64::try_from(count / SECOND).unwrap_or(u64::MAX);
    Duration::new(seconds, u32::try_from(count % SECOND).unwrap_or_default())
}

/// What is left until `deadline`, for the next one to wait.
pub fn left(deadline: Instant) -> HeaderValue {
    field(deadline.saturating_duration_since(Instant::now()))
}

/// In the finest unit that has room, so that it is never more than `limit` and hardly less.
fn field(limit: Duration) -> HeaderValue {
    let fits = |(_, nanoseconds): &&(u8, u128)| limit.as_nanos() / nanoseconds < VALUE_END;
    let (unit, nanoseconds) = UNITS.iter().find(fits).unwrap_or(&UNITS[UNITS.len() - 1]);
    let value = (limit.as_nanos() / nanoseconds).min(VALUE_END - 1);
    let text = format!("{value}{}", char::from(*unit));
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("0n"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_and_a_unit_are_a_timeout() {
        let milliseconds = |text: &str| parse(text.as_bytes()).map(|timeout| timeout.as_millis());
        for (text, expected) in [
            ("1H", 3_600_000),
            ("2M", 120_000),
            ("3S", 3_000),
            ("250m", 250),
            ("5000u", 5),
            ("99999999n", 99),
            ("0n", 0),
            ("00000001S", 1_000),
            ("99999999H", 359_999_996_400_000),
        ] {
            assert_eq!(milliseconds(text), Ok(expected), "{text}");
        }
        for text in ["", "S", "1", "1s", "1h", "-1S", "+1S", "1.5S", " 1S", "1S ", "100000000n", "1 S", "1SS", "١S"] {
            assert_eq!(milliseconds(text), Err(Malformed), "{text:?}");
        }
    }

    #[test]
    fn two_timeouts_are_none() {
        let twice = [(GRPC_TIMEOUT, HeaderValue::from_static("1S")), (GRPC_TIMEOUT, HeaderValue::from_static("1S"))];
        let mut headers = HeaderMap::new();
        assert_eq!(asked(&headers), Ok(None));
        for (name, value) in twice {
            headers.append(name, value);
        }
        assert_eq!(asked(&headers), Err(Malformed));
    }

    proptest! {
        #[test]
        fn only_what_the_grammar_allows_is_a_timeout(text in "[0-9]{0,10}[HMSmunhs+. ]{0,2}") {
            let digits = text.trim_end_matches(['H', 'M', 'S', 'm', 'u', 'n']);
            let allowed = text.len() == digits.len() + 1
                && (1..=8).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_digit());
            prop_assert_eq!(parse(text.as_bytes()).is_ok(), allowed);
        }

        #[test]
        fn what_is_passed_on_is_never_more_and_hardly_less(seconds in 0_u64..400_000_000_000, nanoseconds in 0_u32..1_000_000_000) {
            let limit = Duration::new(seconds, nanoseconds);
            let passed = parse(field(limit).as_bytes()).expect("well-formed");
            prop_assert!(passed <= limit);
            let lost = limit - passed;
            prop_assert!(lost.as_nanos() * 100_000 <= limit.as_nanos() || seconds > 359_000_000_000, "{:?}", lost);
        }
    }
}
