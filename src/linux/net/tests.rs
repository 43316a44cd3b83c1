use std::net::{Ipv4Addr, SocketAddrV6};

use super::*;

use crate::http::tests::refuses;
use crate::linux::engine::Bridge;

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// An engine that has reported nothing.
fn no_networks() -> watch::Receiver<EngineNetworks> {
    watch::channel(EngineNetworks::default()).1
}

fn address(interface: &str, index: u32, ip: &str, prefix: u8) -> InterfaceAddress {
    InterfaceAddress { interface: interface.to_owned(), index, ip: ip.parse().unwrap(), prefix }
}

fn bridge(interface: &str, internal: bool) -> Bridge {
    Bridge { interface: interface.to_owned(), internal, subnets: Vec::new() }
}

/// Sets the machine's addresses and the engine's bridges.
fn tell(listeners: &mut Listeners, known: &[InterfaceAddress], bridges: &[Bridge]) {
    listeners.known = known.to_vec();
    listeners.networks = watch::channel(EngineNetworks::new(known, bridges)).1;
}

fn bound() -> (Listeners, SocketAddr) {
    let listeners = Listeners::bind(Path::new("/"), &[loopback(0)], None, no_networks()).unwrap();
    let at = listeners.addresses()[0];
    (listeners, at)
}

#[tokio::test]
async fn a_caller_on_the_device_is_local() {
    let (mut listeners, at) = bound();
    let (_caller, (_, peer)) = tokio::join!(TcpStream::connect(at), listeners.accept());
    assert_eq!(peer, ClientAddress { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), local: true });
}

#[tokio::test]
async fn a_taken_port_is_told_with_who_has_it() {
    let (listeners, at) = bound();
    let error = Listeners::bind(Path::new("/"), &[at], None, no_networks()).unwrap_err().to_string();
    assert!(error.contains(&format!("(process {})", std::process::id())) && error.contains("--listen"), "{error}");
    drop(listeners);
    Listeners::bind(Path::new("/"), &[at], None, no_networks()).unwrap();
    let error =
        Listeners::bind(Path::new("/"), &["192.0.2.1:1".parse().unwrap()], None, no_networks()).unwrap_err().to_string();
    assert!(error.contains("does not have that address"), "{error}");
}

/// The client address of a connection from another loopback address, or `None` if it is closed.
async fn comes_from(listeners: &Listeners, from: &str, to: &str) -> Option<ClientAddress> {
    let listener = TcpListener::bind((to, 0)).await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    let (_caller, accepted) = tokio::join!(socket.connect(listener.local_addr().unwrap()), listener.accept());
    let (stream, peer) = accepted.unwrap();
    listeners.admit((stream, peer, 0)).map(|(_, peer)| peer)
}

#[tokio::test]
async fn without_the_capability_callers_on_a_bridge_are_told_by_their_addresses() {
    let (mut listeners, _) = bound();
    listeners.sockets[0].admits = Admission::Containers;
    let (at, from) = (IpAddr::from([172, 17, 0, 1]), SocketAddr::from(([172, 17, 0, 9], 1)));
    for (interface, bridges, origin) in [
        ("docker0", vec![bridge("docker0", false)], ConnectionOrigin::Open),
        ("docker0", vec![bridge("docker0", true)], ConnectionOrigin::Internal),
        ("docker0", Vec::new(), ConnectionOrigin::Unknown),
        ("eth0", Vec::new(), ConnectionOrigin::Elsewhere),
        ("mine", vec![bridge("mine", true)], ConnectionOrigin::Internal),
        ("mine", vec![bridge("mine", false)], ConnectionOrigin::Elsewhere),
    ] {
        tell(&mut listeners, &[InterfaceAddress { ip: at, ..address(interface, 9, "::", 16) }], &bridges);
        let via = network_of(&listeners.known, from);
        assert_eq!(via.iter().map(|it| listeners.origin(it)).collect::<Vec<_>>(), [origin], "{interface}");
    }
}

#[tokio::test]
async fn a_bridge_that_shares_addresses_with_a_local_network_lets_nobody_of_it_in_without_a_key() {
    let (mut listeners, _) = bound();
    let from = SocketAddr::from(([172, 17, 5, 9], 1));
    let bridges = [bridge("docker0", false)];
    // The kernel routes answers by the smaller network.
    tell(&mut listeners, &[address("docker0", 9, "172.17.0.1", 16), address("eth0", 2, "172.17.5.1", 24)], &bridges);
    let via: Vec<_> = network_of(&listeners.known, from).into_iter().map(|it| it.interface.as_str()).collect();
    assert_eq!(via, ["eth0"]);
    let callers = [SocketAddr::from(([172, 17, 6, 9], 1)), SocketAddr::from(([8, 8, 8, 8], 1))];
    assert_eq!(callers.map(|it| network_of(&listeners.known, it).len()), [1, 0]);
}

#[tokio::test]
async fn a_link_local_caller_is_in_the_network_of_its_interface() {
    let (mut listeners, _) = bound();
    let known =
        [address("docker0", 9, "fe80::1", 64), address("br-0123456789ab", 7, "fe80::2", 64), address("eth0", 2, "fe80::3", 64)];
    tell(&mut listeners, &known, &[bridge("docker0", false), bridge("br-0123456789ab", true)]);
    for (scope, origin) in [(9, ConnectionOrigin::Open), (7, ConnectionOrigin::Internal), (2, ConnectionOrigin::Elsewhere)] {
        let from = SocketAddr::V6(SocketAddrV6::new("fe80::77".parse().unwrap(), 1, 0, scope));
        let via = network_of(&listeners.known, from);
        assert_eq!(via.iter().map(|it| listeners.origin(it)).collect::<Vec<_>>(), [origin], "{scope}");
    }
}

#[tokio::test]
async fn callers_on_loopback_and_the_device_itself_need_no_network() {
    let (mut listeners, _) = bound();
    tell(&mut listeners, &[address("docker0", 9, "127.0.0.1", 8)], &[]);
    let peer = comes_from(&listeners, "127.0.0.7", "127.0.0.1").await;
    assert_eq!(peer, Some(ClientAddress { addr: IpAddr::from([127, 0, 0, 7]), local: true }));
}

#[tokio::test]
async fn without_the_capability_one_listener_hears_every_bridge() {
    let (mut listeners, at) = bound();
    assert!(!listeners.is_wildcard(at));
    listeners.sockets[0].admits = Admission::Containers;
    assert!(listeners.is_wildcard(at) && !listeners.is_wildcard(loopback(1)));
}

#[test]
fn every_open_bridge_is_answered_at_the_address_that_containers_are_told() {
    let eth0 = address("eth0", 2, "192.168.1.5", 24);
    let vpn = address("resin-vpn", 3, "10.240.0.2", 32);
    let app = address("br-0123456789ab", 4, "172.18.0.1", 16);
    let second = address("br-0123456789ab", 4, "172.19.0.1", 16);
    let sixth = address("br-0123456789ab", 4, "fd00::1", 64);
    let inner = address("br-ba9876543210", 6, "172.20.0.1", 16);
    let no_networks = address("br-aaaaaaaaaaaa", 7, "172.21.0.1", 16);
    let podman = address("podman1", 8, "10.89.0.1", 24);
    let supervisor = address("supervisor0", 5, SUPERVISOR_GATEWAY, 25);
    let own = [vpn.clone(), app.clone(), second.clone(), podman.clone(), supervisor.clone()];
    let also =
        ["br-0123456789ab", "podman1"].map(|it| address(it, if it == "podman1" { 8 } else { 4 }, SUPERVISOR_GATEWAY, 25));
    let by_subnet = Bridge { interface: "br-ffffffffffff".to_owned(), internal: false, subnets: vec![(podman.ip, 24)] };
    let bridges = [bridge("br-0123456789ab", false), bridge("br-ba9876543210", true), bridge("supervisor0", false), by_subnet];
    let served = |known: &[InterfaceAddress]| served(known, &EngineNetworks::new(known, &bridges));

    let with = served(&[eth0.clone(), vpn.clone(), app.clone(), second.clone(), sixth, inner, no_networks, podman, supervisor]);
    assert_eq!(with, [&own[..], &also].concat(), "once on each bridge that is open, and on nothing else");
    assert_eq!(served(&[eth0, vpn.clone(), app.clone(), second.clone()]), [vpn, app.clone(), second], "not where it is not");
    let elsewhere = address("eth0", 2, SUPERVISOR_GATEWAY, 25);
    assert_eq!(served(&[elsewhere, app.clone()]), [app], "nor where it is another network's");
}

#[tokio::test]
async fn neighbours_are_those_in_a_local_private_network() {
    let (mut listeners, _) = bound();
    listeners.local = SortedSet::from([2]);
    let eth0 = ["192.168.1.5", "203.0.113.5", "100.64.1.5"].map(|it| address("eth0", 2, it, 24));
    let rest = [address("eth0", 2, "fd00::5", 64), address("wg0", 3, "10.8.0.5", 24), address("wg0", 3, "100.100.0.5", 10)];
    tell(&mut listeners, &[&eth0[..], &rest].concat(), &[]);
    for (ours, theirs, expected) in [
        ("192.168.1.5", "192.168.1.77", true),
        ("fd00::5", "fd00::77", true),
        // Beyond the router, or to an address the machine does not have.
        ("192.168.1.5", "192.168.2.77", false),
        ("192.168.1.5", "203.0.113.77", false),
        ("192.168.1.6", "192.168.1.77", false),
        ("fd00::5", "2001:db8::77", false),
        // Public addresses, and a carrier's.
        ("203.0.113.5", "203.0.113.77", false),
        ("100.64.1.5", "100.64.1.77", false),
        // Tunnels.
        ("10.8.0.5", "10.8.0.77", false),
        ("100.100.0.5", "100.100.0.77", false),
    ] {
        let via = network_of(&listeners.known, SocketAddr::new(theirs.parse().unwrap(), 1));
        assert_eq!(listeners.is_neighbour(ours.parse().unwrap(), &via), expected, "{ours} {theirs}");
    }
}

#[tokio::test]
async fn local_mode_is_for_the_network_of_an_address_that_was_named() {
    let named = |at: &str, bridges| {
        let listeners = Listeners::bind(Path::new("/"), &[at.parse().unwrap()], bridges, no_networks()).unwrap();
        (listeners.sockets[0].named, listeners.addresses()[0].ip())
    };
    assert_eq!(named("127.0.0.1:0", None), (true, IpAddr::from([127, 0, 0, 1])));
    // An IPv4-mapped IPv6 address is the same address.
    assert_eq!(named("[::ffff:127.0.0.1]:0", None), (true, IpAddr::from([127, 0, 0, 1])));
    assert_eq!(named("127.0.0.1:0", Some(1)), (false, IpAddr::from([127, 0, 0, 1])));
    assert_eq!(named("0.0.0.0:0", None), (false, IpAddr::from([0, 0, 0, 0])));
    assert_eq!(named("[::]:0", None), (false, IpAddr::from([0_u16; 8])));
    assert_eq!(named("[::ffff:0.0.0.0]:0", None), (false, IpAddr::from([0, 0, 0, 0])));
}

#[tokio::test]
async fn who_is_gone_without_a_word_is_given_up_after_a_minute() {
    let listener = listen(loopback(0), BoundInterface::Any).unwrap();
    let _caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    // Read from the kernel for the connection itself: it inherits the options of its listener.
    assert!(sockopt::socket_keepalive(&accepted).unwrap());
    let silent = sockopt::tcp_keepidle(&accepted).unwrap();
    let asked = sockopt::tcp_keepintvl(&accepted).unwrap() * sockopt::tcp_keepcnt(&accepted).unwrap();
    assert_eq!(silent + asked, Duration::from_secs(60));
    assert_eq!(sockopt::tcp_user_timeout(&accepted).unwrap(), 60_000);
}

#[tokio::test]
async fn once_closed_it_refuses_and_it_listens_again_as_soon_as_its_address_is_free() {
    let (mut listeners, at) = bound();
    let _late = TcpStream::connect(at).await.unwrap();
    assert_eq!(listeners.close().await.len(), 1, "the kernel had accepted it");
    refuses(at, true).await;
    // Another program occupies the address for some time.
    let other = TcpSocket::new_v4().unwrap();
    other.set_reuseaddr(true).unwrap();
    other.bind(at).unwrap();
    let other = other.listen(1).unwrap();
    listeners.reopen();
    let free = async {
        sleep(Duration::from_millis(100)).await;
        drop(other);
        refuses(at, false).await;
    };
    let accepts = async {
        loop {
            listeners.accept().await;
        }
    };
    tokio::select! {
        () = accepts => (),
        () = free => (),
    }
    listeners.close().await;
    refuses(at, true).await;
}
