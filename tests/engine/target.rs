//! Target-state documents of the three generations, from one description.

use serde_json::{Map, Value, json};

/// An app that a test wants.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// Its number. Tests keep apart by it.
    pub(crate) id: u32,
    /// The commit of its release.
    pub(crate) commit: String,
    /// Its services, by name.
    pub(crate) services: Vec<Service>,
    /// Its volumes.
    pub(crate) volumes: Vec<&'static str>,
    /// How some of them are configured.
    pub(crate) volume_configs: Map<String, Value>,
    /// Device-wide settings.
    pub(crate) config: Value,
}

/// One of its services.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    name: String,
    image: String,
    env: Value,
    labels: Map<String, Value>,
    composition: Map<String, Value>,
    running: bool,
}

impl App {
    /// An app with a release.
    pub(crate) fn new(id: u32, commit: &str, services: Vec<Service>) -> Self {
        Self { id, commit: commit.to_owned(), services, volumes: Vec::new(), volume_configs: Map::new(), config: json!({}) }
    }

    /// The same with volumes.
    pub(crate) fn volumes(mut self, names: &[&'static str]) -> Self {
        self.volumes = names.to_vec();
        self
    }

    /// The same with a volume that is configured so.
    pub(crate) fn volume(mut self, name: &'static str, config: Value) -> Self {
        self.volumes.push(name);
        self.volume_configs.insert(name.to_owned(), config);
        self
    }

    /// The same with a device-wide setting.
    pub(crate) fn config(mut self, name: &str, value: &str) -> Self {
        self.config[name] = json!(value);
        self
    }

    /// Its unique name.
    pub(crate) fn uuid(&self) -> String {
        format!("{:032x}", self.id)
    }

    /// The document of today's cloud.
    pub(crate) fn v3(&self) -> Value {
        Self::together(&[self])
    }

    /// The document of today's cloud, for several apps; device-wide settings are the first one's.
    pub(crate) fn together(apps: &[&Self]) -> Value {
        let named: Map<_, _> = apps.iter().map(|it| (it.uuid(), it.app_of_v3())).collect();
        json!({"device": {"name": "board", "config": apps[0].config, "apps": named}})
    }

    fn app_of_v3(&self) -> Value {
        let services: Map<_, _> = self.services.iter().zip(1..).map(|(it, id)| (it.name.clone(), it.v3(id))).collect();
        let release = json!({"id": 7, "services": services, "volumes": self.named_volumes(), "networks": {}});
        json!({"id": self.id, "name": "app", "class": "fleet", "is_host": false, "releases": {self.commit.clone(): release}})
    }

    /// The document of local mode.
    pub(crate) fn v2(&self) -> Value {
        let services: Map<_, _> = self.services.iter().zip(1..).map(|(it, id)| (id.to_string(), it.v2(id))).collect();
        let app = json!({"name": "app", "commit": self.commit, "releaseId": 7, "services": services,
            "volumes": self.named_volumes(), "networks": {}});
        json!({"local": {"name": "board", "config": self.config, "apps": {self.id.to_string(): app}},
            "dependent": {"apps": {}, "devices": {}}})
    }

    /// The document of 2017: one container.
    pub(crate) fn of_2017(&self) -> Value {
        let [service] = &self.services[..] else { panic!("2017 knew one service") };
        let app = json!({"name": "app", "commit": self.commit, "image": service.image, "environment": service.env, "config": self.config});
        json!({"local": {"name": "board", "apps": {self.id.to_string(): app}}, "dependent": {"apps": {}, "devices": {}}})
    }

    /// The names of its services, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.services.iter().map(|it| it.name.clone()).collect();
        names.sort();
        names
    }

    fn named_volumes(&self) -> Map<String, Value> {
        let config = |name: &str| self.volume_configs.get(name).cloned().unwrap_or_else(|| json!({}));
        self.volumes.iter().map(|it| ((*it).to_owned(), config(it))).collect()
    }
}

impl Service {
    /// A service that runs, and stops on SIGTERM.
    pub(crate) fn new(name: &str, image: &str) -> Self {
        let (name, image) = (name.to_owned(), image.to_owned());
        Self { name, image, env: json!({}), labels: Map::new(), composition: Map::new(), running: true }
    }

    /// The same with something in its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env[name] = json!(value);
        self
    }

    /// The same with a label.
    pub(crate) fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), json!(value));
        self
    }

    /// The same with a field of a compose file.
    pub(crate) fn with(mut self, field: &str, value: Value) -> Self {
        self.composition.insert(field.to_owned(), value);
        self
    }

    /// The same, but not to run.
    pub(crate) fn not_to_run(mut self) -> Self {
        self.running = false;
        self
    }

    /// The same under an update strategy.
    pub(crate) fn strategy(self, name: &str) -> Self {
        self.label("io.balena.update.strategy", name)
    }

    fn v3(&self, id: u32) -> Value {
        json!({"id": id, "image_id": id, "image": self.image, "running": self.running, "environment": self.env,
            "labels": self.labels, "composition": self.composition})
    }

    fn v2(&self, id: u32) -> Value {
        let mut service = self.composition.clone();
        let own = json!({"serviceName": self.name, "imageId": id, "image": self.image, "running": self.running,
            "environment": self.env, "labels": self.labels});
        service.extend(own.as_object().unwrap().clone());
        Value::Object(service)
    }
}
