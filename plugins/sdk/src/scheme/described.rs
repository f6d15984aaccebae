//! Signatures described by a route's options: what `hmac` and `ed25519` share.

use super::content::{Content, Filled};
use super::mac::Digits;
use super::source::Source;
use super::url::PublicUrl;
use crate::about::Setting;
use crate::encoding;
use crate::request::Call;
use crate::settings::{Problems, Settings};
use crate::verdict::{Event, Refusal};

/// The options.
pub const SETTINGS: [Setting; 14] = [
    Setting::text("header", "the header with the signature").required(),
    Setting::text("prefix", "what stands before each signature, such as `sha256=`"),
    Setting::text("separator", "what stands between several signatures or fields in the header"),
    Setting::text("signature_field", "the name of a signature, where the header is a list of `name=value`"),
    Setting::text("timestamp_field", "the name of the time, where the header is a list of `name=value`"),
    Setting::text("encoding", "of the signature: `hex` (default), `base64` or `base64url`"),
    Setting::text("content", "what is signed, such as `{timestamp}.{body}` (default: `{body}`)"),
    Setting::text("timestamp_header", "the header with the time"),
    Setting::text("timestamp_unit", "of the time: `seconds` (default), `milliseconds` or `rfc3339`"),
    Setting::text("id_header", "the header with the event's id"),
    Setting::text("id_pointer", "the event's id in the body, as a JSON Pointer"),
    Setting::text("type_header", "the header with the event's type"),
    Setting::text("type_pointer", "the event's type in the body, as a JSON Pointer"),
    PublicUrl::SETTING,
];

/// `SETTINGS` after a plugin's own.
pub const fn with_settings<const OWN: usize, const ALL: usize>(own: [Setting; OWN]) -> [Setting; ALL] {
    assert!(OWN + SETTINGS.len() == ALL, "the number of all settings");
    let mut all = [SETTINGS[0]; ALL];
    let mut at = 0;
    while at < ALL {
        all[at] = if at < OWN { own[at] } else { SETTINGS[at - OWN] };
        at += 1;
    }
    all
}

/// A scheme described by [`SETTINGS`].
#[derive(Debug)]
pub struct Described {
    header: String,
    prefix: String,
    separator: Option<String>,
    signature_field: Option<String>,
    timestamp_field: Option<String>,
    digits: Digits,
    content: Content,
    timestamp_header: Option<String>,
    unit: Unit,
    id: Source,
    kind: Source,
    url: PublicUrl,
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Seconds,
    Milliseconds,
    Rfc3339,
}

/// The signatures of one request, and what they must be of.
pub struct Offered {
    /// Each of the size asked for.
    pub signatures: Vec<Vec<u8>>,
    filled: Filled,
    timestamp: Option<u64>,
    id: Option<String>,
}

impl Offered {
    /// What is signed.
    pub fn content(&self) -> Vec<crate::Part<'_>> {
        self.filled.parts()
    }
}

impl Described {
    /// From a route's options. Every problem at once.
    pub fn of(settings: &Settings) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let own = |key: &str| settings.text(key).map(str::to_owned);
        for key in ["header", "separator", "signature_field", "timestamp_field", "timestamp_header"] {
            if settings.text(key) == Some("") {
                problems.add(key, "expected a text that is not empty");
            }
        }
        let digits = digits(settings, &mut problems);
        let unit = unit(settings, &mut problems);
        let content = Content::read(settings.text("content").unwrap_or("{body}")).unwrap_or_else(|message| {
            problems.add("content", message);
            Content::read("{body}").unwrap_or_else(|_| crate::host::fault("the default content"))
        });
        let url = PublicUrl::of(settings).unwrap_or_else(|Problems(found)| {
            problems.0.extend(found);
            PublicUrl::received()
        });
        let described = Self {
            header: own("header").unwrap_or_default(),
            prefix: own("prefix").unwrap_or_default(),
            separator: own("separator"),
            signature_field: own("signature_field"),
            timestamp_field: own("timestamp_field"),
            digits,
            content,
            timestamp_header: own("timestamp_header"),
            unit,
            id: Source::of(settings, "id_header", "id_pointer", &mut problems),
            kind: Source::of(settings, "type_header", "type_pointer", &mut problems),
            url,
        };
        described.check(&mut problems);
        if problems.0.is_empty() { Ok(described) } else { Err(problems) }
    }

    /// What only makes sense together.
    fn check(&self, problems: &mut Problems) {
        if self.signature_field.is_some() && self.separator.is_none() {
            problems.add("separator", "expected what stands between the fields, such as \",\"");
        }
        if self.timestamp_field.is_some() && self.signature_field.is_none() {
            problems.add("signature_field", "expected the name of a signature beside `timestamp_field`");
        }
        if self.timestamp_field.is_some() && self.timestamp_header.is_some() {
            problems.add("timestamp_header", "the time is in `timestamp_field` already");
        }
        let timed = self.timestamp_field.is_some() || self.timestamp_header.is_some();
        if self.content.has_timestamp() && !timed {
            problems.add("content", "`{timestamp}` needs `timestamp_header` or `timestamp_field`");
        }
        if timed && !self.content.has_timestamp() {
            problems.add("content", "expected `{timestamp}`: a time that is not signed proves nothing");
        }
        if self.content.has_id() && !matches!(self.id, Source::Header(_)) {
            problems.add("content", "`{id}` needs `id_header`");
        }
        if !self.content.has_body() {
            problems.add("content", "expected `{body}`: what is not signed anybody may change");
        }
    }

    /// The signatures, each of `size` bytes, and the content.
    pub fn offered(&self, call: &Call<'_>, size: usize) -> Result<Offered, Refusal> {
        let header = call.required(&self.header)?;
        let signatures = self.signatures(&header, size).ok_or_else(|| Refusal::malformed(&self.header))?;
        let written = match (&self.timestamp_field, &self.timestamp_header) {
            (Some(name), _) => Some(self.field(&header, name).ok_or_else(|| Refusal::malformed(&self.header))?),
            (None, Some(name)) => Some(call.required(name)?),
            (None, None) => None,
        };
        let seconds = |text: &String| self.unit.read(text).ok_or_else(|| Refusal::malformed("timestamp"));
        let timestamp = written.as_ref().map(seconds).transpose()?;
        let id = self.id.read(call)?;
        let filled = self.content.fill(call, &self.url, written.as_deref(), id.as_deref())?;
        Ok(Offered { signatures, filled, timestamp, id })
    }

    /// The event of a request whose signature was checked.
    pub fn event(&self, call: &Call<'_>, offered: Offered) -> Result<Event, Refusal> {
        let signed = match &self.id {
            Source::Header(name) => self.content.has_id() || self.content.has_header(name),
            // The body is always part of the content.
            Source::Pointer(_) | Source::Nowhere => true,
        };
        let event = if signed { Event::new().signed_id(offered.id) } else { Event::new().unsigned_id(offered.id) };
        let event = event.kind(self.kind.read(call)?);
        Ok(offered.timestamp.into_iter().fold(event, Event::timestamp))
    }

    /// A lone signature must be well formed; in a list, what is none is passed over.
    fn signatures(&self, header: &str, size: usize) -> Option<Vec<Vec<u8>>> {
        let one = |text: &str| self.digits.read(text.strip_prefix(self.prefix.as_str())?, size);
        let Some(separator) = &self.separator else { return Some(vec![one(header)?]) };
        let items = header.split(separator.as_str());
        Some(match &self.signature_field {
            None => items.filter_map(one).collect(),
            Some(name) => items.filter_map(|item| one(value(item, name)?)).collect(),
        })
    }

    /// The only value of a field of the list.
    fn field(&self, header: &str, name: &str) -> Option<String> {
        let mut values = header.split(self.separator.as_deref()?).filter_map(|item| value(item, name));
        values.next().filter(|_| values.next().is_none()).map(str::to_owned)
    }
}

fn value<'a>(item: &'a str, name: &str) -> Option<&'a str> {
    item.strip_prefix(name)?.strip_prefix('=')
}

fn digits(settings: &Settings, problems: &mut Problems) -> Digits {
    match settings.text("encoding").unwrap_or("hex") {
        "base64" => Digits::Base64,
        "base64url" => Digits::Base64Url,
        other => {
            if other != "hex" {
                problems.add("encoding", "expected `hex`, `base64` or `base64url`");
            }
            Digits::Hex
        }
    }
}

fn unit(settings: &Settings, problems: &mut Problems) -> Unit {
    match settings.text("timestamp_unit").unwrap_or("seconds") {
        "milliseconds" => Unit::Milliseconds,
        "rfc3339" => Unit::Rfc3339,
        other => {
            if other != "seconds" {
                problems.add("timestamp_unit", "expected `seconds`, `milliseconds` or `rfc3339`");
            }
            Unit::Seconds
        }
    }
}

impl Unit {
    fn read(self, text: &str) -> Option<u64> {
        match self {
            Self::Seconds => encoding::decimal(text),
            Self::Milliseconds => Some(encoding::decimal(text)? / 1000),
            Self::Rfc3339 => encoding::rfc3339(text),
        }
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;
    use crate::About;

    fn problems(options: &str) -> Vec<String> {
        const ABOUT: About = About::new("test", "none").settings(&SETTINGS);
        let found = Described::of(&Settings::check(&ABOUT, options).expect("declared settings"));
        found.err().unwrap_or_default().0.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn every_problem_names_its_key() {
        assert!(problems(r#"{"header":"x"}"#).is_empty());
        let wrong = r#"{"header":"","encoding":"octal","timestamp_unit":"days","content":"{x}","id_pointer":"id","public_url":"x"}"#;
        assert_eq!(problems(wrong), ["header", "encoding", "timestamp_unit", "content", "public_url", "id_pointer"]);
    }

    #[test]
    fn what_belongs_together_is_asked_for() {
        assert_eq!(problems(r#"{"header":"x","signature_field":"v1"}"#), ["separator"]);
        assert_eq!(problems(r#"{"header":"x","timestamp_header":"t"}"#), ["content"]);
        assert_eq!(problems(r#"{"header":"x","content":"{timestamp}{body}"}"#), ["content"]);
        assert_eq!(problems(r#"{"header":"x","content":"{id}{body}"}"#), ["content"]);
        assert_eq!(problems(r#"{"header":"x","content":"{url}"}"#), ["content"]);
        assert_eq!(problems(r#"{"header":"x","id_header":"a","id_pointer":"/a"}"#), ["id_pointer"]);
    }
}
