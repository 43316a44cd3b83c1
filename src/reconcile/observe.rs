//! Observes the engine, the update locks, and whether the host requires a reboot.

use crate::port::{Engine, EngineError, EngineSnapshot, LockError, Locks, Power, World};
use crate::reconcile::observed::add_containers;
use crate::sorted::SortedMap;
use crate::state::{AppId, LockHolders, LockState};

/// The result of an observation.
pub(super) struct Observation {
    /// The engine's objects.
    pub(super) engine: Result<EngineSnapshot, EngineError>,
    /// The update locks, by app.
    pub(super) locks: Result<SortedMap<AppId, LockState>, LockError>,
    /// The file that says a reboot is required.
    pub(super) boot_wanted: Option<String>,
}

/// Observes the engine, the locks of every app there is, and whether the host requires a reboot. `knows_containers`: `apps`
/// includes the services that had containers when the engine answered last.
pub(super) async fn observe<W: World>(
    world: &W,
    mut apps: SortedMap<AppId, LockHolders>,
    knows_containers: bool,
) -> Observation {
    let engine = world.engine().observe().await;
    match &engine {
        Ok(seen) => add_containers(&mut apps, &seen.containers),
        Err(_) if knows_containers => (),
        // An app to be removed may still have containers, and a lock that holds up a reboot. A read error here shows up in
        // the call below.
        Err(_) => {
            let found = world.locks().apps().await.unwrap_or_default();
            apps = apps.into_iter().map(|(app, _)| app).chain(found).map(|app| (app, LockHolders::All)).collect();
        }
    }
    let locks = world.locks().observe(&apps).await;
    Observation { engine, locks, boot_wanted: world.power().boot_wanted().await }
}
