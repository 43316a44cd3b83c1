//! Images that left the reports and return, as when a device is pinned to the release before.
//!
//! The cloud marks an image that leaves the reports as deleted, and compares the next report of it with the last one, not with
//! that mark, for five minutes: a service that ran when it left, and runs when it returns, stays deleted for ever. So a service
//! that returns is first reported as `Starting`, and with its own word in the report after.

use std::time::Duration;

use tokio::time::Instant;

use crate::sorted::{SortedMap, SortedSet};
use crate::state::cloud::{AppReport, ServiceReport};

/// Twice as long as the cloud remembers.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// The images that left, and when.
#[derive(Debug, Default)]
pub(super) struct ReturningImages(SortedMap<String, Instant>);

impl ReturningImages {
    /// What the cloud had, and what it accepted now.
    pub(super) fn on_accepted(&mut self, before: &SortedMap<String, AppReport>, now: &SortedMap<String, AppReport>) {
        if now.is_empty() {
            return;
        }
        self.0.retain(|_, left| left.elapsed() < REMEMBERED);
        let reported: SortedSet<_> = services(now).map(|it| it.image.as_str()).collect();
        let gone = services(before).filter(|it| !reported.contains(it.image.as_str()));
        self.0.extend(gone.map(|it| (it.image.clone(), Instant::now())));
        self.0.retain(|image, _| !reported.contains(image.as_str()));
    }

    /// Gives services that return another word than the one they left with.
    pub(super) fn announce(&self, wanted: &mut SortedMap<String, AppReport>) {
        let releases = wanted.iter_mut().flat_map(|(_, it)| it.releases.iter_mut());
        for (_, service) in releases.flat_map(|(_, it)| it.services.iter_mut()) {
            if service.status == "Running" && self.0.contains_key(&service.image) {
                "Starting".clone_into(&mut service.status);
            }
        }
    }
}

fn services(apps: &SortedMap<String, AppReport>) -> impl Iterator<Item = &ServiceReport> {
    apps.values().flat_map(|it| it.releases.values()).flat_map(|it| it.services.values())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::cloud::ReleaseReport;

    fn running(image: &str) -> SortedMap<String, AppReport> {
        let service = ServiceReport { image: image.to_owned(), status: "Running".to_owned(), download_progress: None };
        let release = ReleaseReport { update_status: None, services: SortedMap::from_iter([("main".to_owned(), service)]) };
        let releases = SortedMap::from_iter([("c".to_owned(), release)]);
        SortedMap::from_iter([("a".to_owned(), AppReport { release_uuid: None, releases })])
    }

    fn word(returning: &ReturningImages, image: &str) -> String {
        let mut wanted = running(image);
        returning.announce(&mut wanted);
        services(&wanted).next().unwrap().status.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_returns_is_first_reported_as_starting() {
        let mut returning = ReturningImages::default();
        returning.on_accepted(&SortedMap::new(), &running("one"));
        assert_eq!(word(&returning, "two"), "Running", "it was not there before");
        returning.on_accepted(&running("one"), &running("two"));
        // A report of fields alone takes no image away.
        returning.on_accepted(&running("two"), &SortedMap::new());
        assert_eq!([word(&returning, "two"), word(&returning, "one")], ["Running", "Starting"]);
        returning.on_accepted(&running("two"), &running("one"));
        assert_eq!(word(&returning, "one"), "Running", "the cloud has seen another word");
        tokio::time::advance(REMEMBERED).await;
        returning.on_accepted(&running("one"), &running("three"));
        assert_eq!([word(&returning, "two"), word(&returning, "one")], ["Running", "Starting"]);
    }
}
