//! The target that a device's image was made with: `apps.json`, as the cloud's tools write it beside the images they preload.

use std::fs;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::document::parse;
use crate::linux::{off_thread, read_small_text};
use crate::state::{Target, TargetError};

const NAME: &str = "apps.json";
/// Suffix of a file that was taken.
const TAKEN: &str = ".preloaded";

/// Where the file may be.
#[derive(Debug, Clone)]
pub struct Preload {
    /// The most likely first.
    candidates: Vec<PathBuf>,
    device_uuid: Option<String>,
}

impl Preload {
    /// The places of the host below `root`: balenaOS's data partition, beside the provisioning file, the state directory.
    #[must_use]
    pub fn new(root: &Path, provisioning: Option<&Path>, state_dir: &Path, device_uuid: Option<&str>) -> Self {
        let beside = provisioning.map(|it| it.with_file_name(NAME));
        let candidates = [root.join("mnt/data").join(NAME)].into_iter().chain(beside).chain([state_dir.join(NAME)]).collect();
        Self { candidates, device_uuid: device_uuid.map(str::to_owned) }
    }

    /// The target. `None`: there is no file, or nothing is in it.
    pub async fn read(&self) -> Option<Result<Target, TargetError>> {
        let this = self.clone();
        // The largest document takes an old processor seconds.
        off_thread(move || this.read_now()).await.unwrap_or_else(|why| Some(Err(TargetError(why))))
    }

    fn read_now(&self) -> Option<Result<Target, TargetError>> {
        let path = self.path()?;
        let shown = path.display();
        let wrong = |why: String| TargetError(format!("{shown}: {why}; correct it, or remove it"));
        let text = match read_small_text(path) {
            Ok(text) => text,
            Err(why) => return Some(Err(wrong(format!("it cannot be read: {why}")))),
        };
        // An older supervisor leaves an empty object in its place. An empty target would remove everything.
        if text.trim().is_empty() || text.trim() == "{}" {
            return None;
        }
        match parse(&text, self.device_uuid.as_deref()) {
            Ok(target) if target.apps.is_empty() => None,
            Ok(target) => {
                info!("`{shown}` is taken as the first target");
                Some(Ok(target))
            }
            Err(TargetError(why)) => Some(Err(wrong(why))),
        }
    }

    /// The target is saved: the file gets another name, so that it is not taken again when the state is lost.
    pub fn on_saved(&self) {
        let Some(path) = self.path() else { return };
        let mut name = path.as_os_str().to_owned();
        name.push(TAKEN);
        if let Err(why) = fs::rename(path, &name) {
            warn!(%why, "`{}` cannot be renamed; a device that loses its state takes it again", path.display());
        }
    }

    fn path(&self) -> Option<&PathBuf> {
        self.candidates.iter().find(|it| it.is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::cloud::ReleasePin;

    const DOCUMENT: &str = include_str!("../../tests/data/target-preloaded.json");

    fn preload(root: &Path) -> Preload {
        Preload::new(root, Some(&root.join("boot/config.json")), &root.join("state"), Some("c0ffee"))
    }

    fn write(root: &Path, path: &str, text: &str) {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    }

    #[tokio::test]
    async fn it_is_found_wherever_the_image_has_it_and_taken_once() {
        for place in ["mnt/data", "boot", "state"] {
            let root = tempfile::tempdir().unwrap();
            let file = format!("{place}/apps.json");
            write(root.path(), &file, DOCUMENT);
            let target = preload(root.path()).read().await.unwrap().unwrap();
            assert_eq!(target.apps.len(), 1, "{place}");
            preload(root.path()).on_saved();
            assert!(preload(root.path()).read().await.is_none() && root.path().join(format!("{file}.preloaded")).exists());
        }
    }

    #[tokio::test]
    async fn nothing_is_no_target_and_nonsense_is_told() {
        let root = tempfile::tempdir().unwrap();
        assert!(preload(root.path()).read().await.is_none());
        for nothing in ["{}", "", r#"{"apps":{},"config":{}}"#] {
            write(root.path(), "mnt/data/apps.json", nothing);
            assert!(preload(root.path()).read().await.is_none(), "{nothing}");
        }
        write(root.path(), "mnt/data/apps.json", r#"{"apps":[1]}"#);
        let TargetError(why) = preload(root.path()).read().await.unwrap().unwrap_err();
        assert!(why.contains("apps.json: ") && why.contains("correct it"), "{why}");
        // The engine makes a directory of a mount that is not there.
        fs::remove_file(root.path().join("mnt/data/apps.json")).unwrap();
        fs::create_dir(root.path().join("mnt/data/apps.json")).unwrap();
        assert!(preload(root.path()).read().await.is_none());
    }

    #[tokio::test]
    async fn a_pin_is_that_on_the_release_of_the_document() {
        let root = tempfile::tempdir().unwrap();
        for (asks, expected) in [("true", Some(1)), ("false", None)] {
            write(
                root.path(),
                "state/apps.json",
                &DOCUMENT.replace(r#""pinDevice": false"#, &format!(r#""pinDevice": {asks}"#)),
            );
            let target = preload(root.path()).read().await.unwrap().unwrap();
            let expected = expected.map(|fleet| ReleasePin { fleet, commit: "19c48bcaffa860".to_owned() });
            assert_eq!((target.pin, target.warnings.iter().any(|it| it.contains("pinDevice"))), (expected, false));
        }
    }
}
