//! What is to be done with the data of an app's volumes, and what may not be created before.

use crate::plan::container::is_fresh;
use crate::plan::input::{PlanInput, volumes};
use crate::sorted::SortedSet;
use crate::state::{App, AppId, Container, ContainerPhase, DataDemand, DataPlan, Service, ServiceKey, Volume};

/// What is to be done with the data of an app's volumes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataWork<'a> {
    /// These are to be copied.
    Keep(&'a SortedSet<String>),
    /// These are to be put back.
    PutBack(&'a SortedSet<String>),
    /// All is done, but no record of it is on the disk.
    Unsaved,
}

impl<'a> DataWork<'a> {
    /// What is to be done for an app. `None`: nothing holds up its containers.
    pub(super) fn of(input: PlanInput<'a>, id: AppId) -> Option<Self> {
        let plan = data_plan(input, id)?;
        match &plan.demand {
            DataDemand::PutBack(names) => Some(Self::PutBack(names)),
            // A release for which no container is started changes no data.
            DataDemand::Keep(names) if starts_any(input, input.app(id)?) => Some(Self::Keep(names)),
            DataDemand::Keep(_) | DataDemand::Nothing => plan.unsaved.then_some(Self::Unsaved),
        }
    }

    pub(super) fn names(self) -> Option<&'a SortedSet<String>> {
        match self {
            Self::Keep(names) | Self::PutBack(names) => Some(names),
            Self::Unsaved => None,
        }
    }

    /// Whether a container has one of the volumes.
    pub(super) fn concerns(self, container: &Container) -> bool {
        let app = container.key.app;
        self.names().into_iter().flatten().any(|it| container.volumes.contains(&Volume::engine_name(app, it)))
    }

    /// Whether a service is to have one of the volumes.
    pub(super) fn is_for(self, service: &Service) -> bool {
        self.names().is_some_and(|names| volumes(service).any(|it| names.contains(it)))
    }

    /// What a service waits for, in words.
    pub(super) fn text(self) -> String {
        let list = |names: &SortedSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        match self {
            Self::Keep(names) => format!("the data of volume {} to be copied", list(names)),
            Self::PutBack(names) => format!("the data of volume {} to be put back", list(names)),
            Self::Unsaved => "the record of its volumes' data to be saved".to_owned(),
        }
    }
}

/// The plan for an app's data. A purge ends it, and so does the app's removal; local mode does for as long as it lasts.
pub(super) fn data_plan(input: PlanInput<'_>, app: AppId) -> Option<&DataPlan> {
    let goes_on = input.app(app).is_some() && !input.is_purged(app) && !input.target.keeps(app);
    input.current.data.get(&app).filter(|_| goes_on)
}

/// Whether a container of the release is yet to be started for the first time.
fn starts_any(input: PlanInput<'_>, app: &App) -> bool {
    let changed = input.changed_networks(app);
    app.services.iter().any(|(name, service)| {
        let key = ServiceKey::new(app.id, name);
        let mut own = input.containers_of(app.id).filter(|it| it.key == key);
        let has_run = |it: &Container| it.phase != ContainerPhase::Created && is_fresh(input, app, service, it, &changed);
        input.is_wanted_running(&key, service) && !own.any(has_run)
    })
}

/// What the creation of a container waits for: no container may have a volume that is created anew.
pub(super) fn creation_waits(input: PlanInput<'_>, app: &App, service: &Service) -> Option<String> {
    let work = DataWork::of(input, app.id).filter(|it| matches!(it, DataWork::PutBack(_)) && it.is_for(service))?;
    Some(work.text())
}

/// Whether a volume is created with its data, and not empty before.
pub(super) fn is_put_back(input: PlanInput<'_>, app: AppId, name: &str) -> bool {
    matches!(DataWork::of(input, app), Some(DataWork::PutBack(names)) if names.contains(name))
}
