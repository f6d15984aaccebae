//! `tollgate check`: every problem at once, in the configuration, its secrets, its certificates and its plugins.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::command::{ConfigFile, EXIT_USAGE, refused};
use super::terminal;
use crate::app::Surroundings;
use crate::base::clock::Clock;
use crate::base::names::{PluginName, SecretName};
use crate::base::secret::Secret;
use crate::config::plan::{Plan, PluginOverride, Route, Webhook};
use crate::config::problem::{Problem, Problems};
use crate::net::tls::Tls;
use crate::plugin::Roles;
use crate::plugin::call::Binding;
use crate::plugin::component::Kind;
use crate::plugin::engine::Engine;
use crate::plugin::registry::{self, Observer, Plugins, Status};
use crate::telemetry::labels::PluginReload;

/// `tollgate check`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Do not read secrets, nor listeners' certificates and keys: for where they are not, like a build server
    #[arg(long)]
    no_secrets: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let checked = match crate::config::load(&arguments.config.file) {
        Ok(plan) => check(&plan, arguments.no_secrets).await.map(|()| plan),
        Err(problems) => Err(problems),
    };
    let file = arguments.config.file.display();
    let (said, code) = match checked {
        Ok(_) if arguments.json => {
            (format!("{}\n", json!({ "file": file.to_string(), "problems": [] })), ExitCode::SUCCESS)
        }
        Ok(plan) => {
            warn_of_expiry(&plan);
            (format!("{file} is fine: {}\n", summary(&plan)), ExitCode::SUCCESS)
        }
        Err(problems) if arguments.json => {
            let said = json!({ "file": file.to_string(), "problems": problems });
            (format!("{said}\n"), ExitCode::from(EXIT_USAGE))
        }
        Err(problems) => {
            let count = problems.len();
            let code = refused(&problems);
            eprintln!("{count} {}", if count == 1 { "problem" } else { "problems" });
            (String::new(), code)
        }
    };
    match terminal::say(said) {
        Ok(()) => code,
        Err(error) => {
            eprintln!("error: standard output: {error}");
            ExitCode::FAILURE
        }
    }
}

fn summary(plan: &Plan) -> String {
    let webhooks = plan.routes.values().filter(|route| route.webhook.is_some()).count();
    format!("{} routes ({webhooks} webhook), {} products", plan.routes.len(), plan.products.len())
}

/// A certificate that has run out is served, as by every server; whoever checks should hear of it.
fn warn_of_expiry(plan: &Plan) {
    let now = Clock::System.now();
    // With --no-secrets the files may not be there, and nothing is said of them.
    for (name, entrance) in crate::edge::entrances(plan, |_| None).unwrap_or_default() {
        for certificate in entrance.tls().into_iter().flat_map(Tls::certificates) {
            if let Some(expires) = certificate.expires.filter(|expires| *expires <= now) {
                eprintln!("warning: listener {name}: {} ran out at {expires}", certificate.file.display());
            }
        }
    }
}

struct Silent;

impl Observer for Silent {
    fn reloaded(&self, _: &PluginName, _: PluginReload) {}
}

async fn check(plan: &Plan, no_secrets: bool) -> Result<(), Problems> {
    let env = |name: &str| std::env::var_os(name);
    let (secrets, tls) = match no_secrets {
        true => (None, None),
        false => (crate::config::secrets::resolve(plan, &env).err(), crate::upstream::tls::load(plan, &env).err()),
    };
    let listeners = match no_secrets {
        true => None,
        false => crate::edge::entrances(plan, |_| None).err(),
    };
    let plugins = match plugins(plan).await {
        Ok(plugins) => check_plugins(plan, &plugins).await,
        Err(why) => vec![plan.source.problem_with("plugins", why)],
    };
    let found = secrets.into_iter().chain(tls).chain(listeners);
    found.fold(Problems::new(plugins), Problems::and).or(())
}

/// The plugins of the plan's directory, loaded as a gateway would load them.
pub(super) async fn plugins(plan: &Plan) -> Result<Arc<Plugins>, String> {
    let engine = Engine::new(Surroundings::of_process().cache);
    let engine = engine.map_err(|error| format!("the plugin engine does not start: {error:#}"))?;
    let plugins = Plugins::new(engine, plan.plugins.clone(), Box::new(Silent));
    plugins.scan().await;
    Ok(plugins)
}

/// A route's verifier with the route's options and roles.
pub(super) fn bind(plugins: &Plugins, webhook: &Webhook) -> Arc<Binding> {
    plugins.bind(&webhook.verifier, Kind::Verifier, "", &webhook.options, without_values(&webhook.secrets))
}

/// Roles have no values: which there are is all that is checked, and a missing secret must not hide what else is wrong.
fn without_values(secrets: &BTreeMap<String, SecretName>) -> Arc<Roles> {
    let no_values = |name: &SecretName| Secret { name: name.as_str().into(), values: Arc::new([]) };
    Arc::new(secrets.iter().map(|(role, name)| (role.clone(), no_values(name))).collect())
}

/// Every use that a route makes of a plugin, and the table it is written in.
fn uses(plugins: &Plugins, route: &Route) -> Vec<(String, Arc<Binding>)> {
    let verifier = route.webhook.as_ref().map(|webhook| ("webhook".to_owned(), bind(plugins, webhook)));
    let chain = route.plugins.iter().enumerate().map(|(nth, of)| {
        let kind = if of.candidates.is_empty() { Kind::Propagator } else { Kind::Router };
        (format!("plugin[{nth}]"), plugins.bind(&of.plugin, kind, "", &of.options, without_values(&of.secrets)))
    });
    verifier.into_iter().chain(chain).collect()
}

async fn check_plugins(plan: &Plan, plugins: &Plugins) -> Vec<Problem> {
    let live = plugins.status(Clock::System.now());
    let files: Vec<&str> = live.iter().map(|status| status.name.as_str()).collect();
    let mut problems = check_pins(plan, &live);
    let mut used = BTreeSet::new();
    for (route, table, binding) in plan
        .routes
        .iter()
        .flat_map(|(name, route)| uses(plugins, route).into_iter().map(move |(table, binding)| (name, table, binding)))
    {
        let plugin = binding.name();
        used.insert(plugin.clone());
        if is_off_its_pin(plan, &live, plugin) {
            continue;
        }
        for found in plugins.problems(&binding).await {
            let at = format!("route.{route}.{table}.{}", found.key(binding.kind()));
            let problem = plan.source.problem_with(&at, format!("plugin {plugin}: {found}"));
            let absent = matches!(found, registry::Problem::Missing(_)) && !files.contains(&plugin.as_str());
            problems.push(if absent { problem.help(advice(plan, plugin, &files)) } else { problem });
        }
    }
    let broken =
        live.iter().filter(|status| !used.contains(&status.name) && !is_off_its_pin(plan, &live, &status.name));
    problems.extend(broken.filter_map(|status| {
        let why = &status.refused.as_ref()?.why;
        let file = plan.plugins.directory.join(format!("{}.wasm", status.name));
        Some(Problem::with_file(&file, why).help("no route uses it; mend it or take it away"))
    }));
    problems
}

/// What to do about a plugin whose file is not there.
fn advice(plan: &Plan, plugin: &PluginName, files: &[&str]) -> String {
    const NEAR: f64 = 0.75;
    let likeness = |file: &&&str| strsim::jaro_winkler(file, plugin.as_str());
    let nearest = files.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).filter(|file| likeness(file) >= NEAR);
    match nearest {
        Some(file) => format!("did you mean `{file}`?"),
        None => format!("put {plugin}.wasm into {}", plan.plugins.directory.display()),
    }
}

/// Files that are not what `[plugin.NAME] sha256` says, and files it says something of that are not there.
fn check_pins(plan: &Plan, live: &[Status]) -> Vec<Problem> {
    let pinned = plan.plugins.overrides.iter().filter(|(_, own)| own.sha256.is_some());
    let problem = |(name, _): (&PluginName, &PluginOverride)| {
        let status = live.iter().find(|status| status.name == *name);
        let why = match status {
            None => format!("there is no file {name}.wasm in {}", plan.plugins.directory.display()),
            Some(_) if is_off_its_pin(plan, live, name) => status?.refused.as_ref()?.why.clone(),
            Some(_) => return None,
        };
        Some(plan.source.problem_with(&format!("plugin.{name}.sha256"), format!("plugin {name}: {why}")))
    };
    pinned.filter_map(problem).collect()
}

/// Whether the plugin's file has another digest than the configuration pins.
fn is_off_its_pin(plan: &Plan, live: &[Status], name: &PluginName) -> bool {
    let pinned = plan.plugins.overrides.get(name).and_then(|own| own.sha256);
    let status = live.iter().find(|status| status.name == *name);
    let found = status.and_then(|status| status.refused.as_ref()).and_then(|refused| refused.digest);
    pinned.is_some_and(|pinned| found.is_some_and(|found| found != pinned))
}
