//! `tollgate dev`: the author's loop. Builds the plugins, serves, and on every save builds what changed; the gateway swaps
//! it in by itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use super::command::{ConfigFile, EXIT_USAGE};
use super::plugin_build::{self, BuildError, Built, Progress};
use super::{run, terminal};
use crate::app::App;
use crate::config::plan::{Backend, Plan};

/// Between two looks at the sources.
const EVERY: Duration = Duration::from_millis(500);
/// Files of one source folder that are looked at.
const FILES_MAX: usize = 10_000;
/// What builds leave behind, and what is no source.
const PASSED_OVER: [&str; 4] = ["target", "node_modules", ".git", "__pycache__"];

/// `tollgate dev`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A folder with a tollgate.toml
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let config = ConfigFile { file: arguments.directory.join("tollgate.toml") };
    let plan = match config.load() {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let out = plan.plugins.directory.clone();
    let sources: Vec<PathBuf> = plan.plugins.sources.clone();
    if let Err(error) = std::fs::create_dir_all(&out) {
        eprintln!("error: {}: {error}", out.display());
        return ExitCode::FAILURE;
    }
    let built = match build(sources, out.clone()).await {
        Ok(built) => built,
        // A gateway without plugin sources is served as it is.
        Err(BuildError::NoPlugin(_)) => Vec::new(),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = run::start_logging(&plan) {
        eprintln!("error: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    let described = plan.clone();
    match run::start(plan).await {
        Ok((app, signals)) => {
            // A reader that left wants to hear no more; the gateway serves on.
            let _said = terminal::say(format!("{}\n", welcome(&described, &app, &arguments.directory)));
            let watching = tokio::spawn(rebuild_on_save(built, out));
            let code = run::until_stopped(app, signals).await;
            watching.abort();
            code
        }
        Err(code) => code,
    }
}

async fn build(sources: Vec<PathBuf>, out: PathBuf) -> Result<Vec<Built>, BuildError> {
    let building =
        tokio::task::spawn_blocking(move || plugin_build::build(&sources, Some(&out), &Progress::detect())).await;
    building.unwrap_or_else(|_panicked| Err(BuildError::Cargo("the build panicked".into())))
}

/// What serves where, and what to try.
fn welcome(plan: &Plan, app: &App, directory: &Path) -> String {
    let listeners: Vec<String> =
        app.addresses().iter().map(|(name, address)| format!("http://{} ({name})", shown(*address))).collect();
    let mut lines = vec![
        String::new(),
        format!("tollgate serves  {}", listeners.join(", ")),
        format!("admin            http://{}", shown(app.admin())),
    ];
    for (name, route) in &plan.routes {
        let path = route.matcher.path.to_string();
        let goes = match plan.products.get(&route.product).map(|product| &product.backend) {
            Some(Backend::Echo) => format!("{} (built-in echo)", route.product),
            _ => route.product.to_string(),
        };
        let verified = route.webhook.as_ref().map_or(String::new(), |hook| format!(", verified by {}", hook.verifier));
        lines.push(format!("route {name:<10} {path} → {goes}{verified}"));
    }
    let script = directory.join("send.sh");
    if script.is_file() {
        lines.push(format!("try              sh {}", script.display()));
    }
    lines.push("then             tollgate events list".into());
    lines.push(String::new());
    lines.join("\n")
}

/// An address that can be typed into a client.
fn shown(address: std::net::SocketAddr) -> std::net::SocketAddr {
    match address {
        any if any.ip().is_unspecified() => (std::net::Ipv4Addr::LOCALHOST, any.port()).into(),
        other => other,
    }
}

async fn rebuild_on_save(built: Vec<Built>, out: PathBuf) {
    let mut seen: BTreeMap<PathBuf, Stamp> = BTreeMap::new();
    for source in built.iter().map(|built| built.source.clone()) {
        let stamp = newest(source.clone()).await;
        seen.insert(source, stamp);
    }
    loop {
        tokio::time::sleep(EVERY).await;
        for (source, stamp) in &mut seen {
            let now = newest(source.clone()).await;
            if now == *stamp {
                continue;
            }
            *stamp = now;
            let started = Instant::now();
            match build(vec![source.clone()], out.clone()).await {
                Ok(built) => {
                    let took = started.elapsed().as_secs_f64();
                    let lines = built.iter().map(|built| format!("rebuilt {} in {took:.1} s\n", built.name));
                    let _said = terminal::say(lines.collect::<String>());
                }
                Err(error) => {
                    eprintln!("{error}\n{} was not rebuilt; what was built before serves on", source.display())
                }
            }
        }
    }
}

/// Changes with every save below a folder: the newest change and the number of files.
type Stamp = (Option<SystemTime>, usize);

async fn newest(source: PathBuf) -> Stamp {
    tokio::task::spawn_blocking(move || {
        let (mut newest, mut count) = (None, 0);
        let mut folders = vec![source];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for entry in entries.filter_map(Result::ok) {
                let Ok(about) = entry.metadata() else { continue };
                let passed_over = PASSED_OVER.iter().any(|name| entry.file_name() == *name);
                if about.is_dir() && !passed_over {
                    folders.push(entry.path());
                } else if about.is_file() && count < FILES_MAX {
                    count += 1;
                    newest = newest.max(about.modified().ok());
                }
            }
        }
        (newest, count)
    })
    .await
    .unwrap_or_default()
}
