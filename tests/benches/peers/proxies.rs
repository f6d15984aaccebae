//! The proxies: how each is configured for the same work, and started.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::load::Scenario;
use super::origin;
use super::process::Process;

/// A proxy that can be measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proxy {
    Tollgate,
    /// As `Tollgate`, with a line in the log for each request.
    TollgateLogging,
    Nginx,
    Haproxy,
}

/// One that runs.
pub(crate) struct Running {
    pub(crate) peer: Proxy,
    pub(crate) process: Process,
    pub(crate) ports: Ports,
}

/// Where a proxy listens.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    /// HTTP/1.1 to the origin's HTTP/1.1.
    pub(crate) h1: u16,
    /// h2c to the origin's h2c.
    pub(crate) h2c: u16,
    /// TLS to the origin's HTTP/1.1.
    pub(crate) tls: u16,
}

impl Proxy {
    pub(crate) const ALL: [Self; 4] = [Self::Tollgate, Self::TollgateLogging, Self::Nginx, Self::Haproxy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tollgate => "tollgate",
            Self::TollgateLogging => "logging",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    pub(crate) fn knows(self, scenario: Scenario) -> bool {
        self != Self::TollgateLogging || scenario == Scenario::H1
    }

    pub(crate) fn start(self, origin: origin::Ports, folder: &Path, workers: usize) -> Result<Running, String> {
        let run = folder.join(self.name());
        fs::create_dir_all(&run).map_err(|error| format!("a folder: {error}"))?;
        let ports = Ports { h1: free_port(), h2c: free_port(), tls: free_port() };
        let (file, text) = match self {
            Self::Tollgate => ("tollgate.toml", TOLLGATE),
            Self::TollgateLogging => ("tollgate.toml", TOLLGATE),
            Self::Nginx => ("nginx.conf", NGINX),
            Self::Haproxy => ("haproxy.cfg", HAPROXY),
        };
        let level = if self == Self::TollgateLogging { "info" } else { "warn" };
        let text = [
            ("@H1@", ports.h1.to_string()),
            ("@H2C@", ports.h2c.to_string()),
            ("@TLS@", ports.tls.to_string()),
            ("@ADMIN@", free_port().to_string()),
            ("@ORIGIN@", origin.h1.to_string()),
            ("@ORIGIN_H2C@", origin.h2c.to_string()),
            ("@WORKERS@", workers.to_string()),
            ("@LEVEL@", level.to_owned()),
            ("@RUN@", run.display().to_string()),
            ("@FILES@", folder.display().to_string()),
        ]
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
        let config = run.join(file);
        fs::write(&config, text).map_err(|error| format!("its configuration: {error}"))?;
        let mut command = match self {
            Self::Tollgate | Self::TollgateLogging => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"));
                command.args(["run", "-c"]);
                command
            }
            Self::Nginx => {
                let mut command = Command::new("nginx");
                command.arg("-p").arg(&run).arg("-c");
                command
            }
            Self::Haproxy => {
                let mut command = Command::new("haproxy");
                command.arg("-f");
                command
            }
        };
        command.arg(&config);
        let process = Process::start(command, &run.join("log"), workers == 1, &[ports.h1, ports.h2c, ports.tls])?;
        Ok(Running { peer: self, process, ports })
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

const TOLLGATE: &str = r#"
[listener.plain]
address = "127.0.0.1:@H1@"
[listener.h2c]
address = "127.0.0.1:@H2C@"
[listener.secure]
address = "127.0.0.1:@TLS@"
[listener.secure.tls]
certificates = [{ certificate = "@FILES@/cert.pem", key = "@FILES@/key.pem" }]
[admin]
address = "127.0.0.1:@ADMIN@"
[log]
level = "@LEVEL@"
[product.h1]
upstreams = ["http://127.0.0.1:@ORIGIN@"]
[product.h2c]
upstreams = ["h2c://127.0.0.1:@ORIGIN_H2C@"]
[route.h1]
listeners = ["plain", "secure"]
path = "/{*rest}"
product = "h1"
[route.h2c]
listeners = ["h2c"]
path = "/{*rest}"
product = "h2c"
"#;

const NGINX: &str = r#"
daemon off;
worker_processes @WORKERS@;
pid @RUN@/pid;
error_log @RUN@/error.log warn;
worker_rlimit_nofile 65536;
events { worker_connections 16384; }
http {
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_max_body_size 0;
    client_body_temp_path @RUN@/body;
    proxy_temp_path @RUN@/proxy;
    fastcgi_temp_path @RUN@/f;
    uwsgi_temp_path @RUN@/u;
    scgi_temp_path @RUN@/s;
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    http2_max_concurrent_streams 1024;
    upstream h1 { server 127.0.0.1:@ORIGIN@; keepalive 512; keepalive_requests 1000000000; }
    upstream h2c { server 127.0.0.1:@ORIGIN_H2C@; keepalive 512; keepalive_requests 1000000000; }
    server {
        listen 127.0.0.1:@H1@ backlog=4096;
        listen 127.0.0.1:@TLS@ ssl http2 backlog=4096;
        ssl_certificate @FILES@/cert.pem;
        ssl_certificate_key @FILES@/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / { proxy_pass http://h1; }
    }
    server {
        listen 127.0.0.1:@H2C@ http2 backlog=4096;
        location / { grpc_pass grpc://h2c; }
    }
}
"#;

const HAPROXY: &str = "
global
    nbthread @WORKERS@
    maxconn 8000
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    http-reuse always
    backlog 4096
frontend h1
    bind 127.0.0.1:@H1@
    default_backend h1
frontend tls
    bind 127.0.0.1:@TLS@ ssl crt @FILES@/both.pem alpn h2,http/1.1
    default_backend h1
frontend h2c
    bind 127.0.0.1:@H2C@ proto h2
    default_backend h2c
backend h1
    server one 127.0.0.1:@ORIGIN@
backend h2c
    server one 127.0.0.1:@ORIGIN_H2C@ proto h2
";
