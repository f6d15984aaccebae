//! The recorded requests of every provider, through the socket: what the verifier decides is what the sender hears.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::Method;
use tollgate::base::clock::Timestamp;
use tollgate::plugin::vectors::{self, Expect, Level, Vector};
use tollgate_tests::{Setup, TestGateway, plugins};

/// Which route serves a vector: those of one set share secrets, options and tolerance.
const SET: &str = "x-test-set";

#[tokio::test]
async fn githubs_vectors_hold_through_the_front_door() {
    hold("github", 25).await;
}

#[tokio::test]
async fn stripes_vectors_hold_through_the_front_door() {
    hold("stripe", 35).await;
}

#[tokio::test]
async fn slacks_vectors_hold_through_the_front_door() {
    hold("slack", 30).await;
}

#[tokio::test]
async fn the_vectors_of_standard_webhooks_hold_through_the_front_door() {
    hold("standardwebhooks", 36).await;
}

#[tokio::test]
async fn discords_vectors_hold_through_the_front_door() {
    hold("discord", 40).await;
}

#[tokio::test]
async fn paddles_vectors_hold_through_the_front_door() {
    hold("paddle", 38).await;
}

#[tokio::test]
async fn sendgrids_vectors_hold_through_the_front_door() {
    hold("sendgrid", 40).await;
}

#[tokio::test]
async fn shopifys_vectors_hold_through_the_front_door() {
    hold("shopify", 30).await;
}

#[tokio::test]
async fn svixs_vectors_hold_through_the_front_door() {
    hold("svix", 50).await;
}

/// Those that say which URL Twilio calls: the test's own has another scheme.
#[tokio::test]
async fn twilios_vectors_hold_through_the_front_door() {
    hold_those("twilio", 16, |vector| !vector.options.is_empty()).await;
}

/// Each import is paid for by every fresh instance, and std alone would bring twenty.
#[test]
fn providers_plugins_import_nothing_of_wasi() {
    for provider in plugins::names().iter().filter(|name| plugins::is_verifier(name)) {
        let component = std::fs::read(plugins::component(provider)).unwrap();
        assert!(component.windows(5).all(|name| name != b"wasi:"), "{provider} names an interface of WASI");
    }
}

/// Sends every vector that must hold, at least `least` of them.
async fn hold(provider: &str, least: usize) {
    hold_those(provider, least, |_| true).await;
}

async fn hold_those(provider: &str, least: usize, wanted: fn(&Vector) -> bool) {
    let vectors = vectors::read(&plugins::vectors(provider)).unwrap();
    let musts = vectors.iter().filter(|vector| vector.level == Level::Must && wanted(vector));
    let musts: Vec<_> = musts.collect();
    assert!(musts.len() >= least, "there are {} vectors", musts.len());
    let gateway = TestGateway::start(setup(provider, &musts)).await;
    let mut ids = BTreeMap::new();
    let mut failures = String::new();
    for vector in musts {
        gateway.clock.set(Timestamp::from_seconds(vector.now));
        let kept = gateway.events().await.len();
        let mut headers = vector.headers.clone();
        headers.push(("host".into(), "hooks.example.test".into()));
        headers.push((SET.into(), set(vector)));
        let method = Method::from_bytes(vector.method.as_bytes()).unwrap();
        let answer = gateway.request(method, vector.target(), &headers, vector.body().unwrap().into()).await;
        let (status, became) = answer.became();
        let new = gateway.events().await.len() - kept;
        let as_expected = match vector.expect {
            // The plugin acknowledged in words of its own.
            Expect::Accept if became.is_empty() => status == 200 && new <= usize::from(vector.duplicate_of.is_none()),
            Expect::Accept => {
                ids.insert(vector.id.clone(), answer.id());
                (status, became.as_str(), new) == (202, "accepted", 1)
                    || (status, became.as_str(), new) == (202, "duplicate", 0)
            }
            Expect::Reject => status == 401 && new == 0 && ["signature", "stale"].contains(&answer.code().1.as_str()),
            Expect::Respond => (200..300).contains(&status) && became.is_empty() && new == 0,
        };
        if !as_expected {
            writeln!(failures, "{}: expected {:?}, got {answer:?} ({})", vector.id, vector.expect, vector.why).unwrap();
        }
        if let Some(first) = vector.duplicate_of.as_ref().filter(|_| !became.is_empty()) {
            assert_eq!((became.as_str(), ids.get(first)), ("duplicate", Some(&answer.id())), "{}", vector.id);
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

fn set(vector: &Vector) -> String {
    format!("{:?} {:?} {:?}", vector.secrets, vector.options, vector.tolerance)
}

/// A route for each set, told apart by a header, so that the path stays as recorded.
fn setup(provider: &str, vectors: &[&Vector]) -> Setup {
    let sets: BTreeMap<String, &Vector> = vectors.iter().map(|vector| (set(vector), *vector)).collect();
    let mut toml = "[product.app]\nbuiltin = \"echo\"\n".to_owned();
    let mut environment = Vec::new();
    for (at, (set, vector)) in sets.iter().enumerate() {
        let mut roles = Vec::new();
        for (role, values) in &vector.secrets {
            let variables: Vec<_> = (0..values.len()).map(|nth| format!("S{at}_{role}_{nth}")).collect();
            let sources: Vec<_> = variables.iter().map(|name| format!("{{ env = \"{name}\" }}")).collect();
            writeln!(toml, "[secret.s{at}-{role}]\nvalues = [{}]", sources.join(", ")).unwrap();
            roles.push(format!("{role} = \"s{at}-{role}\""));
            environment.extend(variables.into_iter().zip(values));
        }
        let options: Vec<_> = vector.options.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let tolerance = match vector.tolerance {
            None => "tolerance = \"off\"",
            Some(300) => "",
            Some(5) => "tolerance = \"5s\"",
            Some(other) => panic!("a tolerance of {other} needs a line here"),
        };
        writeln!(
            toml,
            "[route.s{at}]\npath = \"{}\"\nheader = {{ {SET} = '''{set}''' }}\nproduct = \"app\"\n\
             [route.s{at}.webhook]\nverifier = \"{provider}\"\nsecrets = {{ {} }}\n\
             options = {{ {} }}\n{tolerance}",
            vector.target().split('?').next().unwrap_or_default(),
            roles.join(", "),
            options.join(", ")
        )
        .unwrap();
    }
    environment.into_iter().fold(Setup::new(&toml), |setup, (name, value)| setup.env(&name, value))
}
