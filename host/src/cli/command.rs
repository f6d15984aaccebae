//! The command line: which commands there are, and the runtime each runs on.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use super::{check, dev, events, explain, plugin, run, store, terminal};
use crate::config::plan::Plan;
use crate::config::problem::Problems;

/// A gateway that proxies every protocol your services speak and never loses a webhook.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve
    Run(run::Arguments),
    /// Find every problem in the configuration, its secrets and its plugins
    Check(check::Arguments),
    /// Build the plugins below a folder, serve, and rebuild and swap on save
    Dev(dev::Arguments),
    /// Say which route would serve a request, and why the others would not
    Explain(explain::Arguments),
    /// Build, test and look at plugins
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Look at the webhook log and its dead letters, replay and drop
    Events(events::Arguments),
    /// Move the whole event log between engines
    #[command(subcommand)]
    Store(store::Command),
    /// Print completions for a shell
    Completions {
        /// Which
        shell: Shell,
    },
}

/// Where the configuration is, for the commands that read it.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "tollgate.toml")]
    pub file: PathBuf,
}

impl ConfigFile {
    /// The plan, or the exit code after the problems were shown.
    pub(super) fn load(&self) -> Result<Plan, ExitCode> {
        crate::config::load(&self.file).map_err(|problems| refused(&problems))
    }
}

/// Shows what is wrong with a configuration.
pub(super) fn refused(problems: &Problems) -> ExitCode {
    eprintln!("{}", problems.render(terminal::colour()));
    ExitCode::from(EXIT_USAGE)
}

/// Runs the command that was typed. Exit codes: 0 done, 1 failed while running, 2 bad usage or bad configuration.
pub fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: threads do not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(dispatch(command));
    // Blocking work that hangs (a name server, say) must not keep the process.
    runtime.shutdown_background();
    code
}

async fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::Run(arguments) => run::run(arguments).await,
        Command::Check(arguments) => check::run(arguments).await,
        Command::Dev(arguments) => dev::run(arguments).await,
        Command::Explain(arguments) => explain::run(arguments).await,
        Command::Plugin(command) => plugin::run(command).await,
        Command::Events(arguments) => events::run(arguments).await,
        Command::Store(command) => store::run(command).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "tollgate", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

/// Bad usage or bad configuration.
pub const EXIT_USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }
}
