//! How the agent reaches the engine: late, twice, half-way or not at all.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use boardkeeper::port::{Engine, EngineError, EngineSnapshot};
use boardkeeper::state::config::{Port, RestartPolicy};
use boardkeeper::state::{
    Container, ContainerId, ContainerPhase, ContainerRef, EngineAction, ImageRef, Network, Origin, Volume,
};
use futures_util::{Stream, stream};
use tokio::time::sleep;

use super::machine::{Crate, Machine, Owned, Tells};
use super::met::Met;
use super::nature::Job;
use super::{Model, Sim};

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    /// It is answered.
    Good,
    /// It fails, and nothing was done.
    Before,
    /// It was done, and then it fails.
    After,
    /// It hangs for so long and fails, and nothing was done.
    Hang(Duration),
    /// It was done, hangs for so long, and fails.
    HangAfter(Duration),
}

impl Model {
    fn luck(&mut self) -> Luck {
        let wait = self.fates.calls.secs(1, 60);
        let (fault, hang) = (self.fates.calls.happens(self.weather.faults), self.fates.calls.happens(self.weather.hangs));
        let after = self.fates.calls.happens(500);
        if fault || hang {
            self.met(match (hang, after) {
                (true, false) => Met::EngineHangs,
                (true, true) => Met::AnswerHangs,
                (false, false) => Met::EngineSaysNo,
                (false, true) => Met::AnswerLost,
            });
        }
        match (fault, hang, after) {
            (_, true, false) => Luck::Hang(wait),
            (_, true, true) => Luck::HangAfter(wait),
            (true, false, false) => Luck::Before,
            (true, false, true) => Luck::After,
            (false, false, _) => Luck::Good,
        }
    }

    /// Does what takes the engine no time, or the rest of a deed whose agent is gone.
    pub(crate) fn obey(&mut self, deed: &EngineAction) -> Result<(), EngineError> {
        let now_secs = self.now_secs();
        self.met_deed(deed);
        self.met_refusal(deed);
        let machine = &mut self.machine;
        let done = match deed {
            EngineAction::Create(spec) => machine.create(spec, now_secs).map(drop),
            EngineAction::Start(which) => self.start(&which.id),
            EngineAction::Stop(which) => machine.exit(&which.id, 143, true),
            EngineAction::Kill(which) => machine.exit(&which.id, 143, true).and_then(|()| machine.remove(&which.id)),
            EngineAction::Restart(which) => machine.exit(&which.id, 143, true).and_then(|()| self.start(&which.id)),
            EngineAction::Rename(which, name) => machine.rename(&which.id, name),
            EngineAction::Retire(which, name) => machine.rename(&which.id, name).and_then(|()| machine.rest(&which.id)),
            EngineAction::CreateNetwork(network) => machine.create_network(network),
            EngineAction::RemoveNetwork(name, id, _) => machine.remove_network(name, id),
            EngineAction::Connect(which, networks) => machine.connect(&which.id, networks),
            EngineAction::CreateVolume(volume) => machine.create_volume(volume),
            EngineAction::RemoveVolume(name, _) => machine.remove_volume(name),
            EngineAction::RemoveImage(reference) => machine.remove_image(reference),
            EngineAction::Pull(reference) => {
                let image = Machine::registry(reference);
                machine.layers.remove(&image.id);
                machine.keep(image);
                Ok(())
            }
        };
        self.event();
        done
    }

    /// Whether the engine speaks another API than was agreed on. What is agreed on then is what it speaks now.
    fn speaks_another(&mut self) -> bool {
        let (agreed, api) = (self.machine.agreed, self.machine.api);
        self.machine.agreed = api;
        if api != agreed {
            self.met(Met::ApiRises);
        }
        api != agreed
    }

    /// What a start mends, for the count.
    fn met_start(&mut self, id: &ContainerId, was: ContainerPhase) {
        let Some(it) = self.machine.containers.get(id).filter(|_| was == ContainerPhase::Created) else { return };
        let waited = self.disk.kept.awaiting.get(id).is_some_and(|boot| *boot != self.boot_id());
        if it.made_by != self.machine.agents {
            self.met(Met::OrphanStarted);
        }
        if waited {
            self.met(Met::BootAwaited);
        }
    }

    /// What finishes what an agent before began, for the count.
    fn met_deed(&mut self, deed: &EngineAction) {
        let agents = self.machine.agents;
        match deed {
            EngineAction::Create(spec)
                if self.machine.containers.values().any(|it| it.face.name == spec.name && !it.foreign) =>
            {
                self.met(Met::CreatedFound);
            }
            EngineAction::Restart(which) => self.met_restart(which),
            EngineAction::Kill(which) => {
                let by = self.machine.containers.get(&which.id).and_then(|it| it.retired_by);
                if by.is_some_and(|by| by != agents) {
                    self.met(Met::HandOverFinished);
                }
            }
            _ => (),
        }
    }

    /// Why a pull breaks off, if it does. The layers that are here stay.
    fn breaks_off(&mut self) -> Option<&'static str> {
        if self.befalls(self.weather.faults / 4, Met::PullBreaks) {
            return Some("unexpected EOF");
        }
        let expired = self.befalls(if self.brief_tokens { 1000 } else { self.weather.faults / 4 }, Met::TokenExpires);
        expired.then_some("unauthorized: authentication required")
    }

    fn start(&mut self, id: &ContainerId) -> Result<(), EngineError> {
        let ran = self.machine.at(id)?.face.phase == ContainerPhase::Running;
        if self.fates.calls.happens(self.weather.faults) && !ran {
            self.met(Met::StartRefused);
            let it = self.machine.at(id)?;
            it.face.error = Some("driver failed programming external connectivity".into());
            return Err(EngineError::Refused("driver failed programming external connectivity".into()));
        }
        let face = &self.machine.at(id)?.face;
        let (was, key) = (face.phase, face.key.clone());
        self.machine.start(id)?;
        self.locks.mounted(key);
        self.met_start(id, was);
        if !ran {
            self.machine.at(id)?.started += 1;
            self.judge_alive(id);
            self.started(id);
        }
        Ok(())
    }
}

impl Machine {
    /// What an agent may see.
    pub(crate) fn seen(&self) -> EngineSnapshot {
        EngineSnapshot { containers: self.seen_containers(), ..self.seen_rest() }
    }

    fn seen_containers(&self) -> Vec<Container> {
        self.ours().map(|it| self.told(it)).collect()
    }

    /// A container, in the form in which this engine tells of it.
    fn told(&self, it: &Crate) -> Container {
        let mut face = it.face.clone();
        face.networks = Some(Self::attached(it).clone());
        let owners = face.shares.values().filter_map(|id| self.containers.get(id));
        face.shares_since = owners.filter(|it| it.face.phase == ContainerPhase::Running).filter_map(|it| it.face.started).max();
        face.is_orphaned = !face.shares.values().all(|id| self.containers.contains_key(id));
        match (self.tells, &mut face.made) {
            (Tells::RestartOtherwise, _) if face.restart == RestartPolicy::No => face.restart = RestartPolicy::OnFailure(0),
            (Tells::PortsOtherwise, Origin::Adopted(foreign)) => {
                let spelled = |port: &Port| Port { host_ip: "0.0.0.0".into(), ..port.clone() };
                foreign.config.ports = foreign.config.ports.iter().map(spelled).collect();
            }
            (Tells::Normally | Tells::RestartOtherwise | Tells::PortsOtherwise, _) => (),
        }
        face
    }

    fn seen_rest(&self) -> EngineSnapshot {
        let networks = self.networks.iter().filter_map(|(name, it)| match it {
            Owned::Ours((app, config)) => {
                let id = self.network_ids.get(name).cloned().unwrap_or_default();
                Some(Network { id, name: name.clone(), app: *app, config: config.clone() })
            }
            Owned::Foreign => None,
        });
        let volumes = self.volumes.iter().filter_map(|(name, it)| match it {
            Owned::Ours((app, config)) => Some(Volume { name: name.clone(), app: *app, config: config.clone() }),
            Owned::Foreign => None,
        });
        let images = self.images.values().cloned().collect();
        EngineSnapshot { containers: Vec::new(), images, networks: networks.collect(), volumes: volumes.collect() }
    }
}

/// A deed under way. Dropped half-way, the engine may finish it all the same, a little later.
struct Underway<'a> {
    sim: &'a Sim,
    deed: &'a EngineAction,
    sent: bool,
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let Ok(mut model) = self.sim.0.try_borrow_mut() else { return };
        model.judge.ended(self.deed);
        if self.sent {
            model.met(Met::DeedHalfDone);
        }
        if self.sent && !matches!(self.deed, EngineAction::Pull(_)) && model.fates.halves.happens(500) {
            let after = model.fates.halves.millis(0, 5000);
            model.schedule(after, Job::Late(Box::new(self.deed.clone())));
        }
    }
}

impl Engine for Sim {
    async fn observe(&self) -> Result<EngineSnapshot, EngineError> {
        self.with(|model| model.machine.looks += 1);
        let luck = self.with(Model::luck);
        self.pass(1, 100).await;
        self.unlucky(luck).await?;
        if self.with(|model| model.machine.blind) {
            return Err(EngineError::Refused("500: no look at containers just now".into()));
        }
        let containers = self.with(|model| model.machine.seen_containers());
        // The rest is asked for later, and may already belong to another moment.
        self.pass(1, 100).await;
        self.answers(None)?;
        let rest = self.with(|model| model.machine.seen_rest());
        self.pass(0, 50).await;
        self.unlucky_after(luck).await?;
        Ok(EngineSnapshot { containers, ..rest })
    }

    async fn fit(&self, images: &BTreeSet<ImageRef>) -> Result<(), EngineError> {
        self.pass(1, 2000).await;
        self.answers(None)?;
        self.with(|model| {
            let missing = images.iter().map(Machine::registry).filter(|it| !model.machine.images.contains_key(&it.id));
            let needed: u64 = missing.map(|it| it.size_bytes).sum();
            let is_known = !model.fates.calls.happens(model.weather.faults);
            if !is_known || model.machine.free_bytes() >= needed {
                return Ok(());
            }
            model.met(Met::UpdateTooLarge);
            Err(EngineError::Full(format!("{} images do not fit together", images.len())))
        })
    }

    async fn take(&self, deed: &EngineAction, progress: &dyn Fn(u8)) -> Result<(), EngineError> {
        self.with(|model| model.judge_deed(deed));
        let mut underway = Underway { sim: self, deed, sent: false };
        let luck = self.with(Model::luck);
        self.pass(1, 300).await;
        let done = match self.unlucky(luck).await {
            Ok(()) => {
                underway.sent = true;
                self.carry_out(deed, progress).await
            }
            Err(error) => Err(error),
        };
        underway.sent = false;
        self.note(format_args!("{deed}: {}", done.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned())));
        done?;
        self.unlucky_after(luck).await
    }

    fn events(&self) -> impl Stream<Item = ()> {
        // Whoever begins to listen is told at once, as by a real engine: something may have changed before.
        let mut bell = self.with(|model| model.bells.events.subscribe());
        bell.mark_changed();
        stream::unfold(bell, async |mut bell| {
            let changed = pin!(bell.changed()).await;
            changed.expect("the world outlives its agents");
            Some(((), bell))
        })
    }
}

fn unreachable<T>(why: &str) -> Result<T, EngineError> {
    Err(EngineError::Unreachable(why.into()))
}

impl Sim {
    /// The engine is there, and still the one it was.
    fn answers(&self, since: Option<u64>) -> Result<u64, EngineError> {
        let (up, epoch) = self.with(|model| (model.machine.up, model.machine.epoch));
        if !up {
            return unreachable("connection refused");
        }
        if self.with(Model::speaks_another) {
            return unreachable("it speaks another API version now, and is asked anew");
        }
        if since.is_some_and(|since| since != epoch) {
            self.with(|model| model.met(Met::CallOutlivesEngine));
            return unreachable("connection reset by peer");
        }
        Ok(epoch)
    }

    async fn unlucky(&self, luck: Luck) -> Result<(), EngineError> {
        match luck {
            Luck::Good | Luck::After | Luck::HangAfter(_) => self.answers(None).map(drop),
            Luck::Before => Err(EngineError::Refused("500: the engine had a bad moment".into())),
            Luck::Hang(wait) => {
                sleep(wait).await;
                unreachable("no answer")
            }
        }
    }

    async fn unlucky_after(&self, luck: Luck) -> Result<(), EngineError> {
        match luck {
            Luck::Good | Luck::Before | Luck::Hang(_) => Ok(()),
            Luck::After => {
                self.note("…but the answer is lost");
                Err(EngineError::Refused("500: the engine had a bad moment".into()))
            }
            Luck::HangAfter(wait) => {
                self.note("…but the answer hangs");
                sleep(wait).await;
                unreachable("no answer")
            }
        }
    }

    async fn carry_out(&self, deed: &EngineAction, progress: &dyn Fn(u8)) -> Result<(), EngineError> {
        let epoch = self.answers(None)?;
        match deed {
            EngineAction::Pull(reference) => self.pull(reference, epoch, progress).await,
            EngineAction::Stop(which) => self.stop(which, epoch).await,
            EngineAction::Kill(which) => self.kill(which, epoch).await,
            EngineAction::Restart(which) => {
                self.stop(which, epoch).await?;
                self.pass(1, 200).await;
                self.answers(Some(epoch))?;
                self.with(|model| model.obey(&EngineAction::Start(which.clone())))
            }
            EngineAction::Retire(which, name) => {
                self.with(|model| model.machine.rename(&which.id, name))?;
                self.pass(1, 50).await;
                self.answers(Some(epoch))?;
                self.with(|model| model.machine.rest(&which.id))
            }
            EngineAction::Create(_)
            | EngineAction::Start(_)
            | EngineAction::Rename(..)
            | EngineAction::CreateNetwork(_)
            | EngineAction::RemoveNetwork(..)
            | EngineAction::Connect(..)
            | EngineAction::CreateVolume(_)
            | EngineAction::RemoveVolume(..)
            | EngineAction::RemoveImage(_) => {
                self.pass(1, 1500).await;
                self.answers(Some(epoch))?;
                self.with(|model| model.obey(deed))
            }
        }
    }

    async fn pull(&self, reference: &ImageRef, epoch: u64, progress: &dyn Fn(u8)) -> Result<(), EngineError> {
        let image = Machine::registry(reference);
        let parts = Machine::layers_of(&image);
        let here = self.with(|model| {
            let broken = model.machine.layers.get(&image.id).copied();
            if broken.is_some() {
                model.met(Met::PulledAgain);
            }
            broken.unwrap_or(0)
        });
        for part in here..parts {
            let room = self.with(|model| {
                let here = model.machine.images.contains_key(&image.id);
                here || model.machine.free_bytes() >= image.size_bytes
            });
            if !room {
                self.with(|model| model.met(Met::NoRoom));
                return Err(EngineError::Full(format!("{reference} does not fit")));
            }
            progress(u8::try_from(100 * part / parts).unwrap());
            self.pass(50, 12_000).await;
            self.answers(Some(epoch))?;
            self.with(|model| model.machine.layers.insert(image.id.clone(), part + 1));
            if part + 1 < parts
                && let Some(why) = self.with(Model::breaks_off)
            {
                return Err(EngineError::Refused(format!("{reference}: {why}")));
            }
        }
        progress(100);
        self.with(|model| model.obey(&EngineAction::Pull(reference.clone())))
    }

    async fn stop(&self, which: &ContainerRef, epoch: u64) -> Result<(), EngineError> {
        let took = self.with(|model| {
            model.judge_stop(which);
            let it = model.machine.at(&which.id)?;
            let most = u64::try_from(it.grace.as_millis()).unwrap();
            let alive = it.face.phase.is_alive();
            let took = model.fates.containers.millis(0, if alive { most } else { 0 });
            Ok((took, took.as_millis() >= u128::from(most)))
        });
        let (took, slow) = took?;
        sleep(took).await;
        self.answers(Some(epoch))?;
        self.with(|model| {
            let done = model.machine.exit(&which.id, if slow { 137 } else { 143 }, true);
            model.event();
            done
        })
    }

    /// Stops, and then removes: two effects, and the world goes on between them.
    async fn kill(&self, which: &ContainerRef, epoch: u64) -> Result<(), EngineError> {
        if !self.with(|model| model.machine.containers.contains_key(&which.id)) {
            return Ok(());
        }
        self.stop(which, epoch).await?;
        self.pass(1, 200).await;
        self.answers(Some(epoch))?;
        // From here on the engine does it by itself, whether anybody waits or not.
        let took = self.with(|model| {
            let took = model.fates.containers.millis(1, 1000);
            let stuck = model.fates.calls.happens(model.weather.faults / 2);
            model.machine.at(&which.id)?.face.phase = if stuck { ContainerPhase::Dead } else { ContainerPhase::Removing };
            if stuck {
                model.met(Met::RemovalStuck);
                return Err(EngineError::Refused("driver failed to remove root filesystem".into()));
            }
            model.schedule(took, Job::Gone(which.id.clone()));
            Ok(took)
        })?;
        sleep(took + Duration::from_millis(10)).await;
        self.answers(Some(epoch)).map(drop)
    }
}
