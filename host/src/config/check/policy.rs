//! What a route adds: `rewrite`, `rate`, `cors` and `limits` of `[route.NAME]`.

use http::{HeaderName, HeaderValue};

use super::{pattern, route};
use crate::base::host::normalise_host;
use crate::base::sizes::ByteSize;
use crate::config::plan::{Cors, Match, Origins, PathPattern, Policy, Rate, RateBy, Rewrite, Segment, WebsocketPolicy};
use crate::config::raw::{Item, Section};

const PREFIX: &str = "the beginning of a path, such as \"/v1\"";
const ORIGIN: &str = "an origin such as \"https://app.example.com\"";
const FIELD: &str = "the name of a header";
/// A pace of one request in a quarter of an hour; slower ones are mistakes.
const PER_SECOND_MIN: f64 = 0.001;
const PER_SECOND_MAX: f64 = 1_000_000.0;
/// Schemes whose ports browsers leave out of an origin.
const PORTS: [(&str, &str); 2] = [("http", ":80"), ("https", ":443")];

/// `matcher` is the route's, where that could be read.
pub(super) fn read(table: &Section<'_>, matcher: Option<&Match>) -> Policy {
    let webhook = table.item("webhook");
    if let Some(webhook) = &webhook {
        check_on_webhook(table, webhook);
    }
    let (max_body, websocket) =
        table.within("limits", |limits| (max_body(limits, webhook.is_some()), websocket(limits, webhook.is_some())));
    Policy {
        rewrite: table.take("rewrite", |item| item.section(|own| rewrite(own, matcher))?),
        rate: table.take("rate", |item| item.section(rate)?),
        cors: table.take("cors", |item| item.section(|own| cors(own, matcher))?),
        max_body,
        websocket,
    }
}

/// Refuses what a webhook route has no use for.
fn check_on_webhook(table: &Section<'_>, webhook: &Item<'_>) {
    if let Some(item) = table.item("cors") {
        let problem = item.problem(format!("`{}` has no use on a webhook route", item.path));
        table.reading.report(problem.help("webhooks do not come from web pages: remove it"));
    }
    if let Some(item) = table.item("rewrite").filter(|_| webhook.value().get("deliver_path").is_some()) {
        let (path, webhook) = (&item.path, &webhook.path);
        let problem = item.problem(format!("`{path}` and `{webhook}.deliver_path` both set the path of deliveries"));
        table.reading.report(problem.help("keep one of them"));
    }
}

fn max_body(limits: &Section<'_>, on_webhook: bool) -> Option<ByteSize> {
    let item = limits.item("max_body")?;
    if on_webhook {
        let problem = item.problem(format!("`{}` is not of a webhook route", item.path));
        limits.reading.report(problem.help("write max_body in the route's webhook table"));
    }
    item.size_or_off()?
}

fn websocket(limits: &Section<'_>, on_webhook: bool) -> WebsocketPolicy {
    for item in ["websockets", "message_bytes", "ping"].into_iter().filter_map(|key| limits.item(key)) {
        if on_webhook {
            let problem = item.problem(format!("`{}` has no use on a webhook route", item.path));
            limits.reading.report(problem.help("webhooks are not WebSockets: remove it"));
        }
    }
    WebsocketPolicy {
        sockets: limits.take("websockets", Item::count),
        message_bytes: limits.take("message_bytes", Item::size_or_off).flatten(),
        ping: limits.take("ping", |item| item.duration_or("off")).flatten(),
    }
}

fn rewrite(table: &Section<'_>, matcher: Option<&Match>) -> Option<Rewrite> {
    let strip = table.item("strip").map(|item| strip(&item, matcher));
    let add = table.item("add").map(|item| add(&item));
    if strip.is_none() && add.is_none() {
        let problem = table.problem(format!("`{}` changes nothing", table.path));
        table.reading.report_absent(problem.help("write strip, add or both"));
        return None;
    }
    Some(Rewrite { strip: strip.unwrap_or(Some(Vec::new()))?, add: add.unwrap_or(Some(String::new()))? })
}

/// Segments, placeholders among them.
fn strip(item: &Item<'_>, matcher: Option<&Match>) -> Option<Vec<Segment>> {
    let pattern = pattern::path(item)?;
    if pattern.rest {
        return item.wrong_with(PREFIX, Some("what follows it stays anyway: leave {*…} out".to_owned()));
    }
    if pattern.segments.last() == Some(&Segment::Literal(String::new())) {
        let whole = pattern.to_string();
        let whole = whole.trim_end_matches('/');
        let help = if whole.is_empty() { "leave it out".to_owned() } else { format!("did you mean {whole:?}?") };
        return item.wrong_with(PREFIX, Some(help));
    }
    if let Some(matcher) = matcher.filter(|matcher| !may_begin_with(&matcher.path, &pattern.segments)) {
        let message = format!("`{}` can never match: the route's path is {}", item.path, matcher.path);
        item.reading.report(item.problem(message).help("it is the beginning of the route's path"));
        return None;
    }
    Some(pattern.segments)
}

/// Whether a path of this pattern can begin with `prefix`.
fn may_begin_with(path: &PathPattern, prefix: &[Segment]) -> bool {
    let fits = |pair: (&Segment, &Segment)| match pair {
        (Segment::Literal(a), Segment::Literal(b)) => a == b,
        (Segment::Literal(text), Segment::Any(_)) | (Segment::Any(_), Segment::Literal(text)) => !text.is_empty(),
        (Segment::Any(_), Segment::Any(_)) => true,
    };
    (path.rest || path.segments.len() >= prefix.len()) && path.segments.iter().zip(prefix).all(fits)
}

fn add(item: &Item<'_>) -> Option<String> {
    let text = pattern::normal(item, PREFIX)?;
    if text.contains(['{', '}']) {
        return item.wrong_with(PREFIX, Some("it is taken as it is written, without placeholders".to_owned()));
    }
    Some(text.to_owned())
}

fn rate(table: &Section<'_>) -> Option<Rate> {
    let per_second = table.need("per_second", "per_second = 10", |item| item.fraction(PER_SECOND_MIN..=PER_SECOND_MAX));
    let burst = table.take("burst", |item| item.integer(1..=1_000_000));
    let by = table.take("by", |item| item.word(&[("client", RateBy::Client), ("route", RateBy::Route)]));
    let per_second = per_second?;
    // Within the range of a u32, as the pace itself is.
    let default = per_second.ceil() as u32;
    Some(Rate { per_second, burst: burst.unwrap_or(default), by: by.unwrap_or(RateBy::Client) })
}

fn cors(table: &Section<'_>, matcher: Option<&Match>) -> Option<Cors> {
    let origins = table.need("origins", "origins = [\"https://app.example.com\"]", origins);
    let credentials = table.take("credentials", Item::boolean).unwrap_or(false);
    if let Some(item) = table.item("origins").filter(|_| credentials && origins == Some(Origins::Any)) {
        let message = format!("`{}` allows everybody, and so cannot allow credentials", item.path);
        table.reading.report(item.problem(message).help("name the origins, or remove credentials"));
    }
    let methods = table.take("methods", route::methods);
    let headers = table.take("headers", |item| fields(item, Some("leave it out to allow what browsers ask for")));
    let wild = credentials.then_some("with credentials every header is named");
    let expose = table.take("expose", |item| fields(item, wild));
    let max_age = table.take("max_age", Item::delay);
    let methods = methods.or_else(|| matcher.map(|matcher| matcher.methods.clone())).unwrap_or_default();
    Some(Cors { origins: origins?, credentials, methods, headers, expose, max_age })
}

/// One origin or several.
fn origins(item: &Item<'_>) -> Option<Origins> {
    if item.as_text() == Some("*") {
        return Some(Origins::Any);
    }
    let origins = match item.as_text() {
        Some(_) => vec![origin(item)?],
        None => item.each(|item| if item.as_text() == Some("*") { Some(String::new()) } else { origin(item) })?,
    };
    match route::distinct(item, origins)?.as_slice() {
        [any] if any.is_empty() => Some(Origins::Any),
        origins if origins.iter().any(String::is_empty) => {
            item.wrong_with("\"*\" or origins", Some("\"*\" is every origin already".to_owned()))
        }
        origins => origins.iter().map(HeaderValue::try_from).collect::<Result<_, _>>().ok().map(Origins::These),
    }
}

/// As browsers write it (RFC 6454, section 6.2): nobody would ever send another form.
fn origin(item: &Item<'_>) -> Option<String> {
    let text = item.text_as(ORIGIN)?;
    if text == "null" {
        let help = "every sandboxed page is \"null\", anybody's: it cannot be allowed";
        return item.wrong_with(ORIGIN, Some(help.to_owned()));
    }
    if text.contains('*') {
        return item.wrong_with(ORIGIN, Some("origins are compared as a whole, without wildcards".to_owned()));
    }
    let Some(canonical) = canonical(text) else {
        return item.wrong_with(ORIGIN, Some("scheme://host, and a port that is not the scheme's".to_owned()));
    };
    if canonical == text {
        Some(canonical)
    } else {
        item.wrong_with(ORIGIN, Some(format!("did you mean {canonical:?}?")))
    }
}

fn canonical(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = normalise_host(authority).filter(|_| is_scheme)?;
    let after_host = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    let port = after_host.split_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let port = port.map_or(String::new(), |port| format!(":{port}"));
    let port = if PORTS.contains(&(scheme.as_str(), port.as_str())) { "" } else { port.as_str() };
    Some(format!("{scheme}://{host}{port}"))
}

/// A list of names as a field carries it. `wild` says why `*` is none of them, where it is not.
fn fields(item: &Item<'_>, wild: Option<&str>) -> Option<HeaderValue> {
    let field = |item: &Item<'_>| {
        let text = item.text_as(FIELD)?;
        if let Some(wild) = wild.filter(|_| text == "*") {
            return item.wrong_with(FIELD, Some(wild.to_owned()));
        }
        HeaderName::from_bytes(text.as_bytes()).ok().or_else(|| item.wrong(FIELD))
    };
    let names = item.each(field)?;
    if names.is_empty() {
        return item.wrong_with("at least one", Some("leave the key out instead".to_owned()));
    }
    let list = names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(list).ok()
}
