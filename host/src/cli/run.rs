//! `tollgate run`: serve until told to stop.

use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::command::{ConfigFile, EXIT_USAGE, refused};
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
    let plan = match arguments.config.load() {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    if let Err(error) = start_logging(&plan) {
        eprintln!("error: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    match start(plan).await {
        Ok((app, signals)) => until_stopped(app, signals).await,
        Err(code) => code,
    }
}

/// Starts a gateway that hears signals from its first request on. One that is to stop before it serves just ends.
pub(super) async fn start(plan: Plan) -> Result<(App, Signals), ExitCode> {
    let mut signals = Signals::listen().map_err(|error| {
        eprintln!("error: signals cannot be listened for: {error}");
        ExitCode::FAILURE
    })?;
    tokio::select! {
        started = App::start(plan, Surroundings::of_process()) => match started {
            Ok(app) => Ok((app, signals)),
            Err(error) => Err(not_started(&error)),
        },
        () = signals.stop() => Err(ExitCode::SUCCESS),
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

fn not_started(error: &StartError) -> ExitCode {
    match error {
        StartError::Problems(problems) => refused(problems),
        other => {
            eprintln!("error: {other}");
            ExitCode::FAILURE
        }
    }
}

/// What a gateway is told from outside.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they are heard; before, each would have ended the process.
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// SIGTERM or SIGINT.
    async fn stop(&mut self) {
        either(&mut self.terminate, &mut self.interrupt).await;
    }

    /// One of them after [`ONE_SIGNAL`]: whoever signals a process group is heard twice.
    async fn stop_again(&mut self) {
        tokio::time::sleep(ONE_SIGNAL).await;
        drained(&mut self.terminate);
        drained(&mut self.interrupt);
        self.stop().await;
    }
}

/// Serves until SIGTERM or SIGINT; SIGHUP reloads. A second signal to stop ends at once.
pub(super) async fn until_stopped(app: App, mut signals: Signals) -> ExitCode {
    loop {
        tokio::select! {
            Some(()) = signals.hangup.recv() => {
                // What went wrong is in the log.
                let _outcome = app.reload().await;
            }
            () = either(&mut signals.terminate, &mut signals.interrupt) => break,
        }
    }
    tokio::select! {
        () = app.stop() => ExitCode::SUCCESS,
        () = signals.stop_again() => {
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
