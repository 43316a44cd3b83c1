use super::*;

use axum::routing::get;
use axum::{Extension, Router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

fn router() -> Router {
    Router::new()
        .route("/who", get(async |Extension(peer): Extension<Peer>| format!("{} {}", peer.addr, peer.local)))
        .route("/soon", get(async || sleep(Duration::from_millis(300)).await))
        .route("/slow", get(async || sleep(Duration::from_secs(3600)).await))
}

fn bound() -> (Listeners, SocketAddr) {
    let listeners = Listeners::bind(Path::new("/"), &[loopback(0)], None).unwrap();
    let at = listeners.addresses()[0];
    (listeners, at)
}

async fn get_text(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn callers_are_told_from_each_other() {
    let (listeners, at) = bound();
    tokio::select! {
        () = serve(router(), listeners, std::future::pending()) => (),
        text = get_text(at, "/who") => assert!(text.ends_with("127.0.0.1 true"), "{text}"),
    }
}

#[tokio::test]
async fn a_taken_port_is_told_with_who_has_it() {
    let (listeners, at) = bound();
    let error = Listeners::bind(Path::new("/"), &[at], None).unwrap_err().to_string();
    assert!(error.contains(&format!("(process {})", std::process::id())) && error.contains("--listen"), "{error}");
    drop(listeners);
    Listeners::bind(Path::new("/"), &[at], None).unwrap();
    let error = Listeners::bind(Path::new("/"), &["192.0.2.1:1".parse().unwrap()], None).unwrap_err().to_string();
    assert!(error.contains("does not have that address"), "{error}");
}

#[tokio::test]
async fn the_end_is_near_whatever_is_under_way() {
    let (listeners, at) = bound();
    let (stop, stopped) = oneshot::channel::<()>();
    let asks = async {
        let mut slow = TcpStream::connect(at).await.unwrap();
        slow.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        sleep(Duration::from_millis(50)).await;
        let began = Instant::now();
        stop.send(()).unwrap();
        began
    };
    let served = serve(router(), listeners, async { stopped.await.unwrap() });
    let ((), began) = tokio::join!(served, asks);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(TcpStream::connect(at).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_cut_off() {
    let (listeners, at) = bound();
    let silent = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"GET /who HTTP/1.1\r\nHo").await.unwrap();
        let began = Instant::now();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        began.elapsed()
    };
    tokio::select! {
        () = serve(router(), listeners, std::future::pending()) => (),
        took = silent => assert!((10..20).contains(&took.as_secs()), "{took:?}"),
    }
}

#[tokio::test]
async fn who_only_holds_connections_keeps_nobody_out() {
    let (listeners, at) = bound();
    let crowd = async {
        let mut idle = Vec::new();
        for _ in 0..400 {
            idle.push(TcpStream::connect(at).await.unwrap());
        }
        timeout(Duration::from_secs(10), get_text(at, "/who")).await.unwrap()
    };
    tokio::select! {
        () = serve(router(), listeners, std::future::pending()) => (),
        text = crowd => assert!(text.contains("200 OK"), "{text}"),
    }
}

#[tokio::test]
async fn who_breaks_off_while_he_waits_leaves_his_place_to_others() {
    let (listeners, at) = bound();
    let crowd = async {
        let mut waiting = Vec::new();
        for _ in 0..crowd::OF_ONE_ADDRESS {
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
        () = serve(router(), listeners, std::future::pending()) => (),
        text = crowd => assert!(text.contains("200 OK"), "{text}"),
    }
}

#[tokio::test]
async fn who_only_has_no_more_to_say_is_answered() {
    let (listeners, at) = bound();
    let half = async {
        let mut caller = TcpStream::connect(at).await.unwrap();
        caller.write_all(b"GET /soon HTTP/1.0\r\n\r\n").await.unwrap();
        caller.shutdown().await.unwrap();
        let mut text = String::new();
        caller.read_to_string(&mut text).await.unwrap();
        text
    };
    tokio::select! {
        () = serve(router(), listeners, std::future::pending()) => (),
        text = half => assert!(text.contains("200 OK"), "{text}"),
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_an_answer_is_not_waited_for() {
    let long = Router::new().route("/", get(async || "x".repeat(1 << 20)));
    let (mut caller, stream) = tokio::io::duplex(1024);
    let peer = Peer { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), local: true };
    caller.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let began = Instant::now();
    converse(stream, long, peer).await;
    assert!((10..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn without_the_capability_callers_on_a_bridge_are_told_by_their_addresses() {
    let (mut listeners, at) = bound();
    listeners.sockets[0].admits = Admits::Containers;
    let network = |interface: &str| Address { interface: interface.into(), index: 9, ip: at.ip(), prefix: 8 };
    for (interface, let_in) in [("docker0", true), ("eth0", false)] {
        listeners.known = vec![network(interface)];
        let _caller = TcpStream::connect(at).await.unwrap();
        assert_eq!(timeout(Duration::from_millis(200), listeners.accept()).await.is_ok(), let_in, "{interface}");
    }
}

#[tokio::test]
async fn without_the_capability_one_listener_hears_every_bridge() {
    let (mut listeners, at) = bound();
    assert!(!listeners.hears_all(at));
    listeners.sockets[0].admits = Admits::Containers;
    assert!(listeners.hears_all(at) && !listeners.hears_all(loopback(1)));
}

#[test]
fn every_bridge_is_answered_at_the_address_that_containers_are_told() {
    let address = |interface: &str, index, ip: &str, prefix| Address {
        interface: interface.to_owned(),
        index,
        ip: ip.parse().unwrap(),
        prefix,
    };
    let eth0 = address("eth0", 2, "192.168.1.5", 24);
    let vpn = address("resin-vpn", 3, "10.240.0.2", 32);
    let app = address("br-0123456789ab", 4, "172.18.0.1", 16);
    let second = address("br-0123456789ab", 4, "172.19.0.1", 16);
    let sixth = address("br-0123456789ab", 4, "fd00::1", 64);
    let supervisor = address("supervisor0", 5, SUPERVISOR_GATEWAY, 25);
    let own = [vpn.clone(), app.clone(), second.clone(), supervisor.clone()];
    let also = address("br-0123456789ab", 4, SUPERVISOR_GATEWAY, 25);

    let with = served(&[eth0.clone(), vpn.clone(), app.clone(), second.clone(), sixth, supervisor]);
    assert_eq!(with, [&own[..], &[also]].concat(), "once on each bridge, and on nothing else");
    assert_eq!(served(&[eth0, vpn.clone(), app.clone(), second.clone()]), [vpn, app.clone(), second], "not where it is not");
    let elsewhere = address("eth0", 2, SUPERVISOR_GATEWAY, 25);
    assert_eq!(served(&[elsewhere, app.clone()]), [app], "nor where it is another network's");
}

#[tokio::test]
async fn neighbours_are_those_in_a_private_network_that_was_opened() {
    let (mut listeners, _) = bound();
    let address = |ip: &str, prefix| Address { interface: "eth0".to_owned(), index: 2, ip: ip.parse().unwrap(), prefix };
    listeners.known = vec![address("192.168.1.5", 24), address("203.0.113.5", 24), address("fd00::5", 64)];
    for (ours, theirs, expected) in [
        ("192.168.1.5", "192.168.1.77", true),
        ("fd00::5", "fd00::77", true),
        // Beyond the router, or to an address that is not there.
        ("192.168.1.5", "192.168.2.77", false),
        ("192.168.1.5", "203.0.113.77", false),
        ("192.168.1.6", "192.168.1.77", false),
        ("fd00::5", "2001:db8::77", false),
        // Everybody's network.
        ("203.0.113.5", "203.0.113.77", false),
    ] {
        assert_eq!(listeners.is_neighbour(ours.parse().unwrap(), theirs.parse().unwrap()), expected, "{ours} {theirs}");
    }
}

#[tokio::test]
async fn who_is_gone_without_a_word_is_given_up_after_a_minute() {
    let listener = listen(loopback(0), Device::Any).unwrap();
    let _caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    // Asked of the kernel, of the connection itself: it has them of its listener.
    assert!(sockopt::socket_keepalive(&accepted).unwrap());
    let silent = sockopt::tcp_keepidle(&accepted).unwrap();
    let asked = sockopt::tcp_keepintvl(&accepted).unwrap() * sockopt::tcp_keepcnt(&accepted).unwrap();
    assert_eq!(silent + asked, Duration::from_secs(60));
    assert_eq!(sockopt::tcp_user_timeout(&accepted).unwrap(), 60_000);
}
