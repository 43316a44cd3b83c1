//! LEDs of the kernel's LED class that report the brightness written to them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use boardkeeper::linux::leds::class::parse_triggers;
use rustix::fs::OFlags;

use crate::{flavour, millis};

/// How often we look: a change is seen that much late.
const LOOK: Duration = millis(3);

/// A LED that is plugged in for as long as this lives.
pub(crate) struct Led {
    pub(crate) name: String,
    changes: Arc<Mutex<Vec<(Instant, i32)>>>,
    unplugged: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

/// All that can be put back of a LED.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) trigger: String,
    settings: BTreeMap<String, String>,
    /// Under a trigger it is that of the moment.
    brightness: Option<String>,
}

/// How a LED blinked.
#[derive(Debug, Default)]
pub(crate) struct Blinks {
    /// How often it was lit.
    pub(crate) lit: usize,
    /// How bright it was then.
    pub(crate) levels: Vec<i32>,
    /// How long each level lasted, but for the last.
    pub(crate) lasted: Vec<(i32, Duration)>,
    /// How long it was from the first change to the last.
    pub(crate) whole: Duration,
}

impl Led {
    pub(crate) fn plug(name: &str, max: i32) -> Self {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let mut file = File::options().read(true).write(true).custom_flags(flags).open("/dev/uleds").unwrap();
        let mut wanted = [0; 68];
        wanted[..name.len()].copy_from_slice(name.as_bytes());
        wanted[64..].copy_from_slice(&max.to_ne_bytes());
        file.write_all(&wanted).unwrap();
        let (changes, unplugged) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (seen, stop) = (Arc::clone(&changes), Arc::clone(&unplugged));
        let reader = spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let mut value = [0; 4];
                match file.read(&mut value) {
                    Ok(4) => seen.lock().unwrap().push((Instant::now(), i32::from_ne_bytes(value))),
                    Ok(other) => panic!("{other} bytes of a brightness"),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(LOOK),
                    Err(error) => panic!("{error}"),
                }
            }
        });
        Self { name: name.to_owned(), changes, unplugged, reader: Some(reader) }
    }

    fn path(&self, attribute: &str) -> PathBuf {
        PathBuf::from("/sys/class/leds").join(&self.name).join(attribute)
    }

    pub(crate) fn read(&self, attribute: &str) -> String {
        // In one read: the kernel writes the text anew for each.
        let mut bytes = [0; 4096];
        let length = File::open(self.path(attribute)).unwrap().read(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap().trim_end().to_owned()
    }

    pub(crate) fn write(&self, attribute: &str, text: &str) {
        fs::write(self.path(attribute), text).unwrap_or_else(|error| panic!("{text} to {attribute}: {error}"));
    }

    /// Whether the kernel has this trigger for it.
    pub(crate) fn knows(&self, trigger: &str) -> bool {
        parse_triggers(&self.read("trigger")).0.iter().any(|it| it == trigger)
    }

    pub(crate) fn trigger(&self) -> String {
        parse_triggers(&self.read("trigger")).1
    }

    pub(crate) fn state(&self) -> State {
        let trigger = self.trigger();
        let files = fs::read_dir(self.path("")).unwrap().flatten().filter(|it| it.file_type().unwrap().is_file());
        let names = files.map(|it| it.file_name().into_string().unwrap());
        let own = ["brightness", "max_brightness", "trigger", "uevent"];
        let settings = names.filter(|name| !own.contains(&name.as_str()));
        // Some can only be written.
        let settings = settings.filter_map(|name| Some((name.clone(), fs::read_to_string(self.path(&name)).ok()?)));
        State { settings: settings.collect(), brightness: (trigger == "none").then(|| self.read("brightness")), trigger }
    }

    /// How it has blinked since then.
    pub(crate) fn blinks(&self, since: Instant) -> Blinks {
        let mut blinks = Blinks::default();
        let changes = self.changes.lock().unwrap();
        let mut last: Option<(Instant, i32)> = None;
        let mut first = None;
        for (at, level) in changes.iter().copied().filter(|(at, _)| *at >= since) {
            match last {
                // The kernel tells of a level again when its trigger is changed.
                Some((_, before)) if before == level => continue,
                Some((then, before)) => blinks.lasted.push((before, at - then)),
                None if level == 0 => continue,
                None => {}
            }
            if level != 0 {
                blinks.lit += 1;
                blinks.levels.push(level);
            }
            blinks.whole = at - *first.get_or_insert(at);
            last = Some((at, level));
        }
        blinks
    }

    pub(crate) fn unplug(mut self) {
        self.pull();
    }

    fn pull(&mut self) {
        self.unplugged.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        self.pull();
    }
}

impl Blinks {
    /// Checks how often it was lit, how bright, and how long it was lit and dark each time.
    pub(crate) fn check(&self, lit: std::ops::RangeInclusive<usize>, max: i32, (on, off): (Duration, Duration)) {
        // What it showed before and was cut off is none of ours.
        let cut_off = self.lasted.first().is_some_and(|(level, took)| *level != 0 && *took < on / 2);
        let times = self.lit - usize::from(cut_off);
        assert!(lit.contains(&times), "it was lit {times} times: {self:?}");
        // So may the first light be.
        assert!(self.levels.iter().skip(1).all(|level| *level == max), "{:?}", self.levels);
        // The first two may be what it showed before and was cut off; the last ends when the agent restores the LED.
        let steps = &self.lasted[2..self.lasted.len() - 1];
        // The kernel counts in jiffies of 4 ms. In software a change waits for its turn, and the step after it is that much
        // shorter.
        let (early, late) = if flavour() == "sysfs" { (millis(25), millis(25)) } else { (LOOK, LOOK + millis(12)) };
        let right = |took: Duration, step: Duration| took + early >= step && took <= step + late;
        let wrong: Vec<_> = steps.iter().filter(|(level, took)| !right(*took, if *level == 0 { off } else { on })).collect();
        assert!(wrong.is_empty(), "it is lit {on:?} and dark {off:?}: {wrong:?} of {:?}", self.lasted);
    }
}
