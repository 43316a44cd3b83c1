use std::cell::RefCell;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::*;
use crate::state::{
    AppId, ContainerId, ContainerRef, EngineAction, HeldLock, ImageRef, ServiceKey, ShutdownStatus, Step, StepFault, Waiting,
};

#[derive(Default)]
struct Listener {
    patience: Option<Duration>,
    heard: RefCell<Vec<Notification>>,
}

impl ServiceManager for Listener {
    fn notify(&self, word: &Notification) {
        self.heard.borrow_mut().push(word.clone());
    }

    fn watchdog_timeout(&self) -> Option<Duration> {
        self.patience
    }
}

impl Listener {
    fn beats(&self) -> usize {
        self.heard.borrow().iter().filter(|it| **it == Notification::Watchdog).count()
    }

    fn is_ready(&self) -> bool {
        self.heard.borrow().contains(&Notification::Ready)
    }
}

/// Runs for `secs` beside a reconciler that answers `answers` probes and is then stuck.
async fn listen(manager: &Listener, answers: usize, secs: u64) {
    let (requests, mut inbox) = mpsc::channel::<Request>(1);
    let (_publish, status) = watch::channel(Status::default());
    let reconciler = async {
        let mut kept = Vec::new();
        while let Some(ask) = inbox.recv().await {
            let Request::Probe(reply) = ask else { unreachable!("{ask:?}") };
            if kept.len() < answers {
                reply.send(Ok(())).unwrap();
                kept.push(None);
            } else {
                // Stuck: the reconciler keeps the request and does not answer.
                kept.push(Some(reply));
            }
        }
    };
    let both = async { tokio::join!(run(manager, requests, status), reconciler) };
    assert!(timeout(Duration::from_secs(secs), both).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_and_lives_while_the_reconciler_answers() {
    let manager = Listener { patience: Some(Duration::from_secs(60)), ..Listener::default() };
    listen(&manager, usize::MAX, 601).await;
    assert!(manager.is_ready());
    assert_eq!(manager.beats(), 31);
}

#[tokio::test(start_paused = true)]
async fn a_reconciler_that_is_stuck_is_not_said_to_live() {
    let manager = Listener { patience: Some(Duration::from_secs(60)), ..Listener::default() };
    listen(&manager, 3, 601).await;
    assert_eq!(manager.beats(), 3);
    let manager = Listener { patience: Some(Duration::from_secs(60)), ..Listener::default() };
    listen(&manager, 0, 601).await;
    assert!(!manager.is_ready() && manager.beats() == 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_watchdog_nobody_wakes_up() {
    let manager = Listener::default();
    listen(&manager, 1, 86_400).await;
    assert!(manager.is_ready() && manager.beats() == 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_is_said_once() {
    let manager = Listener::default();
    let (publish, status) = watch::channel(Status::default());
    let story = async {
        sleep(Duration::from_secs(1)).await;
        for _ in 0..3 {
            publish.send_modify(|it| it.activity = Activity::Settled);
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        _ = report_activity(&manager, status) => {}
        () = story => {}
    }
    let said = [Notification::Status("waiting for a target".into()), Notification::Status("as wanted; running: 0".into())];
    assert_eq!(*manager.heard.borrow(), said);
}

#[tokio::test(start_paused = true)]
async fn the_words_say_the_most_pressing_thing() {
    let since = Instant::now();
    let mut status = Status { activity: Activity::Applying, ..Status::default() };
    assert_eq!(activity_text(&status), "reading the engine's state");
    let held = HeldLock { service: "b".to_owned(), path: "/l".to_owned(), since_secs: 0 };
    status.waiting.push(Waiting::Lock(AppId(1), held));
    assert_eq!(activity_text(&status), "app 1 is locked by its service b (/l)");
    let pull = Step::Engine(EngineAction::Pull(ImageRef::new("a")));
    let why = StepFault::OutOfSpace("no room".to_owned());
    status.troubles.push(Trouble::Step { step: Box::new(pull.clone()), why, failures: 1, again: since });
    assert_eq!(activity_text(&status), "pull a:latest: no room");
    let container = ContainerRef { key: ServiceKey::new(AppId(1), "b"), id: ContainerId("c".to_owned()) };
    status.steps_in_flight = vec![pull, Step::Engine(EngineAction::Start(container))];
    assert_eq!(activity_text(&status), "pull a:latest, start 1/b");
    status.engine = EngineState::Down { why: "the container engine does not answer: x".into(), since };
    assert_eq!(activity_text(&status), "the container engine does not answer: x");
    status.shutdown = ShutdownStatus::UnderWay {
        ending: None,
        by: crate::state::ShutdownOrigin::Others,
        since,
        progress: crate::state::ShutdownProgress::Accepted,
    };
    assert!(activity_text(&status).starts_with("shutting down"));
}
