//! Snapshots of volumes. The agent runs without privileges and cannot read the engine's directories, so the engine copies: two
//! containers are created, and never started, which have the volumes; an archive of the one is unpacked in the other.
//!
//! An archive carries files, directories, links (hard ones too), FIFOs and devices with their numeric owners, modes, content
//! and times to the second, and capabilities of files. It carries no sockets and no other extended attributes, and a hole of a
//! sparse file becomes zeros. The copy is read back and compared: Docker loses the setuid bit of a file with several names, and
//! such a volume is rejected. The copy is on the disk before the action ends.
//!
//! Neither the containers nor the snapshots have labels of supervisors: another supervisor leaves them alone.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bollard::body_try_stream;
use bollard::query_parameters::{RemoveVolumeOptions, UploadToContainerOptions};
use futures_util::{StreamExt, stream};
use hyper::body::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::linux::engine::archive::{PassedArchive, PassingArchive};
use crate::linux::engine::connection::EngineConnection;
use crate::linux::engine::containers::removal;
use crate::linux::engine::errors::{found, is_conflict, sort};
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::labels::Labels;
use crate::linux::engine::room::added;
use crate::linux::engine::{CALL, Engine, transport};
use crate::linux::escaped;
use crate::linux::off_thread;
use crate::port::EngineError;
use crate::sorted::SortedSet;
use crate::state::{AppId, VolumeCopy, VolumeSnapshot};

/// The most data of a volume that is copied, in bytes, as it is in an archive. Services stand still meanwhile: a slow memory
/// card takes two minutes for so much.
const SNAPSHOT_BYTES: u64 = 1 << 30;
/// How long the engine may take to pass on, or to take, a part of an archive. A slow card may write for as long before it
/// takes more.
const STALL: Duration = Duration::from_secs(5 * 60);
/// How long the engine may take to count what volumes have. If it takes longer, that is counted while they are copied.
const COUNT: Duration = Duration::from_secs(60);
/// The room on the disk is looked at again after so many bytes.
const LOOK_EVERY: u64 = 16 << 20;

/// The label of a snapshot that names the volume.
const SNAPSHOT_OF: &str = "io.boardkeeper.snapshot-of";
/// The label of a snapshot that names the app.
const SNAPSHOT_APP: &str = "io.boardkeeper.snapshot-app";
/// The label of a snapshot that names the release whose data it is.
const SNAPSHOT_RELEASE: &str = "io.boardkeeper.snapshot-release";
/// The label of a container through which a snapshot is copied: the snapshot's name.
const COPIES: &str = "io.boardkeeper.copies";
/// Where the containers have the volumes: below a directory that images do not have. The archive has the volume's own owner
/// and mode too, as those of a directory in it.
const PLACE: &str = "/boardkeeper-copy";
/// The volume's name in that directory.
const DATA: &str = "data";

/// The container that a volume is read from, and the one that it is written to.
const ENDS: [&str; 2] = ["from", "to"];

impl Engine {
    /// Copies a volume into a new snapshot.
    pub(super) async fn keep_data(&self, copy: &VolumeCopy) -> Result<(), EngineError> {
        let (snapshot, what) = (copy.snapshot(), format!("copy the data of volume {}", copy.volume.name));
        let connection = self.within(CALL, self.connection()).await?;
        self.has_room(&connection, &what, |_| true, 0)?;
        self.within(CALL, self.remove_snapshot(&snapshot)).await?;
        self.within(CALL, self.create_snapshot(&connection, copy, &what)).await?;
        self.copy_volume(&connection, copy, [&copy.volume.name, &snapshot], &what).await
    }

    /// Creates a volume anew from its snapshot.
    pub(super) async fn put_data_back(&self, copy: &VolumeCopy) -> Result<(), EngineError> {
        let (snapshot, what) = (copy.snapshot(), format!("put the data of volume {} back", copy.volume.name));
        let connection = self.within(CALL, self.connection()).await?;
        let begin = async {
            if !self.has_snapshot(&connection, &snapshot, &what).await? {
                return Err(EngineError::Refused(format!("cannot {what}: its copy {snapshot} was removed")));
            }
            // What an interrupted attempt left has the volume.
            self.remove_copiers(&connection, &snapshot).await?;
            self.remove_volume(&copy.volume.name).await?;
            self.create_volume(&copy.volume).await
        };
        self.within(CALL, begin).await?;
        self.copy_volume(&connection, copy, [&snapshot, &copy.volume.name], &what).await
    }

    /// Rejects volumes that are known to be too large to be copied.
    pub(super) async fn copies_fit(&self, volumes: &SortedSet<String>) -> Result<(), EngineError> {
        if volumes.is_empty() {
            return Ok(());
        }
        let connection = self.within(CALL, self.connection()).await?;
        let counted = timeout(COUNT, self.get(&connection, "/system/df?type=volume&verbose=1")).await;
        let Ok(Ok(counted)) = counted else { return Ok(()) };
        // The list has another place in newer versions of the API.
        let all = ["/Volumes", "/VolumesDiskUsage/Items"].into_iter().flat_map(|it| counted.items(it));
        let size = |it: EngineJson| Some((it.text("/Name").to_owned(), u64::try_from(it.number("/UsageData/Size")).ok()?));
        let sizes: Vec<_> = all.filter_map(size).filter(|(name, _)| volumes.contains(name)).collect();
        for (name, bytes) in &sizes {
            if *bytes > SNAPSHOT_BYTES {
                return Err(too_large(&format!("copy the data of volume {name}"), *bytes));
            }
        }
        let names = volumes.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let what = format!("copy the data of volume {names}");
        self.has_room(&connection, &what, |_| true, added(sizes.iter().map(|(_, bytes)| *bytes)))
    }

    /// Removes a snapshot with the containers through which it was copied, if it exists and is one.
    pub(super) async fn remove_snapshot(&self, name: &str) -> Result<(), EngineError> {
        let connection = self.connection().await?;
        let what = format!("remove volume {name}");
        if !self.has_snapshot(&connection, name, &what).await? {
            return Ok(());
        }
        self.remove_copiers(&connection, name).await?;
        match connection.docker.remove_volume(name, None::<RemoveVolumeOptions>).await {
            Err(error) if is_conflict(&error) => Err(EngineError::InUse(sort(&what, &error).to_string())),
            removed => found(&what, removed).map(drop),
        }
    }

    /// Whether a snapshot exists. A volume of that name that this agent did not make is an error.
    async fn has_snapshot(&self, connection: &EngineConnection, name: &str, what: &str) -> Result<bool, EngineError> {
        let Some(seen) = self.volume(connection, name, what).await? else { return Ok(false) };
        if is_snapshot(&seen.labels("/Labels")) {
            return Ok(true);
        }
        Err(EngineError::Refused(format!("cannot {what}: there is a volume {name} that no supervisor made; remove it")))
    }

    async fn remove_copiers(&self, connection: &EngineConnection, snapshot: &str) -> Result<(), EngineError> {
        for end in ENDS {
            let (name, what) = (copier(snapshot, end), format!("remove container {snapshot}_{end}"));
            let Some(seen) = self.details_of(connection, &name, &what).await? else { continue };
            if seen.labels("/Config/Labels").get(COPIES).map(String::as_str) != Some(snapshot) {
                let why = format!("cannot {what}: a container no supervisor made has that name; remove or rename it");
                return Err(EngineError::Refused(why));
            }
            found(&what, connection.docker.remove_container(&name, Some(removal())).await)?;
        }
        Ok(())
    }

    /// Copies one volume to another, which is empty.
    async fn copy_volume(
        &self,
        connection: &EngineConnection,
        copy: &VolumeCopy,
        [from, to]: [&String; 2],
        what: &str,
    ) -> Result<(), EngineError> {
        let snapshot = copy.snapshot();
        let prepare = async {
            self.remove_copiers(connection, &snapshot).await?;
            for (end, volume) in ENDS.into_iter().zip([from, to]) {
                self.create_copier(connection, copy, (end, volume), what).await?;
            }
            Ok(())
        };
        self.within(CALL, prepare).await?;
        let copied = self.copy_between(connection, &snapshot, what).await;
        // If this fails, the next attempt removes them, or the removal of the snapshot.
        let removed = self.within(CALL, self.remove_copiers(connection, &snapshot)).await;
        copied.and(removed)
    }

    async fn create_snapshot(&self, connection: &EngineConnection, copy: &VolumeCopy, what: &str) -> Result<(), EngineError> {
        let labels = json!({
            SNAPSHOT_OF: copy.name,
            SNAPSHOT_APP: copy.volume.app.to_string(),
            SNAPSHOT_RELEASE: copy.release,
        });
        let body = json!({"Name": copy.snapshot(), "Labels": labels});
        self.post(connection, "/volumes/create", &body).await.map(drop).map_err(|error| sort(what, &error))
    }

    /// Creates the container of one end of a copy, and does not start it.
    async fn create_copier(
        &self,
        connection: &EngineConnection,
        copy: &VolumeCopy,
        (end, volume): (&str, &str),
        what: &str,
    ) -> Result<(), EngineError> {
        let snapshot = copy.snapshot();
        let mount = json!({
            "Type": "volume",
            "Source": volume,
            "Target": format!("{PLACE}/{DATA}"),
            "VolumeOptions": {"NoCopy": true},
        });
        let body = json!({
            "Image": copy.image.as_str(),
            // It is never started; an image may have no command of its own.
            "Cmd": ["none"],
            "Labels": {COPIES: snapshot},
            "HostConfig": {"Mounts": [mount], "NetworkMode": "none"},
        });
        let path = format!("/containers/create?name={}", escaped(&copier(&snapshot, end)));
        self.post(connection, &path, &body).await.map(drop).map_err(|error| sort(what, &error))
    }

    async fn copy_between(&self, connection: &EngineConnection, snapshot: &str, what: &str) -> Result<(), EngineError> {
        let [from, to] = ENDS.map(|end| copier(snapshot, end));
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(2);
        let body = stream::unfold(receiver, async |mut parts| Some((parts.recv().await?, parts)));
        let options = UploadToContainerOptions { path: PLACE.to_owned(), ..UploadToContainerOptions::default() };
        let mut put = pin!(connection.docker.upload_to_container(&to, Some(options), body_try_stream(body)));
        let passed = tokio::select! {
            biased;
            ended = &mut put => {
                ended.map_err(|error| sort(what, &error))?;
                return Err(EngineError::Refused(format!("cannot {what}: the engine took only a part of it")));
            }
            passed = self.pass_on(connection, &from, Some(sender), what) => passed?,
        };
        let done = timeout(STALL, put).await.map_err(|_| stalled(what))?;
        done.map_err(|error| sort(what, &error))?;
        let written = self.pass_on(connection, &to, None, what).await?;
        if written != passed {
            return Err(EngineError::Refused(format!(
                "cannot {what}: the engine wrote something else than it read, as with a hard link to a file that has the setuid bit; \
                 remove such files, or take the volume's label away"
            )));
        }
        // The engine leaves its writes to the kernel.
        off_thread(rustix::fs::sync).await.map_err(EngineError::Unreachable)
    }

    /// Reads a volume as an archive, and passes it on. A `None`: it is only read.
    async fn pass_on(
        &self,
        connection: &EngineConnection,
        container: &str,
        to: Option<mpsc::Sender<io::Result<Bytes>>>,
        what: &str,
    ) -> Result<PassedArchive, EngineError> {
        let path = format!("{}/containers/{container}/archive?path={PLACE}/{DATA}", connection.version_path());
        let opened = timeout(STALL, transport::bytes(connection.facts.host(), &path)).await.map_err(|_| stalled(what))?;
        let mut parts = pin!(opened.map_err(|error| sort(what, &error))?);
        let (mut archive, mut look_at) = (PassingArchive::new(), LOOK_EVERY);
        let passed = loop {
            let Some(part) = timeout(STALL, parts.next()).await.map_err(|_| stalled(what))? else {
                let broken = || EngineError::Refused(format!("cannot {what}: the engine broke off while it read the volume"));
                break archive.end().ok_or_else(broken);
            };
            let part = part.map_err(|error| sort(what, &error))?;
            archive.pass(&part);
            if archive.bytes() > SNAPSHOT_BYTES {
                break Err(too_large(what, archive.bytes()));
            }
            if let Some(to) = &to {
                if archive.bytes() > look_at {
                    self.has_room(connection, what, |_| true, 0)?;
                    look_at = archive.bytes() + LOOK_EVERY;
                }
                timeout(STALL, to.send(Ok(part))).await.map_err(|_| stalled(what))?.unwrap_or_default();
            }
        };
        if let (Err(error), Some(to)) = (&passed, &to) {
            // The archive must not look as if it ended here.
            let _ = to.send(Err(io::Error::other(error.to_string()))).await;
        }
        passed
    }
}

/// The snapshots among volumes, complete or not.
pub(super) fn snapshots<'a>(list: impl Iterator<Item = &'a EngineJson>) -> Vec<VolumeSnapshot> {
    let snapshot = |said: &EngineJson| {
        let labels = said.labels("/Labels");
        let (volume, app) = (labels.get(SNAPSHOT_OF)?.clone(), AppId(labels.get(SNAPSHOT_APP)?.parse().ok()?));
        let name = VolumeSnapshot::engine_name(app, &volume);
        (said.text("/Name") == name).then_some(VolumeSnapshot { name, app, volume })
    };
    list.filter_map(snapshot).collect()
}

/// Whether a volume is a snapshot of this agent's.
pub(super) fn is_snapshot(labels: &Labels) -> bool {
    labels.contains_key(SNAPSHOT_OF)
}

fn copier(snapshot: &str, end: &str) -> String {
    format!("{snapshot}_{end}")
}

fn too_large(what: &str, bytes: u64) -> EngineError {
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    EngineError::Full(format!(
        "cannot {what}: it has {} MiB or more, and {} MiB are copied at most; make it smaller, or take its label away",
        mebibytes(bytes),
        mebibytes(SNAPSHOT_BYTES)
    ))
}

fn stalled(what: &str) -> EngineError {
    EngineError::Unreachable(format!("cannot {what}: the engine passed nothing on for {} s", STALL.as_secs()))
}
