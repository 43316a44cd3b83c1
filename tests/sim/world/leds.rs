//! A LED that fails, hangs, is unplugged and comes back, and is used by other programs; and the record of its former state.

use std::future::pending;
use std::time::Duration;

use boardkeeper::port::{self, LedError, ToolLock};
use boardkeeper::state::{FreeLineInfo, LedInfo as Named, LedLevel, LedRef, Pattern, Player};
use tokio::time::{Instant, sleep_until};

use super::marks::Mark;
use super::rng::Rng;
use super::{Model, Sim, gpio_line};

/// What an LED shows: its trigger and its brightness.
type LedState = (&'static str, u32);

/// How it is after a boot.
const AT_BOOT: LedState = ("heartbeat", 1);
/// What another program may set.
const THEIRS: [LedState; 2] = [("default-on", 1), ("mmc0", 0)];

/// The LED, and its record in the runtime directory.
pub(crate) struct Led {
    rng: Rng,
    shows: LedState,
    /// What the kernel or another program set last: the LED must show it once the agent lets go.
    expected: LedState,
    /// What it showed before the agent changed it, and what the agent set. Outlives the agent, not a power cut.
    record: Option<(LedState, LedState)>,
    /// An agent before this one changed it.
    inherited: bool,
    gone: bool,
    /// Since when the LED tool has held its lock.
    tool_lock: Option<Instant>,
}

/// The fault of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Before,
    After,
}

impl Led {
    /// As it is after a boot.
    pub(crate) const fn new(rng: Rng) -> Self {
        Self { rng, shows: AT_BOOT, expected: AT_BOOT, record: None, inherited: false, gone: false, tool_lock: None }
    }

    /// The machine lost power: the kernel resets the LED, and the runtime directory is empty.
    pub(crate) fn lose_power(&mut self) {
        *self = Self::new(self.rng.clone());
    }

    /// The agent that changed it is gone.
    pub(crate) const fn agent_died(&mut self) {
        self.inherited = self.record.is_some();
    }

    /// Why the agent has not restored it, if so. Once the agent has settled, it must have.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let Self { shows, expected, record, gone, .. } = self;
        let as_it_was = shows == expected && record.is_none();
        (!as_it_was).then(|| format!("the LED shows {shows:?}, and should {expected:?}; kept is {record:?}, unplugged: {gone}"))
    }

    /// What it shows.
    pub(crate) const fn shows(&self) -> LedState {
        self.shows
    }

    /// Whether the agent has changed it.
    pub(crate) const fn is_changed(&self) -> bool {
        self.record.is_some()
    }

    fn there(&self) -> Result<(), LedError> {
        if self.gone { Err(LedError::Vanished("the LED went away".into())) } else { Ok(()) }
    }

    fn change(&mut self, shows: LedState) -> Result<(), LedError> {
        self.there()?;
        let before = match self.record {
            Some((before, ours)) if ours == self.shows => before,
            // What another program set meanwhile is what the agent restores.
            Some(_) | None => self.shows,
        };
        self.record = Some((before, shows));
        self.shows = shows;
        Ok(())
    }

    fn put_back(&mut self) -> Result<Option<Mark>, LedError> {
        let Some((before, ours)) = self.record else { return Ok(None) };
        self.there()?;
        self.record = None;
        let inherited = std::mem::take(&mut self.inherited);
        if self.shows != ours {
            return Ok(Some(Mark::TheirsStays));
        }
        self.shows = before;
        Ok(inherited.then_some(Mark::PutBack))
    }
}

impl Model {
    /// Another program sets the LED's trigger.
    pub(crate) fn set_led_by_another(&mut self) {
        if self.led.gone {
            return;
        }
        let theirs = *self.led.rng.pick(&THEIRS).unwrap();
        (self.led.shows, self.led.expected) = (theirs, theirs);
        self.hit(Mark::LedTaken);
    }

    /// The LED tool takes its lock, or releases it.
    pub(crate) fn set_tool_lock(&mut self, now: ToolLock) {
        if now == ToolLock::Taken {
            self.hit(Mark::LedBench);
        }
        self.led.tool_lock = (now == ToolLock::Taken).then(Instant::now);
        self.notify_host();
    }

    /// The agent is about to change the LED.
    fn check_led(&mut self, what: &str) {
        // A driver that hangs delays the agent's reaction to the lock.
        let grace = if self.rates.hangs > 0 { Duration::from_secs(70) } else { Duration::from_secs(1) };
        if self.led.tool_lock.is_some_and(|since| since.elapsed() > grace) {
            self.violation(format_args!("the LED is set to {what} while the bring-up tool has it"));
        }
    }

    /// Rolls for the fault of a call to the driver, and how long it hangs.
    fn roll_led_fault(&mut self) -> (Fault, Option<Duration>) {
        let (faults, hangs) = (self.rates.faults, self.rates.hangs);
        let led = &mut self.led;
        let was_gone = led.gone;
        // Without faults it is plugged in again.
        led.gone = if was_gone { faults > 0 && !led.rng.happens(300) } else { led.rng.happens(faults) };
        let fault = match (led.rng.happens(faults), led.rng.happens(500)) {
            (false, _) => Fault::None,
            (true, true) => Fault::Before,
            (true, false) => Fault::After,
        };
        let hangs = led.rng.happens(hangs).then(|| led.rng.secs(1, 60));
        let pulled = led.gone && !was_gone;
        for (so, what) in [
            (pulled, Mark::LedUnplugged),
            (fault == Fault::Before, Mark::LedFails),
            (fault == Fault::After, Mark::LedLies),
            (hangs.is_some(), Mark::LedHangs),
        ] {
            if so {
                self.hit(what);
            }
        }
        (fault, hangs)
    }
}

impl Sim {
    /// One call to the driver: late, failing before or after it had its effect, or to an LED that is pulled out or put back.
    async fn led<T>(&self, what: &str, act: impl FnOnce(&mut Led) -> Result<T, LedError>) -> Result<T, LedError> {
        self.pass(0, 20).await;
        let (fault, wait) = self.with(Model::roll_led_fault);
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
        let failed = || Err(LedError::Failed("the LED's driver says no".into()));
        let done = self.with(|model| match fault {
            Fault::None => act(&mut model.led),
            Fault::Before => failed(),
            Fault::After => act(&mut model.led).and_then(|_| failed()),
        });
        self.with(|model| {
            let shows = model.led.shows;
            match &done {
                Ok(_) => model.note(format_args!("LED: {what}: it shows {shows:?}")),
                Err(error) => model.note(format_args!("LED: {what}: {error}")),
            }
        });
        done
    }
}

impl Sim {
    async fn restore_led(&self) -> Result<(), LedError> {
        let mark = self.led("restore", Led::put_back).await?;
        if let Some(mark) = mark {
            self.with(|model| model.hit(mark));
        }
        Ok(())
    }
}

impl port::Leds for Sim {
    type Survey = ();

    async fn survey(&self) -> Result<(), LedError> {
        self.led("find", |led| led.there()).await
    }

    fn find(&self, (): &(), which: &LedRef) -> Result<Named, LedError> {
        if let LedRef::Line(name) = which {
            return gpio_line::find(which).map(|()| Named { name: name.clone(), why: "it is on the header".into() });
        }
        Ok(Named { name: "ACT".into(), why: "it is the only one".into() })
    }

    fn others(&self, (): &()) -> Vec<Named> {
        Vec::new()
    }

    async fn look(&self) -> Result<((), Vec<(String, LedLevel)>), LedError> {
        self.led("look", |led| {
            led.there()?;
            let level = if led.shows.1 > 0 { LedLevel::Lit } else { LedLevel::Dark };
            Ok(((), vec![("ACT".into(), level)]))
        })
        .await
    }

    async fn lines(&self, (): &()) -> Result<Vec<FreeLineInfo>, LedError> {
        Ok(self.with(|model| vec![model.gpio_line.info()]))
    }

    async fn show(&self, (): &(), which: &LedRef, _: &Pattern, _: Option<Duration>) -> Result<Player, LedError> {
        if let LedRef::Line(_) = which {
            gpio_line::find(which)?;
            return self.with(|model| model.gpio_line.drive()).map(|()| Player::Agent);
        }
        self.with(|model| model.check_led("blink"));
        self.led("show", |led| {
            // A kernel without the trigger leaves it to the agent.
            let (player, shows) =
                if led.rng.happens(500) { (Player::Kernel, ("pattern", 1)) } else { (Player::Agent, ("none", 0)) };
            led.change(shows).map(|()| player)
        })
        .await
    }

    async fn play(&self, which: &LedRef, pattern: &Pattern, since: Instant) -> LedError {
        if let LedRef::Line(_) = which {
            return pending().await;
        }
        loop {
            let (level, end) = pattern.at(since.elapsed());
            self.with(|model| model.check_led("change"));
            if let Err(error) = self.led("set", |led| led.change(("none", u32::from(level == LedLevel::Lit)))).await {
                return error;
            }
            sleep_until(since + end).await;
        }
    }

    async fn restore(&self, which: &LedRef) -> Result<(), LedError> {
        match which {
            LedRef::Line(_) => {
                self.with(|model| model.gpio_line.restore());
                Ok(())
            }
            LedRef::Identify | LedRef::Named(_) => self.restore_led().await,
        }
    }

    async fn restore_all(&self) -> Result<(), LedError> {
        self.with(|model| model.gpio_line.restore());
        self.restore_led().await
    }

    async fn bench(&self, now: ToolLock) -> ToolLock {
        let mut notifier = self.with(|model| model.notifiers.host.subscribe());
        loop {
            let is = self.with(|model| if model.led.tool_lock.is_some() { ToolLock::Taken } else { ToolLock::Free });
            if is != now {
                return is;
            }
            notifier.changed().await.expect("the world outlives its agents");
        }
    }
}
