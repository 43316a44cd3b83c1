//! `boardkeeper gpio`: tries out lines that no driver has, as safely as LEDs.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::time::{Instant, sleep};

use crate::board::{LedLocation, Polarity};
use crate::cli::tool::{HostArgs, LedTool, OnExit, ToolResult, ToolStop, complain, duration, exit, interrupted, say};
use crate::linux::leds::LedError;
use crate::linux::leds::files::refusal;
use crate::linux::leds::gpio::{Chip, Gpio, HeldLine, LineInfo, LineRequest, by_any_name};
use crate::linux::leds::host::LedHost;
use crate::state::Pattern;

/// Polling interval of the lines.
const EVERY: Duration = Duration::from_millis(50);

/// Blinks and watches GPIO lines that no driver has
#[derive(Debug, Args)]
pub struct GpioArgs {
    #[command(flatten)]
    place: HostArgs,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Drives a line on and off, then restores it
    Blink {
        /// The chip: gpiochip0, /dev/gpiochip0, or the device that owns it
        chip: String,
        /// The line: its number, or its name
        line: String,
        /// Active low: `on` drives the line to ground
        #[arg(long)]
        active_low: bool,
        /// `on,off[xTIMES][,pause]` in milliseconds
        #[arg(long, default_value = "200,200", value_name = "PATTERN")]
        pattern: Pattern,
        /// For how long
        #[arg(long = "for", default_value = "15s", value_parser = duration, value_name = "TIME")]
        length: Duration,
        /// Drive the line even if that does harm on this board
        #[arg(long)]
        force: bool,
    },
    /// Prints the levels and holders of lines at each change. Drives none
    Watch {
        /// The chip: gpiochip0, /dev/gpiochip0, or the device that owns it
        chip: String,
        /// The lines: their numbers, or their names
        #[arg(required = true)]
        lines: Vec<String>,
        /// For how long. Default: until interrupted
        #[arg(long = "for", value_parser = duration, value_name = "TIME")]
        length: Option<Duration>,
    },
}

/// Runs the command, and reports its outcome.
pub fn run(args: GpioArgs) -> ExitCode {
    exit(act(args))
}

fn act(GpioArgs { place, act }: GpioArgs) -> ToolResult {
    let host = place.host()?;
    match act {
        Act::Blink { chip, line, active_low, pattern, length, force } => {
            let (chip, info) = find(&host, &chip, &line)?;
            let polarity = if active_low { Polarity::ActiveLow } else { Polarity::ActiveHigh };
            let location = location(&host, &chip, &info, polarity, force)?;
            complain(&format!("{location}: line {} of {}", info.offset, chip.name));
            LedTool::work(&host, OnExit::PutBack, async |bench| Ok(bench.blink(&location, &pattern, Some(length)).await?))
        }
        Act::Watch { chip, lines, length } => watch(&host, &chip, &lines, length),
    }
}

/// The location of a line that may be driven.
fn location(host: &LedHost, chip: &Chip, info: &LineInfo, polarity: Polarity, force: bool) -> Result<LedLocation, LedError> {
    match host.guard_of_line(&chip.device, info.offset) {
        Some(why) if !force => return Err(LedError::Guarded(format!("{why}; --force drives it all the same"))),
        Some(_) | None => {}
    }
    let device = if chip.device.is_empty() { chip.name.clone() } else { chip.device.clone() };
    Ok(LedLocation::Line { device, label: None, name: info.name.clone(), offset: info.offset, polarity })
}

/// The line that the user named.
fn find(host: &LedHost, chip: &str, line: &str) -> Result<(Chip, LineInfo), LedError> {
    let gpio = host.gpio();
    let chips = gpio.chips().map_err(|error| refusal("list the GPIO chips", &error))?;
    let Some(chip) = by_any_name(&chips, chip) else {
        let names: Vec<&str> = chips.iter().map(|chip| chip.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(LedError::None(format!("there is no GPIO chip `{chip}` here; there is {names}")));
    };
    let ask =
        |offset| gpio.line(chip, offset).map_err(|error| refusal(&format!("read line {offset} of {}", chip.name), &error));
    let info = match line.parse::<u32>() {
        Ok(offset) if offset < chip.lines => ask(offset)?,
        Ok(offset) => {
            return Err(LedError::None(format!(
                "{} has lines 0 to {}, and no {offset}",
                chip.name,
                chip.lines.saturating_sub(1)
            )));
        }
        Err(_) => {
            (0..chip.lines).filter_map(|offset| ask(offset).ok()).find(|info| info.name.as_deref() == Some(line)).ok_or_else(
                || LedError::None(format!("{} has no line `{line}`; `boardkeeper board --lines` lists them", chip.name)),
            )?
        }
    };
    Ok((chip.clone(), info))
}

/// A watched line. One without a holder is requested as it is, which changes neither its direction nor its level.
struct Watched {
    chip: Chip,
    info: LineInfo,
    held: Option<Box<dyn HeldLine>>,
}

impl Watched {
    fn now(&self, gpio: &dyn Gpio) -> String {
        let info = gpio.line(&self.chip, self.info.offset);
        let name = self.info.name.clone().unwrap_or_else(|| self.info.offset.to_string());
        let level = self.held.as_ref().map(|held| held.get().map_or_else(|error| error.to_string(), |volts| volts.to_string()));
        match (info, level) {
            (Err(error), _) => format!("{name} gone ({error})"),
            (Ok(info), Some(level)) => format!("{name} {} {level}", info.direction),
            (Ok(info), None) => {
                format!("{name} {} held by {}", info.direction, info.consumer.as_deref().unwrap_or("an unnamed holder"))
            }
        }
    }
}

fn watch(host: &LedHost, chip: &str, lines: &[String], length: Option<Duration>) -> ToolResult {
    let mut watched = Vec::new();
    for line in lines {
        let (chip, info) = find(host, chip, line)?;
        let held = if info.used { None } else { host.gpio().request(&chip, info.offset, LineRequest::AsIs).ok() };
        watched.push(Watched { chip, info, held });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ToolStop::Led(LedError::Failed(format!("cannot begin: {error}"))))?;
    let show = async {
        let (begun, mut last) = (Instant::now(), String::new());
        while length.is_none_or(|length| begun.elapsed() < length) {
            let now: Vec<String> = watched.iter().map(|line| line.now(host.gpio())).collect();
            let now = now.join("   ");
            if now != last {
                say(&format!("{:8.2}  {now}\n", begun.elapsed().as_secs_f32()));
                last = now;
            }
            sleep(EVERY).await;
        }
    };
    // A line from sysfs stays exported unless it is dropped, so a signal must not end the process.
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = interrupted() => Err(ToolStop::Interrupted),
            () = show => Ok(()),
        }
    })
}
