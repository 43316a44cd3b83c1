//! What a user does in the cloud, and what a user sees there. A change is pushed to the devices that are in the VPN.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::FakeCloud;
use super::model::{Device, Fleet, LogLine, ProvisioningKey, Release, Service, Variables, now};
use super::target::{app, document};

impl FakeCloud {
    /// Makes a fleet; its number.
    pub(crate) fn fleet(&self, name: &str) -> u64 {
        let model = &mut self.state().model;
        let (id, uuid) = (model.id(), model.hex("fleet"));
        let (variables, config, releases) = (Variables::new(), Variables::new(), Vec::new());
        model.fleets.push(Fleet { id, uuid, name: name.to_owned(), releases, variables, config });
        id
    }

    /// Makes a provisioning key for a fleet, which may expire.
    pub(crate) fn provisioning_key(&self, fleet: u64, expires_in: Option<Duration>) -> String {
        let model = &mut self.state().model;
        let key = model.hex("provisioning");
        model.keys.push(ProvisioningKey { key: key.clone(), fleet, expires: expires_in.map(|it| now() + it) });
        key
    }

    /// The user's own token.
    pub(crate) fn user_token(&self) -> String {
        self.state().model.user.clone()
    }

    /// Releases services to a fleet; the commit. Devices that are not pinned take it.
    pub(crate) fn release(&self, fleet: u64, services: &[Service], volumes: &[&str]) -> String {
        let commit = {
            let model = &mut self.state().model;
            let (id, commit) = (model.id(), model.hex("commit"));
            let mut services = services.to_vec();
            for it in &mut services {
                (it.id, it.image_id) = (model.id(), model.id());
            }
            let volumes = volumes.iter().map(|it| (*it).to_owned()).collect();
            let release = Release { id, commit: commit.clone(), services, volumes };
            model.fleets.iter_mut().find(|it| it.id == fleet).unwrap().releases.push(release);
            commit
        };
        self.push_fleet(fleet);
        commit
    }

    /// The number of a service's image in the newest release.
    pub(crate) fn image_id(&self, fleet: u64, service: &str) -> u64 {
        self.newest(fleet, service, |it| it.image_id)
    }

    /// The number of a service, as log lines name it.
    pub(crate) fn service_id(&self, fleet: u64, service: &str) -> u64 {
        self.newest(fleet, service, |it| it.id)
    }

    fn newest(&self, fleet: u64, service: &str, of: fn(&Service) -> u64) -> u64 {
        let state = self.state();
        let release = state.model.fleet(fleet).unwrap().releases.last().unwrap();
        of(release.services.iter().find(|it| it.name == service).unwrap())
    }

    /// A fleet's uuid.
    pub(crate) fn fleet_uuid(&self, fleet: u64) -> String {
        self.state().model.fleet(fleet).unwrap().uuid.clone()
    }

    /// Sets a variable of a fleet's services.
    pub(crate) fn sets_fleet_variable(&self, fleet: u64, name: &str, value: &str) {
        let set = |it: &mut Fleet| it.variables.insert(name.to_owned(), value.to_owned());
        set(self.state().model.fleets.iter_mut().find(|it| it.id == fleet).unwrap());
        self.push_fleet(fleet);
    }

    /// Sets a configuration variable of a fleet.
    pub(crate) fn configures_fleet(&self, fleet: u64, name: &str, value: &str) {
        let set = |it: &mut Fleet| it.config.insert(name.to_owned(), value.to_owned());
        set(self.state().model.fleets.iter_mut().find(|it| it.id == fleet).unwrap());
        self.push_fleet(fleet);
    }

    /// Sets a variable of a device's services.
    pub(crate) fn sets_variable(&self, uuid: &str, name: &str, value: &str) {
        self.changes(uuid, |it| _ = it.variables.insert(name.to_owned(), value.to_owned()));
    }

    /// Sets a configuration variable of a device.
    pub(crate) fn configures(&self, uuid: &str, name: &str, value: &str) {
        self.changes(uuid, |it| _ = it.config.insert(name.to_owned(), value.to_owned()));
    }

    /// Moves a device to another fleet.
    pub(crate) fn moves(&self, uuid: &str, fleet: u64) {
        self.changes(uuid, |it| (it.fleet, it.pinned) = (fleet, None));
    }

    /// Freezes a device, or thaws it.
    pub(crate) fn freezes(&self, uuid: &str, frozen: bool) {
        self.changes(uuid, |it| it.frozen = frozen);
    }

    /// Deletes a device.
    pub(crate) fn deletes(&self, uuid: &str) {
        self.state().model.devices.retain(|it| it.uuid != uuid);
    }

    fn changes(&self, uuid: &str, change: impl FnOnce(&mut Device)) {
        change(self.state().model.device_mut(uuid).unwrap());
        self.push(uuid);
    }

    fn push_fleet(&self, fleet: u64) {
        let devices: Vec<_> = {
            let state = self.state();
            state.model.devices.iter().filter(|it| it.fleet == fleet).map(|it| it.uuid.clone()).collect()
        };
        for it in &devices {
            self.push(it);
        }
    }

    /// The uuids of all devices, in the order in which they registered.
    pub(crate) fn devices(&self) -> Vec<String> {
        self.state().model.devices.iter().map(|it| it.uuid.clone()).collect()
    }

    /// A device's key.
    pub(crate) fn device_key(&self, uuid: &str) -> String {
        self.device(uuid, |it| it.key.clone())
    }

    /// A device's number.
    pub(crate) fn device_id(&self, uuid: &str) -> u64 {
        self.device(uuid, |it| it.id)
    }

    /// A device's name.
    pub(crate) fn device_name(&self, uuid: &str) -> String {
        self.device(uuid, |it| it.name.clone())
    }

    /// What a device gets when it polls.
    pub(crate) fn target(&self, uuid: &str) -> Value {
        let state = self.state();
        document(&state.model, state.model.device(uuid).unwrap())
    }

    /// The `apps.json` of an image that is made with the newest release of a fleet, and whose devices are to be pinned on it.
    pub(crate) fn apps_json(&self, fleet: u64) -> Value {
        let state = self.state();
        let fleet = state.model.fleet(fleet).unwrap();
        json!({"apps": {&fleet.uuid: app(fleet, fleet.releases.last(), &Variables::new())}, "config": {}, "pinDevice": true})
    }

    /// The commit of the release that a device is pinned on.
    pub(crate) fn pinned(&self, uuid: &str) -> Option<String> {
        let state = self.state();
        let device = state.model.device(uuid).unwrap();
        let pinned = device.pinned?;
        let releases = &state.model.fleet(device.fleet)?.releases;
        releases.iter().find(|it| it.id == pinned).map(|it| it.commit.clone())
    }

    /// What a device reported of itself.
    pub(crate) fn reported(&self, uuid: &str) -> Map<String, Value> {
        self.device(uuid, |it| it.fields.clone())
    }

    /// What a device reported of an app.
    pub(crate) fn reported_app(&self, uuid: &str, app: &str) -> Value {
        self.device(uuid, |it| it.apps.get(app).cloned().unwrap_or_default())
    }

    /// The tags that a device has.
    pub(crate) fn tags(&self, uuid: &str) -> Variables {
        self.device(uuid, |it| it.tags.clone())
    }

    /// A device's log, all of it.
    pub(crate) fn logs(&self, uuid: &str) -> Vec<LogLine> {
        self.device(uuid, |it| it.logs.clone())
    }

    /// When a device polled with its key.
    pub(crate) fn polled(&self, uuid: &str) -> Vec<Instant> {
        self.device(uuid, |it| it.polled.clone())
    }

    fn device<T>(&self, uuid: &str, of: impl FnOnce(&Device) -> T) -> T {
        of(self.state().model.device(uuid).unwrap_or_else(|| panic!("the cloud has no device {uuid}")))
    }
}
