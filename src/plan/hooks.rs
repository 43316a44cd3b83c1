//! The hook before an update: the agent runs a command in a service's container before the first step that disturbs it.

use crate::plan::input::PlanInput;
use crate::state::hook::{HookOutcome, HookRun};
use crate::state::{Container, ContainerPhase, EngineAction, Step, Waiting};

/// What becomes of a step that may have to wait for a hook.
pub(super) enum HookHold {
    /// It waits for none.
    None,
    /// The hook is run in its place, and the step follows in the next plan.
    Run(EngineAction),
    /// The hook failed: the step waits.
    Wait(Waiting),
}

/// The hook that a step has to wait for. Only an update has one: neither what a person requested, nor the removal of a service
/// that is not in the target, nor an app that goes back to what ran before.
pub(super) fn hold(input: PlanInput<'_>, step: &Step) -> HookHold {
    let Step::Engine(EngineAction::Kill(which) | EngineAction::Retire(which, _)) = step else { return HookHold::None };
    let Some(container) = input.current.containers.iter().find(|it| it.id == which.id) else { return HookHold::None };
    let (Some(hook), Some(wanted)) = (&container.before_update, input.hashes.get(&which.key)) else { return HookHold::None };
    if !is_held(input, container) {
        return HookHold::None;
    }
    match input.current.hooks.get(&(which.id.clone(), wanted.clone())) {
        Some(HookOutcome::Done) => HookHold::None,
        Some(HookOutcome::Failed(why)) => HookHold::Wait(Waiting::Hook(which.key.clone(), why.clone())),
        None => {
            let run = HookRun { hook: hook.clone(), wanted: wanted.clone() };
            HookHold::Run(EngineAction::RunHook(which.clone(), Box::new(run)))
        }
    }
}

/// Whether the hook of a container counts. One that does not run cannot run a command.
fn is_held(input: PlanInput<'_>, container: &Container) -> bool {
    let app = &container.key.app;
    let is_requested = input.overrides.recreate.contains(&container.id) || input.overrides.purge.contains(app);
    // By force, as outside of a window; and in local mode a person switched the apps.
    let is_skipped = input.overrides.outside_windows.contains(app) || input.overrides.without_hooks.contains(app);
    container.phase == ContainerPhase::Running && !is_requested && !is_skipped && input.target.local.is_none()
}
