//! The machine's addresses, read from the kernel over rtnetlink, with notifications of changes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netdevice, recv, send, socket_with};
use tokio::io::unix::AsyncFd;

use crate::state::private_network::same_network;

// Numbers of rtnetlink(7) and netlink(7).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Flag in the type of an attribute that nests others.
const NLA_F_NESTED: u16 = 0x8000;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
/// Bytes of a netlink message's header, and of an `ifaddrmsg`.
const HEAD: usize = 16;
const IFADDR: usize = 8;
/// Bytes of the longest body header of a request: an interface's `ifinfomsg`.
const BODY: usize = 16;
/// The kernel sends at most this much at once to a reader with a smaller buffer.
const BUFFER: usize = 16 * 1024;

/// An address of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface's name.
    pub interface: String,
    /// The interface index.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// The length of the network prefix in bits.
    pub prefix: u8,
}

/// Notifications of address changes.
#[derive(Debug)]
pub struct AddressChanges {
    socket: AsyncFd<OwnedFd>,
}

impl InterfaceAddress {
    /// Whether this is an interface of the fleet's VPN, by which the cloud connects.
    pub(super) fn is_vpn(&self) -> bool {
        matches!(self.interface.as_str(), "resin-vpn" | "tun0")
    }

    /// Whether another address is in the same network.
    pub(super) fn contains(&self, other: IpAddr) -> bool {
        same_network(self.ip, other, self.prefix)
    }
}

/// Whether an address is private or link-local: free for any local network, and routed nowhere else.
pub(super) const fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether an interface is a bridge that an engine made for containers.
pub(super) fn is_bridge(name: &str) -> bool {
    let numbered = |prefix| name.strip_prefix(prefix).is_some_and(|it: &str| it.bytes().all(|byte| byte.is_ascii_digit()));
    // Bridges that owners make are named `br0` or `br-lan`.
    let network = name.strip_prefix("br-").is_some_and(|it| it.len() == 12 && it.bytes().all(|byte| byte.is_ascii_hexdigit()));
    name == "supervisor0" || network || ["docker", "balena", "podman", "cni-podman"].into_iter().any(numbered)
}

/// Whether an interface belongs to container networks, so that its addresses are not the device's.
pub(in crate::linux) fn is_containers(name: &str) -> bool {
    is_bridge(name) || name.starts_with("veth") || matches!(name, "lo" | "resin-dns" | "resin-redsocks" | "balena-redsocks")
}

/// Every address of the machine, in the kernel's order.
pub(in crate::linux) fn addresses() -> io::Result<Vec<InterfaceAddress>> {
    let socket = netlink(SocketFlags::CLOEXEC, 0)?;
    let raw = dump(&socket, RTM_GETADDR, RTM_NEWADDR, address)?;
    // An interface that is gone by now has no name any more, and is dropped.
    let named = |it: Raw| {
        let interface = netdevice::index_to_name(&socket, it.index).ok()?;
        Some(InterfaceAddress { interface, index: it.index, ip: it.ip, prefix: it.prefix })
    };
    Ok(raw.into_iter().filter_map(named).collect())
}

/// Dumps all objects of a kind.
pub(super) fn dump<T>(socket: &OwnedFd, get: u16, kind: u16, read: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
    send(socket, &request(get), SendFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let (length, _) = recv(socket, &mut *buffer, RecvFlags::empty())?;
        let (some, more) = parse(&buffer[..length], kind, &read)?;
        found.extend(some);
        if more == More::No {
            return Ok(found);
        }
    }
}

impl AddressChanges {
    /// Subscribes to address changes. Must be called within a runtime.
    pub(in crate::linux) fn new() -> io::Result<Self> {
        let socket = netlink(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR)?;
        #[expect(deprecated, reason = "its successor is unsafe to call; what we give it owns its descriptor, so it stays open")]
        let socket = AsyncFd::new(socket)?;
        Ok(Self { socket })
    }

    /// Waits for a change. Cancel-safe.
    pub(in crate::linux) async fn next(&self) {
        let Ok(mut ready) = self.socket.readable().await else { return std::future::pending().await };
        let mut buffer = vec![0; BUFFER];
        // The content does not matter: all addresses are read anew. Lost notifications are reported as an error, which counts
        // as a change.
        while ready.try_io(|socket| Ok(recv(socket, &mut *buffer, RecvFlags::empty())?)).is_ok_and(|it| it.is_ok()) {}
    }
}

pub(super) fn netlink(flags: SocketFlags, groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// A dump request for all objects of a kind.
fn request(get: u16) -> Vec<u8> {
    let length = u32::try_from(HEAD + BODY).unwrap_or_default();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(get.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // The kernel needs neither sequence number nor sender here, and the body filters nothing.
    bytes.resize(HEAD + BODY, 0);
    bytes
}

#[derive(Debug, PartialEq, Eq)]
struct Raw {
    index: u32,
    ip: IpAddr,
    prefix: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Yes,
    No,
}

fn parse<T>(mut bytes: &[u8], wanted: u16, read: impl Fn(&[u8]) -> Option<T>) -> io::Result<(Vec<T>, More)> {
    let mut found = Vec::new();
    while let Some((kind, body, rest)) = message(bytes) {
        match kind {
            NLMSG_DONE => return Ok((found, More::No)),
            NLMSG_ERROR => return Err(io::Error::other("the kernel refuses to tell its interfaces and addresses")),
            it if it == wanted => found.extend(read(body)),
            _ => (),
        }
        bytes = rest;
    }
    Ok((found, More::Yes))
}

/// The first message's type and body, and the bytes that follow.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(field(bytes, 0)?)).ok()?;
    let kind = u16::from_ne_bytes(field(bytes, 4)?);
    let body = bytes.get(HEAD..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn address(body: &[u8]) -> Option<Raw> {
    let prefix = *body.get(1)?;
    let index = u32::from_ne_bytes(field(body, 4)?);
    let (mut peer, mut own) = (None, None);
    for (kind, value) in attributes(body.get(IFADDR..)?) {
        match kind {
            IFA_ADDRESS => peer = ip(value),
            IFA_LOCAL => own = ip(value),
            _ => (),
        }
    }
    // On a point-to-point link `IFA_ADDRESS` is the peer's.
    Some(Raw { index, ip: own.or(peer)?, prefix })
}

/// The attributes of a message, or of an attribute that nests others: their types and values.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(field(bytes, 0)?));
        let kind = u16::from_ne_bytes(field(bytes, 2)?) & !NLA_F_NESTED;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(|it| IpAddr::V4(Ipv4Addr::from(it)));
    let v6 = || <[u8; 16]>::try_from(bytes).map(|it| IpAddr::V6(Ipv6Addr::from(it)));
    v4().or_else(|_| v6()).ok()
}

pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_loopback() {
        let addresses = addresses().unwrap();
        let lo = addresses.iter().find(|it| it.ip == IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        assert_eq!((lo.interface.as_str(), lo.prefix), ("lo", 8));
    }

    #[test]
    fn bridges_of_engines_are_told_from_others() {
        for name in ["docker0", "balena0", "br-0123456789ab", "supervisor0", "podman1"] {
            assert!(is_bridge(name), "{name}");
        }
        for name in ["br-lan", "br0", "eth0", "wlan0", "dockerish", "tun0", "br-0123456789xy"] {
            assert!(!is_bridge(name), "{name}");
        }
        assert!(is_containers("veth12ab") && is_containers("lo") && !is_containers("resin-vpn"));
    }

    #[test]
    fn networks_contain_their_addresses() {
        let address = |ip: &str, prefix| InterfaceAddress { interface: "x".into(), index: 1, ip: ip.parse().unwrap(), prefix };
        assert!(address("172.17.0.1", 16).contains("172.17.255.3".parse().unwrap()));
        assert!(!address("172.17.0.1", 16).contains("172.18.0.3".parse().unwrap()));
        assert!(address("10.0.0.1", 0).contains("8.8.8.8".parse().unwrap()));
        assert!(!address("10.0.0.1", 32).contains("10.0.0.2".parse().unwrap()));
        assert!(address("fd00::1", 64).contains("fd00::2".parse().unwrap()));
        assert!(!address("fd00::1", 0).contains("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn an_answer_is_read_wherever_it_lies_in_memory() {
        let mut answer = Vec::new();
        answer.extend_from_slice(&32_u32.to_ne_bytes());
        answer.extend_from_slice(&RTM_NEWADDR.to_ne_bytes());
        answer.resize(HEAD, 0);
        answer.extend_from_slice(&[2, 24, 0, 0]);
        answer.extend_from_slice(&7_u32.to_ne_bytes());
        answer.extend_from_slice(&[8, 0]);
        answer.extend_from_slice(&IFA_LOCAL.to_ne_bytes());
        answer.extend_from_slice(&[192, 0, 2, 1]);
        for shift in 0..8 {
            let mut moved = vec![0; shift];
            moved.extend_from_slice(&answer);
            let (found, _) = parse(&moved[shift..], RTM_NEWADDR, super::address).unwrap();
            assert_eq!((found[0].index, found[0].ip, found[0].prefix), (7, "192.0.2.1".parse().unwrap(), 24), "{shift}");
        }
    }

    #[test]
    fn garbage_from_the_kernel_is_no_panic() {
        for length in 0..64 {
            for byte in [0, 1, 4, 20, 255] {
                let _ = parse(&vec![byte; length], RTM_NEWADDR, address);
                let _ = attributes(&vec![byte; length]).count();
                let _ = address(&vec![byte; length]);
            }
        }
    }
}
