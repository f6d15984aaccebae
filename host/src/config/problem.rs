//! What is wrong with a configuration, where, and what to do about it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Where in a file something is: byte offsets, end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// After the last byte.
    pub end: usize,
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as the user named it.
    #[serde(serialize_with = "path_text")]
    pub file: Arc<Path>,
    /// Where in it; `None` is the file as a whole.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Where in a file a problem is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters of the line it covers; at least 1.
    pub width: usize,
    /// The whole line.
    pub excerpt: String,
}

fn path_text<S: Serializer>(path: &Arc<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl Problem {
    /// A problem with `file` as a whole.
    pub fn with_file(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.into(), place: None, message: message.into(), help: None }
    }

    /// The problem with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The problem without what stands after the spot on its line.
    #[must_use]
    pub(super) fn cut_after(self) -> Self {
        self.cut(|place| place.column - 1 + place.width)
    }

    /// The problem without the spot itself and what stands after it.
    #[must_use]
    pub(super) fn cut_before(self) -> Self {
        self.cut(|place| place.column - 1)
    }

    fn cut(mut self, keep: impl Fn(&Place) -> usize) -> Self {
        if let Some(place) = &mut self.place {
            place.excerpt = place.excerpt.chars().take(keep(place)).chain("…".chars()).collect();
        }
        self
    }

    /// As people read it: message, place, excerpt with the spot underlined, help. Ends with a newline.
    pub fn render(&self, colour: bool) -> String {
        let paint = |code: &'static str| if colour { code } else { "" };
        let (red, blue, bold, off) = (paint("\x1b[1;31m"), paint("\x1b[1;34m"), paint("\x1b[1m"), paint("\x1b[0m"));
        let gutter = self.place.as_ref().map_or(1, |place| place.line.to_string().len());
        let mut out = format!("{red}error{off}{bold}: {}{off}\n", self.message);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:gutter$}{blue}-->{off} {}", "", self.position());
        if let Some(place) = &self.place {
            let pad = place.padding();
            let _ = writeln!(out, "{:gutter$} {blue}|{off}", "");
            let _ = writeln!(out, "{blue}{} |{off} {}", place.line, place.excerpt);
            let _ = writeln!(out, "{:gutter$} {blue}|{off} {pad}{red}{}{off}", "", "^".repeat(place.width));
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{:gutter$} {blue}={off} {bold}help{off}: {help}", "");
        }
        out
    }

    /// `file:line:column`, or the file alone.
    pub fn position(&self) -> String {
        match &self.place {
            Some(place) => format!("{}:{}:{}", self.file.display(), place.line, place.column),
            None => self.file.display().to_string(),
        }
    }
}

/// One line, for logs: `file:line:column: message (help)`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position(), self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

impl Place {
    /// What stands before the spot as white space of the same width.
    fn padding(&self) -> String {
        let before = self.excerpt.chars().take(self.column - 1);
        before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect()
    }
}

/// Everything that is wrong, in the order of the files' lines. Never empty as an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorted by file and place; the same problem is kept once.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (&a.file, &a.place, &a.message).cmp(&(&b.file, &b.place, &b.message)));
        problems.dedup();
        Self(problems)
    }

    /// Each, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        Self::new(self.0)
    }

    /// `Err` with the problems when there are any.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// All of them as people read them, an empty line between two.
    pub fn render(&self, colour: bool) -> String {
        self.0.iter().map(|problem| problem.render(colour)).collect::<Vec<_>>().join("\n")
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One line each.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A file's text, and where its keys are, so that what is found later still points into it.
#[derive(Clone, Debug)]
pub struct Source {
    file: Arc<Path>,
    text: String,
    places: BTreeMap<String, Span>,
}

impl Source {
    /// The `text` of `file`, and where each key's value is: `route.api.webhook.verifier` → a span.
    pub(super) fn new(file: &Path, text: &str, places: BTreeMap<String, Span>) -> Self {
        Self { file: file.into(), text: text.to_owned(), places }
    }

    /// The file, as the user named it.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A problem at `span`.
    pub fn problem(&self, span: Span, message: impl Into<String>) -> Problem {
        let place = Some(self.place(span));
        Problem { file: Arc::clone(&self.file), place, message: printable(&message.into()), help: None }
    }

    /// A problem with the value of `key` (dotted, from the root), or with the nearest table round it that is written.
    pub fn problem_with(&self, key: &str, message: impl Into<String>) -> Problem {
        match self.nearest(key) {
            Some(span) => self.problem(span, message),
            None => Problem::with_file(&self.file, message),
        }
    }

    /// `file:line` of `key` (dotted, from the root), or of the nearest table round it that is written.
    pub fn line(&self, key: &str) -> String {
        format!("{}:{}", self.file.display(), self.place(self.span(key)).line)
    }

    /// Where the value of `key` is, or the nearest table round it that is written, or the file's start.
    pub(super) fn span(&self, key: &str) -> Span {
        self.nearest(key).unwrap_or_default()
    }

    fn nearest(&self, key: &str) -> Option<Span> {
        let outer = |key: &str| key.rfind('.');
        std::iter::successors(Some(key), |key| outer(key).map(|end| &key[..end]))
            .find_map(|key| self.places.get(key).copied())
    }

    /// Line, column and excerpt of `span`; one that covers several lines is cut at the end of the first.
    pub(super) fn place(&self, span: Span) -> Place {
        let start = floor(&self.text, span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let end = floor(&self.text, span.end).clamp(start, line_end);
        Place {
            line: self.text[..start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            width: self.text[start..end].trim_end().chars().count().max(1),
            excerpt: printable(self.text[line_start..line_end].trim_end()),
        }
    }
}

/// `text` without what a terminal would act on.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[a]\n\tkey = \"wört\" # x\nlist = [\n  1,\n]\n";

    fn source() -> Source {
        let places = [("a".to_owned(), at("[a]"))].into();
        Source::new(Path::new("tollgate.toml"), TEXT, places)
    }

    fn at(text: &str) -> Span {
        let start = TEXT.find(text).expect("in the text");
        Span { start, end: start + text.len() }
    }

    #[test]
    fn a_problem_shows_its_place_and_its_help() {
        let problem = source().problem(at("\"wört\""), "no such word").help("did you mean `word`?");
        let expected = "error: no such word\n --> tollgate.toml:2:8\n  |\n2 | \tkey = \"wört\" # x\n  | \t      ^^^^^^\n  = help: did you mean `word`?\n";
        assert_eq!(problem.render(false), expected);
        assert_eq!(problem.to_string(), "tollgate.toml:2:8: no such word (did you mean `word`?)");
        assert!(problem.render(true).contains("\x1b[1;31merror\x1b[0m"));
    }

    #[test]
    fn a_value_over_several_lines_is_underlined_to_the_end_of_the_first() {
        let place = source().place(at("[\n  1,\n]"));
        assert_eq!((place.line, place.column, place.width, place.excerpt.as_str()), (3, 8, 1, "list = ["));
    }

    #[test]
    fn a_place_beyond_the_text_is_its_end() {
        let place = source().place(Span { start: 1000, end: 2000 });
        assert_eq!((place.line, place.column, place.width, place.excerpt.as_str()), (6, 1, 1, ""));
    }

    #[test]
    fn a_problem_with_a_key_that_is_not_written_points_at_its_table() {
        let source = source();
        assert_eq!(source.problem_with("a.b.c", "x").to_string(), "tollgate.toml:1:1: x");
        assert_eq!(source.problem_with("z.b", "x").to_string(), "tollgate.toml: x");
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_and_once() {
        let (late, early) = (source().problem(at("list"), "late"), source().problem(at("key"), "early"));
        let problems = Problems::new(vec![late.clone(), early, late]);
        assert_eq!(problems.to_string(), "tollgate.toml:2:2: early\ntollgate.toml:3:1: late");
    }

    #[test]
    fn json_has_every_part() {
        let problems = Problems::from(source().problem(at("key"), "m").help("h"));
        assert_eq!(
            serde_json::to_value(&problems).unwrap(),
            serde_json::json!([{"file": "tollgate.toml", "line": 2, "column": 2, "width": 3,
                "excerpt": "\tkey = \"wört\" # x", "message": "m", "help": "h"}])
        );
        let whole = Problems::from(Problem::with_file(Path::new("x"), "m"));
        assert_eq!(
            serde_json::to_value(&whole).unwrap(),
            serde_json::json!([{"file": "x", "message": "m", "help": null}])
        );
    }
}
