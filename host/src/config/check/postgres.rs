//! `postgres://user@host[:port][,host[:port]…]/database[?parameter=value&…]`, by PostgreSQL's rules for such URLs.
//!
//! No problem found here shows the URL: somebody may have written a password into it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::host::normalise_host;
use crate::config::plan::{Postgres, PostgresHost, PostgresTls};
use crate::config::raw::{Item, did_you_mean};

/// How many connections a gateway may hold: one to write events, one to settle, one to read.
pub(super) const CONNECTIONS: RangeInclusive<i64> = 3..=1000;

const CONNECTIONS_DEFAULT: usize = 16;
const PORT: u16 = 5432;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FORM: &str = "postgres://user@host:5432/database";

const PARAMETERS: [&str; 8] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "application_name", "connect_timeout"];

/// What is wrong with a URL, and what to do about it.
struct Wrong(String, String);

fn wrong<T>(what: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong(what.into(), help.into()))
}

/// Reads what stands behind the scheme.
pub(super) fn read(item: &Item<'_>, rest: &str) -> Option<Postgres> {
    match parse(item, rest) {
        Ok(postgres) => Some(postgres),
        Err(Wrong(what, help)) => {
            item.reading.report(item.problem(format!("`{}` {what}", item.path)).cut_before().help(help));
            None
        }
    }
}

fn parse(item: &Item<'_>, rest: &str) -> Result<Postgres, Wrong> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains(':') {
        return wrong("has a password in it", "write password = \"NAME\" and a [secret.NAME], and remove it here");
    }
    let parameters = Parameters::read(query)?;
    let (user, database) = (decoded(user)?, decoded(database)?);
    if user.is_empty() || database.is_empty() {
        return wrong("lacks a user or a database", FORM);
    }
    let hosts = self::hosts(hosts, &parameters)?;
    let path = |name: &str| parameters.get(name).map(|path| item.reading.absolute(path));
    let identity = match (path("sslcert"), path("sslkey")) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => return wrong("has one of sslcert and sslkey", "write both or none"),
    };
    let tls = tls(&hosts, &parameters)?;
    let root_certificate = path("sslrootcert");
    if tls != PostgresTls::VerifyFull && root_certificate.is_some() {
        return wrong("has an sslrootcert that nothing is checked against", "write sslmode=verify-full");
    }
    Ok(Postgres {
        tls,
        root_certificate,
        identity,
        application_name: parameters.get("application_name").unwrap_or("tollgate").to_owned(),
        connect_timeout: connect_timeout(&parameters)?,
        hosts,
        user,
        database,
        password: None,
        connections: CONNECTIONS_DEFAULT,
    })
}

struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn read(query: &str) -> Result<Self, Wrong> {
        let mut parameters = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if name == "password" {
                return wrong(
                    "has a password in it",
                    "write password = \"NAME\" and a [secret.NAME], and remove it here",
                );
            }
            if !PARAMETERS.contains(&name.as_str()) {
                let near = did_you_mean(&name, PARAMETERS.into_iter());
                let known = || format!("those there are: {}", PARAMETERS.join(", "));
                return wrong("has a parameter that is not known here", near.unwrap_or_else(known));
            }
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        Ok(Self(parameters))
    }

    /// The last one written wins, as with libpq.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn hosts(written: &str, parameters: &Parameters) -> Result<Vec<PostgresHost>, Wrong> {
    let port = match parameters.get("port").map(str::parse) {
        None => PORT,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return wrong("has a port that is none", FORM),
    };
    if let Some(host) = parameters.get("host") {
        if !written.is_empty() {
            return wrong("names hosts twice", "write them before the database or as host=, not both");
        }
        return host.split(',').map(|host| one(host.to_owned(), port)).collect();
    }
    written
        .split(',')
        .map(|written| {
            // An IPv6 address stands in brackets; a socket's folder is escaped.
            let after_name = written.rfind(']').map_or(0, |at| at + 1);
            let (host, port) = match written[after_name..].rfind(':') {
                None => (written, port),
                Some(at) => {
                    let (host, port) = (&written[..after_name + at], &written[after_name + at + 1..]);
                    match port.parse() {
                        Ok(port) if port > 0 => (host, port),
                        _ => return wrong("has a port that is none", FORM),
                    }
                }
            };
            let host = decoded(host)?;
            one(host.trim_matches(['[', ']']).to_owned(), port)
        })
        .collect()
}

fn one(host: String, port: u16) -> Result<PostgresHost, Wrong> {
    if host.starts_with('/') {
        return Ok(PostgresHost::Unix(PathBuf::from(host), port));
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(PostgresHost::Tcp(host, port));
    }
    match normalise_host(&host) {
        Some(host) => Ok(PostgresHost::Tcp(host, port)),
        None => wrong("lacks a host, or has one that is no name or address", FORM),
    }
}

/// Without a word about it, whoever can be overheard speaks to nobody but the server.
fn tls(hosts: &[PostgresHost], parameters: &Parameters) -> Result<PostgresTls, Wrong> {
    match parameters.get("sslmode") {
        None if hosts.iter().all(PostgresHost::is_local) => Ok(PostgresTls::Disable),
        None | Some("verify-full") => Ok(PostgresTls::VerifyFull),
        Some("disable") => Ok(PostgresTls::Disable),
        Some("require") => Ok(PostgresTls::Require),
        Some("allow" | "prefer") => {
            let help = "write sslmode=verify-full, require (whoever answers is taken for the server) or disable";
            wrong("has an sslmode that falls back to plain text", help)
        }
        Some(_) => wrong("has an sslmode that is none", "verify-full, require or disable"),
    }
}

fn connect_timeout(parameters: &Parameters) -> Result<Duration, Wrong> {
    match parameters.get("connect_timeout").map(str::parse::<u16>) {
        None => Ok(CONNECT_TIMEOUT),
        Some(Ok(seconds)) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        Some(_) => wrong("has a connect_timeout that is no number of seconds", "5, say"),
    }
}

/// Percent-escapes undone.
fn decoded(text: &str) -> Result<String, Wrong> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16));
        match byte {
            b'%' => match (hex(rest.next()), hex(rest.next())) {
                (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
                _ => return wrong("has a percent sign without two hex digits", "write a percent sign as %25"),
            },
            _ => bytes.push(byte),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => wrong("has escapes that are no text", FORM),
    }
}
