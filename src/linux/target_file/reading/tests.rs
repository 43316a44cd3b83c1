//! A compose file and what it names, watched.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::linux::target_file::TargetFile;
use crate::port::Targets;

/// Longer than files are given to settle.
const QUIET: Duration = Duration::from_millis(400);

struct Lab {
    dir: TempDir,
    file: TargetFile,
}

impl Lab {
    fn new(path: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = TargetFile::new(&dir.path().join(path), None);
        Self { dir, file }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn replace(&self, name: &str, text: &str) {
        self.write("new", text);
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    async fn quiet(&self) {
        let next = timeout(QUIET, self.file.next()).await;
        assert!(next.is_err(), "{next:?}");
    }
}

/// The image of the only service, and its first variable.
async fn next_service(lab: &Lab) -> Result<(String, String), String> {
    let next = timeout(Duration::from_secs(10), lab.file.next()).await.expect("it is reported in time");
    let app = next.map_err(|it| it.0)?.apps.into_iter().next().unwrap().1;
    let service = app.services.into_iter().next().unwrap().1;
    Ok((service.image.as_str().to_owned(), service.config.env.into_iter().map(|(_, it)| it).next().unwrap_or_default()))
}

#[tokio::test]
async fn a_compose_file_is_read_again_when_a_file_that_it_names_changes() {
    let lab = Lab::new("app/compose.yaml");
    fs::create_dir_all(lab.path("app/more")).unwrap();
    fs::create_dir_all(lab.path("env")).unwrap();
    let text = "services: {web: {extends: {file: more/base.yml, service: b}, env_file: ../env/e, secrets: [s]}}\nsecrets: {s: {file: s}}\n";
    lab.write("app/compose.yaml", text);
    lab.write("env/e", "A=1");
    lab.write("app/s", "one");
    let missing = next_service(&lab).await.unwrap_err();
    assert!(missing.contains("more/base.yml: no such file"), "{missing}");
    lab.write("app/more/base.yml", "services: {b: {image: 'x:$TAG'}}");
    assert_eq!(next_service(&lab).await.unwrap(), ("x:".to_owned(), "1".to_owned()));
    lab.write("app/.env", "TAG=2");
    assert_eq!(next_service(&lab).await.unwrap().0, "x:2");
    lab.replace("env/e", "A=3");
    assert_eq!(next_service(&lab).await.unwrap().1, "3");
    lab.write("app/more/base.yml", "services: {b: {image: y}}");
    assert_eq!(next_service(&lab).await.unwrap().0, "y:latest");
    lab.write("app/compose.override.yaml", "services: {web: {image: z}}");
    assert_eq!(next_service(&lab).await.unwrap().0, "z:latest");
    lab.replace("app/s", "two");
    assert_eq!(next_service(&lab).await.unwrap().0, "z:latest", "the secret's content counts");
    lab.write("app/compose.yaml", &format!("# a comment\n{text}"));
    lab.quiet().await;
}

#[tokio::test]
async fn a_folder_is_watched_for_the_compose_file_in_it() {
    let lab = Lab::new("app");
    assert!(next_service(&lab).await.unwrap_err().contains("no such file"));
    fs::create_dir(lab.path("app")).unwrap();
    assert!(next_service(&lab).await.unwrap_err().contains("the folder has no compose file"));
    lab.write("app/docker-compose.yml", "services: {web: {image: a}}");
    assert_eq!(next_service(&lab).await.unwrap().0, "a:latest");
    lab.write("app/compose.yaml", "services: {web: {image: b}}");
    assert_eq!(next_service(&lab).await.unwrap().0, "b:latest");
    fs::remove_file(lab.path("app/compose.yaml")).unwrap();
    assert_eq!(next_service(&lab).await.unwrap().0, "a:latest");
}
