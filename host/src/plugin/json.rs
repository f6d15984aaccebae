//! One value out of a JSON text, found by streaming: nothing but the value itself is kept, and reading stops at it.

use std::fmt;
use std::io::{BufReader, Read as _};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::base::payload::Payload;

/// How far into a body a pointer is followed.
pub(crate) const READ_MAX: u64 = 1 << 20;

/// The longest value that is given back.
const VALUE_MAX: usize = 4096;

/// The string, number or boolean at a JSON Pointer (RFC 6901), as text. `None` where the body is not JSON up to there,
/// or holds no such value there. Where a key repeats, the first counts.
pub(crate) fn scalar_at(body: &Payload, pointer: &str) -> Option<String> {
    let path: Vec<String> = match pointer {
        "" => Vec::new(),
        pointer => {
            pointer.strip_prefix('/')?.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
        }
    };
    let mut found = None;
    let search = Search { path: &path, found: &mut found };
    // Once the value is found the search ends itself with an error, so the outcome says nothing.
    let _ended = match body {
        Payload::Memory(bytes) => {
            let start = &bytes[..bytes.len().min(usize::try_from(READ_MAX).unwrap_or(usize::MAX))];
            search.deserialize(&mut serde_json::Deserializer::from_slice(start))
        }
        Payload::File(_) => {
            let start = BufReader::new(body.reader().take(READ_MAX));
            search.deserialize(&mut serde_json::Deserializer::from_reader(start))
        }
    };
    found
}

struct Search<'a> {
    path: &'a [String],
    found: &'a mut Option<String>,
}

impl Search<'_> {
    fn end<E: serde::de::Error>(self, value: String) -> Result<(), E> {
        if self.path.is_empty() && value.len() <= VALUE_MAX {
            *self.found = Some(value);
        }
        Err(E::custom("found"))
    }
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.end(value.to_owned())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.end(value.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.end(value.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.end(value.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.end(value.to_string())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(E::custom("null has no text"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((wanted, rest)) = self.path.split_first() else {
            return Err(A::Error::custom("an object has no text"));
        };
        while let Some(key) = map.next_key::<String>()? {
            if key == *wanted {
                map.next_value_seed(Search { path: rest, found: self.found })?;
                return Err(A::Error::custom("looked there"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((wanted, rest)) = self.path.split_first() else {
            return Err(A::Error::custom("an array has no text"));
        };
        let index: usize = wanted.parse().map_err(A::Error::custom)?;
        if index.to_string() != *wanted {
            return Err(A::Error::custom("not an array index"));
        }
        for _ in 0..index {
            if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        list.next_element_seed(Search { path: rest, found: self.found })?;
        Err(A::Error::custom("looked there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(json: &str, pointer: &str) -> Option<String> {
        scalar_at(&Payload::Memory(json.as_bytes().to_vec().into()), pointer)
    }

    #[test]
    fn scalars_are_found_by_pointer() {
        let json = r#"{"id":"evt_1","n":42,"f":-1.5,"ok":true,"none":null,"a/b":{"m~n":["x","y",{"z":"deep"}]}}"#;
        assert_eq!(at(json, "/id").as_deref(), Some("evt_1"));
        assert_eq!(at(json, "/n").as_deref(), Some("42"));
        assert_eq!(at(json, "/f").as_deref(), Some("-1.5"));
        assert_eq!(at(json, "/ok").as_deref(), Some("true"));
        assert_eq!(at(json, "/a~1b/m~0n/1").as_deref(), Some("y"));
        assert_eq!(at(json, "/a~1b/m~0n/2/z").as_deref(), Some("deep"));
        assert_eq!(at("\"whole\"", "").as_deref(), Some("whole"));
    }

    #[test]
    fn what_is_not_there_or_not_a_scalar_is_none() {
        let json = r#"{"id":{"x":1},"list":[1],"none":null}"#;
        for pointer in ["/id", "/list", "/none", "/gone", "/list/1", "/list/01", "/list/x", "id", "", "/id/x/y"] {
            assert_eq!(at(json, pointer), None, "{pointer}");
        }
        assert_eq!(at("not json", "/id"), None);
        assert_eq!(at(&format!("\"{}\"", "a".repeat(5000)), ""), None);
    }

    #[test]
    fn reading_stops_at_the_value() {
        assert_eq!(at(r#"{"id":"x", then it is not JSON"#, "/id").as_deref(), Some("x"));
    }

    #[test]
    fn the_first_of_a_repeated_key_counts() {
        assert_eq!(at(r#"{"id":"x","id":"y"}"#, "/id").as_deref(), Some("x"));
        assert_eq!(at(r#"{"id":{},"id":"y"}"#, "/id"), None);
    }

    #[test]
    fn deep_nesting_is_bounded() {
        assert_eq!(at(&format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)), "/0/0"), None);
    }
}
