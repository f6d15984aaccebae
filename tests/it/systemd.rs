//! What systemd does for a service, done by a test: a socket that it opened, and one that it listens on.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tollgate_tests::{Connection, GatewayProcess, Setup, Wire, turns};

use crate::BINARY;

const ECHO: &str = "[product.echo]\nbuiltin = \"echo\"\n[route.echo]\npath = \"/echo\"\nproduct = \"echo\"\n";

async fn served(process: &GatewayProcess) {
    let mut wire = Wire::open(process.address()).await;
    wire.send("GET /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(wire.rest().await.starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_passed_socket_is_served_by_its_name_or_its_address() {
    let _turn = turns::shared().await;
    for name in ["public", "other"] {
        let passed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = passed.local_addr().unwrap();
        let setup = Setup::new(ECHO);
        if name == "other" {
            setup.write_whole(&format!(
                "[listener.public]\naddress = \"{address}\"\n[admin]\naddress = \"127.0.0.1:0\"\n{ECHO}"
            ));
        }
        // Who connects before the gateway is there is served when it is.
        let mut early = Connection::open(address).await.unwrap();
        let process =
            GatewayProcess::start_with(BINARY.as_ref(), &setup.env("LISTEN_FDNAMES", name), Some(&passed)).await;
        assert_eq!(process.address(), address, "{name}");
        let answer = early.request(http::Method::GET, "/echo", &[], bytes::Bytes::new()).await.unwrap();
        assert_eq!(answer.status, 200);
        for _ in 0..20 {
            served(&process).await;
        }
    }
}

#[tokio::test]
async fn systemd_is_told_how_the_gateway_stands() {
    let _turn = turns::shared().await;
    let setup = Setup::new(ECHO);
    let path = setup.folder().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let told = || {
        let mut bytes = [0; 512];
        let length = socket.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let setup = setup.env("NOTIFY_SOCKET", path.to_str().unwrap());
    let mut process = GatewayProcess::start(BINARY.as_ref(), &setup).await;
    assert_eq!(told(), "READY=1\nSTATUS=serving");
    served(&process).await;
    process.hang_up();
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told(), "READY=1\nSTATUS=serving");
    setup.write("nonsense");
    process.hang_up();
    assert!(told().starts_with("RELOADING=1\n"));
    assert!(told().starts_with("READY=1\nSTATUS=serving; "));
    process.terminate();
    assert!(told().starts_with("STOPPING=1\n"));
    assert!(process.ended().await.success());
}
