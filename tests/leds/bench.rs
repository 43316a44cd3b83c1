//! The bring-up tool as users and scripts call it, on a simulated board.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use boardkeeper::linux::leds::host::{HostPaths, LedHost, SIMULATED};
use boardkeeper::port::Leds as _;
use boardkeeper::request::LedRequest;
use boardkeeper::state::{LedPurpose, LedStatus};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

/// A simulated board in a directory of its own.
struct Board {
    runtime: tempfile::TempDir,
}

impl Board {
    fn new() -> Self {
        Self { runtime: tempfile::tempdir().unwrap() }
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_boardkeeper"));
        command.args(args.split_whitespace()).stdin(Stdio::null());
        command.env("BOARDKEEPER_RUNTIME_DIR", self.runtime.path()).env("BOARDKEEPER_BOARD", SIMULATED);
        command.env_remove("LED_FILE").env_remove("BOARDKEEPER_ROOT");
        command
    }

    fn run(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    fn begin(&self, args: &str) -> Child {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn root(&self) -> PathBuf {
        self.runtime.path().join("simulated-board")
    }

    fn trigger(&self, led: &str) -> String {
        let text = std::fs::read_to_string(self.root().join("sys/class/leds").join(led).join("trigger")).unwrap_or_default();
        text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    /// Waits until the LED has this trigger.
    fn wait_for(&self, led: &str, trigger: &str) {
        let mut looks = 0;
        while self.trigger(led) != trigger {
            looks += 1;
            assert!(looks < 500, "{led} has the trigger `{}`, not `{trigger}`", self.trigger(led));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn an_interrupted_tool_puts_the_led_back() {
    for how in [Signal::INT, Signal::TERM, Signal::HUP] {
        let board = Board::new();
        let mut tool = board.begin("led on");
        board.wait_for("ACT", "none");
        signal(&tool, how);
        assert_eq!(tool.wait().unwrap().code(), Some(130));
        assert_eq!(board.trigger("ACT"), "mmc0");
    }
}

#[test]
fn a_killed_tool_leaves_what_restore_needs() {
    // More than once: it may be killed in the middle of any of its writes.
    for _ in 0..10 {
        let board = Board::new();
        let mut tool = board.begin("led blink");
        board.wait_for("ACT", "pattern");
        tool.kill().unwrap();
        tool.wait().unwrap();
        assert_eq!(board.trigger("ACT"), "pattern");
        let restored = board.run("led restore");
        assert!(restored.status.success(), "{restored:?}");
        assert_eq!(board.trigger("ACT"), "mmc0");
    }
}

#[test]
fn scripts_get_exit_codes() {
    let board = Board::new();
    let code = |args: &str| board.run(args).status.code();
    assert_eq!(code("led blink --for 50ms"), Some(0));
    assert_eq!(code("led walk --step 10ms"), Some(0));
    assert_eq!(code("led test --assume-seen ACT"), Some(0));
    // There is no terminal to answer.
    assert_eq!(code("led test ACT"), Some(2));
    assert_eq!(code("led blink --pattern 5"), Some(2));
    assert_eq!(code("led on nothing-by-this-name"), Some(3));
    // The kernel's LED holds this line.
    assert_eq!(code("gpio blink gpiochip0 2"), Some(5));
    assert_eq!(code("gpio blink gpiochip0 99"), Some(3));
    assert_eq!(code("gpio blink gpiochip0 USER_LED --for 50ms"), Some(0));
    assert_eq!((board.trigger("ACT"), board.trigger("PWR")), ("mmc0".into(), "default-on".into()));
}

#[test]
fn a_line_comes_back_as_the_input_it_was() {
    let board = Board::new();
    assert!(board.run("gpio blink fe200000.gpio 3 --active-low --for 100ms").status.success());
    let line = board.root().join("gpio/gpiochip0/line3");
    let read = |file: &str| std::fs::read_to_string(line.join(file)).unwrap();
    assert_eq!((read("direction"), read("value"), read("consumer")), ("in".into(), "0".into(), String::new()));
}

#[test]
fn a_killed_tools_line_is_put_back_by_restore() {
    let board = Board::new();
    board.run("board");
    let line = board.root().join("gpio/gpiochip0/line4");
    std::fs::write(line.join("value"), "1").unwrap();
    let mut tool = board.begin("gpio blink gpiochip0 SPARE_LED_N");
    let value = || std::fs::read_to_string(line.join("value")).unwrap_or_default();
    while value() == "1" || !line.join("consumer").metadata().is_ok_and(|it| it.len() > 0) {
        std::thread::sleep(Duration::from_millis(5));
    }
    tool.kill().unwrap();
    tool.wait().unwrap();
    assert!(board.run("led restore").status.success());
    assert_eq!((value().as_str(), std::fs::read_to_string(line.join("direction")).unwrap().as_str()), ("1", "out"));
}

#[test]
fn the_report_keeps_driver_and_operator_apart() {
    let board = Board::new();
    let report = board.runtime.path().join("report.json");
    let mut tool = board.command("led test ACT --json --report");
    let mut tool = tool.arg(&report).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut tool.stdin.take().unwrap(), b"r\nn\n").unwrap();
    let output = tool.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json, serde_json::from_str::<serde_json::Value>(&std::fs::read_to_string(report).unwrap()).unwrap());
    let led = &json["leds"][0];
    assert_eq!((&led["driver_ok"], &led["operator_ok"], &led["restored"]), (&true.into(), &false.into(), &true.into()));
    assert_eq!((&led["before_trigger"], &led["after_trigger"]), (&"mmc0".into(), &"mmc0".into()));
    assert_eq!(json["board"]["id"], "raspberry-pi-4-model-b");
}

#[test]
fn the_board_tells_its_leds_and_lines_for_programs() {
    let board = Board::new();
    let json: serde_json::Value = serde_json::from_slice(&board.run("board --json").stdout).unwrap();
    assert_eq!(json["identify"], "ACT");
    assert_eq!(json["chips"][0]["lines"][2]["consumer"], "ACT");
    assert_eq!(json["leds"].as_array().unwrap().len(), 2);
}

fn host(runtime: &Path) -> LedHost {
    let (root, runtime) = (PathBuf::from("/"), runtime.to_owned());
    LedHost::open(HostPaths { root, runtime, board: Some(SIMULATED.into()), device_type: None, led_file: None }).unwrap()
}

/// The agent blinks, the tool wants the LED, gets it, gives it back, and the agent goes on.
#[tokio::test]
async fn the_agent_makes_way_for_the_tool() {
    let board = Board::new();
    let leds = host(board.runtime.path()).leds("the agent");
    let (asks, inbox) = mpsc::channel(4);
    let (publish, mut panel) = watch::channel(LedStatus::default());
    let act = async {
        let (asker, answer) = oneshot::channel();
        asks.send(LedRequest::Identify(asker)).await.unwrap();
        assert_eq!(answer.await.unwrap().to_string(), "ACT");
        assert_eq!(board.trigger("ACT"), "pattern");
        let first = |panel: &LedStatus| panel.shows.owners.first().map(|owner| owner.purpose);
        let mut tool = board.begin("led on --for 1s");
        panel.wait_for(|panel| first(panel) == Some(LedPurpose::BringUp)).await.unwrap();
        sleep(Duration::from_millis(500)).await;
        assert_eq!(board.trigger("ACT"), "none");
        panel.wait_for(|panel| first(panel) == Some(LedPurpose::Identify)).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        assert_eq!(board.trigger("ACT"), "pattern");
        assert_eq!(tool.wait().unwrap().code(), Some(0));
    };
    let life = async {
        tokio::select! {
            biased;
            never = boardkeeper::led::run(&leds, inbox, publish, mpsc::channel(1).0) => match never {},
            () = act => {}
        }
    };
    timeout(Duration::from_secs(20), life).await.unwrap();
    leds.restore_all().await.unwrap();
    assert_eq!(board.trigger("ACT"), "mmc0");
}
