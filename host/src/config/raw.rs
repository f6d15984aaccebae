//! What the file says: TOML with places, and a typed reader over it. Nothing here knows what a key means. A reader that
//! returns `None` has reported why; the plan is only made when nothing was reported.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::check::later;
use super::problem::{Problem, Source, Span};

/// One reading of one file, and what was found wrong in it.
pub(super) struct Reading {
    source: Source,
    folder: PathBuf,
    /// Keys and tables may have been lost to broken syntax, so nobody is told that they are missing.
    torn: bool,
    problems: RefCell<Vec<Problem>>,
    known: RefCell<BTreeMap<String, BTreeSet<&'static str>>>,
}

impl Reading {
    /// Reads relative paths from `folder`; syntax errors are problems, what could be read beside them is still looked at.
    pub(super) fn new(source: Source, folder: &Path, errors: &[toml::de::Error]) -> Self {
        // The parser goes on after this one as if nothing had happened.
        let torn = errors.iter().any(|error| error.message() != "duplicate key");
        Self {
            problems: RefCell::new(syntax(&source, errors)),
            source,
            folder: folder.to_owned(),
            torn,
            known: RefCell::default(),
        }
    }

    pub(super) fn report(&self, problem: Problem) {
        let on_line = |problem: &Problem| problem.place.as_ref().map(|place| place.line);
        if self.problems.borrow().len() > PROBLEMS_MAX {
            return;
        }
        if !self.torn || self.problems.borrow().iter().all(|other| on_line(other) != on_line(&problem)) {
            self.problems.borrow_mut().push(problem);
        }
    }

    /// Reports what is not there, unless broken syntax may have hidden it.
    pub(super) fn report_absent(&self, problem: Problem) {
        if !self.torn {
            self.report(problem);
        }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// `path` as the file means it: relative to the file's folder.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    pub(super) fn end(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        if problems.len() > PROBLEMS_MAX {
            problems.truncate(PROBLEMS_MAX);
            problems.push(Problem::with_file(self.source.file(), "more than 1000 problems, the others are not shown"));
        }
        problems
    }

    /// Every key that was asked for so far, by the shape of its table (`route.NAME.webhook`; the root is empty).
    #[cfg(test)]
    pub(super) fn known(&self) -> BTreeMap<String, BTreeSet<&'static str>> {
        self.known.borrow().clone()
    }
}

/// Whoever has more has given us the wrong file.
const PROBLEMS_MAX: usize = 1000;

/// What the parser adds to some messages that helps nobody.
const NOISE: [&str; 2] = [", expected nothing", ", expected literal string"];

/// The first error of each line: what follows is most often its consequence.
fn syntax(source: &Source, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut lines = BTreeMap::new();
    for error in errors.iter().take(PROBLEMS_MAX + 1) {
        let message = NOISE.iter().fold(error.message(), |message, end| message.strip_suffix(*end).unwrap_or(message));
        let problem = source.problem(error.span().unwrap_or_default().into(), message);
        let problem = match message {
            "invalid float" | "invalid datetime" | "invalid integer" => problem.help("strings are written in quotes"),
            _ => problem,
        };
        let line = problem.place.as_ref().map(|place| place.line);
        let first = lines.entry(line).or_insert_with(|| problem.clone());
        if problem.place < first.place {
            *first = problem;
        }
    }
    lines.into_values().collect()
}

/// A table being read.
pub(super) struct Section<'r> {
    pub(super) reading: &'r Reading,
    table: Option<&'r DeTable<'r>>,
    /// `route.api`; the root is empty.
    pub(super) path: String,
    /// `route.NAME`
    shape: String,
    /// Its header.
    pub(super) at: Span,
}

/// A value being read.
#[derive(Clone)]
pub(super) struct Item<'r> {
    pub(super) reading: &'r Reading,
    value: &'r DeValue<'r>,
    /// `route.api.path`
    pub(super) path: String,
    /// `route.NAME.path`
    pub(super) shape: String,
    pub(super) at: Span,
}

fn join(outer: &str, key: &str) -> String {
    if outer.is_empty() { key.to_owned() } else { format!("{outer}.{key}") }
}

impl<'r> Section<'r> {
    /// Reads the whole document.
    pub(super) fn root<T>(reading: &'r Reading, document: &'r DeTable<'r>, read: impl FnOnce(&Self) -> T) -> T {
        let root =
            Self { reading, table: Some(document), path: String::new(), shape: String::new(), at: Span::default() };
        let out = read(&root);
        root.refuse_unknown();
        out
    }

    /// The value of `key`, read; `None` when it is absent or wrong.
    pub(super) fn take<T>(&self, key: &'static str, read: impl FnOnce(&Item<'r>) -> Option<T>) -> Option<T> {
        read(&self.item(key)?)
    }

    /// As [`Self::take`], and its absence is a problem.
    pub(super) fn need<T>(
        &self,
        key: &'static str,
        help: &str,
        read: impl FnOnce(&Item<'r>) -> Option<T>,
    ) -> Option<T> {
        let item = self.item(key);
        if item.is_none() {
            self.reading.report_absent(self.problem(format!("`{}` is missing", join(&self.path, key))).help(help));
        }
        read(&item?)
    }

    /// The value of `key`, if it is written.
    pub(super) fn item(&self, key: &'static str) -> Option<Item<'r>> {
        self.reading.known.borrow_mut().entry(self.shape.clone()).or_default().insert(key);
        let value = self.table?.get(key)?;
        Some(Item {
            reading: self.reading,
            value: value.get_ref(),
            path: join(&self.path, key),
            shape: join(&self.shape, key),
            at: value.span().into(),
        })
    }

    /// The table called `key`, read; when it is absent or no table, all its keys are absent.
    pub(super) fn within<T>(&self, key: &'static str, read: impl FnOnce(&Self) -> T) -> T {
        match self.item(key).and_then(Item::into_section) {
            Some(section) => section.read(read),
            None => read(&Self {
                reading: self.reading,
                table: None,
                path: join(&self.path, key),
                shape: join(&self.shape, key),
                at: self.at,
            }),
        }
    }

    /// The tables `[key.NAME]`, read, in the order of their names; those whose reader returns `None` are left out.
    pub(super) fn named<K: Ord, T>(
        &self,
        key: &'static str,
        name: fn(&str) -> Option<K>,
        read: impl Fn(&Self) -> Option<T>,
    ) -> BTreeMap<K, T> {
        let entries = self.item(key).and_then(|item| item.entries()).unwrap_or_default();
        let table = |entry: Entry<'r>| {
            // Both are read, so that a table with a bad name is looked through too.
            let name = entry.name(name);
            let shape = format!("{key}.NAME");
            let table = Item { shape, ..entry.item }.into_section().and_then(|section| section.read(&read));
            name.zip(table)
        };
        entries.into_iter().filter_map(table).collect()
    }

    /// The names in the tables `[key.NAME]`.
    pub(super) fn names(&self, key: &'static str) -> BTreeSet<&'r str> {
        match self.item(key).map(|item| item.value) {
            Some(DeValue::Table(table)) => table.keys().map(|key| key.get_ref().as_ref()).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// A problem at its header.
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        self.reading.source.problem(self.at, message)
    }

    fn read<T>(&self, read: impl FnOnce(&Self) -> T) -> T {
        let out = read(self);
        self.refuse_unknown();
        out
    }

    fn refuse_unknown(&self) {
        let known = self.reading.known.borrow().get(&self.shape).cloned().unwrap_or_default();
        let later: Vec<_> = later::keys(&self.shape).collect();
        for key in self.table.into_iter().flatten().map(|(key, _)| key) {
            let (text, at) = (key.get_ref().as_ref(), Span::from(key.span()));
            let path = join(&self.path, text);
            if later.contains(&text) {
                self.reading.report(later::problem(&self.reading.source, at, &path));
            } else if !known.contains(text) {
                let problem = self.reading.source.problem(at, format!("unknown key `{path}`"));
                let problem = if is_secret(&path) { problem.cut_after() } else { problem };
                let elsewhere = later::elsewhere(&self.shape, text).map(str::to_owned);
                let candidates = known.iter().chain(&later).copied();
                self.reading.report(Problem { help: elsewhere.or_else(|| did_you_mean(text, candidates)), ..problem });
            }
        }
    }
}

/// One key of a table whose keys are the user's.
pub(super) struct Entry<'r> {
    pub(super) key: &'r str,
    pub(super) key_at: Span,
    pub(super) item: Item<'r>,
}

impl<'r> Entry<'r> {
    /// The key as a name of the configuration.
    fn name<K>(&self, parse: fn(&str) -> Option<K>) -> Option<K> {
        let name = parse(self.key);
        if name.is_none() {
            let lower = self.key.to_ascii_lowercase().replace(['.', ' '], "-");
            let help = match parse(&lower) {
                Some(_) => format!("did you mean `{lower}`?"),
                None => NAME_HELP.to_owned(),
            };
            let message = format!("`{}` is not a name", self.key);
            self.item.reading.report(self.item.reading.source.problem(self.key_at, message).help(help));
        }
        name
    }
}

fn is_secret(path: &str) -> bool {
    path.starts_with("secret.")
}

/// The form of every name.
pub(super) const NAME_HELP: &str =
    "a name begins with a-z or 0-9 and goes on with a-z, 0-9, `_` and `-`, 63 characters at most";

impl<'r> Item<'r> {
    /// A problem at the value.
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        self.reading.source.problem(self.at, message)
    }

    /// Reports that the value should have been `expected`; always `None`.
    pub(super) fn wrong<T>(&self, expected: &str) -> Option<T> {
        self.wrong_with(expected, None)
    }

    /// As [`Self::wrong`], with advice.
    pub(super) fn wrong_with<T>(&self, expected: &str, help: Option<String>) -> Option<T> {
        let problem = self.problem(format!("`{}` expects {expected}, found {}", self.path, self.shown()));
        // Whoever writes a secret itself where its source belongs should not find it in a log.
        let problem = if is_secret(&self.path) { problem.cut_before() } else { problem };
        self.reading.report(Problem { help, ..problem });
        None
    }

    fn shown(&self) -> String {
        match self.value {
            DeValue::String(text) if text.chars().count() <= SHOWN_MAX && !is_secret(&self.path) => {
                format!("{:?}", text.as_ref())
            }
            DeValue::String(_) => "a string".to_owned(),
            DeValue::Integer(integer) if !is_secret(&self.path) => integer.to_string(),
            DeValue::Integer(_) => "a number".to_owned(),
            DeValue::Float(float) => float.to_string(),
            DeValue::Boolean(boolean) => boolean.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    pub(super) fn text(&self) -> Option<&'r str> {
        self.text_as("a string")
    }

    /// The string, when the value is one; `expected` is what the string should be.
    pub(super) fn text_as(&self, expected: &str) -> Option<&'r str> {
        self.as_text().or_else(|| self.wrong(expected))
    }

    /// The string, when the value is one; else nothing is reported.
    pub(super) fn as_text(&self) -> Option<&'r str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => None,
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.wrong("true or false"))
    }

    pub(super) fn value(&self) -> &'r DeValue<'r> {
        self.value
    }

    /// The elements of an array.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        let DeValue::Array(array) = self.value else { return self.wrong("an array") };
        let element = |(index, value): (usize, &'r toml::Spanned<DeValue<'r>>)| Self {
            reading: self.reading,
            value: value.get_ref(),
            path: format!("{}[{index}]", self.path),
            shape: self.shape.clone(),
            at: value.span().into(),
        };
        Some(array.iter().enumerate().map(element).collect())
    }

    /// The elements of an array, read; `None` when one of them is wrong.
    pub(super) fn each<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<T>> {
        all(self.list()?.iter().map(read).collect::<Vec<_>>())
    }

    /// The value as a table with known keys, read.
    pub(super) fn section<T>(&self, read: impl FnOnce(&Section<'r>) -> T) -> Option<T> {
        self.clone().into_section().map(|section| section.read(read))
    }

    /// The value as a table whose keys are the user's.
    pub(super) fn entries(&self) -> Option<Vec<Entry<'r>>> {
        let DeValue::Table(table) = self.value else { return self.wrong("a table") };
        let entry = |(key, value): (&'r toml::Spanned<_>, &'r toml::Spanned<DeValue<'r>>)| {
            let text: &'r std::borrow::Cow<'_, str> = key.get_ref();
            Entry {
                key: text.as_ref(),
                key_at: key.span().into(),
                item: Self {
                    reading: self.reading,
                    value: value.get_ref(),
                    path: join(&self.path, text),
                    shape: self.shape.clone(),
                    at: value.span().into(),
                },
            }
        };
        Some(table.iter().map(entry).collect())
    }

    fn into_section(self) -> Option<Section<'r>> {
        let DeValue::Table(table) = self.value else { return self.wrong("a table") };
        Some(Section { reading: self.reading, table: Some(table), path: self.path, shape: self.shape, at: self.at })
    }
}

/// All values, or `None` when one is missing; every one was read before, so that each could report.
pub(super) fn all<T>(values: Vec<Option<T>>) -> Option<Vec<T>> {
    values.into_iter().collect()
}

/// How much of a wrong value a message shows.
const SHOWN_MAX: usize = 60;

/// Advice when one of `candidates` is close to `word`.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    closest(word, candidates).map(|near| format!("did you mean `{near}`?"))
}

/// The candidate that `word` is most likely a misspelling of.
pub(super) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    let distance = |candidate| (strsim::damerau_levenshtein(word, candidate), candidate);
    if word.len() > SHOWN_MAX * 2 {
        return None;
    }
    candidates.map(distance).filter(|(distance, _)| *distance <= allowed).min().map(|(_, candidate)| candidate)
}

/// Where every key's value is, by its dotted path.
pub(super) fn places(document: &DeTable<'_>) -> BTreeMap<String, Span> {
    fn walk(table: &DeTable<'_>, path: &str, places: &mut BTreeMap<String, Span>) {
        for (key, value) in table {
            let path = join(path, key.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) => walk(inner, &path, places),
                DeValue::Array(elements) => {
                    for (nth, element) in elements.iter().enumerate() {
                        let path = format!("{path}[{nth}]");
                        if let DeValue::Table(inner) = element.get_ref() {
                            walk(inner, &path, places);
                        }
                        places.insert(path, element.span().into());
                    }
                }
                _ => {}
            }
            places.insert(path, value.span().into());
        }
    }
    let mut places = BTreeMap::new();
    walk(document, "", &mut places);
    places
}
