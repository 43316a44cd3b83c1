//! How the agent's life ends: killed or by a power cut, in a call to the world or at any other await, or orderly.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use boardkeeper::port::{BootWindow, StoredLeases};
use tokio::time::{Instant, sleep};

use super::events::Job;
use super::gpio_line::GpioLine;
use super::marks::Mark;
use super::{Model, Sim};

/// How the agent's process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CrashKind {
    /// It is killed; the machine goes on.
    Crash,
    /// The board loses its power.
    Power,
    /// The machine reboots in good order.
    Reboot,
}

/// When an agent is to crash, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CrashPoint {
    /// Never, unless an event crashes it.
    None,
    /// In this call to a port, counted from the start of the life.
    InCall(u64, CrashKind),
    /// After that many polls of its future, counted from the start of the life: at whatever await it then stands.
    AfterPoll(u64, CrashKind),
    /// No crash: after that many polls `Sim::moment` returns.
    Moment(u64),
}

impl Sim {
    /// Runs an agent up to its crash point. Afterwards it is never polled again, even if it is woken.
    pub(crate) async fn run_until_crash(&self, agent: impl Future<Output = ()>) {
        self.with(Model::draw_crash_point);
        let mut agent = pin!(agent);
        let mut fallen = false;
        poll_fn(|context| {
            if fallen {
                return Poll::Pending;
            }
            let polled = agent.as_mut().poll(context);
            fallen = self.with(Model::polled);
            if fallen { Poll::Pending } else { polled }
        })
        .await;
    }

    /// A call to a port takes time; and sometimes the agent crashes in it.
    pub(crate) async fn pass(&self, least_ms: u64, most_ms: u64) {
        let (wait, crash) = self.with(|model| {
            model.calls += 1;
            let cut = match model.crash_point {
                CrashPoint::InCall(at, cut) if at == model.calls => Some(cut),
                _ => model.rngs.calls.happens(model.rates.crashes_in_calls).then_some(CrashKind::Crash),
            };
            (model.rngs.calls.millis(least_ms, most_ms), cut)
        });
        if let Some(cut) = crash {
            self.with(|model| {
                model.hit(Mark::CrashInCall);
                model.crash(cut);
            });
            pending::<()>().await;
        }
        sleep(wait).await;
    }

    /// Waits for the moment when the agent will have been polled so many more times.
    pub(crate) async fn moment(&self, after: u64) {
        let mut notifier = self.with(|model| {
            model.crash_point = CrashPoint::Moment(model.polls + after);
            model.notifiers.moment.subscribe()
        });
        notifier.changed().await.expect("the world outlives its agents");
    }

    /// Waits until the agent has to crash, and returns how.
    pub(crate) async fn cut(&self) -> CrashKind {
        loop {
            let notifier = self.with(|model| Rc::clone(&model.notifiers.crash));
            if let Some(cut) = self.with(|model| model.pending_crash.take()) {
                return cut;
            }
            notifier.notified().await;
        }
    }

    /// Applies what such a crash does to the world.
    pub(crate) fn after_crash(&self, cut: CrashKind) {
        self.with(|model| {
            model.note(format_args!("the agent dies: {cut:?}"));
            if model.status.as_ref().is_some_and(|it| it.borrow().access.local_mode) {
                model.hit(Mark::CutInLocalMode);
            }
            if model.status.as_ref().is_some_and(|it| it.borrow().target_trial.is_some()) {
                model.hit(Mark::CutInTrial);
            }
            model.checker.agent_died();
            model.led.agent_died();
            model.gpio_line.agent_died();
            model.locks.agent_died();
            model.engine.agent_died();
            model.hooks.agent_died();
            model.targets.forget_given();
            model.cloud.agent_died();
            model.lines.agent_died(cut);
            model.status = None;
            model.connectivity = None;
            model.loaded = false;
            model.disk.cuts += 1;
            match cut {
                CrashKind::Crash => return model.leases_outlive_the_agent(),
                CrashKind::Power => model.hit(Mark::CutByPower),
                CrashKind::Reboot => model.hit(Mark::Reboots),
            }
            model.engine.die();
            model.led.lose_power();
            model.gpio_line = GpioLine::new();
            model.locks.lose_tmpfs();
            model.disk.boot_cursors = None;
            model.disk.boot_history.clear();
            model.disk.kept.leases = StoredLeases::default();
            model.disk.kept.boot_window = BootWindow::default();
            model.lose_leases();
            model.jobs.retain(|_, job| job.outlives_power());
            model.booted = Instant::now();
            model.boots += 1;
            model.boot_with_file();
            model.cancel_shutdown();
            if model.power.with(|it| it.boot_wanted.take()).is_some() {
                model.hit(Mark::BootHad);
            }
            let back = model.rngs.events.secs(5, 30);
            model.schedule(back, Job::EngineBack);
        });
    }
}

impl Model {
    /// Crashes the agent now.
    pub(crate) fn crash(&mut self, cut: CrashKind) {
        self.mark_crash();
        // A machine that shuts down does so although its agent crashes before.
        if matches!(self.pending_crash, None | Some(CrashKind::Crash)) {
            self.pending_crash = Some(cut);
        }
        self.notifiers.crash.notify_one();
    }

    /// Counts what the crash interrupts.
    fn mark_crash(&mut self) {
        let lives = self.status.is_some();
        for (so, what) in [
            (lives && !self.loaded, Mark::CutAtStart),
            (lives && self.checker.is_at_work(), Mark::CutInDeed),
            (lives && self.led.is_changed(), Mark::CutInLed),
            (lives && self.locks.are_taken(), Mark::CutInLock),
            (lives && self.shutdown_since.is_some(), Mark::CutInEnd),
        ] {
            if so {
                self.hit(what);
            }
        }
    }

    /// With faults, an agent crashes at any await: soon after its start as often as much later.
    fn draw_crash_point(&mut self) {
        if self.rates.crashes > 0 && self.rngs.crashes.happens(self.rates.crashes) {
            let most = 1 << self.rngs.crashes.between(1, 14);
            let polls = self.rngs.crashes.between(1, most);
            let cut = if self.rngs.crashes.happens(500) { CrashKind::Crash } else { CrashKind::Power };
            self.crash_point = CrashPoint::AfterPoll(self.polls + polls, cut);
        }
    }

    /// The agent was polled once more. Whether that was the last time.
    fn polled(&mut self) -> bool {
        self.polls += 1;
        let cut = match self.crash_point {
            CrashPoint::AfterPoll(at, cut) if at == self.polls => cut,
            CrashPoint::Moment(at) if at == self.polls => {
                self.notifiers.moment.send_modify(|count| *count += 1);
                return false;
            }
            CrashPoint::None | CrashPoint::InCall(..) | CrashPoint::AfterPoll(..) | CrashPoint::Moment(_) => return false,
        };
        self.crash_point = CrashPoint::None;
        self.hit(if cut == CrashKind::Crash { Mark::CrashAtAwait } else { Mark::PowerAtAwait });
        self.crash(cut);
        true
    }
}
