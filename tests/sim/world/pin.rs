//! A device that was preloaded with a release of its fleet, and is to be pinned on it.

use boardkeeper::port::CloudError;
use boardkeeper::sorted::SortedMap;
use boardkeeper::state::cloud::{CloudAccount, ReleasePin};
use boardkeeper::state::{App, Target};

use super::Model;
use super::cloud::refused;
use super::document::parsed;

/// Releases that the fleet had before, and the device's pin on one of them.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    /// Releases, by number.
    before: SortedMap<u64, App>,
    /// The release that the device is pinned on.
    pub(crate) pinned: Option<u64>,
    /// How often the cloud was asked to pin it.
    pub(crate) asked: u32,
    /// So many answers to that are lost.
    pub(crate) lost_answers: u32,
}

impl Model {
    /// The device's image was made with a release, on which `apps.json` wants it pinned. The fleet had that release before, if
    /// it is known.
    pub(crate) fn preload(&mut self, app: App, is_known: bool) {
        let number = u64::from(app.release_id);
        // Its image's release may be reported before any poll.
        self.cloud.named.extend(app.commit.clone().map(|commit| (app.uuid.clone(), commit)));
        let pin = app.commit.clone().map(|commit| ReleasePin { fleet: app.id.0, commit });
        let apps = SortedMap::from_iter([(app.id, app.clone())]);
        self.targets.preload = Some(Target { pin, ..parsed("c0ffee", &Target { apps, ..Target::default() }) });
        if is_known {
            self.cloud.pins.before.insert(number, app);
        }
    }

    /// A poll before the pin is settled would update the device away from its preload.
    pub(super) fn check_poll_of_preloaded(&mut self) {
        let pins = &self.cloud.pins;
        if self.disk.kept.pin.is_some() && !pins.before.is_empty() && pins.pinned.is_none() {
            self.violation("a poll before the device is pinned on its preload");
        }
    }

    pub(super) fn release_number(&self, account: &CloudAccount, release: &ReleasePin) -> Option<u64> {
        let is_it = |app: &App| app.id.0 == release.fleet && app.commit.as_ref() == Some(&release.commit);
        let found = self.cloud.pins.before.iter().find(|(_, app)| is_it(app)).map(|(number, _)| *number);
        // To an unknown key there is no release.
        found.filter(|_| self.cloud.knows(account))
    }

    pub(super) fn pin(&mut self, account: &CloudAccount, device_id: u64, release_id: u64) -> Result<(), CloudError> {
        if !self.cloud.knows(account) {
            return Err(refused(401, "Unauthorized"));
        }
        if self.disk.kept.pin.is_none() {
            self.violation("a pin that is settled is asked for again");
        }
        if !self.cloud.has_number(account, device_id) {
            self.violation(format_args!("the device {device_id} is pinned, and is another"));
        }
        let Some(app) = self.cloud.pins.before.get(&release_id).cloned() else {
            return Err(refused(409, "Data is referenced by is_pinned_on__release."));
        };
        self.cloud.pins.asked += 1;
        if self.cloud.pins.pinned.replace(release_id).is_none() {
            self.note(format_args!("the device is pinned on release {release_id}"));
            self.targets.write([app]);
        }
        if self.cloud.pins.lost_answers > 0 {
            self.cloud.pins.lost_answers -= 1;
            return Err(CloudError::Unreachable("the connection was reset".to_owned()));
        }
        Ok(())
    }
}
