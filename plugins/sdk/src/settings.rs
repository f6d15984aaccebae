//! A route's `options`, checked against what the plugin declared before the plugin sees them: so the getters never fail.

use crate::about::{About, Kind, Setting};
use crate::json::{self, Json};

/// What is wrong with one key of a route's `options`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key. Empty for the whole table.
    pub key: String,
    /// What was expected.
    pub message: String,
}

/// All that is wrong with a route's `options`: it keeps the configuration from going live.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// One problem, of the value of `key`.
    pub fn of(key: &str, message: impl Into<String>) -> Self {
        let mut problems = Self::default();
        problems.add(key, message);
        problems
    }

    /// One problem more.
    pub fn add(&mut self, key: &str, message: impl Into<String>) {
        self.0.push(Problem { key: key.to_owned(), message: message.into() });
    }
}

/// A route's `options`. Each key is one the plugin declared, each value is of its kind, and what is required is there.
#[derive(Debug, Clone)]
pub struct Settings {
    declared: &'static [Setting],
    values: Vec<(String, Json)>,
}

impl Settings {
    /// Checks a JSON table against the declaration. Finds every problem at once.
    pub fn check(about: &About, options: &str) -> Result<Self, Problems> {
        let declared = about.settings;
        let Some(Json::Table(values)) = json::read(options) else {
            return Err(Problems::of("", "expected a table"));
        };
        let mut problems = Problems::default();
        for (key, value) in &values {
            match declared.iter().find(|setting| setting.key == key) {
                Some(setting) if fits(setting.kind, value) => {}
                Some(setting) => problems.add(key, ["expected ", article(setting.kind), setting.kind.name()].concat()),
                None => problems.add(key, unknown(declared)),
            }
        }
        for setting in declared {
            if setting.required && values.iter().all(|(key, _)| key != setting.key) {
                problems.add(setting.key, ["required: ", setting.about].concat());
            }
        }
        if problems.0.is_empty() { Ok(Self { declared, values }) } else { Err(problems) }
    }

    fn get(&self, key: &str, kind: Kind) -> Option<&Json> {
        if !self.declared.iter().any(|setting| setting.key == key && setting.kind == kind) {
            crate::host::fault(&["setting `", key, "` is read but not declared as ", kind.name()].concat());
        }
        self.values.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// A setting declared by [`Setting::text`].
    pub fn text(&self, key: &str) -> Option<&str> {
        text(self.get(key, Kind::Text)?)
    }

    /// A setting declared by [`Setting::integer`].
    pub fn integer(&self, key: &str) -> Option<i64> {
        integer(self.get(key, Kind::Integer)?)
    }

    /// A setting declared by [`Setting::boolean`].
    pub fn boolean(&self, key: &str) -> Option<bool> {
        match self.get(key, Kind::Boolean)? {
            Json::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// A setting declared by [`Setting::texts`].
    pub fn texts(&self, key: &str) -> Option<Vec<&str>> {
        match self.get(key, Kind::Texts)? {
            Json::List(items) => items.iter().map(text).collect(),
            _ => None,
        }
    }

    /// A setting declared by [`Setting::table`], in the order written.
    pub fn table(&self, key: &str) -> Option<Vec<(&str, &str)>> {
        match self.get(key, Kind::Table)? {
            Json::Table(entries) => entries.iter().map(|(key, value)| Some((key.as_str(), text(value)?))).collect(),
            _ => None,
        }
    }
}

fn text(value: &Json) -> Option<&str> {
    match value {
        Json::Text(text) => Some(text),
        _ => None,
    }
}

/// Within 2^53, as the gateway promises and every plugin language can hold.
fn integer(value: &Json) -> Option<i64> {
    match value {
        Json::Number(text) => text.parse().ok().filter(|number: &i64| number.unsigned_abs() <= 1 << 53),
        _ => None,
    }
}

fn fits(kind: Kind, value: &Json) -> bool {
    match (kind, value) {
        (Kind::Text, Json::Text(_)) | (Kind::Boolean, Json::Boolean(_)) => true,
        (Kind::Integer, value) => integer(value).is_some(),
        (Kind::Texts, Json::List(items)) => items.iter().all(|item| text(item).is_some()),
        (Kind::Table, Json::Table(entries)) => entries.iter().all(|(_, value)| text(value).is_some()),
        _ => false,
    }
}

fn article(kind: Kind) -> &'static str {
    if kind == Kind::Integer { "an " } else { "a " }
}

fn unknown(declared: &[Setting]) -> String {
    if declared.is_empty() {
        return "unknown; this plugin takes no options".to_owned();
    }
    let mut message = "unknown; this plugin takes ".to_owned();
    for (nth, setting) in declared.iter().enumerate() {
        message.push_str(if nth == 0 { "`" } else { ", `" });
        message.push_str(setting.key);
        message.push('`');
    }
    message
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;

    const ABOUT: About = About::new("test", "none").settings(&[
        Setting::text("url", "the public URL").required(),
        Setting::integer("percent", "how much"),
        Setting::boolean("strict", "how strict"),
        Setting::texts("names", "which"),
        Setting::table("map", "what to what"),
    ]);

    #[test]
    fn declared_settings_are_read_by_kind() {
        let options = r#"{"url":"https://a","percent":-5,"strict":true,"names":["a","b"],"map":{"x":"y"}}"#;
        let settings = Settings::check(&ABOUT, options).unwrap();
        assert_eq!(settings.text("url"), Some("https://a"));
        assert_eq!(settings.integer("percent"), Some(-5));
        assert_eq!(settings.boolean("strict"), Some(true));
        assert_eq!(settings.texts("names"), Some(vec!["a", "b"]));
        assert_eq!(settings.table("map"), Some(vec![("x", "y")]));
        assert_eq!(Settings::check(&ABOUT, r#"{"url":""}"#).unwrap().integer("percent"), None);
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let Problems(problems) =
            Settings::check(&ABOUT, r#"{"percent":1.5,"names":["a",1],"spare":null,"map":{"x":2}}"#).unwrap_err();
        let lines: Vec<_> = problems.iter().map(|p| format!("{}: {}", p.key, p.message)).collect();
        assert_eq!(
            lines,
            [
                "percent: expected an integer",
                "names: expected a list of strings",
                "spare: unknown; this plugin takes `url`, `percent`, `strict`, `names`, `map`",
                "map: expected a table of strings",
                "url: required: the public URL",
            ]
        );
    }

    #[test]
    fn integers_end_where_json_numbers_lose_precision() {
        let percent = |text: &str| Settings::check(&ABOUT, &format!(r#"{{"url":"","percent":{text}}}"#)).is_ok();
        assert!(percent("9007199254740992") && percent("-9007199254740992"));
        assert!(!percent("9007199254740993") && !percent("99999999999999999999") && !percent("1e3"));
    }

    #[test]
    #[should_panic(expected = "setting `spare` is read but not declared as string")]
    fn reading_what_was_not_declared_is_a_fault() {
        let _ = Settings::check(&ABOUT, r#"{"url":""}"#).unwrap().text("spare");
    }
}
