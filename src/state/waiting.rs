//! What a plan waits for, and what no plan changes.

use std::fmt;

use crate::sorted::SortedMap;
use crate::state::config::RestartPolicy;
use crate::state::lease::Lease;
use crate::state::window::ClosedWindow;
use crate::state::{AppId, Condition, HeldLock, ServiceKey};

/// Something a plan waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waiting {
    /// An update lock that another program holds.
    Lock(AppId, HeldLock),
    /// A lease of the app. Of several, the one that ends last.
    Lease(AppId, Lease),
    /// An update window: of a service that runs, or of the device, for a reboot that its configuration requires.
    Window(Option<ServiceKey>, ClosedWindow),
    /// The hook of a service before its update, which failed for this reason and is run again.
    Hook(ServiceKey, String),
    /// A condition of a dependency, on which the service is started.
    Dependency(ServiceKey, Unmet),
    /// The images of the app's other services.
    Images(ServiceKey),
    /// The new containers of the release, which are created before an old one is killed.
    Containers(ServiceKey),
    /// The engine, which is stopping or removing a container.
    Engine(ServiceKey),
    /// A network or volume that is not there yet.
    Resource(ServiceKey, String),
    /// An app that left the target and still runs. It may have the devices and ports that the service needs.
    Predecessor(ServiceKey, AppId),
    /// The user who paused the container on the engine.
    Paused(ServiceKey),
    /// The developer's program, which stopped the container of a pushed app a moment ago and starts it again.
    StoppedByHand(ServiceKey),
    /// The next boot, which starts the service.
    Boot(ServiceKey),
    /// The next boot, with which the host's configuration takes effect, as this file says.
    Configured(String),
}

/// The windows that are closed, of everything that may be disturbed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClosedWindows {
    /// Those of services. A service that is not in it may be disturbed.
    pub services: SortedMap<ServiceKey, ClosedWindow>,
    /// That of a reboot which the device's configuration or a release requires.
    pub reboot: Option<ClosedWindow>,
}

/// A condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmet {
    /// The dependency.
    pub on: String,
    /// The condition that the dependency has to meet.
    pub condition: Condition,
    /// Why the condition will not hold by itself. `None`: it is on its way.
    pub never: Option<Never>,
}

/// Why a condition will hold only after a person changes something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Never {
    /// The target says that the dependency is not to run.
    NotToRun,
    /// A request stopped the dependency.
    Stopped,
    /// Its image cannot be pulled, or its container cannot be created or started.
    Failing,
    /// Its container has no health check.
    NoHealthCheck,
    /// Its health check fails.
    Unhealthy,
    /// It exited with this code, and its restart policy does not restart it.
    Exited(i32, RestartPolicy),
    /// Its restart policy restarts it whenever it exits, so that it never completes.
    Endless(RestartPolicy),
    /// It waits for this dependency of its own, in vain.
    HeldBack(String),
}

/// A difference from the target that only the owner can decide to resolve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs, in words.
    pub what: String,
    /// How it differs, and what to do about it.
    pub why: String,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(app, held) => write!(f, "app {app} is locked by its service {} ({})", held.service, held.path),
            Self::Lease(app, lease) => write!(f, "app {app} is locked by {lease}"),
            Self::Window(Some(key), window) => write!(f, "{key} waits for {window}"),
            Self::Window(None, window) => write!(f, "the reboot waits for {window}"),
            Self::Hook(key, why) => write!(f, "the update of {key} waits for its hook: {why}"),
            Self::Dependency(key, unmet) => write!(f, "{key} waits for {unmet}"),
            Self::Images(key) => write!(f, "{key} waits for the images of the release"),
            Self::Containers(key) => write!(f, "{key} waits until the new containers of the release are created"),
            Self::Engine(key) => write!(f, "{key} waits for the engine to stop or remove its container"),
            Self::Resource(key, name) => write!(f, "{key} waits for {name}"),
            Self::Predecessor(key, app) => write!(f, "{key} waits until app {app}, which gives way to it, no longer runs"),
            Self::Paused(key) => write!(f, "{key} is paused on the engine; `docker unpause` or the start verb lets it go on"),
            Self::StoppedByHand(key) => {
                write!(
                    f,
                    "{key} was stopped on the engine; unless that program starts it again, the agent does in some seconds"
                )
            }
            Self::Boot(key) => write!(f, "{key} is started by the next boot"),
            Self::Configured(file) => write!(f, "the host's configuration counts from the next boot ({file})"),
        }
    }
}

impl fmt::Display for Unmet {
    /// Completes "waits for".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.on, self.condition)?;
        self.never.as_ref().map_or(Ok(()), |why| write!(f, ", and it does not: {why}"))
    }
}

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotToRun => f.write_str("its target says `running: false`; change the target"),
            Self::Stopped => f.write_str("a request stopped it; start it"),
            Self::Failing => f.write_str("its image, its container or its start fails; the troubles tell why"),
            Self::NoHealthCheck => {
                f.write_str("its container has no health check; give it a `healthcheck`, or wait for `service_started`")
            }
            Self::Unhealthy => f.write_str("its health check fails; `docker inspect` shows what the check printed"),
            Self::Exited(code, policy) => write!(
                f,
                "it exited with {code}, and its restart policy `{policy}` leaves it so; start it again with `docker start`, or \
                 give it `restart: on-failure`"
            ),
            Self::Endless(policy) => write!(
                f,
                "its restart policy `{policy}` starts it again whenever it exits; give it `restart: \"no\"` or `on-failure`"
            ),
            Self::HeldBack(on) => write!(f, "it waits for {on} itself, in vain"),
        }
    }
}
