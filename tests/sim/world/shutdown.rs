//! How a shutdown proceeds, or does not: requested by the agent or by a user on the machine, cancelled, forgotten.

use boardkeeper::port::{self, Inhibitor, InhibitorMode, InhibitorNotice, PowerError};
use boardkeeper::sorted::SortedMap;
use boardkeeper::state::{BootState, ContainerId, PowerAction};
use futures_util::Stream;
use tokio::time::Instant;

use crate::world::events::Job;
use crate::world::marks::Mark;
use crate::world::power::{Answer, InhibitorLock, Power};
use crate::world::{CrashKind, Model, Sim};

impl port::Power for Sim {
    type Inhibition = InhibitorLock;

    async fn check_shutdown(&self, ending: PowerAction) -> Result<(), PowerError> {
        self.pass(1, 50).await;
        self.logind().check_shutdown(ending).await
    }

    async fn inhibitors(&self) -> Result<Vec<Inhibitor>, PowerError> {
        self.with(|model| model.checker.shutdowns_requested += 1);
        self.pass(1, 50).await;
        let blocked = self.with(|model| model.roll(model.rates.faults / 3, Mark::EndBlocked));
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

    async fn shut_down(&self, ending: PowerAction) -> Result<(), PowerError> {
        self.pass(1, 200).await;
        self.with(|model| {
            model.note(format_args!("{ending} asked for"));
            model.check_reboot();
        });
        let asked = self.logind().shut_down(ending).await;
        // A logind that exits takes the shutdown that another program announced with it.
        if asked.is_err() && !self.with(|model| model.power.with(|it| it.announced)) {
            self.with(Model::stay_up);
        }
        asked?;
        self.with(Model::begin_shutdown);
        Ok(())
    }

    fn notices(&self) -> impl Stream<Item = InhibitorNotice<InhibitorLock>> {
        self.with(|model| model.power.heard())
    }
}

impl Sim {
    /// logind, with a random answer.
    fn logind(&self) -> Power {
        const MOODS: [Answer; 6] =
            [Answer::Refuses, Answer::RefusesLate, Answer::Hangs, Answer::HangsLate, Answer::Vanishes, Answer::Absent];
        self.with(|model| {
            let ill = model.rngs.calls.happens(model.rates.faults / 2);
            let mode = if ill { model.rngs.calls.pick(&MOODS).cloned() } else { None }.unwrap_or_default();
            model.mark_answer(&mode);
            model.power.with(|it| {
                it.answer = mode;
                it.announces = false;
            });
            model.power.clone()
        })
    }
}

impl Model {
    fn mark_answer(&mut self, mode: &Answer) {
        match mode {
            Answer::Accepts => (),
            Answer::Refuses => self.hit(Mark::EndRefused),
            Answer::RefusesLate => self.hit(Mark::EndRefusedLate),
            Answer::Hangs => self.hit(Mark::EndHangs),
            Answer::HangsLate => self.hit(Mark::EndHangsLate),
            Answer::Vanishes => self.hit(Mark::EndVanishes),
            Answer::Absent => self.hit(Mark::EndNobody),
        }
    }

    /// The host's system is being updated, or is not.
    pub(crate) fn update_host(&mut self, file: Option<&str>) {
        if file.is_some() {
            self.hit(Mark::HostUpdating);
        }
        self.power.with(|it| it.host_update = file.map(ToOwned::to_owned));
    }

    /// Another program configures the host, which needs a reboot. The file is in memory, and gone after the boot.
    pub(crate) fn want_boot(&mut self) {
        self.hit(Mark::BootWanted);
        self.checker.reboot_reasons += 1;
        self.power.with(|it| it.boot_wanted = Some("/tmp/balena-supervisor/reboot-after-apply".into()));
    }

    /// Announces a shutdown: mostly it happens, sometimes it is cancelled.
    pub(crate) fn begin_shutdown(&mut self) {
        // With faults, logind may also accept a shutdown and never announce it.
        if self.rngs.events.happens(self.rates.faults / 3) {
            self.hit(Mark::EndForgotten);
            self.checker.reboot_reasons += 1;
            self.note("the end is forgotten");
            return;
        }
        self.note("the machine is about to end");
        self.shutdown_since = Some(Instant::now());
        self.power.with(|it| it.announced = true);
        let cancelled_at = self.rngs.events.happens(self.rates.faults);
        if cancelled_at {
            self.hit(Mark::EndCalledOff);
            // The agent requests again what it still needs.
            self.checker.reboot_reasons += 1;
        }
        let after = self.rngs.events.secs(1, 20);
        self.schedule(after, if cancelled_at { Job::CancelShutdown } else { Job::Crash(CrashKind::Reboot) });
    }

    /// The shutdown is cancelled, or over.
    pub(crate) fn cancel_shutdown(&mut self) {
        self.cancelled_at = self.shutdown_since.take().map(|_| Instant::now()).or(self.cancelled_at);
        self.power.with(|it| it.announced = false);
    }

    /// The machine was about to shut down, and will not.
    pub(crate) fn stay_up(&mut self) {
        self.jobs.retain(|_, job| !matches!(job, Job::Crash(CrashKind::Reboot)));
        self.cancel_shutdown();
    }

    /// The kernel's id of this boot.
    pub(crate) fn boot_id(&self) -> String {
        format!("boot-{}", self.boots)
    }

    /// Containers that wait for a reboot, as saved, and whether it has happened.
    pub(crate) fn awaiting(&self) -> SortedMap<ContainerId, BootState> {
        let now = self.boot_id();
        let boot = |seen: &String| if *seen == now { BootState::NotYet } else { BootState::Done };
        self.disk.kept.awaiting.iter().map(|(id, seen)| (id.clone(), boot(seen))).collect()
    }
}
