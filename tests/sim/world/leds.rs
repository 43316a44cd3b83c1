//! An LED that fails, hangs, is unplugged and comes back; and the record of how it was.

use std::future::pending;
use std::time::Duration;

use boardkeeper::port::{self, Bench, LedError};
use boardkeeper::state::{Lamp as Named, Level, Pattern, Player};

use super::Sim;
use super::dice::Dice;

/// What an LED shows: its trigger and its brightness.
type Shows = (&'static str, u32);

/// How it is after a boot.
const AT_BOOT: Shows = ("heartbeat", 1);

/// The LED, and what is kept of it in the runtime directory.
pub(crate) struct Lamp {
    dice: Dice,
    shows: Shows,
    /// How it was before the agent changed it. Outlives the agent, not the power.
    record: Option<Shows>,
    gone: bool,
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
        Self { dice, shows: AT_BOOT, record: None, gone: false }
    }

    /// The machine went off: the kernel begins anew, and the runtime directory is empty.
    pub(crate) const fn lose_power(&mut self) {
        (self.shows, self.record, self.gone) = (AT_BOOT, None, false);
    }

    /// Why it is not as it was, if so. When all is quiet it must be.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let as_it_was = self.shows == AT_BOOT && self.record.is_none();
        (!as_it_was).then(|| format!("the LED shows {:?}, kept is {:?}, unplugged: {}", self.shows, self.record, self.gone))
    }

    fn there(&self) -> Result<(), LedError> {
        if self.gone { Err(LedError::Vanished("the LED went away".into())) } else { Ok(()) }
    }

    fn change(&mut self, shows: Shows) -> Result<(), LedError> {
        self.there()?;
        if self.record.is_none() {
            self.record = Some(self.shows);
        }
        self.shows = shows;
        Ok(())
    }
}

impl Sim {
    /// One call to the driver: late, failing before or after it had its effect, or to an LED that is pulled out or put back.
    async fn led<T>(&self, what: &str, act: impl FnOnce(&mut Lamp) -> Result<T, LedError>) -> Result<T, LedError> {
        self.pass(0, 20).await;
        let (fault, wait) = self.with(|model| {
            let faults = model.weather.faults;
            let lamp = &mut model.lamp;
            // In fair weather it is plugged in again.
            lamp.gone = if lamp.gone { faults > 0 && !lamp.dice.happens(300) } else { lamp.dice.happens(faults) };
            let fault = match (lamp.dice.happens(faults), lamp.dice.happens(500)) {
                (false, _) => Fault::None,
                (true, true) => Fault::Before,
                (true, false) => Fault::After,
            };
            (fault, lamp.dice.happens(model.weather.hangs).then(|| lamp.dice.secs(1, 60)))
        });
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
            let told = done.as_ref().map_or_else(ToString::to_string, |_| format!("it shows {:?}", model.lamp.shows));
            model.note(format_args!("LED: {what}: {told}"));
        });
        done
    }
}

impl port::Leds for Sim {
    async fn find(&self) -> Result<Named, LedError> {
        self.led("find", |lamp| {
            lamp.there()?;
            Ok(Named { name: "ACT".into(), why: "it is the only one".into() })
        })
        .await
    }

    async fn show(&self, _: &Pattern, _: Option<Duration>) -> Result<Player, LedError> {
        self.led("show", |lamp| {
            // A kernel without the trigger leaves it to the agent.
            let (player, shows) =
                if lamp.dice.happens(500) { (Player::Kernel, ("pattern", 1)) } else { (Player::Agent, ("none", 0)) };
            lamp.change(shows).map(|()| player)
        })
        .await
    }

    async fn set(&self, level: Level) -> Result<(), LedError> {
        self.led("set", |lamp| lamp.change(("none", u32::from(level == Level::Lit)))).await
    }

    async fn restore(&self) -> Result<(), LedError> {
        self.led("restore", |lamp| {
            if lamp.record.is_some() {
                lamp.there()?;
            }
            if let Some(before) = lamp.record.take() {
                lamp.shows = before;
            }
            Ok(())
        })
        .await
    }

    async fn bench(&self, now: Bench) -> Bench {
        match now {
            Bench::Free => pending().await,
            Bench::Taken => Bench::Free,
        }
    }
}
