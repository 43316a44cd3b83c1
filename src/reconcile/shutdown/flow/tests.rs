use std::future::ready;
use std::rc::Rc;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::reconcile::testing::APP;

type Flow = ShutdownFlow<'static, Rc<()>>;
type Response = oneshot::Receiver<Result<(), Refusal>>;

/// A requested reboot is being checked; and where the requester's response arrives.
fn checking() -> (Flow, Response) {
    let (reply, response) = oneshot::channel();
    let own = OwnShutdown { ending: PowerAction::Reboot, locked: [APP].into(), by: ShutdownOrigin::Request };
    let mut flow = Flow::new();
    flow.check(own, ShutdownRequester::Caller(reply), pending().boxed_local());
    (flow, response)
}

/// The check passed, and logind is called.
fn asked() -> Flow {
    let mut flow = checking().0;
    let action = flow.on_event(ShutdownEvent::Checked(Ok(())));
    let ShutdownAction::Call(PowerAction::Reboot, ShutdownOrigin::Request, ShutdownRequester::Caller(_)) = action else {
        unreachable!("{action:?}")
    };
    flow.call(pending().boxed_local());
    flow
}

/// logind announced the reboot; and the inhibitor.
fn announced() -> (Flow, Rc<()>) {
    let mut flow = asked();
    let inhibitor = Rc::default();
    let action = begins(&mut flow, &inhibitor);
    assert!(matches!(action, ShutdownAction::Quiesce(Some(PowerAction::Reboot), ShutdownOrigin::Request)), "{action:?}");
    (flow, inhibitor)
}

fn begins(flow: &mut Flow, inhibitor: &Rc<()>) -> ShutdownAction {
    flow.on_notice(InhibitorNotice::ShutdownBegins(Rc::clone(inhibitor)))
}

fn cancelled(flow: &mut Flow) -> ShutdownAction {
    flow.on_notice(InhibitorNotice::ShutdownCancelled("cancelled".to_owned()))
}

fn is_held(inhibitor: &Rc<()>) -> bool {
    Rc::strong_count(inhibitor) == 2
}

/// The apps to unlock, and why the machine stays up.
fn resumed(action: ShutdownAction) -> (Option<SortedSet<AppId>>, String) {
    let ShutdownAction::Resume(own, why) = action else { unreachable!("{action:?}") };
    (own.map(|it| it.locked), why)
}

fn is_wait(action: &ShutdownAction) -> bool {
    matches!(action, ShutdownAction::Wait)
}

/// How long the next event takes to come, which is that the deadline passed; and what follows.
async fn late(flow: &mut Flow) -> (Duration, ShutdownAction) {
    let before = Instant::now();
    let event = flow.next().await;
    assert!(matches!(event, ShutdownEvent::Late), "{event:?}");
    (before.elapsed(), flow.on_event(event))
}

async fn is_silent(flow: &mut Flow) -> bool {
    timeout(Duration::from_secs(86_400), flow.next()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_while_the_machine_stays_up() {
    let mut flow = Flow::new();
    assert!(is_silent(&mut flow).await);
    flow.on_idle();
    assert!(is_wait(&cancelled(&mut flow)) && is_wait(&flow.on_event(ShutdownEvent::Late)));
    assert!(!flow.is_in_progress() && !flow.is_under_way() && !flow.has_locked(APP));
}

#[tokio::test(start_paused = true)]
async fn a_requested_shutdown_is_certain_once_the_check_has_passed() {
    let (mut flow, _response) = checking();
    assert!(flow.is_in_progress() && !flow.is_under_way());
    assert!(flow.has_locked(APP) && !flow.has_locked(AppId(2)));
    assert!(is_wait(&cancelled(&mut flow)));
    flow.on_idle();
    assert!(is_silent(&mut flow).await);
    let action = flow.on_event(ShutdownEvent::Checked(Ok(())));
    assert!(matches!(action, ShutdownAction::Call(..)), "{action:?}");
    assert!(flow.is_in_progress() && flow.is_under_way() && flow.has_locked(APP));
}

#[test]
fn a_shutdown_that_is_not_possible_is_rejected_and_its_locks_are_released() {
    let (mut flow, mut response) = checking();
    let action = flow.on_event(ShutdownEvent::Checked(Err(Refusal::HostUpdate("file".to_owned()))));
    let ShutdownAction::Reject(own, requester, why) = action else { unreachable!("{action:?}") };
    assert_eq!(own.locked, [APP].into());
    requester.reject(why);
    assert_eq!(response.try_recv().unwrap(), Err(Refusal::HostUpdate("file".to_owned())));
    assert!(!flow.is_in_progress());
}

#[tokio::test(start_paused = true)]
async fn the_check_and_the_call_report_once() {
    let mut flow = checking().0;
    flow.call(ready(ShutdownEvent::Called(Ok(()))).boxed_local());
    let event = flow.next().await;
    assert!(matches!(event, ShutdownEvent::Called(Ok(()))), "{event:?}");
    assert!(is_silent(&mut flow).await);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_logind_refuses_leaves_the_machine_up() {
    let mut flow = asked();
    let action = flow.on_event(ShutdownEvent::Called(Err(refused("not allowed"))));
    assert_eq!(resumed(action), (Some([APP].into()), "no reboot: not allowed".to_owned()));
    assert!(!flow.is_in_progress() && is_silent(&mut flow).await);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_logind_accepts_and_does_not_announce_fails_after_three_seconds() {
    let mut flow = checking().0;
    flow.on_event(ShutdownEvent::Checked(Ok(())));
    flow.call(ready(ShutdownEvent::Called(Ok(()))).boxed_local());
    let event = flow.next().await;
    let action = flow.on_event(event);
    assert!(matches!(action, ShutdownAction::PublishAccepted(PowerAction::Reboot, ShutdownOrigin::Request)), "{action:?}");
    let (after, action) = late(&mut flow).await;
    assert_eq!(after, Duration::from_secs(3));
    assert_eq!(resumed(action), (Some([APP].into()), NOT_ANNOUNCED.to_owned()));
    assert!(!flow.is_in_progress());
}

#[tokio::test(start_paused = true)]
async fn an_announcement_shows_the_outcome_of_the_call_before_its_answer() {
    for answer in [Ok(()), Err(refused("no reply"))] {
        let (mut flow, inhibitor) = announced();
        assert!(is_wait(&flow.on_event(ShutdownEvent::Called(answer))));
        assert!(flow.is_under_way() && flow.has_locked(APP) && is_held(&inhibitor));
    }
}

#[tokio::test(start_paused = true)]
async fn the_machine_may_end_as_soon_as_the_last_step_has() {
    let (mut flow, inhibitor) = announced();
    assert!(is_held(&inhibitor));
    flow.on_idle();
    assert!(!is_held(&inhibitor) && flow.is_under_way());
    flow.on_idle();
    flow.call(pending().boxed_local());
    let (after, action) = late(&mut flow).await;
    assert_eq!(after, Duration::from_secs(31 * 60));
    assert_eq!(resumed(action), (Some([APP].into()), STILL_RUNS.to_owned()));
    assert!(!flow.is_in_progress() && is_silent(&mut flow).await);
}

#[tokio::test(start_paused = true)]
async fn the_machine_may_end_after_three_seconds_although_steps_have_not() {
    let (mut flow, inhibitor) = announced();
    let (after, action) = late(&mut flow).await;
    assert_eq!(after, Duration::from_secs(3));
    assert!(is_wait(&action) && !is_held(&inhibitor) && flow.is_under_way());
    let (after, action) = late(&mut flow).await;
    assert_eq!(after, Duration::from_secs(31 * 60));
    assert_eq!(resumed(action).1, STILL_RUNS);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_shutdown_resumes_and_gives_the_locks_back() {
    let (mut flow, inhibitor) = announced();
    assert_eq!(resumed(cancelled(&mut flow)), (Some([APP].into()), "cancelled".to_owned()));
    assert!(!is_held(&inhibitor) && !flow.is_in_progress() && !flow.has_locked(APP));
    assert!(is_silent(&mut flow).await);
    // The same after the inhibitor was released.
    let (mut flow, _inhibitor) = announced();
    flow.on_idle();
    assert_eq!(resumed(cancelled(&mut flow)).1, "cancelled");
}

#[test]
fn a_cancellation_of_a_shutdown_that_was_not_announced_changes_nothing() {
    let mut flow = asked();
    assert!(is_wait(&cancelled(&mut flow)) && flow.is_under_way());
}

#[test]
fn the_inhibitor_is_held_again_when_the_shutdown_is_announced_again() {
    let (mut flow, first) = announced();
    flow.on_idle();
    let second = Rc::default();
    assert!(is_wait(&begins(&mut flow, &second)));
    assert!(!is_held(&first) && is_held(&second));
    flow.on_idle();
    assert!(!is_held(&second) && flow.has_locked(APP));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_by_another_program_is_let_through_without_locks() {
    let (mut flow, inhibitor) = (Flow::new(), Rc::default());
    let action = begins(&mut flow, &inhibitor);
    assert!(matches!(action, ShutdownAction::Quiesce(None, ShutdownOrigin::Others)), "{action:?}");
    assert!(flow.is_under_way() && !flow.has_locked(APP) && is_held(&inhibitor));
    assert_eq!(resumed(cancelled(&mut flow)), (None, "cancelled".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_by_another_program_rejects_the_requester_whose_check_still_runs() {
    let (mut flow, mut response) = checking();
    let inhibitor = Rc::default();
    flow.call(ready(ShutdownEvent::Checked(Ok(()))).boxed_local());
    let action = begins(&mut flow, &inhibitor);
    assert!(matches!(action, ShutdownAction::Quiesce(None, ShutdownOrigin::Others)), "{action:?}");
    assert_eq!(response.try_recv().unwrap(), Err(Refusal::ShuttingDown));
    assert!(flow.is_under_way());
    // The check is dropped; the locks that it took are released if the machine stays up.
    let (after, action) = late(&mut flow).await;
    assert_eq!(after, STEPS_END_WITHIN);
    assert!(is_wait(&action) && flow.has_locked(APP));
    assert_eq!(resumed(cancelled(&mut flow)).0, Some([APP].into()));
}

#[test]
fn the_plan_awaits_no_response() {
    let mut flow = Flow::new();
    let own = OwnShutdown { ending: PowerAction::Reboot, locked: SortedSet::new(), by: ShutdownOrigin::Release };
    flow.check(own, ShutdownRequester::Plan, pending().boxed_local());
    let action = begins(&mut flow, &Rc::default());
    assert!(matches!(action, ShutdownAction::Quiesce(None, ShutdownOrigin::Others)), "{action:?}");
}

fn refused(why: &str) -> PowerError {
    PowerError::Refused { request: "no reboot".to_owned(), why: why.to_owned() }
}
