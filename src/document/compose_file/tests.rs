//! Compose files, each rule of them by an example.

mod any;
mod fields;
mod files;
mod limits;
mod release_labels;
mod variables;

use super::*;
use crate::state::config::{Mount, MountMode, NetworkMode, Propagation, RestartPolicy};
use crate::state::{Condition, Service};

/// A project in `/srv/My App`.
pub(super) struct Files(SortedMap<PathBuf, Vec<u8>>, Environment);

impl Files {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let path = |name: &str| Path::new("/srv/My App").join(name);
        let files = files.iter().map(|(name, text)| (path(name), text.as_bytes().to_vec())).collect();
        Self(files, Environment::from_iter([("HOME".to_owned(), "/root".to_owned())]))
    }

    pub(super) fn with_agent(mut self, name: &str, value: &str) -> Self {
        self.1.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn read(&self) -> ComposeReading {
        read(ComposePath::Folder(Path::new("/srv/My App")), &self.1, &mut |path| Ok(self.0.get(path).cloned()))
    }

    pub(super) fn target(&self) -> Target {
        self.read().target.unwrap()
    }

    pub(super) fn app(&self) -> App {
        self.target().apps.into_iter().next().unwrap().1
    }

    pub(super) fn service(&self, name: &str) -> Service {
        self.app().services.remove(name).unwrap()
    }

    pub(super) fn wrong(&self) -> String {
        self.read().target.unwrap_err().0
    }
}

/// A project of one file.
pub(super) fn file(text: &str) -> Files {
    Files::new(&[("compose.yaml", text)])
}

/// The service `web` with these fields, each line indented by four spaces.
pub(super) fn web(fields: &str) -> Files {
    file(&format!("services:\n  web:\n    image: x\n{fields}\nvolumes:\n  data:\nnetworks:\n  back:\n"))
}

#[test]
fn a_project_is_an_app_with_a_number_and_a_uuid_of_its_name() {
    let app = file("services: {web: {image: nginx}}").app();
    assert_eq!(app.name, "myapp");
    assert!((1_000_000_000..2_000_000_000).contains(&app.id.0), "{}", app.id);
    assert_eq!((app.uuid.len(), app.commit.as_deref(), app.shape), (32, Some("compose"), Generation::Compose));
    // These numbers are in labels of containers: they must stay for ever.
    assert_eq!((app.id.0, app.uuid.as_str()), (1_945_128_583, "eb25e28781c5e55e23be072feae8cbb9"));
}

#[test]
fn the_name_is_of_the_variable_or_of_the_file_or_of_the_folder() {
    assert_eq!(file("name: Home-Lab\nservices: {web: {image: x}}").app().name, "home-lab");
    let of_env =
        Files::new(&[("compose.yaml", "name: a\nservices: {web: {image: x}}"), (".env", "COMPOSE_PROJECT_NAME=_b B\n")]);
    assert_eq!(of_env.app().name, "bb");
    let filled = Files::new(&[
        ("compose.yaml", "name: a-${N}\nservices: {web: {image: x, hostname: $COMPOSE_PROJECT_NAME}}"),
        (".env", "N=1"),
    ]);
    assert_eq!(filled.app().name, "a-1");
    assert_eq!(filled.service("web").config.hostname.as_deref(), Some("a-1"));
}

#[test]
fn a_service_that_says_nothing_is_as_docker_compose_makes_it() {
    let web = web("").service("web");
    assert_eq!((web.config.tty, web.config.restart, web.config.ipc.as_str()), (false, RestartPolicy::No, "private"));
    assert_eq!((web.config.network_mode.clone(), web.running), (NetworkMode::App, true));
    assert_eq!(web.config.networks.keys().collect::<Vec<_>>(), ["default"]);
    assert!(web.config.env.is_empty() && web.config.labels.is_empty() && web.features.is_empty());
}

#[test]
fn the_target_that_is_kept_means_the_same_without_the_files() {
    let project = Files::new(&[
        (
            "compose.yaml",
            "services:\n  web:\n    image: x\n    env_file: e\n    volumes: ['./d:/d', 'old:/old']\n    secrets: [s]\nvolumes:\n  old: {external: true, name: before}\nsecrets: {s: {file: s}}\n",
        ),
        ("e", "A=1"),
        ("s", "hunter2"),
    ]);
    let target = project.target();
    assert!(!target.document.contains("hunter2"), "{}", target.document);
    assert_eq!(super::super::parse_kept(&target.document, None).unwrap(), target);
    // A cloud's document cannot say so.
    let refused = super::super::parse(&target.document, None).unwrap_err();
    assert!(refused.0.contains("apps"), "{refused}");
}

#[test]
fn what_is_not_supported_is_named_with_line_and_column() {
    let target =
        file("services:\n  web:\n    image: x\n    frobnicate: 1\n    container_name: w\nunknown: {}\nx-mine: 1\n").target();
    assert_eq!(
        target.warnings,
        [
            "compose.yaml:6:1: unknown: not supported, ignored",
            "compose.yaml:5:5: services.web.container_name: ignored: names of containers follow the agent's; other services reach it by this name all the same",
            "compose.yaml:4:5: services.web.frobnicate: not supported, ignored",
        ]
    );
}

#[test]
fn a_mistake_names_line_and_column() {
    for (fields, said) in [
        ("    ports: ['80', 'x']", "compose.yaml:4:19: services.web.ports.1: expected a port such as 80, 8080:80"),
        ("    restart: sometimes", "compose.yaml:4:5: services.web.restart: expected no, always"),
        ("    depends_on: [db]", "compose.yaml:4:18: services.web.depends_on.0: the app has no service \"db\""),
        ("    volumes: ['a:/x']", "compose.yaml:4:15: services.web.volumes.0: the app has no volume \"a\""),
    ] {
        let wrong = web(fields).wrong();
        assert!(wrong.starts_with(said), "{wrong}");
    }
    assert_eq!(file("services: [").wrong().split(':').take(3).collect::<Vec<_>>(), ["compose.yaml", "2", "1"]);
    assert_eq!(
        file("a: 1\n").wrong().split(';').next(),
        Some("compose.yaml:1:1: expected a map `services`, which names what runs")
    );
    assert_eq!(file("").wrong(), "compose.yaml:1:1: expected a map with `services`");
    assert_eq!(
        Files::new(&[]).wrong(),
        "/srv/My App: the folder has no compose file (compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml)"
    );
}

#[test]
fn the_most_preferred_file_counts_with_its_override() {
    let service = |image: &str| format!("services: {{web: {{image: {image}}}}}");
    let all = Files::new(&[
        ("docker-compose.yml", &service("d")),
        ("compose.yaml", &service("c")),
        ("compose.override.yml", "services: {web: {hostname: h}}"),
        ("docker-compose.override.yml", "services: {web: {hostname: other}}"),
    ]);
    let web = all.service("web");
    assert_eq!((web.image.as_str(), web.config.hostname.as_deref()), ("c:latest", Some("h")));
    let files = all.read().files;
    assert!(files.contains(Path::new("/srv/My App/compose.override.yml")) && files.contains(Path::new("/srv/My App/.env")));
    let named = read(ComposePath::File(Path::new("/srv/My App/docker-compose.yml")), &Environment::new(), &mut |path| {
        Ok(all.0.get(path).cloned())
    });
    let app = named.target.unwrap().apps.into_iter().next().unwrap().1;
    assert_eq!(app.services[&"web".to_owned()].config.hostname.as_deref(), Some("other"));
}
