use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::*;
use crate::cloud::jitter::Jitter;
use crate::state::Secret;
use crate::testing::{CloudCall, ScriptedCloud, refused, unreachable_cloud};

fn account() -> CloudAccount {
    let (endpoint, key) = ("https://api.example".to_owned(), Secret::new("k".repeat(32)));
    CloudAccount { endpoint, logs_endpoint: None, uuid: "u".to_owned(), key }
}

/// A program on the device, and the cloud.
struct Scene {
    cloud: ScriptedCloud,
    account: watch::Sender<Option<CloudAccount>>,
    pace: Pace,
    requests: mpsc::Sender<TagRequest>,
    inbox: mpsc::Receiver<TagRequest>,
    kept: KeptTags,
}

impl Scene {
    fn new(account: Option<CloudAccount>) -> Self {
        let (requests, inbox) = mpsc::channel(4);
        let pace = Pace::new(Jitter::new([7; 32]), Duration::from_secs(900));
        Self {
            cloud: ScriptedCloud::default(),
            account: watch::Sender::new(account),
            pace,
            requests,
            inbox,
            kept: KeptTags::default(),
        }
    }

    async fn lives(&mut self, long: Duration) {
        let Self { cloud, account, pace, inbox, kept, .. } = self;
        tokio::select! {
            biased;
            never = run(cloud, account.subscribe(), Some(pace), inbox, kept) => match never {},
            () = sleep(long) => (),
        }
    }

    async fn set(&mut self, tags: &[(&str, &str)]) -> Result<(), TagRefusal> {
        let (reply, answer) = oneshot::channel();
        let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.requests.try_send(TagRequest::Set(tags, reply)).unwrap();
        self.lives(Duration::from_millis(1)).await;
        answer.now_or_never().unwrap().unwrap()
    }

    async fn read(&mut self) -> Result<Vec<DeviceTag>, TagRefusal> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(TagRequest::Read(reply)).unwrap();
        self.lives(Duration::from_millis(1)).await;
        answer.now_or_never().unwrap().unwrap()
    }

    /// The tags of each request so far.
    fn sent(&self) -> Vec<String> {
        let words = |call: CloudCall| match call {
            CloudCall::SetTags { tags, .. } => {
                tags.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
            }
            other => panic!("{other:?}"),
        };
        self.cloud.take_calls().into_iter().map(words).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn tags_that_are_set_together_go_in_one_request_ten_seconds_after_the_last() {
    let mut scene = Scene::new(Some(account()));
    scene.cloud.set_tags.push(Ok(()));
    scene.cloud.set_tags.push(Ok(()));
    scene.set(&[("a", "1"), ("b", "1")]).await.unwrap();
    assert_eq!(scene.sent(), ["a=1 b=1"]);
    scene.set(&[("a", "2")]).await.unwrap();
    scene.set(&[("a", "3"), ("c", "1")]).await.unwrap();
    scene.lives(Duration::from_secs(9)).await;
    assert_eq!(scene.sent(), Vec::<String>::new());
    scene.lives(Duration::from_secs(60)).await;
    assert_eq!(scene.sent(), ["a=3 c=1"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_cloud_did_not_take_is_sent_again_and_what_it_refuses_is_not() {
    let mut scene = Scene::new(Some(account()));
    for answer in [Err(unreachable_cloud()), Err(refused(503, "later")), Ok(())] {
        scene.cloud.set_tags.push(answer);
    }
    scene.set(&[("a", "1")]).await.unwrap();
    scene.lives(Duration::from_secs(600)).await;
    assert_eq!(scene.sent(), ["a=1", "a=1", "a=1"]);
    scene.cloud.set_tags.push(Err(refused(400, "no")));
    scene.set(&[("b", "1")]).await.unwrap();
    scene.lives(Duration::from_secs(600)).await;
    assert_eq!(scene.sent(), ["b=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_device_without_a_cloud_has_no_tags() {
    let mut scene = Scene::new(None);
    assert_eq!(scene.set(&[("a", "1")]).await, Err(TagRefusal::NoCloud));
    let (reply, answer) = oneshot::channel();
    scene.requests.try_send(TagRequest::Read(reply)).unwrap();
    scene.lives(Duration::from_secs(1)).await;
    assert_eq!(answer.now_or_never().unwrap().unwrap(), Err(TagRefusal::NoCloud));
}

fn tag(value: &str) -> DeviceTag {
    DeviceTag { id: 5, name: "a".to_owned(), value: value.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_cloud_without_the_endpoint_drops_no_tag_and_gets_all_later() {
    let mut scene = Scene::new(Some(account()));
    for answer in [Err(refused(404, "no such page")), Err(refused(404, "no such page")), Ok(())] {
        scene.cloud.set_tags.push(answer);
    }
    scene.set(&[("a", "1")]).await.unwrap();
    assert_eq!(scene.sent(), ["a=1"]);
    scene.set(&[("b", "1")]).await.unwrap();
    scene.lives(Duration::from_secs(14 * 60)).await;
    assert_eq!(scene.sent(), Vec::<String>::new(), "such a cloud is asked every 15 minutes");
    scene.lives(Duration::from_secs(60)).await;
    assert_eq!(scene.sent(), ["a=1 b=1"]);
    scene.lives(Duration::from_secs(60 * 60)).await;
    assert_eq!(scene.sent(), ["a=1 b=1"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_256_tags_wait_for_the_cloud() {
    let mut scene = Scene::new(Some(account()));
    for _ in 0..2 {
        scene.cloud.set_tags.push(Err(refused(404, "no such page")));
    }
    let names: Vec<String> = (0..256).map(|it| it.to_string()).collect();
    let all: Vec<_> = names.iter().map(|it| (it.as_str(), "1")).collect();
    scene.set(&all).await.unwrap();
    let refusal = scene.set(&[("0", "2"), ("one more", "1")]).await.unwrap_err();
    assert!(refusal.to_string().starts_with("more than 256 tags would wait"), "{refusal}");
    scene.set(&[("0", "2")]).await.unwrap();
    scene.sent();
    scene.lives(AFTER_404).await;
    let sent = scene.sent().remove(0);
    assert!(sent.starts_with("0=2 ") && sent.split(' ').count() == 256, "{sent}");
}

#[tokio::test(start_paused = true)]
async fn while_the_cloud_gives_no_tags_the_last_known_ones_are_read() {
    let mut scene = Scene::new(Some(account()));
    let answers = [Err(refused(404, "no such page")), Ok(vec![tag("1")]), Err(refused(404, "gone")), Err(unreachable_cloud())];
    for answer in answers {
        scene.cloud.tags.push(answer);
    }
    let refusal = scene.read().await.unwrap_err();
    assert!(refusal.to_string().contains("404"), "none are known yet: {refusal}");
    for why in ["the cloud's", "after a 404", "unreachable", "not asked now"] {
        if why != "not asked now" {
            scene.lives(Duration::from_secs(1000)).await;
        }
        assert_eq!(scene.read().await, Ok(vec![tag("1")]), "{why}");
    }
    // Another answer is one: what the cloud has now counts, also where that is a refusal.
    scene.cloud.tags.push(Err(refused(401, "who are you")));
    scene.lives(Duration::from_secs(1000)).await;
    assert!(scene.read().await.is_err());
    scene.cloud.tags.push(Ok(vec![tag("2")]));
    scene.cloud.tags.push(Err(unreachable_cloud()));
    for _ in 0..2 {
        scene.lives(Duration::from_secs(1000)).await;
        assert_eq!(scene.read().await, Ok(vec![tag("2")]));
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_says_once_how_old_the_last_known_tags_are() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = log.reopen().unwrap();
    let writer = move || file.try_clone().unwrap();
    let to_file = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    let _until_the_end = tracing::subscriber::set_default(to_file);
    let mut scene = Scene::new(Some(account()));
    scene.cloud.tags.push(Ok(vec![tag("1")]));
    scene.cloud.tags.push(Err(refused(404, "gone")));
    scene.cloud.tags.push(Err(refused(404, "gone")));
    scene.read().await.unwrap();
    for _ in 0..2 {
        scene.lives(Duration::from_secs(90)).await;
        scene.read().await.unwrap();
    }
    let said = std::fs::read_to_string(log.path()).unwrap();
    let lines: Vec<_> = said.lines().filter(|it| it.contains("a program gets the tags that the cloud had")).collect();
    let [line] = lines[..] else { panic!("{said}") };
    assert!(line.contains(" INFO ") && line.contains("age_seconds=90 "), "{line}");
}

#[tokio::test(start_paused = true)]
async fn another_cloud_has_other_tags() {
    let mut scene = Scene::new(Some(account()));
    scene.cloud.tags.push(Ok(vec![tag("1")]));
    scene.cloud.tags.push(Err(unreachable_cloud()));
    scene.read().await.unwrap();
    scene.account.send_replace(Some(CloudAccount { uuid: "other".to_owned(), ..account() }));
    assert!(scene.read().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn tags_that_are_not_known_are_read_at_once_or_not_at_all() {
    let mut scene = Scene::new(Some(account()));
    scene.cloud.tags.push(Err(unreachable_cloud()));
    for words in ["no route to host", "is not asked for"] {
        let why = scene.read().await.unwrap_err();
        assert!(why.to_string().contains(words), "{why}");
    }
}
