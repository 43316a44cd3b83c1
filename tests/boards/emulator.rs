//! A board that QEMU emulates: its power switch, its serial line, and its pins as seen from outside.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{sleep, spawn};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::machine::{lab, until};

/// What a boot may take until the serial line answers. On a quiet machine it takes half a minute to two minutes.
const BOOT: Duration = Duration::from_secs(900);
/// What an end may take.
const END: Duration = Duration::from_secs(300);
/// What a command may take.
const COMMAND: Duration = Duration::from_secs(300);

/// A Broadcom chip's devices are within so many bytes of each other.
const DEVICES: u64 = 0x00ff_ffff;
/// Among them its lines.
const GPIO: u32 = 0x20_0000;
/// And the lower half of its timer, which counts microseconds.
const TIMER: u32 = 0x3004;

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
    /// A line of a Broadcom chip, what it is where what hangs on it is lit, and by which clock.
    Broadcom(u32, u32, Clock),
}

/// Whose time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// That of the machine which emulates it.
    Ours,
    /// That of its own timer, which its kernel reads before it does anything.
    Own,
}

/// A change of a pin: when, by some clock, and whether what hangs on it is lit since.
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
        let qemu = &mut self.on.as_mut().expect("it is on").qemu;
        until("the board ends", END, || qemu.try_wait().unwrap().is_some());
        let on = self.on.take().expect("it is on");
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

    /// Tells a shell something, and looks at a pin from then on for so long. What the shell printed is what it has printed in
    /// the end.
    pub(crate) fn watch(&mut self, pin: Pin, length: Duration, command: &str) -> (Vec<Edge>, String) {
        let edges = match pin {
            Pin::Traced(line) => self.traces(length, command).lines().filter_map(|it| traced(it, line)).collect(),
            Pin::Broadcom(line, lit, clock) => written(&self.traces_all(length, clock, command), line, lit, clock),
        };
        (edges, self.answer().1)
    }

    /// What is traced meanwhile.
    fn traces(&mut self, length: Duration, command: &str) -> String {
        let mut trace = File::open(self.dir.join("trace")).unwrap();
        trace.seek(SeekFrom::End(0)).unwrap();
        self.say(command);
        sleep(length);
        let mut text = String::new();
        trace.read_to_string(&mut text).unwrap();
        text
    }

    /// The same with everything that the board's processors write to devices; and what they read of them, where its own clock
    /// counts, which all that slows down.
    fn traces_all(&mut self, length: Duration, clock: Clock, command: &str) -> String {
        let (all, length): (&[&str], _) = match clock {
            Clock::Ours => (&["memory_region_ops_write"], length),
            Clock::Own => (&["memory_region_ops_write", "memory_region_ops_read"], length * 3),
        };
        for name in all {
            self.tell("trace-event-set-state", &json!({"name": name, "enable": true}));
        }
        let text = self.traces(length, command);
        for name in all {
            self.tell("trace-event-set-state", &json!({"name": name, "enable": false}));
        }
        text
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

/// A line such as `12@1700000000.123456:pl061_set_output /machine/gpio setting output 0 to 1`, where it is about this line.
fn traced(text: &str, line: u32) -> Option<Edge> {
    let (stamp, event) = text.split_once(":pl061_set_output ")?;
    let at = stamped(stamp)?;
    let mut numbers =
        event.split_whitespace().rev().filter_map(|it| it.trim_matches(|it: char| !it.is_ascii_digit()).parse::<u32>().ok());
    let level = numbers.next()?;
    (numbers.next()? == line).then_some((at, level == 1))
}

/// What the kernel wrote to the registers that lift and lower a line, in a trace with lines such as
/// `12@1700000000.123456:memory_region_ops_write cpu 0 mr 0x55d0 addr 0x3f20001c value 0x20000000 size 4 name 'bcm2835_gpio'`.
fn written(text: &str, line: u32, lit: u32, clock: Clock) -> Vec<Edge> {
    let register = |first: u32| GPIO + first + 4 * (line / 32);
    let (lifts, lowers) = (register(0x1c), register(0x28));
    let (mut now, mut edges) = (Duration::ZERO, Vec::<Edge>::new());
    for it in text.lines() {
        let Some((event, address, value)) = access(it) else { continue };
        if clock == Clock::Own && event.ends_with("_read") && address == TIMER {
            now = Duration::from_micros(value.into());
        }
        if !event.ends_with("_write") || (address != lifts && address != lowers) || value >> (line % 32) & 1 == 0 {
            continue;
        }
        let is_lit = u32::from(address == lifts) == lit;
        if edges.last().is_none_or(|last| last.1 != is_lit) {
            let at = if clock == Clock::Own { now } else { stamped(event.rsplit_once(':').unwrap().0).unwrap() };
            edges.push((at, is_lit));
        }
    }
    edges
}

/// An access to a device: the event with its stamp, the address within the chip's devices, and the value.
fn access(text: &str) -> Option<(&str, u32, u32)> {
    let mut words = text.split_whitespace();
    let event = words.next()?;
    let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let address = number(words.by_ref().skip_while(|it| *it != "addr").nth(1)?)?;
    let value = number(words.by_ref().skip_while(|it| *it != "value").nth(1)?)?;
    Some((event, u32::try_from(address & DEVICES).ok()?, u32::try_from(value).ok()?))
}

/// The time in a stamp such as `12@1700000000.123456`.
fn stamped(text: &str) -> Option<Duration> {
    text.rsplit_once('@')?.1.parse().ok().map(Duration::from_secs_f64)
}

/// The lines of a serial line, which are also kept in a file.
fn reader(from: impl Read + Send + 'static, mut log: File) -> Receiver<String> {
    let (tell, told) = channel();
    spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            // The receiver may be gone; the log is complete all the same.
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

#[test]
fn what_a_kernel_writes_to_its_registers_tells_too() {
    let text = "7@1732540000.250000:memory_region_ops_read cpu 0 mr 0x5 addr 0x3004 value 0x64 size 4 name 'bcm2835-sys-timer'\n\
        7@1732540000.500000:memory_region_ops_write cpu 0 mr 0x5 addr 0x200020 value 0x8000 size 4 name 'bcm2835_gpio'\n\
        7@1732540000.750000:memory_region_ops_write cpu 0 mr 0x5 addr 0x20002c value 0x8001 size 4 name 'bcm2835_gpio'";
    let micros = |micros| Duration::from_micros(micros);
    assert_eq!(written(text, 47, 1, Clock::Own), [(micros(100), true), (micros(100), false)]);
    assert_eq!(
        written(text, 47, 0, Clock::Ours),
        [(micros(1_732_540_000_500_000), false), (micros(1_732_540_000_750_000), true)]
    );
    assert_eq!(written(text, 32, 1, Clock::Own), [(micros(100), false)]);
}
