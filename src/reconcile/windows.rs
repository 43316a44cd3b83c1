//! Update windows: which are closed now, and when the next one opens or closes.
//!
//! A service's window is that of its label; where it has none, that of the target's configuration; else that of the agent's
//! own. A service that left the target keeps the window that it had in the last target that was reached.

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use crate::port::{BootWindow, Clock, World};
use crate::reconcile::Reconciler;
use crate::reconcile::persistence::RecordKind;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::window::{AROUND_SECS, ClosedWindow, KnownZones, Opening, UPDATE_WINDOW_SETTING, UpdateWindow, WindowState};
use crate::state::{ClosedWindows, Container, ServiceKey, Target, Waiting};

/// How long the window is open that the first start of the agent in a boot opens, unless everything is as wanted earlier.
const BOOT_WINDOW: Duration = Duration::from_secs(10 * 60);
/// A first start of the agent that is later after the boot is none that the boot caused: the agent was just installed.
const BOOT_TAKES: Duration = Duration::from_secs(15 * 60);
/// How long offsets of zones are used before they are read again: a user may choose another zone for the device.
const ZONES_FOR: Duration = Duration::from_secs(60);

/// Which update windows are closed.
#[derive(Debug)]
pub(super) struct WindowTracker {
    /// The window that the agent is configured with.
    configured: Option<UpdateWindow>,
    /// The window that a reboot opens.
    boot_window: BootWindow,
    closed: ClosedWindows,
    zones: Zones,
}

/// The offsets of zones, and what they were read for.
#[derive(Debug, Default)]
struct Zones {
    known: KnownZones,
    /// When they were read, and the wall clock then.
    read: Option<(Instant, i64)>,
}

impl WindowTracker {
    /// No window is known to be closed. `boot_window`: as stored.
    pub(super) fn new(configured: Option<UpdateWindow>, boot_window: BootWindow) -> Self {
        Self { configured, boot_window, closed: ClosedWindows::default(), zones: Zones::default() }
    }

    /// The windows that are closed.
    pub(super) const fn closed(&self) -> &ClosedWindows {
        &self.closed
    }

    /// The window that a reboot opens, for its record.
    pub(super) const fn boot_window(&self) -> &BootWindow {
        &self.boot_window
    }

    /// The agent starts. Returns whether the record changed: it is the first start in this boot.
    fn begin_boot(&mut self, boot_id: &str, up: Duration) -> bool {
        if self.boot_window.boot_id == boot_id {
            return false;
        }
        let closes_up = if up <= BOOT_TAKES { up + BOOT_WINDOW } else { Duration::ZERO };
        self.boot_window = BootWindow { boot_id: boot_id.to_owned(), closes_up };
        true
    }
}

/// Logs what a new plan waits for and the plan before did not.
pub(super) fn log_new_waits(before: &[Waiting], now: &[Waiting]) {
    let of = |it: &Waiting| if let Waiting::Window(key, _) = it { Some(key.clone()) } else { None };
    let before: SortedSet<_> = before.iter().filter_map(of).collect();
    for waiting in now.iter().filter(|it| of(it).is_some_and(|key| !before.contains(&key))) {
        info!("{waiting}");
    }
}

impl<W: World> Reconciler<'_, W> {
    /// The first start of the agent in a boot opens a window.
    pub(super) async fn open_boot_window(&mut self) {
        let clock = self.context.world.clock();
        if self.windows.begin_boot(&clock.boot_id(), clock.up()) {
            self.save(RecordKind::BootWindow).await;
        }
    }

    /// Everything is as wanted: what comes from now on waits for the next boot.
    pub(super) async fn close_boot_window(&mut self) {
        if self.windows.boot_window.closes_up > self.context.world.clock().up() {
            self.windows.boot_window.closes_up = Duration::ZERO;
            self.save(RecordKind::BootWindow).await;
            self.request_resync();
        }
    }

    /// Finds the windows that are closed now, and schedules an observation for when one opens or closes.
    pub(super) async fn refresh_windows(&mut self, containers: &[Container]) {
        let windows = self.windows_of_services(containers);
        let device = self.device_window();
        self.windows.closed = ClosedWindows::default();
        if windows.is_empty() && device.is_none() {
            return;
        }
        let clock = self.context.world.clock();
        let (now, up) = (clock.now_secs(), clock.up());
        let zones = windows.values().chain(&device).flat_map(|it| &it.times).map(|it| it.zone.clone()).collect();
        self.windows.zones.read(clock, zones, now).await;
        let at_boot = up < self.windows.boot_window.closes_up;
        let mut next = None;
        let zones = &self.windows.zones.known;
        let mut closed = |window: &UpdateWindow| {
            let state = window.state(now, at_boot, zones);
            let edge = match &state {
                WindowState::Open(closes) => *closes,
                WindowState::Closed(Opening::At { secs, .. }) => Some(*secs),
                WindowState::Closed(_) => None,
            };
            next = edge.into_iter().chain(next).min();
            match state {
                WindowState::Open(_) => None,
                WindowState::Closed(opens) => Some(ClosedWindow { text: window.text.clone(), opens }),
            }
        };
        let services: SortedMap<_, _> =
            windows.iter().filter_map(|(key, window)| Some((key.clone(), closed(window)?))).collect();
        let reboot = if let Some(device) = &device {
            closed(device)
        } else {
            // Without a window of the device's own a reboot disturbs what runs, so it waits for those windows.
            let mut alive = containers.iter().filter(|it| it.phase.is_alive());
            alive.find_map(|it| services.get(&it.key).cloned())
        };
        self.windows.closed = ClosedWindows { services, reboot };
        if at_boot {
            self.observed.schedule().resync_by(Instant::now() + self.windows.boot_window.closes_up.saturating_sub(up));
        }
        if let Some(wait) = next.and_then(|it| u64::try_from(it - now).ok()) {
            self.observed.schedule().resync_by(Instant::now() + Duration::from_secs(wait));
        }
    }

    /// The window of every service that has one and is wanted or has a container.
    fn windows_of_services(&self, containers: &[Container]) -> SortedMap<ServiceKey, UpdateWindow> {
        let wanted = self.target().into_iter().flat_map(Target::services);
        let wanted = wanted.map(|(app, name, _)| ServiceKey::new(app.id, name));
        let all: SortedSet<_> = wanted.chain(containers.iter().map(|it| it.key.clone())).collect();
        let device = self.device_window();
        let window = |key: ServiceKey| {
            let service = self.target().and_then(|it| it.service(&key)).or_else(|| self.targets.last_good()?.service(&key));
            let own = service.and_then(|it| it.update_window.clone());
            Some((key, own.or_else(|| device.clone())?))
        };
        all.into_iter().filter_map(window).collect()
    }

    /// The window of the device: that of the target's configuration, or that of the agent's own.
    fn device_window(&self) -> Option<UpdateWindow> {
        let targeted = self.target().and_then(|it| it.config.get(UPDATE_WINDOW_SETTING)?.parse().ok());
        targeted.or_else(|| self.windows.configured.clone())
    }
}

impl Zones {
    /// Reads these zones, unless that was done a short while ago.
    async fn read(&mut self, clock: &impl Clock, zones: SortedSet<Option<String>>, now: i64) {
        let is_old = self.read.is_none_or(|(at, clock)| {
            let passed = i64::try_from(at.elapsed().as_secs()).unwrap_or(i64::MAX);
            // The clock was set.
            at.elapsed() > ZONES_FOR || (now - clock).abs_diff(passed) > ZONES_FOR.as_secs()
        });
        if is_old {
            self.known.clear();
            self.read = Some((Instant::now(), now));
        }
        for zone in zones {
            if !self.known.contains_key(&zone) {
                let range = now + AROUND_SECS.start()..now + AROUND_SECS.end();
                let offsets = clock.zone_offsets(zone.as_deref(), range).await;
                self.known.insert(zone, offsets);
            }
        }
    }
}

#[cfg(test)]
mod tests;
