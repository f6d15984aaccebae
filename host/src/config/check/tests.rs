//! Each check, by what it says of a file with one mistake.

use std::path::Path;

use crate::config::parse;

const LISTENER: &str = "[listener.public]\naddress = \"127.0.0.1:8080\"\n";
const PRODUCT: &str = "[product.app]\nbuiltin = \"echo\"\n";

/// The problems of `text`, each as `line:column: message (help)`.
fn found(text: &str) -> Vec<String> {
    let problems = parse(text, Path::new("f")).err();
    let lines = problems.iter().flatten().map(|problem| problem.to_string());
    lines.map(|line| line.trim_start_matches("f:").to_owned()).collect()
}

/// What is wrong with `table`, the first in an otherwise good file.
fn of(table: &str) -> Vec<String> {
    found(&format!("{table}\n{LISTENER}"))
}

/// What is wrong with one route whose table begins with `keys`.
fn of_route(keys: &str) -> Vec<String> {
    found(&format!("[route.r]\n{keys}\nproduct = \"app\"\n{PRODUCT}{LISTENER}"))
}

/// What is wrong with a webhook table of these `keys`.
fn of_webhook(keys: &str) -> Vec<String> {
    let route = "[route.w]\npath = \"/w\"\nproduct = \"app\"\n";
    found(&format!("[route.w.webhook]\nverifier = \"v\"\n{keys}\n{route}{PRODUCT}{LISTENER}"))
}

fn one(found: Vec<String>, problem: &str) {
    assert_eq!(found, [problem]);
}

/// The one problem begins with `start` and ends with `end`; between them lies what the value's reader always says.
fn one_about(found: Vec<String>, start: &str, end: &str) {
    assert!(found.len() == 1 && found[0].starts_with(start) && found[0].ends_with(end), "{found:#?}");
}

#[test]
fn good_files_have_no_problem() {
    let none: [String; 0] = [];
    assert_eq!(of(""), none);
    assert_eq!(of_route("path = \"/\""), none);
    assert_eq!(
        of_webhook("tolerance = \"off\"\nduplicates = \"1s\"\noptions = { a = [1, 2.5, { b = 2026-01-01 }] }"),
        none
    );
}

#[test]
fn values_of_another_type_say_what_was_expected_and_found() {
    one(of("[limits]\nconnections = \"many\""), "2:15: `limits.connections` expects a whole number, found \"many\"");
    one(of("[limits]\nheaders = 0"), "2:11: `limits.headers` expects a whole number from 1 to 10000, found 0");
    one(
        of("[limits]\nheaders = 99999999999999999999"),
        "2:11: `limits.headers` expects a whole number from 1 to 10000, found 99999999999999999999",
    );
    one(
        of("[limits]\nbuffer_bytes = \"1KiB\""),
        "2:16: `limits.buffer_bytes` expects a size from 8KiB to 1GiB, found \"1KiB\"",
    );
    one(of("log = 1"), "1:7: `log` expects a table, found 1");
    one(of("[log]\nformat = []"), "2:10: `log.format` expects \"auto\" or \"pretty\" or \"json\", found an array");
    one(
        of("[log]\nformat = \"jsno\""),
        "2:10: `log.format` expects \"auto\" or \"pretty\" or \"json\", found \"jsno\" (did you mean \"json\"?)",
    );
    one(
        of("[timeouts]\nidle = \"5 min\""),
        "2:8: `timeouts.idle` expects a duration such as \"30s\" (ms, s, m, h, d), found \"5 min\"",
    );
    one(of("[timeouts]\nidle = \"0s\""), "2:8: `timeouts.idle` expects a duration above zero, found \"0s\"");
    one(
        of("[timeouts]\nidle = \"4000d\""),
        "2:8: `timeouts.idle` expects a duration such as \"30s\" (ms, s, m, h, d), found \"4000d\"",
    );
    one(
        of("[trust]\nproxies = [\"10.0.0.1/8\"]"),
        "2:12: `trust.proxies[0]` expects an address range such as \"10.0.0.0/8\", found \"10.0.0.1/8\" (did you mean \"10.0.0.0/8\"?)",
    );
    one(
        of("[plugin.x]\nsha256 = \"abc\""),
        "2:10: `plugin.x.sha256` expects a SHA-256 digest of 64 hex digits, found \"abc\"",
    );
    one(
        of("[plugins]\ndeadline = \"2m\""),
        "2:12: `plugins.deadline` expects a duration of at most \"60s\", found \"2m\"",
    );
}

#[test]
fn unknown_keys_and_tables_are_refused() {
    one(of("[listner.x]"), "1:2: unknown key `listner` (did you mean `listener`?)");
    one(of("[route_s]"), "1:2: unknown key `route_s` (did you mean `route`?)");
    one(
        of("[store]\nretain = { delivred = \"7d\" }"),
        "2:12: unknown key `store.retain.delivred` (did you mean `delivered`?)",
    );
    one(of("[admin]\nxyzzy = 1"), "2:1: unknown key `admin.xyzzy`");
    one(
        of("[product.app]\nbuiltin = \"echo\"\n[product.app.timeouts]\ndrain = \"1s\""),
        "4:1: unknown key `product.app.timeouts.drain` (it holds for the whole gateway: write it in [timeouts])",
    );
}

#[test]
fn names_have_one_form() {
    one(of("[product.My_App]\nbuiltin = \"echo\""), "1:10: `My_App` is not a name (did you mean `my_app`?)");
    one(
        of("[product.\"é\"]\nbuiltin = \"echo\""),
        "1:10: `é` is not a name (a name begins with a-z or 0-9 and goes on with a-z, 0-9, `_` and `-`, 63 characters at most)",
    );
    one_about(
        of_webhook("secrets = { Signing = \"x\" }\n[secret.x]\nenv = \"X\""),
        "3:13: `Signing` is not a role",
        "such as `signing`)",
    );
}

#[test]
fn references_lead_somewhere() {
    one(of_route("path = \"/\"\nlisteners = [\"pubic\"]"), "3:14: unknown listener `pubic` (did you mean `public`?)");
    one(of_webhook("secrets = { signing = \"none\" }"), "3:23: unknown secret `none` (there is no [secret.none])");
    one(of("[admin]\nread_token = \"viewer\""), "2:14: unknown secret `viewer` (there is no [secret.viewer])");
    one(
        found(&format!("[route.r]\npath = \"/\"\nproduct = \"ap\"\n{PRODUCT}{LISTENER}")),
        "3:11: unknown product `ap` (did you mean `app`?)",
    );
}

#[test]
fn a_wrong_table_is_one_problem_and_not_one_for_each_reference() {
    let text = format!("[product.b]\nbuiltin = \"ehco\"\n[route.b]\npath = \"/b\"\nproduct = \"b\"\n{LISTENER}");
    one(found(&text), "2:11: `product.b.builtin` expects \"echo\", found \"ehco\" (did you mean \"echo\"?)");
}

#[test]
fn missing_keys_point_at_their_table() {
    one(of("[listener.a]"), "1:1: `listener.a.address` is missing (for example address = \"0.0.0.0:8080\")");
    one(of_route(""), "1:1: `route.r.path` is missing (path = \"/{*rest}\" serves every path)");
    one(
        of("[secret.s]"),
        "1:1: `secret.s` has no value (write env = \"VARIABLE\" or file = \"PATH\", or values = [{ env = \"NEW\" }, { env = \"OLD\" }])",
    );
    one_about(of("[product.p]"), "1:1: `product.p` has no upstreams", "to try things out)");
}

#[test]
fn a_gateway_listens_somewhere() {
    one(found("[log]"), "1:1: no listener is configured (add [listener.public] with address = \"0.0.0.0:8080\")");
}

#[test]
fn no_two_listeners_share_an_address() {
    let twice =
        |a: &str, b: &str| found(&format!("[listener.a]\naddress = \"{a}\"\n[listener.b]\naddress = \"{b}\"\n"));
    for (a, b) in
        [("1.2.3.4:80", "1.2.3.4:80"), ("0.0.0.0:80", "1.2.3.4:80"), ("[::]:80", "0.0.0.0:80"), ("[::1]:80", "[::]:80")]
    {
        one(
            twice(a, b),
            &format!("4:11: `listener.b` and `listener.a` both listen on {b} (give one of them another address)"),
        );
    }
    for (a, b) in [
        ("1.2.3.4:80", "1.2.3.5:80"),
        ("1.2.3.4:80", "1.2.3.4:81"),
        ("1.2.3.4:0", "1.2.3.4:0"),
        ("[::1]:80", "0.0.0.0:80"),
    ] {
        assert_eq!(twice(a, b), [""; 0], "{a} {b}");
    }
    one_about(
        found("[listener.a]\naddress = \"0.0.0.0:9090\"\n"),
        "2:11: `listener.a` and `admin` both listen on",
        "address)",
    );
}

#[test]
fn addresses_have_a_host_and_a_port() {
    one_about(
        of("[listener.a]\naddress = \":8080\""),
        "2:11: `listener.a.address`",
        "(every address is written \"0.0.0.0:8080\" or \"[::]:8080\")",
    );
    one_about(of("[listener.a]\naddress = \"::1\""), "2:11: `listener.a.address`", "(did you mean \"[::1]:8080\"?)");
}

#[test]
fn an_admin_off_loopback_needs_a_token() {
    one(
        of("[admin]\naddress = \"0.0.0.0:9090\""),
        "2:11: `admin.token` is required because 0.0.0.0:9090 is not a loopback address (add token = \"NAME\" and a [secret.NAME], or listen on 127.0.0.1)",
    );
    one(
        of("[admin]\nmetrics = \"token\""),
        "2:11: `admin.metrics` asks for a token, but there is none (add token or read_token, or write metrics = \"open\")",
    );
    one(of("[admin]\nhosts = [\"a:80\"]"), "2:10: `admin.hosts[0]` expects a host name without a port, found \"a:80\"");
}

#[test]
fn secrets_come_from_one_place_and_are_not_repeated_by_messages() {
    one(of("[secret.s]\nenv = \"A\"\nfile = \"b\""), "3:8: `secret.s` has both env and file (keep one of them)");
    one(
        of("[secret.s]\nenv = \"A\"\nvalues = [{ env = \"B\" }]"),
        "3:10: `secret.s` has values beside env or file (put every value into values)",
    );
    one(of("[secret.s]\nvalues = []"), "2:10: `secret.s.values` expects at least one value, found an array");
    one(
        of("[secret.s]\nvalues = [{ until = 2026-01-01T00:00:00Z }]"),
        "2:11: `secret.s.values[0]` has neither env nor file",
    );
    one(
        of("[secret.s]\nvalues = [{ env = \"A\", until = 2026-01-01 }]"),
        "2:32: `secret.s.values[0].until` expects a time with an offset, such as 2026-12-31T00:00:00Z, found 2026-01-01",
    );
    for text in ["value = \"hunter2\"", "values = [\"hunter2\"]", "env = \"hunter2!\""] {
        let problems = parse(&format!("[secret.s]\n{text}\n"), Path::new("f")).expect_err("wrong");
        assert!(!problems.render(false).contains("hunter2"), "{}", problems.render(false));
        assert!(!serde_json::to_string(&problems).expect("is JSON").contains("hunter2"), "{problems}");
    }
}

#[test]
fn the_store_is_a_file_or_a_database() {
    one_about(
        of("[store]\nurl = \"mysql://x\""),
        "2:7: `store.url` expects \"sqlite:PATH\" or \"postgres://…\", found",
        "\"mysql://x\"",
    );
    one_about(of("[store]\nurl = \"sqlite://a.db\""), "2:7: `store.url`", "(did you mean \"sqlite:a.db\"?)");
    one_about(of("[store]\nurl = \"sqlite:a.db?mode=ro\""), "2:7: `store.url`", "(a plain path; it takes no options)");
}

#[test]
fn a_database_is_a_url_without_a_password() {
    let of_url = |url: &str| of(&format!("[store]\nurl = \"{url}\""));
    for good in [
        "postgres://u@db.example/t",
        "postgresql://u@db.example:6432/t?sslmode=verify-full&connect_timeout=3",
        "postgres://u@a,b:1,[::1]:2/t?application_name=gateway%201",
        "postgres://u@/t?host=/run/postgresql&port=5433",
        "postgres://u@%2Frun%2Fpostgresql/t",
        "postgres://u@10.0.0.1/t?sslmode=require",
        "postgres://u@10.0.0.1/t?sslmode=disable",
        "postgres://u@db/t?sslrootcert=ca.pem&sslcert=c.pem&sslkey=c.key",
    ] {
        assert_eq!(of_url(good), [""; 0], "{good}");
    }
    for (bad, help) in [
        ("postgres://u:hunter2@db/t", "has a password in it (write password = \"NAME\" and a [secret.NAME]"),
        ("postgres://u@db/t?password=hunter2", "has a password in it"),
        ("postgres://db/t", "lacks a user or a database"),
        ("postgres://u@db", "lacks a user or a database"),
        ("postgres://u@/t", "lacks a host"),
        ("postgres://u@a b/t", "lacks a host"),
        ("postgres://u@db:0/t", "has a port that is none"),
        ("postgres://u@db:x/t", "has a port that is none"),
        ("postgres://u@db/t?sslmode=prefer", "has an sslmode that falls back to plain text"),
        ("postgres://u@db/t?sslmode=verify-ca", "has an sslmode that is none"),
        ("postgres://u@db/t?sslmod=disable", "(did you mean `sslmode`?)"),
        ("postgres://u@db/t?sslcert=c.pem", "has one of sslcert and sslkey"),
        ("postgres://u@db/t?sslmode=require&sslrootcert=ca.pem", "that nothing is checked against"),
        ("postgres://u@db/t?connect_timeout=0", "has a connect_timeout"),
        ("postgres://%zz@db/t", "has a percent sign without two hex digits"),
    ] {
        let problems = of_url(bad);
        assert!(problems.len() == 1 && problems[0].starts_with("2:7: `store.url`"), "{bad}: {problems:?}");
        assert!(problems[0].contains(help), "{bad}: {problems:?}");
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
    }
}

#[test]
fn a_database_takes_a_password_and_connections_and_a_file_takes_bytes() {
    let postgres = "[store]\nurl = \"postgres://u@db/t\"\n";
    let secret = "[secret.s]\nenv = \"S\"\n";
    assert_eq!(of(&format!("{postgres}password = \"s\"\nconnections = 8\n{secret}")), [""; 0]);
    one_about(of(&format!("{postgres}connections = 2")), "3:15: `store.connections`", "from 3 to 1000, found 2");
    one_about(
        of(&format!("{postgres}max_bytes = \"1GiB\"")),
        "3:13: `store.max_bytes` bounds",
        "a tablespace of that size)",
    );
    one_about(of("[store]\nconnections = 8"), "2:15: `store.connections` needs a store.url", "(remove it)");
    one_about(
        of(&format!("[store]\npassword = \"s\"\n{secret}")),
        "2:12: `store.password` needs a store.url",
        "(remove it)",
    );
}

#[test]
fn events_are_ordered_by_one_thing() {
    let of_order = |order: &str, more: &str| {
        of(&format!(
            "[product.p]\nbuiltin = \"echo\"\n[route.r]\npath = \"/r\"\nproduct = \"p\"\n[route.r.webhook]\n\
             verifier = \"v\"\norder_by = {order}\n{more}"
        ))
    };
    for good in ["\"plugin\"", "{ header = \"X-Account\" }", "{ pointer = \"/a/~1b~0\" }"] {
        assert_eq!(of_order(good, ""), [""; 0], "{good}");
    }
    for bad in ["\"received\"", "{}", "{ header = \"x\", pointer = \"/x\" }", "1"] {
        one_about(of_order(bad, ""), "8:12: `route.r.webhook.order_by` expects \"plugin\", {", "");
    }
    one_about(
        of_order("{ header = \"a b\" }", ""),
        "8:23: `route.r.webhook.order_by.header` expects the name",
        "\"a b\"",
    );
    for bad in ["account", "", "/a~2"] {
        let found = of_order(&format!("{{ pointer = \"{bad}\" }}"), "");
        one_about(found, "8:24: `route.r.webhook.order_by.pointer` expects a JSON Pointer", "");
    }
    one_about(of_order("\"plugin\"", "mode = \"sync\"\n"), "8:12: `route.r.webhook.order_by` has no effect", "");
}

#[test]
fn upstreams_are_scheme_host_and_port() {
    let of_upstream = |url: &str| of(&format!("[product.p]\nupstreams = [\"{url}\"]"));
    for good in
        ["http://a", "http://a:1", "http://[::1]:9", "HTTP://A.example.", "http://10.0.0.1", "h2c://a", "https://a"]
    {
        assert_eq!(of_upstream(good), [""; 0], "{good}");
    }
    for (bad, help) in [
        ("a:80", "(it begins with http://, https:// or h2c://)"),
        ("ftp://a", "(`ftp` is none of http, https and h2c)"),
        ("http://a/", "(an upstream has no path: \"http://a\")"),
        ("http://a?b", "(an upstream has no path: \"http://a\")"),
        ("http://u@a", "(scheme://host[:port], nothing else)"),
        ("http://a:0", "(scheme://host[:port], nothing else)"),
        ("http://a:", "(scheme://host[:port], nothing else)"),
        ("http://", "(scheme://host[:port], nothing else)"),
        ("http://*.a", "(scheme://host[:port], nothing else)"),
    ] {
        one_about(of_upstream(bad), "2:14: `product.p.upstreams[0]` expects an upstream", help);
    }
    one(of("[product.p]\nupstreams = []"), "2:13: `product.p.upstreams` expects at least one upstream, found an array");
    one(
        of("[product.p]\nupstreams = [\"http://a\", \"http://A:80\"]"),
        "2:26: `product.p.upstreams[1]` repeats an upstream (remove it)",
    );
    one(
        of("[product.p]\nupstreams = [\"http://a\"]\nbuiltin = \"echo\""),
        "3:11: `product.p` has both upstreams and builtin (keep one of them)",
    );
    one(
        of("[product.p]\nbuiltin = \"echo\"\nhost = \"a b\""),
        "3:8: `product.p.host` expects \"client\", \"upstream\" or a host, found \"a b\"",
    );
}

#[test]
fn a_products_health_tls_retries_and_breaker_are_checked() {
    let product = |keys: &str| of(&format!("[product.p]\n{keys}\nupstreams = [\"https://a\"]"));
    for good in [
        "health = { path = \"/up?x=1\", every = \"1s\", timeout = \"500ms\" }",
        "tls = { ca = \"ca.pem\", server_name = \"a.test\" }",
        "tls = { certificate = \"c.pem\", key = \"k.pem\", server_name = \"::1\" }",
        "retries = { budget = 0 }",
        "breaker = { failures = 1, pause = \"1m\" }",
        "breaker = { failures = \"off\" }",
    ] {
        assert_eq!(product(good), [""; 0], "{good}");
    }
    one(
        product("health = { every = \"1s\" }"),
        "2:10: `product.p.health.path` is missing (write health = { path = \"/healthz\" })",
    );
    one(
        product("health = { path = \"healthz\" }"),
        "2:19: `product.p.health.path` expects a path such as \"/healthz\", found \"healthz\"",
    );
    one(
        product("tls = { server_name = \"a b\" }"),
        "2:23: `product.p.tls.server_name` expects a host name such as \"ledger.internal\", or an address, found \"a b\"",
    );
    one(product("retries = { budget = 2 }"), "2:22: `product.p.retries.budget` expects a number from 0 to 1, found 2");
    one_about(product("breaker = { failures = 0 }"), "2:24: `product.p.breaker.failures` expects", "found 0");
    one(
        of("[product.p]\nupstreams = [\"http://a\"]\ntls = { ca = \"ca.pem\" }"),
        "3:7: `product.p.tls` has no effect: no upstream of the product is https (write https:// upstreams, or remove it)",
    );
    one(
        of("[product.a-b]\nupstreams = [\"https://a\"]\n[product.a_b]\nupstreams = [\"https://a\"]"),
        "3:1: `product.a-b` and `product.a_b` share the variables A_B_TLS_… (rename one of them)",
    );
}

#[test]
fn path_patterns_are_in_normal_form() {
    for good in ["/", "/a/{b}/c", "/{*rest}", "/a//b/", "/{b}/", "/%C3%BC"] {
        assert_eq!(of_route(&format!("path = \"{good}\"")), [""; 0], "{good}");
    }
    for (bad, normal) in [("/a/../b", "/b"), ("/%61", "/a"), ("/%c3%bc", "/%C3%BC"), ("/a/.", "/a/")] {
        one(
            of_route(&format!("path = \"{bad}\"")),
            &format!(
                "2:8: `route.r.path` is not in normal form (requests are compared in normal form: write {normal:?})"
            ),
        );
    }
    for (bad, help) in [
        ("a", "(a path begins with /)"),
        ("/a?b", "(? is not allowed in a path unless escaped as %3F)"),
        ("/ü", "(the byte 0xC3 is not allowed in a path unless escaped)"),
        ("/..", "(its .. segments lead above the root)"),
        ("/{*rest}/a", "(`{*rest}` can only be last)"),
        ("/a{b}", "({name} and {*rest} stand for whole segments, `a{b}` is neither)"),
        ("/*", "({name} and {*rest} stand for whole segments, `*` is neither)"),
        ("/{}", "(`{}` needs a name of letters, digits, `_` and `-`)"),
        ("/{*}", "(`{*}` needs a name of letters, digits, `_` and `-`)"),
        ("/{a}/{a}", "(`a` stands in it twice)"),
    ] {
        one_about(of_route(&format!("path = \"{bad}\"")), "2:8: `route.r.path` expects a path pattern", help);
    }
}

#[test]
fn hosts_of_routes_are_names_without_ports() {
    let of_host = |host: &str| of_route(&format!("path = \"/\"\nhost = [\"{host}\"]"));
    for good in ["a.example", "*.a.example", "A.Example.", "[::1]", "10.0.0.1"] {
        assert_eq!(of_host(good), [""; 0], "{good}");
    }
    for (bad, help) in [
        ("a.example:80", "(ports are ignored in matching: write \"a.example\")"),
        ("a.*.example", "(a wildcard is the whole first label: *.)"),
        ("bücher.example", "(write names outside ASCII as A-labels (xn--…))"),
        ("*.10.0.0.1", "found \"*.10.0.0.1\""),
        ("*.", "found \"*.\""),
    ] {
        one_about(of_host(bad), "3:9: `route.r.host[0]` expects a host", help);
    }
    one(
        of_route("path = \"/\"\nhost = []"),
        "3:8: `route.r.host` expects at least one, found an array (leave the key out for all of them)",
    );
    one(of_route("path = \"/\"\nhost = [\"a\", \"A\"]"), "3:8: `route.r.host` names one twice");
}

#[test]
fn methods_are_upper_case_and_spelt_right() {
    for (bad, help) in [
        ("get", "(did you mean \"GET\"?)"),
        ("PSOT", "(did you mean \"POST\"?)"),
        ("CONNECT", "a WebSocket is a GET)"),
        ("A B", "found \"A B\""),
    ] {
        one_about(
            of_route(&format!("path = \"/\"\nmethod = \"{bad}\"")),
            "3:10: `route.r.method` expects a method",
            help,
        );
    }
    assert_eq!(of_route("path = \"/\"\nmethod = [\"GET\", \"PROPFIND\"]"), [""; 0]);
}

#[test]
fn header_predicates_are_about_fields_that_can_exist() {
    one(of_route("path = \"/\"\nheader = { \"a b\" = \"c\" }"), "3:12: \"a b\" is not the name of a header");
    one(
        of_route("path = \"/\"\nheader = { Host = \"c\" }"),
        "3:12: hosts are matched by the route's own key (write host = […])",
    );
    one(
        of_route("path = \"/\"\nheader = { a = \" c\" }"),
        "3:16: `route.r.header.a` expects a value that a header can have, found \" c\"",
    );
    one(
        of_route("path = \"/\"\nheader = { a = 1 }"),
        "3:16: `route.r.header.a` expects a value, { present = true } or { present = false }, found 1",
    );
    one(
        of_route("path = \"/\"\nheader = { a = { present = 1 } }"),
        "3:28: `route.r.header.a.present` expects true or false, found 1",
    );
    one(
        of_route("path = \"/\"\nheader = { a = \"1\", A = \"2\" }"),
        "3:10: `route.r.header` names a header twice (case does not matter)",
    );
}

#[test]
fn duplicates_are_known_for_twice_the_tolerance() {
    one(
        of_webhook("duplicates = \"9m\""),
        "3:14: duplicates are known for 9m, less than twice the tolerance of 5m (a longer `duplicates` or a shorter `tolerance`)",
    );
    one(
        of_webhook("tolerance = \"13h\""),
        "3:13: duplicates are known for 1d, less than twice the tolerance of 13h (a longer `duplicates` or a shorter `tolerance`)",
    );
    for good in ["duplicates = \"10m\"", "duplicates = \"off\"", "duplicates = \"1s\"\ntolerance = \"off\""] {
        assert_eq!(of_webhook(good), [""; 0], "{good}");
    }
}

#[test]
fn webhook_keys_are_checked() {
    one(
        of_webhook("max_body = \"2GiB\""),
        "3:12: bodies of up to 2GiB do not fit into `limits.intake_bytes` (1GiB) (a smaller `max_body` or a larger `limits.intake_bytes`)",
    );
    assert_eq!(of_webhook("mode = \"sync\""), [""; 0]);
    one(
        of_webhook("refuse_status = 500"),
        "3:17: `route.w.webhook.refuse_status` expects a whole number from 400 to 499, found 500",
    );
    one(
        of_webhook("answer = { status = 302 }"),
        "3:21: `route.w.webhook.answer.status` expects a whole number from 200 to 299, found 302",
    );
    one(of_webhook("answer = { status = 204, body = \"x\" }"), "3:33: an answer with status 204 has no body");
    one(
        of_webhook("answer = { content_type = \"text/plain\" }"),
        "3:27: a content type without a body (add body, or remove it)",
    );
    one_about(
        of_webhook("deliver_path = \"/a/../b?c\""),
        "3:16: `route.w.webhook.deliver_path` expects a path in normal form",
        "(did you mean \"/b?c\"?)",
    );
    one_about(
        of_webhook("deliver_path = \"/a?b c\""),
        "3:16: `route.w.webhook.deliver_path` expects a query",
        "found \"/a?b c\"",
    );
    one_about(
        of_webhook("options = { a = [9007199254740993] }"),
        "3:18: `route.w.webhook.options.a[0]` expects a whole number from -9007",
        "found 9007199254740993",
    );
    one_about(of_webhook("options = { a = nan }"), "3:17: `route.w.webhook.options.a` expects a number", "found nan");
    one(
        of_webhook("[route.w.webhook.retry]\njitter = 2"),
        "4:10: `route.w.webhook.retry.jitter` expects a number from 0 to 1, found 2",
    );
    one(
        of_webhook("[route.w.webhook.retry]\nschedule = [\"5s\", 5]"),
        "4:19: `route.w.webhook.retry.schedule[1]` expects a duration such as \"30s\" (ms, s, m, h, d), found 5",
    );
}

/// What is wrong with two routes of these keys.
fn of_two_routes(a: &str, b: &str) -> Vec<String> {
    let listeners = "[listener.secure]\naddress = \"127.0.0.1:8443\"\n";
    found(&format!(
        "[route.a]\nproduct = \"app\"\n{a}\n[route.b]\nproduct = \"app\"\n{b}\n{PRODUCT}{LISTENER}{listeners}"
    ))
}

#[test]
fn two_routes_for_the_same_requests_are_named_with_both_places() {
    for (a, b) in [
        ("path = \"/x/{id}\"", "path = \"/x/{name}\""),
        ("path = \"/x/{*rest}\"", "path = \"/x/{*all}\""),
        ("path = \"/x\"; listeners = [\"public\"]", "path = \"/x\""),
        ("path = \"/x\"; host = [\"a\", \"b\"]", "path = \"/x\"; host = [\"b\", \"c\"]"),
        ("path = \"/x\"; method = [\"GET\", \"POST\"]", "path = \"/x\"; method = [\"POST\", \"PUT\"]"),
        ("path = \"/x\"; method = [\"GET\"]", "path = \"/x\"; method = [\"HEAD\"]"),
        ("path = \"/x\"; header = { A = \"1\" }", "path = \"/x\"; header = { a = \"1\" }"),
        ("path = \"/x\"; webhook = { verifier = \"v\" }", "path = \"/x\"; webhook = { verifier = \"v\" }"),
        ("path = \"/x\"; webhook = { verifier = \"v\" }", "path = \"/x\"; method = [\"POST\"]"),
        ("path = \"/x\"; header = { a = \"1\" }", "path = \"/x\"; header = { b = \"1\" }"),
        ("path = \"/x\"; header = { a = \"1\" }", "path = \"/x\"; header = { a = { present = true } }"),
        ("path = \"/x\"; header = { a = \"1\" }", "path = \"/x\"; method = \"GET\""),
    ] {
        let (a, b) = (a.replace("; ", "\n"), b.replace("; ", "\n"));
        let line = 4 + a.matches('\n').count();
        one(
            of_two_routes(&a, &b),
            &format!(
                "{line}:1: `route.b` serves the same requests as `route.a` (line 1, column 1) (make one of them more specific: host, path, method, header or listeners)"
            ),
        );
    }
}

#[test]
fn routes_that_differ_where_it_matters_stand_side_by_side() {
    for (a, b) in [
        ("path = \"/x/{id}\"", "path = \"/x/y\""),
        ("path = \"/x/{id}\"", "path = \"/x/{*id}\""),
        ("path = \"/x\"", "path = \"/x/\""),
        ("path = \"/x\"; listeners = [\"public\"]", "path = \"/x\"; listeners = [\"secure\"]"),
        ("path = \"/x\"; host = \"a\"", "path = \"/x\"; host = \"*.a\""),
        ("path = \"/x\"; host = \"a\"", "path = \"/x\""),
        ("path = \"/x\"; method = \"GET\"", "path = \"/x\"; method = \"POST\""),
        ("path = \"/x\"; method = \"GET\"", "path = \"/x\""),
        ("path = \"/x\"; header = { a = \"1\" }", "path = \"/x\"; header = { a = \"2\" }"),
        ("path = \"/x\"; header = { a = \"1\" }", "path = \"/x\""),
        ("path = \"/x\"; header = { a = \"1\" }", "path = \"/x\"; header = { a = { present = false } }"),
        ("path = \"/x\"; header = { a = \"1\" }", "path = \"/x\"; header = { a = \"1\", b = \"1\" }"),
        ("path = \"/x\"; header = { a = \"1\" }", "path = \"/x\"; header = { b = \"1\" }; method = \"GET\""),
        ("path = \"/x\"; webhook = { verifier = \"v\" }", "path = \"/x\"; method = \"GET\""),
    ] {
        assert_eq!(of_two_routes(&a.replace("; ", "\n"), &b.replace("; ", "\n")), [""; 0], "{a} {b}");
    }
}

#[test]
fn a_rewrite_fits_its_route() {
    let none: [String; 0] = [];
    for good in [
        "rewrite = { strip = \"/v1\" }",
        "rewrite = { add = \"/\" }",
        "rewrite = { strip = \"/v1/{any}\", add = \"/x/\" }",
    ] {
        assert_eq!(of_route(&format!("path = \"/v1/{{*rest}}\"\n{good}")), none, "{good}");
    }
    let of_rewrite = |rewrite: &str| of_route(&format!("path = \"/v1/users\"\nrewrite = {{ {rewrite} }}"));
    one(
        of_rewrite("strip = \"/v2\""),
        "3:21: `route.r.rewrite.strip` can never match: the route's path is /v1/users (it is the beginning of the route's \
         path)",
    );
    one(
        of_rewrite("strip = \"/v1/users/7\""),
        "3:21: `route.r.rewrite.strip` can never match: the route's path is /v1/users (it is the beginning of the route's \
         path)",
    );
    one_about(of_rewrite("strip = \"/v1/\""), "3:21: `route.r.rewrite.strip` expects", "(did you mean \"/v1\"?)");
    one_about(of_rewrite("strip = \"/\""), "3:21: `route.r.rewrite.strip` expects", "(leave it out)");
    one_about(of_rewrite("strip = \"/{*x}\""), "3:21: `route.r.rewrite.strip` expects", "leave {*…} out)");
    one_about(of_rewrite("add = \"/{x}\""), "3:19: `route.r.rewrite.add` expects", "without placeholders)");
    one_about(of_rewrite("add = \"x\""), "3:19: `route.r.rewrite.add` expects", "(a path begins with /)");
    one(of_rewrite(""), "3:11: `route.r.rewrite` changes nothing (write strip, add or both)");
    one(
        of_webhook("deliver_path = \"/x\"\n[route.w.rewrite]\nadd = \"/y\""),
        "4:1: `route.w.rewrite` and `route.w.webhook.deliver_path` both set the path of deliveries (keep one of them)",
    );
}

#[test]
fn a_rate_is_a_pace() {
    let of_rate = |rate: &str| of_route(&format!("path = \"/\"\nrate = {{ {rate} }}"));
    assert!(of_rate("per_second = 0.5").is_empty());
    one(of_rate("burst = 1"), "3:8: `route.r.rate.per_second` is missing (per_second = 10)");
    one_about(of_rate("per_second = 0"), "3:23: `route.r.rate.per_second` expects a number from 0.001", "found 0");
    one_about(of_rate("per_second = 1, burst = 0"), "3:34: `route.r.rate.burst` expects a whole number", "found 0");
    one_about(
        of_rate("per_second = 1, by = \"ip\""),
        "3:31: `route.r.rate.by` expects \"client\" or \"route\"",
        "found \"ip\"",
    );
}

#[test]
fn cors_names_origins_as_browsers_write_them() {
    let of_cors = |cors: &str| of_route(&format!("path = \"/\"\ncors = {{ {cors} }}"));
    for good in [
        "origins = \"*\"",
        "origins = [\"*\"], expose = [\"*\"]",
        "origins = [\"https://app.example.com\", \"http://localhost:3000\", \"https://[::1]:8443\"], credentials = true",
        "origins = \"capacitor://localhost\", methods = [\"GET\"], headers = [\"X-A\"], max_age = \"1h\"",
    ] {
        assert_eq!(of_cors(good), [""; 0], "{good}");
    }
    one(
        of_cors("credentials = true"),
        "3:8: `route.r.cors.origins` is missing (origins = [\"https://app.example.com\"])",
    );
    one(
        of_cors("origins = \"*\", credentials = true"),
        "3:20: `route.r.cors.origins` allows everybody, and so cannot allow credentials (name the origins, or remove \
         credentials)",
    );
    for (origin, help) in [
        ("https://App.example.com", "did you mean \"https://app.example.com\"?"),
        ("https://app.example.com/", "did you mean \"https://app.example.com\"?"),
        ("https://app.example.com:443", "did you mean \"https://app.example.com\"?"),
        ("app.example.com", "scheme://host, and a port that is not the scheme's"),
        ("https://*.example.com", "origins are compared as a whole, without wildcards"),
        ("null", "every sandboxed page is \"null\", anybody's: it cannot be allowed"),
    ] {
        one_about(
            of_cors(&format!("origins = \"{origin}\"")),
            "3:20: `route.r.cors.origins` expects an origin",
            &format!("({help})"),
        );
    }
    one_about(of_cors("origins = [\"*\", \"https://a\"]"), "3:20: ", "(\"*\" is every origin already)");
    one_about(
        of_cors("origins = \"https://a\", credentials = true, expose = [\"*\"]"),
        "3:63: `route.r.cors.expose[0]`",
        "(with credentials every header is named)",
    );
    one_about(of_cors("origins = \"*\", headers = [\"*\"]"), "3:36: ", "(leave it out to allow what browsers ask for)");
}

#[test]
fn a_webhook_route_has_its_own_limit_and_no_pages() {
    one(
        of_webhook("[route.w.cors]\norigins = \"*\""),
        "3:1: `route.w.cors` has no use on a webhook route (webhooks do not come from web pages: remove it)",
    );
    one(
        of_webhook("[route.w.limits]\nmax_body = \"1MiB\""),
        "4:12: `route.w.limits.max_body` is not of a webhook route (write max_body in the route's webhook table)",
    );
    one(
        of_webhook("[route.w.limits]\nping = \"30s\""),
        "4:8: `route.w.limits.ping` has no use on a webhook route (webhooks are not WebSockets: remove it)",
    );
}

/// What is wrong with one plugin of a route whose table has these `keys`.
fn of_plugin(keys: &str) -> Vec<String> {
    found(&format!(
        "[[route.p.plugin]]\nuse = \"context\"\n{keys}\n[route.p]\npath = \"/p\"\nproduct = \"app\"\n{PRODUCT}{LISTENER}"
    ))
}

#[test]
fn a_plugin_of_a_route_is_checked_as_its_verifier_is() {
    assert_eq!(of_plugin("options = { percent = 5 }\ncandidates = [\"app\"]"), Vec::<String>::new());
    one(of_plugin("candidates = [\"ap\"]"), "3:15: unknown product `ap` (did you mean `app`?)");
    one(
        of_plugin("candidates = []"),
        "3:14: `route.p.plugin[0].candidates` expects at least one, found an array (leave the key out for all of them)",
    );
    one(of_plugin("secrets = { signing = \"none\" }"), "3:23: unknown secret `none` (there is no [secret.none])");
    one(of_plugin("option = {}"), "3:1: unknown key `route.p.plugin[0].option` (did you mean `options`?)");
    let without_use = found(&format!(
        "[[route.p.plugin]]\noptions = {{}}\n[route.p]\npath = \"/p\"\nproduct = \"app\"\n{PRODUCT}{LISTENER}"
    ));
    assert!(without_use.len() == 1 && without_use[0].contains("`route.p.plugin[0].use` is missing"), "{without_use:?}");
}

#[test]
fn a_candidate_has_the_timeouts_of_its_product_unless_the_route_says_otherwise() {
    let text = format!(
        "[route.p]\npath = \"/p\"\nproduct = \"app\"\ntimeouts = {{ idle = \"7s\" }}\n\
         [[route.p.plugin]]\nuse = \"canary\"\ncandidates = [\"app\", \"slow\"]\n\
         [product.slow]\nbuiltin = \"echo\"\ntimeouts = {{ response = \"9s\", idle = \"8s\" }}\n{PRODUCT}{LISTENER}"
    );
    let plan = crate::config::parse(&text, Path::new("/tollgate.toml")).expect("a plan");
    let candidates = &plan.routes["p"].plugins[0].candidates;
    let of = |nth: usize| {
        let timeouts = &candidates[nth].timeouts;
        (timeouts.response.map(|time| time.as_secs()), timeouts.idle.map(|time| time.as_secs()))
    };
    assert_eq!((of(0), of(1)), ((Some(30), Some(7)), (Some(9), Some(7))));
}
