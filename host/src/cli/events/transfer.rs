//! `tollgate events export` and `import`: events as JSON lines, oldest first, with their bodies.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::Value;

use super::super::client::{Client, ClientError};
use super::{Filter, escaped, listing};

/// Events asked for at once.
const AT_ONCE: usize = 8;
/// Lines sent at once, and about how many bytes of them.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// Events on a page.
const PAGE: u32 = 500;

/// Writes what the filter finds to `out`, or to standard output.
pub(super) async fn export(client: &Client, filter: &Filter, out: Option<PathBuf>) -> Result<(), ClientError> {
    let ids = ids(client, filter).await?;
    let mut out: Box<dyn Write> = match &out {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(|error| named(path, &error))?)),
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let progress = indicatif::ProgressBar::new(ids.len() as u64);
    // The list is newest first.
    let asked = ids.iter().rev().map(|id| async move {
        let path = format!("/api/events/{}?body=true", escaped(id));
        (id, client.get_large(&path).await)
    });
    let mut events = stream::iter(asked).buffered(AT_ONCE);
    let mut left_out = 0;
    while let Some((id, event)) = events.next().await {
        match event {
            Ok(event) => writeln!(out, "{event}")?,
            Err(error) => {
                left_out += 1;
                eprintln!("{id}: left out: {error}");
            }
        }
        progress.inc(1);
    }
    out.flush()?;
    progress.finish_and_clear();
    eprintln!("exported: {} events", ids.len() - left_out);
    match left_out {
        0 => Ok(()),
        left_out => Err(ClientError::Failed(format!("{left_out} events were left out"))),
    }
}

/// Each event once. Its deliveries stand together in the list.
async fn ids(client: &Client, filter: &Filter) -> Result<Vec<String>, ClientError> {
    let mut ids: Vec<String> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = client.get(&listing(filter, PAGE, cursor.as_deref())).await?;
        for id in page["events"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_str()) {
            if ids.last().is_none_or(|last| last != id) {
                ids.push(id.to_owned());
            }
        }
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(ids),
        }
    }
}

/// Reads lines from `file`, or from standard input, and has the gateway keep them. What it has already stays as it is.
pub(super) async fn import(client: &Client, file: Option<PathBuf>) -> Result<(), ClientError> {
    let lines: Box<dyn BufRead> = match &file {
        Some(path) => Box::new(BufReader::new(File::open(path).map_err(|error| named(path, &error))?)),
        None => Box::new(BufReader::new(std::io::stdin())),
    };
    let progress = indicatif::ProgressBar::new_spinner();
    let (mut batch, mut bytes, mut sums) = (Vec::new(), 0, (0, 0));
    for (number, line) in lines.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong =
            |error| ClientError::Usage(format!("line {}: expected an event as it was exported: {error}", number + 1));
        batch.push(serde_json::from_str::<Value>(&line).map_err(wrong)?);
        bytes += line.len();
        if batch.len() >= BATCH || bytes >= BATCH_BYTES {
            send(client, &mut batch, &mut sums).await?;
            bytes = 0;
            progress.set_message(format!("imported: {} events", sums.0));
            progress.tick();
        }
    }
    send(client, &mut batch, &mut sums).await?;
    progress.finish_and_clear();
    let (imported, known) = sums;
    Ok(super::terminal::say(format!("imported: {imported} events; {known} were there already\n"))?)
}

async fn send(client: &Client, batch: &mut Vec<Value>, sums: &mut (u64, u64)) -> Result<(), ClientError> {
    if batch.is_empty() {
        return Ok(());
    }
    let answer = client.post("/api/events/import", &serde_json::json!({ "events": std::mem::take(batch) })).await?;
    sums.0 += answer["imported"].as_u64().unwrap_or(0);
    sums.1 += answer["known"].as_u64().unwrap_or(0);
    Ok(())
}

fn named(path: &Path, error: &std::io::Error) -> ClientError {
    ClientError::Usage(format!("{}: {error}", path.display()))
}
