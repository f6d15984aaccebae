//! Values with what the gateway knows in braces: `tenant-{route}`.

use tollgate_sdk::{Protocol, Request};

/// A value in pieces.
pub(crate) struct Template(Vec<Piece>);

enum Piece {
    Text(String),
    Known(fn(&Request<'_>) -> String),
}

type Known = (&'static str, fn(&Request<'_>) -> String);

const KNOWN: [Known; 7] = [
    ("id", |request| request.id()),
    ("route", |request| request.route()),
    ("product", |request| request.product()),
    ("protocol", |request| protocol(request.protocol()).to_owned()),
    ("method", |request| request.method()),
    ("host", |request| request.authority()),
    ("client", |request| request.client_address()),
];

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
        Protocol::GrpcWeb => "grpc_web",
        Protocol::WebSocket => "websocket",
        Protocol::Webhook => "webhook",
    }
}

impl Template {
    /// Reads `{name}`s; `{{` is a brace.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('{') {
                plain.push('{');
                rest = after;
                continue;
            }
            let (name, after) =
                after.split_once('}').ok_or_else(|| ["`", text, "` has a `{` without its `}`"].concat())?;
            let known = KNOWN.iter().find(|(known, _)| *known == name).ok_or_else(|| unknown(name))?;
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Known(known.1));
            rest = after;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Ok(Self(pieces))
    }

    pub(crate) fn fill(&self, request: &Request<'_>) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Known(known) => out.push_str(&known(request)),
            }
        }
        out
    }
}

fn unknown(name: &str) -> String {
    let mut message = ["`{", name, "}` is not known; there is "].concat();
    for (nth, (known, _)) in KNOWN.iter().enumerate() {
        message.push_str(if nth == 0 { "{" } else { ", {" });
        message.push_str(known);
        message.push('}');
    }
    message
}
