//! Which connections stay when more come than there is room for.
//!
//! Holding connections open keeps no other client out: a new connection displaces the one that has been idle longest, first
//! among those of the same address, else among those of the address that has the most. A connection with a request in flight
//! is never displaced, and the API sees to it that no address has many of those.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use tokio::sync::Notify;

use crate::sorted::SortedMap;

/// The most connections at once. Each costs a descriptor of the 1024 a process is given, and up to 40 KiB for what is read and
/// sent.
pub(super) const CONNECTIONS: usize = 256;

/// The most connections of one address: a container's, or of all clients that use loopback. Four addresses can use up
/// `CONNECTIONS`.
pub(super) const OF_ONE_ADDRESS: usize = 64;

/// The network part of an IPv6 address. Limits apply per /64: a host chooses the other bits freely.
const PREFIX_64: u128 = !0 << 64;

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct ConnectionLimiter {
    connections: RefCell<Vec<Rc<OpenConnection>>>,
    /// A logical clock: counts connections and requests.
    clock: Cell<u64>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct OpenConnection {
    address: IpAddr,
    is_answering: Cell<bool>,
    /// How many connections of this address are answering: of all of them, so that a request need not look at each.
    answering: Rc<Cell<usize>>,
    /// The clock's reading when the connection was accepted, or its last request began.
    idle_since: Cell<u64>,
    close: Notify,
}

/// A connection's slot, held as long as this lives.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    limiter: &'a ConnectionLimiter,
    connection: Rc<OpenConnection>,
}

/// A request in flight, for as long as this lives.
#[derive(Debug)]
pub(super) struct RequestGuard {
    connection: Rc<OpenConnection>,
    now: u64,
}

impl ConnectionLimiter {
    /// Admits a connection, and displaces another one if need be. `None`: all that could be displaced have requests in flight.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Slot<'_>> {
        let address = prefix_of(address);
        let same = self.connections.borrow().iter().filter(|it| it.address == address).count();
        let of_address = self.connections.borrow().iter().find(|it| it.address == address).map(|it| Rc::clone(&it.answering));
        if same >= OF_ONE_ADDRESS {
            self.displace(|connection| connection.address == address)?;
        } else if self.connections.borrow().len() >= CONNECTIONS {
            let fullest = self.fullest()?;
            self.displace(|connection| connection.address == fullest)?;
        }
        let connection = Rc::new(OpenConnection {
            address,
            is_answering: Cell::new(false),
            answering: of_address.unwrap_or_default(),
            idle_since: Cell::new(self.next_tick()),
            close: Notify::new(),
        });
        self.connections.borrow_mut().push(Rc::clone(&connection));
        Some(Slot { limiter: self, connection })
    }

    /// Disconnects the matching connection that has been idle longest.
    fn displace(&self, among: impl Fn(&OpenConnection) -> bool) -> Option<()> {
        let mut connections = self.connections.borrow_mut();
        let idle = connections.iter().enumerate().filter(|(_, it)| among(it) && !it.is_answering.get());
        let (longest, _) = idle.min_by_key(|(_, it)| it.idle_since.get())?;
        connections.swap_remove(longest).close.notify_one();
        Some(())
    }

    /// The address with the most connections that has an idle one.
    fn fullest(&self) -> Option<IpAddr> {
        let mut counts: SortedMap<IpAddr, (usize, bool)> = SortedMap::new();
        for connection in self.connections.borrow().iter() {
            let (count, idle) = counts.entry(connection.address).or_default();
            *count = count.saturating_add(1);
            *idle |= !connection.is_answering.get();
        }
        counts.into_iter().filter(|(_, (_, idle))| *idle).max_by_key(|(_, (count, _))| *count).map(|(address, _)| address)
    }

    fn next_tick(&self) -> u64 {
        let now = self.clock.get().saturating_add(1);
        self.clock.set(now);
        now
    }
}

impl Slot<'_> {
    /// Completes when another connection takes this slot.
    pub(super) async fn displaced(&self) {
        self.connection.close.notified().await;
    }

    /// How many connections are open, of all clients.
    pub(super) fn open(&self) -> usize {
        self.limiter.connections.borrow().len()
    }

    /// Begins a request. Also returns how many other connections of the same address have one in flight.
    pub(super) fn begin(&self) -> (RequestGuard, usize) {
        let concurrent = self.connection.answering.get();
        self.connection.answering.set(concurrent.saturating_add(1));
        self.connection.is_answering.set(true);
        (RequestGuard { connection: Rc::clone(&self.connection), now: self.limiter.next_tick() }, concurrent)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.limiter.connections.borrow_mut().retain(|it| !Rc::ptr_eq(it, &self.connection));
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.connection.answering.set(self.connection.answering.get().saturating_sub(1));
        self.connection.is_answering.set(false);
        self.connection.idle_since.set(self.now);
    }
}

fn prefix_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(it) => IpAddr::V6(Ipv6Addr::from_bits(it.to_bits() & PREFIX_64)),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn container(last: u8) -> IpAddr {
        IpAddr::from([172, 17, 0, last])
    }

    fn is_gone(slot: &Slot<'_>) -> bool {
        slot.displaced().now_or_never().is_some()
    }

    #[test]
    fn an_address_that_has_too_many_loses_its_own_idlest() {
        let limiter = ConnectionLimiter::default();
        let other = limiter.admit(container(2)).unwrap();
        let mut many: Vec<_> = (0..OF_ONE_ADDRESS).map(|_| limiter.admit(container(3)).unwrap()).collect();
        drop(many[0].begin());
        many.push(limiter.admit(container(3)).unwrap());
        assert!(is_gone(&many[1]) && !is_gone(&many[0]) && !is_gone(&other) && !is_gone(&many[OF_ONE_ADDRESS]));
    }

    #[test]
    fn the_address_with_the_most_connections_makes_room() {
        let limiter = ConnectionLimiter::default();
        let lonely = limiter.admit(container(0)).unwrap();
        let full: Vec<_> = (0..CONNECTIONS - 1)
            .map(|n| limiter.admit(container(1 + u8::try_from(n / OF_ONE_ADDRESS).unwrap())).unwrap())
            .collect();
        let late = limiter.admit(container(9)).unwrap();
        assert!(!is_gone(&lonely) && !is_gone(&late));
        assert_eq!(full.iter().filter(|it| is_gone(it)).count(), 1);
    }

    #[test]
    fn who_waits_for_an_answer_stays_and_who_comes_then_must_go() {
        let limiter = ConnectionLimiter::default();
        let many: Vec<_> = (0..OF_ONE_ADDRESS).map(|_| limiter.admit(container(3)).unwrap()).collect();
        let waits: Vec<_> = many.iter().map(Slot::begin).collect();
        assert_eq!(waits.iter().map(|(_, concurrent)| *concurrent).max(), Some(OF_ONE_ADDRESS - 1));
        assert!(limiter.admit(container(3)).is_none() && limiter.admit(container(4)).is_some());
        drop(waits);
        assert!(limiter.admit(container(3)).is_some() && many.iter().any(is_gone));
    }

    #[test]
    fn addresses_that_anybody_can_make_up_count_as_one() {
        let [one, two, other] = ["fd00::1", "fd00::2:3", "fd00:0:0:1::1"].map(|it| prefix_of(it.parse().unwrap()));
        assert!(one == two && one != other);
    }

    proptest! {
        #[test]
        fn limits_hold_and_a_new_address_always_gets_in(steps in prop::collection::vec((0..7_u8, any::<u8>()), 0..600)) {
            let limiter = ConnectionLimiter::default();
            let mut inside = Vec::new();
            for (address, choice) in steps {
                if choice < 200 {
                    inside.extend(limiter.admit(container(address)));
                } else if !inside.is_empty() {
                    drop(inside.swap_remove(usize::from(choice) % inside.len()));
                }
                inside.retain(|it| !is_gone(it));
                prop_assert!(inside.len() <= CONNECTIONS && limiter.connections.borrow().len() == inside.len());
                let most = (0..7).map(|it| inside.iter().filter(|slot| slot.connection.address == container(it)).count()).max();
                prop_assert!(most <= Some(OF_ONE_ADDRESS));
            }
            prop_assert!(limiter.admit(container(99)).is_some());
        }
    }
}
