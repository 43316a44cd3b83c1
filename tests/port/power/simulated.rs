//! The simulator's power.

use boardkeeper::port::{InhibitorMode, Power as _};
use boardkeeper::state::PowerAction;

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
                    it.inhibitors = vec![holding("updater", InhibitorMode::Block), holding("editor", InhibitorMode::Delay)];
                    Answer::Accepts
                }
                Answers::Hanging => Answer::Hangs,
                Answers::Vanishing => Answer::Vanishes,
                Answers::Gone => Answer::Absent,
            };
        });
    }

    async fn announces(&self, announced: bool) {
        self.with(|it| it.announced = announced);
    }

    async fn waits(&self) -> bool {
        self.with(|it| it.held_locks > 0)
    }

    async fn accepted(&self) -> Vec<PowerAction> {
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

super::every_fact!(passes);

#[tokio::test]
async fn it_is_asked_for_and_accepted() {
    let power = Power::new();
    power.with(|it| it.announces = false);
    super::it_is_asked_for_and_accepted(&power).await;
    assert_eq!(power.host_update().await, None);
}
