//! `tollgate events`: the webhook log and its dead letters, through the admin API.

mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};

use super::client::{AdminArguments, Client, ClientError};
use super::command::EXIT_USAGE;
use super::terminal;
use crate::store::DeliveryState;

/// Between two looks at a bulk change.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// `tollgate events`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    admin: AdminArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List deliveries, newest event first
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many, at most 500
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Where to go on: `next` of the page before
        #[arg(long)]
        cursor: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one event, with every attempt to deliver it
    Show {
        /// evt_…
        id: String,
        /// Write the event's body to standard output instead
        #[arg(long)]
        body: bool,
        /// As JSON
        #[arg(long, conflicts_with = "body")]
        json: bool,
    },
    /// Deliver again what was delivered, is dead, parked or dropped
    Replay {
        #[command(flatten)]
        change: Change,
        /// Only what today's verifier accepts, with the clock and the secrets of the time it was received
        #[arg(long)]
        verify: bool,
    },
    /// Let go what is due, dead or parked
    Drop(Change),
    /// Write events with their bodies, one JSON object a line, oldest first; without what is redacted
    Export {
        #[command(flatten)]
        filter: Filter,
        /// Where to; standard output when not given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Keep events that were exported; those that are here stay as they are
    Import {
        /// Where from; standard input when not given
        file: Option<PathBuf>,
    },
}

/// One event, or all that a filter finds.
#[derive(Debug, clap::Args)]
struct Change {
    /// evt_…; or a filter
    id: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Deliveries a second, with a filter
    #[arg(long, requires = "filter")]
    pace: Option<u32>,
}

#[derive(Debug, Default, clap::Args)]
#[group(id = "filter", multiple = true)]
struct Filter {
    /// Where the delivery stands
    #[arg(long, value_parser = DeliveryState::ALL.map(DeliveryState::as_str))]
    state: Option<String>,
    /// The route that took it
    #[arg(long)]
    route: Option<String>,
    /// The product it goes to
    #[arg(long)]
    product: Option<String>,
    /// The plugin that verified it
    #[arg(long)]
    provider: Option<String>,
    /// The provider's event type
    #[arg(long)]
    kind: Option<String>,
    /// Received at or after (RFC 3339)
    #[arg(long)]
    since: Option<String>,
    /// Received before (RFC 3339)
    #[arg(long)]
    until: Option<String>,
    /// Text in the reason
    #[arg(long)]
    text: Option<String>,
}

impl Filter {
    fn fields(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("state", &self.state),
            ("route", &self.route),
            ("product", &self.product),
            ("provider", &self.provider),
            ("kind", &self.kind),
            ("since", &self.since),
            ("until", &self.until),
            ("text", &self.text),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let done = match Client::new(&arguments.admin) {
        Ok(client) => execute(&client, arguments.command).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            match error {
                ClientError::Usage(_) => ExitCode::from(EXIT_USAGE),
                ClientError::Failed(_) => ExitCode::FAILURE,
            }
        }
    }
}

async fn execute(client: &Client, command: Command) -> Result<(), ClientError> {
    match command {
        Command::List { filter, limit, cursor, json } => {
            let page = client.get(&listing(&filter, limit, cursor.as_deref())).await?;
            terminal::say(if json { format!("{page:#}\n") } else { table(&page, terminal::width()) })?;
        }
        Command::Show { id, body: true, .. } => return body(client, &id).await,
        Command::Show { id, json, .. } => {
            let event = client.get(&format!("/api/events/{}", escaped(&id))).await?;
            terminal::say(if json { format!("{event:#}\n") } else { life(&event) })?;
        }
        Command::Replay { change, verify } => return alter(client, "replay", change, verify).await,
        Command::Drop(change) => return alter(client, "drop", change, false).await,
        Command::Export { filter, out } => return transfer::export(client, &filter, out).await,
        Command::Import { file } => return transfer::import(client, file).await,
    }
    Ok(())
}

fn listing(filter: &Filter, limit: u32, cursor: Option<&str>) -> String {
    let mut path = format!("/api/events?limit={limit}");
    for (name, value) in filter.fields().into_iter().chain(cursor.map(|cursor| ("cursor", cursor))) {
        path.push_str(&format!("&{name}={}", escaped(value)));
    }
    path
}

/// Percent-encoded but for what is unreserved (RFC 3986, section 2.3).
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

async fn alter(client: &Client, action: &str, change: Change, verify: bool) -> Result<(), ClientError> {
    let mut said = if verify { json!({ "verify": true }) } else { json!({}) };
    let fields = change.filter.fields();
    match (change.id, fields.is_empty()) {
        (Some(id), true) => {
            let done = client.post(&format!("/api/events/{}/{action}", escaped(&id)), &said).await?;
            let count = done.as_object().and_then(|done| done.values().next()).and_then(Value::as_u64).unwrap_or(0);
            Ok(terminal::say(format!("{}\n", told(action, count)))?)
        }
        (None, false) => {
            let filter: Map<String, Value> =
                fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            said["filter"] = filter.into();
            said["pace"] = change.pace.into();
            let started = client.post(&format!("/api/events/{action}"), &said).await?;
            let job = started["job"].as_str().unwrap_or_default().to_owned();
            follow(client, action, &job).await
        }
        (Some(_), false) => Err(ClientError::Usage("expected an event or a filter, not both".into())),
        (None, true) => {
            Err(ClientError::Usage("expected an event (evt_…) or a filter (--state dead, --route NAME, …)".into()))
        }
    }
}

fn told(action: &str, count: u64) -> String {
    format!("{action}: {count} {}", if count == 1 { "delivery" } else { "deliveries" })
}

/// Watches a bulk change to its end. It goes on when nobody watches.
async fn follow(client: &Client, action: &str, job: &str) -> Result<(), ClientError> {
    let progress = indicatif::ProgressBar::new_spinner();
    loop {
        let seen = client.get(&format!("/api/jobs/{}", escaped(job))).await?;
        let changed = seen["changed"].as_u64().unwrap_or(0);
        let looked_at = seen["looked_at"].as_u64().unwrap_or(0);
        progress.set_message(format!("{} of {looked_at} looked at", told(action, changed)));
        progress.tick();
        if seen["done"].as_bool() == Some(true) {
            progress.finish_and_clear();
            let refused = seen["refused"].as_u64().filter(|refused| *refused > 0);
            let refused = refused.map_or_else(String::new, |refused| format!("; {refused} do not verify"));
            terminal::say(format!("{}{refused}\n", told(action, changed)))?;
            return match seen["error"].as_str() {
                Some(error) => Err(ClientError::Failed(error.to_owned())),
                None => Ok(()),
            };
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn body(client: &Client, id: &str) -> Result<(), ClientError> {
    let mut body = client.download(&format!("/api/events/{}/body", escaped(id))).await?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ClientError::Failed(format!("the body was cut short: {error}")))?;
        if let Some(data) = frame.data_ref() {
            terminal::say(data)?;
        }
    }
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

/// The page as a table; rows are cut at `width`, which the reason comes last for.
fn table(page: &Value, width: Option<usize>) -> String {
    let rows: Vec<[String; 7]> = page["events"].as_array().into_iter().flatten().map(columns).collect();
    if rows.is_empty() {
        return "no deliveries\n".into();
    }
    let head = ["EVENT", "STATE", "ROUTE → PRODUCT", "TYPE", "TRIES", "RECEIVED", "REASON"].map(str::to_owned);
    let longest = |at: usize| rows.iter().chain([&head]).map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(longest).collect();
    let mut out = String::new();
    for row in [&head].into_iter().chain(&rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let line = cells.join("  ");
        out.extend(line.trim_end().chars().take(width.unwrap_or(usize::MAX)));
        out.push('\n');
    }
    if let Some(next) = page["next"].as_str() {
        out.push_str(&format!("more: --cursor {next}\n"));
    }
    out
}

fn columns(row: &Value) -> [String; 7] {
    [
        text(row, "id").to_owned(),
        text(row, "state").to_owned(),
        format!("{} → {}", text(row, "route"), text(row, "product")),
        shown(text(row, "kind")),
        row["attempts"].to_string(),
        text(row, "received").to_owned(),
        shown(row["reason"].as_str().unwrap_or_default()),
    ]
}

/// What a sender or a product wrote must not command the terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn life(event: &Value) -> String {
    let request = &event["request"];
    let mut lines = vec![
        format!("event      {}", text(event, "id")),
        format!("received   {}  request {}", text(event, "received"), text(event, "request_id")),
        format!("route      {}  verified by {}", text(event, "route"), text(event, "provider")),
        format!("type       {}  id {}", shown(text(event, "kind")), shown(text(event, "identity"))),
        format!(
            "request    {} {}  {} bytes from {}",
            text(request, "method"),
            shown(text(request, "target")),
            event["size"],
            text(request, "client")
        ),
    ];
    for header in request["headers"].as_array().into_iter().flatten() {
        let (name, value) = (header[0].as_str().unwrap_or_default(), header[1].as_str().unwrap_or_default());
        lines.push(format!("           {}: {}", shown(name), shown(value)));
    }
    for delivery in event["deliveries"].as_array().into_iter().flatten() {
        let due = delivery["due"].as_str().map_or_else(String::new, |due| format!(", due {due}"));
        lines.push(format!("delivery   {} {}{due}", text(delivery, "product"), text(delivery, "state")));
        if let Some(reason) = delivery["reason"].as_str() {
            lines.push(format!("           {}", shown(reason)));
        }
        for attempt in delivery["history"].as_array().into_iter().flatten() {
            let status = attempt["status"].as_u64().map_or_else(|| "no answer".into(), |status| status.to_string());
            let said = attempt["error"].as_str().or(attempt["answer"].as_str()).unwrap_or_default();
            lines.push(format!(
                "  attempt {:>2}  {}  {status}  {} ms  {}",
                attempt["number"].as_u64().unwrap_or_default(),
                text(attempt, "at"),
                attempt["ms"],
                shown(said)
            ));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_becomes_a_query() {
        let filter = Filter { state: Some("dead".into()), text: Some("no answer & more".into()), ..Filter::default() };
        assert_eq!(
            listing(&filter, 10, Some("a/b")),
            "/api/events?limit=10&state=dead&text=no%20answer%20%26%20more&cursor=a%2Fb"
        );
    }

    #[test]
    fn a_row_is_cut_at_the_end_of_the_terminal() {
        let page = json!({ "events": [{ "id": "evt_1", "reason": "x".repeat(500) }], "next": null });
        assert!(table(&page, Some(80)).lines().all(|line| line.chars().count() <= 80));
        assert!(table(&page, None).lines().any(|line| line.ends_with(&"x".repeat(500))));
    }

    #[test]
    fn what_others_wrote_cannot_command_the_terminal() {
        let page = json!({ "events": [{ "id": "evt_1", "kind": "a\u{1b}[2Jb", "reason": "x\ny" }], "next": null });
        let table = table(&page, None);
        assert!(!table.contains('\u{1b}'));
        assert_eq!(table.lines().count(), 2);
    }
}
