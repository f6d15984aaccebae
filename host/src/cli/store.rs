//! `tollgate store`: the whole event log as JSON lines, out of one engine and into another.

mod record;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use self::record::{Importing, Record};
use super::command::{ConfigFile, refused};
use crate::app;
use crate::base::clock::Clock;
use crate::config::plan::{Plan, StoreUrl};
use crate::store::{EventStore, StoreError};

/// Events on their way at once.
const AT_ONCE: usize = 256;
/// Keys on their way at once.
const KEYS_AT_ONCE: u32 = 500;
/// Bytes of a line, at most: those of a piece of a body and what is around it.
const LINE_MAX: u64 = 4 << 20;

/// `tollgate store …`
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write the whole log: events, bodies, deliveries, attempts and duplicate keys
    Export {
        /// Whose store
        #[command(flatten)]
        config: ConfigFile,
        /// Where to; standard output when it is not given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Read what was exported; what is there already stays as it is
    Import {
        /// Whose store
        #[command(flatten)]
        config: ConfigFile,
        /// Where from; standard input when it is not given
        #[arg(value_name = "EXPORT")]
        from: Option<PathBuf>,
    },
}

/// Why it did not come to its end.
#[derive(Debug)]
enum Stopped {
    Io(io::Error),
    Store(StoreError),
    /// A line that is none of an export.
    Line(u64, String),
    /// No line says that this is all.
    CutShort(Sums),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Store(error) => write!(f, "{error}"),
            Self::Line(number, what) => write!(f, "line {number}: {what}"),
            Self::CutShort(sums) => {
                write!(f, "the export is cut short, {sums} were imported: import the whole one, it goes on from here")
            }
        }
    }
}

/// What went over.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    events: u64,
    keys: u64,
    /// Of the events, those that were there already.
    there: u64,
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} events and {} duplicate keys", self.events, self.keys)
    }
}

pub(super) async fn run(command: Command) -> ExitCode {
    let (Command::Export { config, .. } | Command::Import { config, .. }) = &command;
    let store = match open(config).await {
        Ok(store) => store,
        Err(code) => return code,
    };
    let progress = Progress::new();
    let done = match command {
        Command::Export { out, .. } => export(&*store, out.as_deref(), &progress).await,
        Command::Import { from, .. } => import(&*store, from.as_deref(), &progress).await,
    };
    progress.0.finish_and_clear();
    let done = match (done, store.close().await) {
        (Ok(_), Err(error)) => Err(error.into()),
        (done, _) => done,
    };
    match done {
        Ok(said) => {
            eprintln!("{said}");
            ExitCode::SUCCESS
        }
        Err(stopped) => {
            eprintln!("error: {stopped}");
            ExitCode::FAILURE
        }
    }
}

/// The store of a configuration. Of its secrets only the store's own is asked for.
async fn open(config: &ConfigFile) -> Result<Arc<dyn EventStore>, ExitCode> {
    let mut plan = config.load()?;
    let password = match &plan.store.url {
        StoreUrl::Postgres(postgres) => postgres.password.clone(),
        StoreUrl::Sqlite(_) => None,
    };
    plan.secrets.retain(|name, _| Some(name) == password.as_ref());
    let secrets = crate::config::secrets::resolve(&plan, &|name| std::env::var_os(name));
    let secrets = secrets.map_err(|problems| refused(&problems))?;
    let Plan { store, .. } = plan;
    app::store::open(&store, &secrets, None).await.map_err(|error| {
        eprintln!("error: store {}: {error}", store.url);
        ExitCode::FAILURE
    })
}

/// A line on the terminal that says how far it is.
struct Progress(indicatif::ProgressBar);

impl Progress {
    fn new() -> Self {
        let bar = indicatif::ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    fn show(&self, sums: Sums) {
        self.0.set_message(sums.to_string());
    }
}

async fn export(store: &dyn EventStore, out: Option<&Path>, progress: &Progress) -> Result<String, Stopped> {
    let mut draft = match out {
        Some(path) => Some((Draft::beside(path)?, path)),
        None => None,
    };
    let mut sums = Sums::default();
    {
        let mut out: Box<dyn Write + Send> = match &mut draft {
            Some((draft, _)) => Box::new(BufWriter::new(draft.file.try_clone()?)),
            None => Box::new(BufWriter::new(io::stdout())),
        };
        Record::BEGIN.write(&mut out)?;
        export_events(store, &mut out, &mut sums, progress).await?;
        export_keys(store, &mut out, &mut sums, progress).await?;
        Record::End { events: sums.events, keys: sums.keys }.write(&mut out)?;
        out.flush()?;
    }
    if let Some((draft, path)) = draft {
        draft.put(path)?;
    }
    Ok(format!("exported {sums}"))
}

async fn export_events(
    store: &dyn EventStore,
    out: &mut (dyn Write + Send),
    sums: &mut Sums,
    progress: &Progress,
) -> Result<(), Stopped> {
    let mut place = 0;
    loop {
        let step = store.walk(place, AT_ONCE as u32).await?;
        let Some((last, _)) = step.last() else { return Ok(()) };
        place = *last;
        for (_, id) in step {
            // Swept meanwhile.
            let Some(detail) = store.show(id).await? else { continue };
            let Some(body) = store.body(id).await? else { continue };
            Record::write_event(out, &detail, &body)?;
            sums.events += 1;
            progress.show(*sums);
        }
    }
}

async fn export_keys(
    store: &dyn EventStore,
    out: &mut (dyn Write + Send),
    sums: &mut Sums,
    progress: &Progress,
) -> Result<(), Stopped> {
    let mut after = None;
    loop {
        let step = store.known_keys(after, KEYS_AT_ONCE).await?;
        let Some(last) = step.last() else { return Ok(()) };
        after = Some(last.key);
        for known in step {
            Record::key(&known).write(out)?;
            sums.keys += 1;
        }
        progress.show(*sums);
    }
}

/// A file that is there whole or not at all, for its owner only: what it holds came with secrets.
struct Draft {
    file: File,
    path: PathBuf,
}

impl Draft {
    fn beside(path: &Path) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok(Self { file, path })
    }

    fn put(self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, path)
    }
}

async fn import(store: &dyn EventStore, file: Option<&Path>, progress: &Progress) -> Result<String, Stopped> {
    let mut lines: Box<dyn BufRead + Send> = match file {
        Some(path) => Box::new(BufReader::new(File::open(path)?)),
        None => Box::new(BufReader::new(io::stdin())),
    };
    let mut importing = Importing::into(store.spill_directory());
    let (mut sums, mut events, mut keys) = (Sums::default(), Vec::new(), Vec::new());
    let mut bytes = 0;
    for number in 1.. {
        let mut line = Vec::new();
        let length = (&mut lines).take(LINE_MAX).read_until(b'\n', &mut line)?;
        if length == 0 {
            break;
        }
        let wrong = |what: String| Stopped::Line(number, what);
        if length as u64 == LINE_MAX {
            return Err(wrong(format!("it is longer than {LINE_MAX} bytes")));
        }
        match importing.read(&line).map_err(wrong)? {
            record::Read::Nothing => {}
            record::Read::Event(event) => events.push(*event),
            record::Read::Key(known) => keys.push(known),
            record::Read::End => {
                restore(store, &mut events, &mut sums).await?;
                remember(store, &mut keys, &mut sums).await?;
                return Ok(format!("imported {sums}; {} of the events were there already", sums.there));
            }
        }
        bytes += length;
        if events.len() >= AT_ONCE || bytes >= LINE_MAX as usize {
            restore(store, &mut events, &mut sums).await?;
            bytes = 0;
        }
        if keys.len() >= KEYS_AT_ONCE as usize {
            remember(store, &mut keys, &mut sums).await?;
        }
        progress.show(sums);
    }
    restore(store, &mut events, &mut sums).await?;
    remember(store, &mut keys, &mut sums).await?;
    Err(Stopped::CutShort(sums))
}

/// Asked for in their order, so that they are in line as they came; on disk together.
async fn restore(store: &dyn EventStore, events: &mut Vec<record::Event>, sums: &mut Sums) -> Result<(), Stopped> {
    let now = Clock::System.now();
    let asked = events.drain(..).map(|(event, deliveries)| store.restore(now, event, deliveries));
    let restored = futures_util::future::try_join_all(asked.collect::<Vec<_>>()).await?;
    sums.events += restored.len() as u64;
    sums.there += restored.iter().filter(|new| !**new).count() as u64;
    Ok(())
}

async fn remember(
    store: &dyn EventStore,
    keys: &mut Vec<crate::store::KnownKey>,
    sums: &mut Sums,
) -> Result<(), Stopped> {
    let now = Clock::System.now();
    // One that is known as another's stays so, and one that no longer counts need not be.
    let counting = keys.drain(..).filter(|known| known.until > now);
    let asked = counting.map(|known| store.conclude(now, known.key, known.event, Some(known.until)));
    let remembered = futures_util::future::try_join_all(asked.collect::<Vec<_>>()).await?;
    sums.keys += remembered.len() as u64;
    Ok(())
}
