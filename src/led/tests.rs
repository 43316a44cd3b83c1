mod holds;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;

use tokio::time::{self, sleep};

use super::*;
use crate::request::CloudReachability;
use crate::state::{LedInfo, LedLevel, LineDirection, LineHolder, Pattern, Player};

/// A LED that records the calls it gets, with the time in milliseconds.
struct Fake {
    begun: Instant,
    player: Player,
    told: RefCell<Vec<String>>,
    failures: RefCell<VecDeque<LedError>>,
    lost: Cell<bool>,
    /// How often it was looked for.
    surveys: Cell<u32>,
    /// How long the driver takes to find the LED.
    takes: Cell<Duration>,
    bench: watch::Sender<ToolLock>,
}

impl Fake {
    fn new(player: Player) -> Self {
        let (bench, _) = watch::channel(ToolLock::Free);
        let (told, failures) = (RefCell::default(), RefCell::default());
        let (lost, surveys, takes) = (Cell::default(), Cell::default(), Cell::default());
        Self { begun: Instant::now(), player, told, failures, lost, surveys, takes, bench }
    }

    fn note(&self, what: &str) -> Result<(), LedError> {
        self.told.borrow_mut().push(format!("{} {what}", self.begun.elapsed().as_millis()));
        self.failures.borrow_mut().pop_front().map_or(Ok(()), Err)
    }

    fn told(&self) -> Vec<String> {
        self.told.take()
    }
}

impl Leds for &Fake {
    type Survey = ();

    async fn survey(&self) -> Result<(), LedError> {
        self.surveys.update(|it| it + 1);
        sleep(self.takes.get()).await;
        Ok(())
    }

    fn find(&self, (): &(), which: &LedRef) -> Result<LedInfo, LedError> {
        let name = match which {
            LedRef::Identify if self.lost.get() => return Err(LedError::None("it has no LED".into())),
            LedRef::Identify => "ACT",
            LedRef::Named(name) if name == "red" => "PWR",
            LedRef::Named(name) if name == "wifi" => return Err(LedError::Guarded("wifi is no LED".into())),
            LedRef::Named(name) => name,
            LedRef::Line(name) if name == "P1" || name == "p1" => "P1",
            LedRef::Line(name) => return Err(LedError::None(format!("there is no line {name}"))),
        };
        Ok(LedInfo { name: name.into(), why: "it is there".into() })
    }

    fn others(&self, (): &()) -> Vec<LedInfo> {
        vec![LedInfo { name: "PWR".into(), why: "it is there, too".into() }]
    }

    async fn look(&self) -> Result<((), Vec<(String, LedLevel)>), LedError> {
        self.survey().await?;
        // The driver of the other LED does not say.
        Ok(((), vec![("ACT".into(), LedLevel::Lit)]))
    }

    async fn lines(&self, (): &()) -> Result<Vec<FreeLineInfo>, LedError> {
        let (name, place, chip) = ("P1".into(), "pin 1".into(), "gpiochip0".into());
        Ok(vec![FreeLineInfo { name, place, chip, offset: 1, direction: LineDirection::Input, holder: LineHolder::None }])
    }

    async fn show(&self, (): &(), which: &LedRef, pattern: &Pattern, length: Option<Duration>) -> Result<Player, LedError> {
        let length = length.map_or("ever".into(), |length| length.as_millis().to_string());
        self.note(&format!("{}show {} for {length}", short(which), pattern.steps().len()))?;
        Ok(self.player)
    }

    async fn play(&self, which: &LedRef, pattern: &Pattern, since: Instant) -> LedError {
        loop {
            let (level, end) = pattern.at(since.elapsed());
            if let Err(error) = self.note(&format!("{}{level}", short(which))) {
                return error;
            }
            sleep_until(since + end).await;
        }
    }

    async fn restore(&self, which: &LedRef) -> Result<(), LedError> {
        self.note(&format!("{}put back", short(which)))
    }

    async fn restore_all(&self) -> Result<(), LedError> {
        self.note("restore")
    }

    async fn bench(&self, now: ToolLock) -> ToolLock {
        let mut bench = self.bench.subscribe();
        *bench.wait_for(|bench| *bench != now).await.unwrap()
    }
}

/// The name before a recorded call, where it is not the identify LED.
fn short(which: &LedRef) -> String {
    match which {
        LedRef::Identify => String::new(),
        LedRef::Named(name) => format!("{name}: "),
        LedRef::Line(name) => format!("line {name}: "),
    }
}

struct Hand {
    asks: mpsc::Sender<LedRequest>,
    panel: watch::Receiver<LedStatus>,
    /// Who sends requests.
    by: Option<crate::state::history::Requester>,
    history: mpsc::Receiver<Request>,
}

impl Hand {
    async fn identify(&self) -> String {
        let (asker, answer) = oneshot::channel();
        self.asks.send(LedRequest::Identify(asker)).await.unwrap();
        answer.await.unwrap().to_string()
    }

    async fn hold(&self, which: LedRef, pattern: &str, secs: u64) -> Result<HeldPattern, LedRefusal> {
        let (asker, answer) = oneshot::channel();
        let (pattern, length) = (pattern.parse().unwrap(), Duration::from_secs(secs));
        let hold = LedRequest::Hold { which, pattern, length, by: self.by.clone(), reply: asker };
        self.asks.send(hold).await.unwrap();
        answer.await.unwrap()
    }

    async fn lines(&self) -> Result<Vec<(FreeLineInfo, LedActivity)>, LedRefusal> {
        let (asker, answer) = oneshot::channel();
        self.asks.send(LedRequest::Lines(asker)).await.unwrap();
        answer.await.unwrap()
    }

    async fn let_go(&self, which: LedRef) -> Result<(), LedRefusal> {
        let (asker, answer) = oneshot::channel();
        self.asks.send(LedRequest::Release { which, by: self.by.clone(), reply: asker }).await.unwrap();
        answer.await.unwrap()
    }

    async fn reach(&self, reach: CloudReachability) {
        self.asks.send(LedRequest::CloudReachability(reach)).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
}

/// Runs the controller with this LED while `act` sends it requests.
async fn life<F: Future<Output = ()>>(fake: &Fake, act: impl FnOnce(Hand) -> F) {
    let (asks, inbox) = mpsc::channel(4);
    let (publish, panel) = watch::channel(LedStatus::default());
    let (entries, history) = mpsc::channel(16);
    tokio::select! {
        biased;
        never = run(&fake, inbox, publish, entries) => match never {},
        () = act(Hand { asks, panel, by: None, history }) => {}
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_takes_longer_than_the_blinking_leaves_nothing_behind() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |hand: Hand| {
        sleep(secs(1)).await;
        fake.takes.set(secs(28));
        let _ = hand.identify().await;
        sleep(secs(120)).await;
    })
    .await;
    let told = fake.told();
    assert!(told.last().is_some_and(|it| it.ends_with("put back")), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_kernel_blinks_for_15_s_and_we_sleep() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |hand: Hand| {
        assert_eq!(hand.identify().await, "ACT");
        assert_eq!(hand.panel.borrow().shows.player, Some(Player::Kernel));
        assert_eq!(fake.surveys.get(), 2, "one when the agent starts, and one for all of the blinking");
        sleep(secs(60)).await;
        assert!(hand.panel.borrow().shows.owners.is_empty());
        assert_eq!(fake.surveys.get(), 2);
    })
    .await;
    assert_eq!(fake.told(), ["0 restore", "0 show 2 for 15000", "15000 put back"]);
}

#[tokio::test(start_paused = true)]
async fn where_the_kernel_cannot_each_change_is_ours() {
    let fake = Fake::new(Player::Agent);
    life(&fake, async |hand: Hand| {
        hand.identify().await;
        sleep(secs(20)).await;
    })
    .await;
    let told = fake.told();
    assert_eq!(told[1..6], ["0 show 2 for 15000", "0 lit", "200 dark", "400 lit", "600 dark"]);
    assert_eq!(told[told.len() - 2..], ["14800 lit", "15000 put back"]);
    assert_eq!(told.iter().filter(|it| it.ends_with(" lit")).count(), 38);
}

#[tokio::test(start_paused = true)]
async fn what_leds_show_is_read_and_one_whose_driver_does_not_say_is_in_no_trouble() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |hand| {
        let (asker, levels) = oneshot::channel();
        hand.asks.send(LedRequest::Look(asker)).await.unwrap();
        assert_eq!(levels.await, Ok(vec![("ACT".to_owned(), LedLevel::Lit)]));
        assert_eq!(hand.panel.borrow().others[0].1.trouble, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn asking_again_starts_the_15_s_anew() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |hand: Hand| {
        hand.identify().await;
        sleep(secs(10)).await;
        assert_eq!(hand.identify().await, "ACT");
        sleep(secs(60)).await;
    })
    .await;
    assert_eq!(fake.told(), ["0 restore", "0 show 2 for 15000", "10000 show 2 for 15000", "25000 put back"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_below_shows_again() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |hand: Hand| {
        hand.reach(CloudReachability::Down).await;
        sleep(Duration::from_millis(999)).await;
        hand.identify().await;
        let owners: Vec<LedPurpose> = hand.panel.borrow().shows.owners.iter().map(|owner| owner.purpose).collect();
        assert_eq!(owners, [LedPurpose::Identify, LedPurpose::Offline]);
        // A restored connection does not end identification.
        hand.reach(CloudReachability::Up).await;
        hand.reach(CloudReachability::Down).await;
        sleep(secs(20)).await;
        hand.reach(CloudReachability::Up).await;
    })
    .await;
    let told = fake.told();
    assert_eq!(told[..4], ["0 restore", "0 show 8 for ever", "1000 show 2 for 15000", "16000 show 8 for ever"]);
    assert!(told[4].ends_with("put back"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_bring_up_tool_comes_first() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |hand: Hand| {
        hand.identify().await;
        sleep(secs(1)).await;
        fake.bench.send_replace(ToolLock::Taken);
        sleep(secs(1)).await;
        assert_eq!(hand.panel.borrow().shows.owners[0].purpose, LedPurpose::BringUp);
        assert_eq!(hand.identify().await, "ACT; after the bring-up test");
        sleep(secs(5)).await;
        fake.bench.send_replace(ToolLock::Free);
        sleep(secs(60)).await;
    })
    .await;
    assert_eq!(
        fake.told(),
        ["0 restore", "0 show 2 for 15000", "1000 put back", "7000 restore", "7000 show 2 for 10000", "17000 put back"]
    );
}

#[tokio::test(start_paused = true)]
async fn no_led_is_said_and_nothing_is_touched() {
    let fake = Fake::new(Player::Kernel);
    fake.lost.set(true);
    life(&fake, async |hand: Hand| {
        assert_eq!(hand.identify().await, "none; it has no LED");
        assert_eq!(hand.panel.borrow().led, Err("it has no LED".to_owned()));
        sleep(secs(600)).await;
    })
    .await;
    // Orphaned changes of a predecessor are restored all the same; after that there is nothing to do.
    let told = fake.told();
    assert!(told.iter().all(|it| it.ends_with("restore")) && told.len() <= 2, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_read_only_led_is_told_to_who_asked_and_not_tried_again() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |hand: Hand| {
        sleep(secs(1)).await;
        fake.failures.borrow_mut().push_back(LedError::ReadOnly("/sys is read-only".into()));
        assert_eq!(hand.identify().await, "none; /sys is read-only");
        assert_eq!(hand.panel.borrow().shows.trouble.as_deref(), Some("/sys is read-only"));
        sleep(secs(600)).await;
        assert_eq!(hand.panel.borrow().shows.trouble, None);
    })
    .await;
    assert_eq!(fake.told(), ["0 restore", "1000 show 2 for 15000", "61000 put back"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_vanishes_is_tried_again_when_it_is_back() {
    let fake = Fake::new(Player::Agent);
    life(&fake, async |hand: Hand| {
        hand.identify().await;
        sleep(Duration::from_millis(300)).await;
        fake.failures.borrow_mut().push_back(LedError::Vanished("unplugged".into()));
        sleep(Duration::from_millis(300)).await;
        assert_eq!(hand.panel.borrow().shows.trouble.as_deref(), Some("unplugged"));
        sleep(secs(3)).await;
        assert_eq!(hand.panel.borrow().shows.trouble, None);
        sleep(secs(60)).await;
    })
    .await;
    let told = fake.told();
    assert_eq!(told[2..7], ["0 lit", "200 dark", "400 lit", "2400 show 2 for 12600", "2400 lit"]);
    assert_eq!(told.last().unwrap(), "15000 put back");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_leave_one_end() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |hand: Hand| {
        for _ in 0..1000 {
            assert_eq!(hand.identify().await, "ACT");
        }
        time::advance(secs(16)).await;
        sleep(secs(1)).await;
    })
    .await;
    let told = fake.told();
    assert_eq!(told.iter().filter(|it| it.ends_with("put back")).count(), 1);
}

fn named(name: &str) -> LedRef {
    LedRef::Named(name.into())
}

fn purposes(shows: &LedActivity) -> Vec<LedPurpose> {
    shows.owners.iter().map(|owner| owner.purpose).collect()
}

#[tokio::test(start_paused = true)]
async fn a_pattern_ends_by_itself_and_gives_way_to_who_looks_for_the_device() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |hand: Hand| {
        hand.reach(CloudReachability::Down).await;
        sleep(Duration::from_millis(999)).await;
        let held = hand.hold(named("ACT"), "50,950", 30).await.unwrap();
        assert_eq!(held, HeldPattern { led: "ACT".into(), owner: LedPurpose::Pattern, player: Some(Player::Kernel) });
        sleep(secs(4)).await;
        hand.identify().await;
        assert_eq!(purposes(&hand.panel.borrow().shows), [LedPurpose::Identify, LedPurpose::Pattern, LedPurpose::Offline]);
        // The response says that this request has to wait: another purpose owns the LED.
        assert_eq!(hand.hold(named("ACT"), "70,930", 30).await.unwrap().owner, LedPurpose::Identify);
        sleep(secs(60)).await;
    })
    .await;
    let told = fake.told();
    let shown: Vec<&str> = told.iter().map(String::as_str).filter(|it| it.contains("show")).collect();
    let expected = [
        "0 show 8 for ever",
        "1000 show 2 for 30000",
        "5000 show 2 for 15000",
        "20000 show 2 for 15000",
        "35000 show 8 for ever",
    ];
    assert_eq!(shown, expected);
}

#[tokio::test(start_paused = true)]
async fn each_led_has_an_owner_of_its_own() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |hand: Hand| {
        sleep(secs(1)).await;
        assert_eq!(hand.hold(named("red"), "100,100", 20).await.unwrap().led, "PWR");
        hand.identify().await;
        let panel = hand.panel.borrow().clone();
        assert_eq!(
            (purposes(&panel.shows), purposes(&panel.others[0].1)),
            (vec![LedPurpose::Identify], vec![LedPurpose::Pattern])
        );
        fake.bench.send_replace(ToolLock::Taken);
        sleep(secs(1)).await;
        assert_eq!(purposes(&hand.panel.borrow().others[0].1), [LedPurpose::BringUp, LedPurpose::Pattern]);
        fake.bench.send_replace(ToolLock::Free);
        sleep(secs(60)).await;
        assert_eq!(purposes(&hand.panel.borrow().others[0].1), []);
    })
    .await;
    let told = fake.told();
    let expected = ["0 restore", "1000 PWR: show 2 for 20000", "1000 show 2 for 15000", "1000 put back", "1000 PWR: put back"];
    assert_eq!(told[..5], expected);
    let after =
        ["2000 restore", "2000 show 2 for 14000", "2000 PWR: show 2 for 19000", "16000 put back", "21000 PWR: put back"];
    assert_eq!(told[5..], after);
}

#[tokio::test(start_paused = true)]
async fn a_pattern_that_is_let_go_of_ends_at_once() {
    let fake = Fake::new(Player::Agent);
    life(&fake, async |hand: Hand| {
        hand.hold(LedRef::Identify, "300,300", 3600).await.unwrap();
        sleep(Duration::from_millis(700)).await;
        assert_eq!(hand.let_go(named("ACT")).await, Ok(()));
        // Releasing is idempotent: there is no pattern any more.
        assert_eq!(hand.let_go(named("ACT")).await, Ok(()));
        sleep(secs(60)).await;
    })
    .await;
    assert_eq!(fake.told(), ["0 restore", "0 show 2 for 3600000", "0 lit", "300 dark", "600 lit", "700 put back"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_led_or_does_not_do_as_told_holds_no_pattern() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |hand: Hand| {
        sleep(secs(1)).await;
        assert_eq!(hand.hold(named("wifi"), "1,1", 9).await, Err(LedRefusal::Guarded("wifi is no LED".into())));
        assert_eq!(hand.let_go(named("wifi")).await, Err(LedRefusal::Guarded("wifi is no LED".into())));
        fake.failures.borrow_mut().push_back(LedError::Busy("another program has it".into()));
        assert_eq!(hand.hold(named("PWR"), "1,1", 9).await, Err(LedRefusal::Busy("another program has it".into())));
        sleep(secs(60)).await;
        assert_eq!(purposes(&hand.panel.borrow().others[0].1), []);
    })
    .await;
    assert_eq!(fake.told(), ["0 restore", "1000 PWR: show 2 for 9000", "3000 PWR: put back"]);
}

#[tokio::test(start_paused = true)]
async fn a_line_has_its_own_pattern_beside_a_led_of_the_same_name() {
    let fake = Fake::new(Player::Agent);
    let line = |name: &str| LedRef::Line(name.into());
    life(&fake, async |hand: Hand| {
        sleep(secs(1)).await;
        let held = hand.hold(line("p1"), "300,300", 1).await.unwrap();
        assert_eq!(held, HeldPattern { led: "P1".into(), owner: LedPurpose::Pattern, player: Some(Player::Agent) });
        hand.hold(named("P1"), "500,500", 9).await.unwrap();
        let lines = hand.lines().await.unwrap();
        assert_eq!((lines[0].0.name.as_str(), purposes(&lines[0].1)), ("P1", vec![LedPurpose::Pattern]));
        assert_eq!(hand.hold(line("P2"), "9,9", 9).await, Err(LedRefusal::NoLed("there is no line P2".into())));
        // The LED of this name shows on when the line is restored, and identifying lights no line.
        hand.let_go(line("P1")).await.unwrap();
        assert_eq!(purposes(&hand.lines().await.unwrap()[0].1), []);
        assert_eq!(hand.identify().await, "ACT");
        hand.let_go(named("P1")).await.unwrap();
    })
    .await;
    let told = fake.told();
    let begun = ["1000 line P1: show 2 for 1000", "1000 line P1: lit", "1000 P1: show 2 for 9000"];
    assert_eq!(told[1..4], begun, "{told:?}");
    assert!(told.contains(&"1000 line P1: put back".into()) && told.contains(&"1000 P1: put back".into()), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_line_is_put_back_when_its_time_is_over() {
    let fake = Fake::new(Player::Kernel);
    life(&fake, async |hand: Hand| {
        hand.hold(LedRef::Line("P1".into()), "300,300", 2).await.unwrap();
        sleep(secs(60)).await;
    })
    .await;
    assert_eq!(fake.told(), ["0 restore", "0 line P1: show 2 for 2000", "2000 line P1: put back"]);
}

#[tokio::test(start_paused = true)]
async fn who_tries_leds_out_when_the_agent_starts_is_heard_before_anybody_else() {
    let fake = Fake::new(Player::Kernel);
    fake.bench.send_replace(ToolLock::Taken);
    fake.takes.set(secs(5));
    life(&fake, async |hand: Hand| {
        // This request arrives while the driver is still restoring what a previous agent may have left.
        hand.reach(CloudReachability::Down).await;
        sleep(secs(60)).await;
    })
    .await;
    assert_eq!(fake.told(), ["5000 restore"]);
}
