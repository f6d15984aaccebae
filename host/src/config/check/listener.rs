//! `[listener.NAME]`

use crate::config::plan::{CertificateFiles, ClientAuth, Listener, ListenerTls, PemFile};
use crate::config::raw::{Item, Section};

const PAIR: &str = "certificates = [{ certificate = \"FILE\", key = \"FILE\" }]";

pub(super) fn read(table: &Section<'_>) -> Option<Listener> {
    let address = table.need("address", "for example address = \"0.0.0.0:8080\"", |item| item.address());
    let tls = table.take("tls", |item| item.section(tls)?);
    let proxies = table.take("proxy_protocol", |item| item.section(proxies)?);
    Some(Listener { address: address?, tls, proxies: proxies.unwrap_or_default() })
}

fn tls(table: &Section<'_>) -> Option<ListenerTls> {
    let certificates = table.need("certificates", PAIR, |item| some(item, item.each(|item| item.section(pair)?)?));
    let client_ca = table.take("client_ca", pem_file);
    let words = [("required", ClientAuth::Required), ("optional", ClientAuth::Optional)];
    let client_auth = table.take("client_auth", |item| item.word(&words));
    if let (Some(auth), None) = (table.item("client_auth"), table.item("client_ca")) {
        let problem = auth.problem(format!("`{}` says nothing without `client_ca`", auth.path));
        table.reading.report_absent(problem.help("add client_ca = \"FILE\", whose certificates sign the clients'"));
    }
    let client_auth = client_auth.unwrap_or(ClientAuth::Required);
    Some(ListenerTls { certificates: certificates?, client_ca, client_auth })
}

fn pair(table: &Section<'_>) -> Option<CertificateFiles> {
    let certificate = table.need("certificate", PAIR, pem_file);
    let key = table.need("key", PAIR, pem_file);
    Some(CertificateFiles { certificate: certificate?, key: key? })
}

fn pem_file(item: &Item<'_>) -> Option<PemFile> {
    Some(PemFile { path: item.file()?, at: item.at })
}

fn proxies(table: &Section<'_>) -> Option<Vec<ipnet::IpNet>> {
    table.need("from", "for example from = [\"10.0.0.0/8\"]", |item| some(item, item.each(Item::network)?))
}

/// The list, unless it is empty.
fn some<T>(item: &Item<'_>, list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() { item.wrong("at least one") } else { Some(list) }
}
