//! How many there may be, how large messages are, and how long nobody has to say anything.

use super::*;

async fn refused(gateway: &TestGateway, path: &str) {
    let mut client = gateway.wire().await;
    client.send(asking(path, "")).await;
    let answer = client.response().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"code\":\"websockets_full\""), "{answer}");
    assert!(answer.contains("retry-after: 5\r\n"), "{answer}");
}

#[tokio::test]
async fn there_are_as_many_as_the_gateway_the_product_and_the_route_allow() {
    let peer = EchoPeer::start().await;
    let address = peer.address();
    let toml = |whole: u32, product: u32, route: u32| {
        format!(
            "[limits]\nwebsockets = {whole}\n[product.app]\nupstreams = [\"http://{address}\"]\n\
             [product.app.limits]\nwebsockets = {product}\n[product.other]\nupstreams = [\"http://{address}\"]\n\
             [route.a]\npath = \"/a\"\nproduct = \"app\"\n[route.a.limits]\nwebsockets = {route}\n\
             [route.b]\npath = \"/b\"\nproduct = \"app\"\n[route.c]\npath = \"/c\"\nproduct = \"other\"\n"
        )
    };
    let gateway = TestGateway::start(Setup::new(&toml(3, 2, 1))).await;
    let open = async |path: &str| connect(gateway.address(), path, &[]).await.unwrap().0;
    let a = open("/a").await;
    refused(&gateway, "/a").await;
    let b = open("/b").await;
    refused(&gateway, "/b").await;
    let c = open("/c").await;
    refused(&gateway, "/c").await;
    // Those who are there count after a reload too.
    gateway.reload_with(&toml(4, 2, 2)).await.unwrap();
    refused(&gateway, "/a").await;
    let another = open("/c").await;
    refused(&gateway, "/c").await;
    drop((a, b));
    peer.has_open(2).await;
    ended_active(&gateway, 2.0).await;
    let again = [open("/a").await, open("/a").await];
    refused(&gateway, "/b").await;
    drop((c, another, again));
    ended_active(&gateway, 0.0).await;
    assert_eq!(gateway.metric("gateway_protocol_errors_total", &["reason=\"websockets_full\""]), 6.0);
}

async fn ended_active(gateway: &TestGateway, count: f64) {
    tollgate_tests::eventually("sockets that are gone", async || (gateway.metric(ACTIVE, &[]) == count).then_some(()))
        .await;
}

#[tokio::test]
async fn a_handshake_that_fails_takes_no_place() {
    let upstream = Upstream::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(upstream.address(), "[limits]\nwebsockets = 1"))).await;
    for said in ["HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "nonsense\r\n\r\n"] {
        let mut client = gateway.wire().await;
        client.send(asking("/", "")).await;
        let mut inbound = upstream.wire().await;
        inbound.response().await;
        inbound.send(said).await;
        client.response().await;
        drop(inbound);
    }
    // Its client leaves before the upstream says anything.
    let mut client = gateway.wire().await;
    client.send(asking("/", "")).await;
    let mut inbound = upstream.wire().await;
    inbound.response().await;
    refused(&gateway, "/").await;
    drop(client);
    assert_eq!(inbound.rest().await, b"", "the upstream's handshake is let go");
    ended_active(&gateway, 0.0).await;
    opened(&gateway, &upstream).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_a_1009_and_goes_nowhere() {
    let peer = EchoPeer::start().await;
    let more = "[route.live.limits]\nmessage_bytes = \"1KiB\"";
    let gateway = TestGateway::start(Setup::new(&toml(peer.address(), more))).await;
    let (mut socket, _) = connect(gateway.address(), "/", &[]).await.unwrap();
    let whole = Message::binary(vec![1; 1024]);
    assert_eq!(ask(&mut socket, whole.clone()).await, whole);
    use futures_util::SinkExt as _;
    soon("sending", socket.send(Message::binary(vec![1; 1025]))).await.unwrap();
    assert_eq!(closed(&mut socket).await, 1009);
    peer.has_open(0).await;
    drop(socket);
    ended(&gateway, "rejected", 1.0).await;
    let reason = ["reason=\"message_too_large\"", WEBSOCKET];
    assert_eq!(gateway.metric("gateway_protocol_errors_total", &reason), 1.0);
}

#[tokio::test]
async fn a_silent_websocket_is_told_to_go() {
    let peer = EchoPeer::start().await;
    let more = "[route.live.timeouts]\nidle = \"200ms\"";
    let gateway = TestGateway::start(Setup::new(&toml(peer.address(), more))).await;
    let (mut socket, _) = connect(gateway.address(), "/", &[]).await.unwrap();
    assert_eq!(closed(&mut socket).await, 1001);
    peer.has_open(0).await;
    drop(socket);
    ended(&gateway, "timeout", 1.0).await;
}

/// The client's library and the server's answer pings by themselves; no pong of theirs crosses.
#[tokio::test]
async fn pings_keep_a_silent_websocket_open() {
    let upstream = Upstream::start().await;
    let more = "[route.live.limits]\nping = \"50ms\"\n[route.live.timeouts]\nidle = \"300ms\"";
    let gateway = TestGateway::start(Setup::new(&toml(upstream.address(), more))).await;
    let (mut client, mut inbound) = opened(&gateway, &upstream).await;
    let started = std::time::Instant::now();
    for _ in 0..10 {
        let asked = client.exactly(10).await;
        assert_eq!(asked[..2], [0x89, 8]);
        client.send([&[0x8a, 0x88, 0, 0, 0, 0], &asked[2..]].concat()).await;
        let asked = inbound.exactly(14).await;
        assert_eq!(asked[..2], [0x89, 0x88]);
        let payload: Vec<_> =
            asked[6..].iter().zip(asked[2..6].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        inbound.send([&[0x8a, 8], &payload[..]].concat()).await;
    }
    assert!(started.elapsed().as_millis() >= 500, "{:?}", started.elapsed());
    // Nobody answers any more.
    let told = client.rest().await;
    let close = [0x88, 2, 0x03, 0xe9];
    assert!(told.ends_with(&close), "{told:?}");
    ended(&gateway, "timeout", 1.0).await;
}
