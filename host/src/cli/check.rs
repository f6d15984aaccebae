//! `tollgate check`: every problem at once, in the configuration, its secrets and its plugins.

use std::process::ExitCode;
use std::sync::Arc;

use super::command::{ConfigFile, EXIT_USAGE};
use super::terminal;
use crate::base::names::{PluginName, SecretName};
use crate::base::secret::Secret;
use crate::config::plan::Plan;
use crate::config::problem::{Problem, Problems};
use crate::plugin::Roles;
use crate::plugin::engine::Engine;
use crate::plugin::registry::{self, Observer, Plugins};
use crate::telemetry::labels::PluginReload;

/// `tollgate check`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Do not read secrets: for where they are not, like a build server
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
    match checked {
        Ok(plan) if arguments.json => {
            println!("{}", serde_json::json!({ "file": plan.file, "problems": [] }));
            ExitCode::SUCCESS
        }
        Ok(plan) => {
            let webhooks = plan.routes.values().filter(|route| route.webhook.is_some()).count();
            println!(
                "{} is fine: {} routes ({webhooks} webhook), {} products",
                arguments.config.file.display(),
                plan.routes.len(),
                plan.products.len()
            );
            ExitCode::SUCCESS
        }
        Err(problems) => {
            if arguments.json {
                println!("{}", serde_json::json!({ "file": arguments.config.file, "problems": problems }));
            } else {
                let count = problems.len();
                eprintln!("{}", problems.render(terminal::colour()));
                eprintln!("{count} {}", if count == 1 { "problem" } else { "problems" });
            }
            ExitCode::from(EXIT_USAGE)
        }
    }
}

struct Silent;

impl Observer for Silent {
    fn reloaded(&self, _: &PluginName, _: PluginReload) {}
}

async fn check(plan: &Plan, no_secrets: bool) -> Result<(), Problems> {
    let secrets = match no_secrets {
        true => Problems::new(Vec::new()),
        false => match crate::config::secrets::resolve(plan, &|name| std::env::var_os(name)) {
            Ok(_) => Problems::new(Vec::new()),
            Err(problems) => problems,
        },
    };
    // Roles are checked by name, so that problems of secrets do not hide problems of plugins.
    let stand_in = |name: &SecretName| Secret { name: name.as_str().into(), values: Arc::new([]) };
    let plugins = check_plugins(plan, &stand_in).await;
    Problems::new(plugins).and(secrets).or(())
}

async fn check_plugins(plan: &Plan, secret: &dyn Fn(&SecretName) -> Secret) -> Vec<Problem> {
    let webhooks: Vec<_> = plan.routes.iter().filter_map(|(name, r)| Some((name, r.webhook.as_ref()?))).collect();
    if webhooks.is_empty() {
        return Vec::new();
    }
    let engine = match Engine::new(None) {
        Ok(engine) => engine,
        Err(error) => return vec![plan.source.problem_with("plugins", format!("the plugin engine fails: {error:#}"))],
    };
    let plugins = Plugins::new(engine, plan.plugins.clone(), Box::new(Silent));
    plugins.scan().await;
    let mut problems = Vec::new();
    for (name, webhook) in webhooks {
        let roles: Roles = webhook.secrets.iter().map(|(role, name)| (role.clone(), secret(name))).collect();
        let verifier = plugins.bind(&webhook.verifier, &webhook.options, Arc::new(roles));
        for problem in plugins.problems(&verifier).await {
            let (key, help) = match &problem {
                registry::Problem::Missing(_) => (
                    "verifier",
                    Some(format!("put {}.wasm into {}", webhook.verifier, plan.plugins.directory.display())),
                ),
                registry::Problem::Kind(_) => ("verifier", None),
                registry::Problem::UnknownRole(..) | registry::Problem::MissingRole(_) => ("secrets", None),
                registry::Problem::Option(_) => ("options", None),
            };
            let at = format!("route.{name}.webhook.{key}");
            let found = plan.source.problem_with(&at, format!("plugin {}: {problem}", webhook.verifier));
            problems.push(match help {
                Some(help) => found.help(help),
                None => found,
            });
        }
    }
    problems
}
