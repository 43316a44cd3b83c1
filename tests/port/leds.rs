//! The contract of every world's LEDs.

use std::time::Duration;

use boardkeeper::port::{Leds, ToolLock};
use boardkeeper::state::{LedLevel, LedRef, Pattern, Player};
use tokio::time::{Instant, sleep, timeout};

/// A world with an LED, and what happens to it.
pub(crate) trait Fixture {
    /// The LEDs.
    fn leds(&self) -> &impl Leds;
    /// What the LED shows: its trigger, and its brightness where it has none.
    fn shows(&self) -> String;
    /// Another program sets it.
    fn is_set(&self);
    /// The agent is killed, and started again.
    fn dies(&mut self);
    /// The LED tool takes its lock, or releases it.
    fn bench(&mut self, now: ToolLock);
}

/// Long enough for any world.
const SOON: Duration = Duration::from_secs(5);
/// Long enough to see that nothing happens.
const WHILE: Duration = Duration::from_millis(300);

fn pattern() -> Pattern {
    "200,200".parse().unwrap()
}

/// Looks for the LED, and has it show this.
async fn show(world: &impl Fixture, pattern: &Pattern, length: Option<Duration>) -> Player {
    let survey = world.leds().survey().await.unwrap();
    world.leds().show(&survey, &LedRef::Identify, pattern, length).await.unwrap()
}

/// It is found, under a name and with a reason.
pub(crate) async fn it_is_found_and_said_why(world: impl Fixture) {
    let survey = world.leds().survey().await.unwrap();
    let led = world.leds().find(&survey, &LedRef::Identify).unwrap();
    assert!(!led.name.is_empty() && !led.why.is_empty(), "{led:?}");
}

/// What it shows is read, also where another program drives it.
pub(crate) async fn what_it_shows_is_read(world: impl Fixture) {
    let level = async || {
        let survey = world.leds().survey().await.unwrap();
        world.leds().level(&survey, &LedRef::Identify).await.unwrap()
    };
    world.is_set();
    assert_eq!(level().await, Some(LedLevel::Lit), "another program lit it");
}

/// How it was comes back, however often it was changed meanwhile.
pub(crate) async fn how_it_was_comes_back(world: impl Fixture) {
    let before = world.shows();
    for _ in 0..3 {
        show(&world, &pattern(), Some(SOON)).await;
        show(&world, &"50,950".parse().unwrap(), None).await;
        assert_ne!(world.shows(), before);
        world.leds().restore(&LedRef::Identify).await.unwrap();
        assert_eq!(world.shows(), before);
    }
}

/// Where nothing was changed, there is nothing to put back.
pub(crate) async fn nothing_to_put_back_is_fine(world: impl Fixture) {
    let before = world.shows();
    world.leds().restore(&LedRef::Identify).await.unwrap();
    world.leds().restore_all().await.unwrap();
    assert_eq!(world.shows(), before);
}

/// What a killed one changed is put back by the next one.
pub(crate) async fn what_a_killed_one_changed_is_put_back(mut world: impl Fixture) {
    let before = world.shows();
    show(&world, &pattern(), None).await;
    world.dies();
    assert_ne!(world.shows(), before);
    world.leds().restore_all().await.unwrap();
    assert_eq!(world.shows(), before);
}

/// What another program set meanwhile stays, whichever process restores.
pub(crate) async fn what_another_program_set_stays(mut world: impl Fixture) {
    for dies in [false, true] {
        show(&world, &pattern(), None).await;
        world.is_set();
        let theirs = world.shows();
        if dies {
            world.dies();
        }
        world.leds().restore_all().await.unwrap();
        assert_eq!(world.shows(), theirs);
    }
}

/// Who plays it plays until it is stopped, and nothing is left of it afterwards.
pub(crate) async fn what_is_played_ends_when_it_is_dropped(world: impl Fixture) {
    let before = world.shows();
    let fast = "20,20".parse().unwrap();
    let player = show(&world, &fast, None).await;
    // Where the kernel plays it, the agent has nothing to play.
    if player == Player::Agent {
        let ended = timeout(WHILE, world.leds().play(&LedRef::Identify, &fast, Instant::now())).await;
        assert!(ended.is_err(), "{ended:?}");
    }
    world.leds().restore(&LedRef::Identify).await.unwrap();
    sleep(WHILE).await;
    assert_eq!(world.shows(), before);
}

/// The lock of the LED tool is noticed, and its release.
pub(crate) async fn who_tries_them_out_is_noticed(mut world: impl Fixture) {
    assert!(timeout(WHILE, world.leds().bench(ToolLock::Free)).await.is_err());
    world.bench(ToolLock::Taken);
    assert_eq!(timeout(SOON, world.leds().bench(ToolLock::Free)).await, Ok(ToolLock::Taken));
    world.bench(ToolLock::Free);
    assert_eq!(timeout(SOON, world.leds().bench(ToolLock::Taken)).await, Ok(ToolLock::Free));
}

/// Holds every fact of this suite against a world, with a macro of the world's: the list is here, and nowhere else.
macro_rules! every_fact {
    ($hold:ident, $($world:tt)*) => {
        $hold! { $($world)*:
            it_is_found_and_said_why
            what_it_shows_is_read
            how_it_was_comes_back
            nothing_to_put_back_is_fine
            what_a_killed_one_changed_is_put_back
            what_another_program_set_stays
            what_is_played_ends_when_it_is_dropped
            who_tries_them_out_is_noticed
        }
    };
}
pub(crate) use every_fact;
