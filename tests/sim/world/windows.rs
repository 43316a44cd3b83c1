//! Update windows of random lives: every twenty minutes for six, from seven to twelve o'clock.

use std::fmt::Write as _;
use std::time::Duration;

use boardkeeper::state::window::{UPDATE_WINDOW_SETTING, UpdateWindow};
use boardkeeper::state::{ContainerPhase, ContainerRef, Target, Waiting};
use tokio::time::Instant;

use super::Model;
use super::engine_model::SimContainer;
use super::invariants::service;
use super::marks::Mark;

/// An agent may act on a plan up to this old, in seconds: a slow disk may hold it up.
const STALE_SECS: i64 = 60;
/// In that time after a boot the window may be open that a boot opens.
const AFTER_BOOT: Duration = Duration::from_secs(30 * 60);

/// The window, as its owner writes it.
pub(crate) fn often(prefix: &str) -> UpdateWindow {
    let mut text = prefix.to_owned();
    for hour in 7..12 {
        for minute in [0, 20, 40] {
            let separator = if text.is_empty() { "" } else { ";" };
            write!(text, "{separator}{hour:02}:{minute:02}-{hour:02}:{:02}", minute + 6).unwrap();
        }
    }
    text.parse().unwrap()
}

/// Whether it is open, by the clock alone.
const fn is_open(secs: i64) -> bool {
    let (hour, minute) = (secs / 3600 % 24, secs / 60 % 60);
    7 <= hour && hour < 12 && minute % 20 < 6
}

/// Gives the services of a target their windows, which depend on nothing but their names.
pub(super) fn give(target: &mut Target, window: &UpdateWindow) {
    target.config.insert(UPDATE_WINDOW_SETTING.to_owned(), window.text.clone());
    for (name, service) in target.apps.iter_mut().flat_map(|(_, app)| &mut app.services) {
        service.update_window = match name.as_str() {
            "db" => Some(often("reboot")),
            "mail" => Some("always".parse().unwrap()),
            _ => None,
        };
    }
}

impl Model {
    /// A running container is disturbed: within its window, or because a person asked for it, or to finish what was begun.
    pub(super) fn check_window(&mut self, what: &str, which: &ContainerRef) {
        let key = &which.key;
        let waits = key.service != "mail"
            && self.all_targets(|it| service(it, key).is_some() && it.config.contains_key(UPDATE_WINDOW_SETTING));
        // In local mode no window counts.
        if !waits || self.developer.is_some() {
            return;
        }
        let now = self.now_secs();
        if is_open(now) {
            return self.hit(Mark::WindowOpen);
        }
        let was_open = (0..=STALE_SECS).any(|it| is_open(now - it)) || self.jumped.elapsed() < Duration::from_secs(90);
        let boots = key.service == "db" && self.up() < AFTER_BOOT;
        let checker = &self.checker;
        let asked = [&checker.restarted, &checker.purged, &checker.ever_stopped].iter().any(|it| it.contains(&key.app));
        let began =
            |it: &SimContainer| it.view.key == *key && it.view.id != which.id && it.view.phase != ContainerPhase::Created;
        let is_finished = self.engine.ours().any(began);
        if was_open || boots || asked || is_finished {
            return;
        }
        if self.checker.forced_all {
            return self.hit(Mark::WindowForced);
        }
        self.violation(format_args!("{what}, outside its update window"));
    }

    /// Counts that something waits for a window.
    pub(super) fn see_windows(&mut self) {
        let waits = |it: &Waiting| matches!(it, Waiting::Window(..));
        if self.status.as_ref().is_some_and(|it| it.borrow().waiting.iter().any(waits)) {
            self.hit(Mark::WindowAwaited);
        }
    }

    /// The clock jumps.
    pub(super) fn note_jump(&mut self) {
        self.jumped = Instant::now();
    }
}
