//! What a service depends on before it is started, in the terms of the compose specification.

use std::fmt;

/// The condition that another service of the app must meet before a service is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// The condition to wait for.
    pub condition: Condition,
    /// `false`: the service does not wait for a dependency that is missing, fails or is not to run.
    pub required: bool,
    /// The dependent is restarted after the dependency's container was created anew.
    pub restart: bool,
}

impl Default for Dependency {
    /// The dependency of the short form: a name and nothing else.
    fn default() -> Self {
        Self { condition: Condition::Started, required: true, restart: false }
    }
}

/// A condition of `depends_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// `service_started`: its container was started.
    Started,
    /// `service_healthy`: its container runs, and its health check succeeds.
    Healthy,
    /// `service_completed_successfully`: its container exited with 0, and is not started again.
    Completed,
}

impl Condition {
    /// A condition by its name in documents.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "service_started" => Self::Started,
            "service_healthy" => Self::Healthy,
            "service_completed_successfully" => Self::Completed,
            _ => return None,
        })
    }
}

impl fmt::Display for Condition {
    /// Completes "waits for … to".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "be started",
            Self::Healthy => "be healthy",
            Self::Completed => "complete with exit code 0",
        })
    }
}

/// The result of the engine's health check of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthStatus {
    /// The check has not succeeded yet, and has not failed often enough.
    Starting,
    /// The check succeeds.
    Healthy,
    /// The check failed as often in a row as its `retries` say.
    Unhealthy,
}

impl HealthStatus {
    /// A status by the engine's name for it. `None`: the container has no health check.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "starting" => Self::Starting,
            "healthy" => Self::Healthy,
            "unhealthy" => Self::Unhealthy,
            _ => return None,
        })
    }

    /// The engine's name for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}
