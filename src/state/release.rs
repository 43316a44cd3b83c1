//! Releases on trial: what proves a release of an app good, and what is known of one that failed.
//!
//! The words of the settings are the labels `io.boardkeeper.rollback`, `io.boardkeeper.settle` and `io.boardkeeper.deadline` of
//! services, the variable `SUPERVISOR_ROLLBACK` of the target, and `--rollback` of the agent.

use std::sync::Arc;
use std::time::Duration;

use crate::state::AppId;

/// The label with which a service asks that its app goes back to its last good release when a new one fails.
pub const ROLLBACK_LABEL: &str = "io.boardkeeper.rollback";
/// The label that says how long a service has to run before its release counts as good.
pub const SETTLE_LABEL: &str = "io.boardkeeper.settle";
/// The label that says how long a service may take to come to run.
pub const DEADLINE_LABEL: &str = "io.boardkeeper.deadline";
/// The target's variable that asks for rollbacks of all apps, without its prefix.
pub const ROLLBACK_SETTING: &str = "SUPERVISOR_ROLLBACK";
/// More restarts of a container than this make its release fail.
pub const MOST_RESTARTS: u32 = 5;
/// A step that failed this often in a row, for a reason that waiting does not mend, makes its release fail.
pub const MOST_FAILURES: u32 = 5;

/// What a service has to do for its release to count as good. Not part of its container's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialRules {
    /// Whether its app goes back to the last good release if this one fails. `None`: it has no such label.
    pub rollback: Option<bool>,
    /// How long it has to run, healthy where it has a health check.
    pub settle: Duration,
    /// How long that may take from when the last container of the release was started.
    pub deadline: Duration,
}

impl Default for TrialRules {
    fn default() -> Self {
        Self { rollback: None, settle: Duration::from_secs(60), deadline: Duration::from_secs(10 * 60) }
    }
}

/// A release that failed. It is not tried again before its app's target changes, or a user asks for an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRelease {
    /// The fingerprint of the app as the target had it: see [`crate::state::App::fingerprint`].
    pub fingerprint: String,
    /// Its commit.
    pub commit: Option<String>,
    /// When it failed, in seconds of the wall clock.
    pub at_secs: i64,
    /// Why it failed as a whole, where it is not known which service did.
    pub cause: Option<String>,
    /// The services that failed.
    pub services: Vec<FailedService>,
}

/// A service of a release that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedService {
    /// Its name.
    pub service: String,
    /// How it failed, as a sentence that begins with "it".
    pub why: String,
    /// The last lines that it logged.
    pub lines: Vec<String>,
    /// The output of its health check.
    pub health_output: Option<String>,
}

impl FailedRelease {
    /// Why it failed, in one line.
    #[must_use]
    pub fn why(&self) -> String {
        let services = self.services.iter().map(|it| format!("{}: {}", it.service, it.why));
        self.cause.iter().cloned().chain(services).collect::<Vec<_>>().join("; ")
    }
}

/// What is known of the release of an app whose releases are on trial before they count as good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseTrial {
    /// It is not proven yet, for these reasons: a service that has not run for long enough, and the like.
    OnTrial(Vec<String>),
    /// It is proven good.
    Good,
    /// It failed, and the app went back to its last good release, of this commit.
    RolledBack(Arc<FailedRelease>, Option<String>),
    /// It failed, and there is no release to go back to: the agent goes on trying.
    Failed(Arc<FailedRelease>),
}

impl ReleaseTrial {
    /// Its name in the API.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::OnTrial(_) => "on_trial",
            Self::Good => "good",
            Self::RolledBack(..) => "rolled_back",
            Self::Failed(_) => "failed",
        }
    }

    /// The release that failed.
    #[must_use]
    pub const fn failure(&self) -> Option<&Arc<FailedRelease>> {
        match self {
            Self::RolledBack(failed, _) | Self::Failed(failed) => Some(failed),
            Self::OnTrial(_) | Self::Good => None,
        }
    }
}

/// The trial of an app's release, in words: for logs, the state and the page.
#[must_use]
pub fn trial_text(app: &str, id: AppId, trial: &ReleaseTrial) -> Option<String> {
    let commit = |it: &Option<String>| it.as_deref().map_or_else(String::new, |it| format!(" {it}"));
    Some(match trial {
        ReleaseTrial::Good => return None,
        ReleaseTrial::OnTrial(reasons) => format!("the release of {app} (app {id}) is on trial: {}", reasons.join("; ")),
        ReleaseTrial::RolledBack(failed, good) => format!(
            "release{} of {app} (app {id}) failed: {}. The app went back to its last good release{}; change the target, or ask \
             for an update (POST /v1/update) to try it once more",
            commit(&failed.commit),
            failed.why(),
            commit(good)
        ),
        ReleaseTrial::Failed(failed) => format!(
            "release{} of {app} (app {id}) failed: {}. There is no good release to go back to, so the agent goes on trying",
            commit(&failed.commit),
            failed.why()
        ),
    })
}
