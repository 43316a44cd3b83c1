//! The data of volumes: who wrote it, and whether a copy of it is whole.

use std::collections::BTreeMap;

use boardkeeper::port::EngineError;
use boardkeeper::sorted::SortedMap;
use boardkeeper::state::{
    AppId, Container, ContainerId, DataPlan, EngineAction, KeptData, Origin, ReleaseTrial, Status, VolumeCopy, VolumeSnapshot,
};

use super::engine_model::{Done, EngineModel, Owned, refuse};
use super::marks::Mark;
use super::{Model, Sim};

/// What a volume or a snapshot has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VolumeData {
    /// The services that wrote to it since a release of the app was last proven good, with their images.
    pub(crate) writes: Vec<(String, String)>,
    /// A copy to it was begun, and is not done.
    pub(crate) half: bool,
}

/// Whether copies fit on the engine's disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum CopyRoom {
    #[default]
    Enough,
    /// They do not, and the engine says so beforehand.
    KnownTooSmall,
    /// They do not, and that is found when they are made.
    FoundTooSmall,
}

impl EngineModel {
    /// A container has started: it writes to its volumes.
    pub(super) fn write_volumes(&mut self, id: &ContainerId) {
        let Some(it) = self.containers.get(id) else { return };
        let by = (it.view.key.service.clone(), it.view.image_ref.to_string());
        for volume in it.view.volumes.clone() {
            let data = self.data.entry(volume).or_default();
            if data.writes.last() != Some(&by) {
                data.writes.push(by.clone());
            }
        }
    }

    /// A copy begins. What it is written to is half from now on.
    pub(crate) fn begin_copy(&mut self, action: &EngineAction) -> Done {
        match action {
            EngineAction::KeepData(copy) => {
                let VolumeCopy { name, volume, .. } = &**copy;
                if !self.volumes.contains_key(&volume.name) {
                    return refuse(format!("no such volume: {}", volume.name));
                }
                if self.volumes.contains_key(&copy.snapshot()) {
                    return refuse(format!("no supervisor made volume {}", copy.snapshot()));
                }
                let snapshot = VolumeSnapshot { name: copy.snapshot(), app: volume.app, volume: name.clone() };
                self.data.insert(snapshot.name.clone(), VolumeData { writes: Vec::new(), half: true });
                self.snapshots.insert(snapshot.name.clone(), snapshot);
                Ok(())
            }
            EngineAction::PutDataBack(copy) => {
                if self.volumes.contains_key(&copy.snapshot()) {
                    return refuse(format!("no supervisor made volume {}", copy.snapshot()));
                }
                if !self.snapshots.contains_key(&copy.snapshot()) {
                    return refuse(format!("the copy {} was removed", copy.snapshot()));
                }
                self.remove_volume(&copy.volume.name)?;
                let new = Owned::Ours((copy.volume.app, copy.volume.config.clone()));
                self.volumes.insert(copy.volume.name.clone(), new);
                self.data.insert(copy.volume.name.clone(), VolumeData { writes: Vec::new(), half: true });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A copy ends.
    pub(crate) fn end_copy(&mut self, action: &EngineAction) -> Done {
        if self.copy_room == CopyRoom::FoundTooSmall && matches!(action, EngineAction::KeepData(_)) {
            return Err(EngineError::Full("no space left on device".into()));
        }
        let (copy, to) = match action {
            EngineAction::KeepData(copy) => (copy, copy.snapshot()),
            EngineAction::PutDataBack(copy) => (copy, copy.volume.name.clone()),
            _ => return Ok(()),
        };
        let from = if to == copy.volume.name { copy.snapshot() } else { copy.volume.name.clone() };
        let writes = |it: &super::engine_model::SimContainer| it.view.phase.is_alive() && it.view.volumes.contains(&from);
        if self.containers.values().any(writes) {
            return refuse(format!("the copy differs from {from}"));
        }
        // Another program may have removed either meanwhile.
        let is_there = |name: &String| self.snapshots.contains_key(name) || self.volumes.contains_key(name);
        if !is_there(&from) || !is_there(&to) {
            return refuse(format!("no such volume: {from} or {to}"));
        }
        let data = self.data.get(&from).cloned().unwrap_or_default();
        self.data.insert(to, data);
        Ok(())
    }
}

impl Sim {
    /// Copies a volume, which takes its time: the world goes on meanwhile.
    pub(super) async fn copy(&self, action: &EngineAction, epoch: u64) -> Done {
        self.pass(1, 1500).await;
        self.answers(Some(epoch))?;
        self.with(|model| model.engine.begin_copy(action))?;
        self.pass(100, 20_000).await;
        self.answers(Some(epoch))?;
        self.with(|model| {
            model.mark_copy(action);
            model.event();
            model.engine.end_copy(action)
        })
    }
}

impl Model {
    /// The agent starts a container: its volumes have the data of its release, whole.
    pub(super) fn check_data(&mut self, id: &ContainerId) {
        let Some(view) = self.engine.containers.get(id).map(|it| it.view.clone()) else { return };
        for name in &view.volumes {
            let Some(data) = self.engine.data.get(name).cloned() else { continue };
            if data.half {
                self.violation(format_args!("start {}, while half the data of volume {name} is there", view.key));
            }
            if let Some(by) = self.alien_write(&view, name, &data) {
                self.violation(format_args!("start {}, with data in {name} that {} of a failed release wrote", view.key, by.1));
            }
        }
    }

    /// What a release that failed wrote to a volume which the app's good release has again. A container of the release that
    /// failed may go on with it.
    fn alien_write(&self, view: &Container, volume: &str, data: &VolumeData) -> Option<(String, String)> {
        let app = view.key.app;
        if self.checker.new_volumes.contains(volume) || self.checker.purged.contains(&app) {
            return None;
        }
        let is_back = |status: &Status| matches!(status.releases.get(&app), Some(ReleaseTrial::RolledBack(..)));
        if !self.status.as_ref().is_some_and(|it| is_back(&it.borrow())) {
            return None;
        }
        let wanted = self.targets.wanted.apps.get(&app)?;
        let is_kept = |name: &String| format!("{app}_{name}") == *volume && wanted.volumes.contains_key(name);
        if !wanted.snapshots.iter().any(is_kept) {
            return None;
        }
        let kept = &self.disk.kept.targets;
        let target = kept.good_apps.get(&app).or(kept.last_good.as_ref())?;
        if !self.hashes_by(target, &view.key).into_iter().any(|it| view.made == Origin::Ours(it)) {
            return None;
        }
        let good = target.apps.get(&app)?;
        let is_good =
            |(service, image): &&(String, String)| good.services.get(service).is_some_and(|it| it.image.as_str() == image);
        data.writes.iter().find(|it| !is_good(it)).cloned()
    }

    /// The record of targets is saved: where another release is the good one, all data is of that.
    pub(super) fn forget_proven_writes(&mut self) {
        let kept = &self.disk.kept.targets;
        let apps = kept.last_good.iter().chain(kept.good_apps.values()).flat_map(|it| it.apps.keys());
        let good =
            |app: &AppId| Some((*app, kept.good_apps.get(app).or(kept.last_good.as_ref())?.apps.get(app)?.fingerprint()));
        let now: BTreeMap<AppId, String> = apps.filter_map(good).collect();
        for (app, fingerprint) in &now {
            if self.checker.good.get(app) != Some(fingerprint) {
                let of_app = format!("{app}_");
                self.engine.data.iter_mut().filter(|(name, _)| name.starts_with(&of_app)).for_each(|(_, it)| it.writes.clear());
                self.checker.new_volumes.retain(|name| !name.starts_with(&of_app));
            }
        }
        self.checker.good = now;
    }

    /// The copies that an agent keeps, as the disk has it: nothing is to be done about them.
    pub(super) fn kept_data(&self) -> SortedMap<AppId, DataPlan> {
        let names = |kept: &KeptData| kept.volumes.iter().filter(|it| it.1.has_snapshot()).map(|it| it.0.clone()).collect();
        let plan = |(app, kept): (&AppId, &KeptData)| (*app, DataPlan { kept: names(kept), ..DataPlan::default() });
        self.disk.kept.kept_data.iter().map(plan).collect()
    }

    /// Notes which ways data takes.
    pub(super) fn mark_copy(&mut self, action: &EngineAction) {
        match action {
            EngineAction::KeepData(_) => self.hit(Mark::DataKept),
            EngineAction::PutDataBack(_) => self.hit(Mark::DataPutBack),
            _ => (),
        }
    }
}
