//! The apps that local mode keeps, and those that developers push.

use boardkeeper::state::{AppId, EngineAction};

use super::Model;
use super::invariants::MAX_STALENESS;
use super::marks::Mark;

/// Whether an app is one that developers push: no owner has one of its number.
pub(super) const fn is_pushed(app: AppId) -> bool {
    app.0 >= 4_000_000_000
}

impl Model {
    /// While local mode is on, nothing of the owner's apps is started, removed or replaced.
    pub(super) fn check_kept(&mut self, action: &EngineAction) {
        let app = match action {
            EngineAction::Create(spec) => spec.key.app,
            EngineAction::Kill(which) | EngineAction::Start(which) | EngineAction::Restart(which) => which.key.app,
            EngineAction::RemoveVolume(_, app) => *app,
            _ => return,
        };
        if is_pushed(app) {
            match action {
                EngineAction::Start(_) => self.hit(Mark::PushedRuns),
                EngineAction::RemoveVolume(..) => self.hit(Mark::PushedRemoved),
                _ => (),
            }
        } else if self.checker.local_since.is_some_and(|it| it.elapsed() > MAX_STALENESS) {
            self.violation(format_args!("{action}, whose app local mode keeps"));
        }
    }
}
