//! The API's listeners: a host with a bridge and an outside, in network namespaces.
//!
//! ```text
//!   stranger ──eth0── host ──docker0────────── container
//!   neighbour ─eth1────┤├────br-0123456789ab── inner: its network is `internal`
//!                      │└────supervisor0────── labelled
//!                      └─────tun0───────────── cloud
//! ```
//! Needs root, and a network of its own: `tests/lab/inside.sh` gives it one.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use boardkeeper::http::serve;
use boardkeeper::linux::engine::Bridge;
use boardkeeper::linux::host::LiveHost;
use boardkeeper::linux::net::Listeners;
use boardkeeper::linux::net::networks::{self, EngineNetworks};
use boardkeeper::port::Host as _;
use boardkeeper::state::ClientAddress;
use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

pub(crate) const PORT: u16 = 48484;
/// A careless service that listens on every address, so that the test sees what would have come in.
const OPEN: u16 = 48485;
/// Where another program listens everywhere.
const OTHERS: u16 = 48486;
/// A listener on a private network, and one on the VPN, both named in the settings.
const NAMED: u16 = 48487;

/// A machine at the other end of a cable.
pub(crate) struct Other(Child);

impl Other {
    pub(crate) fn new() -> Self {
        let other = Self(Command::new("unshare").args(["--net", "sleep", "600"]).stdout(Stdio::null()).spawn().unwrap());
        // It has a network of its own as soon as it sleeps.
        while std::fs::read_to_string(format!("/proc/{}/comm", other.0.id())).unwrap() != "sleep\n" {
            std::thread::sleep(Duration::from_millis(10));
        }
        other
    }

    /// Connects the host's interface with this machine, and gives it an address there.
    pub(crate) fn cable(&self, interface: &str, address: &str) {
        // The cable of a machine that has ended goes with its network, which the kernel takes down a moment later.
        let _ = Command::new("ip").args(["link", "delete", interface]).stderr(Stdio::null()).status().unwrap();
        run(&format!("ip link add {interface} type veth peer name wire netns {}", self.0.id()));
        self.inside("ip link set lo up");
        self.inside("ip link set wire up");
        self.inside(&format!("ip address add {address} dev wire"));
    }

    /// A program in its network.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.0.id().to_string(), program]);
        command
    }

    pub(crate) fn inside(&self, command: &str) {
        run(&format!("nsenter --net --target {} {command}", self.0.id()));
    }

    /// What it is answered at an address and a port. `None`: nothing.
    async fn asks_at(&self, address: &str, port: u16) -> Option<String> {
        asks_from(self.0.id(), address, port).await
    }

    /// What the API answers it.
    pub(crate) async fn asks(&self, address: &str) -> Option<String> {
        self.asks_at(address, PORT).await
    }

    /// It gets nothing at this address of any listener of ours, although another program's is reached there.
    async fn is_turned_away(&self, address: &str) {
        assert!(self.asks_at(address, OTHERS).await.is_some(), "{address}: packets do not arrive, so nothing is shown");
        for port in [PORT, OPEN] {
            assert_eq!(self.asks_at(address, port).await, None, "{address} {port}");
        }
    }

    /// It gets nothing at this address, although what listens everywhere is reached there.
    async fn is_kept_out(&self, address: &str) {
        assert!(self.asks_at(address, OPEN).await.is_some(), "{address}: packets do not arrive, so nothing is shown");
        assert_eq!(self.asks(address).await, None, "{address}");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{command}");
}

/// What a process in the network of another is answered.
async fn asks_from(process: u32, address: &str, port: u16) -> Option<String> {
    let mut curl = Command::new("nsenter");
    curl.args(["--net", "--target", &process.to_string(), "curl", "--silent", "--max-time", "2"]);
    curl.arg(format!("http://{address}:{port}/who"));
    let output = tokio::task::spawn_blocking(move || curl.output().unwrap()).await.unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

pub(crate) fn router() -> Router {
    let who = async |axum::Extension(peer): axum::Extension<ClientAddress>| format!("{} {}", peer.addr, peer.local);
    Router::new().route("/who", get(who))
}

async fn story() {
    let stranger = Other::new();
    stranger.cable("eth0", "192.0.2.2/24");
    run("ip address add 192.0.2.1/24 dev eth0");
    run("ip link set eth0 up");
    // It knows of the containers' and the VPN's addresses, and sends there through us.
    stranger.inside("ip route add 172.17.0.0/16 via 192.0.2.1");
    stranger.inside("ip route add 10.2.0.0/16 via 192.0.2.1");
    assert_eq!(stranger.asks("192.0.2.1").await, None);

    // The engine comes after us.
    let container = Other::new();
    container.cable("vethc", "172.17.0.2/16");
    run("ip link add docker0 type bridge");
    run("ip link set vethc master docker0 up");
    run("ip address add 172.17.0.1/16 dev docker0");
    run("ip link set docker0 up");
    let cloud = Other::new();
    cloud.cable("tun0", "10.2.0.1/24");
    run("ip address add 10.2.0.5/24 dev tun0");
    run("ip link set tun0 up");
    sleep(Duration::from_secs(1)).await;

    assert_eq!(container.asks("172.17.0.1").await.as_deref(), Some("172.17.0.2 true"));
    let own = asks_from(std::process::id(), "127.0.0.1", PORT).await;
    assert_eq!(own.as_deref(), Some("127.0.0.1 true"));
    assert_eq!(cloud.asks("10.2.0.5").await.as_deref(), Some("10.2.0.1 false"));
    for address in ["192.0.2.1", "172.17.0.1", "10.2.0.5"] {
        stranger.is_kept_out(address).await;
    }
    a_containers_address_does_not_help(&stranger).await;
    internal_networks_reach_it_only_by_the_label().await;
    only_a_named_private_network_is_local(&cloud).await;

    // The engine goes, and its bridge; another interface has the address now.
    run("ip link delete docker0");
    run("ip address add 172.17.0.1/32 dev eth0");
    sleep(Duration::from_secs(1)).await;
    stranger.is_kept_out("172.17.0.1").await;
}

/// Gives the host a bridge, and a machine on it.
fn bridged(bridge: &str, number: u8, subnet: &str) -> Other {
    let other = Other::new();
    other.cable(&format!("veth{number}"), &format!("{subnet}.2/16"));
    other.inside(&format!("ip -6 address add fe80::{number}:2/64 dev wire nodad"));
    run(&format!("ip link add {bridge} type bridge"));
    run(&format!("ip link set veth{number} master {bridge} up"));
    run(&format!("ip address add {subnet}.1/16 dev {bridge}"));
    run(&format!("ip -6 address add fe80::{number}:1/64 dev {bridge} nodad"));
    run(&format!("ip link set {bridge} up"));
    other
}

/// A network of an app that is `internal`, and the one on which services with a label reach the API.
async fn internal_networks_reach_it_only_by_the_label() {
    let inner = bridged("br-0123456789ab", 7, "172.29.0");
    let labelled = bridged("supervisor0", 8, "10.114.104");
    run("ip address add 10.114.104.1/25 dev supervisor0");
    // A service that may change its routes reaches every address of the host.
    inner.inside("ip route add default via 172.29.0.1");
    sleep(Duration::from_secs(1)).await;
    for address in ["172.29.0.1", "10.114.104.1", "172.17.0.1", "192.0.2.1", "[fe80::7:1%25wire]"] {
        inner.is_turned_away(address).await;
    }
    assert_eq!(labelled.asks("10.114.104.1").await.as_deref(), Some("10.114.104.2 true"));
    assert!(labelled.asks_at("[fe80::8:1%25wire]", OPEN).await.is_some_and(|it| it.ends_with(" true")));
    // A service that has the label is in both networks.
    let both = Other::new();
    both.cable("veth9", "172.29.0.3/16");
    run("ip link set veth9 master br-0123456789ab up");
    both.inside("ip link set wire name inner");
    both.cable("veth10", "10.114.104.3/25");
    run("ip link set veth10 master supervisor0 up");
    assert_eq!(both.asks("10.114.104.1").await.as_deref(), Some("10.114.104.3 true"));
    both.is_turned_away("172.29.0.1").await;
}

/// Local mode's keyless peers: none through the VPN, none who was not named.
async fn only_a_named_private_network_is_local(cloud: &Other) {
    let neighbour = Other::new();
    neighbour.cable("eth1", "192.168.77.2/24");
    neighbour.inside("ip -6 address add fe80::5:2/64 dev wire nodad");
    run("ip address add 192.168.77.1/24 dev eth1");
    run("ip -6 address add fe80::5:1/64 dev eth1 nodad");
    run("ip link set eth1 up");
    sleep(Duration::from_secs(1)).await;
    let addresses = ["192.168.77.1", "10.2.0.5"].map(|it| SocketAddr::new(it.parse().unwrap(), NAMED));
    let named = Listeners::bind(Path::new("/"), &addresses, None, no_networks_yet()).unwrap();
    let story = async {
        assert_eq!(neighbour.asks_at("192.168.77.1", NAMED).await.as_deref(), Some("192.168.77.2 true"));
        assert_eq!(cloud.asks_at("10.2.0.5", NAMED).await.as_deref(), Some("10.2.0.1 false"));
        assert_eq!(neighbour.asks_at("192.168.77.1", OPEN).await.as_deref(), Some("192.168.77.2 false"));
        assert!(neighbour.asks_at("[fe80::5:1%25wire]", OPEN).await.is_some_and(|it| it.ends_with(" false")));
        assert_eq!(cloud.asks_at("10.2.0.5", OPEN).await.as_deref(), Some("10.2.0.1 false"));
        assert_eq!(neighbour.asks("192.168.77.1").await, None);
    };
    tokio::select! {
        () = serve(router(), named, std::future::pending()) => (),
        () = story => (),
    }
}

pub(crate) fn no_networks_yet() -> watch::Receiver<EngineNetworks> {
    watch::channel(EngineNetworks::default()).1
}

async fn a_containers_address_does_not_help(stranger: &Other) {
    stranger.inside("ip address add 172.17.0.9/32 dev lo");
    stranger.inside("ip route replace 172.17.0.0/16 via 192.0.2.1 src 172.17.0.9");
    assert_eq!(stranger.asks("172.17.0.1").await, None);
    stranger.inside("ip route replace 172.17.0.0/16 via 192.0.2.1");
}

#[tokio::test]
#[ignore = "needs root and a network of its own"]
async fn the_port_answers_on_loopback_bridges_and_vpn_and_nowhere_else() {
    assert!(std::env::var_os("BOARDKEEPER_LAB").is_some(), "to be run by tests/lab/inside.sh: it changes the network");
    let (tell, told) = watch::channel(EngineNetworks::default());
    let listeners = Listeners::bind(Path::new("/"), &[(Ipv4Addr::LOCALHOST, PORT).into()], Some(PORT), told.clone()).unwrap();
    let everywhere = ["0.0.0.0", "::"].map(|it| SocketAddr::new(it.parse().unwrap(), OPEN));
    let open = Listeners::bind(Path::new("/"), &everywhere, None, told).unwrap();
    let others = TcpListener::bind(("::", OTHERS)).await.unwrap();
    let bridge = |interface: &str, internal| Bridge { interface: interface.to_owned(), internal, subnets: Vec::new() };
    let engine = async || Ok(vec![bridge("docker0", false), bridge("br-0123456789ab", true), bridge("supervisor0", false)]);
    tokio::select! {
        () = serve(router(), listeners, std::future::pending()) => (),
        () = serve(router(), open, std::future::pending()) => (),
        ended = axum::serve(others, Router::new()) => ended.unwrap(),
        never = networks::follow(engine, tell) => match never {},
        () = story() => (),
    }
}

#[tokio::test]
#[ignore = "needs root and a network of its own"]
async fn addresses_that_come_and_go_are_reported_and_those_of_containers_are_not() {
    assert!(std::env::var_os("BOARDKEEPER_LAB").is_some(), "to be run by tests/lab/inside.sh: it changes the network");
    let root = tempfile::tempdir().unwrap();
    let host = LiveHost::new(root.path(), root.path(), None, None, None);
    let mut addresses = std::pin::pin!(host.addresses());
    let mut told = async || timeout(Duration::from_secs(5), addresses.next()).await.unwrap().unwrap().ips;
    assert_eq!(told().await, [""; 0]);
    run("ip link add eth7 type veth peer name wire7");
    run("ip link set wire7 up");
    run("ip link set eth7 up");
    run("ip address add 198.51.100.7/24 dev eth7");
    assert_eq!(told().await, ["198.51.100.7"]);
    run("ip -6 address add 2001:db8::7/64 dev eth7 nodad");
    assert_eq!(told().await, ["198.51.100.7", "2001:db8::7"]);
    run("ip link add docker7 type bridge");
    run("ip link set docker7 up");
    run("ip address add 172.27.0.1/16 dev docker7");
    run("ip address delete 198.51.100.7/24 dev eth7");
    assert_eq!(told().await, ["2001:db8::7"]);
    run("ip link delete eth7");
    assert_eq!(told().await, [""; 0]);
    run("ip link delete docker7");
}
