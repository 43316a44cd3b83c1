//! What the history gets of patterns that are held.

use super::*;
use crate::state::history;
use crate::state::{EndedHold, HoldSubject};

impl Hand {
    /// Sends requests as this caller from now on.
    fn caller(&mut self, name: &str) {
        self.by = Some(history::Requester::new(name));
    }

    /// What the history gets next, in words: by whom, what, how often requested, for how long, and how it ended.
    async fn entry(&mut self) -> String {
        let (by, request) = match self.history.recv().await.unwrap() {
            Request::By(by, request) => (by.to_string(), *request),
            request => ("-".to_owned(), request),
        };
        let Request::Held(ended) = request else { panic!("{request:?}") };
        let EndedHold { subject, held, end } = *ended;
        let what = match subject {
            HoldSubject::BringUp => "bring-up".to_owned(),
            HoldSubject::Pattern { which, pattern, length, times } => {
                format!("{which:?} {pattern} {} s x{times}", length.as_secs())
            }
        };
        format!("{by}: {what}, {} ms, {end:?}", held.as_millis())
    }

    fn has_no_entry(&mut self) -> bool {
        self.history.try_recv().is_err()
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_entered_when_its_time_is_over_or_it_is_released() {
    life(&Fake::new(Player::Kernel), async |mut hand: Hand| {
        hand.caller("ann");
        hand.hold(named("red"), "100,100", 20).await.unwrap();
        hand.hold(LedRef::Line("p1".to_owned()), "50,50", 60).await.unwrap();
        sleep(secs(5)).await;
        assert!(hand.has_no_entry(), "it has not ended");
        hand.caller("bob");
        hand.let_go(LedRef::Line("P1".to_owned())).await.unwrap();
        let released = r#"ann: Line("P1") +50 -50 ms 60 s x1, 5000 ms, Released(Some(Requester("bob")))"#;
        assert_eq!(hand.entry().await, released);
        assert_eq!(hand.entry().await, r#"ann: Named("PWR") +100 -100 ms 20 s x1, 20000 ms, TimeOver"#);
        // Nothing is held any more: what is released now has no entry.
        hand.let_go(named("red")).await.unwrap();
        sleep(secs(100)).await;
        assert!(hand.has_no_entry());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_goes_on_with_its_hold_and_another_one_ends_it() {
    life(&Fake::new(Player::Kernel), async |mut hand: Hand| {
        hand.caller("ann");
        for pattern in ["100,100", "100,100", "200,200"] {
            hand.hold(LedRef::Identify, pattern, 10).await.unwrap();
            sleep(secs(4)).await;
        }
        hand.caller("bob");
        hand.hold(named("ACT"), "300,300", 3).await.unwrap();
        let replaced = r#"ann: Named("ACT") +200 -200 ms 10 s x3, 12000 ms, Replaced(Some(Requester("bob")))"#;
        assert_eq!(hand.entry().await, replaced);
        assert_eq!(hand.entry().await, r#"bob: Named("ACT") +300 -300 ms 3 s x1, 3000 ms, TimeOver"#);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_the_driver_refuses_is_entered_with_its_reason() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |mut hand: Hand| {
        sleep(secs(1)).await;
        fake.failures.borrow_mut().push_back(LedError::Busy("a driver has it".into()));
        hand.hold(named("red"), "100,100", 20).await.unwrap_err();
        assert_eq!(hand.entry().await, r#"-: Named("PWR") +100 -100 ms 20 s x1, 0 ms, Failed("a driver has it")"#);
        // There is no such LED: nothing could have been held.
        hand.hold(named("wifi"), "100,100", 20).await.unwrap_err();
        sleep(secs(100)).await;
        assert!(hand.has_no_entry());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_bring_up_tool_is_entered_when_it_is_done() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |mut hand: Hand| {
        sleep(secs(1)).await;
        fake.bench.send_replace(ToolLock::Taken);
        sleep(secs(30)).await;
        assert!(hand.has_no_entry());
        fake.bench.send_replace(ToolLock::Free);
        assert_eq!(hand.entry().await, "-: bring-up, 30000 ms, Released(None)");
    })
    .await;
}
