//! `[route.NAME.webhook]`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};
use toml::de::DeValue;

use crate::base::names::{PluginName, SecretName, is_name};
use crate::base::path::normalise;
use crate::base::sizes::{ByteSize, show_duration};
use crate::config::plan::{FixedAnswer, Limits, Mode, OrderBy, Retry, Tolerance, Webhook};
use crate::config::raw::{Entry, Item, Section, all};

const TOLERANCE: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(86_400);
const MAX_BODY: ByteSize = ByteSize(25 << 20);
/// The largest whole number that every language's JSON carries exactly.
const EXACT_MAX: i64 = 1 << 53;
const SCHEDULE_MAX: usize = 100;
const ANSWER_MAX: usize = 64 * 1024;

pub(super) fn read(table: &Section<'_>, secrets: &BTreeSet<&str>, limits: &Limits) -> Option<Webhook> {
    let verifier = table.need("verifier", "the name of a plugin", |item| item.name(PluginName::new));
    let modes = [("durable", Mode::Durable), ("sync", Mode::Sync)];
    let mode = table.take("mode", |item| item.word(&modes)).unwrap_or(Mode::Durable);
    refuse_idle_keys(table, mode);
    let tolerance = table.take("tolerance", tolerance).unwrap_or(Tolerance::Default(TOLERANCE));
    let duplicates = table.take("duplicates", |item| item.duration_or("off")).unwrap_or(Some(DAY));
    check_window(table, tolerance, duplicates);
    // The verifier comes last, so that the other keys are read whether it is there or not.
    Some(Webhook {
        secrets: table.take("secrets", |item| roles(item, secrets)).unwrap_or_default(),
        options: table.take("options", options).unwrap_or_default(),
        mode,
        max_body: max_body(table, limits),
        tolerance,
        duplicates,
        deliver_path: table.take("deliver_path", deliver_path),
        order_by: table.take("order_by", order_by),
        answer: table.take("answer", |item| item.section(answer)?),
        refuse_status: table.take("refuse_status", |item| status(item, 400..=499)).unwrap_or(StatusCode::UNAUTHORIZED),
        retry: Arc::new(table.within("retry", retry)),
        verifier: verifier?,
    })
}

/// What would be in force nowhere.
fn refuse_idle_keys(table: &Section<'_>, mode: Mode) {
    for key in ["order_by", "retry"] {
        if let Some(item) = table.item(key).filter(|_| mode == Mode::Sync) {
            let message =
                format!("`{}` has no effect: with mode = \"sync\" the sender waits and tries again", item.path);
            table.reading.report(item.problem(message).help("remove it, or write mode = \"durable\""));
        }
    }
}

/// `"plugin"`, `{ header = "x-account" }` or `{ pointer = "/account" }`
fn order_by(item: &Item<'_>) -> Option<OrderBy> {
    const EXPECTED: &str = "\"plugin\", { header = \"x-account\" } or { pointer = \"/account\" }";
    match item.value() {
        DeValue::String(text) if text.as_ref() == "plugin" => Some(OrderBy::Plugin),
        DeValue::Table(_) => item.section(|table| {
            let header = table.take("header", |item| {
                let name = item.text()?.parse::<HeaderName>();
                name.ok().or_else(|| item.wrong("the name of a header field"))
            });
            let pointer = table.take("pointer", pointer);
            match (table.item("header").is_some(), table.item("pointer").is_some()) {
                (true, false) => header.map(OrderBy::Header),
                (false, true) => pointer.map(OrderBy::Pointer),
                (true, true) | (false, false) => item.wrong(EXPECTED),
            }
        })?,
        _ => item.wrong(EXPECTED),
    }
}

/// A JSON Pointer (RFC 6901) to something inside the document.
fn pointer(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    let good = text.starts_with('/') && escaped;
    if good { Some(text.to_owned()) } else { item.wrong("a JSON Pointer such as \"/data/account\"") }
}

/// A copy must still be known when its timestamp is the oldest that is taken and the clocks differ the most.
fn check_window(table: &Section<'_>, tolerance: Tolerance, duplicates: Option<Duration>) {
    let (Tolerance::Default(tolerance) | Tolerance::Required(tolerance)) = tolerance else { return };
    let Some(window) = duplicates.filter(|window| *window < tolerance * 2) else { return };
    if let Some(item) = table.item("duplicates").or_else(|| table.item("tolerance")) {
        let (window, tolerance) = (show_duration(window), show_duration(tolerance));
        let message = format!("duplicates are known for {window}, less than twice the tolerance of {tolerance}");
        table.reading.report(item.problem(message).help("a longer `duplicates` or a shorter `tolerance`"));
    }
}

fn roles(item: &Item<'_>, secrets: &BTreeSet<&str>) -> Option<BTreeMap<String, SecretName>> {
    let role = |entry: Entry<'_>| {
        let secret = entry.item.reference("secret", secrets, SecretName::new);
        if !is_name(entry.key) {
            let problem = entry.item.reading.source().problem(entry.key_at, format!("`{}` is not a role", entry.key));
            entry.item.reading.report(problem.help("roles are lower-case words such as `signing`"));
            return None;
        }
        Some((entry.key.to_owned(), secret?))
    };
    Some(all(item.entries()?.into_iter().map(role).collect())?.into_iter().collect())
}

fn options(item: &Item<'_>) -> Option<Map<String, Value>> {
    let entries = item.entries()?.into_iter().map(|entry| Some((entry.key.to_owned(), json(&entry.item)?)));
    Some(all(entries.collect())?.into_iter().collect())
}

/// As a plugin reads it: datetimes are strings, whole numbers lie within 2^53.
fn json(item: &Item<'_>) -> Option<Value> {
    Some(match item.value() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(_) => Value::from(item.integer::<i64>(-EXACT_MAX..=EXACT_MAX)?),
        DeValue::Float(_) => Value::from(item.fraction(f64::MIN..=f64::MAX)?),
        DeValue::Boolean(boolean) => Value::from(*boolean),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(_) => Value::from(item.each(json)?),
        DeValue::Table(_) => Value::from(options(item)?),
    })
}

/// A body larger than all bodies together may be could never be taken in.
fn max_body(table: &Section<'_>, limits: &Limits) -> ByteSize {
    let size = table.take("max_body", Item::size).unwrap_or(MAX_BODY);
    if size > limits.intake_bytes {
        let message = format!("bodies of up to {size} do not fit into `limits.intake_bytes` ({})", limits.intake_bytes);
        let problem = table.item("max_body").map_or_else(|| table.problem(&message), |item| item.problem(&message));
        table.reading.report(problem.help("a smaller `max_body` or a larger `limits.intake_bytes`"));
    }
    size
}

fn tolerance(item: &Item<'_>) -> Option<Tolerance> {
    Some(item.duration_or("off")?.map_or(Tolerance::Off, Tolerance::Required))
}

fn deliver_path(item: &Item<'_>) -> Option<String> {
    let expected = "a path such as \"/stripe/events\"";
    let text = item.text_as(expected)?;
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let normal = match normalise(path) {
        Ok(normal) => query.map_or(normal.to_string(), |query| format!("{normal}?{query}")),
        Err(error) => return item.wrong_with(expected, Some(error.to_string())),
    };
    if normal != text {
        return item.wrong_with("a path in normal form", Some(format!("did you mean {normal:?}?")));
    }
    let query_is_clean = query.is_none_or(|query| query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
    if query_is_clean { Some(normal) } else { item.wrong("a query without spaces, `#` and characters outside ASCII") }
}

fn answer(table: &Section<'_>) -> Option<FixedAnswer> {
    let status = table.take("status", |item| status(item, 200..=299)).unwrap_or(StatusCode::ACCEPTED);
    let content_type = table.take("content_type", |item| {
        let expected = "a content type such as \"text/plain\"";
        HeaderValue::from_str(item.text_as(expected)?).ok().or_else(|| item.wrong(expected))
    });
    let body = table.take("body", |item| {
        let text = item.text()?;
        if text.len() <= ANSWER_MAX { Some(text.to_owned()) } else { item.wrong("at most 64KiB") }
    });
    if let Some(item) = table.item("body").filter(|_| matches!(status.as_u16(), 204 | 205)) {
        table.reading.report(item.problem(format!("an answer with status {} has no body", status.as_u16())));
    }
    if let Some(item) = table.item("content_type").filter(|_| table.item("body").is_none()) {
        table.reading.report_absent(item.problem("a content type without a body").help("add body, or remove it"));
    }
    Some(FixedAnswer { status, content_type, body })
}

fn status(item: &Item<'_>, range: std::ops::RangeInclusive<i64>) -> Option<StatusCode> {
    item.integer::<u16>(range).and_then(|status| StatusCode::from_u16(status).ok())
}

fn retry(table: &Section<'_>) -> Retry {
    Retry {
        schedule: table.take("schedule", schedule).unwrap_or_else(default_schedule),
        jitter: table.take("jitter", |item| item.fraction(0.0..=1.0)).unwrap_or(0.2),
        timeout: table.take("timeout", Item::duration).unwrap_or(Duration::from_secs(15)),
        retry_after_max: table.take("retry_after_max", Item::duration).unwrap_or(DAY),
        rejected_tries: table.take("rejected_tries", |item| item.integer(1..=1000)).unwrap_or(3),
    }
}

fn schedule(item: &Item<'_>) -> Option<Vec<Duration>> {
    let schedule = item.each(Item::delay)?;
    if schedule.len() <= SCHEDULE_MAX { Some(schedule) } else { item.wrong("at most 100 delays") }
}

fn default_schedule() -> Vec<Duration> {
    let minute = 60;
    let hour = 60 * minute;
    [5, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour]
        .map(Duration::from_secs)
        .to_vec()
}
