//! How the engine is reached: late, twice, half-way or not at all.

use std::pin::pin;
use std::time::Duration;

use boardkeeper::plan::{Deed, Which};
use boardkeeper::port::{Engine, EngineError, Seen};
use boardkeeper::state::{ContainerId, ImageRef, Network, Phase, Volume};
use futures_util::{Stream, stream};
use tokio::time::sleep;

use super::machine::{Machine, Owned};
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
        match (fault, hang, after) {
            (_, true, false) => Luck::Hang(wait),
            (_, true, true) => Luck::HangAfter(wait),
            (true, false, false) => Luck::Before,
            (true, false, true) => Luck::After,
            (false, false, _) => Luck::Good,
        }
    }

    /// Does what takes the engine no time, or the rest of a deed whose agent is gone.
    pub(crate) fn obey(&mut self, deed: &Deed) -> Result<(), EngineError> {
        let now_secs = self.now_secs();
        let machine = &mut self.machine;
        let done = match deed {
            Deed::Create(spec) => machine.create(spec, now_secs).map(drop),
            Deed::Start(which) => self.start(&which.id),
            Deed::Stop(which) => machine.exit(&which.id, 143, true),
            Deed::Kill(which) => machine.exit(&which.id, 143, true).and_then(|()| machine.remove(&which.id)),
            Deed::Restart(which) => machine.exit(&which.id, 143, true).and_then(|()| self.start(&which.id)),
            Deed::Rename(which, name) => machine.rename(&which.id, name),
            Deed::Retire(which, name) => machine.rename(&which.id, name).and_then(|()| machine.rest(&which.id)),
            Deed::CreateNetwork(network) => machine.create_network(network),
            Deed::RemoveNetwork(name, _) => machine.remove_network(name),
            Deed::CreateVolume(volume) => machine.create_volume(volume),
            Deed::RemoveVolume(name, _) => machine.remove_volume(name),
            Deed::RemoveImage(reference) => machine.remove_image(reference),
            Deed::Pull(reference) => {
                machine.keep(Machine::registry(reference));
                Ok(())
            }
        };
        self.event();
        done
    }

    fn start(&mut self, id: &ContainerId) -> Result<(), EngineError> {
        let ran = self.machine.at(id)?.face.phase == Phase::Running;
        if self.fates.calls.happens(self.weather.faults) && !ran {
            let it = self.machine.at(id)?;
            it.face.error = Some("driver failed programming external connectivity".into());
            return Err(EngineError::Refused("driver failed programming external connectivity".into()));
        }
        self.machine.start(id)?;
        if !ran {
            self.judge_alive(id);
            self.started(id);
        }
        Ok(())
    }
}

impl Machine {
    /// What an agent may see.
    pub(crate) fn seen(&self) -> Seen {
        Seen { containers: self.seen_containers(), ..self.seen_rest() }
    }

    fn seen_containers(&self) -> Vec<boardkeeper::state::Container> {
        self.ours().map(|it| it.face.clone()).collect()
    }

    fn seen_rest(&self) -> Seen {
        let networks = self.networks.iter().filter_map(|(name, it)| match it {
            Owned::Ours((app, config)) => Some(Network { name: name.clone(), app: *app, config: config.clone() }),
            Owned::Foreign => None,
        });
        let volumes = self.volumes.iter().filter_map(|(name, it)| match it {
            Owned::Ours((app, config)) => Some(Volume { name: name.clone(), app: *app, config: config.clone() }),
            Owned::Foreign => None,
        });
        let images = self.images.values().cloned().collect();
        Seen { containers: Vec::new(), images, networks: networks.collect(), volumes: volumes.collect() }
    }
}

/// A deed under way. Dropped half-way, the engine may finish it all the same, a little later.
struct Underway<'a> {
    sim: &'a Sim,
    deed: &'a Deed,
    sent: bool,
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let Ok(mut model) = self.sim.0.try_borrow_mut() else { return };
        model.judge.ended(self.deed);
        if self.sent && !matches!(self.deed, Deed::Pull(_)) && model.fates.halves.happens(500) {
            let after = model.fates.halves.millis(0, 5000);
            model.schedule(after, Job::Late(Box::new(self.deed.clone())));
        }
    }
}

impl Engine for Sim {
    async fn observe(&self) -> Result<Seen, EngineError> {
        let luck = self.with(Model::luck);
        self.pass(1, 100).await;
        self.unlucky(luck).await?;
        let containers = self.with(|model| model.machine.seen_containers());
        // The rest is asked for later, and may already belong to another moment.
        self.pass(1, 100).await;
        self.answers(None)?;
        let rest = self.with(|model| model.machine.seen_rest());
        self.pass(0, 50).await;
        self.unlucky_after(luck).await?;
        Ok(Seen { containers, ..rest })
    }

    async fn take(&self, deed: &Deed, progress: &dyn Fn(u8)) -> Result<(), EngineError> {
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
        let bell = self.with(|model| model.bells.events.subscribe());
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
        if up && since.is_none_or(|since| since == epoch) { Ok(epoch) } else { unreachable("connection refused") }
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

    async fn carry_out(&self, deed: &Deed, progress: &dyn Fn(u8)) -> Result<(), EngineError> {
        let epoch = self.answers(None)?;
        match deed {
            Deed::Pull(reference) => self.pull(reference, epoch, progress).await,
            Deed::Stop(which) => self.stop(which, epoch).await,
            Deed::Kill(which) => self.kill(which, epoch).await,
            Deed::Restart(which) => {
                self.stop(which, epoch).await?;
                self.pass(1, 200).await;
                self.answers(Some(epoch))?;
                self.with(|model| model.obey(&Deed::Start(which.clone())))
            }
            Deed::Retire(which, name) => {
                self.with(|model| model.machine.rename(&which.id, name))?;
                self.pass(1, 50).await;
                self.answers(Some(epoch))?;
                self.with(|model| model.machine.rest(&which.id))
            }
            Deed::Create(_)
            | Deed::Start(_)
            | Deed::Rename(..)
            | Deed::CreateNetwork(_)
            | Deed::RemoveNetwork(..)
            | Deed::CreateVolume(_)
            | Deed::RemoveVolume(..)
            | Deed::RemoveImage(_) => {
                self.pass(1, 1500).await;
                self.answers(Some(epoch))?;
                self.with(|model| model.obey(deed))
            }
        }
    }

    async fn pull(&self, reference: &ImageRef, epoch: u64, progress: &dyn Fn(u8)) -> Result<(), EngineError> {
        let image = Machine::registry(reference);
        let parts = self.with(|model| model.fates.calls.between(1, 6));
        for part in 0..parts {
            let room = self.with(|model| {
                let here = model.machine.images.contains_key(&image.id);
                here || model.machine.free_bytes() >= image.size_bytes
            });
            if !room {
                return Err(EngineError::Full(format!("{reference} does not fit")));
            }
            progress(u8::try_from(100 * part / parts).unwrap());
            self.pass(50, 12_000).await;
            self.answers(Some(epoch))?;
            if self.with(|model| model.fates.calls.happens(model.weather.faults / 2)) {
                return Err(EngineError::Refused(format!("{reference}: unexpected EOF")));
            }
        }
        self.with(|model| model.obey(&Deed::Pull(reference.clone())))
    }

    async fn stop(&self, which: &Which, epoch: u64) -> Result<(), EngineError> {
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
    async fn kill(&self, which: &Which, epoch: u64) -> Result<(), EngineError> {
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
            model.machine.at(&which.id)?.face.phase = if stuck { Phase::Dead } else { Phase::Removing };
            if stuck {
                return Err(EngineError::Refused("driver failed to remove root filesystem".into()));
            }
            model.schedule(took, Job::Gone(which.id.clone()));
            Ok(took)
        })?;
        sleep(took + Duration::from_millis(10)).await;
        self.answers(Some(epoch)).map(drop)
    }
}
