//! The guard with both its ends in hand, and beside the library it guards.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::plain::REFUSED;
use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 10 };
const GET: &str = "GET / HTTP/1.1\r\n\r\n";

fn guarded() -> (DuplexStream, Guarded<DuplexStream>, Arc<Activity>) {
    let (client, server) = duplex(1024);
    let activity = Activity::new();
    (client, Guarded::plain(server, LIMITS, Arc::clone(&activity)), activity)
}

/// What can be read now.
async fn now(guarded: &mut Guarded<DuplexStream>) -> String {
    let mut read = [0; 256];
    let mut all = String::new();
    while let Some(Ok(count @ 1..)) = futures_util::FutureExt::now_or_never(guarded.read(&mut read)) {
        all.push_str(std::str::from_utf8(&read[..count]).unwrap());
    }
    all
}

#[tokio::test]
async fn a_head_passes_when_it_is_whole() {
    let (mut client, mut guarded, _) = guarded();
    client.write_all(&GET.as_bytes()[..10]).await.unwrap();
    assert_eq!(now(&mut guarded).await, "");
    client.write_all(&GET.as_bytes()[10..]).await.unwrap();
    assert_eq!(now(&mut guarded).await, GET);
}

#[tokio::test]
async fn the_next_message_passes_once_this_one_is_answered() {
    let (mut client, mut guarded, activity) = guarded();
    let post = "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi";
    client.write_all(format!("{post}{GET}{GET}").as_bytes()).await.unwrap();
    let mut read = [0; 256];
    let count = guarded.read(&mut read).await.unwrap();
    assert_eq!(&read[..count], post.as_bytes());
    let busy = activity.begin();
    assert_eq!(now(&mut guarded).await, "");
    let waiting = tokio::spawn(async move {
        let count = guarded.read(&mut read).await.unwrap();
        (String::from_utf8(read[..count].to_vec()).unwrap(), guarded)
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(busy);
    let (second, mut guarded) = waiting.await.unwrap();
    assert_eq!(second, GET);
    let _busy = activity.begin();
    assert_eq!(now(&mut guarded).await, "", "the third waits too");
}

#[tokio::test]
async fn a_refused_head_is_replaced_and_nothing_follows_it() {
    let (mut client, mut guarded, activity) = guarded();
    client.write_all(format!("{GET}GET / HTTP/1.1\r\nx-a : b\r\n\r\n{GET}").as_bytes()).await.unwrap();
    let mut read = [0; 18];
    guarded.read_exact(&mut read).await.unwrap();
    assert_eq!((read.as_slice(), activity.refused()), (GET.as_bytes(), None));
    let busy = activity.begin();
    assert_eq!((now(&mut guarded).await.as_str(), activity.refused()), ("", None), "not before its turn");
    drop(busy);
    assert_eq!(now(&mut guarded).await.as_bytes(), REFUSED);
    assert_eq!(activity.refused(), Some(Refusal::Malformed));
    assert_eq!(now(&mut guarded).await, "");
}

#[tokio::test]
async fn a_body_that_breaks_its_framing_is_an_error() {
    let (mut client, mut guarded, _) = guarded();
    let good = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi";
    client.write_all(format!("{good}GET / HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    let read = now(&mut guarded).await;
    assert!(good.starts_with(&read), "{read}");
    assert_eq!(guarded.read(&mut [0; 9]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn in_a_tunnel_everything_passes() {
    let (mut client, mut guarded, activity) = guarded();
    client.write_all(format!("{GET}\x01").as_bytes()).await.unwrap();
    assert_eq!(now(&mut guarded).await, format!("{GET}"));
    let busy = activity.begin();
    busy.tunnel();
    client.write_all(b"\x02\r\n\x03").await.unwrap();
    assert_eq!(now(&mut guarded).await, "\x01\x02\r\n\x03");
}

/// The targets of the requests in `bytes`, as hyper reads them.
async fn theirs(bytes: &[u8]) -> Vec<String> {
    use http_body_util::{BodyExt as _, Empty};
    let (client, server) = duplex(1 << 16);
    let (mut answers, mut asks) = tokio::io::split(client);
    asks.write_all(bytes).await.unwrap();
    asks.shutdown().await.unwrap();
    let targets = Arc::new(std::sync::Mutex::new(vec![]));
    let seen = Arc::clone(&targets);
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        seen.lock().unwrap().push(request.uri().to_string());
        async {
            let _whole = request.into_body().collect().await;
            Ok::<_, std::convert::Infallible>(http::Response::new(Empty::<bytes::Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let serving = builder.half_close(true).serve_connection(hyper_util::rt::TokioIo::new(server), service);
    let mut thrown = vec![];
    let (_ended, _read) = tokio::join!(serving, answers.read_to_end(&mut thrown));
    let targets = targets.lock().unwrap();
    targets.clone()
}

proptest::proptest! {
    /// Whatever passes here, hyper finds the same requests in it: where one ends and the next begins is read in one way.
    #[test]
    fn hyper_reads_what_passes_as_we_do(
        requests in proptest::collection::vec(
            "(\r\n)?(GET|POST) /[a-z]{1,3} HTTP/1.[01]\r\n(content-length: ?[0-4]{1,2}\r\n|transfer-encoding: chunked\r\n|x: y\r\n|content-length: [+0-9, ]{1,3}\r\n|connection: keep-alive\r\n| x: y\r\n|x : y\n){0,2}\r\n([0-3](;a)?\r\n[a-z]{0,3}\r\n){0,2}(0\r\n(x: y\r\n)?\r\n)?",
            1..4,
        ),
    ) {
        let bytes = requests.concat();
        let ours = Plain::new(LIMITS, Activity::new()).targets(bytes.as_bytes());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let theirs = runtime.block_on(theirs(bytes.as_bytes()));
        // hyper may go on where we refuse, and stop where the connection was to close; what both read is the same.
        let both = ours.len().min(theirs.len());
        proptest::prop_assert_eq!(&ours[..both], &theirs[..both]);
    }
}
