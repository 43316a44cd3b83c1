//! Releases that failed: what the device comes to instead.

use boardkeeper::state::{ReleaseTrial, Target};

use super::Model;
use super::marks::Mark;

impl Model {
    /// What the device has to come to: what is wanted, but of an app whose release failed the last good release.
    pub(crate) fn goal(&self) -> Target {
        let mut goal = self.targets.wanted.clone();
        let Some(status) = &self.status else { return goal };
        for (id, trial) in &status.borrow().releases {
            if !matches!(trial, ReleaseTrial::RolledBack(..)) {
                continue;
            }
            let kept = &self.disk.kept.targets;
            let good = kept.good_apps.get(id).or(kept.last_good.as_ref()).and_then(|it| it.apps.get(id));
            if let (Some(good), Some(app)) = (good, goal.apps.get_mut(id)) {
                app.clone_from(good);
            }
        }
        goal
    }

    /// Notes which ways releases take.
    pub(crate) fn mark_releases(&mut self) {
        let Some(status) = &self.status else { return };
        let trials: Vec<_> = status.borrow().releases.values().cloned().collect();
        for trial in trials {
            match trial {
                ReleaseTrial::OnTrial(_) => (),
                ReleaseTrial::Good => self.hit(Mark::ReleaseProved),
                ReleaseTrial::RolledBack(..) => self.hit(Mark::ReleaseRolledBack),
                ReleaseTrial::Failed(_) => self.hit(Mark::ReleaseFailed),
            }
        }
    }
}
