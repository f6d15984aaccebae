//! How a WebSocket ends: broken off by a side, or told to go by a gateway that stops.

use std::time::Instant;

use tollgate_tests::eventually;
use tollgate_tests::websocket::reset;

use super::*;

#[tokio::test]
async fn what_one_side_breaks_off_breaks_off_for_the_other() {
    let upstream = Upstream::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(upstream.address(), ""))).await;

    let client = TcpStream::connect(gateway.address()).await.unwrap();
    let (mut client, mut inbound) = {
        let mut wire = client;
        tokio::io::AsyncWriteExt::write_all(&mut wire, asking("/", "").as_bytes()).await.unwrap();
        let mut inbound = upstream.wire().await;
        inbound.response().await;
        inbound.send(OPENED).await;
        let mut head = vec![0; 16];
        tokio::io::AsyncReadExt::read_exact(&mut wire, &mut head).await.unwrap();
        (Some(wire), inbound)
    };
    reset(client.take().unwrap()).unwrap();
    assert_eq!(inbound.rest().await, b"");
    ended(&gateway, "cancelled", 1.0).await;

    let mut client = gateway.wire().await;
    client.send(asking("/", "")).await;
    let mut stream = upstream.stream().await;
    let mut head = [0; 4096];
    let read = tokio::io::AsyncReadExt::read(&mut stream, &mut head).await.unwrap();
    assert!(read > 0);
    tokio::io::AsyncWriteExt::write_all(&mut stream, OPENED.as_bytes()).await.unwrap();
    client.response().await;
    reset(stream).unwrap();
    assert_eq!(client.rest().await, b"");
    ended(&gateway, "upstream_error", 1.0).await;
}

#[tokio::test]
async fn a_gateway_that_stops_tells_both_sides_and_waits_for_them() {
    let peer = EchoPeer::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(peer.address(), ""))).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let (mut socket, _) = connect(gateway.address(), "/", &[]).await.unwrap();
        assert_eq!(ask(&mut socket, Message::text("hi")).await, Message::text("hi"));
        sockets.push(socket);
    }
    let started = Instant::now();
    let stopping = tokio::spawn(gateway.stop());
    for mut socket in sockets {
        assert_eq!(closed(&mut socket).await, 1001);
        // The library answers with the next look.
        let end = soon("the end", futures_util::StreamExt::next(&mut socket)).await;
        assert!(end.is_none(), "{end:?}");
    }
    soon("a stop", stopping).await.unwrap();
    assert!(started.elapsed().as_secs() < 10, "nobody was waited for in vain");
    peer.has_open(0).await;
}

#[tokio::test]
async fn a_frame_under_way_is_finished_before_the_gateway_says_close() {
    let upstream = Upstream::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(upstream.address(), ""))).await;
    let (mut client, mut inbound) = opened(&gateway, &upstream).await;
    inbound.send(b"\x82\x05he").await;
    assert_eq!(client.exactly(4).await, b"\x82\x05he");
    let stopping = tokio::spawn(gateway.stop());
    let close = inbound.exactly(8).await;
    assert_eq!(close[..2], [0x88, 0x82], "the upstream hears at once");
    inbound.send(b"llo").await;
    assert_eq!(client.exactly(7).await, b"llo\x88\x02\x03\xe9");
    client.send(b"\x88\x82\0\0\0\0\x03\xe9").await;
    inbound.send(b"\x88\x02\x03\xe9").await;
    assert_eq!(client.rest().await, b"");
    soon("a stop", stopping).await.unwrap();
}

#[tokio::test]
async fn a_drain_that_takes_too_long_cuts_them() {
    let upstream = Upstream::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(upstream.address(), "[timeouts]\ndrain = \"300ms\""))).await;
    let (mut client, _inbound) = opened(&gateway, &upstream).await;
    let stopping = tokio::spawn(gateway.stop());
    assert_eq!(client.rest().await, b"\x88\x02\x03\xe9");
    soon("a stop", stopping).await.unwrap();
}

#[tokio::test]
async fn a_reload_leaves_them_alone_and_a_listener_that_goes_takes_its_own() {
    let peer = EchoPeer::start().await;
    let other = "[listener.other]\naddress = \"127.0.0.1:0\"";
    let gateway = TestGateway::start(Setup::new(&toml(peer.address(), other))).await;
    let (mut stays, _) = connect(gateway.address(), "/", &[]).await.unwrap();
    let (mut goes, _) = connect(gateway.listener("other"), "/", &[]).await.unwrap();
    // Another upstream for those to come.
    gateway.reload_with(&toml("127.0.0.1:1".parse().unwrap(), "")).await.unwrap();
    assert_eq!(closed(&mut goes).await, 1001);
    assert_eq!(ask(&mut stays, Message::text("still here")).await, Message::text("still here"));
    drop((stays, goes));
    eventually("no generation but the last", async || {
        (gateway.metric("gateway_config_generations", &[]) == 1.0).then_some(())
    })
    .await;
}
