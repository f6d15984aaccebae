//! `tollgate run`: serve until told to stop.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::command::{ConfigFile, EXIT_USAGE};
use super::terminal;
use crate::app::{App, StartError, Surroundings};
use crate::config::plan::{LogFormat, Plan};
use crate::telemetry::logging::{self, Lines};

/// Signals within this time of the first are the same wish to stop.
const ONE_SIGNAL: std::time::Duration = std::time::Duration::from_secs(1);

/// `tollgate run`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let plan = match crate::config::load(&arguments.config.file) {
        Ok(plan) => plan,
        Err(problems) => {
            eprintln!("{}", problems.render(terminal::colour()));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if let Err(error) = start_logging(&plan) {
        eprintln!("error: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    match App::start(plan, Surroundings::of_process()).await {
        Ok(app) => until_stopped(app).await,
        Err(error) => not_started(&error),
    }
}

pub(super) fn start_logging(plan: &Plan) -> Result<(), logging::LoggingError> {
    let lines = match plan.log.format {
        LogFormat::Auto => Lines::Auto,
        LogFormat::Pretty => Lines::Pretty,
        LogFormat::Json => Lines::Json,
    };
    logging::start(lines, &plan.log.level)
}

pub(super) fn not_started(error: &StartError) -> ExitCode {
    match error {
        StartError::Problems(problems) => {
            eprintln!("{}", problems.render(terminal::colour()));
            ExitCode::from(EXIT_USAGE)
        }
        other => {
            eprintln!("error: {other}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until SIGTERM or SIGINT; SIGHUP reloads. A second signal to stop ends at once.
pub(super) async fn until_stopped(app: App) -> ExitCode {
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = signals else {
        eprintln!("error: signals cannot be listened for");
        return ExitCode::FAILURE;
    };
    loop {
        tokio::select! {
            Some(()) = hangup.recv() => {
                // What went wrong is in the log.
                let _outcome = app.reload().await;
            }
            () = either(&mut terminate, &mut interrupt) => break,
        }
    }
    let again = async {
        // Whoever signals a process group is heard twice.
        tokio::time::sleep(ONE_SIGNAL).await;
        drained(&mut terminate);
        drained(&mut interrupt);
        either(&mut terminate, &mut interrupt).await;
    };
    tokio::select! {
        () = app.stop() => ExitCode::SUCCESS,
        () = again => {
            eprintln!("stopped at once: what was under way is cut");
            ExitCode::FAILURE
        }
    }
}

/// Forgets a signal that came already.
fn drained(signal: &mut Signal) {
    let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
    // Pending is what is wanted: then there was none.
    while signal.poll_recv(&mut nobody).is_ready() {}
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
