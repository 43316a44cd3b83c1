use std::rc::Rc;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::*;
use crate::cloud::jitter::Jitter;
use crate::state::cloud::CloudStatus;
use crate::state::{Secret, Status};
use crate::testing::{CloudCall, ScriptedCloud, refused, unreachable_cloud};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A registered device that was preloaded, and the channels of its cloud's loops.
struct Bench {
    cloud: ScriptedCloud,
    account: CloudAccount,
    pace: Pace,
    status: watch::Sender<Status>,
    links: PollLinks,
    inbox: mpsc::Receiver<Request>,
}

impl Bench {
    fn new() -> Self {
        let pin = Some(ReleasePin { fleet: 7, commit: "19c48bc".to_owned() });
        let status = watch::Sender::new(Status { pin, ..Status::default() });
        let (requests, inbox) = mpsc::channel(16);
        let links = PollLinks {
            status: status.subscribe(),
            requests,
            publish: watch::Sender::new(CloudStatus::default()),
            polled: watch::Sender::new(0),
            request_refused: Rc::default(),
        };
        let account = CloudAccount {
            endpoint: "https://api.example.com".to_owned(),
            logs_endpoint: None,
            uuid: "c0ffee".to_owned(),
            key: Secret::new("own".to_owned()),
        };
        let pace = Pace::new(Jitter::new([7; 32]), Duration::from_secs(900));
        Self { cloud: ScriptedCloud::default(), account, pace, status, links, inbox }
    }

    /// Whether the pin is settled before the time is over.
    async fn settles(&self, device_id: Option<u64>, within: Duration) -> bool {
        timeout(within, settle(&self.cloud, (&self.account, device_id), &self.pace, &self.links)).await.is_ok()
    }

    fn shown(&self) -> Pinning {
        self.links.publish.borrow().pin.clone()
    }

    /// Whether the reconciler was told since the last call that the pin is settled.
    fn is_forgotten(&mut self) -> bool {
        matches!(self.inbox.try_recv(), Ok(Request::PinSettled))
    }

    /// The requests so far: their names, and what a pin is of.
    fn calls(&self) -> Vec<String> {
        let words = |it: CloudCall| match it {
            CloudCall::DeviceId { key, uuid } => format!("device {uuid} with {key}"),
            CloudCall::ReleaseId { release, .. } => format!("release {} of {}", release.commit, release.fleet),
            CloudCall::Pin { device_id, release_id, .. } => format!("pin {device_id} on {release_id}"),
            other => format!("{other:?}"),
        };
        self.cloud.take_calls().into_iter().map(words).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_device_is_pinned_on_the_release_of_its_preload_and_that_is_forgotten() {
    let mut bench = Bench::new();
    bench.cloud.releases.push(Ok(Some(3)));
    bench.cloud.pins.push(Ok(()));
    assert!(bench.settles(Some(57), HOUR).await);
    assert_eq!(bench.calls(), ["release 19c48bc of 7", "pin 57 on 3"]);
    assert_eq!(bench.shown(), Pinning::Pinned("19c48bc".to_owned()));
    assert!(bench.is_forgotten());
}

#[tokio::test(start_paused = true)]
async fn a_number_that_the_provisioning_lacks_is_asked_for() {
    let bench = Bench::new();
    bench.cloud.device_ids.push(Ok(Some(57)));
    bench.cloud.releases.push(Ok(Some(3)));
    bench.cloud.pins.push(Ok(()));
    assert!(bench.settles(None, HOUR).await);
    assert_eq!(bench.calls(), ["device c0ffee with own", "release 19c48bc of 7", "pin 57 on 3"]);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_not_to_be_pinned_asks_nothing() {
    let mut bench = Bench::new();
    bench.status.send_modify(|it| it.pin = None);
    assert!(bench.settles(Some(57), HOUR).await);
    assert!(bench.calls().is_empty() && !bench.is_forgotten());
    assert_eq!(bench.shown(), Pinning::NotAsked);
}

#[tokio::test(start_paused = true)]
async fn what_may_work_later_is_asked_again_by_the_back_off_of_all_requests() {
    let mut bench = Bench::new();
    bench.cloud.releases.push(Err(unreachable_cloud()));
    bench.cloud.releases.push(Ok(Some(3)));
    for status in [503, 503, 408] {
        bench.cloud.pins.push(Err(refused(status, "later")));
    }
    bench.cloud.pins.push(Ok(()));
    assert!(!bench.settles(Some(57), Duration::from_secs(10)).await);
    let Pinning::Pending { why: Some(why), next: Some(next), .. } = bench.shown() else { panic!("{:?}", bench.shown()) };
    assert_eq!((why.as_str(), next > Instant::now()), ("no route to host", true));
    assert_eq!(bench.calls().len(), 1, "not before the back-off is over");
    // The agent is started again. 408 delays no other request.
    let begun = Instant::now();
    assert!(bench.settles(Some(57), HOUR).await);
    assert!((80..=96).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(bench.calls(), ["release 19c48bc of 7", "pin 57 on 3", "pin 57 on 3", "pin 57 on 3", "pin 57 on 3"]);
    assert!(bench.is_forgotten() && !bench.is_forgotten());
}

#[tokio::test(start_paused = true)]
async fn an_update_request_ends_the_back_off() {
    let bench = Bench::new();
    (0..6).for_each(|_| bench.cloud.releases.push(Err(unreachable_cloud())));
    bench.cloud.releases.push(Ok(Some(3)));
    bench.cloud.pins.push(Ok(()));
    // The seventh attempt is due after sixteen minutes.
    let requested = async {
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(bench.calls().len(), 6);
        bench.status.send_modify(|it| it.update_requests += 1);
        Instant::now()
    };
    let (is_settled, requested) = tokio::join!(bench.settles(Some(57), HOUR), requested);
    assert!(is_settled && requested.elapsed() < Duration::from_secs(1), "{:?}", requested.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_published_with_what_to_do_and_the_polls_go_on() {
    let answers = [
        (Ok(None), None, "no successful release 19c48bc of fleet 7; preload"),
        (Err(refused(401, "Unauthorized")), None, "401: Unauthorized; pin it in the cloud"),
        (Err(refused(404, "Not Found")), None, "404"),
        (Ok(Some(3)), Some(refused(400, "no")), "400: no"),
        (Ok(Some(3)), Some(refused(403, "no")), "403"),
        (Ok(Some(3)), Some(refused(409, "Data is referenced by is_pinned_on__release.")), "409"),
    ];
    for (release, pin, expected) in answers {
        let mut bench = Bench::new();
        bench.cloud.releases.push(release);
        bench.cloud.pins.push(pin.map_or(Ok(()), Err));
        assert!(bench.settles(Some(57), Duration::from_secs(1)).await, "{expected}");
        let Pinning::Refused { commit, why } = bench.shown() else { panic!("{:?}", bench.shown()) };
        assert!(commit == "19c48bc" && why.contains(expected), "{why}");
        assert!(bench.is_forgotten());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_cloud_asks_for_with_a_refusal_is_no_refusal_for_good() {
    let bench = Bench::new();
    bench.cloud.releases.push(Err(CloudError::Refused {
        status: 403,
        why: "busy".to_owned(),
        retry_after: Some(Duration::from_secs(25)),
    }));
    bench.cloud.releases.push(Ok(Some(3)));
    bench.cloud.pins.push(Ok(()));
    let begun = Instant::now();
    assert!(bench.settles(Some(57), HOUR).await);
    assert!((25..=32).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}
