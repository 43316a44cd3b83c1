//! A board from its first boot to a power cut: everything that needs a real kernel with LEDs, GPIO lines and a device tree.
//!
//! The board runs Debian with our package installed, started by its unit, as its own user. A LED is observed from outside, at
//! the pin. The observations are added to `target/boards.txt`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::budget::hold;
use crate::emulator::{Board, Clock, Edge, End, Pin};

/// An identify lasts so long.
const IDENTIFY: Duration = Duration::from_secs(15);
/// What an update of three services may take where a processor is emulated.
const SETTLES: Duration = Duration::from_secs(600);
/// A pulse of identify is 200 ms; the kernel counts in its own ticks, and the emulator gets its turn when it gets it.
const PULSE: std::ops::RangeInclusive<u128> = 140..=330;

/// From one to the next they are 400 ms, or 408 where the kernel plays them with 250 ticks a second.
const PERIOD: std::ops::RangeInclusive<u128> = 330..=560;
/// A new trigger's files are the agent's once udev has handed them over. The agent waits so long for that, and it is dark
/// meanwhile.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long after its start the agent is idle there, and its idle threads have ended.
const SETTLING: Duration = Duration::from_secs(30);
/// The end is not more exact than this, where a processor is emulated.
const TICK: Duration = Duration::from_millis(400);
/// What it may take a slow board to be asked, and us to see the last of it.
const ASKING: Duration = Duration::from_secs(10);

/// When it was lit, and for how many milliseconds.
type Pulse = (Duration, u128);

/// What a board is.
struct Kind {
    /// As tests/lab/board.sh knows it.
    name: &'static str,
    arch: &'static str,
    /// As `boards/` knows it.
    id: &'static str,
    /// The LED to identify it by, as the kernel calls it.
    led: &'static str,
    /// Where that LED hangs.
    pin: Pin,
    /// A line that no driver holds: its chip and offset, and where it is seen.
    free: (&'static str, u32, Pin),
    /// An engine is on it, and the power is cut so many seconds into an update of its own each.
    cuts: &'static [(&'static str, u64)],
}

impl Kind {
    fn has_an_engine(&self) -> bool {
        !self.cuts.is_empty()
    }
}

const RASPBERRY_PI_4: Kind = Kind {
    name: "raspberry-pi-4",
    arch: "arm64",
    id: "raspberry-pi-4-model-b",
    led: "ACT",
    pin: Pin::Traced(0),
    free: ("gpiochip0", 5, Pin::Traced(5)),
    cuts: &[("second", 5)],
};

const BEAGLEBONE_BLACK: Kind = Kind {
    name: "beaglebone-black",
    arch: "armhf",
    id: "beaglebone-black",
    led: "beaglebone:green:usr3",
    pin: Pin::Traced(4),
    free: ("gpiochip0", 5, Pin::Traced(5)),
    cuts: &[("second", 5)],
};

const RASPBERRY_PI_2: Kind = Kind {
    name: "raspberry-pi-2",
    arch: "armhf",
    id: "raspberry-pi-2-model-b",
    led: "ACT",
    pin: Pin::Broadcom(47, 1, Clock::Ours),
    free: ("gpiochip0", 20, Pin::Broadcom(20, 1, Clock::Ours)),
    cuts: &[],
};

const RASPBERRY_PI_ZERO_2_W: Kind = Kind {
    name: "raspberry-pi-zero-2-w",
    arch: "arm64",
    id: "raspberry-pi-zero-2-w",
    led: "ACT",
    pin: Pin::Broadcom(29, 0, Clock::Ours),
    free: ("gpiochip0", 20, Pin::Broadcom(20, 1, Clock::Ours)),
    cuts: &[],
};

const RASPBERRY_PI_ZERO: Kind = Kind {
    name: "raspberry-pi-zero",
    arch: "armel",
    id: "raspberry-pi-zero",
    led: "ACT",
    pin: Pin::Broadcom(47, 1, Clock::Own),
    free: ("gpiochip0", 20, Pin::Broadcom(20, 1, Clock::Own)),
    cuts: &[],
};

const RASPBERRY_PI_4_ITSELF: Kind = Kind {
    name: "raspberry-pi-4-itself",
    arch: "arm64",
    id: "raspberry-pi-4-model-b",
    led: "ACT",
    pin: Pin::Broadcom(42, 1, Clock::Ours),
    free: ("gpiochip0", 20, Pin::Broadcom(20, 1, Clock::Ours)),
    cuts: &[],
};

#[test]
#[ignore = "needs `make boards`"]
fn a_raspberry_pi_4_has_a_good_day() {
    has_a_good_day(&RASPBERRY_PI_4);
}

#[test]
#[ignore = "needs `make boards`"]
fn a_beaglebone_black_has_a_good_day() {
    has_a_good_day(&BEAGLEBONE_BLACK);
}

#[test]
#[ignore = "needs `make boards`"]
fn a_raspberry_pi_2_has_a_good_day() {
    has_a_good_day(&RASPBERRY_PI_2);
}

#[test]
#[ignore = "needs `make boards`"]
fn a_raspberry_pi_zero_2_w_has_a_good_day() {
    has_a_good_day(&RASPBERRY_PI_ZERO_2_W);
}

#[test]
#[ignore = "needs `make boards`"]
fn a_raspberry_pi_zero_has_a_good_day() {
    has_a_good_day(&RASPBERRY_PI_ZERO);
}

#[test]
#[ignore = "needs `make boards`"]
fn a_raspberry_pi_4_itself_has_a_good_day() {
    has_a_good_day(&RASPBERRY_PI_4_ITSELF);
}

fn has_a_good_day(kind: &Kind) {
    let mut board = Board::made(kind.name, kind.arch);
    let boot = board.boot();
    let mut day = Day { kind, board, row: format!("{:<22} {:>4} s", kind.name, boot.as_secs()) };
    day.the_agent_is_started_by_its_unit();
    day.the_agent_costs_little();
    day.the_board_is_recognised();
    day.identify_blinks_the_led_with_the_kernels_pattern();
    day.identify_blinks_the_led_by_itself();
    day.what_was_changed_is_put_back_after_a_kill();
    day.a_line_blinks();
    if kind.has_an_engine() {
        day.an_app_runs();
    }
    day.a_reboot_reboots();
    day.the_power_is_cut();
    day.a_shutdown_powers_off();
}

struct Day<'a> {
    kind: &'a Kind,
    board: Board,
    /// What is kept of it.
    row: String,
}

impl Day<'_> {
    fn the_agent_is_started_by_its_unit(&mut self) {
        self.waits_until_the_agent_answers();
        assert_eq!(
            self.board.run("systemctl show boardkeeper -p User -p NRestarts -p ActiveState"),
            "NRestarts=0\nUser=boardkeeper\nActiveState=active"
        );
        let kernel = self.board.run("uname -sr");
        write!(self.row, "  {kernel:<28}").unwrap();
    }

    /// How long it takes from exec to ready once its file is in memory, and what it then takes of the memory.
    fn the_agent_costs_little(&mut self) {
        self.board.run("systemctl restart boardkeeper");
        self.waits_until_the_agent_answers();
        sleep(SETTLING);
        let mut number = |command: &str| -> u64 { self.board.run(command).parse().unwrap() };
        let [begun, ready] = ["ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"]
            .map(|it| Duration::from_micros(number(&format!("systemctl show boardkeeper -p {it} --value"))));
        let memory = "/proc/$(systemctl show boardkeeper -p MainPID --value)/smaps_rollup";
        let pss = number(&format!("awk '/^Pss:/ {{ print $2 }}' {memory}"));
        write!(self.row, "  {:>5} ms {pss:>6} KiB", ready.saturating_sub(begun).as_millis()).unwrap();
        hold("kib_pss_on_a_board", pss);
    }

    fn the_board_is_recognised(&mut self) {
        let said = self.board.run("boardkeeper board --json");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["id"], self.kind.id, "{said:#}");
        assert!(said["identify"].to_string().contains(self.kind.led), "{said:#}");
    }

    /// As its device tree has it, and with the triggers that our package sees to: the kernel of Debian loads none by itself.
    fn identify_blinks_the_led_with_the_kernels_pattern(&mut self) {
        let before = self.led();
        let (blinks, player) = self.identify();
        assert!(player.contains("[pattern]"), "{player}");
        write!(self.row, "  {blinks}").unwrap();
        assert_eq!(self.led(), before);
    }

    fn identify_blinks_the_led_by_itself(&mut self) {
        self.board.run("modprobe -r ledtrig-pattern ledtrig-timer");
        self.board.run(&format!("cd /sys/class/leds/{} && echo none > trigger && echo 1 > brightness", self.kind.led));
        let before = self.led();
        assert!(before.contains("[none]") && before.contains("brightness:1"), "{before}");
        let (blinks, player) = self.identify();
        assert!(player.contains("[none]"), "{player}");
        write!(self.row, ", {blinks}").unwrap();
        assert_eq!(self.led(), before);
        self.board.run("modprobe -a ledtrig-pattern ledtrig-timer");
    }

    fn what_was_changed_is_put_back_after_a_kill(&mut self) {
        self.board.run(&format!(
            "cd /sys/class/leds/{} && echo timer > trigger && echo 700 > delay_on && echo 300 > delay_off",
            self.kind.led
        ));
        let before = self.led();
        assert!(before.contains("[timer]") && before.contains("delay_on:700") && before.contains("delay_off:300"), "{before}");
        self.post("/v1/blink");
        let end = Instant::now() + IDENTIFY;
        while self.led() == before {
            assert!(Instant::now() < end, "it does not blink");
        }
        self.board.run("systemctl kill --signal=KILL boardkeeper");
        let end = Instant::now() + Duration::from_secs(120);
        while self.led() != before {
            assert!(Instant::now() < end, "it was not put back: {}", self.led());
            sleep(Duration::from_secs(1));
        }
        self.waits_until_the_agent_answers();
        assert_eq!(self.board.run("systemctl show boardkeeper -p NRestarts --value"), "1");
        assert_eq!(self.led(), before);
        write!(self.row, "  put back").unwrap();
    }

    /// A line of the character device that no LED of the kernel's hangs on.
    fn a_line_blinks(&mut self) {
        let (chip, line, pin) = self.kind.free;
        let blink = format!("timeout 60 boardkeeper gpio blink {chip} {line} --pattern 200,200 --for 6s");
        let (edges, said) = self.board.watch(pin, Duration::from_secs(6) + ASKING, &blink);
        let pulses = pulses(&edges);
        assert!((13..=16).contains(&pulses.len()), "{} pulses: {edges:?}\n{said}", pulses.len());
        write!(self.row, "  {:>2}", pulses.len()).unwrap();
    }

    fn an_app_runs(&mut self) {
        self.board.run("docker load < /opt/app.tar");
        self.wants("first");
        self.settles("first");
    }

    fn a_reboot_reboots(&mut self) {
        let before = (self.key(), self.containers());
        let boot = self.board.run("cat /proc/sys/kernel/random/boot_id");
        self.asks_for("/v1/reboot");
        assert_eq!(self.board.ends(), End::Reboot);
        let took = self.board.boot();
        self.waits_until_the_agent_answers();
        assert_ne!(self.board.run("cat /proc/sys/kernel/random/boot_id"), boot);
        if self.kind.has_an_engine() {
            self.settles("first");
        }
        assert_eq!((self.key(), self.containers()), before);
        write!(self.row, "  {:>4} s", took.as_secs()).unwrap();
    }

    /// While an update replaces three containers, or, where there is no engine, while the LED blinks.
    fn the_power_is_cut(&mut self) {
        let key = self.key();
        let mut cuts = 0;
        if self.kind.has_an_engine() {
            for (release, wait) in self.kind.cuts {
                self.wants(release);
                sleep(Duration::from_secs(*wait));
                self.board.cut();
                self.board.boot();
                self.waits_until_the_agent_answers();
                assert_eq!(self.key(), key);
                self.settles(release);
                cuts += 1;
            }
        } else {
            self.post("/v1/blink");
            sleep(Duration::from_secs(3));
            self.board.cut();
            self.board.boot();
            self.waits_until_the_agent_answers();
            assert_eq!(self.key(), key);
            cuts += 1;
        }
        write!(self.row, "  {cuts} survived").unwrap();
    }

    fn a_shutdown_powers_off(&mut self) {
        self.asks_for("/v1/shutdown");
        assert_eq!(self.board.ends(), End::Off);
        write!(self.row, "  off").unwrap();
    }

    // --- what is done and seen ---

    /// Asks for it, and counts at the pin. Says how many blinks there were and how long each was, and which trigger the LED
    /// had.
    ///
    /// An emulator that got no turn for a while leaves a hole, and is asked again; a whole one has to be seen.
    fn identify(&mut self) -> (String, String) {
        for _ in 0..3 {
            match self.identify_once() {
                Ok(seen) => return seen,
                Err(edges) => eprintln!("not whole: {edges:?}"),
            }
        }
        panic!("no identify is whole; is this machine busy? An emulator needs its turns");
    }

    fn identify_once(&mut self) -> Result<(String, String), Vec<Edge>> {
        let led = self.kind.led;
        let command = format!("{}; sleep 3; cat /sys/class/leds/{led}/trigger", posts("/v1/blink"));
        let (edges, said) = self.board.watch(self.kind.pin, IDENTIFY + ASKING, &command);
        // On a slow board it may not be sure yet.
        assert!(said.contains(&format!("identify-led: {led}")) || said.contains("has not answered within a second"), "{said}");
        // None is left out between the first and the last; what else blinks now and then for so long is the LED's own trigger.
        let pulses = pulses(&edges);
        let blinks = pulses.chunk_by(|one, next| PERIOD.contains(&next.0.saturating_sub(one.0).as_millis()));
        let blinks = blinks.max_by_key(|it| it.len()).unwrap_or_default();
        let (first, last) = (blinks.first().expect("it blinks").0, blinks.last().expect("it blinks"));
        let length = last.0.saturating_sub(first) + Duration::from_millis(u64::try_from(last.1).unwrap());
        if length <= IDENTIFY.saturating_sub(HAND_OVER) || length > IDENTIFY + TICK {
            return Err(edges);
        }
        let count = blinks.len();
        let lit = blinks.iter().map(|it| it.1).sum::<u128>() / count as u128;
        let player = said.lines().last().unwrap_or_default().to_owned();
        Ok((format!("{count} of {lit} ms in {:.1} s", length.as_secs_f32()), player))
    }

    /// The LED's trigger, the trigger's settings, and its brightness where no trigger has it.
    fn led(&mut self) -> String {
        let led = self.kind.led;
        self.board.run(&format!(
            "cd /sys/class/leds/{led} && cat trigger && for it in *; do case $it in brightness) grep -q '\\[none\\]' trigger && echo $it:$(cat $it);; \
             trigger | uevent | max_brightness) ;; *) [ ! -f $it ] || echo $it:$(cat $it);; esac; done; true"
        ))
    }

    fn key(&mut self) -> String {
        self.board.run("boardkeeper key")
    }

    /// What is answered, head and body.
    fn post(&mut self, path: &str) -> String {
        let (code, said) = self.try_post(path);
        assert_eq!(code, 0, "{path}: {said}");
        said
    }

    fn try_post(&mut self, path: &str) -> (i32, String) {
        self.board.shell(&posts(path))
    }

    /// A reboot or a shutdown. The first is decided by a polkit that has yet to start, which takes longer here than the agent
    /// waits for logind; it says so, and is asked again.
    fn asks_for(&mut self, path: &str) {
        for _ in 0..5 {
            let (code, said) = self.try_post(path);
            if code == 0 {
                return;
            }
            let polkit = "systemctl status --no-pager polkit systemd-logind | cat; journalctl --no-pager -n 20 -u polkit -u systemd-logind";
            eprintln!("{path} is refused: {said}\n{}", self.board.shell(polkit).1);
            assert!(said.contains("did not answer for"), "{said}");
            sleep(Duration::from_secs(10));
        }
        panic!("{path} is refused for good");
    }

    fn waits_until_the_agent_answers(&mut self) {
        let end = Instant::now() + Duration::from_secs(300);
        while self.board.shell("curl -s -f -m 20 http://127.0.0.1:48484/ping?apikey=$(boardkeeper key)").0 != 0 {
            let log = "journalctl --no-pager -n 40 -u boardkeeper; systemctl status --no-pager boardkeeper";
            assert!(Instant::now() < end, "the agent does not answer: {}", self.board.shell(log).1);
            sleep(Duration::from_secs(1));
        }
    }

    /// Three services of one app, each of this release.
    fn wants(&mut self, release: &str) {
        let service = |name: &str| {
            json!({"imageId": 1, "serviceName": name, "image": "tests/busybox:1", "running": true, "command": ["stay"],
                "environment": {"RELEASE": release}, "labels": {}})
        };
        let services = json!({"1": service("one"), "2": service("two"), "3": service("three")});
        let app =
            json!({"name": "app", "commit": release, "releaseId": 1, "services": services, "networks": {}, "volumes": {}});
        let target = json!({"local": {"name": "d", "config": {}, "apps": {"1": app}}});
        self.board
            .run(&format!("echo '{target}' > /etc/boardkeeper/.new && mv /etc/boardkeeper/.new /etc/boardkeeper/target.json"));
    }

    /// Until all three run, and are of this release, and there is nothing else.
    fn settles(&mut self, release: &str) {
        let end = Instant::now() + SETTLES;
        let each = "docker ps -aq | xargs -r docker inspect -f '{{.State.Running}} {{.Config.Env}}' | grep -c";
        loop {
            let all: usize = self.board.run("docker ps -aq | wc -l").parse().unwrap();
            let right = self.board.shell(&format!("{each} 'true .*RELEASE={release}'")).1;
            if all == 3 && right == "3" {
                break;
            }
            let state = || "boardkeeper state; docker ps -a; journalctl --no-pager -n 40 -u boardkeeper";
            assert!(Instant::now() < end, "it did not settle: {}", self.board.shell(state()).1);
            sleep(Duration::from_secs(2));
        }
    }

    /// The ids of what runs.
    fn containers(&mut self) -> String {
        if self.kind.has_an_engine() { self.board.run("docker ps -q --no-trunc | sort") } else { String::new() }
    }
}

/// A command that asks the agent for something and prints what is answered, head and body.
fn posts(path: &str) -> String {
    let post = "curl -s -i --fail-with-body -m 120 -X POST -H \"Authorization: Bearer $(boardkeeper key)\"";
    format!("{post} http://127.0.0.1:48484{path}")
}

impl Drop for Day<'_> {
    /// What was seen is kept, however far it came.
    fn drop(&mut self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/boards.txt");
        let end = if std::thread::panicking() { "  FAILED HERE" } else { "" };
        let kept = fs::File::options().create(true).append(true).open(path);
        // The test says it too.
        let _ = kept.and_then(|mut kept| writeln!(kept, "{}{end}", self.row));
    }
}

/// The pulses of identify among other changes of a pin, when each began and how many milliseconds it was: each is lit for
/// about as long as it should be.
fn pulses(edges: &[Edge]) -> Vec<Pulse> {
    let lit =
        edges.windows(2).filter(|it| it[0].1 && !it[1].1).map(|it| (it[0].0, it[1].0.saturating_sub(it[0].0).as_millis()));
    lit.filter(|it| PULSE.contains(&it.1)).collect()
}
