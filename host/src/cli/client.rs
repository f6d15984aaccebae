//! Asking a running gateway's admin listener.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// To connect, to wait for an answer's head, and for all of an answer that is JSON.
const PATIENCE: Duration = Duration::from_secs(70);
/// The most an answer that is JSON may have; a full page of events is a few hundred KiB.
const ANSWER_MAX: usize = 16 << 20;
/// The same with an event's body in it, in base64.
const LARGE_MAX: usize = 64 << 20;

/// Where the admin listener is, and what to show it.
#[derive(Debug, clap::Args)]
pub(super) struct AdminArguments {
    /// The admin listener
    #[arg(long = "admin", value_name = "URL", env = "TOLLGATE_ADMIN_URL", default_value = "http://127.0.0.1:9090")]
    url: String,
    /// A file with the admin token; $TOLLGATE_ADMIN_TOKEN when not given
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A client of one admin listener.
#[derive(Debug)]
pub(super) struct Client {
    url: String,
    authority: String,
    token: Option<String>,
}

/// Why there is no answer, and what to do.
#[derive(Debug)]
pub(super) enum ClientError {
    /// The arguments are wrong.
    Usage(String),
    /// There is no answer.
    Failed(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
        }
    }
}

impl From<std::io::Error> for ClientError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(format!("standard output: {error}"))
    }
}

impl Client {
    pub(super) fn new(arguments: &AdminArguments) -> Result<Self, ClientError> {
        let usage = |message: String| ClientError::Usage(message);
        let authority = arguments.url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let authority = authority.filter(|authority| !authority.is_empty() && !authority.contains('/'));
        let authority =
            authority.ok_or_else(|| usage(format!("{}: expected http://host:port", arguments.url)))?.to_owned();
        let token = match &arguments.token_file {
            Some(file) => {
                let text =
                    std::fs::read_to_string(file).map_err(|error| usage(format!("{}: {error}", file.display())))?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            None => std::env::var("TOLLGATE_ADMIN_TOKEN").ok().filter(|token| !token.is_empty()),
        };
        Ok(Self { url: arguments.url.clone(), authority, token })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.json(self.send(Method::GET, path, Bytes::new()).await?, ANSWER_MAX).await
    }

    /// JSON with an event's body in it.
    pub(super) async fn get_large(&self, path: &str) -> Result<Value, ClientError> {
        self.json(self.send(Method::GET, path, Bytes::new()).await?, LARGE_MAX).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.json(self.send(Method::POST, path, body.to_string().into()).await?, ANSWER_MAX).await
    }

    /// A body that is not JSON, as it comes.
    pub(super) async fn download(&self, path: &str) -> Result<Incoming, ClientError> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        match self.json(response, ANSWER_MAX).await {
            Ok(_) => Err(ClientError::Failed("the answer is neither a body nor an error".into())),
            Err(error) => Err(error),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<http::Response<Incoming>, ClientError> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        let request = match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        };
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| ClientError::Usage(error.to_string()))?;
        let answered = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        answered.unwrap_or_else(|_elapsed| Err(self.failed("it does not answer")))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<http::Response<Incoming>, ClientError> {
        let address = if self.authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            self.authority.clone()
        } else {
            format!("{}:80", self.authority)
        };
        let stream = tokio::net::TcpStream::connect(&address).await.map_err(|error| self.failed(error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.failed(error))?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, why: impl fmt::Display) -> ClientError {
        let url = &self.url;
        ClientError::Failed(format!("{url}: {why}\nis tollgate running, and is this its admin listener? (--admin URL)"))
    }

    async fn json(&self, response: http::Response<Incoming>, most: usize) -> Result<Value, ClientError> {
        let status = response.status();
        let body = tokio::time::timeout(PATIENCE, Limited::new(response.into_body(), most).collect()).await;
        let body = body.map_err(|_elapsed| self.failed("its answer does not end"))?;
        let body = body.map_err(|error| self.failed(error))?.to_bytes();
        let value: Value = serde_json::from_slice(&body)
            .map_err(|_| self.failed(format_args!("it answers {status} with something that is not JSON")))?;
        if status.is_success() {
            return Ok(value);
        }
        let message = value["error"]["message"].as_str().unwrap_or("no reason given").to_owned();
        Err(match status {
            StatusCode::BAD_REQUEST => ClientError::Usage(message),
            StatusCode::UNAUTHORIZED => {
                ClientError::Failed(format!("{message} ($TOLLGATE_ADMIN_TOKEN or --token-file)"))
            }
            _ => ClientError::Failed(message),
        })
    }
}
