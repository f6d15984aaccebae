//! A strict reader for the `options` table, which the gateway hands over as JSON. Small, because a whole JSON library
//! would not fit into a one-page guest.

/// Tables in tables end here.
const DEPTH_MAX: usize = 16;

/// One JSON value. Numbers keep their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Table(Vec<(String, Json)>),
}

/// Reads one JSON text (RFC 8259) to its end. None where it is not JSON, names a key twice, or nests too deep.
pub(crate) fn read(text: &str) -> Option<Json> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    (reader.at == text.len()).then_some(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        let found = self.text.as_bytes().get(self.at..)?.starts_with(word.as_bytes());
        self.at += word.len();
        found.then_some(value)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.space();
        match self.peek()? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Boolean(true)),
            b'f' => self.word("false", Json::Boolean(false)),
            b'"' => self.string().map(Json::Text),
            b'[' if depth < DEPTH_MAX => self.list(depth + 1),
            b'{' if depth < DEPTH_MAX => self.table(depth + 1),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        let mut items = Vec::new();
        self.expect(b'[')?;
        self.space();
        if self.take(b']') {
            return Some(Json::List(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.take(b']') {
                return Some(Json::List(items));
            }
            self.expect(b',')?;
        }
    }

    fn table(&mut self, depth: usize) -> Option<Json> {
        let mut entries: Vec<(String, Json)> = Vec::new();
        self.expect(b'{')?;
        self.space();
        if self.take(b'}') {
            return Some(Json::Table(entries));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.expect(b':')?;
            let value = self.value(depth)?;
            if entries.iter().any(|(known, _)| *known == key) {
                return None;
            }
            entries.push((key, value));
            self.space();
            if self.take(b'}') {
                return Some(Json::Table(entries));
            }
            self.expect(b',')?;
        }
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        self.text.get(start..self.at).map(|text| Json::Number(text.to_owned()))
    }

    fn string(&mut self) -> Option<String> {
        let mut string = String::new();
        self.expect(b'"')?;
        loop {
            let start = self.at;
            while !matches!(self.peek()?, b'"' | b'\\' | 0..0x20) {
                self.at += 1;
            }
            string.push_str(self.text.get(start..self.at)?);
            if self.take(b'"') {
                return Some(string);
            }
            self.expect(b'\\')?;
            string.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Option<char> {
        let escape = self.peek()?;
        self.at += 1;
        Some(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return None,
        })
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        self.expect(b'\\')?;
        self.expect(b'u')?;
        let second = self.unit()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + (first - 0xd800) * 0x400 + second)
    }

    fn unit(&mut self) -> Option<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit * 16 + char::from(self.peek()?).to_digit(16)?;
            self.at += 1;
        }
        Some(unit)
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn same(ours: &Json, theirs: &Value) -> bool {
        match (ours, theirs) {
            (Json::Null, Value::Null) => true,
            (Json::Boolean(ours), Value::Bool(theirs)) => ours == theirs,
            (Json::Number(ours), Value::Number(theirs)) => ours.parse::<f64>().ok() == theirs.as_f64(),
            (Json::Text(ours), Value::String(theirs)) => ours == theirs,
            (Json::List(ours), Value::Array(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
            }
            (Json::Table(ours), Value::Object(theirs)) => {
                ours.len() == theirs.len()
                    && ours.iter().all(|(key, ours)| theirs.get(key).is_some_and(|theirs| same(ours, theirs)))
            }
            _ => false,
        }
    }

    fn agrees(text: &str) {
        match (read(text), serde_json::from_str::<Value>(text)) {
            (Some(ours), Ok(theirs)) => assert!(same(&ours, &theirs), "{text}: {ours:?} is not {theirs:?}"),
            (None, Err(_)) => {}
            (ours, theirs) => panic!("{text}: {ours:?} against {theirs:?}"),
        }
    }

    #[test]
    fn it_reads_what_serde_json_reads() {
        for text in [
            "",
            " ",
            "null",
            "nul",
            "nullx",
            "true",
            "tru",
            "[]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{}",
            r#"{"a":1}"#,
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "{a:1}",
            "0",
            "00",
            "01",
            "-0",
            "-",
            "1.",
            ".1",
            "1.5e+3",
            "1e",
            "+1",
            r#""a\u00e9\ud83d\ude00\n""#,
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\x""#,
            "\"\n\"",
            r#"""#,
            "\"é\"",
            r#" { "a" : [ true , { "b" : "c" } ] } "#,
            "1 2",
            "[",
            "{",
            "[[[[]]]]",
        ] {
            agrees(text);
        }
    }

    #[test]
    fn a_key_named_twice_or_a_tower_of_lists_is_refused() {
        assert_eq!(read(r#"{"a":1,"a":2}"#), None);
        assert_eq!(read(&format!("{}{}", "[".repeat(17), "]".repeat(17))), None);
    }

    proptest! {
        #[test]
        fn it_never_panics_and_agrees_on_noise(text in r#"[\[\]{}":,\\ntue0-9.\-a-f ]{0,16}"#) {
            prop_assume!(read(&text).is_some() || !text.contains('{'));
            agrees(&text);
        }
    }
}
