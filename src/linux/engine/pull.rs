//! Pulling an image: only if it fits, with reports of progress.

use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use hyper::header::HeaderValue;
use tokio::time::Instant;

use crate::linux::engine::connection::EngineConnection;
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::login::{self, RegistryLogin};
use crate::linux::engine::room::{RoomReservation, added, room_for, unpacked};
use crate::linux::engine::{CALL, Engine, errors, transport};
use crate::linux::escaped;
use crate::port::EngineError;
use crate::sorted::SortedMap;
use crate::state::{DownloadProgress, ImageRef};

/// How long a pull may go without a byte of progress. A registry on a weak link needs minutes, not hours.
const STALL: Duration = Duration::from_secs(5 * 60);

impl Engine {
    /// Pulls an image that is not present.
    pub(super) async fn pull(&self, image: &ImageRef, progress: &dyn Fn(DownloadProgress)) -> Result<(), EngineError> {
        let Some((connection, login)) = self.within(CALL, self.prepare(image)).await? else {
            progress(DownloadProgress::of_percent(100));
            return Ok(());
        };
        let _reservation = RoomReservation { engine: self, image };
        self.reserve(image, &connection, 0, 0)?;
        let mut layers = PullProgress::foreseen(self.fits(image, &connection, &login).await?);
        let (credentials, hint) = self.credentials(login);
        let stream = pin!(progress_of(&connection, image, credentials));
        if let Err(error) = self.follow(image, (stream, &mut layers), &connection, (progress, &hint)).await {
            return self.within(CALL, async { Err(error) }).await;
        }
        // A stream that was cut off looks like one that ended.
        let here = async {
            let found = self.image(&connection, image.as_str()).await?;
            found.ok_or_else(|| EngineError::Unreachable(format!("the engine ended the pull of {image} without a word")))
        };
        self.within(CALL, here).await?;
        progress(layers.whole());
        Ok(())
    }

    /// What a pull needs; `None` if the image is present.
    pub(super) async fn prepare(&self, image: &ImageRef) -> Result<Option<(EngineConnection, RegistryLogin)>, EngineError> {
        let connection = self.connection().await?;
        if self.image(&connection, image.as_str()).await?.is_some() {
            return Ok(None);
        }
        let registry = login::registry(image.as_str());
        // A reference without a host has no slash before its path: the hub's.
        let path = image.as_str().strip_prefix(registry).filter(|_| !login::is_hub(registry)).unwrap_or_default();
        let login = match &self.settings.logins {
            Some(path) => login::read(path, registry).await?,
            None => RegistryLogin::None,
        };
        let login = match (login, self.cloud_login.at(registry, path)) {
            (RegistryLogin::None | RegistryLogin::Helper, Some((user, key))) => RegistryLogin::device(registry, user, &key),
            (login, _) => login,
        };
        Ok(Some((connection, login)))
    }

    /// Credentials for the engine, and a hint for the user in case the registry rejects them.
    fn credentials(&self, login: RegistryLogin) -> (Option<DockerCredentials>, String) {
        let file = self.settings.logins.as_ref().map_or_else(|| "config.json".to_owned(), |it| it.display().to_string());
        match login {
            RegistryLogin::None => (None, format!("put them in {file}, as `docker login` does")),
            RegistryLogin::Helper => {
                (None, format!("{file} names a credential helper, which is not supported: put the credentials in it"))
            }
            RegistryLogin::Found(credentials) => (Some(*credentials), format!("correct them in {file}")),
            RegistryLogin::Device(credentials) => {
                let hint = "they are the device's in its cloud: see there whether the device, its key and the release exist";
                (Some(*credentials), hint.to_owned())
            }
        }
    }

    async fn follow(
        &self,
        image: &ImageRef,
        (mut stream, layers): (impl Stream<Item = Result<EngineJson, Error>> + Unpin, &mut PullProgress),
        connection: &EngineConnection,
        (progress, hint): (&dyn Fn(DownloadProgress), &str),
    ) -> Result<(), EngineError> {
        let mut moved = Instant::now();
        loop {
            let next = tokio::time::timeout_at(moved + STALL, stream.next()).await.map_err(|_| {
                let registry = login::registry(image.as_str());
                EngineError::Refused(format!(
                    "cannot pull {image}: {registry} sent nothing for {} s; check it, and the network",
                    STALL.as_secs()
                ))
            })?;
            let info = match next {
                None => return Ok(()),
                Some(Ok(info)) => info,
                Some(Err(error)) => {
                    let registry = login::registry(image.as_str());
                    return Err(errors::pull(image.as_str(), registry, hint, &self.settings.arch, &error));
                }
            };
            let news = layers.take(&info);
            if news != PullEvent::None {
                moved = Instant::now();
            }
            if news == PullEvent::Sized {
                self.reserve(image, connection, layers.room_bytes(), layers.foreseen_room_bytes())?;
            }
            if let Some(risen) = layers.rise() {
                progress(risen);
            }
        }
    }
}

/// Has the engine pull an image. The lines of its progress.
fn progress_of(
    connection: &EngineConnection,
    image: &ImageRef,
    credentials: Option<DockerCredentials>,
) -> impl Stream<Item = Result<EngineJson, Error>> {
    let path = format!("{}/images/create?fromImage={}", connection.version_path(), escaped(image.as_str()));
    let lines = async move {
        let credentials = credentials.map(|it| header(&it)).transpose()?;
        transport::pull(connection.facts.host(), &path, credentials).await
    };
    stream::once(lines).try_flatten().map_ok(EngineJson)
}

/// Credentials as the engine takes them.
fn header(credentials: &DockerCredentials) -> Result<HeaderValue, Error> {
    let text = BASE64_STANDARD.encode(serde_json::to_string(credentials)?);
    HeaderValue::from_str(&text).map_err(|error| transport::not_understood(&error.to_string()))
}

/// What one line of a pull's progress says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PullEvent {
    /// No progress.
    None,
    /// Progress.
    Moved,
    /// Progress, and the size of one more layer is known.
    Sized,
}

/// The layers of an image whose pull is in flight.
#[derive(Debug, Default)]
pub(super) struct PullProgress {
    known: SortedMap<String, LayerProgress>,
    reported: Option<DownloadProgress>,
    /// Compressed bytes of all layers, as the registry said. 0: not known.
    foreseen: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct LayerProgress {
    /// Compressed bytes. 0: not known.
    total: u64,
    downloaded: u64,
    extracted: u64,
    /// Nothing of it is to be downloaded any more.
    is_fetched: bool,
    complete: bool,
}

impl LayerProgress {
    fn fetched(&mut self) {
        (self.downloaded, self.is_fetched) = (self.downloaded.max(self.total), true);
    }
}

impl PullProgress {
    fn foreseen(bytes: u64) -> Self {
        Self { foreseen: bytes, ..Self::default() }
    }

    pub(super) fn take(&mut self, line: &EngineJson) -> PullEvent {
        // A line "Pulling from …" has the tag in the place of a layer; other lines without a layer are messages for the user.
        let (id, status) = (line.text("/id"), line.text("/status"));
        if id.is_empty() || line.at("/status").is_none() {
            return PullEvent::None;
        }
        if status.starts_with("Pulling from") {
            return PullEvent::Moved;
        }
        let bytes = |name: &str| u64::try_from(line.number(name)).unwrap_or(0);
        let (current, total) = (bytes("/progressDetail/current"), bytes("/progressDetail/total"));
        let fresh = !self.known.contains_key(id);
        let layer = self.known.entry(id.to_owned()).or_default();
        let before = *layer;
        layer.total = layer.total.max(total);
        match status {
            "Downloading" => layer.downloaded = layer.downloaded.max(current),
            "Verifying Checksum" | "Download complete" => layer.fetched(),
            "Extracting" => {
                layer.fetched();
                layer.extracted = layer.extracted.max(current);
            }
            "Pull complete" | "Already exists" => {
                layer.fetched();
                layer.complete = true;
            }
            _ => {}
        }
        if before.total == 0 && layer.total > 0 {
            PullEvent::Sized
        } else if fresh || *layer != before {
            PullEvent::Moved
        } else {
            PullEvent::None
        }
    }

    /// Space still needed, in bytes: what is yet to be downloaded, and one and a half times what is yet to be unpacked.
    pub(super) fn room_bytes(&self) -> u64 {
        let missing = |it: &LayerProgress| {
            it.total.saturating_sub(it.downloaded).saturating_add(unpacked(it.total.saturating_sub(it.extracted)))
        };
        added(self.known.values().filter(|it| !it.complete).map(missing))
    }

    /// Space for layers whose size the engine has not reported yet, in bytes, from what the registry said. Some of them may be
    /// present already.
    fn foreseen_room_bytes(&self) -> u64 {
        if self.known.values().all(|it| it.total > 0 || it.complete) {
            return 0;
        }
        room_for(self.foreseen.saturating_sub(added(self.known.values().map(|it| it.total))))
    }

    /// The progress, if a number of it exceeds what was last reported; none falls. 100 per cent are reported when the image is
    /// present, and not before.
    pub(super) fn rise(&mut self) -> Option<DownloadProgress> {
        let reported = self.reported.unwrap_or_default();
        let total_bytes = self.total_bytes().max(reported.total_bytes);
        let bytes = self.bytes().map(|it| it.min(total_bytes.unwrap_or(u64::MAX))).max(reported.bytes);
        let now = DownloadProgress { percent: self.percent().max(reported.percent), bytes, total_bytes };
        (self.reported != Some(now)).then(|| *self.reported.insert(now))
    }

    /// The progress of an image that is present.
    fn whole(&self) -> DownloadProgress {
        DownloadProgress { percent: 100, ..self.reported.unwrap_or_default() }
    }

    /// Downloaded bytes of the layers that were not present. `None`: the engine has reported none yet.
    fn bytes(&self) -> Option<u64> {
        let fetched = || self.known.values().filter(|it| it.total > 0 || it.downloaded > 0);
        fetched().next()?;
        Some(added(fetched().map(|it| it.downloaded)))
    }

    /// Bytes of the layers that were not present. `None`: the size of one that is still to be downloaded is not known.
    fn total_bytes(&self) -> Option<u64> {
        let is_sized = self.known.values().all(|it| it.total > 0 || it.is_fetched);
        let total = added(self.known.values().map(|it| it.total.max(it.downloaded)));
        (is_sized && total > 0).then_some(total)
    }

    fn percent(&self) -> u8 {
        let sized = || self.known.values().map(|it| it.total).filter(|it| *it > 0);
        // Layers that were present before are listed first, and say nothing about those that are yet to come.
        let count = u64::try_from(sized().count()).unwrap_or(u64::MAX);
        let Some(middling) = added(sized()).checked_div(count) else { return 0 };
        // A layer of unknown size counts as one of average size.
        let middling = middling.max(1);
        let size = |it: &LayerProgress| if it.total == 0 { middling } else { it.total };
        let twice = |it: &LayerProgress| size(it).saturating_mul(2);
        let whole = added(self.known.values().map(twice));
        let done =
            self.known.values().map(|it| if it.complete { twice(it) } else { it.downloaded.saturating_add(it.extracted) });
        let percent = added(done).saturating_mul(100) / whole.max(1);
        u8::try_from(percent.min(99)).unwrap_or(99)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::rc::Rc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::linux::engine::tests::scripted;
    use crate::state::Secret;
    use crate::state::cloud::CloudAccount;

    fn line(id: &str, status: &str, current: i64, total: i64) -> EngineJson {
        EngineJson(json!({"id": id, "status": status, "progressDetail": {"current": current, "total": total}}))
    }

    fn percent(layers: &mut PullProgress) -> Option<u8> {
        layers.rise().map(|it| it.percent)
    }

    fn bytes(layers: &mut PullProgress) -> (Option<u64>, Option<u64>) {
        layers.rise().map_or((None, None), |it| (it.bytes, it.total_bytes))
    }

    #[tokio::test]
    async fn the_clouds_registry_gets_the_devices_own_login() {
        scripted::asked_of(
            |asked| Some(scripted::empty(asked)),
            async |engine| {
                let account = CloudAccount {
                    endpoint: String::new(),
                    logs_endpoint: None,
                    uuid: "ab".into(),
                    key: Secret::new("k".into()),
                };
                engine.cloud_login.set_registry(Some("r.example:5000".to_owned()));
                engine.cloud_login.set_account(&account);
                let login = async |image: &str| engine.prepare(&ImageRef::new(image)).await.unwrap().unwrap().1;
                let RegistryLogin::Device(found) = login("r.example:5000/v2/0123@sha256:45").await else { unreachable!() };
                let DockerCredentials { username, password, serveraddress, .. } = *found;
                let all = [username, password, serveraddress].map(Option::unwrap);
                assert_eq!(all, ["d_ab", "k", "r.example:5000"]);
                assert_eq!(login("r.example/v2/0123").await, RegistryLogin::None);
                assert_eq!(login("busybox:1").await, RegistryLogin::None);
            },
        )
        .await;
    }

    #[test]
    fn all_layers_count_and_the_end_is_not_told_early() {
        let mut layers = PullProgress::default();
        assert_eq!(layers.take(&line("a", "Pulling fs layer", 0, 0)), PullEvent::Moved);
        layers.take(&line("b", "Pulling fs layer", 0, 0));
        assert_eq!(layers.take(&line("a", "Downloading", 50, 100)), PullEvent::Sized);
        assert_eq!(layers.room_bytes(), 50 + 150);
        assert_eq!(percent(&mut layers), Some(12));
        assert_eq!(layers.take(&line("a", "Downloading", 50, 100)), PullEvent::None);
        layers.take(&line("a", "Pull complete", 0, 0));
        assert_eq!(percent(&mut layers), Some(50));
        layers.take(&line("b", "Already exists", 0, 0));
        assert_eq!(percent(&mut layers), Some(99));
        assert_eq!(layers.room_bytes(), 0);
    }

    #[test]
    fn layers_that_are_here_already_are_no_progress() {
        let mut layers = PullProgress::default();
        layers.take(&line("a", "Already exists", 0, 0));
        assert_eq!(percent(&mut layers), Some(0));
        layers.take(&line("b", "Pulling fs layer", 0, 0));
        layers.take(&line("b", "Downloading", 10, 100));
        assert_eq!(percent(&mut layers), Some(52));
    }

    #[test]
    fn the_total_is_known_once_each_layer_that_is_not_here_has_a_size() {
        let mut layers = PullProgress::default();
        for (id, status) in [("a", "Pulling fs layer"), ("b", "Pulling fs layer"), ("c", "Already exists")] {
            layers.take(&line(id, status, 0, 0));
        }
        assert_eq!(bytes(&mut layers), (None, None));
        layers.take(&line("a", "Downloading", 30, 100));
        assert_eq!(bytes(&mut layers), (Some(30), None));
        layers.take(&line("b", "Downloading", 5, 50));
        assert_eq!(bytes(&mut layers), (Some(35), Some(150)));
        layers.take(&line("b", "Download complete", 0, 0));
        assert_eq!(bytes(&mut layers), (Some(80), Some(150)));
        // The engine begins the layer anew after an error, which does not take back what was reported.
        layers.take(&line("a", "Downloading", 10, 100));
        assert_eq!(layers.rise(), None);
        layers.take(&line("a", "Pull complete", 0, 0));
        layers.take(&line("b", "Pull complete", 0, 0));
        assert_eq!(bytes(&mut layers), (Some(150), Some(150)));
        assert_eq!(layers.whole(), DownloadProgress { percent: 100, bytes: Some(150), total_bytes: Some(150) });
    }

    #[test]
    fn a_layer_that_comes_late_does_not_take_the_total_back() {
        let mut layers = PullProgress::default();
        layers.take(&line("a", "Downloading", 100, 100));
        assert_eq!(bytes(&mut layers), (Some(100), Some(100)));
        layers.take(&line("late", "Downloading", 50, 0));
        // More than the total is no number of bytes for a progress bar.
        assert!(layers.rise().is_none_or(|it| (it.bytes, it.total_bytes) == (Some(100), Some(100))));
        layers.take(&line("late", "Downloading", 60, 80));
        assert_eq!(bytes(&mut layers), (Some(160), Some(180)));
    }

    #[test]
    fn a_layer_may_be_larger_than_a_small_board_can_address() {
        let gib = 1_i64 << 30;
        let mut layers = PullProgress::default();
        layers.take(&line("a", "Downloading", 4 * gib, 6 * gib));
        layers.take(&line("b", "Downloading", 0, 6 * gib));
        assert_eq!(percent(&mut layers), Some(16));
        assert_eq!(layers.room_bytes(), (2 + 9 + 15) << 30);
    }

    #[test]
    fn layers_of_absurd_size_do_not_fit_and_do_not_wrap_around() {
        let mut layers = PullProgress::default();
        layers.take(&line("a", "Downloading", 0, i64::MAX));
        layers.take(&line("b", "Downloading", i64::MAX, i64::MAX));
        assert_eq!(layers.room_bytes(), u64::MAX);
        layers.take(&line("c", "Pull complete", 0, 0));
        assert!(percent(&mut layers) < Some(100));
    }

    #[tokio::test]
    async fn what_a_registry_told_is_claimed_until_the_engine_has_told_of_every_layer() {
        let (engine, image) = (scripted::engine(Path::new("/nowhere")), ImageRef::new("app:1"));
        let connection =
            EngineConnection { docker: transport::client("unix:///nowhere", "1.41").unwrap(), facts: Rc::default() };
        let begun = || ["a", "b", "c"].map(|it| line(it, if it == "c" { "Already exists" } else { "Pulling fs layer" }, 0, 0));
        let reserved = async |reported: u64, lines: &[EngineJson]| {
            let lines = begun().into_iter().chain(lines.iter().cloned()).map(Ok);
            let lines = futures_util::stream::iter(lines);
            engine.follow(&image, (lines, &mut PullProgress::foreseen(reported)), &connection, (&|_| (), "")).await.unwrap();
            engine.reserved_bytes.borrow()[&image]
        };
        let (small, large) = (line("a", "Downloading", 0, 40), line("b", "Downloading", 0, 60));
        assert_eq!(reserved(100, std::slice::from_ref(&small)).await, 100 + 150);
        assert_eq!(reserved(100, &[small.clone(), large.clone()]).await, 250);
        // A registry that said less, or nothing; and one that counted what is present too.
        assert_eq!(reserved(0, std::slice::from_ref(&small)).await, 100);
        assert_eq!(reserved(u64::MAX, std::slice::from_ref(&small)).await, u64::MAX);
        assert_eq!(reserved(u64::MAX, &[small, large]).await, 250);
    }

    proptest! {
        #[test]
        fn progress_never_falls_and_no_line_breaks_it(lines in prop::collection::vec((0..4_u8, 0..7_usize, any::<i32>(), any::<i32>()), 0..80)) {
            let words = ["Pulling fs layer", "Waiting", "Downloading", "Download complete", "Extracting", "Pull complete", "Retrying in 5 seconds"];
            let mut layers = PullProgress::default();
            let mut last: Option<DownloadProgress> = None;
            for (layer, word, current, total) in lines {
                layers.take(&line(&layer.to_string(), words[word], current.into(), total.into()));
                let _ = layers.room_bytes();
                if let Some(now) = layers.rise() {
                    let was = last.replace(now).unwrap_or_default();
                    prop_assert!(was.percent <= now.percent && was.bytes <= now.bytes && was.total_bytes <= now.total_bytes);
                    prop_assert!(now.percent < 100 && (now.total_bytes.is_none() || now.bytes <= now.total_bytes), "{now:?}");
                }
            }
        }
    }
}
