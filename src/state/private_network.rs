//! Networks that addresses are assigned to freely, and that no router forwards to the internet.

use std::fmt;
use std::net::IpAddr;

/// The private ranges: RFC 1918, link-local, unique local and loopback, with the length of each prefix in bits.
const RANGES: [(&str, u8); 8] = [
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("169.254.0.0", 16),
    ("127.0.0.0", 8),
    ("fc00::", 7),
    ("fe80::", 10),
    ("::1", 128),
];

/// A network within one of the private ranges, such as `192.168.1.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrivateNetwork {
    address: IpAddr,
    /// The length of the prefix in bits.
    prefix: u8,
}

impl PrivateNetwork {
    /// Reads `ADDRESS/PREFIX`. The error says what is wrong and how to write it.
    pub fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a network; write one like `192.168.1.0/24`");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        let first = first_address(address, prefix).ok_or_else(wrong)?;
        let within = |(range, bits): (&str, u8)| {
            prefix >= bits && range.parse().is_ok_and(|range: IpAddr| same_network(range, address, bits))
        };
        if !RANGES.into_iter().any(within) {
            return Err(format!(
                "`{text}` is not a private network; name one within 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16, \
                 fc00::/7 or fe80::/10"
            ));
        }
        if first != address {
            return Err(format!("`{text}` is an address in a network; the network is `{first}/{prefix}`"));
        }
        Ok(Self { address, prefix })
    }

    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        same_network(self.address, ip.to_canonical(), self.prefix)
    }
}

impl fmt::Display for PrivateNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Whether two addresses share their first `prefix` bits.
#[must_use]
pub fn same_network(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let same = |one: u128, other: u128, width: u32| {
        let free = width.saturating_sub(prefix.into());
        one.checked_shr(free).unwrap_or_default() == other.checked_shr(free).unwrap_or_default()
    };
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => same(one.to_bits().into(), other.to_bits().into(), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// The address with all bits after the prefix cleared. `None`: the prefix is longer than the address.
fn first_address(ip: IpAddr, prefix: u8) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(u32::BITS.checked_sub(prefix.into())?).unwrap_or_default();
            Some(IpAddr::V4((ip.to_bits() & mask).into()))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(u128::BITS.checked_sub(prefix.into())?).unwrap_or_default();
            Some(IpAddr::V6((ip.to_bits() & mask).into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_read() {
        for text in [
            "192.168.1.0/24",
            "192.168.0.0/16",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "172.31.255.0/24",
            "169.254.0.0/16",
            "127.0.0.0/8",
            "127.0.0.1/32",
            "fd12:3456::/32",
            "fe80::/10",
            "::1/128",
        ] {
            assert_eq!(PrivateNetwork::read(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_networks_are_refused_and_the_right_one_is_named() {
        let error = |text| PrivateNetwork::read(text).unwrap_err();
        for text in
            ["0.0.0.0/0", "::/0", "8.8.8.0/24", "192.0.0.0/8", "172.0.0.0/8", "172.32.0.0/16", "100.64.0.0/10", "2001:db8::/32"]
        {
            assert!(error(text).contains("not a private network"), "{text}: {}", error(text));
        }
        for text in ["", "192.168.1.0", "192.168.1.0/", "192.168.1.0/33", "kitchen/24", "fd00::/129", "10.0.0.0/-1", "/24"] {
            assert!(error(text).contains("write one like"), "{text}: {}", error(text));
        }
        assert!(error("192.168.1.7/24").ends_with("the network is `192.168.1.0/24`"));
        assert!(error("fd00::7/64").ends_with("the network is `fd00::/64`"));
    }

    #[test]
    fn networks_contain_their_addresses_and_no_others() {
        let contains = |network, ip: &str| PrivateNetwork::read(network).unwrap().contains(ip.parse().unwrap());
        assert!(contains("192.168.1.0/24", "192.168.1.255") && contains("192.168.1.0/24", "::ffff:192.168.1.9"));
        assert!(!contains("192.168.1.0/24", "192.168.2.1") && !contains("192.168.1.0/24", "fe80::1"));
        assert!(contains("fe80::/10", "fe80::1234") && !contains("fe80::/10", "fd00::1"));
        assert!(contains("127.0.0.1/32", "127.0.0.1") && !contains("127.0.0.1/32", "127.0.0.2"));
    }
}
