//! The simulator's power.

use boardkeeper::port::{Mode, Power as _};
use boardkeeper::state::Ending;

use super::{Answers, Fixture, holding};
use crate::world::power::{Answer, Power};

impl Fixture for Power {
    fn power(&self) -> &impl boardkeeper::port::Power {
        self
    }

    async fn answers(&self, answer: Answers) {
        self.with(|it| {
            it.inhibitors.clear();
            it.answer = match answer {
                Answers::Yes => Answer::Accepts,
                Answers::Refused => Answer::Refuses,
                Answers::Blocked => {
                    it.inhibitors = vec![holding("updater", Mode::Block), holding("editor", Mode::Delay)];
                    Answer::Accepts
                }
                Answers::Hanging => Answer::Hangs,
                Answers::Vanishing => Answer::Vanishes,
                Answers::Gone => Answer::Nobody,
            };
        });
    }

    async fn announces(&self, announced: bool) {
        self.with(|it| it.announced = announced);
    }

    async fn waits(&self) -> bool {
        self.with(|it| it.holds > 0)
    }

    async fn accepted(&self) -> Vec<Ending> {
        self.with(|it| it.accepted.clone())
    }
}

macro_rules! passes {
    ($($fact:ident)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $fact() {
                super::$fact(&Power::new()).await;
            }
        )*
    };
}

passes! {
    a_refusal_is_told_and_nothing_happens
    who_holds_it_up_is_told
    whoever_hangs_is_given_up
    whoever_goes_away_while_asked_is_told
    nobody_is_told
    an_end_waits_for_the_hold_and_can_be_called_off_again_and_again
    an_end_under_way_is_heard_of_at_once
    what_was_announced_goes_with_whoever_announced_it
}

#[tokio::test]
async fn it_is_asked_for_and_accepted() {
    let power = Power::new();
    power.with(|it| it.announces = false);
    super::it_is_asked_for_and_accepted(&power).await;
    assert_eq!(power.host_update().await, None);
}
