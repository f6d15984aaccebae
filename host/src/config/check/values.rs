//! Values that several tables share: numbers, sizes, durations, addresses, words, references.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use crate::base::sizes::{self, ByteSize};
use crate::config::raw::{Item, NAME_HELP, closest};

/// Longer ones overflow timers and are mistakes: ten years.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

const DURATION: &str = "a duration such as \"30s\" (ms, s, m, h, d)";
const SIZE: &str = "a size such as \"64KiB\" (B, KiB, MiB, GiB, KB, MB, GB)";

impl<'r> Item<'r> {
    /// A whole number within `range`.
    pub(super) fn integer<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<T> {
        let number = match self.value() {
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => return self.wrong("a whole number"),
        };
        let in_range = number.filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
        in_range.or_else(|| self.wrong(&format!("a whole number from {} to {}", range.start(), range.end())))
    }

    /// How many of something there may be: from 1.
    pub(super) fn count(&self) -> Option<usize> {
        self.integer(1..=i64::from(u32::MAX))
    }

    /// A number within `range`, with or without a fraction.
    pub(super) fn fraction(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let number = match self.value() {
            DeValue::Integer(integer) => integer.as_str().parse().ok(),
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            _ => None,
        };
        let in_range = number.filter(|number| range.contains(number));
        in_range.or_else(|| self.wrong(&format!("a number from {} to {}", range.start(), range.end())))
    }

    /// A size above zero.
    pub(super) fn size(&self) -> Option<ByteSize> {
        let size = self.as_text().and_then(ByteSize::parse).filter(|size| size.0 > 0);
        size.or_else(|| self.wrong(SIZE))
    }

    /// A size above zero; `Some(None)` is `"off"`.
    pub(super) fn size_or_off(&self) -> Option<Option<ByteSize>> {
        if self.as_text() == Some("off") { Some(None) } else { self.size().map(Some) }
    }

    /// A duration above zero.
    pub(super) fn duration(&self) -> Option<Duration> {
        let duration = self.delay()?;
        if duration.is_zero() { self.wrong("a duration above zero") } else { Some(duration) }
    }

    /// A duration that may be zero.
    pub(super) fn delay(&self) -> Option<Duration> {
        let duration = self.as_text().and_then(sizes::parse_duration).filter(|duration| *duration <= DURATION_MAX);
        duration.or_else(|| self.wrong(DURATION))
    }

    /// A duration above zero; `Some(None)` is `"off"`.
    pub(super) fn duration_or(&self, off: &str) -> Option<Option<Duration>> {
        if self.as_text() == Some(off) { Some(None) } else { self.duration().map(Some) }
    }

    /// An address to listen on.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let expected = "an address with a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"";
        let text = self.text_as(expected)?;
        let help = || match text.strip_prefix(':') {
            Some(port) if port.parse::<u16>().is_ok() => {
                Some(format!("every address is written \"0.0.0.0:{port}\" or \"[::]:{port}\""))
            }
            _ => text.parse::<IpAddr>().ok().map(|ip| format!("did you mean \"{}\"?", SocketAddr::new(ip, 8080))),
        };
        text.parse().ok().or_else(|| self.wrong_with(expected, help()))
    }

    /// A range of addresses; one address is a range of its own.
    pub(super) fn network(&self) -> Option<IpNet> {
        let expected = "an address range such as \"10.0.0.0/8\"";
        let text = self.text_as(expected)?;
        let parsed = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let network: IpNet = parsed.or_else(|| self.wrong(expected))?;
        if network.trunc() != network {
            return self.wrong_with(expected, Some(format!("did you mean \"{}\"?", network.trunc())));
        }
        Some(network)
    }

    /// One of a few words, each of which stands for a value.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let expected = words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(" or ");
        let text = self.text_as(&expected)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.or_else(|| {
            let near = closest(text, words.iter().map(|(word, _)| *word));
            self.wrong_with(&expected, near.map(|near| format!("did you mean {near:?}?")))
        })
    }

    /// A name of the configuration that need not be written in it.
    pub(super) fn name<K>(&self, new: fn(&str) -> Option<K>) -> Option<K> {
        let text = self.text_as("a name")?;
        new(text).or_else(|| self.wrong_with("a name", Some(NAME_HELP.to_owned())))
    }

    /// The name of one of the tables `[kind.NAME]`, all of which are in `names`.
    pub(super) fn reference<K>(&self, kind: &str, names: &BTreeSet<&str>, new: fn(&str) -> Option<K>) -> Option<K> {
        let text = self.text_as(&format!("the name of a {kind}"))?;
        if names.contains(text) {
            // A name of a wrong form is a problem where it is defined.
            return new(text);
        }
        let near = closest(text, names.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        let help = near.unwrap_or_else(|| format!("there is no [{kind}.{text}]"));
        self.reading.report_absent(self.problem(format!("unknown {kind} `{text}`")).help(help));
        None
    }

    /// A path in the file system, absolute.
    pub(super) fn file(&self) -> Option<PathBuf> {
        match self.text()? {
            text if text.is_empty() || text.contains('\0') => self.wrong("the path of a file"),
            text => Some(self.reading.absolute(text)),
        }
    }
}
