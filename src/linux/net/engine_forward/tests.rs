use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixListener, UnixStream};

use super::*;
use crate::linux::engine::{Bridge, EngineSettings};
use crate::linux::net::interfaces::InterfaceAddress;

const PING: &[u8] = b"GET /_ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

/// What a test changes and sees.
struct Forwarding {
    dir: TempDir,
    status: watch::Sender<Status>,
    state: watch::Receiver<LocalEngine>,
}

/// Forwards to the socket `engine` in a directory while a test runs.
async fn forwarding(networks: &[&str], port: u16, test: impl AsyncFnOnce(&mut Forwarding)) {
    let dir = tempfile::tempdir().unwrap();
    let hosts = vec![format!("unix://{}", dir.path().join("engine").display())];
    let root = PathBuf::from("/");
    let arch = String::new();
    let engine = Engine::connect(EngineSettings { hosts, root, logins: None, floor_bytes: 0, registries: None, arch });
    let networks: Vec<_> = networks.iter().map(|it| PrivateNetwork::read(it).unwrap()).collect();
    let (status, said) = watch::channel(Status::default());
    let (publish, state) = watch::channel(LocalEngine::default());
    let (_containers, containers) = watch::channel(EngineNetworks::default());
    let (root, networks) = (Path::new("/"), networks.as_slice());
    let forward = EngineForward { engine: &engine, root, networks, containers, status: said, publish };
    let mut bench = Forwarding { dir, status, state };
    tokio::select! {
        biased;
        never = forward.run_at(port) => match never {},
        () = test(&mut bench) => (),
    }
}

impl Forwarding {
    fn set_local_mode(&self, on: bool) {
        self.status.send_modify(|it| it.access.local_mode = on);
    }

    /// Turns local mode on, and waits until the port is open.
    async fn open(&mut self) -> SocketAddr {
        self.set_local_mode(true);
        self.state.wait_for(LocalEngine::is_open).await.unwrap().listens[0]
    }

    /// The engine's socket.
    fn engine(&self) -> UnixListener {
        UnixListener::bind(self.dir.path().join("engine")).unwrap()
    }
}

/// Reads until the head of a request is complete.
async fn head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Sends, and reads all that comes.
async fn ask(at: SocketAddr, request: &[u8]) -> String {
    let mut client = TcpStream::connect(at).await.unwrap();
    client.write_all(request).await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    String::from_utf8(got).unwrap()
}

#[tokio::test]
async fn both_directions_end_on_their_own() {
    forwarding(&["127.0.0.0/8"], 0, async |it| {
        let (at, engine) = (it.open().await, it.engine());
        // More than all the buffers on the way.
        let body = vec![b'x'; 8 * 1024 * 1024];
        let client = async {
            let mut client = TcpStream::connect(at).await.unwrap();
            let (mut reads, mut writes) = client.split();
            let sends = async {
                writes.write_all(b"POST /build HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
                writes.write_all(&body).await.unwrap();
                writes.shutdown().await.unwrap();
            };
            let mut got = String::new();
            tokio::join!(sends, reads.read_to_string(&mut got)).1.unwrap();
            got
        };
        let serves = async {
            let (mut stream, _) = engine.accept().await.unwrap();
            assert_eq!(head(&mut stream).await, "POST /build HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
            let mut sent = Vec::new();
            stream.read_to_end(&mut sent).await.unwrap();
            assert_eq!(sent.len(), body.len());
            // The client's end has come; it still reads.
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nbuilt").await.unwrap();
        };
        assert_eq!(tokio::join!(client, serves).0, "HTTP/1.1 200 OK\r\n\r\nbuilt");
    })
    .await;
}

#[tokio::test]
async fn the_port_is_open_in_local_mode_only_and_its_connections_end_with_it() {
    forwarding(&["127.0.0.0/8"], 0, async |it| {
        it.state.changed().await.unwrap();
        let closed = it.state.borrow_and_update().clone();
        assert_eq!((closed.is_open(), closed.networks.len(), closed.trouble), (false, 1, None));
        let (at, engine) = (it.open().await, it.engine());
        assert_eq!(it.state.borrow().networks.len(), 1);
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(PING).await.unwrap();
        let (mut stream, _) = engine.accept().await.unwrap();
        head(&mut stream).await;
        it.set_local_mode(false);
        let state = it.state.wait_for(|it| !it.is_open()).await.unwrap().clone();
        assert_eq!((state.networks.len(), state.trouble), (1, None));
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "the client's connection is closed");
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "and the engine's");
        assert_eq!(TcpStream::connect(at).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        // And again.
        let at = it.open().await;
        TcpStream::connect(at).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn nothing_is_opened_unless_a_network_was_named() {
    forwarding(&[], 0, async |it| {
        it.state.changed().await.unwrap();
        it.set_local_mode(true);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*it.state.borrow(), LocalEngine::default());
    })
    .await;
}

#[tokio::test]
async fn a_browser_reaches_no_engine() {
    forwarding(&["127.0.0.0/8"], 0, async |it| {
        let (at, engine) = (it.open().await, it.engine());
        for request in [
            "POST /containers/create HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\nContent-Length: 9\r\n\r\n{\"a\": \"b\"}",
            "GET /info HTTP/1.1\r\nHost: evil.example:2375\r\n\r\n",
        ] {
            let got = ask(at, request.as_bytes()).await;
            assert!(got.starts_with("HTTP/1.1 403 Forbidden\r\n") && got.contains("{\"message\":\"the "), "{got}");
        }
        let got = ask(at, b"\x16\x03\x01").await;
        assert!(got.starts_with("HTTP/1.1 400 "), "{got}");
        // The first connection that the engine gets is a program's.
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(PING).await.unwrap();
        let (mut stream, _) = engine.accept().await.unwrap();
        assert_eq!(head(&mut stream).await.as_bytes(), PING);
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_is_down_is_said_to_the_client() {
    forwarding(&["127.0.0.0/8"], 0, async |it| {
        let got = ask(it.open().await, PING).await;
        assert!(got.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && got.contains("is it installed and started?"), "{got}");
    })
    .await;
}

#[tokio::test]
async fn a_peer_outside_of_the_networks_is_closed() {
    forwarding(&["127.0.0.1/32"], 0, async |it| {
        let (at, engine) = (it.open().await, it.engine());
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut other = socket.connect(at).await.unwrap();
        assert_eq!(other.read(&mut [0]).await.unwrap(), 0);
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(PING).await.unwrap();
        engine.accept().await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_port_in_use_is_named_and_taken_once_it_is_free() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    forwarding(&["127.0.0.0/8"], port, async |it| {
        it.set_local_mode(true);
        let trouble = it.state.wait_for(|it| it.trouble.is_some()).await.unwrap().clone();
        let why = trouble.trouble.clone().unwrap();
        assert!(!trouble.is_open() && why.contains(&format!("(process {})", std::process::id())), "{why}");
        drop(taken);
        let state = it.state.wait_for(LocalEngine::is_open).await.unwrap().clone();
        assert_eq!((state.listens, state.trouble), (vec![SocketAddr::from(([127, 0, 0, 1], port))], None));
    })
    .await;
}

#[tokio::test]
async fn a_device_that_is_not_in_the_network_says_so() {
    forwarding(&["169.254.77.0/30"], 0, async |it| {
        it.set_local_mode(true);
        let state = it.state.wait_for(|it| it.trouble.is_some()).await.unwrap().clone();
        assert!(!state.is_open() && state.trouble.as_ref().unwrap().contains("no address in 169.254.77.0/30"), "{state:?}");
    })
    .await;
}

#[test]
fn containers_and_programs_of_the_board_are_no_peers() {
    let address = |interface: &str, index, ip: &str, prefix| InterfaceAddress {
        interface: interface.to_owned(),
        index,
        ip: ip.parse().unwrap(),
        prefix,
    };
    let known = vec![
        address("lo", 1, "127.0.0.1", 8),
        address("eth0", 2, "10.0.0.7", 16),
        address("supervisor0", 3, "10.114.104.1", 25),
        address("own", 4, "10.9.0.1", 24),
        address("eth0", 2, "fe80::7", 64),
        address("docker0", 5, "fe80::1", 64),
    ];
    let bridge = Bridge { interface: "own".to_owned(), subnets: Vec::new(), internal: false };
    let containers = EngineNetworks::new(&known, &[bridge]);
    let networks = ["10.0.0.0/8", "fe80::/10", "127.0.0.0/8"].map(|it| PrivateNetwork::read(it).unwrap());
    let mut listeners = ForwardListeners::new(Path::new("/"), &networks, 0);
    listeners.set_known(known);
    let admit = |from: &str| listeners.admit(from.parse().unwrap(), &containers);
    for from in ["10.0.0.9:1", "10.200.0.1:1", "[fe80::9%2]:1", "127.0.0.1:1"] {
        assert_eq!(admit(from), Ok(()), "{from}");
    }
    for from in ["10.114.104.2:1", "10.9.0.2:1", "[fe80::9%5]:1"] {
        assert_eq!(admit(from), Err("it comes from a container"), "{from}");
    }
    for from in ["192.168.1.1:1", "8.8.8.8:1", "[fd00::1]:1"] {
        assert!(admit(from).unwrap_err().contains("--local-engine"), "{from}");
    }
    assert!(admit("10.0.0.7:1").unwrap_err().contains("board itself"));
    assert_eq!(
        listeners.wanted(&containers).iter().map(|it| it.ip.to_string()).collect::<Vec<_>>(),
        ["127.0.0.1", "10.0.0.7", "fe80::7"]
    );
}
