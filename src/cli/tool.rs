//! The bring-up tool, with which users try out LEDs and lines: nothing is left changed, however it ends.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::board::LedLocation;
use crate::linux::leds::guarded::GuardedDriver;
use crate::linux::leds::host::{HostPaths, LedHost};
use crate::linux::leds::saved::LockFile;
use crate::linux::leds::{LedError, tool_lock};
use crate::state::{LedLevel, Pattern, Player};

/// The holder's name in the lock files, for other programs.
const HOLDER: &str = "the bring-up tool (boardkeeper led)";

/// How many retries the agent gets to release its LED: it reacts at once, and writes a few files.
const RELEASE_RETRIES: u32 = 25;

/// Time between two of these retries.
const RETRY_AFTER: Duration = Duration::from_millis(120);

/// Which host is meant.
#[derive(Debug, Clone, clap::Args)]
pub struct HostArgs {
    /// The host's root: /sys, /proc and /dev are reached through it
    #[arg(long, env = "BOARDKEEPER_ROOT", default_value = "/", value_name = "DIR")]
    root: PathBuf,
    /// Where LEDs' states are saved. Default: /run/boardkeeper, or a directory of the user's own without write access there
    #[arg(long, env = "BOARDKEEPER_RUNTIME_DIR", value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// The board: a slug such as raspberrypi3, `auto` or `simulated`
    #[arg(long, env = "BOARDKEEPER_BOARD", default_value = "auto", value_name = "BOARD")]
    board: String,
    /// The LED that identifies the board, by path. Default: the board's own
    #[arg(long, env = "LED_FILE", value_name = "FILE")]
    led_file: Option<String>,
}

/// Why the tool stopped early.
#[derive(Debug)]
pub enum ToolStop {
    /// A LED or its driver failed.
    Led(LedError),
    /// A LED failed its test.
    Failed,
    /// It was called in a way that makes no sense. The text says what to do.
    Usage(String),
    /// A signal interrupted it.
    Interrupted,
}

impl From<LedError> for ToolStop {
    fn from(error: LedError) -> Self {
        Self::Led(error)
    }
}

impl ToolStop {
    /// The exit code for scripts.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed | Self::Led(LedError::Failed(_)) => 1,
            Self::Usage(_) | Self::Led(LedError::Guarded(_)) => 2,
            Self::Led(LedError::None(_)) => 3,
            Self::Led(LedError::Permission(_) | LedError::ReadOnly(_)) => 4,
            Self::Led(LedError::Busy(_)) => 5,
            Self::Led(LedError::Vanished(_)) => 6,
            Self::Interrupted => 130,
        }
    }
}

impl fmt::Display for ToolStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Led(error) => write!(f, "{error}"),
            Self::Failed => f.write_str("a LED failed"),
            Self::Usage(why) => f.write_str(why),
            Self::Interrupted => f.write_str("interrupted; everything is restored"),
        }
    }
}

/// The outcome of a command.
pub type ToolResult = Result<(), ToolStop>;

impl HostArgs {
    /// The host with its detected board.
    pub fn host(&self) -> Result<LedHost, ToolStop> {
        let runtime = self.runtime_dir.clone().unwrap_or_else(|| own_runtime_dir(&self.root));
        let place = HostPaths {
            root: self.root.clone(),
            runtime: runtime.clone(),
            board: Some(self.board.clone()).filter(|board| board != "auto"),
            device_type: std::env::var("BALENA_DEVICE_TYPE").or_else(|_| std::env::var("RESIN_DEVICE_TYPE")).ok(),
            led_file: self.led_file.clone(),
        };
        let failed =
            |error: io::Error| ToolStop::Usage(format!("cannot make a simulated board in {}: {error}", runtime.display()));
        LedHost::open(place).map_err(failed)
    }
}

/// The agent's runtime directory, if this user may write there; else one of this user's.
fn own_runtime_dir(root: &std::path::Path) -> PathBuf {
    let agents = root.join("run/boardkeeper");
    let may = |dir: &std::path::Path| rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok();
    if may(&agents) || !agents.exists() && may(&root.join("run")) {
        return agents;
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    own.join("boardkeeper")
}

/// The tool's driver, while the tool lock is held.
pub struct LedTool {
    driver: GuardedDriver,
}

/// What becomes of the changes when the work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// They are restored.
    PutBack,
    /// They stay, and can be restored later.
    Leave,
}

impl LedTool {
    /// Runs `work` until it is done or a signal interrupts it, then restores everything.
    pub fn work(host: &LedHost, afterwards: OnExit, work: impl AsyncFnOnce(&Self) -> ToolResult) -> ToolResult {
        let bench = Self { driver: GuardedDriver::new(host.driver(HOLDER), |error| complain(error)) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ToolStop::Led(LedError::Failed(format!("cannot begin: {error}"))))?;
        let done = runtime.block_on(async {
            let lock = retry_while_busy(|| LockFile::take(&tool_lock(&host.place.runtime), HOLDER)).await?;
            let done = tokio::select! {
                biased;
                () = interrupted() => Err(ToolStop::Interrupted),
                done = work(&bench) => done,
            };
            let put = bench.driver.with(|driver| match afterwards {
                OnExit::Leave if done.is_ok() => driver.leave_all(),
                OnExit::Leave | OnExit::PutBack => driver.release_all(),
            });
            drop(lock);
            done.and(put.map_err(ToolStop::from))
        });
        // A thread may still be waiting for the user's answer; the tool does not wait for it.
        runtime.shutdown_background();
        done
    }

    /// Lights or darkens a LED.
    pub async fn hold(&self, location: &LedLocation, level: LedLevel) -> Result<(), LedError> {
        retry_while_busy(|| self.driver.with(|driver| driver.hold(location, level))).await
    }

    /// Begins a pattern.
    pub async fn play(&self, location: &LedLocation, pattern: &Pattern, rounds: Option<u32>) -> Result<Player, LedError> {
        retry_while_busy(|| self.driver.with(|driver| driver.play(location, pattern, rounds))).await
    }

    /// Lights or darkens a LED of which the agent's code is the player.
    pub fn set(&self, location: &LedLocation, level: LedLevel) -> Result<(), LedError> {
        self.driver.with(|driver| driver.set(location, level))
    }

    /// Restores a LED.
    pub fn release(&self, location: &LedLocation) -> Result<(), LedError> {
        self.driver.with(|driver| driver.release(location)).map(drop)
    }

    /// Plays a pattern for this long; without a length, until interrupted.
    pub async fn blink(&self, location: &LedLocation, pattern: &Pattern, length: Option<Duration>) -> Result<(), LedError> {
        let player = self.play(location, pattern, length.map(|length| pattern.rounds_in(length))).await?;
        let begun = tokio::time::Instant::now();
        let over = length.map(|length| begun + length);
        loop {
            let now = begun.elapsed();
            let (level, change) = pattern.at(now);
            if player == Player::Agent {
                self.set(location, level)?;
            }
            let next = if player == Player::Agent { Some(begun + change) } else { None };
            match [next, over].into_iter().flatten().min() {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
            if over.is_some_and(|over| over <= tokio::time::Instant::now()) {
                return Ok(());
            }
        }
    }
}

/// Retries while another program holds the LED: the agent releases it as soon as it sees the tool's lock.
async fn retry_while_busy<T>(mut action: impl FnMut() -> Result<T, LedError>) -> Result<T, LedError> {
    for _ in 0..RELEASE_RETRIES {
        match action() {
            Err(LedError::Busy(_)) => sleep(RETRY_AFTER).await,
            done => return done,
        }
    }
    action()
}

/// Waits for SIGINT, SIGTERM or SIGHUP.
pub async fn interrupted() {
    let wait = async |kind: SignalKind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        biased;
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::hangup()) => {}
    }
}

/// Reports the outcome: to users in a line, to scripts by the exit code.
pub fn exit(done: ToolResult) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            complain(&stop);
            ExitCode::from(stop.code())
        }
    }
}

/// Writes a line for users to standard error.
pub fn complain(what: &dyn fmt::Display) {
    // If standard error is closed, there is nowhere left to report that.
    let _ = writeln!(io::stderr(), "boardkeeper: {what}");
}

/// Writes to standard output. A reader that has left is no error: the changes must still be restored.
pub fn say(text: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Parses a time: `15s`, `250ms`, `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time like 15s, 250ms or 2m");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" | "" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::leds::host::SIMULATED;

    #[test]
    fn a_panic_puts_everything_back_before_the_process_can_end() {
        let runtime = tempfile::tempdir().expect("a directory");
        let place = HostPaths {
            root: "/".into(),
            runtime: runtime.path().to_owned(),
            board: Some(SIMULATED.into()),
            device_type: None,
            led_file: None,
        };
        let host = LedHost::open(place).expect("a simulated board");
        let location = host.items()[0].location.clone();
        let LedLocation::Class { dir, .. } = &location else { unreachable!("it has a LED of the LED class") };
        let trigger = || host.class(dir).look().map(|now| now.trigger);
        let was = trigger();
        let driver = GuardedDriver::new(host.driver(HOLDER), |error| complain(error));
        driver.with(|it| it.hold(&location, LedLevel::Lit)).expect("it can be lit");
        assert_ne!(trigger(), was);
        let fell = std::panic::catch_unwind(|| unreachable!("a defect, as this test wants one"));
        assert!(fell.is_err());
        // The driver has not been dropped, as where a panic ends the process without unwinding.
        assert_eq!(trigger(), was);
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("ms").is_err() && duration("1h").is_err() && duration("-1s").is_err() && duration("").is_err());
    }
}
