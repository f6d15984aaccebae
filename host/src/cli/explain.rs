//! `tollgate explain`: which route would serve a request, and why the others would not. No traffic, no sockets.

use std::collections::BTreeMap;
use std::process::ExitCode;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use super::command::{ConfigFile, EXIT_USAGE};
use super::{check, terminal};
use crate::base::host::normalise_host;
use crate::base::names::{ListenerName, RouteName};
use crate::base::path;
use crate::config::plan::{Backend, Plan, Route};
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
    let plan = match crate::config::load(&arguments.config.file) {
        Ok(plan) => plan,
        Err(problems) => {
            eprintln!("{}", problems.render(terminal::colour()));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let methods = extra_methods(&plan, &arguments.method).await;
    match explain(&plan, &arguments, &methods) {
        Ok(explained) => {
            let shown = if arguments.json { format!("{explained:#}\n") } else { told(&explained) };
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
    let path = target.split('?').next().unwrap_or("/");
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
        "request": { "method": method.as_str(), "host": host, "path": path },
        "answers": answers.collect::<Vec<_>>(),
    }))
}

/// What becomes of the request on one listener.
fn answer(plan: &Plan, table: &RouteTable<&Route>, asked: Asked<'_>) -> Value {
    let others: Vec<Value> = table
        .explain(asked)
        .into_iter()
        .filter(|(_, reason)| *reason != Reason::Serves)
        .map(|(name, reason)| json!({ "route": name.as_str(), "why": why(&reason, plan.routes.get(&name)) }))
        .collect();
    match table.find(asked) {
        Ok(entry) => json!({
            "route": entry.name.as_str(),
            "verifier": entry.target.webhook.as_ref().map(|hook| hook.verifier.as_str()),
            "mode": entry.target.webhook.as_ref().map(|_| "durable"),
            "product": entry.target.product.as_str(),
            "upstreams": upstreams(plan, entry.target),
            "others": others,
        }),
        Err(miss) => {
            let answer = match miss {
                Miss::NoRoute => "404: no route serves it".to_owned(),
                Miss::Method(allow) => {
                    let allow: Vec<&str> = allow.iter().map(Method::as_str).collect();
                    format!("405: allowed are {}", allow.join(", "))
                }
            };
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

fn upstreams(plan: &Plan, route: &Route) -> Vec<String> {
    match plan.products.get(&route.product).map(|product| &product.backend) {
        Some(Backend::Upstreams(urls)) => urls.iter().map(ToString::to_string).collect(),
        Some(Backend::Echo) => vec!["built-in echo".into()],
        None => Vec::new(),
    }
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

fn why(reason: &Reason, route: Option<&Route>) -> String {
    match (reason, route.map(|route| &route.matcher)) {
        (Reason::Serves, _) => "it serves it".into(),
        (Reason::Listener, _) => "it is not on this listener".into(),
        (Reason::Host, Some(matcher)) => {
            let hosts: Vec<String> = matcher.hosts.iter().map(ToString::to_string).collect();
            format!("it is for the host {}", hosts.join(", "))
        }
        (Reason::Host, None) => "it is for other hosts".into(),
        (Reason::Path, Some(matcher)) => format!("it is for the path {}", matcher.path),
        (Reason::Path, None) => "it is for other paths".into(),
        (Reason::Method, _) => "it is for other methods".into(),
        (Reason::Header(name), _) => format!("its condition on the field {name} does not hold"),
        (Reason::LessSpecific(other), _) => format!("{other} is more specific"),
    }
}

fn told(explained: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list =
        |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let request = &explained["request"];
    let host = Some(text(&request["host"])).filter(|host| !host.is_empty()).unwrap_or_else(|| "(none)".into());
    let mut lines = vec![format!("{} {}, host {host}", text(&request["method"]), text(&request["path"]))];
    for answer in explained["answers"].as_array().into_iter().flatten() {
        lines.push(format!("listener  {}", list(&answer["listeners"])));
        if answer["route"].is_null() {
            lines.push(format!("answer    {}", text(&answer["answer"])));
        } else {
            lines.push(format!("route     {}", text(&answer["route"])));
            if let Some(verifier) = answer["verifier"].as_str() {
                lines.push(format!("verifier  {verifier} ({})", text(&answer["mode"])));
            }
            lines.push(format!("product   {} → {}", text(&answer["product"]), list(&answer["upstreams"])));
        }
        for other in answer["others"].as_array().into_iter().flatten() {
            lines.push(format!("not       {}: {}", text(&other["route"]), text(&other["why"])));
        }
    }
    lines.push(String::new());
    lines.join("\n")
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
            headers: Vec::new(),
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
        assert_eq!(api["answers"][0]["others"][1]["why"], "it is not on this listener");
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
        let told = told(&hooks);
        assert!(told.contains("verifier  stripe (durable)"), "{told}");
        assert!(told.contains("product   billing → http://127.0.0.1:9001"), "{told}");
    }

    #[test]
    fn what_no_route_serves_says_what_is_answered() {
        let nowhere = explained("GET", "/elsewhere", &[]);
        assert_eq!(nowhere["answers"][0]["answer"], "404: no route serves it");
        assert!(!is_served(&nowhere));
        assert_eq!(explained("GET", "/hooks", &[])["answers"][0]["answer"], "405: allowed are POST");
    }

    #[test]
    fn a_plugin_adds_methods_to_its_route() {
        let handshake = explained("GET", "/hooks", &[("hooks", Method::GET)]);
        assert_eq!(handshake["answers"][0]["route"], "hooks");
    }
}
