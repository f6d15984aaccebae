//! Signed content described in a route's options: text with places in braces.

use super::url::PublicUrl;
use crate::crypto::Part;
use crate::request::Call;
use crate::verdict::Refusal;

/// Places a content may have. The gateway takes 32 parts.
const PIECES_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Body,
    Timestamp,
    Id,
    Method,
    Url,
    Target,
    Header(String),
}

/// A description such as `{timestamp}.{body}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content(Vec<Piece>);

/// The content of one request. None is the body, which stays in the gateway.
pub(super) struct Filled(Vec<Option<String>>);

impl Content {
    /// Reads a description. An error says what was expected.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (place, after) = after.split_once('}').ok_or("expected `}` after `{`")?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(piece(place)?);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        if pieces.len() > PIECES_MAX {
            return Err(["expected at most ", &PIECES_MAX.to_string(), " parts"].concat());
        }
        Ok(Self(pieces))
    }

    pub(super) fn has_body(&self) -> bool {
        self.0.contains(&Piece::Body)
    }

    pub(super) fn has_timestamp(&self) -> bool {
        self.0.contains(&Piece::Timestamp)
    }

    pub(super) fn has_id(&self) -> bool {
        self.0.contains(&Piece::Id)
    }

    pub(super) fn has_header(&self, name: &str) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Header(own) if own.eq_ignore_ascii_case(name)))
    }

    /// The content of a request that was sent at `timestamp` as `id`.
    pub(super) fn fill(
        &self,
        call: &Call<'_>,
        url: &PublicUrl,
        timestamp: Option<&str>,
        id: Option<&str>,
    ) -> Result<Filled, Refusal> {
        let text = |piece: &Piece| {
            Ok(Some(match piece {
                Piece::Body => return Ok(None),
                Piece::Text(text) => text.clone(),
                Piece::Timestamp => timestamp.ok_or_else(|| Refusal::missing("timestamp"))?.to_owned(),
                Piece::Id => id.ok_or_else(|| Refusal::missing("id"))?.to_owned(),
                Piece::Method => call.method(),
                Piece::Url => url.whole(call),
                Piece::Target => call.target(),
                Piece::Header(name) => call.required(name)?,
            }))
        };
        Ok(Filled(self.0.iter().map(text).collect::<Result<_, Refusal>>()?))
    }
}

impl Filled {
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        self.0.iter().map(|text| text.as_deref().map_or(Part::Body, Part::Text)).collect()
    }
}

fn piece(place: &str) -> Result<Piece, String> {
    Ok(match place {
        "body" => Piece::Body,
        "timestamp" => Piece::Timestamp,
        "id" => Piece::Id,
        "method" => Piece::Method,
        "url" => Piece::Url,
        "target" => Piece::Target,
        other => match other.strip_prefix("header:").filter(|name| !name.is_empty()) {
            Some(name) => Piece::Header(name.to_owned()),
            None => {
                let places = "`body`, `timestamp`, `id`, `method`, `url`, `target` or `header:NAME`";
                return Err(["`{", other, "}` is none of ", places].concat());
            }
        },
    })
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_description_is_read_or_refused(text in "(\\{(body|id|timestamp|header:x)?\\}?|[a-z.:]){0,40}") {
            if let Ok(Content(pieces)) = Content::read(&text) {
                prop_assert!(pieces.len() <= PIECES_MAX);
            }
        }
    }

    #[test]
    fn a_description_is_text_with_places() {
        let Content(pieces) = Content::read("v0:{timestamp}:{body}").unwrap();
        let text = |text: &str| Piece::Text(text.into());
        assert_eq!(pieces, [text("v0:"), Piece::Timestamp, text(":"), Piece::Body]);
        assert!(Content::read("{header:X-Shop}").unwrap().has_header("x-shop"));
        for wrong in ["{", "{bod}", "{header:}", "{Body}", "{ body }"] {
            assert!(Content::read(wrong).is_err(), "{wrong}");
        }
    }
}
