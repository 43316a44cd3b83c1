use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A host with a card that is fixed, a stick with two partitions, and a disk in a USB case.
fn host() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for (number, path, removable) in [
        ("179:2", "platform/mmc0/mmcblk0/mmcblk0p2", Some("0")),
        ("8:1", "platform/sda/sda1", Some("1")),
        ("8:2", "platform/sda/sda2", None),
        ("8:16", "pci0000:00/usb2/2-1/sdb", Some("0")),
    ] {
        let dir = at("sys/devices").join(path);
        fs::create_dir_all(&dir).unwrap();
        if let Some(removable) = removable {
            let disk = if path.ends_with("sdb") { dir.as_path() } else { dir.parent().unwrap() };
            fs::write(disk.join("removable"), format!("{removable}\n")).unwrap();
        }
        fs::create_dir_all(at("sys/dev/block")).unwrap();
        symlink(format!("../../devices/{path}"), at("sys/dev/block").join(number)).unwrap();
        let class = at("sys/class/block").join(path.rsplit('/').next().unwrap());
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join("dev"), format!("{number}\n")).unwrap();
    }
    fs::create_dir_all(at("proc/self")).unwrap();
    fs::create_dir_all(at("dev/disk/by-uuid")).unwrap();
    root
}

fn mount(root: &TempDir, list: &str) {
    fs::write(root.path().join("proc/self/mountinfo"), list).unwrap();
}

#[tokio::test]
async fn only_whole_file_systems_of_what_can_be_unplugged_are_media() {
    let root = host();
    mount(
        &root,
        "21 1 179:2 / / rw - ext4 /dev/root rw\n\
         22 21 0:5 / /dev rw - devtmpfs dev rw\n\
         30 21 8:1 / /media/My\\040stick ro,nosuid shared:1 - vfat /dev/sda1 ro\n\
         31 21 8:1 / /mnt/again ro - vfat /dev/sda1 ro\n\
         32 21 8:2 /inside /mnt/part ro - ext4 /dev/sda2 ro\n\
         33 21 8:16 / /mnt/disk rw - ext4 /dev/sdb rw\n\
         nonsense\n",
    );
    let media = Mounts::new(root.path()).media().unwrap();
    let media: Vec<_> = media.iter().map(|it| (it.device.as_str(), it.path.to_str().unwrap())).collect();
    assert_eq!(media, [("8:1", "/media/My stick"), ("8:16", "/mnt/disk")]);
}

#[tokio::test]
async fn what_is_plugged_in_and_not_mounted_is_found_by_its_file_system() {
    let root = host();
    mount(&root, "30 21 8:1 / /media/stick ro - vfat /dev/sda1 ro\n");
    for (uuid, name) in [("A-1", "sda1"), ("b", "sda2"), ("c", "mmcblk0p2"), ("d", "gone")] {
        symlink(format!("../../{name}"), root.path().join("dev/disk/by-uuid").join(uuid)).unwrap();
    }
    assert_eq!(*Mounts::new(root.path()).unmounted(), ["sda2"]);
}

#[tokio::test]
async fn a_new_name_of_a_file_system_wakes() {
    let root = host();
    mount(&root, "");
    let mounts = Mounts::new(root.path());
    let plugs = async {
        tokio::task::yield_now().await;
        symlink("../../sda1", root.path().join("dev/disk/by-uuid/A-1")).unwrap();
    };
    let waits = tokio::time::timeout(std::time::Duration::from_secs(10), mounts.changed());
    let (woken, ()) = tokio::join!(waits, plugs);
    woken.expect("it is woken by the new name");
}

#[test]
fn the_kernels_escapes_are_undone() {
    for (written, path) in [("/a\\040b", "/a b"), ("/a\\134b", "/a\\b"), ("/a\\04", "/a\\04"), ("/\\999x", "/\\999x"), ("", "")]
    {
        assert_eq!(unescaped(written), Path::new(path));
    }
}
