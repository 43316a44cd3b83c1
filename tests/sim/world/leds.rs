//! A LED that fails, hangs, is unplugged and comes back, and is used by other programs; and the record of its former state.

use std::time::Duration;

use boardkeeper::port::{self, LedError, ToolLock};
use boardkeeper::state::{LedInfo as Named, LedLevel, LedRef, Pattern, Player};
use tokio::time::{Instant, sleep_until};

use super::dice::Dice;
use super::met::Met;
use super::{Model, Sim};

/// What an LED shows: its trigger and its brightness.
type Shows = (&'static str, u32);

/// How it is after a boot.
const AT_BOOT: Shows = ("heartbeat", 1);
/// What somebody else may set.
const THEIRS: [Shows; 2] = [("default-on", 1), ("mmc0", 0)];

/// The LED, and what is kept of it in the runtime directory.
pub(crate) struct Lamp {
    dice: Dice,
    shows: Shows,
    /// How whoever is not the agent wants it.
    rightful: Shows,
    /// How it was before the agent changed it, and what the agent made of it. Outlives the agent, not the power.
    record: Option<(Shows, Shows)>,
    /// An agent before this one changed it.
    inherited: bool,
    gone: bool,
    /// Since when somebody tries LEDs out.
    bench: Option<Instant>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Before,
    After,
}

impl Lamp {
    /// As it is after a boot.
    pub(crate) const fn new(dice: Dice) -> Self {
        Self { dice, shows: AT_BOOT, rightful: AT_BOOT, record: None, inherited: false, gone: false, bench: None }
    }

    /// The machine went off: the kernel begins anew, and the runtime directory is empty.
    pub(crate) fn lose_power(&mut self) {
        *self = Self::new(self.dice.clone());
    }

    /// The agent that changed it is gone.
    pub(crate) const fn agent_died(&mut self) {
        self.inherited = self.record.is_some();
    }

    /// Why it is not as it was, if so. When all is quiet it must be.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let Self { shows, rightful, record, gone, .. } = self;
        let as_it_was = shows == rightful && record.is_none();
        (!as_it_was).then(|| format!("the LED shows {shows:?}, and should {rightful:?}; kept is {record:?}, unplugged: {gone}"))
    }

    /// What it shows.
    pub(crate) const fn shows(&self) -> Shows {
        self.shows
    }

    /// Whether it is not as it was.
    pub(crate) const fn is_changed(&self) -> bool {
        self.record.is_some()
    }

    fn there(&self) -> Result<(), LedError> {
        if self.gone { Err(LedError::Vanished("the LED went away".into())) } else { Ok(()) }
    }

    fn change(&mut self, shows: Shows) -> Result<(), LedError> {
        self.there()?;
        let before = match self.record {
            Some((before, ours)) if ours == self.shows => before,
            // What somebody set meanwhile is how it is to be afterwards.
            Some(_) | None => self.shows,
        };
        self.record = Some((before, shows));
        self.shows = shows;
        Ok(())
    }

    fn put_back(&mut self) -> Result<Option<Met>, LedError> {
        let Some((before, ours)) = self.record else { return Ok(None) };
        self.there()?;
        self.record = None;
        let inherited = std::mem::take(&mut self.inherited);
        if self.shows != ours {
            return Ok(Some(Met::TheirsStays));
        }
        self.shows = before;
        Ok(inherited.then_some(Met::PutBack))
    }
}

impl Model {
    /// Somebody else sets the LED's trigger.
    pub(crate) fn take_led(&mut self) {
        if self.lamp.gone {
            return;
        }
        let theirs = *self.lamp.dice.pick(&THEIRS).unwrap();
        (self.lamp.shows, self.lamp.rightful) = (theirs, theirs);
        self.met(Met::LedTaken);
    }

    /// Somebody begins to try LEDs out, or is done.
    pub(crate) fn bench(&mut self, now: ToolLock) {
        if now == ToolLock::Taken {
            self.met(Met::LedBench);
        }
        self.lamp.bench = (now == ToolLock::Taken).then(Instant::now);
        self.ring_outside();
    }

    /// The agent is about to change the LED.
    fn judge_led(&mut self, what: &str) {
        // A driver that hangs keeps the agent from hearing of it.
        let grace = if self.weather.hangs > 0 { Duration::from_secs(70) } else { Duration::from_secs(1) };
        if self.lamp.bench.is_some_and(|since| since.elapsed() > grace) {
            self.wrong(format_args!("the LED is told to {what}, while somebody tries it out"));
        }
    }

    /// What becomes of a call to the driver, and how long it hangs.
    fn led_luck(&mut self) -> (Fault, Option<Duration>) {
        let (faults, hangs) = (self.weather.faults, self.weather.hangs);
        let lamp = &mut self.lamp;
        let was_gone = lamp.gone;
        // In fair weather it is plugged in again.
        lamp.gone = if was_gone { faults > 0 && !lamp.dice.happens(300) } else { lamp.dice.happens(faults) };
        let fault = match (lamp.dice.happens(faults), lamp.dice.happens(500)) {
            (false, _) => Fault::None,
            (true, true) => Fault::Before,
            (true, false) => Fault::After,
        };
        let hangs = lamp.dice.happens(hangs).then(|| lamp.dice.secs(1, 60));
        let pulled = lamp.gone && !was_gone;
        for (so, what) in [
            (pulled, Met::LedUnplugged),
            (fault == Fault::Before, Met::LedFails),
            (fault == Fault::After, Met::LedLies),
            (hangs.is_some(), Met::LedHangs),
        ] {
            if so {
                self.met(what);
            }
        }
        (fault, hangs)
    }
}

impl Sim {
    /// One call to the driver: late, failing before or after it had its effect, or to an LED that is pulled out or put back.
    async fn led<T>(&self, what: &str, act: impl FnOnce(&mut Lamp) -> Result<T, LedError>) -> Result<T, LedError> {
        self.pass(0, 20).await;
        let (fault, wait) = self.with(Model::led_luck);
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
        let failed = || Err(LedError::Failed("the LED's driver says no".into()));
        let done = self.with(|model| match fault {
            Fault::None => act(&mut model.lamp),
            Fault::Before => failed(),
            Fault::After => act(&mut model.lamp).and_then(|_| failed()),
        });
        self.with(|model| {
            let shows = model.lamp.shows;
            match &done {
                Ok(_) => model.note(format_args!("LED: {what}: it shows {shows:?}")),
                Err(error) => model.note(format_args!("LED: {what}: {error}")),
            }
        });
        done
    }
}

impl port::Leds for Sim {
    type Survey = ();

    async fn survey(&self) -> Result<(), LedError> {
        self.led("find", |lamp| lamp.there()).await
    }

    fn find(&self, (): &(), _: &LedRef) -> Result<Named, LedError> {
        Ok(Named { name: "ACT".into(), why: "it is the only one".into() })
    }

    fn others(&self, (): &()) -> Vec<Named> {
        Vec::new()
    }

    async fn show(&self, (): &(), _: &LedRef, _: &Pattern, _: Option<Duration>) -> Result<Player, LedError> {
        self.with(|model| model.judge_led("blink"));
        self.led("show", |lamp| {
            // A kernel without the trigger leaves it to the agent.
            let (player, shows) =
                if lamp.dice.happens(500) { (Player::Kernel, ("pattern", 1)) } else { (Player::Agent, ("none", 0)) };
            lamp.change(shows).map(|()| player)
        })
        .await
    }

    async fn play(&self, _: &LedRef, pattern: &Pattern, since: Instant) -> LedError {
        loop {
            let (level, end) = pattern.at(since.elapsed());
            self.with(|model| model.judge_led("change"));
            if let Err(error) = self.led("set", |lamp| lamp.change(("none", u32::from(level == LedLevel::Lit)))).await {
                return error;
            }
            sleep_until(since + end).await;
        }
    }

    async fn put_back(&self, _: &LedRef) -> Result<(), LedError> {
        self.restore().await
    }

    async fn restore(&self) -> Result<(), LedError> {
        let met = self.led("restore", Lamp::put_back).await?;
        if let Some(met) = met {
            self.with(|model| model.met(met));
        }
        Ok(())
    }

    async fn bench(&self, now: ToolLock) -> ToolLock {
        let mut bell = self.with(|model| model.bells.outside.subscribe());
        loop {
            let is = self.with(|model| if model.lamp.bench.is_some() { ToolLock::Taken } else { ToolLock::Free });
            if is != now {
                return is;
            }
            bell.changed().await.expect("the world outlives its agents");
        }
    }
}
