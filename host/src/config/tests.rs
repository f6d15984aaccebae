//! The front door: whole files in, a plan or every problem out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;

use super::plan::{
    Backend, Balance, Breaker, Cors, Delivery, FixedAnswer, HeaderPredicate, HostPattern, HostPolicy, Limits,
    LogFormat, Origins, PathPattern, Policy, Rate, RateBy, Rewrite, Segment, StoreUrl, Timeouts, Tolerance,
    UpstreamScheme, UpstreamTls, UpstreamUrl,
};
use super::*;
use crate::base::sizes::ByteSize;

const REFERENCE: &str = include_str!("../../../tests/fixtures/config/reference.toml");
const SERVED: &str = include_str!("../../../tests/fixtures/config/served.toml");
const SEVEN_MISTAKES: &str = include_str!("../../../tests/fixtures/config/seven-mistakes.toml");
const PAGE: &str = include_str!("../../../docs/configuration.md");

fn plan(text: &str) -> Plan {
    parse(text, Path::new("/etc/tollgate/tollgate.toml")).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> Vec<String> {
    let problems = parse(text, Path::new("tollgate.toml")).err();
    problems.iter().flatten().map(ToString::to_string).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn default_timeouts() -> Timeouts {
    Timeouts {
        handshake: Some(seconds(5)),
        header: Some(seconds(10)),
        body: Some(seconds(30)),
        keepalive: Some(seconds(75)),
        connect: Some(seconds(2)),
        response: Some(seconds(30)),
        idle: Some(seconds(300)),
        total: None,
        drain: Some(seconds(30)),
        drain_delay: Some(Duration::ZERO),
    }
}

const MINIMAL: &str = "[listener.public]\naddress = \"0.0.0.0:8080\"\n\
    [product.app]\nupstreams = [\"http://127.0.0.1:9001\"]\n\
    [route.hook]\npath = \"/hook\"\nproduct = \"app\"\n[route.hook.webhook]\nverifier = \"stripe\"\n";

#[test]
fn the_reference_configuration_loads() {
    let plan = plan(SERVED);
    assert_eq!(plan.file, Path::new("/etc/tollgate/tollgate.toml"));
    let listeners: Vec<_> = plan.listeners.iter().map(|(name, l)| (name.as_str(), l.address.to_string())).collect();
    assert_eq!(listeners, [("public", "0.0.0.0:8080".to_owned()), ("secure", "0.0.0.0:8443".to_owned())]);
    assert_eq!(plan.admin.token.as_ref().map(|name| name.as_str()), Some("admin"));
    assert_eq!(plan.admin.read_token.as_ref().map(|name| name.as_str()), Some("viewer"));
    assert_eq!(plan.admin.hosts, ["gateway.internal"]);

    let canary = &plan.plugins.overrides["canary"];
    assert_eq!((canary.limits.reuse, canary.limits.deadline), (1000, Duration::from_millis(100)));
    assert!(canary.sha256.is_some());
    assert_eq!(plan.secrets.len(), 5);
    assert_eq!(plan.secrets["github"].values.len(), 2);

    let billing = &plan.products["billing"];
    let upstream = |port| UpstreamUrl { scheme: UpstreamScheme::Http, host: "127.0.0.1".to_owned(), port };
    assert_eq!(billing.backend, Backend::Upstreams(vec![upstream(9001), upstream(9002)]));
    assert_eq!((billing.balance, &billing.host), (Balance::P2c, &HostPolicy::Client));
    assert_eq!((billing.connections, billing.websockets), (Some(512), Some(1000)));
    assert_eq!(billing.allow, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(billing.delivery, Delivery { concurrency: 32, rate: Some(100) });
    assert_eq!(billing.timeouts, Timeouts { response: Some(seconds(10)), ..default_timeouts() });
    assert_eq!(plan.products["inbox"].backend, Backend::Echo);

    let api = &plan.routes["api"];
    assert_eq!(api.matcher.listeners.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["secure"]);
    let api_host = "api.example.com".to_owned();
    assert_eq!(api.matcher.hosts, [HostPattern::Exact(api_host.clone()), HostPattern::Wildcard(api_host)]);
    assert_eq!(api.matcher.path, PathPattern { segments: vec![Segment::Literal("v1".to_owned())], rest: true });
    assert_eq!(api.matcher.methods, [Method::GET, Method::POST]);
    assert_eq!(
        api.matcher.headers,
        [
            (HeaderName::from_static("x-beta"), HeaderPredicate::Present(true)),
            (HeaderName::from_static("x-tenant"), HeaderPredicate::Equals(HeaderValue::from_static("acme"))),
        ]
    );
    assert_eq!(api.product.as_str(), "billing");
    assert_eq!(api.timeouts.response, Some(seconds(10)), "the product's");
    assert!(api.webhook.is_none());
    let policy = &api.policy;
    let v1 = vec![Segment::Literal("v1".to_owned())];
    assert_eq!(policy.rewrite, Some(Rewrite { strip: v1, add: "/".to_owned() }));
    assert_eq!(policy.rate, Some(Rate { per_second: 50.0, burst: 100, by: RateBy::Client }));
    let origins = Origins::These(vec![HeaderValue::from_static("https://app.example.com")]);
    let methods = vec![Method::GET, Method::POST];
    let cors = Cors { origins, credentials: true, methods, headers: None, expose: None, max_age: None };
    assert_eq!(policy.cors, Some(cors));

    let live = &plan.routes["live"].policy.websocket;
    assert_eq!((live.sockets, live.message_bytes, live.ping), (Some(200), Some(ByteSize(1 << 20)), Some(seconds(30))));

    let stripe = plan.routes["stripe"].webhook.as_ref().unwrap();
    assert_eq!(stripe.tolerance, Tolerance::Required(seconds(300)), "written by the route");
    assert_eq!(stripe.deliver_path.as_deref(), Some("/stripe/events"));
    assert_eq!(stripe.answer, Some(FixedAnswer { status: StatusCode::ACCEPTED, content_type: None, body: None }));
    assert_eq!(stripe.secrets["signing"].as_str(), "stripe");
}

#[test]
fn what_is_not_written_has_the_documented_default() {
    let plan = plan(MINIMAL);
    assert_eq!(plan.admin.address.to_string(), "127.0.0.1:9090");
    assert!(plan.admin.token.is_none() && !plan.admin.metrics_need_token && plan.admin.hosts.is_empty());
    let limits = Limits {
        connections: 10_000,
        websockets: 5000,
        header_bytes: ByteSize(32 << 10),
        headers: 100,
        h2_streams: 256,
        buffer_bytes: ByteSize(64 << 10),
        intake_bytes: ByteSize(1 << 30),
    };
    assert_eq!(plan.limits, limits);
    assert_eq!(plan.timeouts, default_timeouts());
    assert_eq!((plan.log.format, plan.log.level.as_str()), (LogFormat::Auto, "info"));
    assert_eq!(plan.trusted, ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(plan.store.url, StoreUrl::Sqlite(PathBuf::from("/etc/tollgate/tollgate.db")));
    assert_eq!((plan.store.retain_delivered, plan.store.retain_dead), (Some(seconds(7 * 86_400)), None));
    assert_eq!(plan.store.max_bytes, None);
    assert_eq!(plan.plugins.directory, Path::new("/etc/tollgate/plugins"));
    let plugin = &plan.plugins.defaults;
    assert_eq!((plugin.memory, plugin.deadline, plugin.reuse), (ByteSize(32 << 20), Duration::from_millis(100), 1));

    let app = &plan.products["app"];
    assert_eq!((app.balance, &app.host, app.connections), (Balance::P2c, &HostPolicy::Client, None));
    assert_eq!(app.delivery, Delivery { concurrency: 32, rate: None });
    assert_eq!((&app.health, app.retries, &app.tls), (&None, 0.2, &UpstreamTls::default()));
    assert_eq!(app.breaker, Some(Breaker { failures: 5, pause: seconds(30) }));
    let route = &plan.routes["hook"];
    assert!(route.matcher.hosts.is_empty() && route.matcher.methods.is_empty() && route.matcher.listeners.is_empty());
    assert_eq!(route.policy, Policy::default());
    let webhook = route.webhook.as_ref().unwrap();
    assert_eq!(webhook.max_body, ByteSize(25 << 20));
    assert_eq!(webhook.tolerance, Tolerance::Default(seconds(300)));
    assert_eq!(webhook.duplicates, Some(seconds(86_400)));
    assert_eq!((&webhook.deliver_path, &webhook.answer), (&None, &None));
    assert_eq!(webhook.refuse_status, StatusCode::UNAUTHORIZED);
    let retry = &webhook.retry;
    assert_eq!(retry.schedule, [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400].map(seconds));
    assert_eq!((retry.jitter, retry.timeout, retry.rejected_tries), (0.2, seconds(15), 3));
    assert_eq!(retry.retry_after_max, seconds(86_400));
}

#[test]
fn writing_the_defaults_down_changes_nothing() {
    let (written, silent) = (plan(SERVED), plan(MINIMAL));
    assert_eq!(written.limits, silent.limits);
    assert_eq!(written.timeouts, silent.timeouts);
    assert_eq!(written.log, silent.log);
    assert_eq!(written.trusted, silent.trusted);
    assert_eq!(written.store, silent.store);
    assert_eq!(written.plugins.defaults, silent.plugins.defaults);
    let webhook = |plan: &Plan, route: &str| plan.routes[route].webhook.clone().unwrap();
    let (written, silent) = (webhook(&written, "stripe"), webhook(&silent, "hook"));
    assert_eq!(written.retry, silent.retry);
    assert_eq!((written.max_body, written.duplicates), (silent.max_body, silent.duplicates));
    assert_eq!(written.refuse_status, silent.refuse_status);
}

#[test]
fn what_is_not_served_yet_is_refused_and_nothing_else() {
    let mut refused = Vec::new();
    for problem in problems(REFERENCE) {
        let (_, message) = problem.split_once(": ").unwrap();
        let message = message.strip_suffix(" (remove it)").unwrap_or(message);
        refused.push(message.strip_suffix(" is not served by this version yet").expect(message).to_owned());
    }
    refused.sort();
    assert_eq!(refused, ["`trace`"]);
}

#[test]
fn seven_mistakes_are_named_at_once_each_with_its_place() {
    let found = problems(SEVEN_MISTAKES);
    let found: Vec<_> = found.iter().map(String::as_str).collect();
    assert_eq!(
        found,
        [
            "tollgate.toml:4:11: `listener.public.address` expects an address with a port, such as \"0.0.0.0:8080\" or \
             \"[::]:8080\", found \"0.0.0.0:80800\"",
            "tollgate.toml:7:16: `limits.header_bytes` expects a size such as \"64KiB\" (B, KiB, MiB, GiB, KB, MB, GB), \
             found 32768",
            "tollgate.toml:8:1: unknown key `limits.conections` (did you mean `connections`?)",
            "tollgate.toml:14:14: `product.billing.upstreams[0]` expects an upstream such as \"http://127.0.0.1:9001\", \
             found \"http://127.0.0.1:9001/api\" (an upstream has no path: \"http://127.0.0.1:9001\")",
            "tollgate.toml:17:8: `route.github.path` is not in normal form (requests are compared in normal form: write \
             \"/github\")",
            "tollgate.toml:18:11: unknown product `biling` (did you mean `billing`?)",
            "tollgate.toml:23:14: duplicates are known for 1d, less than twice the tolerance of 1d (a longer \
             `duplicates` or a shorter `tolerance`)",
        ]
    );
}

#[test]
fn several_syntax_errors_show_and_what_is_beside_them_is_looked_at() {
    assert_eq!(
        problems("[listener.public]\naddress = 0.0.0.0:8080\n[log]\nformat = json\nlevel = \"inof\"\n"),
        [
            "tollgate.toml:2:14: invalid float (strings are written in quotes)",
            "tollgate.toml:4:10: string values must be quoted",
            "tollgate.toml:5:9: `log.level` expects \"error\", \"warn\", \"info\", \"debug\", \"trace\", \"off\" or filter \
             directives, found \"inof\" (did you mean \"info\"?)",
        ]
    );
}

#[test]
fn keys_lost_to_broken_syntax_are_not_called_missing() {
    assert_eq!(problems("listener\n"), ["tollgate.toml:1:9: key with no value, expected `=`"]);
}

#[test]
fn a_key_written_twice_hides_no_other_problem() {
    assert_eq!(
        problems("[log]\nformat = \"json\"\nformat = \"auto\"\n"),
        [
            "tollgate.toml:1:1: no listener is configured (add [listener.public] with address = \"0.0.0.0:8080\")",
            "tollgate.toml:3:1: duplicate key",
        ]
    );
}

#[test]
fn a_file_of_something_else_is_given_up_on() {
    let lines = "x = 1\n".repeat(20_000);
    let found = problems(&lines);
    assert_eq!(found.len(), 1001);
    assert_eq!(found[0], "tollgate.toml: more than 1000 problems, the others are not shown");
}

#[test]
fn two_routes_for_the_same_requests_are_both_named_with_their_places() {
    let second = "[route.other]\npath = \"/hook\"\nmethod = \"POST\"\nproduct = \"app\"\n";
    assert_eq!(
        problems(&format!("{MINIMAL}{second}")),
        ["tollgate.toml:10:1: `route.other` serves the same requests as `route.hook` (line 5, column 1) (make one of \
          them more specific: host, path, method, header or listeners)"]
    );
}

#[test]
fn nothing_in_a_problem_commands_a_terminal() {
    let problems = parse("\"\\u001b[2J\" = 1\n[log]\nlevel = \u{1b}[2J\n", Path::new("f")).expect_err("wrong");
    assert!(!problems.render(false).contains('\u{1b}'), "{problems:?}");
}

#[test]
fn a_file_that_is_not_there_is_one_problem() {
    let problems = load(Path::new("/nowhere/tollgate.toml")).expect_err("not there").to_string();
    assert!(problems.starts_with("/nowhere/tollgate.toml: cannot be read: No such file"), "{problems}");
    assert!(problems.ends_with("(name the file with -c FILE)"), "{problems}");
}

#[test]
fn relative_paths_begin_in_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tollgate.toml");
    std::fs::write(
        &file,
        format!("{MINIMAL}[store]\nurl = \"sqlite:data/events.db\"\n[plugins]\ndirectory = \"/p\"\n"),
    )
    .unwrap();
    let plan = load(&file).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(plan.store.url, StoreUrl::Sqlite(folder.path().join("data/events.db")));
    assert_eq!(plan.plugins.directory, Path::new("/p"));
}

#[test]
fn what_is_found_later_still_points_into_the_file() {
    let plan = plan(MINIMAL);
    let problem = plan.source.problem_with("route.hook.webhook.verifier", "there is no such plugin");
    assert_eq!(problem.to_string(), "/etc/tollgate/tollgate.toml:9:12: there is no such plugin");
    let problem = plan.source.problem_with("route.hook.webhook.secrets.signing", "the plugin needs it");
    assert_eq!(problem.to_string(), "/etc/tollgate/tollgate.toml:8:1: the plugin needs it");
}

/// The rows of the page's table below the heading that names `table`: the first column of each.
fn documented(table: &str) -> Vec<&'static str> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(&format!("`[{table}]`")));
    let section = section.unwrap_or_else(|| panic!("docs/configuration.md has no section `[{table}]`"));
    section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(key, _)| key).collect()
}

/// Every key of every table: those that are read, and those that will be.
fn known() -> Vec<(String, String)> {
    let (document, _) = DeTable::parse_recoverable(REFERENCE);
    let document = document.into_inner();
    let reading = Reading::new(Source::new(Path::new("x"), REFERENCE, raw::places(&document)), Path::new("/"), &[]);
    Section::root(&reading, &document, |root| check::plan(root, Path::new("/x")));
    let read =
        reading.known().into_iter().flat_map(|(table, keys)| keys.into_iter().map(move |key| (table.clone(), key)));
    let later = check::later::every_key().map(|(table, key)| (table.to_owned(), key));
    read.chain(later).map(|(table, key)| (table, key.to_owned())).collect()
}

#[test]
fn every_key_is_in_the_page_of_the_configuration() {
    let known = known();
    let is_table =
        |shape: &str| known.iter().any(|(table, _)| table == shape || table.starts_with(&format!("{shape}.")));
    for (table, key) in &known {
        let inner = if table.is_empty() { key.clone() } else { format!("{table}.{key}") };
        if is_table(&inner) || is_table(&format!("{inner}.NAME")) {
            continue;
        }
        if table.is_empty() {
            documented(key);
            continue;
        }
        assert!(documented(table).contains(&key.as_str()), "docs/configuration.md lacks `{key}` of [{table}]");
    }
}

#[test]
fn the_page_names_what_is_not_served_yet() {
    let section = PAGE.split("\n## ").find(|section| section.starts_with("Not served yet")).unwrap();
    for (table, key) in check::later::every_key() {
        let name = if table.is_empty() { format!("[{key}]") } else { format!("{table}.{key}") };
        assert!(section.contains(&format!("`{name}`")), "docs/configuration.md does not list {name}");
    }
}

/// The reference with pieces cut out, doubled, swapped and spoilt.
fn spoilt() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(""),
        Just("\""),
        Just("["),
        Just("]]"),
        Just("{"),
        Just("= "),
        Just("\n"),
        Just("'''"),
        Just("-1"),
        Just("99999999999999999999"),
        Just("\u{0}"),
        Just("ü"),
        Just("\"%2e%2e/\""),
        Just("[route.api]\n"),
        Just("{}"),
    ];
    let edit = (any::<prop::sample::Index>(), 0usize..40, piece);
    prop::collection::vec(edit, 1..12).prop_map(|edits| {
        let mut text = REFERENCE.to_owned();
        for (at, length, piece) in edits {
            let boundary =
                |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let start = boundary(at.index(text.len() + 1));
            let end = boundary(start + length);
            text.replace_range(start..end.max(start), piece);
        }
        text
    })
}

/// Every problem of `text` has a place, and the place is in it.
fn check_places(text: &str) -> Result<(), TestCaseError> {
    let Err(problems) = parse(text, Path::new("tollgate.toml")) else { return Ok(()) };
    prop_assert!(!problems.is_empty());
    prop_assert!(!problems.render(true).is_empty());
    for problem in &problems {
        let place = problem.place.as_ref();
        let place = place.ok_or_else(|| TestCaseError::fail(format!("{problem} has no place")))?;
        let line = text.split('\n').nth(place.line - 1);
        let line = line.ok_or_else(|| TestCaseError::fail(format!("{problem} is below the file")))?;
        prop_assert!((1..=line.chars().count() + 1).contains(&place.column), "{} in {:?}", problem, line);
        prop_assert!(place.width >= 1);
    }
    Ok(())
}

/// Something like a value: patterns, paths, origins, numbers and what is nearly one.
fn some_value() -> impl Strategy<Value = String> {
    prop_oneof![
        "\"[/a{}*%.:2fF~-]{0,16}\"",
        "\"(https?|[a-z]{0,3})(://)?[a-z*.:/0-9\\[\\]]{0,14}\"",
        "\"[0-9]{0,22}(ms|s|m|h|d|KiB|B|GB|)\"",
        "-?[0-9]{1,20}(\\.[0-9]{1,3})?",
        "(true|false|nan|inf|\\[\\]|\\{\\}|\\[\"\\*\", \"/\"\\])",
        any::<String>().prop_map(|text| format!("{text:?}")),
    ]
}

/// A route and a product whose every key has some value.
fn some_route() -> impl Strategy<Value = String> {
    const KEYS: [&str; 24] = [
        "path",
        "host",
        "method",
        "listeners",
        "header",
        "product",
        "rewrite",
        "rewrite.strip",
        "rewrite.add",
        "rate",
        "rate.per_second",
        "rate.burst",
        "rate.by",
        "cors.origins",
        "cors.credentials",
        "cors.methods",
        "cors.headers",
        "cors.expose",
        "cors.max_age",
        "limits.max_body",
        "timeouts.connect",
        "webhook.tolerance",
        "webhook.verifier",
        "webhook.deliver_path",
    ];
    let key = prop::sample::select(KEYS.to_vec());
    prop::collection::btree_map(key, some_value(), 1..8).prop_map(|keys| {
        let lines = keys.into_iter().map(|(key, value)| format!("{key} = {value}\n")).collect::<String>();
        format!("[listener.public]\naddress = \"0.0.0.0:1\"\n[product.app]\nbuiltin = \"echo\"\n[route.r]\n{lines}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_problem_of_a_spoilt_file_has_its_place(text in spoilt()) {
        check_places(&text)?;
    }

    #[test]
    fn every_problem_of_any_text_has_its_place(text in any::<String>()) {
        check_places(&text)?;
    }

    #[test]
    fn every_problem_of_any_route_has_its_place(text in some_route()) {
        check_places(&text)?;
    }
}
