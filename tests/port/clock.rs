//! The contract of every world's clock.

use std::pin::pin;
use std::time::Duration;

use boardkeeper::port::Clock;
use futures_util::StreamExt;
use tokio::time::timeout;

/// A world with a clock, on a machine that can be started again.
pub(crate) trait Fixture {
    /// The clock.
    fn clock(&self) -> &impl Clock;
    /// The machine is started again.
    fn boots(&self);
    /// The name of a zone that is there.
    fn zone(&self) -> &'static str;
    /// Time passes: at least a millisecond.
    async fn waits(&self);
    /// The clock is set. `false`: this process may not.
    fn is_set(&self) -> bool;
}

/// The machine was started before now, and not before 2020.
pub(crate) async fn the_boot_was_before_now(world: impl Fixture) {
    let (booted, now) = (world.clock().booted_secs(), world.clock().now_secs());
    assert!(booted > 1_577_836_800 && booted <= now, "{booted} {now}");
}

/// A boot has a name, and keeps it.
pub(crate) async fn a_boot_keeps_its_name(world: impl Fixture) {
    let name = world.clock().boot_id();
    assert!(!name.is_empty());
    assert_eq!(world.clock().boot_id(), name);
}

/// The time since the boot grows as time passes.
pub(crate) async fn the_time_since_the_boot_only_grows(world: impl Fixture) {
    for _ in 0..3 {
        let before = world.clock().up();
        world.waits().await;
        let up = world.clock().up();
        assert!(up > before && up < before + Duration::from_secs(600), "{before:?} {up:?}");
    }
}

/// Another boot has another name, and is not before the one before it.
pub(crate) async fn another_boot_has_another_name(world: impl Fixture) {
    let (name, booted) = (world.clock().boot_id(), world.clock().booted_secs());
    world.boots();
    assert_ne!(world.clock().boot_id(), name);
    assert!(world.clock().booted_secs() >= booted);
}

/// Offsets follow each other and cover what was asked for; a zone that is not there is an error.
pub(crate) async fn offsets_cover_the_range(world: impl Fixture) {
    let now = world.clock().now_secs();
    for zone in [None, Some(world.zone())] {
        let offsets = world.clock().zone_offsets(zone, now..now + 400 * 86_400).await.unwrap();
        let mut next = now;
        for it in offsets {
            assert!(it.begins == next && it.ends > it.begins && it.offset.abs() <= 15 * 3600, "{zone:?} {it:?}");
            next = it.ends;
        }
        assert_eq!(next, now + 400 * 86_400, "{zone:?}");
    }
    assert!(world.clock().zone_offsets(Some("No/Where"), now..now + 1).await.is_err());
}

/// A subscriber learns that the clock was set, and nothing before.
pub(crate) async fn a_step_of_the_clock_is_announced(world: impl Fixture) {
    let mut jumps = pin!(world.clock().jumps());
    assert!(timeout(Duration::from_millis(300), jumps.next()).await.is_err(), "it was not set");
    for _ in 0..2 {
        if !world.is_set() {
            return;
        }
        assert_eq!(timeout(Duration::from_secs(5), jumps.next()).await, Ok(Some(())));
    }
}

/// Holds every fact of this suite against a world, with a macro of the world's: the list is here, and nowhere else.
macro_rules! every_fact {
    ($hold:ident, $($world:tt)*) => {
        $hold! { $($world)*:
            the_boot_was_before_now
            a_boot_keeps_its_name
            another_boot_has_another_name
            the_time_since_the_boot_only_grows
            offsets_cover_the_range
            a_step_of_the_clock_is_announced
        }
    };
}
pub(crate) use every_fact;
