//! Encryption, the server's certificate, and passwords.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::super::StoreError;
use super::super::super::conformance::{accept, at, event};
use super::super::{PostgresOptions, PostgresStore};
use super::plan;
use super::server::Server;
use crate::base::secret::SecretText;
use crate::config::plan::{Postgres, PostgresHost, PostgresTls};

/// A certificate for 127.0.0.1 and its key, readable for a server whatever its user.
fn certificate(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let by_owner = fs::metadata("/etc/group").is_ok_and(|_| {
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        let nogroup = groups.lines().find_map(|line| line.strip_prefix("nogroup:")?.split(':').nth(1)?.parse().ok());
        chown(&key, None, nogroup).is_ok()
    });
    fs::set_permissions(&key, fs::Permissions::from_mode(if by_owner { 0o640 } else { 0o600 })).unwrap();
    (certificate, key)
}

async fn open(plan: Postgres, passwords: &[&str]) -> Result<std::sync::Arc<PostgresStore>, StoreError> {
    let passwords = passwords.iter().map(|text| SecretText::new(text.as_bytes().to_vec()).unwrap()).collect();
    PostgresStore::open(PostgresOptions { passwords, wait: Duration::ZERO, ..PostgresOptions::new(plan) }).await
}

#[tokio::test]
async fn a_connection_is_encrypted_and_the_server_has_to_be_who_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate_file, key) = certificate(folder.path(), "server");
    let (other, _) = certificate(folder.path(), "other");
    let arguments = [
        "-c",
        "ssl=on",
        "-c",
        &format!("ssl_cert_file={}", certificate_file.display()),
        "-c",
        &format!("ssl_key_file={}", key.display()),
    ];
    let Some(server) = Server::start(&arguments) else { return };
    let over_tls = |tls, root: Option<&Path>| Postgres {
        hosts: vec![PostgresHost::Tcp("127.0.0.1".into(), server.port())],
        tls,
        root_certificate: root.map(Path::to_owned),
        ..plan(&server)
    };
    let verified = over_tls(PostgresTls::VerifyFull, Some(&certificate_file));
    let store = open(verified.clone(), &[]).await.unwrap();
    accept(&*store, at(0), event(at(0))).await;
    let encrypted = "SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
        WHERE a.application_name = 'tollgate' AND a.datname = current_database()";
    assert_eq!(server.sql(&verified.database, encrypted), "t");
    let refused = open(over_tls(PostgresTls::VerifyFull, Some(&other)), &[]).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    open(over_tls(PostgresTls::Require, None), &[]).await.unwrap();
}

#[tokio::test]
async fn each_password_is_tried_and_a_wrong_one_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let rules = folder.path().join("pg_hba.conf");
    fs::write(&rules, "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n").unwrap();
    fs::set_permissions(&rules, fs::Permissions::from_mode(0o644)).unwrap();
    let Some(server) = Server::start(&["-c", &format!("hba_file={}", rules.display())]) else { return };
    server.sql("postgres", "ALTER ROLE postgres PASSWORD 'new'");
    let hosts = vec![PostgresHost::Tcp("127.0.0.1".into(), server.port())];
    let plan = Postgres { hosts, ..plan(&server) };
    for passwords in [&["new"][..], &["newer", "new"], &["new", "old"]] {
        open(plan.clone(), passwords).await.unwrap();
    }
    // However long it would wait for a database that is away.
    let patient = PostgresOptions {
        passwords: vec![SecretText::new(b"hunter2".to_vec()).unwrap()],
        wait: Duration::from_secs(600),
        ..PostgresOptions::new(plan)
    };
    let refused = PostgresStore::open(patient).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("password authentication failed") && !refused.contains("hunter2"), "{refused}");
}
