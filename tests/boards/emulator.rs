//! A board that QEMU plays: its power switch, its serial line, and its pins as they are seen from outside.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::machine::{lab, until};

/// What a boot may take until the serial line answers. On a quiet machine it takes half a minute to two minutes.
const BOOT: Duration = Duration::from_secs(900);
/// What an end may take.
const END: Duration = Duration::from_secs(300);
/// What a command may take.
const COMMAND: Duration = Duration::from_secs(300);
/// Between two looks at a pin that tells of nothing by itself.
const LOOK: Duration = Duration::from_millis(5);

/// Where the parts of a Broadcom chip lie, all of them.
const BLOCK: u64 = 0xff00_0000;
/// Among them its timer, which counts microseconds.
const TIMER: u64 = 0x3004;

/// How a board ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It reset itself.
    Reboot,
    /// It switched itself off.
    Off,
}

/// Where a pin is seen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pin {
    /// A line of the generic machine's PL061, which tells of every change.
    Traced(u32),
    /// A line of a Broadcom GPIO block.
    Mapped(Bit),
}

impl Pin {
    /// How many of some dozens of changes may be missed: a register is looked at, and the emulator answers when it gets its turn.
    pub(crate) fn may_be_missed(self) -> usize {
        match self {
            Self::Traced(_) => 0,
            Self::Mapped(_) => 2,
        }
    }
}

/// A bit of the register at an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bit {
    pub(crate) address: u64,
    pub(crate) number: u32,
    /// What it is where what hangs on it is lit.
    pub(crate) lit: u32,
}

/// A change of a pin: when, since a time of the caller's, and whether what hangs on it is lit since.
pub(crate) type Edge = (Duration, bool);

/// A board, on or off.
pub(crate) struct Board {
    name: String,
    dir: PathBuf,
    on: Option<On>,
}

struct On {
    qemu: Child,
    serial: ChildStdin,
    lines: Receiver<String>,
    control: UnixStream,
    said: Receiver<Value>,
}

impl Board {
    /// One that is switched off and has never been on, with the package of its architecture installed.
    pub(crate) fn made(name: &str, arch: &str) -> Self {
        let dir = scratch().join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        fs::create_dir_all(&dir).unwrap();
        let package = format!("target/deb/boardkeeper_{}_{arch}.deb", env!("CARGO_PKG_VERSION"));
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join(package);
        let mut make = Command::new(lab("foreign.sh"));
        make.arg(lab("board.sh")).args(["make", name]).arg(package).arg(&dir).stdin(Stdio::null());
        assert!(make.status().unwrap().success(), "the board {name} could not be made");
        Self { name: name.to_owned(), dir, on: None }
    }

    /// Switches it on, and waits until its serial line answers. Says how long that took.
    pub(crate) fn boot(&mut self) -> Duration {
        let began = Instant::now();
        let mut run = Command::new(lab("board.sh"));
        run.args(["run", &self.name]).arg(&self.dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        run.stderr(self.append("qemu"));
        let mut qemu = run.spawn().unwrap();
        let serial = qemu.stdin.take().unwrap();
        let lines = reader(qemu.stdout.take().unwrap(), self.append("serial"));
        let socket = self.dir.join("qmp");
        let mut control = None;
        until("the emulator answers", Duration::from_secs(60), || {
            control = UnixStream::connect(&socket).ok();
            control.is_some()
        });
        let control = control.unwrap();
        let said = talk(control.try_clone().unwrap());
        self.on = Some(On { qemu, serial, lines, control, said });
        self.tell("qmp_capabilities", &json!({}));
        self.hear(BOOT, |line| line == "@@here");
        began.elapsed()
    }

    /// What a shell on the board prints, when it ends as it should.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let (code, said) = self.shell(command);
        assert_eq!(code, 0, "{command}: {said}");
        said
    }

    /// What a shell on the board prints, and how it ends.
    pub(crate) fn shell(&mut self, command: &str) -> (i32, String) {
        self.say(command);
        self.answer()
    }

    fn say(&mut self, command: &str) {
        assert!(!command.contains('\n'), "the serial line is given one line");
        let serial = &mut self.on.as_mut().expect("it is on").serial;
        serial.write_all(format!("{command}\n").as_bytes()).unwrap();
        serial.flush().unwrap();
    }

    fn answer(&mut self) -> (i32, String) {
        self.hear(COMMAND, |line| line == "@@begin");
        let mut said = self.hear(COMMAND, |line| line.starts_with("@@end "));
        let code = said.pop().unwrap()["@@end ".len()..].trim().parse().unwrap();
        (code, said.join("\n").trim().to_owned())
    }

    /// The lines up to one of which this is true.
    fn hear(&mut self, most: Duration, is_last: impl Fn(&str) -> bool) -> Vec<String> {
        let end = Instant::now() + most;
        let lines = &self.on.as_ref().expect("it is on").lines;
        let mut heard = Vec::new();
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => heard.push(line.trim_end_matches('\r').to_owned()),
                Err(RecvTimeoutError::Timeout) => panic!("within {most:?} the board said only {heard:#?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the board is off; its last words: {heard:#?}"),
            }
            if is_last(heard.last().unwrap()) {
                return heard;
            }
        }
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ends(&mut self) -> End {
        let mut on = self.on.take().expect("it is on");
        until("the board ends", END, || on.qemu.try_wait().unwrap().is_some());
        let ends = on.said.iter().filter(|it| it["event"] == "SHUTDOWN").map(|it| it["data"]["reason"].clone());
        match ends.last().unwrap().as_str().unwrap() {
            "guest-reset" => End::Reboot,
            "guest-shutdown" => End::Off,
            other => panic!("the emulator ended because of {other}"),
        }
    }

    /// Takes its power away.
    pub(crate) fn cut(&mut self) {
        let mut on = self.on.take().expect("it is on");
        on.qemu.kill().unwrap();
        on.qemu.wait().unwrap();
    }

    /// Tells a shell something, and looks at a pin from then on for so long. What the shell printed is what it has printed in the end.
    pub(crate) fn watch(&mut self, pin: Pin, length: Duration, command: &str) -> (Vec<Edge>, String) {
        let edges = match pin {
            Pin::Traced(line) => self.watch_trace(line, length, command),
            Pin::Mapped(bit) => self.watch_register(bit, length, command),
        };
        (edges, self.answer().1)
    }

    fn watch_trace(&mut self, line: u32, length: Duration, command: &str) -> Vec<Edge> {
        let mut trace = File::open(self.dir.join("trace")).unwrap();
        trace.seek(SeekFrom::End(0)).unwrap();
        let began = wall_time();
        self.say(command);
        sleep(length);
        let mut text = String::new();
        trace.read_to_string(&mut text).unwrap();
        text.lines().filter_map(|it| traced(it, line)).map(|(at, up)| (at.saturating_sub(began), up)).collect()
    }

    /// By the board's own clock: that of an emulated processor need not be ours.
    fn watch_register(&mut self, at: Bit, length: Duration, command: &str) -> Vec<Edge> {
        let clock = (at.address & BLOCK) + TIMER;
        let (began, first) = (Instant::now(), self.word(clock));
        self.say(command);
        let (mut edges, mut was) = (Vec::new(), None);
        while began.elapsed() < length {
            let is = self.word(at.address) >> at.number & 1 == at.lit;
            if was.is_some_and(|was| was != is) {
                edges.push((Duration::from_micros(self.word(clock).wrapping_sub(first).into()), is));
            }
            was = Some(is);
            sleep(LOOK);
        }
        edges
    }

    /// A word of its memory.
    fn word(&mut self, address: u64) -> u32 {
        let said = self.monitor(&format!("xp /1wx {address:#x}"));
        let word = said.rsplit_once("0x").expect("a register has a value").1;
        u32::from_str_radix(word.trim(), 16).unwrap()
    }

    /// What the emulator's monitor answers.
    fn monitor(&mut self, command: &str) -> String {
        let said = self.tell("human-monitor-command", &json!({"command-line": command}));
        said.as_str().unwrap().to_owned()
    }

    fn tell(&mut self, execute: &str, arguments: &Value) -> Value {
        let on = self.on.as_mut().expect("it is on");
        let line = json!({"execute": execute, "arguments": arguments}).to_string();
        on.control.write_all(format!("{line}\n").as_bytes()).unwrap();
        loop {
            let said = on.said.recv_timeout(Duration::from_secs(60)).expect("the emulator answers");
            assert!(said.get("error").is_none(), "{execute}: {said}");
            if let Some(answer) = said.get("return") {
                return answer.clone();
            }
        }
    }

    fn append(&self, name: &str) -> File {
        File::options().create(true).append(true).open(self.dir.join(name)).unwrap()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Some(mut on) = self.on.take() {
            // It may have ended by itself.
            let _ = on.qemu.kill();
            let _ = on.qemu.wait();
        }
        // What is left after a failure is the serial line's and the emulator's logs; a disk is too large to keep.
        let _ = fs::remove_file(self.dir.join("disk.raw"));
    }
}

/// Where boards lie while they are tested.
fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("boards")
}

/// What the emulator stamps its trace with.
#[expect(clippy::disallowed_methods, reason = "no simulation is here, and the trace has no other time")]
fn wall_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// A line such as `12@1700000000.123456:pl061_set_output /machine/gpio setting output 0 to 1`, where it is about this line.
fn traced(text: &str, line: u32) -> Option<Edge> {
    let (stamp, event) = text.split_once(":pl061_set_output ")?;
    let at = stamp.rsplit_once('@')?.1.parse().ok().map(Duration::from_secs_f64)?;
    let mut numbers =
        event.split_whitespace().rev().filter_map(|it| it.trim_matches(|it: char| !it.is_ascii_digit()).parse::<u32>().ok());
    let level = numbers.next()?;
    (numbers.next()? == line).then_some((at, level == 1))
}

/// The lines of a serial line, which are also kept in a file.
fn reader(from: impl Read + Send + 'static, mut log: File) -> Receiver<String> {
    let (tell, told) = channel();
    spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            // Nobody may listen any more; the log is complete all the same.
            let _ = writeln!(log, "{line}");
            let _ = tell.send(line);
        }
    });
    told
}

/// What the emulator says: answers and events.
fn talk(from: UnixStream) -> Receiver<Value> {
    let (tell, told): (Sender<Value>, _) = channel();
    spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let Ok(value) = serde_json::from_str(&line) else { continue };
            if tell.send(value).is_err() {
                return;
            }
        }
    });
    told
}

#[test]
fn a_line_of_the_trace_tells_when_a_pin_changed() {
    let text = "77@1732540000.250000:pl061_set_output /machine/unattached/device[9] setting output 4 to 1";
    assert_eq!(traced(text, 4), Some((Duration::from_millis(1_732_540_000_250), true)));
    assert_eq!(traced(text, 0), None);
}
