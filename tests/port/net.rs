//! The contract of every world's networks.

use std::pin::pin;
use std::time::Duration;

use boardkeeper::port::Net;
use boardkeeper::state::VpnState;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

/// A world with networks, and what happens to them.
pub(crate) trait Fixture {
    /// The networks.
    fn net(&self) -> &impl Net;
    /// A listener.
    fn listener(&self) -> (String, u16);
    /// Nothing listens there any more.
    fn hangs_up(&self);
    /// The VPN comes up, or goes down.
    fn has_vpn(&self, vpn: VpnState);
}

/// Long enough for any world.
const SOON: Duration = Duration::from_secs(5);
/// Long enough to see that nothing happens.
const WHILE: Duration = Duration::from_millis(300);

async fn next(told: &mut (impl Stream<Item = VpnState> + Unpin)) -> VpnState {
    timeout(SOON, told.next()).await.unwrap().expect("it never ends")
}

/// A listener is reached; and again, for the connection is closed.
pub(crate) async fn a_listener_is_reached(world: impl Fixture) {
    let (host, port) = world.listener();
    for _ in 0..2 {
        timeout(SOON, world.net().dial(&host, port)).await.unwrap().unwrap();
    }
}

/// Where nothing listens, the error names the address.
pub(crate) async fn who_is_not_reached_is_named(world: impl Fixture) {
    let (host, port) = world.listener();
    world.hangs_up();
    let why = timeout(SOON, world.net().dial(&host, port)).await.unwrap().unwrap_err();
    assert!(why.to_string().contains(&format!("{host} port {port}")), "{why}");
}

/// A subscriber gets the VPN's state at once, then each change; and so does a later subscriber.
pub(crate) async fn the_vpn_is_reported_at_once_and_when_it_changes(world: impl Fixture) {
    {
        let mut told = pin!(world.net().vpn());
        assert_eq!(next(&mut told).await, VpnState::Down);
        assert!(timeout(WHILE, told.next()).await.is_err());
        for vpn in [VpnState::Up, VpnState::Down, VpnState::Up] {
            world.has_vpn(vpn);
            assert_eq!(next(&mut told).await, vpn);
        }
    }
    assert_eq!(next(&mut pin!(world.net().vpn())).await, VpnState::Up);
}

/// Holds every fact of this suite against a world, with a macro of the world's: the list is here, and nowhere else.
macro_rules! every_fact {
    ($hold:ident, $($world:tt)*) => {
        $hold! { $($world)*:
            a_listener_is_reached
            who_is_not_reached_is_named
            the_vpn_is_reported_at_once_and_when_it_changes
        }
    };
}
pub(crate) use every_fact;
