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
    kept: PendingTags,
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
            kept: PendingTags::default(),
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

#[tokio::test(start_paused = true)]
async fn tags_are_read_at_once_or_not_at_all() {
    let mut scene = Scene::new(Some(account()));
    let tag = DeviceTag { id: 5, name: "a".to_owned(), value: "1".to_owned() };
    scene.cloud.tags.push(Ok(vec![tag.clone()]));
    scene.cloud.tags.push(Err(unreachable_cloud()));
    for expected in [Ok(vec![tag]), Err("no route to host"), Err("is not asked for")] {
        let (reply, answer) = oneshot::channel();
        scene.requests.try_send(TagRequest::Read(reply)).unwrap();
        scene.lives(Duration::from_secs(1)).await;
        match (answer.now_or_never().unwrap().unwrap(), expected) {
            (Ok(tags), Ok(expected)) => assert_eq!(tags, expected),
            (Err(why), Err(words)) => assert!(why.to_string().contains(words), "{why}"),
            (other, _) => panic!("{other:?}"),
        }
    }
}
