use tokio::sync::oneshot;

use super::*;
use crate::reconcile::testing::{APP, key};
use crate::request::RejectedDocument;
use crate::sorted::SortedMap;

/// A goal about a service, and where its response arrives.
fn stop(service: &str) -> (Goal, oneshot::Receiver<Result<ContainerId, Refusal>>) {
    let (reply, response) = oneshot::channel();
    (Goal::Stopped(key(service), reply), response)
}

fn start(service: &str) -> (Goal, oneshot::Receiver<Result<ContainerId, Refusal>>) {
    let (reply, response) = oneshot::channel();
    (Goal::Started(key(service), reply), response)
}

fn restart_service(service: &str) -> (Goal, oneshot::Receiver<Result<ContainerId, Refusal>>) {
    let (reply, response) = oneshot::channel();
    (Goal::Restarted(key(service), reply), response)
}

fn restart() -> (Goal, oneshot::Receiver<Result<NotStarted, Refusal>>) {
    let (reply, response) = oneshot::channel();
    (Goal::Settled(reply), response)
}

fn purge(stays: &str) -> (Goal, oneshot::Receiver<Result<NotStarted, Refusal>>) {
    let (reply, response) = oneshot::channel();
    (Goal::Purged(stays.to_owned(), reply), response)
}

#[test]
fn of_several_requesters_that_hung_up_on_one_goal_one_is_enough() {
    let mut requests = PendingRequests::new();
    for _ in 0..3 {
        requests.wait(APP, restart().0);
        requests.wait(AppId(2), restart().0);
        requests.wait(APP, stop("web").0);
        requests.wait(APP, stop("db").0);
        requests.wait(APP, start("web").0);
        requests.wait(APP, restart_service("web").0);
        requests.wait(APP, purge("/data").0);
        requests.wait(APP, purge("/home").0);
    }
    requests.drop_repeated_hang_ups();
    assert_eq!(requests.waiters().len(), 8);
}

#[test]
fn a_requester_that_still_waits_is_kept_beside_those_that_hung_up() {
    let mut requests = PendingRequests::new();
    let ((one, _one), (two, _two)) = (restart(), restart());
    for goal in [restart().0, one, restart().0, two] {
        requests.wait(APP, goal);
    }
    requests.drop_repeated_hang_ups();
    assert_eq!(requests.waiters().len(), 3);
}

#[test]
fn a_failure_answers_only_the_requests_that_it_concerns() {
    let mut requests = PendingRequests::new();
    let ((goal, mut failed), (other, mut waits)) = (restart(), restart());
    let (stopping, mut failed_too) = stop("web");
    requests.wait(APP, goal);
    requests.wait(AppId(2), other);
    requests.wait(APP, stopping);
    requests.fail(|app| app == APP, "no engine");
    assert_eq!(failed.try_recv().unwrap(), Err(Refusal::Failed("no engine".to_owned())));
    assert_eq!(failed_too.try_recv().unwrap(), Err(Refusal::Failed("no engine".to_owned())));
    assert!(waits.try_recv().is_err());
    assert!(!requests.has_waiter(APP) && requests.has_waiter(AppId(2)));
}

#[test]
fn a_request_says_which_service_it_stops_and_whether_it_restarts() {
    let mut requests = PendingRequests::new();
    requests.wait(APP, stop("web").0);
    requests.wait(APP, start("db").0);
    requests.wait(APP, restart_service("db").0);
    assert!(!requests.has_restart(APP));
    assert!(requests.has_restart_of(&key("db")) && !requests.has_restart_of(&key("web")));
    requests.wait(APP, restart().0);
    assert!(requests.has_restart(APP) && !requests.has_restart(AppId(2)));
    let stops: Vec<_> = requests.waiters().iter().map(|it| it.stops().cloned()).collect();
    assert_eq!(stops, [Some(key("web")), None, None, None]);
}

#[tokio::test]
async fn requests_that_came_too_early_are_handled_once_and_in_their_order() {
    let mut requests = PendingRequests::new();
    let rejected = |why: &str| Request::Rejected(RejectedDocument { why: why.to_owned(), releases: SortedMap::new() });
    requests.defer(rejected("first"));
    requests.defer(rejected("second"));
    let [Request::Rejected(first), Request::Rejected(second)] = &requests.take_deferred()[..] else { unreachable!() };
    assert_eq!([first.why.as_str(), second.why.as_str()], ["first", "second"]);
    assert!(requests.take_deferred().is_empty());
    assert!(!requests.has_jobs() && requests.next_job().await.is_none());
}
