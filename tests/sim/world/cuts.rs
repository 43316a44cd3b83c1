//! How the agent's life ends: killed or by a power cut, in a call to the world or at any other await, or orderly.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::time::{Instant, sleep};

use super::met::Met;
use super::nature::Job;
use super::{Model, Sim};

/// How the agent's life ends, for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It is killed; the machine goes on.
    Crash,
    /// The board loses its power.
    Power,
    /// The machine reboots in good order.
    Reboot,
}

/// When an agent is to fall, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doom {
    /// Never, unless something happens.
    None,
    /// In this call to the world, counted from the world's beginning.
    InCall(u64, Cut),
    /// When its future was polled so often, counted from the world's beginning: at whatever await it then stands.
    AfterPoll(u64, Cut),
    /// It does not fall: when it was polled so often, whoever waits for that moment is told.
    Moment(u64),
}

impl Sim {
    /// An agent that falls where its doom says. Afterwards it is polled no more, whoever wakes it.
    pub(crate) async fn mortal(&self, agent: impl Future<Output = ()>) {
        self.with(Model::draw_doom);
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

    /// Time passes on the way to the world and back; and sometimes the agent does not live to see the end of it.
    pub(crate) async fn pass(&self, least_ms: u64, most_ms: u64) {
        let (wait, fall) = self.with(|model| {
            model.calls += 1;
            let cut = match model.doom {
                Doom::InCall(at, cut) if at == model.calls => Some(cut),
                _ => model.fates.calls.happens(model.weather.falls).then_some(Cut::Crash),
            };
            (model.fates.calls.millis(least_ms, most_ms), cut)
        });
        if let Some(cut) = fall {
            self.with(|model| {
                model.met(Met::CrashInCall);
                model.fall(cut);
            });
            pending::<()>().await;
        }
        sleep(wait).await;
    }

    /// Waits for the moment when the agent will have been polled so many more times.
    pub(crate) async fn moment(&self, after: u64) {
        let mut bell = self.with(|model| {
            model.doom = Doom::Moment(model.polls + after);
            model.bells.moment.subscribe()
        });
        bell.changed().await.expect("the world outlives its agents");
    }

    /// Waits until the agent has to die, and says how.
    pub(crate) async fn cut(&self) -> Cut {
        loop {
            let bell = self.with(|model| Rc::clone(&model.bells.cut));
            if let Some(cut) = self.with(|model| model.cut.take()) {
                return cut;
            }
            bell.notified().await;
        }
    }

    /// What became of the world after the agent died so.
    pub(crate) fn aftermath(&self, cut: Cut) {
        self.with(|model| {
            model.note(format_args!("the agent dies: {cut:?}"));
            model.judge.agent_died();
            model.lamp.agent_died();
            model.locks.agent_died();
            model.machine.agent_died();
            model.owner.forget_given();
            model.status = None;
            model.connectivity = None;
            model.loaded = false;
            model.disk.cuts += 1;
            match cut {
                Cut::Crash => return,
                Cut::Power => model.met(Met::CutByPower),
                Cut::Reboot => model.met(Met::Reboots),
            }
            model.machine.die();
            model.lamp.lose_power();
            model.locks.lose_tmpfs();
            model.jobs.retain(|_, job| job.outlives_power());
            model.booted = Instant::now();
            model.boots += 1;
            model.call_off();
            if model.power.with(|it| it.boot_wanted.take()).is_some() {
                model.met(Met::BootHad);
            }
            let back = model.fates.nature.secs(5, 30);
            model.schedule(back, Job::EngineBack);
        });
    }
}

impl Model {
    /// The agent is to die now.
    pub(crate) fn fall(&mut self, cut: Cut) {
        self.met_in_cut();
        // A machine that ends does so although its agent falls over before it notices.
        if matches!(self.cut, None | Some(Cut::Crash)) {
            self.cut = Some(cut);
        }
        self.bells.cut.notify_one();
    }

    /// What is cut off, for the count.
    fn met_in_cut(&mut self) {
        let lives = self.status.is_some();
        for (so, what) in [
            (lives && !self.loaded, Met::CutAtStart),
            (lives && self.judge.is_at_work(), Met::CutInDeed),
            (lives && self.lamp.is_changed(), Met::CutInLed),
            (lives && self.locks.are_taken(), Met::CutInLock),
            (lives && self.ends_since.is_some(), Met::CutInEnd),
        ] {
            if so {
                self.met(what);
            }
        }
    }

    /// In foul weather an agent falls at any await: soon after its start as often as much later.
    fn draw_doom(&mut self) {
        if self.weather.cuts > 0 && self.fates.cuts.happens(self.weather.cuts) {
            let most = 1 << self.fates.cuts.between(1, 14);
            let polls = self.fates.cuts.between(1, most);
            let cut = if self.fates.cuts.happens(500) { Cut::Crash } else { Cut::Power };
            self.doom = Doom::AfterPoll(self.polls + polls, cut);
        }
    }

    /// The agent was polled once more. Whether that was the last time.
    fn polled(&mut self) -> bool {
        self.polls += 1;
        let cut = match self.doom {
            Doom::AfterPoll(at, cut) if at == self.polls => cut,
            Doom::Moment(at) if at == self.polls => {
                self.bells.moment.send_modify(|count| *count += 1);
                return false;
            }
            Doom::None | Doom::InCall(..) | Doom::AfterPoll(..) | Doom::Moment(_) => return false,
        };
        self.doom = Doom::None;
        self.met(if cut == Cut::Crash { Met::CrashAtAwait } else { Met::PowerAtAwait });
        self.fall(cut);
        true
    }
}
