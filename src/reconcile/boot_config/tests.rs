//! A machine whose boots are counted.

use super::*;
use crate::reconcile::testing::TestWorld;
use crate::sorted::SortedMap;

const ORIGINAL: &str = "# as shipped\ndtparam=audio=on\n";

/// A board with a `config.txt`, and its agent.
struct Board {
    world: TestWorld,
    tracker: BootConfigTracker,
    target: Target,
}

impl Board {
    async fn new() -> Self {
        let world = TestWorld::default();
        *world.boot.bytes.borrow_mut() = Some(ORIGINAL.into());
        *world.boot.boot_id.borrow_mut() = "boot 1".to_owned();
        let tracker = BootConfigTracker::new(BootConfigRecord::default());
        let mut board = Self { world, tracker, target: Target::default() };
        board.tracker.start(&board.world.context()).await;
        board
    }

    /// The target wants these variables. Returns whether a boot is asked for.
    async fn wants(&mut self, variables: &[(&str, &str)]) -> bool {
        let prefixed = variables.iter().map(|(key, value)| (format!("HOST_CONFIG_{key}"), (*value).to_owned()));
        self.target.config = prefixed.collect::<SortedMap<_, _>>();
        self.observe().await
    }

    async fn observe(&mut self) -> bool {
        self.tracker.apply(&self.target, &self.world.context()).await;
        self.tracker.awaits_boot().is_some()
    }

    async fn settles(&mut self) {
        self.tracker.on_good(&self.world.context()).await;
    }

    /// The agent starts again, with what it has saved.
    async fn starts(&mut self) -> bool {
        let saved = self.world.saved.borrow().iter().rev().find_map(|it| match it {
            Record::BootConfig(record) => Some((**record).clone()),
            _ => None,
        });
        self.tracker = BootConfigTracker::new(saved.unwrap_or_default());
        self.tracker.start(&self.world.context()).await;
        self.observe().await
    }

    /// The machine boots.
    async fn boots(&mut self) -> bool {
        let next = format!("{} and on", self.world.boot.boot_id.borrow());
        *self.world.boot.boot_id.borrow_mut() = next;
        self.starts().await
    }

    fn file(&self) -> String {
        String::from_utf8(self.world.boot.bytes.borrow().clone().unwrap()).unwrap()
    }

    fn problems(&self) -> String {
        self.tracker.status().problems.join("; ")
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_written_once_and_asks_for_one_boot() {
    let mut board = Board::new().await;
    assert!(!board.wants(&[]).await);
    assert!(board.world.saved.borrow().is_empty(), "a target without such variables costs nothing");
    assert!(board.wants(&[("gpu_mem", "16")]).await);
    assert!(board.file().starts_with(ORIGINAL) && board.file().contains("gpu_mem=16"));
    assert_eq!(board.world.boot.good.borrow().as_deref(), Some(ORIGINAL.as_bytes()));
    assert!(board.observe().await && board.starts().await, "another start is no boot");
    assert!(!board.boots().await);
    assert_eq!(board.tracker.status().progress, BootConfigProgress::Applied);
    board.settles().await;
    let saved = board.world.saved.borrow().len();
    tokio::time::advance(LOOK_EVERY * 2).await;
    assert!(!board.observe().await && !board.boots().await);
    assert_eq!(board.world.boot.writes.get(), 1);
    assert_eq!(board.world.saved.borrow().len(), saved + 1, "the new boot");
    assert!(board.wants(&[]).await);
    assert_eq!(board.file(), ORIGINAL);
    assert!(!board.boots().await);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_taken_back_before_the_boot_needs_none() {
    let mut board = Board::new().await;
    assert!(board.wants(&[("gpu_mem", "16")]).await);
    assert!(!board.wants(&[]).await);
    assert_eq!((board.file().as_str(), board.problems().as_str()), (ORIGINAL, ""));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_written_asks_for_no_boot_and_is_tried_again() {
    let mut board = Board::new().await;
    board.world.boot.is_read_only.set(true);
    assert!(!board.wants(&[("gpu_mem", "16")]).await);
    assert!(board.problems().contains("cannot write"), "{}", board.problems());
    assert_eq!(board.tracker.status().progress, BootConfigProgress::Failed);
    assert!(!board.boots().await, "not even after a boot");
    board.world.boot.is_read_only.set(false);
    assert!(!board.observe().await, "not at once");
    assert_eq!(board.tracker.next_retry(), Some(Instant::now() + LOOK_EVERY));
    tokio::time::advance(LOOK_EVERY).await;
    assert!(board.observe().await);
    assert_eq!(board.problems(), "");
    *board.world.boot.bytes.borrow_mut() = None;
    assert!(!board.wants(&[("gpu_mem", "32")]).await);
    assert!(board.problems().contains("no file for it"), "{}", board.problems());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_that_could_not_be_remembered() {
    let mut board = Board::new().await;
    board.world.is_full.set(true);
    assert!(!board.wants(&[("gpu_mem", "16")]).await);
    assert_eq!((board.file().as_str(), board.world.boot.writes.get()), (ORIGINAL, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_wanted_goes_though_its_record_could_not_be_saved_at_first() {
    let mut board = Board::new().await;
    assert!(board.wants(&[("gpu_mem", "16")]).await);
    board.world.is_full.set(true);
    board.wants(&[]).await;
    assert!(board.problems().contains("make room"), "{}", board.problems());
    board.world.is_full.set(false);
    board.observe().await;
    assert!(board.boots().await, "the machine booted with it, and it is gone from the file");
    assert_eq!((board.file().as_str(), board.problems().as_str()), (ORIGINAL, ""));
    assert!(!board.boots().await);
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_record_left_behind_goes_though_the_file_was_unreadable_at_first() {
    let mut board = Board::new().await;
    assert!(board.wants(&[("gpu_mem", "16")]).await);
    board.world.saved.borrow_mut().clear();
    board.target = Target::default();
    board.world.boot.is_unreadable.set(true);
    assert!(!board.starts().await);
    assert_eq!(board.problems(), "", "nothing is wanted in the file");
    board.world.boot.is_unreadable.set(false);
    tokio::time::advance(LOOK_EVERY).await;
    assert!(!board.observe().await);
    assert_eq!(board.file(), ORIGINAL);
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_between_record_and_file_is_noticed() {
    let mut board = Board::new().await;
    assert!(board.wants(&[("gpu_mem", "16")]).await);
    *board.world.boot.bytes.borrow_mut() = Some(ORIGINAL.into());
    assert!(board.boots().await, "the file is written again, and takes another boot");
    assert!(board.file().contains("gpu_mem=16"));
    assert!(!board.boots().await);
}

#[tokio::test(start_paused = true)]
async fn a_program_that_undoes_the_change_at_every_boot_causes_two_boots_in_all() {
    let mut board = Board::new().await;
    let mut boots = 0;
    let mut asks = board.wants(&[("gpu_mem", "16")]).await;
    for _ in 0..10 {
        boots += u32::from(asks);
        *board.world.boot.bytes.borrow_mut() = Some(ORIGINAL.into());
        asks = board.boots().await;
        board.settles().await;
    }
    assert_eq!(boots, MAX_UNDONE);
    assert!(board.problems().contains("another program undoes"), "{}", board.problems());
    assert!(board.wants(&[("gpu_mem", "32")]).await, "another change is tried");
}

#[tokio::test(start_paused = true)]
async fn firmware_that_ignores_the_file_causes_one_boot() {
    let mut board = Board::new().await;
    assert!(board.wants(&[("no_such_key", "16")]).await);
    assert!(!board.boots().await && !board.boots().await);
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_boots_cannot_be_told_apart_is_not_rebooted() {
    let mut board = Board::new().await;
    board.world.boot.boot_id.borrow_mut().clear();
    assert!(!board.wants(&[("gpu_mem", "16")]).await);
    assert!(board.file().contains("gpu_mem=16"));
}

#[tokio::test(start_paused = true)]
async fn a_change_with_which_the_agent_never_settles_is_taken_back_once() {
    let mut board = Board::new().await;
    board.wants(&[("arm_freq", "700")]).await;
    board.boots().await;
    board.settles().await;
    let good = board.file();
    board.wants(&[("arm_freq", "3000")]).await;
    assert!(!board.boots().await);
    for _ in 1..BootConfigRecord::MAX_STARTS {
        assert!(!board.starts().await);
        assert!(board.file().contains("3000"));
    }
    assert!(board.starts().await, "the good one is back, and takes a boot");
    assert_eq!(board.file(), good);
    assert_eq!(board.world.boot.good.borrow().as_deref(), Some(good.as_bytes()), "not the one that failed");
    assert!(board.problems().contains("those before are back"), "{}", board.problems());
    board.settles().await;
    assert!(!board.boots().await && !board.starts().await);
    board.settles().await;
    tokio::time::advance(LOOK_EVERY).await;
    assert!(!board.observe().await);
    assert_eq!(board.file(), good);
    assert!(board.problems().contains("change the variables"), "{}", board.problems());
    assert!(board.wants(&[("arm_freq", "900")]).await, "another value is tried");
    assert_eq!(board.problems(), "");
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_uptime_are_proof_enough() {
    let mut board = Board::new().await;
    board.wants(&[("arm_freq", "900")]).await;
    board.boots().await;
    board.tracker.on_uptime(&board.world.context()).await;
    assert!(board.tracker.status().on_trial.is_some());
    tokio::time::advance(STABLE_AFTER).await;
    board.tracker.on_uptime(&board.world.context()).await;
    assert!(board.tracker.status().on_trial.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_the_file_has_already_needs_no_boot() {
    let mut board = Board::new().await;
    assert!(!board.wants(&[("dtparam", "audio=on")]).await);
    assert_eq!((board.world.boot.writes.get(), board.tracker.status().progress), (0, BootConfigProgress::Applied));
    assert!(board.tracker.status().on_trial.is_none());
    assert!(!board.wants(&[("dtparam", "audio=on"), ("kernel", "x.img")]).await);
    assert!(board.problems().contains("HOST_CONFIG_kernel: ignored"), "{}", board.problems());
}

#[tokio::test(start_paused = true)]
async fn a_lost_record_costs_no_boot_and_leaves_nothing_behind() {
    let mut board = Board::new().await;
    board.wants(&[("gpu_mem", "16")]).await;
    board.boots().await;
    board.world.saved.borrow_mut().clear();
    assert!(!board.boots().await);
    assert_eq!(board.tracker.status().progress, BootConfigProgress::Applied);
    board.world.saved.borrow_mut().clear();
    board.target = Target::default();
    assert!(!board.starts().await);
    assert_eq!(board.file(), ORIGINAL);
}
