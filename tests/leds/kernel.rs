//! A kernel's LED class in memory, that can fail at any write.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use boardkeeper::linux::leds::files::LedFiles;
use boardkeeper::linux::leds::simulated::SimulatedLed;
use rustix::io::Errno;

/// What happens at the chosen write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed just before it.
    KilledBefore,
    /// The process is killed just after it.
    KilledAfter,
    /// It fails, and the next one does not.
    Fails(Errno),
    /// The LEDs are unplugged before it.
    Unplugged,
}

#[derive(Debug, Default)]
struct State {
    leds: BTreeMap<PathBuf, SimulatedLed>,
    kept: BTreeMap<PathBuf, String>,
    now_ms: u64,
    writes: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
    read_only: bool,
    /// For that many tries the settings of a new trigger belong to root only.
    late: u32,
    /// How many of them are left.
    not_yet: u32,
}

/// Shared by the driver under test and the test.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    state: Mutex<State>,
}

impl Kernel {
    /// Plugs a LED in.
    pub(crate) fn plug(&self, dir: &Path, led: SimulatedLed) {
        self.state.lock().unwrap().leds.insert(dir.to_owned(), led);
    }

    /// The LED as it is.
    pub(crate) fn led(&self, dir: &Path) -> SimulatedLed {
        self.state.lock().unwrap().leds[dir].clone()
    }

    /// Another program writes an attribute.
    pub(crate) fn poke(&self, dir: &Path, name: &str, text: &str) {
        let mut state = self.state.lock().unwrap();
        let now = state.now_ms;
        state.leds.get_mut(dir).unwrap().write(name, text, now).unwrap();
    }

    /// Lets this happen at the n-th write from now.
    pub(crate) fn fault_at(&self, n: u64, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        state.fault = Some((state.writes + n, fault));
    }

    /// Kills the process now: nothing it does from now on has any effect.
    pub(crate) fn kill(&self) {
        self.state.lock().unwrap().dead = true;
    }

    /// A new process, and no faults.
    pub(crate) fn start_anew(&self) {
        let mut state = self.state.lock().unwrap();
        state.dead = false;
        state.fault = None;
    }

    /// Mounts everything read-only.
    pub(crate) fn read_only(&self) {
        self.state.lock().unwrap().read_only = true;
    }

    /// From now on, the settings of a new trigger may not be written for so many tries.
    pub(crate) fn hands_over_after(&self, tries: u32) {
        self.state.lock().unwrap().late = tries;
    }

    /// Records that are kept now.
    pub(crate) fn records(&self) -> usize {
        self.state.lock().unwrap().kept.len()
    }

    fn change(&self, action: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let killed = || io::Error::other("killed");
        if state.dead {
            return Err(killed());
        }
        state.writes += 1;
        // Time passes, so that a pattern may end and a timer be in either half.
        state.now_ms += 7;
        let (nth, fault) = state.fault.unwrap_or((0, Fault::KilledBefore));
        if nth != state.writes {
            return action(&mut state);
        }
        match fault {
            Fault::KilledBefore => state.dead = true,
            Fault::KilledAfter => {
                action(&mut state)?;
                state.dead = true;
            }
            Fault::Fails(errno) => return Err(errno.into()),
            Fault::Unplugged => {
                state.leds.clear();
                return action(&mut state);
            }
        }
        Err(killed())
    }
}

fn split(path: &Path) -> (&Path, &str) {
    (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap())
}

impl LedFiles for Kernel {
    fn read(&self, path: &Path) -> io::Result<String> {
        let state = self.state.lock().unwrap();
        if state.dead {
            return Err(io::Error::other("killed"));
        }
        let (dir, name) = split(path);
        match (state.leds.get(dir), state.kept.get(path)) {
            (Some(led), _) => led.read(name, state.now_ms),
            (None, Some(text)) => Ok(text.clone()),
            (None, None) => Err(Errno::NOENT.into()),
        }
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        self.change(|state| {
            let (dir, name) = split(path);
            if state.read_only {
                return Err(Errno::ROFS.into());
            }
            match name {
                "trigger" => state.not_yet = state.late,
                "brightness" => {}
                _ if state.not_yet > 0 => {
                    state.not_yet -= 1;
                    return Err(Errno::ACCESS.into());
                }
                _ => {}
            }
            let now = state.now_ms;
            state.leds.get_mut(dir).ok_or(Errno::NOENT)?.write(name, text, now)
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock().unwrap();
        if state.dead {
            return Err(io::Error::other("killed"));
        }
        if let Some(led) = state.leds.get(dir) {
            return Ok(led.names());
        }
        let kept = state.kept.keys().filter(|path| path.parent() == Some(dir));
        let kept: Vec<String> = kept.map(|path| split(path).1.to_owned()).collect();
        if kept.is_empty() { Err(Errno::NOENT.into()) } else { Ok(kept) }
    }

    fn keep(&self, path: &Path, text: &str) -> io::Result<()> {
        self.change(|state| {
            state.kept.insert(path.to_owned(), text.to_owned());
            Ok(())
        })
    }

    fn forget(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.kept.remove(path);
            Ok(())
        })
    }
}
