//! Telling the agent's objects from others: labels, in the spelling of both generations.

use crate::sorted::SortedMap;
use crate::state::{AppId, ServiceKey, is_supervisor_label};

/// Labels, sorted.
pub(super) type Labels = SortedMap<String, String>;

/// The hash of the configuration a container was created with. Only this agent sets it.
pub(super) const CONFIG: &str = "io.boardkeeper.config";
/// The hash of the configuration a container ended up with, its image's own values included. Only this agent sets it.
pub(super) const OUTCOME: &str = "io.boardkeeper.outcome";
/// The networks a container is connected to after it was created, and how. Without the label a crash in between would lose
/// them.
pub(super) const NETWORKS: &str = "io.boardkeeper.networks";
/// The address pools of a network were chosen by its owner, not by the engine.
pub(super) const IPAM: &str = "io.balena.private.ipam.config";
/// Set by supervisors.
pub(super) const SUPERVISED: &str = "io.balena.supervised";
/// The app's number.
pub(super) const APP_ID: &str = "io.balena.app-id";
/// The app's UUID.
pub(super) const APP_UUID: &str = "io.balena.app-uuid";
/// The service's number.
pub(super) const SERVICE_ID: &str = "io.balena.service-id";
/// The service's name.
pub(super) const SERVICE_NAME: &str = "io.balena.service-name";

/// The prefix of 2017, in place of `io.balena.`.
const OLD: &str = "io.resin.";
const NEW: &str = "io.balena.";

/// A label under its present name, or under that of 2017.
pub(super) fn get<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    let old = name.strip_prefix(NEW).map(|rest| format!("{OLD}{rest}"));
    labels.get(name).or_else(|| labels.get(&old?)).map(String::as_str)
}

/// Whether a supervisor created it. The label counts, not its value: other supervisors differ in the value they write.
pub(super) fn supervised(labels: &Labels) -> bool {
    get(labels, SUPERVISED).is_some()
}

/// The app it belongs to.
fn app(labels: &Labels) -> Option<AppId> {
    get(labels, APP_ID)?.trim().parse().ok().map(AppId)
}

/// The app in a name such as `1234_data`.
fn app_in_name(name: &str) -> Option<AppId> {
    name.split_once('_')?.0.parse().ok().map(AppId)
}

/// Whether it is a name of one line. No supervisor gives any other: part of it would be read as the log's next entry.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

/// The app that a network or volume of this name belongs to.
pub(super) fn app_of(name: &str, labels: &Labels) -> Option<AppId> {
    app(labels).or_else(|| app_in_name(name)).filter(|_| is_name(name))
}

/// The service that a container was created for.
pub(super) fn service(labels: &Labels) -> Option<ServiceKey> {
    let name = get(labels, SERVICE_NAME).filter(|it| is_name(it))?;
    Some(ServiceKey::new(app(labels)?, name))
}

/// The owner's labels: those that no supervisor sets.
pub(super) fn of_owner(labels: &Labels) -> Labels {
    labels.iter().filter(|(name, _)| !is_supervisor_label(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A name in a document, from one on the engine: `<app uuid>_<name>`, or `<app id>_<name>` from earlier supervisors.
pub(super) fn in_document<'a>(name: &'a str, labels: &Labels) -> &'a str {
    let prefixes = [get(labels, APP_UUID), get(labels, APP_ID)];
    prefixes.into_iter().flatten().find_map(|it| name.strip_prefix(it)?.strip_prefix('_')).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn both_spellings_are_ours_and_the_new_one_wins() {
        let both = labels(&[("io.resin.app-id", "1"), ("io.balena.app-id", "2"), ("io.resin.service-name", "main")]);
        assert_eq!(service(&both), Some(ServiceKey::new(AppId(2), "main")));
        assert!(supervised(&labels(&[("io.resin.supervised", "1")])));
        assert!(!supervised(&both));
    }

    #[test]
    fn broken_labels_name_no_service() {
        for broken in [
            labels(&[("io.balena.app-id", "1x"), ("io.balena.service-name", "main")]),
            labels(&[("io.balena.app-id", "1"), ("io.balena.service-name", "")]),
            labels(&[("io.balena.app-id", "1"), ("io.balena.service-name", "main\nreboot")]),
            labels(&[("io.balena.app-id", "1")]),
            labels(&[]),
        ] {
            assert_eq!(service(&broken), None);
        }
    }

    #[test]
    fn an_owners_labels_are_left_over() {
        let all = labels(&[
            ("io.balena.supervised", "true"),
            ("io.resin.service-id", "3"),
            ("io.boardkeeper.config", "ab"),
            ("io.balena.features.dbus", "1"),
            ("mine", "yes"),
        ]);
        assert_eq!(of_owner(&all), labels(&[("io.balena.features.dbus", "1"), ("mine", "yes")]));
    }

    #[test]
    fn names_lose_the_app_they_begin_with() {
        let given = labels(&[("io.balena.app-uuid", "abc"), ("io.balena.app-id", "12")]);
        for (name, short) in [("abc_default", "default"), ("12_data", "data"), ("supervisor0", "supervisor0"), ("9_x", "9_x")] {
            assert_eq!(in_document(name, &given), short);
        }
        assert_eq!(app_in_name("12_data"), Some(AppId(12)));
        assert_eq!(app_in_name("data"), None);
    }
}
