use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::future::Either;
use futures_util::{FutureExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use super::*;
use crate::state::device::{AnswerDelay, EndlessAnswer, ServedConnection};
use crate::state::{ClientAddress, ShutdownOrigin, ShutdownProgress, ShutdownStatus, Status};

const PEER: ClientAddress = ClientAddress { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), local: true };

/// A listener on loopback. All its clients are [`PEER`].
struct Loopback {
    at: SocketAddr,
    /// `None`: closed.
    socket: Option<TcpListener>,
}

impl Listener for Loopback {
    async fn accept(&mut self) -> (TcpStream, ClientAddress) {
        let Some(socket) = &self.socket else { return std::future::pending().await };
        (socket.accept().await.unwrap().0, PEER)
    }

    async fn close(&mut self) -> Vec<(TcpStream, ClientAddress)> {
        tokio::task::yield_now().await;
        let last = std::iter::from_fn(|| self.accept().now_or_never()).collect();
        self.socket = None;
        last
    }

    fn reopen(&mut self) {
        self.socket = Some(listen(self.at));
    }
}

fn listen(at: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(at).unwrap();
    socket.listen(1024).unwrap()
}

fn bound() -> (Loopback, SocketAddr) {
    let socket = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let at = socket.local_addr().unwrap();
    (Loopback { at, socket: Some(socket) }, at)
}

fn router() -> Router {
    Router::new()
        .route("/who", get(async |Extension(peer): Extension<ClientAddress>| format!("{} {}", peer.addr, peer.local)))
        .route("/soon", get(async || sleep(Duration::from_millis(300)).await))
        .route("/slow", get(async || sleep(Duration::from_secs(3600)).await))
}

async fn get_text(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// A page's own name may resolve to the device; the address that it connects to is one of the device's all the same.
#[tokio::test]
async fn the_address_that_was_asked_and_a_late_answer_are_the_routers() {
    let (listener, at) = bound();
    let late = async || (Extension(AnswerDelay(Duration::from_millis(300))), "late");
    let router = router()
        .route("/reached", get(async |Extension(served): Extension<ServedConnection>| served.reached.unwrap().to_string()))
        .route("/late", get(late));
    let asks = async {
        let text = get_text(at, "/reached").await;
        assert!(text.ends_with("\r\n127.0.0.1"), "{text}");
        let began = Instant::now();
        let text = get_text(at, "/late").await;
        assert!(text.ends_with("late") && began.elapsed() >= Duration::from_millis(300), "{text}");
    };
    tokio::select! {
        () = serve(router, listener, std::future::pending()) => (),
        () = asks => (),
    }
}

#[tokio::test]
async fn the_end_is_near_whatever_is_under_way() {
    let (listener, at) = bound();
    let (stop, stopped) = oneshot::channel::<()>();
    let asks = async {
        let mut slow = TcpStream::connect(at).await.unwrap();
        slow.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        sleep(Duration::from_millis(50)).await;
        let began = Instant::now();
        stop.send(()).unwrap();
        began
    };
    let served = serve(router(), listener, async { stopped.await.unwrap() });
    let ((), began) = tokio::join!(served, asks);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(TcpStream::connect(at).await.is_err());
}

/// A router whose response goes on until the server stops. It holds one of these for as long as it goes on.
fn endless(held: Arc<()>) -> Router {
    let answer = async move |Extension(served): Extension<ServedConnection>| {
        let stop = served.stop.unwrap().0;
        let held = Arc::clone(&held);
        let parts = stream::unfold((Some("begun"), stop, held), async |(first, mut stop, held)| {
            if first.is_none() {
                // A stop that was announced and a server that is gone are the same.
                drop(stop.changed().await);
                return None;
            }
            Some((Ok::<_, io::Error>(first?), (None, stop, held)))
        });
        (Extension(EndlessAnswer), Body::from_stream(parts))
    };
    Router::new().route("/endless", get(answer))
}

async fn reads_endless(at: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(at).await.unwrap();
    client.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut text = String::new();
    while !text.contains("begun") {
        let mut part = [0; 256];
        let length = client.read(&mut part).await.unwrap();
        assert!(length > 0, "{text}");
        text.push_str(std::str::from_utf8(&part[..length]).unwrap());
    }
    client
}

#[tokio::test]
async fn an_endless_response_ends_with_the_server_and_is_whole() {
    let (listener, at) = bound();
    let (stop, stopped) = oneshot::channel::<()>();
    let reads = async {
        let mut client = reads_endless(at).await;
        stop.send(()).unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        rest
    };
    let served = serve(endless(Arc::new(())), listener, async { stopped.await.unwrap() });
    let ((), rest) = tokio::join!(served, reads);
    assert!(rest.ends_with("0\r\n\r\n"), "the last chunk is empty: {rest:?}");
}

#[tokio::test]
async fn an_endless_response_ends_when_its_client_leaves_though_nothing_is_sent() {
    let (listener, at) = bound();
    let held = Arc::new(());
    let story = async {
        let first = reads_endless(at).await;
        assert_eq!(Arc::strong_count(&held), 3, "the router's and the response's");
        drop(first);
        while Arc::strong_count(&held) > 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = serve(endless(Arc::clone(&held)), listener, std::future::pending()) => (),
        ended = timeout(Duration::from_secs(10), story) => ended.unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_cut_off() {
    let (listener, at) = bound();
    let silent = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"GET /who HTTP/1.1\r\nHo").await.unwrap();
        let began = Instant::now();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        began.elapsed()
    };
    tokio::select! {
        () = serve(router(), listener, std::future::pending()) => (),
        took = silent => assert!((10..20).contains(&took.as_secs()), "{took:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn each_answer_gives_a_client_the_whole_time_again() {
    let (listener, at) = bound();
    let client = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        for _ in 0..3 {
            stream.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut text = [0; 1024];
            let length = stream.read(&mut text).await.unwrap();
            assert!(text[..length].starts_with(b"HTTP/1.1 200 OK\r\n"));
            sleep(Duration::from_secs(8)).await;
        }
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    };
    let began = Instant::now();
    tokio::select! {
        () = serve(router(), listener, std::future::pending()) => (),
        () = client => assert_eq!(began.elapsed().as_secs(), 26, "two more seconds after the last eight"),
    }
}

#[tokio::test]
async fn who_only_holds_connections_keeps_nobody_out() {
    let (listener, at) = bound();
    let crowd = async {
        let mut idle = Vec::new();
        for _ in 0..400 {
            idle.push(TcpStream::connect(at).await.unwrap());
        }
        timeout(Duration::from_secs(10), get_text(at, "/who")).await.unwrap()
    };
    tokio::select! {
        () = serve(router(), listener, std::future::pending()) => (),
        text = crowd => assert!(text.contains("200 OK"), "{text}"),
    }
}

#[tokio::test]
async fn who_breaks_off_while_he_waits_leaves_his_place_to_others() {
    let (listener, at) = bound();
    let crowd = async {
        let mut waiting = Vec::new();
        for _ in 0..limits::OF_ONE_ADDRESS {
            let mut caller = TcpStream::connect(at).await.unwrap();
            caller.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            caller.set_zero_linger().unwrap();
            waiting.push(caller);
        }
        sleep(Duration::from_millis(500)).await;
        let mut refused = TcpStream::connect(at).await.unwrap();
        assert_eq!(refused.read(&mut [0]).await.unwrap(), 0, "all places are taken");
        drop(waiting);
        sleep(Duration::from_millis(500)).await;
        get_text(at, "/who").await
    };
    tokio::select! {
        () = serve(router(), listener, std::future::pending()) => (),
        text = crowd => assert!(text.contains("200 OK"), "{text}"),
    }
}

#[tokio::test]
async fn who_only_has_no_more_to_say_is_answered() {
    let (listener, at) = bound();
    let half = async {
        let mut caller = TcpStream::connect(at).await.unwrap();
        caller.write_all(b"GET /soon HTTP/1.0\r\n\r\n").await.unwrap();
        caller.shutdown().await.unwrap();
        let mut text = String::new();
        caller.read_to_string(&mut text).await.unwrap();
        text
    };
    tokio::select! {
        () = serve(router(), listener, std::future::pending()) => (),
        text = half => assert!(text.contains("200 OK"), "{text}"),
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_an_answer_is_not_waited_for() {
    let long = Router::new().route("/", get(async || "x".repeat(1 << 20)));
    let (mut caller, stream) = tokio::io::duplex(1024);
    caller.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let began = Instant::now();
    serve_connection(stream, long, PEER).await;
    assert!((10..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_caller_does_not_wait_for_the_many_requests_of_others() {
    let (listener, at) = bound();
    let order = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&order);
    let note = async move |uri: axum::http::Uri| noted.lock().unwrap().push(uri.path().to_owned());
    let story = async {
        let mut greedy = TcpStream::connect(at).await.unwrap();
        let mut modest = TcpStream::connect(at).await.unwrap();
        // The server has accepted both connections.
        for stream in [&mut greedy, &mut modest] {
            stream.write_all(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        }
        let many = "GET /greedy HTTP/1.1\r\nHost: x\r\n\r\n".repeat(40);
        greedy.try_write(many.as_bytes()).unwrap();
        modest.try_write(b"GET /modest HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(modest.read(&mut [0; 1024]).await.unwrap() > 0);
        let before = order.lock().unwrap().iter().position(|it| it == "/modest").unwrap() - 2;
        assert!(before <= 4, "{before} requests of another connection were answered first");
        // No request is lost.
        while order.lock().unwrap().len() < 43 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = serve(Router::new().fallback(note), listener, std::future::pending()) => (),
        told = timeout(Duration::from_secs(10), story) => told.unwrap(),
    }
}

fn ends(progress: ShutdownProgress) -> Status {
    let shutdown = ShutdownStatus::UnderWay { ending: None, by: ShutdownOrigin::Others, since: Instant::now(), progress };
    Status { shutdown, ..Status::default() }
}

/// Waits until connections are refused, or accepted again.
pub(crate) async fn refuses(at: SocketAddr, wanted: bool) {
    let refused = async || TcpStream::connect(at).await.is_err_and(|why| why.kind() == io::ErrorKind::ConnectionRefused);
    let until = async {
        while refused().await != wanted {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), until).await.expect("it is late");
}

#[tokio::test]
async fn once_the_end_is_accepted_connections_are_refused_and_requests_under_way_are_answered() {
    let (listener, at) = bound();
    let (tell, status) = watch::channel(Status::default());
    let story = async {
        tell.send_replace(ends(ShutdownProgress::Asked));
        assert!(get_text(at, "/who").await.contains("200 OK"), "until then it answers");
        let mut under_way = TcpStream::connect(at).await.unwrap();
        under_way.write_all(b"GET /soon HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut idle = TcpStream::connect(at).await.unwrap();
        idle.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        sleep(Duration::from_millis(50)).await;
        // It connected before the shutdown, and is accepted after.
        let mut late = TcpStream::connect(at).await.unwrap();
        tell.send_replace(ends(ShutdownProgress::Accepted));
        late.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        refuses(at, true).await;
        for mut answered in [under_way, idle, late] {
            let mut text = String::new();
            answered.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
        }

        tell.send_replace(Status::default());
        refuses(at, false).await;
        assert!(get_text(at, "/who").await.contains("200 OK"));
        tell.send_replace(ends(ShutdownProgress::Accepted));
        refuses(at, true).await;
    };
    let answer = |request| Either::Right(router().oneshot(request).map(Result::unwrap).boxed());
    tokio::select! {
        () = serve_while_up(answer, listener, status, std::future::pending()) => (),
        () = story => (),
    }
}
