//! The file in which the board's firmware or boot loader is configured, on the host's disks.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::board::BootConfig;
use crate::linux::{read_small, replace_file, sync_directory};
use crate::state::FlashPurpose;
use crate::state::boot_config::{BootFile, BootFormat};

/// Suffix of the copy of what was good, for a person with a card reader.
const GOOD: &str = ".before-boardkeeper";
/// Suffix of a draft.
const DRAFT: &str = ".boardkeeper-new";

/// Where the file may be. The default is nowhere.
#[derive(Debug, Clone, Default)]
pub struct BootFiles {
    /// The most likely first.
    candidates: Vec<(BootFormat, PathBuf)>,
}

impl BootFiles {
    /// The places on a board whose firmware or boot loader is configured in this way. `provisioning`: the device's config.json,
    /// which on the boot partition is beside the file.
    #[must_use]
    pub fn new(root: &Path, provisioning: Option<&Path>, kind: Option<BootConfig>) -> Self {
        let Some(kind) = kind else { return Self::default() };
        let (format, beside) = match kind {
            BootConfig::ConfigTxt => (BootFormat::ConfigTxt, (BootFormat::ConfigTxt, "config.txt")),
            BootConfig::UEnv => (BootFormat::UEnv, (BootFormat::ExtraUEnv, "extra_uEnv.txt")),
            BootConfig::Extlinux => (BootFormat::Extlinux, (BootFormat::ExtraUEnv, "extra_uEnv.txt")),
        };
        let partition = provisioning.map_or_else(|| root.join("mnt/boot/config.json"), Path::to_owned);
        let beside = (beside.0, partition.with_file_name(beside.1));
        let others = kind.paths().iter().map(|it| (format, root.join(it)));
        Self { candidates: [beside].into_iter().chain(others).collect() }
    }

    /// The file. `None`: there is none.
    pub(super) fn read(&self) -> Result<Option<BootFile>, String> {
        // A link may lead elsewhere under another root, and would be replaced by a file.
        let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|it| it.is_file());
        let Some((format, path)) = self.candidates.iter().find(|(_, path)| is_file(path)) else { return Ok(None) };
        let bytes = read_small(path).map_err(|why| failed("read", path, &why))?;
        Ok(Some(BootFile { format: *format, path: path.display().to_string(), bytes }))
    }

    /// Replaces the file's content, and the copy of what was good before.
    pub(super) fn write(&self, file: &BootFile, good: Option<&[u8]>) -> Result<(), String> {
        let known = self.candidates.iter().find(|(_, it)| it.display().to_string() == file.path);
        let path = &known.ok_or_else(|| format!("`{}` is not the file any more", file.path))?.1;
        if let Some(good) = good {
            replace(&with_suffix(path, GOOD), good)?;
        }
        replace(path, &file.bytes)
    }
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let draft = with_suffix(path, DRAFT);
    let mode = fs::metadata(path).map_or(0o644, |it| it.permissions().mode() & 0o777);
    let purpose = FlashPurpose::BootConfig;
    let synced = |()| sync_directory(path.parent().unwrap_or(Path::new("/")), purpose);
    replace_file(path, &draft, bytes, mode, Some(purpose)).and_then(synced).map_err(|why| {
        // The partition is small, and the next draft is a new one anyway.
        let _ = fs::remove_file(&draft);
        failed("write", path, &why)
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn failed(verb: &str, path: &Path, why: &io::Error) -> String {
    let advice = match why.kind() {
        io::ErrorKind::PermissionDenied => "let the agent's user write it (docs/target-state.md tells how)",
        io::ErrorKind::ReadOnlyFilesystem => "mount the boot partition writable, and let the agent's unit write it",
        io::ErrorKind::StorageFull => "make room on the boot partition",
        _ => "see that the boot partition is mounted and its disk is good",
    };
    format!("cannot {verb} `{}`: {why}; {advice}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::flash::assert_written;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn found(root: &Path, provisioning: Option<&str>, kind: BootConfig) -> Option<(BootFormat, String)> {
        let provisioning = provisioning.map(|it| root.join(it));
        let file = BootFiles::new(root, provisioning.as_deref(), Some(kind)).read().unwrap()?;
        let path = Path::new(&file.path).strip_prefix(root).unwrap().display().to_string();
        Some((file.format, path))
    }

    #[test]
    fn the_file_is_where_the_board_or_the_cloud_has_it() {
        let root = tree(&[("boot/firmware/config.txt", ""), ("boot/config.txt", "moved"), ("mnt/boot/config.json", "{}")]);
        let config_txt = |path: &str| Some((BootFormat::ConfigTxt, path.to_owned()));
        assert_eq!(found(root.path(), None, BootConfig::ConfigTxt), config_txt("boot/firmware/config.txt"));
        fs::write(root.path().join("mnt/boot/config.txt"), "").unwrap();
        assert_eq!(found(root.path(), None, BootConfig::ConfigTxt), config_txt("mnt/boot/config.txt"));
        assert_eq!(found(root.path(), Some("boot/config.json"), BootConfig::ConfigTxt), config_txt("boot/config.txt"));
        assert_eq!(found(root.path(), None, BootConfig::UEnv), None);
        let root = tree(&[("boot/uEnv.txt", ""), ("boot/firmware/extlinux/extlinux.conf", "")]);
        assert_eq!(found(root.path(), None, BootConfig::UEnv), Some((BootFormat::UEnv, "boot/uEnv.txt".to_owned())));
        let extlinux = Some((BootFormat::Extlinux, "boot/firmware/extlinux/extlinux.conf".to_owned()));
        assert_eq!(found(root.path(), None, BootConfig::Extlinux), extlinux);
        assert_eq!(BootFiles::new(root.path(), None, None).read(), Ok(None));
    }

    #[test]
    fn what_was_good_is_kept_beside_it_and_no_draft_is_left() {
        let root = tree(&[("mnt/boot/config.txt", "old\n")]);
        let files = BootFiles::new(root.path(), None, Some(BootConfig::ConfigTxt));
        let old = files.read().unwrap().unwrap();
        let new = BootFile { bytes: b"new\xff".to_vec(), ..old.clone() };
        // The copy of what was good, too.
        let write = || files.write(&new, Some(&old.bytes)).unwrap();
        assert_written(FlashPurpose::BootConfig, new.bytes.len() + old.bytes.len(), 4, write);
        assert_eq!(files.read(), Ok(Some(new)));
        let beside = |name: &str| fs::read_to_string(root.path().join("mnt/boot").join(name)).ok();
        assert_eq!(beside("config.txt.before-boardkeeper").as_deref(), Some("old\n"));
        files.write(&BootFile { bytes: b"newer".to_vec(), ..old }, None).unwrap();
        assert_eq!(beside("config.txt.before-boardkeeper").as_deref(), Some("old\n"));
        assert_eq!(fs::read_dir(root.path().join("mnt/boot")).unwrap().count(), 2);
    }

    #[test]
    fn a_link_is_not_followed_and_a_failure_tells_what_to_do() {
        let root = tree(&[("precious", "x")]);
        fs::create_dir_all(root.path().join("mnt/boot")).unwrap();
        std::os::unix::fs::symlink(root.path().join("precious"), root.path().join("mnt/boot/config.txt")).unwrap();
        let files = BootFiles::new(root.path(), None, Some(BootConfig::ConfigTxt));
        assert_eq!(files.read(), Ok(None));
        let path = root.path().join("boot/firmware/config.txt").display().to_string();
        let why = files.write(&BootFile { format: BootFormat::ConfigTxt, path, bytes: Vec::new() }, None).unwrap_err();
        assert!(why.contains("cannot write") && why.contains("boot partition"), "{why}");
    }
}
