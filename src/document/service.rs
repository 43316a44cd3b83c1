//! One service of a document.

use std::time::Duration;

use crate::sorted::{SortedMap, SortedSet};
use crate::state::service::{Feature, Strategy};
use crate::state::switch::is_on;
use crate::state::window::UPDATE_WINDOW_LABEL;
use crate::state::{ImageRef, Service};

use super::at::{Cursor, quoted};
use super::fields::ObjectFields;
use super::labels::{ReleaseLabels, hook_labels, owners_labels};
use super::release_names::ReleaseNames;
use super::{compose, depends, mounts, networks, rules, trial};

/// The label that holds a hash of the contents of a service's secrets and configs, from the reader of compose files.
const MOUNTED_FILES: &str = "io.boardkeeper.mounted-files";

/// How long a hand-over waits if no label sets it: the default of both generations of supervisors.
pub(super) const HANDOVER: Duration = Duration::from_secs(60);

/// Reads a service. Compose fields are under `composition` (v3), or beside the others (v2). `None`: the agent must not run it.
pub(super) fn read(id: u32, name: &str, at: &Cursor<'_>, known: &ReleaseNames, release: &ReleaseLabels) -> Option<Service> {
    let mut fields = ObjectFields::of(at);
    fields.skip(&["contract", "id", "service_name", "service_id", "app_id", "release_id", "commit", "created_at", "status"]);
    let image = image(at, &mut fields);
    let image_id = fields.id("image_id");
    let running = fields.flag("running");
    // Beside a composition, names are those that a cloud accepts.
    let (variable, label): (rules::Rule, rules::Rule) =
        if known.is_compose_file() { (rules::key, rules::key) } else { (rules::variable, rules::label) };
    let env = fields.take("environment").map(|it| compose::environment(it, variable)).unwrap_or_default();
    let labels = fields.pairs("labels", label);
    let mut fields = inner(fields);

    let mut all_env = fields.take("environment").map(|it| compose::environment(it, rules::key)).unwrap_or_default();
    all_env.extend(env);
    let mut all_labels = fields.pairs("labels", rules::key);
    all_labels.extend(labels);
    let update_window = release.effective(UPDATE_WINDOW_LABEL, at, &mut all_labels).and_then(|it| it.parse().ok());
    let trial = trial::rules(release, at, &mut all_labels);
    let of_hooks = hook_labels(release, at, &mut all_labels);
    let mut labels = owners_labels(at, all_labels);
    labels.extend(of_hooks);
    if let Some(hash) = fields.text("x_boardkeeper_mounted_files").filter(|_| known.is_compose_file()) {
        labels.insert(MOUNTED_FILES.to_owned(), hash);
    }
    if let Some(why) = host_image(&labels) {
        at.warn(&format!("an image of the host ({why}), left to it"));
        return None;
    }

    let mut depends_on = fields.take("depends_on").map(|it| depends::read(&it, known, name)).unwrap_or_default();
    let mut config = compose::read(&mut fields, known);
    let mut shared = SortedSet::new();
    networks::attach(&mut fields, known, name, &mut config, &mut shared);
    // No container can join a namespace of a container that does not run.
    shared.extend(config.shares().map(|(_, owner)| owner.to_owned()));
    for name in shared {
        depends_on.entry(name).or_default();
    }
    let running = fields.flag("running").or(running).unwrap_or(true);
    fields.rest();

    let features = features(at, &labels);
    mounts::leave_room(at, &config, &features);
    config.gpus = u32::from(features.contains(&Feature::Gpu));
    config.env = all_env;
    let (strategy, handover_timeout) = (strategy(at, &labels), handover(at, &labels));
    let requires_reboot = labels.get("io.balena.update.requires-reboot").is_some_and(|it| is_on(it));
    config.labels = labels;
    Some(Service {
        id,
        image: ImageRef::new(&image.unwrap_or_default()),
        image_id,
        running,
        depends_on,
        strategy,
        handover_timeout,
        requires_reboot,
        update_window,
        trial,
        features,
        config,
    })
}

/// The compose fields. The `image` in a `composition` is what was built, not what is run.
fn inner(mut outer: ObjectFields<'_>) -> ObjectFields<'_> {
    let Some(composition) = outer.take("composition") else { return outer };
    outer.rest();
    let mut fields = ObjectFields::of(&composition);
    fields.skip(&["image"]);
    fields
}

/// Reads the image to run.
pub(super) fn image(at: &Cursor<'_>, fields: &mut ObjectFields<'_>) -> Option<String> {
    let Some(image) = fields.take("image") else {
        at.missing("image", "the name of an image");
        return None;
    };
    let text = image.text()?;
    if let Some(expected) = rules::image(text) {
        image.expected(expected);
    }
    Some(text.to_owned())
}

/// Why an image belongs to the host and is not run as a container.
fn host_image(labels: &SortedMap<String, String>) -> Option<String> {
    let other = |name: &str, ours: &str| labels.get(name).filter(|it| *it != ours).map(|it| format!("{name}={it}"));
    other("io.balena.image.store", "data").or_else(|| other("io.balena.image.class", "service"))
}

fn features(at: &Cursor<'_>, labels: &SortedMap<String, String>) -> SortedSet<Feature> {
    let mut features = SortedSet::new();
    for (name, value) in labels {
        let Some(feature) = name.strip_prefix("io.balena.features.").filter(|_| is_on(value)) else { continue };
        match feature_named(feature) {
            Some(feature) => drop(features.insert(feature)),
            // It says what becomes of the service where its contract is unmet.
            None if feature == "optional" => {}
            None => at.warn(&format!("the label {} is not supported, ignored", quoted(name))),
        }
    }
    features
}

fn feature_named(name: &str) -> Option<Feature> {
    Some(match name {
        "journal-logs" => Feature::JournalLogs,
        "dbus" => Feature::Dbus,
        "kernel-modules" => Feature::KernelModules,
        "firmware" => Feature::Firmware,
        "balena-socket" => Feature::BalenaSocket,
        "balena-api" => Feature::BalenaApi,
        "supervisor-api" => Feature::SupervisorApi,
        "sysfs" => Feature::Sysfs,
        "procfs" => Feature::Procfs,
        "gpu" => Feature::Gpu,
        "host-os.board-rev" => Feature::BoardRev,
        "extra-firmware" => Feature::ExtraFirmware,
        _ => return None,
    })
}

fn strategy(at: &Cursor<'_>, labels: &SortedMap<String, String>) -> Strategy {
    let text = labels.get("io.balena.update.strategy").map_or("", String::as_str);
    strategy_named(text).unwrap_or_else(|| {
        at.warn(&format!("the update strategy {} is not known, download-then-kill is used", quoted(text)));
        Strategy::default()
    })
}

/// A strategy by its name in labels and settings. Empty: the default.
pub(super) fn strategy_named(text: &str) -> Option<Strategy> {
    Some(match text {
        "" | "download-then-kill" => Strategy::DownloadThenKill,
        "kill-then-download" => Strategy::KillThenDownload,
        "delete-then-download" => Strategy::DeleteThenDownload,
        "hand-over" => Strategy::HandOver,
        _ => return None,
    })
}

fn handover(at: &Cursor<'_>, labels: &SortedMap<String, String>) -> Duration {
    let text = labels.get("io.balena.update.handover-timeout").map_or("", String::as_str);
    handover_of(text).unwrap_or_else(|| {
        at.warn(&format!("the hand-over timeout {} is not a number of milliseconds, 60000 is used", quoted(text)));
        HANDOVER
    })
}

/// A hand-over's timeout in milliseconds, as text. Empty: the default.
pub(super) fn handover_of(text: &str) -> Option<Duration> {
    if text.is_empty() {
        return Some(HANDOVER);
    }
    text.trim().parse().ok().filter(|it| *it > 0).map(Duration::from_millis)
}
