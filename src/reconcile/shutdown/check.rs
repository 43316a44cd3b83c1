//! The check before a shutdown: whether the machine can shut down at all, and whether every app can be locked.

use tracing::warn;

use crate::port::{InhibitorMode, LockError, Locks, Power, PowerError, World};
use crate::request::Refusal;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::{AppId, Force, LockHolders, LockState, PowerAction};

/// The services of apps whose locks are to be taken, and whether locks held by a service are overridden.
pub(super) type AppLocks = SortedMap<AppId, (SortedSet<String>, Force)>;

/// Apps under whose locks the host is being configured, and the services that can hold a lock of them.
pub(super) type LentLocks = SortedMap<AppId, LockHolders>;

/// Checks whether the machine can shut down, and takes every lock. If it cannot, no lock stays taken that was not ours
/// before.
pub(super) async fn check<W: World>(
    world: &W,
    ending: PowerAction,
    apps: AppLocks,
    lent: LentLocks,
    force: Force,
) -> Result<(), Refusal> {
    let power = world.power();
    let failed = |why: PowerError| Refusal::Failed(why.to_string());
    let inhibitors = power.inhibitors().await.map_err(failed)?;
    if let Some(it) = inhibitors.iter().find(|it| it.mode == InhibitorMode::Block) {
        return Err(Refusal::Failed(format!("no {ending} now: {it}")));
    }
    power.check_shutdown(ending).await.map_err(failed)?;
    if force == Force::No
        && let Some(file) = power.host_update().await
    {
        return Err(Refusal::HostUpdate(file));
    }
    for (app, (services, overrides)) in &apps {
        let locked = match lent.get(app) {
            Some(holders) if *overrides == Force::No => none_held(world, *app, holders).await,
            Some(_) | None => world.locks().take(*app, services, *overrides).await,
        };
        match locked {
            Ok(()) => {}
            Err(LockError::Held(held)) => return Err(Refusal::LockedApp(*app, held)),
            // A forced shutdown goes on: a card that is no longer writable may be the reason for the shutdown.
            Err(error) if force == Force::Yes => {
                warn!(%app, %error, "cannot take the app's update locks; the forced shutdown goes on");
            }
            Err(error) => return Err(Refusal::Failed(error.to_string())),
        }
    }
    Ok(())
}

/// While the host is being configured under an app's locks, taking them again would release them on failure. They are only
/// read.
async fn none_held<W: World>(world: &W, app: AppId, holders: &LockHolders) -> Result<(), LockError> {
    let seen = world.locks().observe(&SortedMap::from_iter([(app, holders.clone())])).await?;
    let held = seen.values().find_map(LockState::held);
    held.map_or(Ok(()), |held| Err(LockError::Held(held.clone())))
}
