//! The contract of the machine's power.

use std::pin::pin;
use std::time::Duration;

use boardkeeper::port::{Inhibitor, InhibitorMode, InhibitorNotice, Power, PowerError};
use boardkeeper::state::PowerAction;
use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout};

mod fake;
mod real;
mod simulated;

/// Every call ends within this.
const PROMISED: Duration = Duration::from_secs(5);

/// A machine whose power is tried.
trait Fixture {
    fn power(&self) -> &impl Power;
    /// From now on logind answers so.
    async fn answers(&self, answer: Answers);
    /// Another program announces a shutdown, or cancels it.
    async fn announces(&self, announced: bool);
    /// Whether the machine waits for us.
    async fn waits(&self) -> bool;
    /// What was accepted.
    async fn accepted(&self) -> Vec<PowerAction>;
}

/// What becomes of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Yes,
    /// Not to us.
    Refused,
    /// One program blocks the shutdown, another delays it a little.
    Blocked,
    Hanging,
    /// It goes away when it is asked for an end.
    Vanishing,
    /// There is no logind.
    Gone,
}

async fn it_is_asked_for_and_accepted(machine: &impl Fixture) {
    for ending in [PowerAction::Reboot, PowerAction::PowerOff] {
        machine.power().check_shutdown(ending).await.unwrap();
        assert_eq!(machine.power().inhibitors().await, Ok(Vec::new()));
        machine.power().shut_down(ending).await.unwrap();
    }
    assert_eq!(machine.accepted().await, [PowerAction::Reboot, PowerAction::PowerOff]);
}

async fn a_refusal_is_returned_and_nothing_happens(machine: &impl Fixture) {
    machine.answers(Answers::Refused).await;
    for ending in [PowerAction::Reboot, PowerAction::PowerOff] {
        for error in
            [machine.power().check_shutdown(ending).await.unwrap_err(), machine.power().shut_down(ending).await.unwrap_err()]
        {
            assert!(matches!(&error, PowerError::Refused { why, .. } if why.contains("logind refuses it")), "{error:?}");
        }
    }
    assert_eq!(machine.accepted().await, []);
}

async fn inhibitors_are_listed(machine: &impl Fixture) {
    machine.answers(Answers::Blocked).await;
    let inhibitors = machine.power().inhibitors().await.unwrap();
    assert_eq!(inhibitors, [holding("updater", InhibitorMode::Block), holding("editor", InhibitorMode::Delay)]);
    let said = "updater (uid 7, process 11) holds it up: it is busy";
    assert_eq!(inhibitors[0].to_string(), said);
}

async fn a_logind_that_hangs_is_given_up(machine: &impl Fixture) {
    machine.answers(Answers::Hanging).await;
    let power = machine.power();
    let before = Instant::now();
    let (can, inhibitors, end) =
        tokio::join!(power.check_shutdown(PowerAction::Reboot), power.inhibitors(), power.shut_down(PowerAction::PowerOff));
    assert!(before.elapsed() <= PROMISED, "{:?}", before.elapsed());
    for error in [can.unwrap_err(), inhibitors.unwrap_err(), end.unwrap_err()] {
        assert!(is_unreachable(&error, "did not answer for 4 s"), "{error:?}");
    }
}

async fn a_logind_that_exits_during_a_request_is_reported(machine: &impl Fixture) {
    machine.answers(Answers::Vanishing).await;
    machine.power().check_shutdown(PowerAction::Reboot).await.unwrap();
    let said = timeout(PROMISED, machine.power().shut_down(PowerAction::Reboot)).await.unwrap().unwrap_err();
    assert!(is_unreachable(&said, "went away before it answered"), "{said:?}");
}

async fn a_missing_logind_is_reported(machine: &impl Fixture) {
    machine.answers(Answers::Gone).await;
    for error in [
        machine.power().check_shutdown(PowerAction::Reboot).await.unwrap_err(),
        machine.power().inhibitors().await.unwrap_err(),
        machine.power().shut_down(PowerAction::PowerOff).await.unwrap_err(),
    ] {
        assert!(is_unreachable(&error, "there is no logind"), "{error:?}");
    }
}

fn is_unreachable(error: &PowerError, words: &str) -> bool {
    matches!(error, PowerError::Unreachable { why, .. } if why.contains(words))
}

async fn an_end_waits_for_the_hold_and_can_be_called_off_again_and_again(machine: &impl Fixture) {
    let mut notices = pin!(machine.power().notices());
    // No shutdown is announced: there is no notice, and the subscription begins now.
    assert!(timeout(Duration::from_millis(500), notices.next()).await.is_err());
    for _ in 0..3 {
        machine.announces(true).await;
        let Some(InhibitorNotice::ShutdownBegins(hold)) = timeout(PROMISED, notices.next()).await.unwrap() else {
            panic!("it begins")
        };
        sleep(Duration::from_millis(100)).await;
        assert!(machine.waits().await);
        drop(hold);
        sleep(Duration::from_millis(100)).await;
        assert!(!machine.waits().await);
        machine.announces(false).await;
        let Some(InhibitorNotice::ShutdownCancelled(why)) = timeout(PROMISED, notices.next()).await.unwrap() else {
            panic!("it is off")
        };
        assert!(why.contains("called"), "{why}");
    }
}

async fn an_end_under_way_is_heard_of_at_once(machine: &impl Fixture) {
    machine.announces(true).await;
    let mut notices = pin!(machine.power().notices());
    assert!(matches!(timeout(PROMISED, notices.next()).await.unwrap(), Some(InhibitorNotice::ShutdownBegins(_))));
}

async fn an_announcement_ends_with_the_logind_that_made_it(machine: &impl Fixture) {
    let mut notices = pin!(machine.power().notices());
    assert!(timeout(Duration::from_millis(500), notices.next()).await.is_err());
    machine.announces(true).await;
    assert!(matches!(timeout(PROMISED, notices.next()).await.unwrap(), Some(InhibitorNotice::ShutdownBegins(_))));
    machine.answers(Answers::Vanishing).await;
    assert!(machine.power().shut_down(PowerAction::Reboot).await.is_err());
    assert!(matches!(timeout(PROMISED, notices.next()).await.unwrap(), Some(InhibitorNotice::ShutdownCancelled(_))));
    // It comes back, and is listened to again.
    machine.answers(Answers::Yes).await;
    let heard = async {
        sleep(Duration::from_secs(5)).await;
        machine.announces(true).await;
    };
    let (next, ()) = tokio::join!(timeout(PROMISED * 3, notices.next()), heard);
    assert!(matches!(next.unwrap(), Some(InhibitorNotice::ShutdownBegins(_))));
}

fn holding(who: &str, mode: InhibitorMode) -> Inhibitor {
    Inhibitor { who: who.to_owned(), why: "it is busy".to_owned(), mode, uid: 7, pid: 11 }
}

/// Holds every fact of this suite against a world, with a macro of the world's: the list is here, and nowhere else.
macro_rules! every_fact {
    ($hold:ident) => {
        $hold! {
            a_refusal_is_returned_and_nothing_happens
            inhibitors_are_listed
            a_logind_that_hangs_is_given_up
            a_logind_that_exits_during_a_request_is_reported
            a_missing_logind_is_reported
            an_end_waits_for_the_hold_and_can_be_called_off_again_and_again
            an_end_under_way_is_heard_of_at_once
            an_announcement_ends_with_the_logind_that_made_it
        }
    };
}
use every_fact;
