//! What blinking costs the agent: the number of its wake-ups, and its processor time.

use std::fs;
use std::thread::sleep;

use crate::agent::Agent;
use crate::uleds::Led;
use crate::{flavour, secs};

/// How long each is measured, in seconds. A round of the pattern takes 400 ms.
const MEASURED_SECS: u32 = 600;

struct Cost {
    wake_ups_per_sec: f64,
    cpu_ms_per_sec: f64,
}

/// What a process costs from now on.
fn measure(pid: u32) -> Cost {
    let (woken, ran) = (wake_ups(pid), cpu_ticks(pid));
    sleep(secs(MEASURED_SECS.into()));
    let per_sec = |n: u64| f64::from(u32::try_from(n).unwrap()) / f64::from(MEASURED_SECS);
    // A tick is a hundredth of a second.
    Cost { wake_ups_per_sec: per_sec(wake_ups(pid) - woken), cpu_ms_per_sec: per_sec((cpu_ticks(pid) - ran) * 10) }
}

/// How often its threads went to sleep, which is how often they were woken.
fn wake_ups(pid: u32) -> u64 {
    let of = |status: String| {
        let line = status.lines().find(|it| it.starts_with("voluntary_ctxt_switches:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    threads.map(|it| of(fs::read_to_string(it.path().join("status")).unwrap())).sum()
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // The fourteenth and fifteenth of all: in user space, and in the kernel for it.
    after_name[11].parse::<u64>().unwrap() + after_name[12].parse::<u64>().unwrap()
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn the_kernel_blinks_without_the_agent_and_in_software_each_change_is_one_wake_up() {
    let led = Led::plug("cost", 1);
    let agent = Agent::of(&led.name);
    sleep(secs(60));
    let idle = measure(agent.pid());
    let held = agent.ask("POST", "/agent/v1/leds/identify/pattern", "{\"pattern\": \"200,200\", \"seconds\": 3600}");
    let player = held.json()["player"].as_str().unwrap().to_owned();
    sleep(secs(10));
    let blinking = measure(agent.pid());
    let more = blinking.wake_ups_per_sec - idle.wake_ups_per_sec;
    println!(
        "cost: on the kernel `{}`, trigger {}, played by the {player}: {more:.2} wake-ups a second more than at rest ({:.2}), \
         {:.2} ms of processor a second (at rest {:.2}), at 125 million instructions a second",
        flavour(),
        led.trigger(),
        idle.wake_ups_per_sec,
        blinking.cpu_ms_per_sec,
        idle.cpu_ms_per_sec
    );
    if player == "kernel" {
        // Ten minutes of rest differ from ten others by some hundredths: the agent looks for an engine, at moments of chance.
        assert!(more < 0.2, "the agent sleeps while the kernel blinks: {more}");
    } else {
        assert!(more < 5.5, "each of 5 changes a second wakes it once: {more}");
    }
}
