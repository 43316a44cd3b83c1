//! The API's listeners.
//!
//! Every address is bound before anything else starts, so that two agents never manage one machine. The addresses of the
//! engine's bridges come and go with its networks: the kernel reports each change over rtnetlink, and the listeners follow. A
//! listener on a bridge is bound to that interface, because a packet for its address may arrive on any other one too. The
//! address given to containers is that of one bridge, and packets for it arrive on all bridges: each has a listener for it.
//! Bridges of `internal` networks have no listener, and a connection that comes from one to any other listener is closed;
//! `net/networks.rs` knows which they are.
//!
//! [`crate::http`] answers the requests of their connections.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, mem};

use futures_util::FutureExt;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use crate::http::Listener;
use crate::sorted::SortedSet;
use crate::state::device::ClientAddress;
use crate::state::network::SUPERVISOR_GATEWAY;

pub mod engine_forward;
pub mod interfaces;
mod links;
pub mod networks;
pub mod openvpn;
pub(in crate::linux) mod port_owner;
mod reach;

pub use reach::{NetAdapter, VPN_DIR};

use interfaces::{AddressChanges, InterfaceAddress};
use networks::{ContainerAccess, EngineNetworks};

/// The listen backlog. If it is full, clients retry the SYN after 1 s, so it is sized for a burst between two `accept` loops.
const QUEUE: u32 = 1024;
/// TCP keepalive: the idle time of a connection before the first probe. A client is silent while its request is handled.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The number of unanswered probes after which the client counts as gone.
const KEEPALIVE_ASKS: u32 = 3;
/// The time between two probes. It is also part of `TCP_USER_TIMEOUT`, which bounds how long sent data may stay
/// unacknowledged.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// The time between two tries to listen on an address that is in use.
const RETRY: Duration = Duration::from_secs(1);

/// Why the API cannot listen: the address, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ListenError(pub String);

/// The sockets the API listens on.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<Socket>,
    /// The configured addresses. They do not depend on the engine.
    addresses: Vec<SocketAddr>,
    /// Whether connections are accepted at all.
    open: bool,
    /// Those of `addresses` that are not listened on although they should be; `retry` says when they are tried again.
    missing: Vec<SocketAddr>,
    retry: Instant,
    /// The port on the engine's bridges. `None`: bridges have no listener.
    bridges: Option<u16>,
    /// The machine's addresses, as the kernel last reported them.
    known: Vec<InterfaceAddress>,
    changes: Option<AddressChanges>,
    /// The engine's bridges, as it last reported them.
    networks: watch::Receiver<EngineNetworks>,
    /// The interface indexes that are in a local network, as the kernel last reported them.
    local: SortedSet<u32>,
    /// The socket that is polled first for a new connection, so that none starves.
    first: usize,
}

#[derive(Debug)]
struct Socket {
    listener: TcpListener,
    /// The interface it is bound to and its address, where it follows the engine's bridges.
    follows: Option<(u32, IpAddr)>,
    /// Which clients are admitted.
    admits: Admission,
    /// Whether the owner named its address, so that local mode applies to the private network it is in.
    named: bool,
}

/// Which clients a listener admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    /// Every client the kernel lets through to it.
    Anybody,
    /// Containers, by their source address. Another client that forges such an address gets no answer, because answers go to
    /// the bridge; so its TCP handshake never completes.
    Containers,
}

/// The kind of interface a connection comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionOrigin {
    /// The bridge of a network that may reach the API.
    Open,
    /// The bridge of a network that is `internal`.
    Internal,
    /// A bridge that the engine has not described yet.
    Unknown,
    /// An interface that is none of the engine's.
    Elsewhere,
}

impl ConnectionOrigin {
    const fn is_closed(self) -> bool {
        matches!(self, Self::Internal | Self::Unknown)
    }
}

impl Listeners {
    /// Listens on these addresses and, if `bridges` gives a port, at that port on the engine's bridges and the VPN.
    ///
    /// `root` is the host's root, where the owner of a port that is in use is looked up. `networks` says which bridges are
    /// open; see [`networks::follow`]. Must be called within a runtime.
    pub fn bind(
        root: &Path,
        addresses: &[SocketAddr],
        bridges: Option<u16>,
        networks: watch::Receiver<EngineNetworks>,
    ) -> Result<Self, ListenError> {
        let mut sockets = Vec::new();
        for address in addresses.iter().map(|it| SocketAddr::new(it.ip().to_canonical(), it.port())) {
            sockets.push(open(address, bridges).map_err(|why| refused(root, address, &why))?);
        }
        let addresses = sockets.iter().filter_map(|it| it.listener.local_addr().ok()).collect();
        let changes = AddressChanges::new().inspect_err(|why| warn!(%why, "changes of addresses are not followed")).ok();
        let (known, local) = (Vec::new(), SortedSet::new());
        let (missing, retry) = (Vec::new(), Instant::now());
        let mut this =
            Self { sockets, addresses, open: true, missing, retry, bridges, known, local, changes, networks, first: 0 };
        // The startup message lists all of them.
        let _ = this.follow();
        Ok(this)
    }

    /// The addresses it listens on now.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|it| it.listener.local_addr().ok()).collect()
    }

    /// Tries to listen on the missing addresses, and on the bridges.
    fn retry(&mut self) {
        self.retry = Instant::now() + RETRY;
        for address in mem::take(&mut self.missing) {
            match open(address, self.bridges) {
                Ok(socket) => self.sockets.push(socket),
                Err(why) => {
                    warn!(%why, "the API cannot answer at {address} again; it is tried every second");
                    self.missing.push(address);
                }
            }
        }
        self.follow();
    }

    /// Listens on bridges that appeared, and no longer on those that are gone. Returns the new ones.
    fn follow(&mut self) -> Vec<InterfaceAddress> {
        let mut come = Vec::new();
        match interfaces::addresses() {
            Ok(known) => self.known = known,
            Err(why) => warn!(%why, "the machine's addresses are unknown"),
        }
        match links::local() {
            Ok(local) => self.local = local,
            Err(why) => warn!(%why, "the machine's interfaces are unknown"),
        }
        let Some(port) = self.bridges.filter(|_| self.open) else { return come };
        let wanted = served(&self.known, &self.networks.borrow());
        self.sockets
            .retain(|it| it.follows.is_none_or(|follows| wanted.iter().any(|address| follows == (address.index, address.ip))));
        for address in wanted {
            let follows = Some((address.index, address.ip));
            if self.sockets.iter().any(|it| it.follows == follows) {
                continue;
            }
            let at = SocketAddr::new(address.ip, port);
            match listen_at(at, &address.interface) {
                Ok((listener, admits)) => {
                    self.sockets.push(Socket { listener, follows, admits, named: false });
                    come.push(address);
                }
                // Where a socket cannot be bound to an interface, the address's own listener receives from all bridges.
                Err(why) if why.kind() == io::ErrorKind::AddrInUse && self.is_wildcard(at) => (),
                Err(why) => {
                    warn!(%why, "the API cannot answer at {at} ({}); containers there do not reach it", address.interface);
                }
            }
        }
        come
    }

    /// Whether a listener of ours at this address accepts containers from every interface.
    fn is_wildcard(&self, at: SocketAddr) -> bool {
        let here = |it: &Socket| it.listener.local_addr().is_ok_and(|it| it == at);
        self.sockets.iter().any(|it| it.admits == Admission::Containers && here(it))
    }

    /// Identifies the client of an accepted connection. `None`: it is not admitted.
    fn admit(&self, (stream, from, socket): Accepted) -> Option<(TcpStream, ClientAddress)> {
        let socket = self.sockets.get(socket)?;
        let addr = from.ip().to_canonical();
        let ours = stream.local_addr().ok()?.ip().to_canonical();
        if addr.is_loopback() || ours == addr {
            return Some((stream, ClientAddress { addr, local: true }));
        }
        let via = network_of(&self.known, from);
        let origins: Vec<_> = via.iter().map(|it| self.origin(it)).collect();
        if let Some(origin @ (ConnectionOrigin::Internal | ConnectionOrigin::Unknown)) =
            origins.iter().find(|it| it.is_closed())
        {
            debug!(%addr, ?origin, "a connection from a bridge that is not open was closed");
            return None;
        }
        let contained = !origins.is_empty() && origins.iter().all(|it| *it == ConnectionOrigin::Open);
        if socket.admits == Admission::Containers && !contained {
            debug!(%addr, "a stranger was sent away from a bridge");
            return None;
        }
        let local = contained || socket.named && self.is_neighbour(ours, &via);
        Some((stream, ClientAddress { addr, local }))
    }

    /// The kind of interface by which clients in the network of this address come.
    fn origin(&self, address: &InterfaceAddress) -> ConnectionOrigin {
        match (self.networks.borrow().way(address.index), interfaces::is_bridge(&address.interface)) {
            (Some(ContainerAccess::Internal), _) => ConnectionOrigin::Internal,
            (Some(ContainerAccess::Open), true) => ConnectionOrigin::Open,
            (None, true) => ConnectionOrigin::Unknown,
            // A bridge that the owner made may lead anywhere.
            (Some(ContainerAccess::Open) | None, false) => ConnectionOrigin::Elsewhere,
        }
    }

    /// Whether the client is in the private network of this address of ours: a local network, not a tunnel.
    fn is_neighbour(&self, ours: IpAddr, via: &[&InterfaceAddress]) -> bool {
        interfaces::is_private(ours) && via.iter().any(|it| it.ip == ours && self.local.contains(&it.index))
    }
}

impl Listener for Listeners {
    async fn accept(&mut self) -> (TcpStream, ClientAddress) {
        loop {
            let Self { sockets, changes, networks, first, missing, retry, .. } = self;
            let accepted = tokio::select! {
                biased;
                () = sleep_until(*retry), if !missing.is_empty() => {
                    self.retry();
                    continue;
                }
                () = changed(changes.as_ref(), networks) => None,
                accepted = poll_fn(|context| poll_accept(sockets, first, context)) => Some(accepted),
            };
            match accepted {
                None => {
                    for address in self.follow() {
                        info!("the API answers at {} ({}) too", address.ip, address.interface);
                    }
                }
                Some(Ok(accepted)) => {
                    if let Some(admitted) = self.admit(accepted) {
                        return admitted;
                    }
                }
                Some(Err(error)) if is_theirs(&error) => debug!(%error, "a connection was gone before it was accepted"),
                Some(Err(error)) => {
                    warn!(%error, "no connection can be accepted now");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn close(&mut self) -> Vec<(TcpStream, ClientAddress)> {
        // So that the kernel is polled once more for pending connections.
        tokio::task::yield_now().await;
        let mut last = Vec::new();
        while let Some(accepted) = self.accept().now_or_never() {
            last.push(accepted);
        }
        self.open = false;
        self.missing.clear();
        self.sockets.clear();
        last
    }

    /// An address that another program has taken meanwhile is retried every second.
    fn reopen(&mut self) {
        self.open = true;
        self.missing.clone_from(&self.addresses);
        self.retry();
    }
}

/// Where the API listens without configuration: each open bridge and VPN at its own addresses, and each open bridge at the
/// address that is given to containers, while the machine has that address.
fn served(known: &[InterfaceAddress], networks: &EngineNetworks) -> Vec<InterfaceAddress> {
    let is_open =
        |it: &InterfaceAddress| interfaces::is_bridge(&it.interface) && networks.way(it.index) == Some(ContainerAccess::Open);
    let is_served = |it: &&InterfaceAddress| it.ip.is_ipv4() && (it.is_vpn() || is_open(it));
    let mut served: Vec<InterfaceAddress> = known.iter().filter(is_served).cloned().collect();
    let gateway = |it: &InterfaceAddress| SUPERVISOR_GATEWAY.parse().is_ok_and(|gateway: IpAddr| it.ip == gateway);
    let Some(gateway) = served.iter().find(|it| gateway(it) && interfaces::is_bridge(&it.interface)).cloned() else {
        return served;
    };
    for index in 0..served.len() {
        let InterfaceAddress { interface, index, .. } = &served[index];
        let also = InterfaceAddress { interface: interface.clone(), index: *index, ..gateway.clone() };
        if interfaces::is_bridge(&also.interface) && !served.contains(&also) {
            served.push(also);
        }
    }
    served
}

/// The machine's addresses in the client's network: the smallest one, as the kernel chooses it too. The answers are routed
/// there, so a TCP handshake with a forged address of another network does not complete.
fn network_of(known: &[InterfaceAddress], from: SocketAddr) -> Vec<&InterfaceAddress> {
    let addr = from.ip().to_canonical();
    // Link-local addresses exist on every interface; the scope ID says which one it is.
    let interface = match from {
        SocketAddr::V6(it) if it.scope_id() != 0 => Some(it.scope_id()),
        SocketAddr::V6(_) | SocketAddr::V4(_) => None,
    };
    let near = |it: &&InterfaceAddress| it.contains(addr) && interface.is_none_or(|index| it.index == index);
    let smallest = known.iter().filter(near).map(|it| it.prefix).max();
    known.iter().filter(near).filter(|it| Some(it.prefix) == smallest).collect()
}

/// A connection, its source address, and the number of the socket that accepted it.
type Accepted = (TcpStream, SocketAddr, usize);

/// Waits until the machine's addresses change, or what the engine reports of its bridges.
async fn changed(changes: Option<&AddressChanges>, networks: &mut watch::Receiver<EngineNetworks>) {
    let addresses = async {
        match changes {
            Some(changes) => changes.next().await,
            None => std::future::pending().await,
        }
    };
    let networks_changed = async {
        if networks.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = addresses => (),
        () = networks_changed => (),
    }
}

fn poll_accept(sockets: &[Socket], first: &mut usize, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
    for offset in 0..sockets.len() {
        let index = (*first + offset) % sockets.len();
        if let Poll::Ready(accepted) = sockets[index].listener.poll_accept(context) {
            *first = index + 1;
            return Poll::Ready(accepted.map(|(stream, from)| (stream, from, index)));
        }
    }
    Poll::Pending
}

/// Whether a failed `accept` is due to the client, not to us.
fn is_theirs(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Which interface's packets a listener receives.
#[derive(Debug, Clone, Copy)]
enum BoundInterface<'a> {
    /// Any.
    Any,
    /// This one's, where the kernel allows binding to it; otherwise any.
    Wished(&'a str),
    /// This one's; otherwise the bind fails.
    Only(&'a str),
}

/// Listens on an interface. Old kernels require a capability for that; without it, containers on a bridge are recognised by
/// their addresses. There is no such check for clients of a VPN.
fn listen_at(at: SocketAddr, interface: &str) -> io::Result<(TcpListener, Admission)> {
    match listen(at, BoundInterface::Only(interface)) {
        Err(why) if why.kind() == io::ErrorKind::PermissionDenied && interfaces::is_bridge(interface) => {
            Ok((listen(at, BoundInterface::Any)?, Admission::Containers))
        }
        bound => bound.map(|listener| (listener, Admission::Anybody)),
    }
}

/// Listens on a configured or default address.
fn open(address: SocketAddr, bridges: Option<u16>) -> io::Result<Socket> {
    // The kernel drops packets from outside to loopback by itself, unless configured otherwise. Where binding to `lo` is not
    // allowed, that must do.
    let device = if address.ip().is_loopback() { BoundInterface::Wished("lo") } else { BoundInterface::Any };
    let named = bridges.is_none() && !address.ip().is_unspecified();
    Ok(Socket { listener: listen(address, device)?, follows: None, admits: Admission::Anybody, named })
}

fn listen(address: SocketAddr, device: BoundInterface<'_>) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv6() {
        // `[::]` beside `0.0.0.0` is no conflict.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Connections that an earlier process left in TIME_WAIT do not delay the bind.
    socket.set_reuseaddr(true)?;
    match device {
        BoundInterface::Any => (),
        BoundInterface::Wished(name) => mem::drop(socket.bind_device(Some(name.as_bytes()))),
        BoundInterface::Only(name) => socket.bind_device(Some(name.as_bytes()))?,
    }
    socket.bind(address)?;
    keep_alive(&socket)?;
    socket.listen(QUEUE)
}

/// Has the kernel detect clients that vanished without closing. Connections inherit this from their listener.
fn keep_alive(socket: &TcpSocket) -> io::Result<()> {
    socket.set_keepalive(true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_ASKS)?;
    let most = KEEPALIVE + KEEPALIVE_EVERY * KEEPALIVE_ASKS;
    sockopt::set_tcp_user_timeout(socket, u32::try_from(most.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

fn refused(root: &Path, address: SocketAddr, why: &io::Error) -> ListenError {
    ListenError(match why.kind() {
        io::ErrorKind::AddrInUse => {
            let by = port_owner::by(&root.join("proc"), address.port()).unwrap_or_else(|| "another program".to_owned());
            format!("cannot listen at {address}: {by} has that port; stop it, or choose another with --listen")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("cannot listen at {address}: the machine does not have that address; choose another with --listen")
        }
        io::ErrorKind::PermissionDenied => {
            format!("cannot listen at {address}: {why}; run as root, or choose a port above 1023 with --listen")
        }
        _ => format!("cannot listen at {address}: {why}; choose another with --listen"),
    })
}

#[cfg(test)]
mod tests;
