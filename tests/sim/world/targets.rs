//! The author of the target documents: first any, then one change at a time, sometimes nonsense.

use std::time::Duration;

use boardkeeper::port::Targets;
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::app::Generation;
use boardkeeper::state::config::{HealthCheck, Mount, MountMode, RestartPolicy};
use boardkeeper::state::service::Strategy;
use boardkeeper::state::window::UpdateWindow;
use boardkeeper::state::{
    App, AppId, Condition, ContainerConfig, Dependency, ImageRef, NetworkConfig, Service, Target, TargetError, TrialRules,
};

use super::Sim;
use super::document::parsed;
use super::marks::Mark;
use super::rng::Rng;
use super::signed::SignedDocuments;

/// The source of target documents, and its latest.
pub(crate) struct TargetSource {
    /// The target, if the document is not invalid.
    pub(crate) wanted: Target,
    /// The document is invalid at present.
    pub(crate) nonsense: bool,
    /// Documents may have changes that need a reboot.
    pub(crate) reboots: bool,
    /// The update window of services, in lives that have one.
    pub(crate) window: Option<UpdateWindow>,
    /// The hook of services, in lives that have one.
    pub(crate) hook: Option<&'static str>,
    /// Volumes ask that their data goes back.
    pub(crate) labels: VolumeLabels,
    /// Settings that each document has.
    pub(crate) settings: SortedMap<&'static str, &'static str>,
    /// The cloud gives the documents, and a file none.
    pub(crate) of_cloud: bool,
    /// What the device's image was made with, until it is taken.
    pub(crate) preload: Option<Target>,
    /// Documents count only where they are signed. `None`: they need no signature.
    pub(crate) signed: Option<SignedDocuments>,
    rng: Rng,
    version: u64,
    given: Option<u64>,
    /// Previous targets.
    before: Vec<SortedMap<AppId, App>>,
}

/// The labels that every volume has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VolumeLabels {
    None,
    /// The one that asks for its data back.
    Snapshot,
}

/// Services by the order in which they may depend on each other.
const NAMES: [&str; 4] = ["db", "web", "mail", "job"];

impl TargetSource {
    /// A source whose document has no apps yet.
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            wanted: Target::default(),
            nonsense: false,
            reboots: false,
            window: None,
            hook: None,
            labels: VolumeLabels::None,
            settings: SortedMap::new(),
            of_cloud: false,
            preload: None,
            signed: None,
            rng,
            version: 0,
            given: None,
            before: Vec::new(),
        }
    }

    /// Publishes a document with these apps.
    pub(crate) fn write(&mut self, apps: impl IntoIterator<Item = App>) {
        self.wanted.apps = apps.into_iter().map(|app| (app.id, app)).collect();
        self.publish();
    }

    /// A new agent gets the current document again.
    pub(crate) const fn forget_given(&mut self) {
        self.given = None;
    }

    /// The first document of a life.
    pub(crate) fn begin(&mut self) {
        for id in 1..=self.rng.between(1, 2) {
            self.add_app(u32::try_from(id).unwrap());
        }
        self.publish();
    }

    /// Publishes the next document. Returns what is new in it, and its mark if it is invalid, old or empty.
    pub(crate) fn change(&mut self) -> (String, Option<Mark>) {
        let kind = self.rng.below(1000);
        self.nonsense = kind < 50;
        let (what, lie) = match kind {
            0..50 => ("nonsense".to_owned(), Some(Mark::Nonsense)),
            50..80 if !self.before.is_empty() => {
                self.wanted.apps = self.rng.pick(&self.before).cloned().unwrap_or_default();
                ("an old document again".to_owned(), Some(Mark::OldDocument))
            }
            80..100 => {
                self.wanted.apps.clear();
                ("nothing is wanted".to_owned(), Some(Mark::EmptyDocument))
            }
            _ => {
                self.before.push(self.wanted.apps.clone());
                (self.change_one(), None)
            }
        };
        self.publish();
        (what, lie)
    }

    /// Publishes the target.
    pub(crate) fn publish(&mut self) {
        self.version += 1;
        let settings = self.settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.wanted.config.extend(settings);
        if self.labels == VolumeLabels::Snapshot {
            for (_, app) in &mut self.wanted.apps {
                app.snapshots = app.volumes.keys().cloned().collect();
            }
        }
        if let Some(window) = &self.window {
            super::windows::give(&mut self.wanted, window);
        }
        if let Some(hook) = self.hook {
            super::hooks::give(&mut self.wanted, hook);
        }
        if self.of_cloud {
            // No document is the same as one before, or a target that was refused for its crash loop would stay so.
            self.wanted.config.insert("PUBLISHED".to_owned(), self.version.to_string());
            self.wanted = parsed("c0ffee", &self.wanted);
        } else {
            self.wanted.document = format!("document {}", self.version);
        }
    }

    fn change_one(&mut self) -> String {
        let ids: Vec<_> = self.wanted.apps.keys().copied().collect();
        let Some(id) = self.rng.pick(&ids).copied() else {
            self.add_app(1);
            return "app 1".to_owned();
        };
        match self.rng.below(20) {
            0 => {
                self.wanted.apps.remove(&id);
                return format!("app {id} is not wanted");
            }
            1 => {
                let new = u32::try_from(self.rng.between(1, 3)).unwrap();
                self.add_app(new);
                return format!("app {new}, wholly new");
            }
            2 => return self.change_override(),
            3 if self.reboots => return self.change_boot_config(),
            4 => return self.change_journal(),
            _ => (),
        }
        let version = self.version + 1;
        let Self { wanted, rng, reboots, .. } = self;
        let app = wanted.apps.get_mut(&id).unwrap();
        app.commit = Some(format!("c{version}"));
        app.release_id += 1;
        let what = change_app(app, rng, *reboots);
        format!("app {id}: {what}")
    }

    fn change_override(&mut self) -> String {
        let key = "SUPERVISOR_OVERRIDE_LOCK".to_owned();
        if self.wanted.config.remove(&key).is_some() {
            return "locks are respected".to_owned();
        }
        self.wanted.config.insert(key, "1".to_owned());
        "locks are overridden".to_owned()
    }

    fn change_journal(&mut self) -> String {
        let key = "SUPERVISOR_PERSISTENT_LOGGING".to_owned();
        if self.wanted.config.remove(&key).is_some() {
            return "the host's journal is for this boot".to_owned();
        }
        self.wanted.config.insert(key, "true".to_owned());
        "the host's journal is kept".to_owned()
    }

    fn change_boot_config(&mut self) -> String {
        let key = self.rng.pick(&["HOST_CONFIG_gpu_mem", "HOST_CONFIG_dtoverlay", "HOST_CONFIG_kernel"]).unwrap();
        if self.wanted.config.remove(*key).is_some() {
            return format!("{key} is not set");
        }
        let value = self.rng.between(16, 76).to_string();
        self.wanted.config.insert((*key).to_owned(), value.clone());
        format!("{key} is {value}")
    }

    fn add_app(&mut self, id: u32) {
        let mut new = app(id, []);
        let services = if self.rng.happens(300) { 1 } else { self.rng.between(1, 4) };
        for name in NAMES.iter().take(usize::try_from(services).unwrap()) {
            let service = any_service(&mut self.rng, name, self.reboots);
            new.services.insert((*name).to_owned(), service);
        }
        new.release_id = u32::try_from(self.version + 1).unwrap();
        settle_references(&mut new);
        self.wanted.apps.insert(new.id, new);
    }
}

/// An app with these services.
pub(crate) fn app(id: u32, services: impl IntoIterator<Item = (&'static str, Service)>) -> App {
    App {
        id: AppId(id),
        uuid: format!("{id:032x}"),
        name: format!("app{id}"),
        commit: Some(format!("c{id}")),
        release_id: 1,
        services: services.into_iter().map(|(name, service)| (name.to_owned(), service)).collect(),
        networks: SortedMap::new(),
        volumes: SortedMap::new(),
        snapshots: SortedSet::new(),
        contracts: Vec::new(),
        shape: Generation::Services,
    }
}

/// A service that runs an image, and nothing else about it.
pub(crate) fn service(image: &str) -> Service {
    Service {
        id: 1,
        image: ImageRef::new(image),
        image_id: 1,
        running: true,
        depends_on: SortedMap::new(),
        strategy: Strategy::DownloadThenKill,
        handover_timeout: Duration::from_secs(60),
        update_window: None,
        trial: TrialRules::default(),
        requires_reboot: false,
        features: SortedSet::new(),
        config: ContainerConfig::default(),
    }
}

fn any_service(rng: &mut Rng, name: &str, reboots: bool) -> Service {
    let mut new = service(&format!("r/{name}:{}", rng.below(4)));
    new.id = u32::try_from(rng.between(1, 1000)).unwrap();
    new.image_id = u32::try_from(rng.between(1, 1000)).unwrap();
    new.strategy = any_strategy(rng);
    new.handover_timeout = rng.secs(5, 90);
    new.config.stop_grace = rng.secs(1, 20);
    new.requires_reboot = reboots && rng.happens(100);
    match name {
        "job" => {
            new.config.env.insert("BRIEF".to_owned(), "1".to_owned());
            new.config.restart = if rng.happens(500) { RestartPolicy::No } else { RestartPolicy::OnFailure(3) };
        }
        "db" => {
            new.config.mounts.insert(data("data"));
            any_check(rng, &mut new.config);
        }
        "web" if rng.happens(600) => {
            let (db, job) = (any_dependency(rng, Condition::Healthy), any_dependency(rng, Condition::Completed));
            new.depends_on.insert("db".to_owned(), db);
            if rng.happens(500) {
                new.depends_on.insert("job".to_owned(), job);
            }
            any_check(rng, &mut new.config);
        }
        "mail" if rng.happens(600) => {
            let others = ["web", "db"].map(|on| (on.to_owned(), any_dependency(rng, Condition::Healthy)));
            new.depends_on.extend(others);
        }
        _ => (),
    }
    if rng.happens(200) {
        new.config.restart = RestartPolicy::UnlessStopped;
    }
    new
}

/// A dependency with this condition, or the plain one.
fn any_dependency(rng: &mut Rng, condition: Condition) -> Dependency {
    let plain = Dependency::default();
    let condition = if rng.happens(600) { condition } else { plain.condition };
    Dependency { condition, required: rng.happens(800), restart: rng.happens(300) }
}

/// A health check, hardly ever one that never succeeds.
fn any_check(rng: &mut Rng, config: &mut ContainerConfig) {
    if rng.happens(850) {
        config.health = Some(check());
    }
    if rng.happens(50) {
        config.env.insert("SICK".to_owned(), "1".to_owned());
    }
}

/// Some health check.
pub(crate) fn check() -> HealthCheck {
    HealthCheck { test: vec!["CMD".to_owned(), "true".to_owned()], ..HealthCheck::default() }
}

fn data(name: &str) -> Mount {
    Mount::Volume { name: name.to_owned(), path: format!("/{name}"), access: MountMode::Write }
}

fn any_strategy(rng: &mut Rng) -> Strategy {
    let all = [Strategy::DownloadThenKill, Strategy::KillThenDownload, Strategy::DeleteThenDownload, Strategy::HandOver];
    *rng.pick(&all).unwrap()
}

/// One change to an app whose commit and release have already changed.
fn change_app(app: &mut App, rng: &mut Rng, reboots: bool) -> String {
    let what = rng.below(9);
    let names: Vec<_> = app.services.keys().cloned().collect();
    let name = rng.pick(&names).cloned();
    let said = match (what, name.and_then(|name| app.services.get_mut(&name).map(|it| (name, it)))) {
        (0 | 1, Some((name, it))) => {
            it.image = ImageRef::new(&format!("r/{name}:{}", rng.below(6)));
            it.image_id += 1;
            format!("{name} runs {}", it.image)
        }
        (2, Some((name, it))) => {
            it.config.env.insert("REV".to_owned(), rng.below(100).to_string());
            format!("{name} has another environment")
        }
        (3, Some((name, it))) => {
            it.strategy = any_strategy(rng);
            it.image = ImageRef::new(&format!("r/{name}:{}", rng.below(6)));
            format!("{name} runs {} by {:?}", it.image, it.strategy)
        }
        (4, Some((name, it))) => {
            it.running = !it.running;
            format!("{name} runs: {}", it.running)
        }
        (5, Some((name, _))) => {
            app.services.remove(&name);
            format!("no {name}")
        }
        (6, Some((name, it))) => {
            let volume = if rng.happens(500) { "data" } else { "more" };
            it.config.mounts = SortedSet::from([data(volume)]);
            format!("{name} has the volume {volume}")
        }
        (7, _) => {
            let name = *rng.pick(&NAMES).unwrap();
            app.services.insert(name.to_owned(), any_service(rng, name, reboots));
            format!("another {name}")
        }
        (8, _) if !app.networks.is_empty() => {
            let internal = rng.happens(500);
            app.networks.insert("back".to_owned(), NetworkConfig { internal, ..NetworkConfig::default() });
            format!("network back is internal: {internal}")
        }
        (8, _) => {
            app.networks.insert("back".to_owned(), NetworkConfig::default());
            "network back".to_owned()
        }
        _ => "a release with nothing new".to_owned(),
    };
    settle_references(app);
    said
}

/// No service depends on one that is not there, or to be started on one that should not run; volumes and networks are there
/// for those who have them.
fn settle_references(app: &mut App) {
    let running: SortedSet<_> = app.services.iter().filter(|(_, it)| it.running).map(|(name, _)| name.clone()).collect();
    let there: SortedSet<_> = app.services.keys().cloned().collect();
    let back = app.networks.contains_key("back");
    for (name, it) in &mut app.services {
        it.depends_on.retain(|on, it| running.contains(on) || it.condition != Condition::Started && there.contains(on));
        it.config.networks.retain(|network, _| network != "back");
        if back && name != "job" {
            it.config.networks.entry("back".to_owned()).or_default();
        }
        for mount in &it.config.mounts {
            if let Mount::Volume { name, .. } = mount {
                app.volumes.entry(name.clone()).or_default();
            }
        }
    }
}

impl Targets for Sim {
    async fn next(&self) -> Result<Target, TargetError> {
        loop {
            let mut notifier = self.with(|model| model.notifiers.documents.subscribe());
            self.pass(1, 500).await;
            let document = self.with(|model| {
                let targets = &mut model.targets;
                if targets.of_cloud || targets.given == Some(targets.version) {
                    return None;
                }
                targets.given = Some(targets.version);
                let nonsense = targets.nonsense;
                let target = targets.wanted.clone();
                model.note(format_args!("told {}{}", target.document, if nonsense { ", nonsense" } else { "" }));
                if nonsense {
                    return Some(Err(TargetError("apps.1: expected sense".into())));
                }
                Some(Ok(target))
            });
            if let Some(document) = document {
                let accepted = self.accept_signed(document?).await?;
                self.with(|model| model.target_received(&accepted));
                return Ok(accepted);
            }
            notifier.changed().await.expect("the world outlives its agents");
        }
    }

    async fn parse(&self, document: String) -> Result<Target, TargetError> {
        self.pass(1, 50).await;
        boardkeeper::document::parse(&document, None)
    }

    fn look_again(&self) {
        self.with(|model| model.notifiers.documents.send_modify(|count| *count += 1));
    }

    async fn preloaded(&self) -> Option<Result<Target, TargetError>> {
        let target = self.with(|model| model.targets.preload.clone())?;
        self.pass(1, 50).await;
        self.with(|model| {
            model.note("its preloaded target is read");
            model.target_received(&target);
        });
        Some(Ok(target))
    }

    async fn on_preloaded_saved(&self) {
        self.pass(1, 50).await;
        self.with(|model| model.targets.preload = None);
    }
}
