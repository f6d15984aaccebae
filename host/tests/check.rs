//! `tollgate check` and `tollgate explain` as they are typed.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

const LISTENER: &str = "[listener.public]\naddress = \"127.0.0.1:0\"\n[product.app]\nbuiltin = \"echo\"\n";
const HOOKS: &str =
    "[route.hooks]\npath = \"/hooks\"\nproduct = \"app\"\n[route.hooks.webhook]\nverifier = \"strpe\"\n";
/// Of something else than the files here.
const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// A folder with a configuration of `text` and a plugins folder with these files, none of which is a plugin.
fn folder(text: &str, plugins: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tollgate.toml"), text).expect("writes");
    std::fs::create_dir(folder.path().join("plugins")).expect("makes a folder");
    for plugin in plugins {
        std::fs::write(folder.path().join(format!("plugins/{plugin}.wasm")), "not wasm").expect("writes");
    }
    folder
}

fn tollgate(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.current_dir(folder).env("TOLLGATE_CACHE_DIR", folder.join("cache")).env_remove("NOT_THERE");
    command.args(arguments).output().expect("runs")
}

/// The problems, each as `line: message`, and the help of each.
fn problems(folder: &Path, arguments: &[&str]) -> Vec<(String, Value)> {
    let checked = tollgate(folder, &[&["check", "--json"], arguments].concat());
    assert_eq!(checked.status.code(), Some(2), "{checked:?}");
    let checked: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    let problems = checked["problems"].as_array().expect("a list").iter();
    problems
        .map(|it| (format!("{}: {}", it["line"], it["message"].as_str().expect("text")), it["help"].clone()))
        .collect()
}

#[test]
fn a_good_file_is_fine() {
    let folder = folder(LISTENER, &[]);
    let checked = tollgate(folder.path(), &["check"]);
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(String::from_utf8_lossy(&checked.stdout), "tollgate.toml is fine: 0 routes (0 webhook), 1 products\n");
}

#[test]
fn problems_of_secrets_and_of_plugins_are_found_at_once() {
    let text = format!("{LISTENER}{HOOKS}[secret.s]\nenv = \"NOT_THERE\"\n");
    let folder = folder(&text, &["stripe"]);
    let found = problems(folder.path(), &[]);
    assert_eq!(found.len(), 3, "{found:#?}");
    let about = |what: &str| found.iter().find(|(message, _)| message.contains(what)).expect(what);
    assert_eq!(about("strpe").0, "9: plugin strpe: there is no file strpe.wasm in the plugins directory");
    assert_eq!(about("strpe").1, "did you mean `stripe`?");
    assert!(about("NOT_THERE").0.starts_with("11: "), "{found:#?}");
    assert!(about("it does not compile").1.as_str().expect("help").contains("no route uses it"), "{found:#?}");
    assert_eq!(problems(folder.path(), &["--no-secrets"]).len(), 2);
}

#[test]
fn a_file_off_its_pin_is_a_problem_of_the_pin() {
    let text = format!("{LISTENER}{}[plugin.strpe]\nsha256 = \"{DIGEST}\"\n", HOOKS);
    let found = problems(folder(&text, &["strpe"]).path(), &[]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].0.starts_with("11: plugin strpe: its sha256 is "), "{found:#?}");
    assert!(found[0].0.ends_with(&format!("but the configuration pins {DIGEST}")), "{found:#?}");
}

#[test]
fn a_broken_plugin_is_a_problem_of_the_route_that_uses_it() {
    let found = problems(folder(&format!("{LISTENER}{HOOKS}"), &["strpe"]).path(), &[]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].0.starts_with("9: plugin strpe: it does not compile"), "{found:#?}");
    assert_eq!(found[0].1, Value::Null);
}

#[test]
fn people_get_an_excerpt_and_a_count_on_standard_error() {
    let folder = folder(&format!("{LISTENER}{HOOKS}"), &[]);
    let checked = tollgate(folder.path(), &["check"]);
    assert_eq!((checked.status.code(), checked.stdout.as_slice()), (Some(2), &b""[..]));
    let text = String::from_utf8_lossy(&checked.stderr);
    assert!(text.contains("9 | verifier = \"strpe\"") && text.ends_with("\n1 problem\n"), "{text}");
}

#[test]
fn explain_tells_by_its_exit_code_whether_a_request_is_served() {
    let folder = folder(&format!("{LISTENER}{HOOKS}"), &[]);
    for (method, url, code) in [
        ("POST", "http://example.com/hooks?x=1", 0),
        ("GET", "http://example.com/hooks", 1),
        ("POST", "http://example.com/elsewhere", 1),
        ("POST", "nowhere", 2),
        ("POST", "/%zz", 2),
    ] {
        let explained = tollgate(folder.path(), &["explain", method, url]);
        assert_eq!(explained.status.code(), Some(code), "{method} {url}: {explained:?}");
    }
}
