//! What a certificate says of itself that rustls does not tell: for which hosts it is, and until when.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::base::clock::Timestamp;

const SEQUENCE: u8 = 0x30;
const EXPLICIT_0: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The hosts it is for, lower case; a wildcard is written `*.example.com`. Empty when it names none, or cannot be read.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    parsed.valid_dns_names().map(str::to_ascii_lowercase).collect()
}

/// When it runs out (RFC 5280, section 4.1.2.5); `None` when it cannot be read.
pub(super) fn expires(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&EXPLICIT_0) {
        rest = element(rest)?.2;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (tag, validity, _) = element(rest)?;
    let (_, _, rest) = element(validity).filter(|_| tag == SEQUENCE)?;
    let (tag, text, _) = element(rest)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// Two digits of the year mean 1950 to 2049.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let text = match tag {
        UTC_TIME => format!("{}{text}", if text >= "50" { "19" } else { "20" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let digits = text.strip_suffix('Z').filter(|digits| digits.len() == 14 && digits.is_ascii())?;
    let at = |range: std::ops::Range<usize>| &digits[range];
    let (date, hour, minute, second) =
        (format!("{}-{}-{}", at(0..4), at(4..6), at(6..8)), at(8..10), at(10..12), at(12..14));
    Timestamp::parse(&format!("{date}T{hour}:{minute}:{second}Z"))
}

/// The first element of DER: its tag, its content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ ..0x80 => (usize::from(short), rest),
        long => {
            let count = usize::from(long & 0x7f);
            let (digits, rest) = rest.split_at_checked(count).filter(|_| (1..=4).contains(&count))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn times_have_two_digits_of_the_year_or_four() {
        let shown = |tag, text| time(tag, text).map(|time| time.to_string());
        assert_eq!(shown(UTC_TIME, "491231235959Z").as_deref(), Some("2049-12-31T23:59:59.000Z"));
        assert_eq!(shown(UTC_TIME, "500101000000Z").as_deref(), Some("1950-01-01T00:00:00.000Z"));
        assert_eq!(shown(GENERALIZED_TIME, "21260101000000Z").as_deref(), Some("2126-01-01T00:00:00.000Z"));
        assert_eq!(shown(GENERALIZED_TIME, "21260101000000+0100"), None);
        assert_eq!(shown(UTC_TIME, "ä0101000000Z"), None);
    }

    #[test]
    fn what_is_cut_has_no_end() {
        let whole = CertificateDer::from_pem_slice(include_bytes!("../base/pem/sec1.pem")).expect("a certificate");
        assert!(expires(&whole).expect("a time") > Timestamp::from_seconds(4_000_000_000));
        for length in 0..whole.len() {
            assert_eq!(expires(&CertificateDer::from(&whole[..length])), None, "{length}");
        }
        assert!(names(&whole).is_empty());
    }
}
