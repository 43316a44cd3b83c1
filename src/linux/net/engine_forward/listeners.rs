//! On which addresses the engine is forwarded, and which peers are admitted.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

use crate::linux::net::interfaces::{self, InterfaceAddress};
use crate::linux::net::networks::EngineNetworks;
use crate::linux::net::{BoundInterface, listen, network_of, port_owner};
use crate::state::local_engine::LocalEngine;
use crate::state::private_network::PrivateNetwork;

/// The sockets on which the engine is forwarded.
#[derive(Debug)]
pub(super) struct ForwardListeners<'a> {
    root: &'a Path,
    networks: &'a [PrivateNetwork],
    port: u16,
    sockets: Vec<(InterfaceAddress, TcpListener)>,
    /// The machine's addresses, as the kernel last reported them.
    known: Vec<InterfaceAddress>,
    /// Addresses that cannot be listened on, and why.
    failures: Vec<(SocketAddr, io::ErrorKind, String)>,
    /// The machine has no address in a named network.
    is_elsewhere: bool,
    /// The socket that is polled first for a new connection, so that none starves.
    first: usize,
}

impl<'a> ForwardListeners<'a> {
    /// No sockets yet.
    pub(super) fn new(root: &'a Path, networks: &'a [PrivateNetwork], port: u16) -> Self {
        let (sockets, known, failures) = (Vec::new(), Vec::new(), Vec::new());
        Self { root, networks, port, sockets, known, failures, is_elsewhere: false, first: 0 }
    }

    /// Listens on addresses that appeared, and no longer on those that are gone.
    pub(super) fn follow(&mut self, containers: &EngineNetworks) {
        match interfaces::addresses() {
            Ok(known) => self.known = known,
            Err(why) => warn!(%why, "the machine's addresses are unknown"),
        }
        let wanted = self.wanted(containers);
        self.sockets.retain(|(address, _)| wanted.contains(address));
        let failures = std::mem::take(&mut self.failures);
        for address in &wanted {
            if self.sockets.iter().any(|(known, _)| known == address) {
                continue;
            }
            let at = self.socket_address(address);
            match listen(at, BoundInterface::Wished(&address.interface)) {
                Ok(listener) => {
                    warn!(
                        "local mode: the engine is forwarded at {at} to {}; every computer there can become root on this board",
                        self.names()
                    );
                    self.sockets.push((address.clone(), listener));
                }
                Err(why) => {
                    let same = failures.iter().find(|it| it.0 == at && it.1 == why.kind()).cloned();
                    let failure = same.unwrap_or_else(|| {
                        let text = self.failure(at, &why);
                        warn!("{text}");
                        (at, why.kind(), text)
                    });
                    self.failures.push(failure);
                }
            }
        }
        if wanted.is_empty() && !self.is_elsewhere {
            warn!("{}", self.nowhere());
        }
        self.is_elsewhere = wanted.is_empty();
    }

    /// The addresses to listen on.
    pub(super) fn wanted(&self, containers: &EngineNetworks) -> Vec<InterfaceAddress> {
        let is_wanted = |it: &&InterfaceAddress| self.is_named(it.ip) && !is_of_containers(it, containers);
        self.known.iter().filter(is_wanted).cloned().collect()
    }

    /// The machine's addresses, in a test.
    #[cfg(test)]
    pub(super) fn set_known(&mut self, known: Vec<InterfaceAddress>) {
        self.known = known;
    }

    /// Whether an address is to be tried again.
    pub(super) fn lack_any(&self) -> bool {
        !self.failures.is_empty()
    }

    /// What is published.
    pub(super) fn state(&self) -> LocalEngine {
        let why = self.failures.iter().map(|it| it.2.clone()).chain(self.is_elsewhere.then(|| self.nowhere()));
        let trouble = why.collect::<Vec<_>>().join("; ");
        LocalEngine {
            networks: self.networks.to_vec(),
            listens: self.sockets.iter().filter_map(|(_, it)| it.local_addr().ok()).collect(),
            trouble: (!trouble.is_empty()).then_some(trouble),
        }
    }

    pub(super) fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        for offset in 0..self.sockets.len() {
            let index = (self.first + offset) % self.sockets.len();
            if let Poll::Ready(accepted) = self.sockets[index].1.poll_accept(context) {
                self.first = index + 1;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }

    /// Whether a peer may reach the engine; the error says why not.
    pub(super) fn admit(&self, from: SocketAddr, containers: &EngineNetworks) -> Result<(), &'static str> {
        let ip = from.ip().to_canonical();
        if !self.is_named(ip) {
            Err("its address is in no network that was named with --local-engine")
        } else if self.known.iter().any(|it| it.ip == ip) && !ip.is_loopback() {
            Err("it comes from the board itself, whose programs use the engine's socket")
        } else if network_of(&self.known, from).into_iter().any(|it| is_of_containers(it, containers)) {
            Err("it comes from a container")
        } else {
            Ok(())
        }
    }

    fn is_named(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|it| it.contains(ip))
    }

    /// Link-local addresses of IPv6 mean nothing without their interface.
    fn socket_address(&self, address: &InterfaceAddress) -> SocketAddr {
        match address.ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => SocketAddrV6::new(ip, self.port, 0, address.index).into(),
            ip => SocketAddr::new(ip, self.port),
        }
    }

    fn failure(&self, at: SocketAddr, why: &io::Error) -> String {
        if why.kind() != io::ErrorKind::AddrInUse {
            return format!("the engine cannot be forwarded at {at}: {why}; it is tried again");
        }
        let by = port_owner::by(&self.root.join("proc"), at.port()).unwrap_or_else(|| "another program".to_owned());
        format!(
            "the engine cannot be forwarded at {at}: {by} has that port; if that is the engine itself, clients reach it there \
             without the agent, else stop it"
        )
    }

    fn nowhere(&self) -> String {
        format!("the engine is not forwarded: this device has no address in {}; see --local-engine", self.names())
    }

    fn names(&self) -> String {
        self.networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Whether an address is the board's in a container network.
fn is_of_containers(address: &InterfaceAddress, containers: &EngineNetworks) -> bool {
    let interface = address.interface.as_str();
    interface != "lo" && (interfaces::is_containers(interface) || containers.way(address.index).is_some())
}
