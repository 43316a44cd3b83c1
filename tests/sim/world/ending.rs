//! How a shutdown proceeds, or does not: requested by the agent or by a user on the machine, cancelled, forgotten.

use std::collections::BTreeMap;

use boardkeeper::port::{self, Inhibitor, InhibitorMode, InhibitorNotice, PowerError};
use boardkeeper::state::{BootState, ContainerId, PowerAction};
use futures_util::Stream;
use tokio::time::Instant;

use crate::world::met::Met;
use crate::world::nature::Job;
use crate::world::power::{Answer, Hold, Power};
use crate::world::{Cut, Model, Sim};

impl port::Power for Sim {
    type Inhibition = Hold;

    async fn can(&self, ending: PowerAction) -> Result<(), PowerError> {
        self.pass(1, 50).await;
        self.logind().can(ending).await
    }

    async fn inhibitors(&self) -> Result<Vec<Inhibitor>, PowerError> {
        self.with(|model| model.judge.ends_asked += 1);
        self.pass(1, 50).await;
        let blocked = self.with(|model| model.befalls(model.weather.faults / 3, Met::EndBlocked));
        let apt = Inhibitor { who: "apt".into(), why: "it installs".into(), mode: InhibitorMode::Block, uid: 0, pid: 7 };
        let logind = self.logind();
        logind.with(|it| it.inhibitors = if blocked { vec![apt] } else { Vec::new() });
        logind.inhibitors().await
    }

    async fn host_update(&self) -> Option<String> {
        self.logind().host_update().await
    }

    async fn boot_wanted(&self) -> Option<String> {
        self.logind().boot_wanted().await
    }

    async fn end(&self, ending: PowerAction) -> Result<(), PowerError> {
        self.pass(1, 200).await;
        self.with(|model| {
            model.note(format_args!("{ending} asked for"));
            model.judge_reboot();
        });
        let asked = self.logind().end(ending).await;
        // A logind that goes away takes with it the end that somebody had it announce.
        if asked.is_err() && !self.with(|model| model.power.with(|it| it.announced)) {
            self.with(Model::stays_up);
        }
        asked?;
        self.with(Model::begin_to_end);
        Ok(())
    }

    fn notices(&self) -> impl Stream<Item = InhibitorNotice<Hold>> {
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
            let mood = if ill { model.fates.calls.pick(&MOODS).cloned() } else { None }.unwrap_or_default();
            model.met_mood(&mood);
            model.power.with(|it| {
                it.answer = mood;
                it.announces = false;
            });
            model.power.clone()
        })
    }
}

impl Model {
    fn met_mood(&mut self, mood: &Answer) {
        match mood {
            Answer::Accepts => (),
            Answer::Refuses => self.met(Met::EndRefused),
            Answer::RefusesLate => self.met(Met::EndRefusedLate),
            Answer::Hangs => self.met(Met::EndHangs),
            Answer::HangsLate => self.met(Met::EndHangsLate),
            Answer::Vanishes => self.met(Met::EndVanishes),
            Answer::Nobody => self.met(Met::EndNobody),
        }
    }

    /// The host's system is being updated, or is not.
    pub(crate) fn update_host(&mut self, file: Option<&str>) {
        if file.is_some() {
            self.met(Met::HostUpdating);
        }
        self.power.with(|it| it.host_update = file.map(ToOwned::to_owned));
    }

    /// Somebody configures the host anew, and wants a boot for it. The file is in memory, and goes with the boot.
    pub(crate) fn want_boot(&mut self) {
        self.met(Met::BootWanted);
        self.judge.reboot_reasons += 1;
        self.power.with(|it| it.boot_wanted = Some("/tmp/balena-supervisor/reboot-after-apply".into()));
    }

    /// The machine is about to end: mostly it does, sometimes it is called off.
    pub(crate) fn begin_to_end(&mut self) {
        // In foul weather an accepted end may also come to nothing without a word.
        if self.fates.nature.happens(self.weather.faults / 3) {
            self.met(Met::EndForgotten);
            self.judge.reboot_reasons += 1;
            self.note("the end is forgotten");
            return;
        }
        self.note("the machine is about to end");
        self.ends_since = Some(Instant::now());
        self.power.with(|it| it.announced = true);
        let called_off = self.fates.nature.happens(self.weather.faults);
        if called_off {
            self.met(Met::EndCalledOff);
            // What is still wanted is asked for again.
            self.judge.reboot_reasons += 1;
        }
        let after = self.fates.nature.secs(1, 20);
        self.schedule(after, if called_off { Job::CallOff } else { Job::Fall(Cut::Reboot) });
    }

    /// It does not end, or it has.
    pub(crate) fn call_off(&mut self) {
        self.called_off = self.ends_since.take().map(|_| Instant::now()).or(self.called_off);
        self.power.with(|it| it.announced = false);
    }

    /// It was about to end, and will not.
    pub(crate) fn stays_up(&mut self) {
        self.jobs.retain(|_, job| !matches!(job, Job::Fall(Cut::Reboot)));
        self.call_off();
    }

    /// What this run of the machine is called.
    pub(crate) fn boot_id(&self) -> String {
        format!("boot-{}", self.boots)
    }

    /// Who waits for a boot, and whether it has been, as was written down.
    pub(crate) fn awaiting(&self) -> BTreeMap<ContainerId, BootState> {
        let now = self.boot_id();
        let boot = |seen: &String| if *seen == now { BootState::NotYet } else { BootState::Done };
        self.disk.kept.awaiting.iter().map(|(id, seen)| (id.clone(), boot(seen))).collect()
    }
}
