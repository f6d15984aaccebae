//! Handshakes: what a provider asks before it sends. Answered, counted, never kept and never delivered.

use bytes::Bytes;
use http::Method;
use tollgate_tests::signing::{self, Signed};
use tollgate_tests::{Answer, Peer, Setup, TestGateway};

const SIGNING: &str = "a signing secret";
const VERIFY: &str = "a-verify-token";

async fn started(peer: &Peer, options: &str) -> TestGateway {
    let toml = format!(
        "{}[secret.s]\nenv = \"SIGNING\"\n[secret.v]\nenv = \"VERIFY\"\n\
         [route.hook]\npath = \"/hook\"\nproduct = \"app\"\n[route.hook.webhook]\nverifier = \"guest-handshaker\"\n\
         secrets = {{ signing = \"s\", verify = \"v\" }}\noptions = {{ {options} }}\n",
        peer.product("app")
    );
    TestGateway::start(Setup::new(&toml).env("SIGNING", SIGNING).env("VERIFY", VERIFY)).await
}

fn signed(body: &str) -> Signed {
    Signed::new([("x-signature", signing::hmac_sha256(SIGNING, body.as_bytes()))], body.as_bytes())
}

async fn get(gateway: &TestGateway, query: &str) -> Answer {
    gateway.request(Method::GET, &format!("/hook?{query}"), &[], Bytes::new()).await
}

/// Nothing was kept, and an event that came later is the first that the product gets.
async fn nothing_was_delivered(gateway: &TestGateway, peer: &Peer) {
    assert_eq!(gateway.events().await, []);
    assert_eq!(gateway.post("/hook", &signed("{\"first\":true}")).await.became(), (202, "accepted".into()));
    assert_eq!(peer.delivered(1).await[0].body, "{\"first\":true}");
}

#[tokio::test]
async fn a_challenge_by_get_is_answered_to_whoever_has_the_token() {
    let peer = Peer::scripted([]).await;
    let gateway = started(&peer, "").await;
    let asked = |token: &str| format!("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}");
    let answer = get(&gateway, &asked(VERIFY)).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"1158201444"[..]));
    assert_eq!(get(&gateway, &asked("guessed")).await.code(), (401, "signature".into()));
    assert_eq!((gateway.outcomes("hook", "handshake"), gateway.outcomes("hook", "signature")), (1.0, 1.0));
    let other = gateway.request(Method::PUT, "/hook", &[], Bytes::new()).await;
    assert_eq!((other.code(), other.field("allow")), ((405, "method".into()), "POST, GET, HEAD"));
    nothing_was_delivered(&gateway, &peer).await;
}

#[tokio::test]
async fn a_challenge_response_check_proves_the_secret() {
    let peer = Peer::scripted([]).await;
    let gateway = started(&peer, "").await;
    let token = "NWM3M2ZkN2ItNDU4Ni00";
    let answer = get(&gateway, &format!("crc_token={token}")).await;
    let proof = format!("sha256={}", signing::hmac_sha256(SIGNING, token.as_bytes()));
    assert_eq!((answer.status.as_u16(), answer.json()["response_token"].as_str()), (200, Some(&*proof)));
    assert_eq!(gateway.outcomes("hook", "handshake"), 1.0);
    nothing_was_delivered(&gateway, &peer).await;
}

/// What a challenge has signed is no event, and what looks like an event is no challenge.
#[tokio::test]
async fn an_answered_challenge_forges_no_event() {
    let peer = Peer::scripted([]).await;
    let gateway = started(&peer, "").await;
    let token = "NWM3M2ZkN2ItNDU4Ni00";
    let proof =
        get(&gateway, &format!("crc_token={token}")).await.json()["response_token"].as_str().unwrap().to_owned();
    let forged = Signed::new([("x-signature", proof.trim_start_matches("sha256=").to_owned())], token.as_bytes());
    assert_eq!(gateway.post("/hook", &forged).await.status, 401);
    let as_challenge = get(&gateway, "crc_token={%22paid%22:true}").await;
    assert_eq!(as_challenge.status, 401, "{as_challenge:?}");
    let long = "a".repeat(257);
    assert_eq!(get(&gateway, &format!("crc_token={long}")).await.status, 401, "longer than any challenge");
    nothing_was_delivered(&gateway, &peer).await;
}

#[tokio::test]
async fn a_plugin_gets_no_hmac_of_a_body_that_could_be_an_event() {
    let peer = Peer::scripted([]).await;
    let gateway = started(&peer, "greedy = true").await;
    let answer = gateway.post("/hook", &signed("{\"paid\":true}")).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let signature = signing::hmac_sha256(SIGNING, b"{\"paid\":true}");
    assert!(!String::from_utf8_lossy(&answer.body).contains(&signature));
    assert_eq!(gateway.events().await, []);
}
