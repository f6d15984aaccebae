//! `[secret.NAME]`

use toml::de::DeValue;

use crate::base::clock::Timestamp;
use crate::config::plan::{SecretPlace, SecretPlan, SecretSource};
use crate::config::raw::{Item, Section};

const HELP: &str = "write env = \"VARIABLE\" or file = \"PATH\", or values = [{ env = \"NEW\" }, { env = \"OLD\" }]";

pub(super) fn read(table: &Section<'_>) -> Option<SecretPlan> {
    let values = table.item("values");
    let single = source(table, None);
    let Some(values) = values else {
        if !is_sourced(table) {
            table.reading.report_absent(table.problem(format!("`{}` has no value", table.path)).help(HELP));
        }
        return Some(SecretPlan { values: vec![single?] });
    };
    if is_sourced(table) {
        let message = format!("`{}` has values beside env or file", table.path);
        table.reading.report(values.problem(message).help("put every value into values"));
    }
    let sources = values.each(|item| item.section(|value| value_of(value, item))?)?;
    if sources.is_empty() {
        return values.wrong("at least one value");
    }
    Some(SecretPlan { values: sources })
}

fn value_of(table: &Section<'_>, item: &Item<'_>) -> Option<SecretSource> {
    let until = table.take("until", until);
    if !is_sourced(table) {
        table.reading.report_absent(item.problem(format!("`{}` has neither env nor file", table.path)));
    }
    source(table, until)
}

fn is_sourced(table: &Section<'_>) -> bool {
    table.item("env").is_some() || table.item("file").is_some()
}

fn source(table: &Section<'_>, until: Option<Timestamp>) -> Option<SecretSource> {
    let (env, file) = (table.item("env"), table.item("file"));
    if let (Some(_), Some(file)) = (&env, &file) {
        table.reading.report(file.problem(format!("`{}` has both env and file", table.path)).help("keep one of them"));
    }
    let at = env.as_ref().or(file.as_ref())?.at;
    let place = match env {
        Some(env) => SecretPlace::Env(variable(&env)?),
        None => SecretPlace::File(file?.file()?),
    };
    Some(SecretSource { place, until, at })
}

fn variable(item: &Item<'_>) -> Option<String> {
    let expected = "the name of an environment variable";
    let name = item.text_as(expected)?;
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty() && name.chars().all(letter) { Some(name.to_owned()) } else { item.wrong(expected) }
}

fn until(item: &Item<'_>) -> Option<Timestamp> {
    let expected = "a time with an offset, such as 2026-12-31T00:00:00Z";
    let parsed = match item.value() {
        DeValue::Datetime(time) => Timestamp::parse(&time.to_string()),
        _ => None,
    };
    parsed.or_else(|| item.wrong(expected))
}
