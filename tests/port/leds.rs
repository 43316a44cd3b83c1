//! The contract of every world's LEDs.

use std::time::Duration;

use boardkeeper::port::{LedError, Leds, ToolLock};
use boardkeeper::state::{FreeLineInfo, LedLevel, LedRef, LineDirection, LineHolder, Pattern, Player};
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
    /// Another program takes the first of the lines that the board leaves to its owner.
    fn line_is_taken(&self);
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
    world.is_set();
    let (survey, levels) = world.leds().look().await.unwrap();
    let led = world.leds().find(&survey, &LedRef::Identify).unwrap();
    assert_eq!(levels.first(), Some(&(led.name, LedLevel::Lit)), "another program lit it");
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

/// The first of the lines that the board leaves to its owner, as it is now.
async fn line(world: &impl Fixture) -> FreeLineInfo {
    let survey = world.leds().survey().await.unwrap();
    world.leds().lines(&survey).await.unwrap().remove(0)
}

/// Drives a line for as long as nothing restores it.
async fn drive(world: &impl Fixture, name: &str) -> Result<Player, LedError> {
    let survey = world.leds().survey().await.unwrap();
    world.leds().show(&survey, &LedRef::Line(name.to_owned()), &pattern(), Some(SOON)).await
}

/// A line that is left to the owner is driven, and comes back as it was.
pub(crate) async fn a_line_comes_back_as_it_was(world: impl Fixture) {
    let before = line(&world).await;
    assert!(!before.place.is_empty() && !before.chip.is_empty(), "{before:?}");
    assert_eq!((before.direction, &before.holder), (LineDirection::Input, &LineHolder::None));
    let survey = world.leds().survey().await.unwrap();
    let which = LedRef::Line(before.name.clone());
    assert_eq!(world.leds().find(&survey, &which).unwrap().name, before.name);
    for _ in 0..3 {
        drive(&world, &before.name).await.unwrap();
        let driven = line(&world).await;
        assert_eq!((driven.direction, driven.holder), (LineDirection::Output, LineHolder::Agent));
        world.leds().restore(&which).await.unwrap();
        assert_eq!(line(&world).await, before);
    }
}

/// A line that a killed agent drove is restored by the next one.
pub(crate) async fn a_killed_ones_line_is_put_back(mut world: impl Fixture) {
    let before = line(&world).await;
    drive(&world, &before.name).await.unwrap();
    world.dies();
    assert_eq!(line(&world).await.direction, LineDirection::Output);
    world.leds().restore_all().await.unwrap();
    assert_eq!(line(&world).await, before);
}

/// A line that a driver or another program holds is listed with its holder, and not driven.
pub(crate) async fn a_line_in_use_is_not_driven(world: impl Fixture) {
    world.line_is_taken();
    let taken = line(&world).await;
    assert!(matches!(taken.holder, LineHolder::Other(Some(_))), "{taken:?}");
    let refused = drive(&world, &taken.name).await;
    assert!(matches!(refused, Err(LedError::Busy(_))), "{refused:?}");
    world.leds().restore(&LedRef::Line(taken.name.clone())).await.unwrap();
    assert_eq!(line(&world).await, taken);
}

/// A line that the board does not leave to its owner is not driven, and neither is an LED by the name of a line.
pub(crate) async fn no_other_line_is_driven(world: impl Fixture) {
    let survey = world.leds().survey().await.unwrap();
    for name in ["GPIO14", "ID_SDA", "", "ACT"] {
        let refused = drive(&world, name).await;
        assert!(matches!(refused, Err(LedError::None(_))), "{name}: {refused:?}");
        assert!(world.leds().find(&survey, &LedRef::Line(name.to_owned())).is_err(), "{name}");
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
            a_line_comes_back_as_it_was
            a_killed_ones_line_is_put_back
            a_line_in_use_is_not_driven
            no_other_line_is_driven
        }
    };
}
pub(crate) use every_fact;
