//! How the agent reaches the engine: late, twice, half-way or not at all.

use std::pin::pin;
use std::time::Duration;

use boardkeeper::port::{Engine, EngineError, EngineSnapshot};
use boardkeeper::sorted::SortedSet;
use boardkeeper::state::config::{Port, RestartPolicy};
use boardkeeper::state::{
    Container, ContainerId, ContainerPhase, ContainerRef, DownloadProgress, EngineAction, EngineLogLine, ImageRef, LogCursor,
    Network, Origin, Volume,
};
use futures_util::{Stream, stream};
use tokio::time::sleep;

use super::engine_model::{Dialect, EngineModel, Owned, SimContainer};
use super::events::Job;
use super::logs::Extent;
use super::marks::Mark;
use super::snapshots::CopyRoom;
use super::{Model, Sim};

/// The fault of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallFault {
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
    fn call_fault(&mut self) -> CallFault {
        let wait = self.rngs.calls.secs(1, 60);
        let (fault, hang) = (self.rngs.calls.happens(self.rates.faults), self.rngs.calls.happens(self.rates.hangs));
        let after = self.rngs.calls.happens(500);
        if fault || hang {
            self.hit(match (hang, after) {
                (true, false) => Mark::EngineHangs,
                (true, true) => Mark::AnswerHangs,
                (false, false) => Mark::EngineSaysNo,
                (false, true) => Mark::AnswerLost,
            });
        }
        match (fault, hang, after) {
            (_, true, false) => CallFault::Hang(wait),
            (_, true, true) => CallFault::HangAfter(wait),
            (true, false, false) => CallFault::Before,
            (true, false, true) => CallFault::After,
            (false, false, _) => CallFault::Good,
        }
    }

    /// Applies an action at once: one that takes the engine no time, or the rest of one whose agent is gone.
    pub(crate) fn apply(&mut self, action: &EngineAction) -> Result<(), EngineError> {
        let now_secs = self.now_secs();
        self.mark_action(action);
        self.mark_copy(action);
        self.mark_refusal(action);
        let engine = &mut self.engine;
        let done = match action {
            EngineAction::Create(spec) => engine.create(spec, now_secs).map(drop),
            EngineAction::Start(which) => self.start(&which.id),
            EngineAction::Stop(which) => engine.exit(&which.id, 143, true),
            EngineAction::Kill(which) => engine.exit(&which.id, 143, true).and_then(|()| engine.remove(&which.id)),
            EngineAction::Restart(which) => engine.exit(&which.id, 143, true).and_then(|()| self.start(&which.id)),
            EngineAction::Rename(which, name) => engine.rename(&which.id, name),
            EngineAction::Retire(which, name) => engine.rename(&which.id, name).and_then(|()| engine.rest(&which.id)),
            EngineAction::RunHook(which, run) => self.run_hook(which, run),
            EngineAction::CreateNetwork(network) => engine.create_network(network),
            EngineAction::RemoveNetwork(name, id, _) => engine.remove_network(name, id),
            EngineAction::Connect(which, networks) => engine.connect(&which.id, networks),
            EngineAction::CreateVolume(volume) => engine.create_volume(volume),
            EngineAction::RemoveVolume(name, _) => engine.remove_volume(name),
            EngineAction::KeepData(_) | EngineAction::PutDataBack(_) => {
                engine.begin_copy(action).and_then(|()| engine.end_copy(action))
            }
            EngineAction::RemoveImage(reference) => engine.remove_image(reference),
            EngineAction::Pull(reference) => {
                let image = EngineModel::registry(reference);
                engine.layers.remove(&image.id);
                engine.keep(image);
                Ok(())
            }
        };
        self.event();
        done
    }

    /// Whether the engine's API version differs from the negotiated one. Then it is negotiated again.
    fn api_changed(&mut self) -> bool {
        let (agreed, api) = (self.engine.agreed, self.engine.api);
        self.engine.agreed = api;
        if api != agreed {
            self.hit(Mark::ApiRises);
        }
        api != agreed
    }

    /// Counts the recoveries that a start completes.
    fn mark_start(&mut self, id: &ContainerId, was: ContainerPhase) {
        let Some(it) = self.engine.containers.get(id).filter(|_| was == ContainerPhase::Created) else { return };
        let waited = self.disk.kept.awaiting.get(id).is_some_and(|boot| *boot != self.boot_id());
        if it.made_by != self.engine.agents {
            self.hit(Mark::OrphanStarted);
        }
        if waited {
            self.hit(Mark::BootAwaited);
        }
    }

    /// Counts the actions that complete what a previous agent began.
    fn mark_action(&mut self, action: &EngineAction) {
        let agents = self.engine.agents;
        match action {
            EngineAction::Create(spec)
                if self.engine.containers.values().any(|it| it.view.name == spec.name && !it.foreign) =>
            {
                self.hit(Mark::CreatedFound);
            }
            EngineAction::Restart(which) => self.mark_restart(which),
            EngineAction::Kill(which) => {
                let by = self.engine.containers.get(&which.id).and_then(|it| it.retired_by);
                if by.is_some_and(|by| by != agents) {
                    self.hit(Mark::HandOverFinished);
                }
            }
            _ => (),
        }
    }

    /// Why a pull breaks off, if it does. The layers that are here stay.
    fn pull_fault(&mut self) -> Option<&'static str> {
        if self.roll(self.rates.faults / 4, Mark::PullBreaks) {
            return Some("unexpected EOF");
        }
        let expired = self.roll(if self.brief_tokens { 1000 } else { self.rates.faults / 4 }, Mark::TokenExpires);
        expired.then_some("unauthorized: authentication required")
    }

    fn start(&mut self, id: &ContainerId) -> Result<(), EngineError> {
        let ran = self.engine.at(id)?.view.phase == ContainerPhase::Running;
        if self.rngs.calls.happens(self.rates.faults) && !ran {
            self.hit(Mark::StartRefused);
            let it = self.engine.at(id)?;
            it.view.error = Some("driver failed programming external connectivity".into());
            return Err(EngineError::Refused("driver failed programming external connectivity".into()));
        }
        let view = &self.engine.at(id)?.view;
        let (was, key) = (view.phase, view.key.clone());
        if !ran {
            self.check_data(id);
        }
        self.engine.start(id)?;
        self.locks.mounted(key);
        self.mark_start(id, was);
        if !ran {
            self.engine.at(id)?.started += 1;
            self.check_single_instance(id);
            self.started(id);
        }
        Ok(())
    }
}

impl EngineModel {
    /// What an agent observes.
    pub(crate) fn seen(&self) -> EngineSnapshot {
        EngineSnapshot { containers: self.seen_containers(), ..self.seen_rest() }
    }

    fn seen_containers(&self) -> Vec<Container> {
        self.ours().map(|it| self.told(it)).collect()
    }

    /// A container, in the form in which this engine reports it.
    fn told(&self, it: &SimContainer) -> Container {
        let mut view = it.view.clone();
        view.networks = Some(Self::attached(it).clone().into_iter().collect());
        let owners = view.shares.values().filter_map(|id| self.containers.get(id));
        view.shares_since = owners.filter(|it| it.view.phase == ContainerPhase::Running).filter_map(|it| it.view.started).max();
        view.is_orphaned = !view.shares.values().all(|id| self.containers.contains_key(id));
        match (self.dialect, &mut view.made) {
            (Dialect::RestartOtherwise, _) if view.restart == RestartPolicy::No => view.restart = RestartPolicy::OnFailure(0),
            (Dialect::PortsOtherwise, Origin::Adopted(foreign)) => {
                let spelled = |port: &Port| Port { host_ip: "0.0.0.0".into(), ..port.clone() };
                foreign.config.ports = foreign.config.ports.iter().map(spelled).collect();
            }
            (Dialect::Normally | Dialect::RestartOtherwise | Dialect::PortsOtherwise, _) => (),
        }
        view
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
        let snapshots = self.snapshots.values().cloned().collect();
        EngineSnapshot { containers: Vec::new(), images, networks: networks.collect(), volumes: volumes.collect(), snapshots }
    }
}

/// An action under way. If it is dropped half-way, the engine may finish it all the same, a little later.
struct Underway<'a> {
    sim: &'a Sim,
    action: &'a EngineAction,
    sent: bool,
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let Ok(mut model) = self.sim.0.try_borrow_mut() else { return };
        model.checker.ended(self.action);
        if self.sent {
            model.hit(Mark::DeedHalfDone);
        }
        // The agent itself passes on what is copied.
        let is_agents = matches!(self.action, EngineAction::Pull(_) | EngineAction::KeepData(_) | EngineAction::PutDataBack(_));
        if self.sent && !is_agents && model.rngs.partial.happens(500) {
            let after = model.rngs.partial.millis(0, 5000);
            model.schedule(after, Job::FinishAction(Box::new(self.action.clone())));
        }
    }
}

impl Engine for Sim {
    async fn health_output(&self, container: &ContainerId) -> Option<String> {
        self.pass(1, 100).await;
        self.with(|model| {
            let mut containers = model.engine.seen_containers().into_iter();
            containers.find(|it| it.id == *container)?.health.map(|it| format!("the check says {}", it.word()))
        })
    }

    async fn observe(&self) -> Result<EngineSnapshot, EngineError> {
        self.with(|model| model.engine.looks += 1);
        let call_fault = self.with(Model::call_fault);
        self.pass(1, 100).await;
        self.fail_before(call_fault).await?;
        if self.with(|model| model.engine.observe_fails) {
            return Err(EngineError::Refused("500: no look at containers just now".into()));
        }
        let containers = self.with(|model| model.engine.seen_containers());
        // The rest is asked for later, and may already belong to another moment.
        self.pass(1, 100).await;
        self.answers(None)?;
        let rest = self.with(|model| model.engine.seen_rest());
        self.pass(0, 50).await;
        self.fail_after(call_fault).await?;
        Ok(EngineSnapshot { containers, ..rest })
    }

    async fn check_room(&self, images: &SortedSet<ImageRef>) -> Result<(), EngineError> {
        self.pass(1, 2000).await;
        self.answers(None)?;
        self.with(|model| {
            let missing = images.iter().map(EngineModel::registry).filter(|it| !model.engine.images.contains_key(&it.id));
            let needed: u64 = missing.map(|it| it.size_bytes).sum();
            let is_known = !model.rngs.calls.happens(model.rates.faults);
            if !is_known || model.engine.free_bytes() >= needed {
                return Ok(());
            }
            model.hit(Mark::UpdateTooLarge);
            Err(EngineError::Full(format!("{} images do not fit together", images.len())))
        })
    }

    async fn check_copies(&self, volumes: &SortedSet<String>) -> Result<(), EngineError> {
        self.pass(1, 2000).await;
        self.answers(None)?;
        self.with(|model| {
            let is_full = !volumes.is_empty() && model.engine.copy_room == CopyRoom::KnownTooSmall;
            if is_full { Err(EngineError::Full("the data of volumes is too large".into())) } else { Ok(()) }
        })
    }

    async fn execute(&self, action: &EngineAction, progress: &dyn Fn(DownloadProgress)) -> Result<(), EngineError> {
        self.with(|model| model.check_action(action));
        let mut underway = Underway { sim: self, action, sent: false };
        let call_fault = self.with(Model::call_fault);
        self.pass(1, 300).await;
        let done = match self.fail_before(call_fault).await {
            Ok(()) => {
                underway.sent = true;
                self.execute(action, progress).await
            }
            Err(error) => Err(error),
        };
        underway.sent = false;
        self.note(format_args!("{action}: {}", done.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned())));
        done?;
        self.fail_after(call_fault).await
    }

    fn events(&self) -> impl Stream<Item = ()> {
        // A new subscriber gets an event at once, as from a real engine: something may have changed before.
        let mut notifier = self.with(|model| model.notifiers.events.subscribe());
        notifier.mark_changed();
        stream::unfold(notifier, async |mut notifier| {
            let changed = pin!(notifier.changed()).await;
            changed.expect("the world outlives its agents");
            Some(((), notifier))
        })
    }

    fn logs(&self, container: ContainerId, from: LogCursor) -> impl Stream<Item = Result<EngineLogLine, EngineError>> {
        self.output(container, from, Extent::Follow)
    }

    fn past_logs(
        &self,
        container: ContainerId,
        from: LogCursor,
        tail: Option<u32>,
    ) -> impl Stream<Item = Result<EngineLogLine, EngineError>> {
        self.output(container, from, tail.map_or(Extent::Past, Extent::Tail))
    }
}

fn unreachable<T>(why: &str) -> Result<T, EngineError> {
    Err(EngineError::Unreachable(why.into()))
}

impl Sim {
    /// The engine is there, and still the one it was.
    pub(super) fn answers(&self, since: Option<u64>) -> Result<u64, EngineError> {
        let (up, epoch) = self.with(|model| (model.engine.up, model.engine.epoch));
        if !up {
            return unreachable("connection refused");
        }
        if self.with(Model::api_changed) {
            return unreachable("it speaks another API version now, and is asked anew");
        }
        if since.is_some_and(|since| since != epoch) {
            self.with(|model| model.hit(Mark::CallOutlivesEngine));
            return unreachable("connection reset by peer");
        }
        Ok(epoch)
    }

    async fn fail_before(&self, call_fault: CallFault) -> Result<(), EngineError> {
        match call_fault {
            CallFault::Good | CallFault::After | CallFault::HangAfter(_) => self.answers(None).map(drop),
            CallFault::Before => Err(EngineError::Refused("500: the engine had a bad moment".into())),
            CallFault::Hang(wait) => {
                sleep(wait).await;
                unreachable("no answer")
            }
        }
    }

    async fn fail_after(&self, call_fault: CallFault) -> Result<(), EngineError> {
        match call_fault {
            CallFault::Good | CallFault::Before | CallFault::Hang(_) => Ok(()),
            CallFault::After => {
                self.note("…but the answer is lost");
                Err(EngineError::Refused("500: the engine had a bad moment".into()))
            }
            CallFault::HangAfter(wait) => {
                self.note("…but the answer hangs");
                sleep(wait).await;
                unreachable("no answer")
            }
        }
    }

    async fn execute(&self, action: &EngineAction, progress: &dyn Fn(DownloadProgress)) -> Result<(), EngineError> {
        let epoch = self.answers(None)?;
        match action {
            EngineAction::Pull(reference) => self.pull(reference, epoch, progress).await,
            EngineAction::Stop(which) => self.stop(which, epoch).await,
            EngineAction::Kill(which) => self.kill(which, epoch).await,
            EngineAction::Restart(which) => {
                self.stop(which, epoch).await?;
                self.pass(1, 200).await;
                self.answers(Some(epoch))?;
                self.with(|model| model.apply(&EngineAction::Start(which.clone())))
            }
            EngineAction::Retire(which, name) => {
                self.with(|model| model.engine.rename(&which.id, name))?;
                self.pass(1, 50).await;
                self.answers(Some(epoch))?;
                self.with(|model| model.engine.rest(&which.id))
            }
            EngineAction::RunHook(which, run) => {
                self.run_hook(which, run, epoch).await?;
                self.with(|model| model.apply(action))
            }
            EngineAction::KeepData(_) | EngineAction::PutDataBack(_) => self.copy(action, epoch).await,
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
                self.with(|model| model.apply(action))
            }
        }
    }

    async fn pull(&self, reference: &ImageRef, epoch: u64, progress: &dyn Fn(DownloadProgress)) -> Result<(), EngineError> {
        let image = EngineModel::registry(reference);
        let parts = EngineModel::layers_of(&image);
        let here = self.with(|model| {
            let broken = model.engine.layers.get(&image.id).copied();
            if broken.is_some() {
                model.hit(Mark::PulledAgain);
            }
            broken.unwrap_or(0)
        });
        for part in here..parts {
            let room = self.with(|model| {
                let here = model.engine.images.contains_key(&image.id);
                here || model.engine.free_bytes() >= image.size_bytes
            });
            if !room {
                self.with(|model| model.hit(Mark::NoRoom));
                return Err(EngineError::Full(format!("{reference} does not fit")));
            }
            let bytes = |layers: u64| Some(image.size_bytes * layers / parts);
            let percent = u8::try_from(100 * part / parts).unwrap();
            progress(DownloadProgress { percent, bytes: bytes(part), total_bytes: bytes(parts) });
            self.pass(50, 12_000).await;
            self.answers(Some(epoch))?;
            self.with(|model| model.engine.layers.insert(image.id.clone(), part + 1));
            if part + 1 < parts
                && let Some(why) = self.with(Model::pull_fault)
            {
                return Err(EngineError::Refused(format!("{reference}: {why}")));
            }
        }
        let size = (here < parts).then_some(image.size_bytes);
        progress(DownloadProgress { percent: 100, bytes: size, total_bytes: size });
        self.with(|model| model.apply(&EngineAction::Pull(reference.clone())))
    }

    async fn stop(&self, which: &ContainerRef, epoch: u64) -> Result<(), EngineError> {
        let took = self.with(|model| {
            model.check_stop(which);
            let it = model.engine.at(&which.id)?;
            let most = u64::try_from(it.grace.as_millis()).unwrap();
            let alive = it.view.phase.is_alive();
            let took = model.rngs.containers.millis(0, if alive { most } else { 0 });
            Ok((took, took.as_millis() >= u128::from(most)))
        });
        let (took, slow) = took?;
        sleep(took).await;
        self.answers(Some(epoch))?;
        self.with(|model| {
            let done = model.engine.exit(&which.id, if slow { 137 } else { 143 }, true);
            model.event();
            done
        })
    }

    /// Stops, and then removes: two effects, and the world goes on between them.
    async fn kill(&self, which: &ContainerRef, epoch: u64) -> Result<(), EngineError> {
        if !self.with(|model| model.engine.containers.contains_key(&which.id)) {
            return Ok(());
        }
        self.stop(which, epoch).await?;
        self.pass(1, 200).await;
        self.answers(Some(epoch))?;
        // From here on the engine proceeds by itself, whether the caller waits or not.
        let took = self.with(|model| {
            let took = model.rngs.containers.millis(1, 1000);
            let stuck = model.rngs.calls.happens(model.rates.faults / 2);
            model.engine.at(&which.id)?.view.phase = if stuck { ContainerPhase::Dead } else { ContainerPhase::Removing };
            if stuck {
                model.hit(Mark::RemovalStuck);
                return Err(EngineError::Refused("driver failed to remove root filesystem".into()));
            }
            model.schedule(took, Job::Gone(which.id.clone()));
            Ok(took)
        })?;
        sleep(took + Duration::from_millis(10)).await;
        self.answers(Some(epoch)).map(drop)
    }
}
