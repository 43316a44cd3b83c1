//! The loop against a scripted cloud.

use std::sync::Arc;

use tokio::time::sleep;

use super::*;
use crate::port::CloudError;
use crate::sorted::SortedMap;
use crate::state::Device;
use crate::state::cloud::TrafficPurpose;

use bench::{Bench, document, documented, parsed, refused};

mod bench;

const MINUTE: Duration = Duration::from_secs(60);
const QUARTER_HOUR: Duration = Duration::from_secs(900);

#[tokio::test(start_paused = true)]
async fn a_new_document_is_the_target_and_later_polls_send_its_etag() {
    let bench = Bench::new(None, &document("one"), Some("e1"));
    let script = async {
        bench.next_poll().await;
        assert_eq!(bench.outcome(), PollOutcome::New);
        bench.next_poll().await;
        assert_eq!(bench.outcome(), PollOutcome::Unchanged);
        bench.publishes(&document("two"), Some("e2"));
        bench.next_poll().await;
        assert_eq!(bench.outcome(), PollOutcome::New);
    };
    bench.run(script).await;
    assert_eq!(*bench.received.borrow(), ["one", "two"]);
    let etags = bench.etags();
    assert_eq!(etags.iter().map(Option::as_deref).collect::<Vec<_>>(), [None, Some("e1"), Some("e1")]);
    assert_eq!(bench.cloud.tag.borrow().clone().unwrap().fingerprint, parsed(&document("two")).fingerprint());
    assert_eq!(*bench.links.polled.borrow(), 3);
    let sent = bench.links.publish.borrow().traffic.0[&TrafficPurpose::Poll].sent;
    assert_eq!(sent, 3);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_poll_costs_no_document() {
    let bench = Bench::new(None, &document("one"), Some("e1"));
    bench.run_for(MINUTE).await;
    bench.run_for(MINUTE).await;
    assert_eq!(bench.etags(), [None, Some("e1".to_owned())]);
    assert_eq!(bench.outcome(), PollOutcome::Unchanged);
    assert_eq!(bench.cloud.saves.get(), 1, "an ETag is written once");
}

#[tokio::test(start_paused = true)]
async fn an_etag_of_another_target_is_not_sent() {
    let bench = Bench::new(Some(&document("mine")), &document("one"), Some("e1"));
    let tag = TargetTag { etag: "e1".to_owned(), fingerprint: parsed(&document("one")).fingerprint() };
    bench.cloud.tag.replace(Some(tag));
    bench.run_for(MINUTE).await;
    assert_eq!(bench.etags(), [None]);
    assert_eq!(*bench.received.borrow(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_the_device_is_at_is_no_new_target() {
    let bench = Bench::new(Some(&document("one")), &document("one"), None);
    bench.run_for(QUARTER_HOUR * 3).await;
    assert!(bench.polls() >= 3);
    assert!(bench.received.borrow().is_empty());
    assert_eq!(bench.outcome(), PollOutcome::Unchanged);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_cannot_be_read_is_rejected_once_and_the_next_good_one_is_taken() {
    let bad = "{\"c0ffee\":{\"apps\":{\"a\":{\"releases\":{\"beef\":{}}}},\"config\":7}}";
    let bench = Bench::new(Some(&document("one")), bad, Some("bad"));
    let script = async {
        bench.next_poll().await;
        bench.next_poll().await;
        bench.next_poll().await;
        let PollOutcome::Rejected(why) = bench.outcome() else { panic!("{:?}", bench.outcome()) };
        assert!(why.contains("the cloud's target: ") && why.contains("config"), "{why}");
        let releases = bench.status.borrow().rejected_releases.clone();
        assert_eq!(releases.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "beef".to_owned())]);
        assert_eq!(bench.status.borrow().rejected.as_ref(), Some(&why));
        // The old document again: nothing is rejected any more.
        bench.publishes(&document("one"), Some("e1"));
        bench.next_poll().await;
    };
    bench.run(script).await;
    assert_eq!(bench.outcome(), PollOutcome::Unchanged);
    assert_eq!(bench.status.borrow().rejected, None);
    assert_eq!(bench.received.borrow().len(), 2, "{:?}", bench.received.borrow());
    assert_eq!(bench.etags()[1].as_deref(), Some("bad"), "it is not sent anew at each poll");
    assert_eq!(bench.cloud.tag.borrow().clone().map(|it| it.etag).as_deref(), Some("e1"), "no ETag of a bad document is kept");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_the_reconciler_refuses_is_rejected_and_its_etag_not_kept() {
    let bench = Bench::new(Some(&document("one")), &document("two"), Some("e2"));
    bench.refuses.replace(Some("the agent ended again and again with it"));
    bench.run_for(QUARTER_HOUR * 2).await;
    assert_eq!(bench.outcome(), PollOutcome::Rejected("the agent ended again and again with it".to_owned()));
    assert_eq!(*bench.cloud.tag.borrow(), None);
    // An update tries it once more; the reconciler has kept it.
    bench.status.send_modify(|it| (it.rejected, it.target) = (None, Some(Arc::new(parsed(&document("two"))))));
    bench.run_for(MINUTE).await;
    assert_eq!(bench.outcome(), PollOutcome::Unchanged);
    assert_eq!(bench.cloud.saves.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_304_to_a_poll_without_an_etag_means_that_there_is_no_such_device() {
    let bench = Bench::new(None, &document("one"), Some("e1"));
    let script = async {
        bench.next_poll().await;
        bench.cloud.document.replace(None);
        bench.next_poll().await;
        assert_eq!(bench.outcome(), PollOutcome::Unchanged, "it cannot be told");
        // The cloud refuses a report.
        bench.links.request_refused.notify_one();
        bench.next_poll().await;
        assert_eq!(bench.polling().cause, Some(PollCause::RefusedRequest));
        assert_eq!(bench.outcome(), PollOutcome::Gone);
        bench.next_poll().await;
        assert_eq!(bench.outcome(), PollOutcome::Gone);
        assert!((899..=1126).contains(&bench.last_wait()), "{}", bench.last_wait());
        bench.publishes(&document("one"), Some("e1"));
        bench.next_poll().await;
        assert_eq!(bench.outcome(), PollOutcome::Unchanged);
    };
    bench.run(script).await;
    assert_eq!(bench.status.borrow().target.as_ref().unwrap().name.as_deref(), Some("one"));
    assert_eq!(bench.received.borrow().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_poll_after_a_refused_report_that_fails_is_repeated_without_the_etag() {
    let bench = Bench::new(None, &document("one"), Some("e1"));
    let script = async {
        bench.next_poll().await;
        bench.cloud.document.replace(None);
        bench.cloud.errors.borrow_mut().push_back(refused(503, None));
        bench.links.request_refused.notify_one();
        bench.next_poll().await;
        bench.next_poll().await;
        assert_eq!(bench.outcome(), PollOutcome::Gone);
    };
    bench.run(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_304_lasts_a_day_at_most() {
    let bench = Bench::new(None, &document("one"), Some("e1"));
    let script = async {
        bench.next_poll().await;
        // The cloud answers 304 to the old ETag, although its document is another.
        bench.publishes(&document("two"), Some("e1"));
        sleep(FULL_EVERY / 2).await;
        assert_eq!(*bench.received.borrow(), ["one"]);
        sleep(FULL_EVERY / 2 + QUARTER_HOUR * 2).await;
        assert_eq!(*bench.received.borrow(), ["one", "two"]);
    };
    bench.run(script).await;
    let full = bench.etags().iter().filter(|it| it.is_none()).count();
    assert_eq!(full, 2, "one document a day");
}

#[tokio::test(start_paused = true)]
async fn an_update_request_polls_at_once_and_says_so() {
    let bench = Bench::new(Some(&document("one")), &document("one"), Some("e1"));
    let script = async {
        bench.next_poll().await;
        sleep(MINUTE).await;
        let asked = Instant::now();
        bench.requests_update();
        bench.next_poll().await;
        assert!(asked.elapsed() < Duration::from_secs(1));
        let polling = bench.polling();
        assert_eq!((polling.cause, polling.next_cause), (Some(PollCause::Update), PollCause::Interval));
        assert_eq!(bench.outcome(), PollOutcome::Unchanged);
        assert!(polling.next > Some(Instant::now()) && polling.interval == QUARTER_HOUR);
        // However often.
        let before = bench.polls();
        for _ in 0..100 {
            bench.requests_update();
            sleep(Duration::from_millis(100)).await;
        }
        assert!((8..=12).contains(&(bench.polls() - before)), "{}", bench.polls() - before);
    };
    bench.run(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_poll_is_repeated_by_the_back_off_which_an_update_request_ends() {
    let bench = Bench::new(Some(&document("one")), &document("one"), Some("e1"));
    bench.fails((0..5).map(|_| CloudError::Unreachable("no route".to_owned())));
    let script = async {
        bench.next_poll().await;
        assert_eq!(bench.polling().why.as_deref(), Some("no route"));
        assert_eq!(bench.polling().next_cause, PollCause::Retry);
        for least in [15, 30, 60] {
            bench.next_poll().await;
            assert!((least..=least * 5 / 4 + 1).contains(&bench.last_wait()), "{least}: {}", bench.last_wait());
        }
        let asked = Instant::now();
        bench.requests_update();
        bench.next_poll().await;
        assert!(asked.elapsed() < Duration::from_secs(2));
        bench.next_poll().await;
        assert!((15..=20).contains(&bench.last_wait()), "the back-off begins anew: {}", bench.last_wait());
        assert_eq!((bench.outcome(), bench.polling().why), (PollOutcome::Unchanged, None));
    };
    bench.run(script).await;
}

#[tokio::test(start_paused = true)]
async fn an_update_request_does_not_shorten_a_wait_that_the_cloud_asked_for() {
    let bench = Bench::new(Some(&document("one")), &document("one"), Some("e1"));
    bench.fails([refused(503, Some(25))]);
    let script = async {
        bench.next_poll().await;
        sleep(Duration::from_secs(2)).await;
        bench.requests_update();
        sleep(MINUTE).await;
        assert!((25..=32).contains(&bench.last_wait()), "{}", bench.last_wait());
        assert_eq!(bench.polls(), 2);
        assert_eq!(bench.polling().cause, Some(PollCause::Update));
    };
    bench.run(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_is_no_reason_to_hurry() {
    let bench = Bench::new(Some(&document("one")), &document("one"), Some("e1"));
    bench.fails((0..20).map(|_| refused(401, None)));
    bench.run_for(Duration::from_secs(3600)).await;
    assert!((4..=5).contains(&bench.polls()), "{}", bench.polls());
}

#[tokio::test(start_paused = true)]
async fn a_new_target_ends_every_back_off() {
    let bench = Bench::new(None, &document("one"), Some("e1"));
    bench.fails((0..6).map(|_| CloudError::Unreachable("no route".to_owned())));
    let script = async {
        for _ in 0..6 {
            bench.next_poll().await;
        }
        while bench.polls() < 7 {
            sleep(Duration::from_millis(5)).await;
        }
        // A report fails while the poll is under way, and would wait for minutes.
        bench.pace.on_answer(&Err::<(), _>(CloudError::Foreign("a login page".to_owned())));
        assert!(bench.pace.next() > Some(Instant::now() + MINUTE));
        sleep(Duration::from_secs(1)).await;
        assert_eq!((bench.outcome(), bench.pace.next()), (PollOutcome::New, None));
    };
    bench.run(script).await;
}

#[tokio::test(start_paused = true)]
async fn an_interval_that_the_target_shortens_counts_at_once() {
    let bench = Bench::new(None, &document("one"), Some("e1"));
    let script = async {
        bench.next_poll().await;
        bench.next_poll().await;
        bench.publishes(&documented("one", &[("SUPERVISOR_POLL_INTERVAL", "60000")]), Some("e2"));
        bench.requests_update();
        bench.next_poll().await;
        for _ in 0..3 {
            bench.next_poll().await;
            assert!((59..=76).contains(&bench.last_wait()), "{}", bench.last_wait());
        }
        assert_eq!(bench.polling().interval, MINUTE);
    };
    bench.run(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_may_forbid_the_poll_at_the_start() {
    let text = documented("one", &[("SUPERVISOR_INSTANT_UPDATE_TRIGGER", "false")]);
    let bench = Bench::new(Some(&text), &text, Some("e1"));
    let script = async {
        bench.run_for(Duration::from_secs(5)).await;
        assert_eq!(bench.polls(), 0);
        bench.run_for(QUARTER_HOUR).await;
        assert!(bench.polls() > 0);
    };
    script.await;
}

#[tokio::test(start_paused = true)]
async fn with_targets_from_a_file_the_cloud_is_polled_and_not_obeyed() {
    let mut bench = Bench::new(Some(&document("mine")), &document("one"), Some("e1"));
    bench.settings.targets_from = TargetOrigin::File;
    bench.run_for(QUARTER_HOUR * 3).await;
    assert!(bench.polls() >= 3);
    assert!(bench.received.borrow().is_empty());
    assert!(bench.etags()[1..].iter().all(|it| it.as_deref() == Some("e1")));
    assert_eq!(bench.links.publish.borrow().targets_from, TargetOrigin::File);
    assert_eq!(*bench.cloud.tag.borrow(), None);
}

#[tokio::test(start_paused = true)]
async fn no_poll_is_sent_before_the_stored_state_is_loaded() {
    let bench = Bench::new(None, &document("one"), Some("e1"));
    bench.status.send_modify(|it| it.device = Device::default());
    bench.run_for(MINUTE).await;
    assert_eq!(bench.polls(), 0);
}

#[test]
fn settings_of_a_document_lose_their_prefix() {
    let expected = SortedMap::from_iter([("SUPERVISOR_POLL_INTERVAL".to_owned(), "60000".to_owned())]);
    assert_eq!(parsed(&documented("one", &[("SUPERVISOR_POLL_INTERVAL", "60000")])).config, expected);
}
