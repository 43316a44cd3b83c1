//! Copies of volumes: whole, put back as they were, and nothing left of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use boardkeeper::port::{Engine, EngineError};
use boardkeeper::state::config::{Mount, MountMode};
use boardkeeper::state::{EngineAction, VolumeCopy, VolumeSnapshot};

use super::{APP, Lab, Thing, dropped, spec, take, twice, volume, which};

/// A copy of the volume `data`.
pub(crate) fn copy(lab: &impl Lab) -> Box<VolumeCopy> {
    Box::new(VolumeCopy { name: "data".into(), volume: volume("data"), release: "c1".into(), image: lab.image() })
}

fn snapshot() -> VolumeSnapshot {
    VolumeSnapshot { name: VolumeSnapshot::engine_name(APP, "data"), app: APP, volume: "data".into() }
}

/// A container that has the volume, and is not started.
async fn create_user(lab: &impl Lab) {
    let mut spec = spec(lab, "main");
    spec.config.mounts.insert(Mount::Volume { name: "data".into(), path: "/data".into(), access: MountMode::Write });
    spec.hash = spec.config.hash(spec.image.as_str());
    take(lab, EngineAction::Create(Arc::new(spec))).await.unwrap();
}

async fn snapshots(lab: &impl Lab) -> Vec<VolumeSnapshot> {
    lab.engine().observe().await.unwrap().snapshots
}

pub(crate) async fn data_is_copied_and_put_back_and_nothing_is_left_of_it(lab: &impl Lab) {
    let before = lab.everything();
    take(lab, EngineAction::CreateVolume(volume("data"))).await.unwrap();
    lab.write(&volume("data").name, "the old data");
    create_user(lab).await;
    let user = which(lab, "main").await;
    let seen = lab.engine().observe().await.unwrap();
    assert_eq!((seen.containers[0].volumes.len(), seen.containers[0].volumes.contains(&volume("data").name)), (1, true));
    assert_eq!(lab.engine().check_copies(&[volume("data").name].into()).await, Ok(()));

    // A container that does not run may have it.
    twice(lab, EngineAction::KeepData(copy(lab))).await;
    assert_eq!(snapshots(lab).await, [snapshot()]);
    lab.write(&volume("data").name, "the new data");
    match take(lab, EngineAction::PutDataBack(copy(lab))).await {
        Err(EngineError::InUse(why)) => assert!(why.contains(&volume("data").name), "{why}"),
        other => panic!("a container has the volume, and putting it back gives {other:?}"),
    }
    take(lab, EngineAction::Kill(user)).await.unwrap();
    twice(lab, EngineAction::PutDataBack(copy(lab))).await;
    assert_eq!(lab.read(&volume("data").name), "the old data");
    let seen = lab.engine().observe().await.unwrap();
    assert_eq!((seen.volumes, seen.snapshots), (vec![volume("data")], vec![snapshot()]));

    twice(lab, EngineAction::RemoveVolume(snapshot().name, APP)).await;
    let refused = take(lab, EngineAction::PutDataBack(copy(lab))).await;
    assert!(matches!(&refused, Err(EngineError::Refused(why)) if why.contains("was removed")), "{refused:?}");
    assert_eq!(lab.read(&volume("data").name), "the old data", "without a copy nothing is overwritten");
    twice(lab, EngineAction::RemoveVolume(volume("data").name, APP)).await;
    assert_eq!(lab.everything(), before);
}

pub(crate) async fn a_copy_that_was_dropped_is_made_anew(lab: &impl Lab) {
    take(lab, EngineAction::CreateVolume(volume("data"))).await.unwrap();
    lab.write(&volume("data").name, "the data");
    for polls in (0..60).step_by(7) {
        dropped(lab, &EngineAction::KeepData(copy(lab)), polls).await;
        take(lab, EngineAction::KeepData(copy(lab))).await.unwrap();
        dropped(lab, &EngineAction::PutDataBack(copy(lab)), polls).await;
        take(lab, EngineAction::PutDataBack(copy(lab))).await.unwrap();
        assert_eq!(lab.read(&volume("data").name), "the data", "{polls}");
        dropped(lab, &EngineAction::KeepData(copy(lab)), polls).await;
        take(lab, EngineAction::RemoveVolume(snapshot().name, APP)).await.unwrap();
        assert_eq!(snapshots(lab).await, []);
    }
    take(lab, EngineAction::RemoveVolume(volume("data").name, APP)).await.unwrap();
}

pub(crate) async fn a_foreign_volume_is_not_taken_for_a_copy(lab: &impl Lab) {
    take(lab, EngineAction::CreateVolume(volume("data"))).await.unwrap();
    lab.create_foreign(Thing::Volume(&snapshot().name));
    let before = lab.everything();
    assert_eq!(snapshots(lab).await, []);
    for action in [
        EngineAction::KeepData(copy(lab)),
        EngineAction::PutDataBack(copy(lab)),
        EngineAction::RemoveVolume(snapshot().name, APP),
    ] {
        match take(lab, action.clone()).await {
            Err(EngineError::Refused(why)) => assert!(why.contains("no supervisor"), "{action}: {why}"),
            other => panic!("{action} gives {other:?}"),
        }
    }
    assert_eq!(lab.everything(), before);
}

/// What a directory has, by path: kind, mode, owner, times and content of each file.
#[cfg(test)]
pub(crate) fn inventory(root: &std::path::Path) -> BTreeMap<String, String> {
    use std::os::unix::fs::MetadataExt;
    let mut all = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let meta = path.symlink_metadata().unwrap();
        let kind = meta.file_type();
        let content = if kind.is_symlink() {
            format!("{:?}", std::fs::read_link(&path).unwrap())
        } else if kind.is_file() {
            use sha2::Digest;
            format!("{} {}", meta.len(), hex::encode(sha2::Sha256::digest(std::fs::read(&path).unwrap())))
        } else {
            String::new()
        };
        let links = if kind.is_file() { meta.nlink() } else { 0 };
        let (mode, uid, gid, mtime, rdev) = (meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.rdev());
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        all.insert(name, format!("{mode:o} {uid}:{gid} {mtime} {rdev} {links} {content}"));
        if kind.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
        }
    }
    all
}
