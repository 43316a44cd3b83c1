//! Which interfaces are in a local network, as the kernel reports them over rtnetlink.

use std::io;

use rustix::net::SocketFlags;

use super::interfaces::{attributes, dump, field, netlink};
use crate::sorted::SortedSet;

// Numbers of rtnetlink(7), `linux/if_link.h` and `linux/if_arp.h`.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const ARPHRD_ETHER: u16 = 1;
const IFF_POINTOPOINT: u32 = 0x10;
/// Bytes of an `ifinfomsg`.
const IFINFO: usize = 16;
/// Kinds of virtual Ethernet interfaces whose neighbours are local. Tunnels that carry Ethernet frames have other kinds; an
/// interface of a real device has none.
const LOCAL: [&str; 8] = ["bridge", "bond", "team", "vlan", "macvlan", "ipvlan", "veth", "dummy"];
/// Name prefixes of tunnels and modems, whatever kind the kernel reports for them.
const FAR: [&str; 6] = ["resin-vpn", "tun", "tap", "wg", "ppp", "wwan"];

/// The indexes of the interfaces that are Ethernet or Wi-Fi, not tunnels.
pub(super) fn local() -> io::Result<SortedSet<u32>> {
    let socket = netlink(SocketFlags::CLOEXEC, 0)?;
    Ok(dump(&socket, RTM_GETLINK, RTM_NEWLINK, local_index)?.into_iter().collect())
}

/// The index of an interface, if it is in a local network.
fn local_index(body: &[u8]) -> Option<u32> {
    let kind_of_hardware = u16::from_ne_bytes(field(body, 2)?);
    let index = u32::from_ne_bytes(field(body, 4)?);
    let flags = u32::from_ne_bytes(field(body, 8)?);
    let (mut name, mut kind) = (None, None);
    for (which, value) in attributes(body.get(IFINFO..)?) {
        match which {
            IFLA_IFNAME => name = text(value),
            IFLA_LINKINFO => kind = attributes(value).find(|(which, _)| *which == IFLA_INFO_KIND).and_then(|(_, it)| text(it)),
            _ => (),
        }
    }
    let far = name.is_none_or(|name| FAR.iter().any(|it| name.starts_with(it)));
    let near = kind.is_none_or(|it| LOCAL.contains(&it));
    (kind_of_hardware == ARPHRD_ETHER && flags & IFF_POINTOPOINT == 0 && near && !far).then_some(index)
}

/// A NUL-terminated string.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.split(|it| *it == 0).next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn tunnels_are_told_from_local_networks() {
        for (name, hardware, flags, kind, expected) in [
            ("eth0", 1, 0x1003, None, true),
            ("wlan0", 1, 0x1003, None, true),
            ("br0", 1, 0x1003, Some("bridge"), true),
            ("tun0", 65534, 0x1090, Some("tun"), false),
            ("zt5u4y", 1, 0x1003, Some("tun"), false),
            ("office", 65534, 0x91, Some("wireguard"), false),
            ("wg0", 1, 0x1003, None, false),
            ("modem", 512, 0x1091, Some("ppp"), false),
            ("vxlan0", 1, 0x1003, Some("vxlan"), false),
            ("gretap0", 1, 0x1003, Some("gretap"), false),
            ("wwan0", 1, 0x1003, None, false),
            ("point0", 1, 0x1091, None, false),
        ] {
            let mut body = vec![0, 0];
            body.extend(u16::to_ne_bytes(hardware));
            body.extend(7_u32.to_ne_bytes());
            body.extend(u32::to_ne_bytes(flags));
            body.extend([0; 4]);
            body.extend(attribute(IFLA_IFNAME, format!("{name}\0").as_bytes()));
            body.extend(kind.map_or_else(Vec::new, |it: &str| {
                // With the nested flag, which kernels before and after 5.2 use differently.
                attribute(IFLA_LINKINFO | 0x8000, &attribute(IFLA_INFO_KIND, format!("{it}\0").as_bytes()))
            }));
            assert_eq!(local_index(&body), expected.then_some(7), "{name}");
            for length in 0..body.len() {
                let _ = local_index(&body[..length]);
            }
        }
    }

    #[test]
    fn loopback_is_no_local_network() {
        let lo = super::super::interfaces::addresses().unwrap().into_iter().find(|it| it.interface == "lo").unwrap();
        assert!(!local().unwrap().contains(&lo.index));
    }
}
