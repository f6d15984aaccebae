//! A strict reader of JSON tables, for the few schemes that sign values inside the body, and for claims of tokens. Where the
//! whole body is signed, [`Call::json`] does without copying it.

use crate::encoding;
use crate::json::{self, Json};
use crate::request::Call;
use crate::verdict::Refusal;

/// The largest body that is read as a table. It has to be held in the plugin's own memory.
const SIZE_MAX: u64 = 1024 * 1024;

/// A JSON table. One that names a key twice is none: a product might read the other one than was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table(Vec<(String, Json)>);

impl Table {
    /// Reads a text.
    pub fn read(text: &str) -> Option<Self> {
        match json::read(text)? {
            Json::Table(entries) => Some(Self(entries)),
            _ => None,
        }
    }

    /// Reads the body.
    pub fn body(call: &Call<'_>) -> Result<Self, Refusal> {
        let size = u32::try_from(call.body_size()).ok().filter(|size| u64::from(*size) <= SIZE_MAX);
        let text = size.and_then(|size| String::from_utf8(call.read_body(0, size)).ok());
        text.and_then(|text| Self::read(&text)).ok_or_else(|| Refusal::malformed("body"))
    }

    fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Whether there is such a key.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A string.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A string, a number as written, or a boolean.
    pub fn scalar(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Json::Text(text) | Json::Number(text) => Some(text),
            Json::Boolean(true) => Some("true"),
            Json::Boolean(false) => Some("false"),
            Json::Null | Json::List(_) | Json::Table(_) => None,
        }
    }

    /// A table in this one.
    pub fn table(&self, name: &str) -> Option<Self> {
        match self.get(name)? {
            Json::Table(entries) => Some(Self(entries.clone())),
            _ => None,
        }
    }

    /// The table that is all there is in a list.
    pub fn only(&self, name: &str) -> Option<Self> {
        match self.get(name)? {
            Json::List(items) => match items.as_slice() {
                [Json::Table(entries)] => Some(Self(entries.clone())),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a value is this string, or a list with it (as the claim `aud` may be).
    pub fn names(&self, name: &str, text: &str) -> bool {
        match self.get(name) {
            Some(Json::Text(own)) => own == text,
            Some(Json::List(list)) => list.iter().any(|item| matches!(item, Json::Text(own) if own == text)),
            _ => false,
        }
    }

    /// A number that is a time in Unix seconds; a fraction is cut off. A refusal where it is something else.
    pub fn time(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let seconds = |value: &Json| match value {
            Json::Number(text) => encoding::decimal(text.split('.').next().unwrap_or_default()),
            _ => None,
        };
        match self.get(name) {
            None => Ok(None),
            Some(value) => seconds(value).map(Some).ok_or_else(|| Refusal::malformed(name)),
        }
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_json_reads(text in r#"(\{|\}|\[|\]|"a"|"b"|:|,|1|true| ){0,14}"#) {
            if let Some(table) = Table::read(&text) {
                let same: serde_json::Value = serde_json::from_str(&text).unwrap();
                for name in ["a", "b"] {
                    prop_assert_eq!(table.has(name), same.get(name).is_some());
                    prop_assert_eq!(table.text(name), same.get(name).and_then(|value| value.as_str()));
                }
            }
        }
    }

    #[test]
    fn a_key_that_comes_twice_makes_it_none() {
        assert!(Table::read(r#"{"a":1,"b":{"a":2}}"#).is_some());
        assert!(Table::read(r#"{"a":1,"a":2}"#).is_none());
        assert!(Table::read(r#"{"a":1,"\u0061":2}"#).is_none());
    }

    #[test]
    fn values_are_had_by_their_kind() {
        let table = Table::read(
            r#"{"t":"x","n":1.5,"b":true,"o":{"t":"y"},"l":[{"t":"z"}],"m":[{},{}],"aud":["p","q"],"e":"1"}"#,
        );
        let table = table.unwrap();
        assert_eq!((table.text("t"), table.text("n"), table.scalar("n")), (Some("x"), None, Some("1.5")));
        assert_eq!((table.scalar("b"), table.scalar("o")), (Some("true"), None));
        assert_eq!(table.table("o").unwrap().text("t"), Some("y"));
        assert_eq!(table.only("l").unwrap().text("t"), Some("z"));
        assert!(table.only("m").is_none() && table.names("aud", "q") && !table.names("aud", "r"));
        assert_eq!((table.time("n"), table.time("none")), (Ok(Some(1)), Ok(None)));
        assert!(table.time("e").is_err());
    }
}
