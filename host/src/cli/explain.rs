//! `tollgate explain`: which route would serve a request, and why the others would not. No traffic, no sockets.

use std::process::ExitCode;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use super::command::{ConfigFile, EXIT_USAGE};
use super::terminal;
use crate::base::host::normalise_host;
use crate::base::names::ListenerName;
use crate::base::path;
use crate::config::plan::{Backend, Plan, Route};
use crate::gateway::routes::{Asked, Entry, Miss, Reason, RouteTable};

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
    /// The listener it comes in on; the first when not given
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
    match explain(&plan, &arguments) {
        Ok(explained) => {
            if arguments.json {
                println!("{explained:#}");
            } else {
                print!("{}", told(&explained));
            }
            if explained["route"].is_null() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn explain(plan: &Plan, arguments: &Arguments) -> Result<Value, String> {
    let method = Method::from_bytes(arguments.method.as_bytes()).map_err(|_| "expected a method, like GET")?;
    let (host, target) = split(&arguments.url)?;
    let path = target.split('?').next().unwrap_or("/");
    let path = path::normalise(path).map_err(|error| format!("the path is refused with 400: {error}"))?;
    let headers = headers(&arguments.headers)?;
    let listener = match &arguments.listener {
        Some(name) => ListenerName::new(name).filter(|name| plan.listeners.contains_key(name)),
        None => plan.listeners.keys().next().cloned(),
    };
    let listener = listener.ok_or("there is no such listener")?;
    let entries = plan.routes.iter().map(|(name, route)| entry(name.clone(), route)).collect();
    let table: RouteTable<&Route> = RouteTable::new(entries);
    let asked = Asked { listener: &listener, host: &host, path: &path, method: &method, headers: &headers };
    let others: Vec<Value> = table
        .explain(asked)
        .into_iter()
        .filter(|(_, reason)| *reason != Reason::Serves)
        .map(|(name, reason)| json!({ "route": name.as_str(), "why": why(&reason) }))
        .collect();
    let request = json!({ "method": method.as_str(), "host": host, "path": path, "listener": listener.as_str() });
    Ok(match table.find(asked) {
        Ok(entry) => json!({
            "request": request,
            "route": entry.name.as_str(),
            "product": entry.target.product.as_str(),
            "upstreams": upstreams(plan, entry.target),
            "verifier": entry.target.webhook.as_ref().map(|hook| hook.verifier.as_str()),
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
            json!({ "request": request, "route": null, "answer": answer, "others": others })
        }
    })
}

/// A webhook route that names no method takes POST, and what its plugin adds: that is the plugin's to say when it is
/// loaded.
fn entry(name: crate::base::names::RouteName, route: &Route) -> Entry<&Route> {
    let mut matcher = route.matcher.clone();
    if matcher.methods.is_empty() && route.webhook.is_some() {
        matcher.methods = crate::gateway::webhook_methods(&[]);
    }
    Entry { name, matcher, target: route }
}

fn upstreams(plan: &Plan, route: &Route) -> Vec<String> {
    match plan.products.get(&route.product).map(|product| &product.backend) {
        Some(Backend::Upstreams(urls)) => urls.iter().map(|url| url.authority()).collect(),
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

fn why(reason: &Reason) -> String {
    match reason {
        Reason::Serves => "it serves it".into(),
        Reason::Listener => "it is not on this listener".into(),
        Reason::Host => "it is for other hosts".into(),
        Reason::Path => "it is for other paths".into(),
        Reason::Method => "it is for other methods".into(),
        Reason::Header(name) => format!("its condition on the field {name} does not hold"),
        Reason::LessSpecific(other) => format!("{other} is more specific"),
    }
}

fn told(explained: &Value) -> String {
    let text = |key: &str| explained[key].as_str().map(str::to_owned);
    let request = &explained["request"];
    let mut lines = vec![format!(
        "{} {} on listener {}, host {}",
        request["method"].as_str().unwrap_or_default(),
        request["path"].as_str().unwrap_or_default(),
        request["listener"].as_str().unwrap_or_default(),
        request["host"].as_str().filter(|host| !host.is_empty()).unwrap_or("(none)"),
    )];
    match text("route") {
        Some(route) => {
            lines.push(format!("route     {route}"));
            if let Some(verifier) = text("verifier") {
                lines.push(format!("verifier  {verifier}"));
            }
            let upstreams: Vec<&str> =
                explained["upstreams"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            lines.push(format!("product   {} → {}", text("product").unwrap_or_default(), upstreams.join(", ")));
        }
        None => lines.push(format!("answer    {}", text("answer").unwrap_or_default())),
    }
    for other in explained["others"].as_array().into_iter().flatten() {
        let (route, why) = (other["route"].as_str().unwrap_or_default(), other["why"].as_str().unwrap_or_default());
        lines.push(format!("not       {route}: {why}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn explained(method: &str, url: &str) -> Value {
        let text = r#"
            [listener.public]
            address = "127.0.0.1:0"
            [product.inbox]
            builtin = "echo"
            [route.api]
            path = "/v1/{*rest}"
            product = "inbox"
            [route.users]
            host = ["api.example.com"]
            path = "/v1/users/{id}"
            method = ["GET"]
            product = "inbox"
        "#;
        let plan = crate::config::parse(text, Path::new("/tollgate.toml")).expect("a plan");
        let arguments = Arguments {
            config: ConfigFile { file: "tollgate.toml".into() },
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            listener: None,
            json: true,
        };
        explain(&plan, &arguments).expect("explains")
    }

    #[test]
    fn the_route_that_serves_is_named_and_so_is_why_the_others_do_not() {
        let users = explained("GET", "https://API.example.com/v1/users/7");
        assert_eq!(users["route"], "users");
        assert_eq!(users["others"][0]["why"], "users is more specific");
        let api = explained("GET", "https://other.example.com/v1/users/7");
        assert_eq!(api["route"], "api");
        assert_eq!(api["others"][0]["why"], "it is for other hosts");
    }

    #[test]
    fn what_no_route_serves_says_what_is_answered() {
        assert_eq!(explained("GET", "/elsewhere")["answer"], "404: no route serves it");
        assert_eq!(explained("POST", "https://api.example.com/v1/users/7")["answer"], "405: allowed are GET, HEAD");
    }
}
