//! What a changed plugin file must pass before it serves, and what an operator can do about it.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tollgate_tests::signing::{self, Signed};
use tollgate_tests::{Setup, TestGateway, eventually, plugins, soon};

const SECRET: &str = "a secret";

fn setup(more: &str) -> Setup {
    let toml = format!(
        "[product.app]\nbuiltin = \"echo\"\n[secret.s]\nenv = \"SECRET\"\n[route.hot]\npath = \"/hot\"\nproduct = \"app\"\n\
         [route.hot.webhook]\nverifier = \"hot\"\nsecrets = {{ signing = \"s\" }}\nduplicates = \"off\"\n{more}"
    );
    let setup = Setup::new(&toml).env("SECRET", SECRET);
    setup.place("hot", &component("github"));
    setup
}

fn component(name: &str) -> Vec<u8> {
    fs::read(plugins::component(name)).unwrap()
}

fn old_scheme() -> Signed {
    signing::github(SECRET, b"{}")
}

async fn status(gateway: &TestGateway, signed: &Signed) -> u16 {
    gateway.post("/hot", signed).await.status.as_u16()
}

/// The answers to both schemes: github's, stripe's.
async fn serves(gateway: &TestGateway) -> (u16, u16) {
    (status(gateway, &old_scheme()).await, status(gateway, &signing::stripe(SECRET, gateway.now(), b"{}")).await)
}

/// Waits until so many files came to `outcome`.
async fn came(gateway: &TestGateway, outcome: &str, count: f64) {
    let outcome = format!("outcome=\"{outcome}\"");
    gateway.counts("gateway_plugin_reloads_total", &["plugin=\"hot\"", &outcome], count).await;
}

fn put_vectors(gateway: &Setup, of: &str) {
    let draft = gateway.plugins().join(".vectors.draft");
    fs::write(&draft, plugins::vectors(of)).unwrap();
    fs::rename(draft, gateway.plugins().join("hot.vectors.jsonl")).unwrap();
}

async fn reason(gateway: &TestGateway) -> String {
    gateway.plugin("hot").await["refused"]["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_file_whose_vectors_fail_does_not_go_live_until_they_hold() {
    let setup = setup("");
    put_vectors(&setup, "github");
    let gateway = TestGateway::start(setup).await;
    assert_eq!(serves(&gateway).await, (202, 401));
    gateway.setup.place("hot", &component("stripe"));
    came(&gateway, "refused", 1.0).await;
    assert_eq!(serves(&gateway).await, (202, 401));
    let why = reason(&gateway).await;
    assert!(
        why.contains("of its") && why.contains("vectors fail") && why.contains("github/000: expected accept"),
        "{why}"
    );
    // No force helps against that.
    let forced = gateway.admin(Method::POST, "/api/plugins/hot/force").await;
    assert_eq!(forced.code(), (409, "state".into()));
    // The file is as it was; its own vectors come now.
    put_vectors(&gateway.setup, "stripe");
    came(&gateway, "live", 2.0).await;
    assert_eq!(serves(&gateway).await, (401, 202));
}

#[tokio::test]
async fn an_operator_goes_back_with_one_call_and_forward_only_by_force() {
    let gateway = TestGateway::start(setup("")).await;
    let nothing = gateway.admin(Method::POST, "/api/plugins/hot/rollback").await;
    assert_eq!(nothing.code(), (409, "state".into()));
    assert_eq!(gateway.admin(Method::POST, "/api/plugins/elsewhere/rollback").await.status, 404);
    gateway.setup.place("hot", &component("stripe"));
    came(&gateway, "live", 2.0).await;
    assert_eq!(serves(&gateway).await, (401, 202));
    let old = signing::sha256(&component("github"));
    assert_eq!(gateway.plugin("hot").await["previous"]["sha256"], old);

    let back = gateway.admin(Method::POST, "/api/plugins/hot/rollback").await;
    assert_eq!((back.status.as_u16(), &back.json()["sha256"]), (200, &old.clone().into()));
    assert_eq!(serves(&gateway).await, (202, 401));
    came(&gateway, "rolled_back", 1.0).await;
    // A restart finds what serves, and nothing is lost.
    assert_eq!(signing::sha256(&fs::read(gateway.setup.plugin("hot")).unwrap()), old);
    assert_eq!(fs::read(gateway.setup.plugins().join("hot.wasm.rolled-back")).unwrap(), component("stripe"));

    // Whoever puts the same file there again is not the operator.
    gateway.setup.place("hot", &component("stripe"));
    came(&gateway, "refused", 1.0).await;
    assert!(reason(&gateway).await.contains("an operator went back from it"));
    assert_eq!(serves(&gateway).await, (202, 401));
    assert_eq!(gateway.admin(Method::POST, "/api/plugins/hot/force").await.status, 200);
    assert_eq!(serves(&gateway).await, (401, 202));
}

#[tokio::test]
async fn a_file_that_answers_otherwise_is_refused_with_the_differences_and_may_be_forced() {
    let gateway = TestGateway::start(setup("[plugin.hot]\ncompare = 3\n")).await;
    for _ in 0..5 {
        assert_eq!(serves(&gateway).await, (202, 401));
    }
    // The same in another file goes live.
    gateway.setup.place("hot", &plugins::never_compiled("github"));
    came(&gateway, "live", 2.0).await;
    gateway.setup.place("hot", &component("stripe"));
    came(&gateway, "refused", 1.0).await;
    assert_eq!(serves(&gateway).await, (202, 401));
    let told = gateway.plugin("hot").await;
    let why = told["refused"]["reason"].as_str().unwrap();
    assert!(why.contains("of the last 3 requests otherwise than what serves"), "{why}");
    assert!(why.contains("route hot, request ") && why.contains("refuse with 401 → accept (id"), "{why}");
    assert_eq!(told["refused"]["may_be_forced"], true);
    let forced = gateway.admin(Method::POST, "/api/plugins/hot/force").await;
    assert_eq!(forced.json()["sha256"], signing::sha256(&component("stripe")));
    assert_eq!(serves(&gateway).await, (401, 202));
}

#[tokio::test]
async fn propagators_and_routers_are_compared_too() {
    let toml = "[product.app]\nbuiltin = \"echo\"\n[plugins]\ncompare = 10\n[route.p]\npath = \"/p\"\nproduct = \"app\"\n\
                [[route.p.plugin]]\nuse = \"hot\"\n[[route.p.plugin]]\nuse = \"guest-chooser\"\ncandidates = [\"app\"]\n";
    let setup = Setup::new(toml);
    setup.place("hot", &component("guest-meddler"));
    let gateway = TestGateway::start(setup).await;
    assert_eq!(gateway.request(Method::GET, "/p", &[], Bytes::new()).await.field("x-meddled"), "yes");
    gateway.setup.place("hot", &component("request-context"));
    came(&gateway, "refused", 1.0).await;
    let why = reason(&gateway).await;
    assert!(why.contains("2 of the last 2 requests") && why.contains("set x-meddled → no edits"), "{why}");
}

#[tokio::test]
async fn a_plugin_that_only_fails_is_parked_while_others_serve() {
    let more = "[route.good]\npath = \"/good\"\nproduct = \"app\"\n[route.good.webhook]\nverifier = \"github\"\n\
                secrets = { signing = \"s\" }\nduplicates = \"off\"\n[route.bad]\npath = \"/bad\"\nproduct = \"app\"\n\
                [route.bad.webhook]\nverifier = \"guest-misbehaver\"\noptions = { mode = \"trap\" }\n";
    let gateway = TestGateway::start(setup(more)).await;
    let faults = |reason: &str| {
        let reason = format!("reason=\"{reason}\"");
        gateway.metric("gateway_plugin_faults_total", &["plugin=\"guest-misbehaver\"", &reason])
    };
    let ask = async |times: u32| {
        for _ in 0..times {
            assert_eq!(gateway.post("/bad", &old_scheme()).await.code(), (503, "plugin_fault".into()));
        }
    };
    ask(12).await;
    assert_eq!((faults("trap"), faults("parked")), (10.0, 2.0));
    assert_eq!(gateway.post("/good", &old_scheme()).await.status, 202);
    let told = gateway.plugin("guest-misbehaver").await;
    assert!(told["parked_until"].is_string(), "{told}");
    // After a second it is asked again, as often, and then left alone for two.
    gateway.advance(1);
    ask(11).await;
    assert_eq!((faults("trap"), faults("parked")), (20.0, 3.0));
    gateway.advance(1);
    ask(1).await;
    assert_eq!((faults("trap"), faults("parked")), (20.0, 4.0));
    // Another file is asked at once.
    gateway.setup.place("guest-misbehaver", &plugins::never_compiled("guest-misbehaver"));
    eventually("another file", async || {
        ask(1).await;
        (faults("trap") > 20.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_instances_use_is_told() {
    let gateway = TestGateway::start(setup("[plugin.hot]\nreuse = 1000\n")).await;
    assert_eq!(serves(&gateway).await, (202, 401));
    let metrics = soon("metrics", gateway.admin(Method::GET, "/metrics")).await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let of = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{plugin=\"hot\"}}"))).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    // One kept instance on one of the workers or on both, in a page of its own.
    assert!((1.0..=2.0).contains(&of("gateway_plugin_instances")), "{text}");
    assert!(of("gateway_plugin_memory_peak_bytes") >= 65_536.0);
    assert_eq!(of("gateway_plugin_parked"), 0.0);
    // And it is the same a little later: nothing leaks.
    for _ in 0..20 {
        tokio::time::timeout(Duration::from_secs(10), serves(&gateway)).await.unwrap();
    }
    let live = gateway.plugin("hot").await;
    assert!(live["live"]["instances"].as_u64().unwrap() <= 4, "{live}");
}
