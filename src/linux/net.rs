//! Where the API listens.
//!
//! Every address is bound before anything else starts, so that two agents never look after one machine. The addresses of the
//! engine's bridges come and go with its networks: the kernel tells, and they are followed. A listener on a bridge is bound to
//! that interface, because a packet for its address may arrive on any other one too. The address that containers are told is
//! that of one bridge, and packets for it arrive on all of them: it is listened at on each.
//!
//! [`serve()`] answers; who may stay when there are too many is in `net/crowd.rs`.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, mem};

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::state::device::Peer;
use crate::state::network::SUPERVISOR_GATEWAY;

mod crowd;
pub mod interfaces;
mod reach;
mod serve;
mod shared;
pub(in crate::linux) mod taken;

pub use reach::Reach;
pub use serve::{converse, serve};

use interfaces::{Address, Changes};

/// What the kernel's queue holds until we look. One that is full makes callers wait a second, so it holds what a crowd sends
/// between two looks.
const QUEUE: u32 = 1024;
/// A caller who says nothing while his answer is waited for is asked after so long whether he is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// And so often, before he counts as gone.
const KEEPALIVE_ASKS: u32 = 3;
/// The time between two of these; also what the kernel waits until somebody takes what was sent to him.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

/// Why the API cannot listen: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NetError(pub String);

/// Addresses that are listened on.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<Socket>,
    /// The port on the engine's bridges; `None`: they are not listened on.
    bridges: Option<u16>,
    /// The machine's addresses, as last told.
    known: Vec<Address>,
    changes: Option<Changes>,
    /// The socket that is asked first for a new connection, so that none is forgotten.
    first: usize,
}

#[derive(Debug)]
struct Socket {
    listener: TcpListener,
    /// The interface it is bound to and the address, when it is one of the engine's.
    follows: Option<(u32, IpAddr)>,
    /// Who is let in.
    admits: Admits,
}

/// Who a listener lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admits {
    /// Whoever the kernel lets through to it.
    Anybody,
    /// Containers, by their address. A stranger who uses one gets no answer, because answers go to the bridge; so no connection
    /// of theirs ever comes about.
    Containers,
}

impl Listeners {
    /// Listens on these addresses, and on the engine's bridges and the VPN where `bridges` says at which port.
    ///
    /// `root` is the host's root; who has a port that is taken is looked up there. To be called within a runtime.
    pub fn bind(root: &Path, addresses: &[SocketAddr], bridges: Option<u16>) -> Result<Self, NetError> {
        let mut sockets = Vec::new();
        for &address in addresses {
            // The kernel keeps strangers from loopback by itself, unless told not to. Where this is not allowed, that must do.
            let device = if address.ip().is_loopback() { Device::Wished("lo") } else { Device::Any };
            let listener = listen(address, device).map_err(|why| refused(root, address, &why))?;
            sockets.push(Socket { listener, follows: None, admits: Admits::Anybody });
        }
        let changes = Changes::new().inspect_err(|why| warn!(%why, "changes of addresses are not followed")).ok();
        let mut this = Self { sockets, bridges, known: Vec::new(), changes, first: 0 };
        // The greeting says all of them.
        let _ = this.follow();
        Ok(this)
    }

    /// Where it listens now.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|it| it.listener.local_addr().ok()).collect()
    }

    /// Listens on bridges that have come, and no longer on those that went. Gives those that have come.
    fn follow(&mut self) -> Vec<Address> {
        let mut come = Vec::new();
        match interfaces::addresses() {
            Ok(known) => self.known = known,
            Err(why) => warn!(%why, "the machine's addresses are unknown"),
        }
        let Some(port) = self.bridges else { return come };
        let wanted = served(&self.known);
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
                    self.sockets.push(Socket { listener, follows, admits });
                    come.push(address);
                }
                // Where no interface can be chosen the address's own listener hears those of all bridges.
                Err(why) if why.kind() == io::ErrorKind::AddrInUse && self.hears_all(at) => (),
                Err(why) => {
                    warn!(%why, "the API cannot answer at {at} ({}); containers there do not reach it", address.interface);
                }
            }
        }
        come
    }

    /// Whether a listener of ours at this address takes containers from every interface.
    fn hears_all(&self, at: SocketAddr) -> bool {
        let here = |it: &Socket| it.listener.local_addr().is_ok_and(|it| it == at);
        self.sockets.iter().any(|it| it.admits == Admits::Containers && here(it))
    }

    /// The next connection. May be dropped at any await, and loses none.
    async fn accept(&mut self) -> (TcpStream, Peer) {
        loop {
            let Self { sockets, changes, first, .. } = self;
            let accepted = tokio::select! {
                biased;
                () = changed(changes.as_ref()) => None,
                accepted = poll_fn(|context| poll_accept(sockets, first, context)) => Some(accepted),
            };
            match accepted {
                None => {
                    for address in self.follow() {
                        info!("the API answers at {} ({}) too", address.ip, address.interface);
                    }
                }
                Some(Ok((stream, peer, admits))) => {
                    let addr = peer.ip().to_canonical();
                    if admits == Admits::Containers && !self.is_contained(addr) {
                        debug!(%addr, "a stranger was sent away from a bridge");
                        continue;
                    }
                    let peer = self.peer(&stream, addr);
                    return (stream, peer);
                }
                Some(Err(error)) if is_theirs(&error) => debug!(%error, "a connection was gone before it was accepted"),
                Some(Err(error)) => {
                    warn!(%error, "no connection can be accepted now");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn peer(&self, stream: &TcpStream, addr: IpAddr) -> Peer {
        let ours = stream.local_addr().map(|it| it.ip().to_canonical());
        let own = ours.as_ref().is_ok_and(|it| *it == addr);
        let invited = self.bridges.is_none() && ours.is_ok_and(|it| self.is_neighbour(it, addr));
        Peer { addr, local: addr.is_loopback() || own || invited || self.is_contained(addr) }
    }

    /// Whether somebody is in the private network that this address of ours is in.
    fn is_neighbour(&self, ours: IpAddr, addr: IpAddr) -> bool {
        interfaces::is_private(ours) && self.known.iter().any(|it| it.ip == ours && it.contains(addr))
    }

    fn is_contained(&self, addr: IpAddr) -> bool {
        self.known.iter().any(|it| interfaces::is_bridge(&it.interface) && it.contains(addr))
    }
}

/// Where the API answers without being asked to: each bridge and VPN at its own addresses, and each bridge at the one that
/// containers are told, while the machine has it.
fn served(known: &[Address]) -> Vec<Address> {
    let mut served: Vec<Address> = known.iter().filter(|it| it.is_served() && it.ip.is_ipv4()).cloned().collect();
    let told = |it: &Address| SUPERVISOR_GATEWAY.parse().is_ok_and(|told: IpAddr| it.ip == told);
    let Some(told) = served.iter().find(|it| told(it) && interfaces::is_bridge(&it.interface)).cloned() else { return served };
    for index in 0..served.len() {
        let Address { interface, index, .. } = &served[index];
        let also = Address { interface: interface.clone(), index: *index, ..told.clone() };
        if interfaces::is_bridge(&also.interface) && !served.contains(&also) {
            served.push(also);
        }
    }
    served
}

type Accepted = (TcpStream, SocketAddr, Admits);

async fn changed(changes: Option<&Changes>) {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

fn poll_accept(sockets: &[Socket], first: &mut usize, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
    for offset in 0..sockets.len() {
        let index = (*first + offset) % sockets.len();
        if let Poll::Ready(accepted) = sockets[index].listener.poll_accept(context) {
            *first = index + 1;
            return Poll::Ready(accepted.map(|(stream, from)| (stream, from, sockets[index].admits)));
        }
    }
    Poll::Pending
}

/// Whether a failed accept says something about the caller, not about us.
fn is_theirs(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Which interface's packets a listener answers.
#[derive(Debug, Clone, Copy)]
enum Device<'a> {
    /// Any.
    Any,
    /// This one's, where the kernel allows it to be chosen.
    Wished(&'a str),
    /// This one's, or it does not listen.
    Only(&'a str),
}

/// Listens on an interface. Old kernels want a capability for that; then callers on a bridge are told by their addresses. There is
/// no such test for callers through a VPN.
fn listen_at(at: SocketAddr, interface: &str) -> io::Result<(TcpListener, Admits)> {
    match listen(at, Device::Only(interface)) {
        Err(why) if why.kind() == io::ErrorKind::PermissionDenied && interfaces::is_bridge(interface) => {
            Ok((listen(at, Device::Any)?, Admits::Containers))
        }
        bound => bound.map(|listener| (listener, Admits::Anybody)),
    }
}

fn listen(address: SocketAddr, device: Device<'_>) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv6() {
        // `[::]` beside `0.0.0.0` is no conflict.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // What an earlier life of ours left behind is no reason to wait.
    socket.set_reuseaddr(true)?;
    match device {
        Device::Any => (),
        Device::Wished(name) => mem::drop(socket.bind_device(Some(name.as_bytes()))),
        Device::Only(name) => socket.bind_device(Some(name.as_bytes()))?,
    }
    socket.bind(address)?;
    keep_alive(&socket)?;
    socket.listen(QUEUE)
}

/// Has the kernel find out who is gone without a word. Connections inherit it from their listener.
fn keep_alive(socket: &TcpSocket) -> io::Result<()> {
    socket.set_keepalive(true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_ASKS)?;
    let most = KEEPALIVE + KEEPALIVE_EVERY * KEEPALIVE_ASKS;
    sockopt::set_tcp_user_timeout(socket, u32::try_from(most.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

fn refused(root: &Path, address: SocketAddr, why: &io::Error) -> NetError {
    NetError(match why.kind() {
        io::ErrorKind::AddrInUse => {
            let by = taken::by(&root.join("proc"), address.port()).unwrap_or_else(|| "another program".to_owned());
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

/// Where the API is on a machine nobody said anything about.
#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests;
