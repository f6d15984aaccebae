//! `tollgate explain`: which route would serve a request, and why the others would not. No traffic, no sockets.

mod told;

use std::collections::BTreeMap;
use std::process::ExitCode;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use super::command::{ConfigFile, EXIT_USAGE};
use super::{check, terminal};
use crate::base::host::normalise_host;
use crate::base::names::{ListenerName, RouteName};
use crate::base::path;
use crate::config::plan::{Match, Plan, Route};
use crate::exchange::cors;
use crate::gateway::routes::{Asked, Entry, Miss, Reason, RouteTable};
use crate::gateway::webhook_methods;

/// `tollgate explain`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// The method
    method: String,
    /// The URL, with its host, or a path
    url: String,
    /// A field of the request
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The listener it comes in on; every one when not given
    #[arg(long)]
    listener: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let plan = match arguments.config.load() {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let methods = extra_methods(&plan, &arguments.method).await;
    match explain(&plan, &arguments, &methods) {
        Ok(explained) => {
            let shown = if arguments.json { format!("{explained:#}\n") } else { told::told(&explained) };
            match terminal::say(shown) {
                Ok(()) if is_served(&explained) => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn is_served(explained: &Value) -> bool {
    explained["answers"].as_array().into_iter().flatten().any(|answer| !answer["route"].is_null())
}

/// What plugins add to the methods of their routes. Asked only when that may decide: loading plugins takes time.
async fn extra_methods(plan: &Plan, method: &str) -> BTreeMap<RouteName, Vec<Method>> {
    let open = |route: &'_ Route| route.webhook.clone().filter(|_| route.matcher.methods.is_empty());
    let open: Vec<_> = plan.routes.iter().filter_map(|(name, route)| Some((name.clone(), open(route)?))).collect();
    if method == "POST" || open.is_empty() {
        return BTreeMap::new();
    }
    match check::plugins(plan).await {
        Ok(plugins) => open.into_iter().map(|(name, hook)| (name, check::bind(&plugins, &hook).methods())).collect(),
        Err(why) => {
            eprintln!("warning: {why}: what methods plugins take is not known");
            BTreeMap::new()
        }
    }
}

fn explain(plan: &Plan, asked: &Arguments, extra: &BTreeMap<RouteName, Vec<Method>>) -> Result<Value, String> {
    let method = Method::from_bytes(asked.method.as_bytes()).map_err(|_| "expected a method, like GET")?;
    let (host, target) = split(&asked.url)?;
    let (path, query) = target.split_once('?').map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
    let path = path::normalise(path).map_err(|error| format!("the path is refused with 400: {error}"))?;
    let headers = headers(&asked.headers)?;
    let listeners: Vec<&ListenerName> =
        plan.listeners.keys().filter(|name| asked.listener.as_deref().is_none_or(|it| it == name.as_str())).collect();
    if listeners.is_empty() {
        let known: Vec<&str> = plan.listeners.keys().map(ListenerName::as_str).collect();
        return Err(format!("there is no such listener; there is {}", known.join(", ")));
    }
    let table = RouteTable::new(plan.routes.iter().map(|(name, route)| entry(name, route, extra)).collect());
    let mut answers: Vec<(Value, Vec<&str>)> = Vec::new();
    for listener in listeners {
        let asked = Asked { listener, host: &host, path: &path, method: &method, headers: &headers, preflight: false };
        let answer = answer(plan, &table, asked);
        match answers.iter_mut().find(|(same, _)| *same == answer) {
            Some((_, on)) => on.push(listener.as_str()),
            None => answers.push((answer, vec![listener.as_str()])),
        }
    }
    let answers = answers.into_iter().map(|(mut answer, on)| {
        answer["listeners"] = json!(on);
        answer
    });
    Ok(json!({
        "request": { "method": method.as_str(), "host": host, "path": path, "query": query },
        "answers": answers.collect::<Vec<_>>(),
    }))
}

/// What becomes of the request on one listener.
fn answer(plan: &Plan, table: &RouteTable<&Route>, asked: Asked<'_>) -> Value {
    let announced = cors::asked_method(asked.method, asked.headers);
    let asked = cors::standing_for(asked, announced.as_ref(), table, |route| route.policy.cors.as_ref());
    let other = |(name, reason): (RouteName, Reason)| {
        let why = why(&reason, table.get(&name).map(|entry| &entry.matcher));
        json!({ "route": name.as_str(), "why": why })
    };
    let others = table.explain(asked).into_iter().filter(|(_, reason)| *reason != Reason::Serves).map(other);
    let others: Vec<Value> = others.collect();
    match table.find(asked) {
        Ok(entry) => {
            let mut answer = told::route(plan, entry, &asked);
            answer["others"] = others.into();
            answer
        }
        Err(Miss::NoRoute) => json!({ "route": null, "answer": "404: no route serves it", "others": others }),
        Err(Miss::Method(allow)) => {
            let answer = format!("405: the path has routes, for {}", told::methods(&allow));
            json!({ "route": null, "answer": answer, "others": others })
        }
    }
}

/// A webhook route that names no method takes POST, and what its plugin adds.
fn entry<'a>(name: &RouteName, route: &'a Route, extra: &BTreeMap<RouteName, Vec<Method>>) -> Entry<&'a Route> {
    let mut matcher = route.matcher.clone();
    if matcher.methods.is_empty() && route.webhook.is_some() {
        matcher.methods = webhook_methods(extra.get(name).map_or(&[], Vec::as_slice));
    }
    Entry { name: name.clone(), matcher, target: route }
}

fn split(url: &str) -> Result<(String, String), String> {
    if url.starts_with('/') {
        return Ok((String::new(), url.to_owned()));
    }
    let (_, rest) = url.split_once("://").ok_or("expected a URL with its scheme, or a path that begins with /")?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let host = normalise_host(&rest[..at]).ok_or_else(|| format!("`{}` is not a host", &rest[..at]))?;
    let target = &rest[at..];
    Ok((host, if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }))
}

fn headers(list: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for header in list {
        let expected = || format!("`{header}`: expected `name: value`");
        let (name, value) = header.split_once(':').ok_or_else(expected)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| expected())?;
        headers.append(name, HeaderValue::from_str(value.trim()).map_err(|_| expected())?);
    }
    Ok(headers)
}

fn why(reason: &Reason, matcher: Option<&Match>) -> String {
    match (reason, matcher) {
        (Reason::Serves, _) => "it serves it".into(),
        (Reason::LessSpecific(other), _) => format!("{other} is more specific"),
        (Reason::Listener, Some(matcher)) => format!("it is on the listener {} only", told::list(&matcher.listeners)),
        (Reason::Host, Some(matcher)) => format!("it is for the host {}", told::list(&matcher.hosts)),
        (Reason::Path, Some(matcher)) => format!("it is for the path {}", matcher.path),
        (Reason::Method, Some(matcher)) => format!("it takes {} only", told::methods(&matcher.methods)),
        (Reason::Header(name), Some(matcher)) => {
            let predicate = matcher.headers.iter().find(|(has, _)| has == name).map(told::predicate);
            format!("it wants {}", predicate.unwrap_or_else(|| name.to_string()))
        }
        (Reason::Listener | Reason::Host | Reason::Path | Reason::Method | Reason::Header(_), None) => {
            "it does not fit".into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn explained(method: &str, url: &str, extra: &[(&str, Method)]) -> Value {
        explained_with("listeners = [\"public\"]", method, url, extra)
    }

    /// With this key in `[route.users]`.
    fn explained_with(key: &str, method: &str, url: &str, extra: &[(&str, Method)]) -> Value {
        explained_by(key, method, url, extra, &[])
    }

    fn explained_by(key: &str, method: &str, url: &str, extra: &[(&str, Method)], headers: &[&str]) -> Value {
        let text = r#"
            [listener.internal]
            address = "127.0.0.1:0"
            [listener.public]
            address = "127.0.0.1:0"
            [product.inbox]
            builtin = "echo"
            [product.billing]
            upstreams = ["http://127.0.0.1:9001"]
            [route.api]
            path = "/v1/{*rest}"
            product = "inbox"
            [route.hooks]
            path = "/hooks"
            product = "billing"
            [route.hooks.webhook]
            verifier = "stripe"
            [route.users]
            host = ["api.example.com"]
            path = "/v1/users/{id}"
            method = ["GET"]
            product = "inbox"
        "#;
        let plan = crate::config::parse(&format!("{text}{key}"), Path::new("/tollgate.toml")).expect("a plan");
        let arguments = Arguments {
            config: ConfigFile { file: "tollgate.toml".into() },
            method: method.into(),
            url: url.into(),
            headers: headers.iter().map(ToString::to_string).collect(),
            listener: None,
            json: true,
        };
        let extra = extra.iter().map(|(name, method)| (RouteName::new(name).expect("a name"), vec![method.clone()]));
        explain(&plan, &arguments, &extra.collect()).expect("explains")
    }

    #[test]
    fn the_route_that_serves_is_named_and_so_is_why_the_others_do_not() {
        let api = explained("GET", "https://other.example.com/v1/users/7", &[]);
        let answer = &api["answers"][1];
        assert_eq!((&answer["route"], &answer["listeners"]), (&json!("api"), &json!(["public"])));
        assert_eq!(answer["others"][0], json!({ "route": "hooks", "why": "it is for the path /hooks" }));
        assert_eq!(answer["others"][1]["why"], "it is for the host api.example.com");
        assert_eq!(api["answers"][0]["others"][1]["why"], "it is on the listener public only");
    }

    #[test]
    fn listeners_that_answer_alike_are_told_together_and_others_apart() {
        let users = explained("GET", "https://API.example.com/v1/users/7", &[]);
        let on: Vec<_> = users["answers"].as_array().expect("answers").iter().collect();
        assert_eq!((&on[0]["route"], &on[0]["listeners"]), (&json!("api"), &json!(["internal"])));
        assert_eq!((&on[1]["route"], &on[1]["listeners"]), (&json!("users"), &json!(["public"])));
        assert_eq!(on[1]["others"][0]["why"], "users is more specific");
        let hooks = explained_with("", "POST", "/hooks", &[]);
        assert_eq!(hooks["answers"][0]["listeners"], json!(["internal", "public"]));
    }

    #[test]
    fn people_are_told_everything_a_route_does() {
        let keys = "rewrite = { strip = \"/v1\" }\nrate = { per_second = 5 }\nlimits = { max_body = \"1MiB\" }\n\
                    cors = { origins = \"https://a.test\", credentials = true }";
        let users = explained_with(keys, "GET", "https://api.example.com/v1/users/7?x=1", &[]);
        assert_eq!(
            told::told(&users),
            "GET /v1/users/7?x=1, host api.example.com\n\
             \n\
             listener  internal, public\n\
             route     users (/tollgate.toml:18)\n\
             matches   /v1/users/{id}; host api.example.com; GET, HEAD\n\
             cors      https://a.test, with credentials\n\
             rate      5 a second, 5 at once, by client\n\
             body      at most 1MiB\n\
             path      /v1/users/7 → /users/7\n\
             timeouts  connect 2s, body 30s, response 30s, idle 5m, total off\n\
             product   inbox → built-in echo\n\
             not       api: users is more specific\n\
             not       hooks: it is for the path /hooks\n"
        );
        let hooks = explained_with("", "POST", "/hooks", &[]);
        assert_eq!(
            told::told(&hooks),
            "POST /hooks, host (none)\n\
             \n\
             listener  internal, public\n\
             route     hooks (/tollgate.toml:13)\n\
             matches   /hooks; POST\n\
             body      at most 25MiB\n\
             verifier  stripe (durable)\n\
             \x20         a signed timestamp within 5m; copies are known for 1d\n\
             path      /hooks, as it is\n\
             timeouts  connect 2s, body 30s, attempt 15s, total off\n\
             product   billing → http://127.0.0.1:9001\n\
             \x20         host: the upstream's own\n\
             not       api: it is for the path /v1/{*rest}\n\
             not       users: it is for the host api.example.com\n"
        );
    }

    #[test]
    fn a_preflight_is_explained_as_what_it_announces() {
        let keys = "cors = { origins = \"https://a.test\" }";
        let fields = ["origin: https://b.test", "access-control-request-method: GET"];
        let preflight = explained_by(keys, "OPTIONS", "https://api.example.com/v1/users/7", &[], &fields);
        assert_eq!(preflight["answers"][0]["route"], "users");
        assert_eq!(
            preflight["answers"][0]["cors"],
            "https://a.test; this preflight is answered by the gateway with 204; this request's origin is not allowed"
        );
    }

    #[test]
    fn what_no_route_serves_says_what_is_answered() {
        let nowhere = explained("GET", "/elsewhere", &[]);
        assert_eq!(nowhere["answers"][0]["answer"], "404: no route serves it");
        assert!(!is_served(&nowhere));
        let hooks = explained("GET", "/hooks", &[]);
        assert_eq!(hooks["answers"][0]["answer"], "405: the path has routes, for POST");
        assert_eq!(hooks["answers"][0]["others"][1]["why"], "it takes POST only");
    }

    #[test]
    fn a_plugin_adds_methods_to_its_route() {
        let handshake = explained("GET", "/hooks", &[("hooks", Method::GET)]);
        assert_eq!(handshake["answers"][0]["route"], "hooks");
    }
}
