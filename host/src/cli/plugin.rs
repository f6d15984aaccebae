//! `tollgate plugin new|build|inspect|test`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::command::EXIT_USAGE;
use super::plugin_build::{self, Progress};
use super::plugin_new::{self, Language, NewKind};
use crate::base::clock::Clock;
use crate::base::names::PluginName;
use crate::base::sizes::ByteSize;
use crate::config::plan;
use crate::plugin::component::{Kind, Plugin};
use crate::plugin::engine::Engine;
use crate::plugin::registry::{Observer, Plugins};
use crate::plugin::vectors::{self, Level, Vector};
use crate::telemetry::labels::PluginReload;

/// What `plugin test` and `plugin inspect` let a plugin use: the defaults of `[plugins]`.
const MEMORY: ByteSize = ByteSize(32 << 20);
const DEADLINE: Duration = Duration::from_millis(100);

/// `tollgate plugin …`
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a plugin that builds, with vectors that hold
    New {
        /// Its name, and the folder's
        #[arg(value_parser = plugin_name)]
        name: PluginName,
        /// What it does
        #[arg(long)]
        kind: NewKind,
        /// What it is written in
        #[arg(long, default_value = "rust")]
        lang: Language,
    },
    /// Build sources into components
    Build {
        /// Plugins, or folders of plugins
        #[arg(value_name = "DIR", default_value = ".")]
        directories: Vec<PathBuf>,
        /// Where NAME.wasm goes; beside its sources when not given
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Show what a component is and what it asks for
    Inspect {
        /// The component
        file: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a plugin against recorded requests
    Test {
        /// The component
        file: PathBuf,
        /// The recorded requests, one JSON object a line
        #[arg(long, value_name = "FILE")]
        vectors: PathBuf,
        /// An option for the plugin, over those of the vectors; the value is JSON, or else text
        #[arg(long = "option", value_name = "KEY=VALUE", value_parser = option)]
        options: Vec<(String, serde_json::Value)>,
    },
}

fn option(text: &str) -> Result<(String, serde_json::Value), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

fn plugin_name(text: &str) -> Result<PluginName, &'static str> {
    PluginName::new(text)
        .ok_or("a name begins with a-z or 0-9 and goes on with a-z, 0-9, `_` and `-`, 63 characters at most")
}

pub(super) async fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::New { name, kind, lang } => make(&name, kind, lang),
        Command::Build { directories, out } => build(directories, out).await,
        Command::Inspect { file, json } => inspect(&file, json).await,
        Command::Test { file, vectors, options } => test(&file, &vectors, options).await,
    };
    done.unwrap_or_else(|Failed(code, message)| {
        eprintln!("error: {message}");
        code
    })
}

/// An exit code, and why.
struct Failed(ExitCode, String);

impl Failed {
    fn usage(file: &Path, error: impl std::fmt::Display) -> Self {
        Self(ExitCode::from(EXIT_USAGE), format!("{}: {error}", file.display()))
    }

    fn running(message: impl std::fmt::Display) -> Self {
        Self(ExitCode::FAILURE, message.to_string())
    }
}

fn make(name: &PluginName, kind: NewKind, language: Language) -> Result<ExitCode, Failed> {
    plugin_new::make(Path::new("."), name, kind, language).map_err(Failed::running)?;
    println!("{name}/src/lib.rs     what it does");
    println!("{name}/vectors.jsonl  what it must answer");
    println!("{name}/README.md      how to test, build and use it: cd {name} && cargo test");
    Ok(ExitCode::SUCCESS)
}

async fn build(directories: Vec<PathBuf>, out: Option<PathBuf>) -> Result<ExitCode, Failed> {
    let building =
        tokio::task::spawn_blocking(move || plugin_build::build(&directories, out.as_deref(), &Progress::detect()));
    let built = building.await.map_err(Failed::running)?.map_err(Failed::running)?;
    for plugin in built {
        println!("{}  {} bytes  {}", plugin.name, plugin.bytes, plugin.wasm.display());
    }
    Ok(ExitCode::SUCCESS)
}

async fn load(file: &Path) -> Result<Plugin, Failed> {
    let wasm = std::fs::read(file).map_err(|error| Failed::usage(file, error))?;
    let engine = Engine::new(None).map_err(|error| Failed::running(format!("{error:#}")))?;
    Plugin::load(&engine, wasm, MEMORY.as_usize())
        .await
        .map_err(|error| Failed(ExitCode::FAILURE, format!("{}: {error}", file.display())))
}

async fn inspect(file: &Path, as_json: bool) -> Result<ExitCode, Failed> {
    let plugin = load(file).await?;
    if as_json {
        println!("{:#}", described(&plugin));
        return Ok(ExitCode::SUCCESS);
    }
    let about = &plugin.about;
    println!("name        {}", about.name);
    println!("kind        {}", plugin.kind);
    println!("wit         {}", plugin.wit);
    println!("source      {}", about.source);
    println!("size        {} bytes", plugin.size);
    println!("sha256      {}", plugin.digest);
    println!("handshake   {}", if about.handshake { "answers with an HMAC" } else { "no" });
    if !about.methods.is_empty() {
        println!("methods     POST, {}", about.methods.join(", "));
    }
    let needed = |required: bool| if required { "required" } else { "optional" };
    for role in &about.roles {
        println!("secret      {} ({}): {}", role.name, needed(role.required), role.about);
    }
    for setting in &about.settings {
        println!("option      {} ({}, {}): {}", setting.key, setting.kind, needed(setting.required), setting.about);
    }
    for import in &plugin.imports {
        println!("import      {import}");
    }
    Ok(ExitCode::SUCCESS)
}

fn described(plugin: &Plugin) -> serde_json::Value {
    let about = &plugin.about;
    let roles: Vec<_> =
        about.roles.iter().map(|r| json!({ "name": r.name, "required": r.required, "about": r.about })).collect();
    let setting = |s: &crate::plugin::component::Setting| json!({ "key": s.key, "kind": s.kind, "required": s.required, "about": s.about });
    json!({
        "name": about.name,
        "kind": plugin.kind.as_str(),
        "wit": plugin.wit,
        "source": about.source,
        "size": plugin.size,
        "sha256": plugin.digest.to_string(),
        "handshake": about.handshake,
        "methods": about.methods,
        "roles": roles,
        "settings": about.settings.iter().map(setting).collect::<Vec<_>>(),
        "imports": plugin.imports,
    })
}

struct Silent;

impl Observer for Silent {
    fn reloaded(&self, _: &PluginName, _: PluginReload) {}
}

async fn test(file: &Path, vectors: &Path, options: Vec<(String, serde_json::Value)>) -> Result<ExitCode, Failed> {
    let text = std::fs::read_to_string(vectors).map_err(|error| Failed::usage(vectors, error))?;
    let mut list = vectors::read(&text).map_err(|error| Failed::usage(vectors, error))?;
    if list.is_empty() {
        return Err(Failed::usage(vectors, "expected at least one vector, a JSON object a line"));
    }
    for vector in &mut list {
        vector.options.extend(options.iter().cloned());
    }
    let directory = tempfile::tempdir().map_err(Failed::running)?;
    std::fs::copy(file, directory.path().join("plugin.wasm")).map_err(|error| Failed::usage(file, error))?;
    let engine = Engine::new(None).map_err(|error| Failed::running(format!("{error:#}")))?;
    let limits = plan::PluginLimits { memory: MEMORY, deadline: DEADLINE, reuse: 1, compare: 0 };
    let plan = plan::Plugins {
        directory: directory.path().to_owned(),
        sources: Vec::new(),
        defaults: limits,
        overrides: Default::default(),
    };
    let plugins = Plugins::new(engine, plan, Box::new(Silent));
    plugins.scan().await;
    let name = PluginName::new("plugin").ok_or_else(|| Failed::running("`plugin` is a name"))?;
    let status = plugins.status(Clock::System.now()).into_iter().find(|status| status.name == name);
    let kind = match status.map(|status| (status.live, status.refused)) {
        Some((Some(plugin), _)) => plugin.kind,
        Some((None, Some(refused))) => return Err(Failed::running(format!("{}: {}", file.display(), refused.why))),
        _ => return Err(Failed::running(format!("{}: it did not load", file.display()))),
    };
    let (mut passed, mut failed, mut lax) = (0, 0, 0);
    for vector in &list {
        match (check(vector, &name, kind, &plugins).await, vector.level) {
            (Ok(()), _) => passed += 1,
            (Err(why), Level::Must) => {
                failed += 1;
                println!("FAIL  {}  {}: {why}", vector.id, vector.why);
            }
            (Err(why), Level::Should) => {
                lax += 1;
                println!("lax   {}  {}: {why}", vector.id, vector.why);
            }
        }
    }
    if lax > 0 {
        println!("{lax} of level `should` went the other way");
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn check(vector: &Vector, name: &PluginName, kind: Kind, plugins: &Plugins) -> Result<(), String> {
    let verifier = plugins.bind(name, kind, "", &vector.options, Arc::new(vector.roles()));
    let problems = plugins.problems(&verifier).await;
    if !problems.is_empty() {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(problems.join("; "));
    }
    vector.check(&verifier).await
}
