//! `[admin]`

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use crate::base::host::normalise_host;
use crate::base::names::SecretName;
use crate::config::plan::Admin;
use crate::config::raw::{Item, Section};

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

pub(super) fn read(table: &Section<'_>, secrets: &BTreeSet<&str>) -> Admin {
    let secret = |item: &Item<'_>| item.reference("secret", secrets, SecretName::new);
    let admin = Admin {
        address: table.take("address", Item::address).unwrap_or(ADDRESS),
        token: table.take("token", secret),
        read_token: table.take("read_token", secret),
        metrics_need_token: table
            .take("metrics", |item| item.word(&[("open", false), ("token", true)]))
            .unwrap_or(false),
        hosts: table.take("hosts", |item| item.each(host)).unwrap_or_default(),
    };
    check_tokens(table, &admin);
    admin
}

fn host(item: &Item<'_>) -> Option<String> {
    let expected = "a host name without a port";
    let host = normalise_host(item.text_as(expected)?).filter(|_| !item.text().is_some_and(|text| text.contains(':')));
    host.or_else(|| item.wrong(expected))
}

fn check_tokens(table: &Section<'_>, admin: &Admin) {
    if !admin.address.ip().is_loopback() && table.item("token").is_none() {
        let message = format!("`admin.token` is required because {} is not a loopback address", admin.address);
        let problem = table.item("address").map_or_else(|| table.problem(&message), |item| item.problem(&message));
        table.reading.report_absent(problem.help("add token = \"NAME\" and a [secret.NAME], or listen on 127.0.0.1"));
    }
    if let Some(metrics) = table.item("metrics").filter(|_| admin.metrics_need_token)
        && table.item("token").is_none()
        && table.item("read_token").is_none()
    {
        let problem = metrics.problem("`admin.metrics` asks for a token, but there is none");
        table.reading.report_absent(problem.help("add token or read_token, or write metrics = \"open\""));
    }
}
