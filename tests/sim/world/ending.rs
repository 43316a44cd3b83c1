//! How the machine's end comes, or does not: asked for by the agent, by a person on the machine, called off, forgotten.

use std::collections::BTreeMap;

use boardkeeper::port::{self, Inhibitor, Mode, Notice, PowerError};
use boardkeeper::state::{Boot, ContainerId, Ending};
use futures_util::Stream;
use tokio::time::Instant;

use crate::world::nature::Job;
use crate::world::power::{Answer, Hold, Power};
use crate::world::{Cut, Model, Sim};

impl port::Power for Sim {
    type Hold = Hold;

    async fn can(&self, ending: Ending) -> Result<(), PowerError> {
        self.pass(1, 50).await;
        self.logind().can(ending).await
    }

    async fn inhibitors(&self) -> Result<Vec<Inhibitor>, PowerError> {
        self.pass(1, 50).await;
        let blocked = self.with(|model| model.fates.calls.happens(model.weather.faults / 3));
        let apt = Inhibitor { who: "apt".into(), why: "it installs".into(), mode: Mode::Block, uid: 0, pid: 7 };
        let logind = self.logind();
        logind.with(|it| it.inhibitors = if blocked { vec![apt] } else { Vec::new() });
        logind.inhibitors().await
    }

    async fn host_update(&self) -> Option<String> {
        None
    }

    async fn boot_wanted(&self) -> Option<String> {
        None
    }

    async fn end(&self, ending: Ending) -> Result<(), PowerError> {
        self.pass(1, 200).await;
        self.with(|model| {
            model.note(format_args!("{ending} asked for"));
            model.judge_reboot();
        });
        self.logind().end(ending).await?;
        self.with(Model::begin_to_end);
        Ok(())
    }

    fn notices(&self) -> impl Stream<Item = Notice<Hold>> {
        self.with(|model| model.power.heard())
    }
}

impl Sim {
    /// Whoever answers for the machine's end, in a mood.
    fn logind(&self) -> Power {
        const MOODS: [Answer; 6] =
            [Answer::Refuses, Answer::RefusesLate, Answer::Hangs, Answer::HangsLate, Answer::Vanishes, Answer::Nobody];
        self.with(|model| {
            let ill = model.fates.calls.happens(model.weather.faults / 2);
            let mood = if ill { model.fates.calls.pick(&MOODS).cloned() } else { None };
            model.power.with(|it| {
                it.answer = mood.unwrap_or_default();
                it.announces = false;
            });
            model.power.clone()
        })
    }
}

impl Model {
    /// The machine is about to end: mostly it does, sometimes it is called off.
    pub(crate) fn begin_to_end(&mut self) {
        // In foul weather an accepted end may also come to nothing without a word.
        if self.fates.nature.happens(self.weather.faults / 3) {
            self.note("the end is forgotten");
            return;
        }
        self.note("the machine is about to end");
        self.ends_since = Some(Instant::now());
        self.power.with(|it| it.announced = true);
        let called_off = self.fates.nature.happens(self.weather.faults);
        let after = self.fates.nature.secs(1, 20);
        self.schedule(after, if called_off { Job::CallOff } else { Job::Fall(Cut::Reboot) });
    }

    /// It does not end, or it has.
    pub(crate) fn call_off(&mut self) {
        self.ends_since = None;
        self.power.with(|it| it.announced = false);
    }

    /// What this run of the machine is called.
    pub(crate) fn boot_id(&self) -> String {
        format!("boot-{}", self.boots)
    }

    /// Who waits for a boot, and whether it has been, as was written down.
    pub(crate) fn awaiting(&self) -> BTreeMap<ContainerId, Boot> {
        let now = self.boot_id();
        let boot = |seen: &String| if *seen == now { Boot::ToCome } else { Boot::Been };
        self.disk.kept.awaiting.iter().map(|(id, seen)| (id.clone(), boot(seen))).collect()
    }
}
