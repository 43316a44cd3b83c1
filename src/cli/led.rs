//! `boardkeeper led`: LEDs, tried out by hand.
//!
//! Exit codes: 0 all as expected, 1 a LED failed, 2 wrong usage, 3 nothing to test, 4 no permission or read-only, 5 busy,
//! 6 vanished, 130 interrupted after everything was restored.

mod report;
mod test;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::time::sleep;

use crate::board::LedLocation;
use crate::cli::table::table;
use crate::cli::tool::{HostArgs, LedTool, OnExit, ToolResult, ToolStop, complain, duration, exit, say};
use crate::linux::leds::LedError;
use crate::linux::leds::class::RestoreOutcome;
use crate::linux::leds::driver::PersistentChanges;
use crate::linux::leds::host::{LedHost, ListedLed};
use crate::state::{LedLevel, Pattern};

/// Lists, lights and tests the board's LEDs
#[derive(Debug, Args)]
#[command(after_help = CODES)]
pub struct LedArgs {
    #[command(flatten)]
    place: HostArgs,
    #[command(subcommand)]
    act: Act,
}

const CODES: &str = "Exit codes: 0 all as expected; 1 a LED failed; 2 wrong usage; 3 nothing to test; 4 no permission, or read-only; \
                     5 busy; 6 vanished; 130 interrupted, after everything was restored";

#[derive(Debug, Subcommand)]
enum Act {
    /// Lists the LEDs: what they are for, how they are driven, what they show now
    List {
        /// List LEDs that must not be driven too
        #[arg(long)]
        all: bool,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Lights a LED until interrupted
    On(Held),
    /// Darkens a LED until interrupted
    Off(Held),
    /// Makes a LED blink
    Blink {
        #[command(flatten)]
        which: Which,
        /// `on,off[xTIMES][,pause]` in milliseconds
        #[arg(long, default_value = "200,200", value_name = "PATTERN")]
        pattern: Pattern,
        /// For how long
        #[arg(long = "for", default_value = "15s", value_parser = duration, value_name = "TIME")]
        length: Duration,
    },
    /// Lights one LED after another
    Walk {
        #[command(flatten)]
        which: Which,
        /// How long each is lit
        #[arg(long, default_value = "500ms", value_parser = duration, value_name = "TIME")]
        step: Duration,
        /// How many times through all of them
        #[arg(long, default_value_t = 1)]
        rounds: u32,
    },
    /// Makes each LED blink, asks whether it did, and reports
    Test(test::TestArgs),
    /// Restores LEDs that --leave or a killed program left changed
    Restore,
    /// Shows in the terminal what the LEDs show now
    Watch {
        /// For how long. Default: until interrupted
        #[arg(long = "for", value_parser = duration, value_name = "TIME")]
        length: Option<Duration>,
    },
}

/// The LEDs that are meant.
#[derive(Debug, Args)]
struct Which {
    /// The LEDs' names, as `led list` prints them; `identify` is the LED that identifies the board
    #[arg(value_name = "LED")]
    names: Vec<String>,
    /// Drive LEDs that must not be driven too. Some are lines that reset hardware
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Held {
    #[command(flatten)]
    which: Which,
    /// For how long. Default: until interrupted
    #[arg(long = "for", value_parser = duration, value_name = "TIME", conflicts_with = "leave")]
    length: Option<Duration>,
    /// Leave the LED so; `led restore` restores it
    #[arg(long)]
    leave: bool,
}

/// Runs the command, and reports its outcome.
pub fn run(args: LedArgs) -> ExitCode {
    exit(act(args))
}

fn act(LedArgs { place, act }: LedArgs) -> ToolResult {
    let host = place.host()?;
    match act {
        Act::List { all, json } => list(&host, all, json),
        Act::On(held) => hold(&host, &held, LedLevel::Lit),
        Act::Off(held) => hold(&host, &held, LedLevel::Dark),
        Act::Blink { which, pattern, length } => blink(&host, &which, &pattern, length),
        Act::Walk { which, step, rounds } => walk(&host, &which, step, rounds),
        Act::Test(args) => test::run(&host, &args),
        Act::Restore => restore(&host),
        Act::Watch { length } => watch::run(&host, length),
    }
}

/// The named LEDs; without names, the one for identifying.
fn identify_or(host: &LedHost, which: &Which) -> Result<Vec<ListedLed>, LedError> {
    let mut items = host.pick(&which.names, which.force)?;
    if which.names.is_empty() {
        items.truncate(1);
    }
    Ok(items)
}

fn hold(host: &LedHost, held: &Held, level: LedLevel) -> ToolResult {
    let items = identify_or(host, &held.which)?;
    let afterwards = if held.leave { OnExit::Leave } else { OnExit::PutBack };
    LedTool::work(host, afterwards, async |bench| {
        for item in &items {
            bench.hold(&item.location, level).await?;
            let until = if held.leave { "`boardkeeper led restore` restores it" } else { "until this ends" };
            complain(&format!("{} is {level}; {until}", item.location));
        }
        match held.length {
            _ if held.leave => {}
            Some(length) => sleep(length).await,
            None => std::future::pending().await,
        }
        Ok(())
    })
}

fn blink(host: &LedHost, which: &Which, pattern: &Pattern, length: Duration) -> ToolResult {
    let items = identify_or(host, which)?;
    LedTool::work(host, OnExit::PutBack, async |bench| {
        let all = items.iter().map(|item| bench.blink(&item.location, pattern, Some(length)));
        futures_util::future::try_join_all(all).await?;
        Ok(())
    })
}

fn walk(host: &LedHost, which: &Which, step: Duration, rounds: u32) -> ToolResult {
    let items = host.pick(&which.names, which.force)?;
    LedTool::work(host, OnExit::PutBack, async |bench| {
        for item in &items {
            bench.hold(&item.location, LedLevel::Dark).await?;
        }
        for item in (0..rounds).flat_map(|_| &items) {
            say(&format!("{}\n", item.location));
            bench.hold(&item.location, LedLevel::Lit).await?;
            sleep(step).await;
            bench.hold(&item.location, LedLevel::Dark).await?;
        }
        Ok(())
    })
}

fn restore(host: &LedHost) -> ToolResult {
    let found = host.driver("boardkeeper led restore").recover(PersistentChanges::Include);
    if found.is_empty() {
        say("nothing is left changed\n");
    }
    let mut done = Ok(());
    for (name, outcome) in found {
        match outcome {
            Ok(RestoreOutcome::Exactly) => say(&format!("{name}: as it was\n")),
            Ok(RestoreOutcome::ChangedByOthers) => {
                say(&format!("{name}: another program has changed it since, and that stays\n"));
            }
            Err(error) => {
                complain(&format!("{name}: {error}"));
                done = Err(ToolStop::Led(error));
            }
        }
    }
    done
}

/// A LED, as printed in JSON and in the table.
#[derive(Debug, Serialize)]
pub(super) struct LedRow {
    name: String,
    label: Option<&'static str>,
    role: String,
    colour: Option<&'static str>,
    place: String,
    driven_by: &'static str,
    path: Option<String>,
    trigger: Option<String>,
    brightness: Option<u32>,
    max_brightness: Option<u32>,
    guarded: Option<String>,
    trouble: Option<String>,
}

impl LedRow {
    pub(super) fn of(host: &LedHost, item: &ListedLed) -> Self {
        let mut row = Self {
            name: item.location.to_string(),
            label: item.label,
            role: item.role.clone(),
            colour: item.colour,
            place: item.spot.clone(),
            driven_by: "gpio",
            path: None,
            trigger: None,
            brightness: None,
            max_brightness: None,
            guarded: item.guard.clone(),
            trouble: None,
        };
        match &item.location {
            LedLocation::Line { device, offset, .. } => {
                row.path = Some(format!("{} line {offset}", host.chip_name(device).unwrap_or_else(|| device.clone())));
            }
            LedLocation::Class { dir, .. } => {
                row.driven_by = "kernel";
                row.path = Some(dir.display().to_string());
                let class = host.class(dir);
                match (class.look(), class.max()) {
                    (Ok(now), Ok(max)) => {
                        (row.trigger, row.brightness, row.max_brightness) = (Some(now.trigger), now.brightness, Some(max));
                    }
                    (Err(error), _) | (_, Err(error)) => row.trouble = Some(error.to_string()),
                }
            }
        }
        row
    }

    pub(super) fn cells(&self) -> Vec<String> {
        let number = |number: Option<u32>| number.map_or("?".into(), |number| number.to_string());
        let level = format!("{}/{}", number(self.brightness), number(self.max_brightness));
        let note = self.trouble.clone().or_else(|| self.guarded.clone().map(|why| format!("guarded: {why}")));
        let gpio = self.driven_by == "gpio";
        vec![
            self.name.clone(),
            self.role.clone(),
            self.colour.unwrap_or("?").to_owned(),
            if gpio { self.path.clone().unwrap_or_default() } else { "kernel".into() },
            self.trigger.clone().unwrap_or_else(|| "-".into()),
            if gpio { "-".into() } else { level },
            note.unwrap_or_else(|| self.place.clone()),
        ]
    }
}

/// The headings of the columns of [`LedRow::cells`].
pub(super) const HEADS: [&str; 7] = ["LED", "ROLE", "COLOUR", "DRIVEN BY", "TRIGGER", "NOW/MAX", "WHERE"];

fn list(host: &LedHost, all: bool, json: bool) -> ToolResult {
    let items = host.items();
    let rows: Vec<LedRow> =
        items.iter().filter(|item| all || item.guard.is_none()).map(|item| LedRow::of(host, item)).collect();
    if json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "schema": 1, "leds": rows }));
        say(&(text.expect("rows are strings and numbers") + "\n"));
    } else if !rows.is_empty() {
        say(&table(&HEADS, rows.iter().map(LedRow::cells).collect()));
    }
    let hidden = items.len() - rows.len();
    if hidden > 0 && !json {
        complain(&format!("{hidden} more are not to be driven; --all lists them"));
    }
    if rows.is_empty() {
        return Err(LedError::None(host.choice(&host.offer()).why).into());
    }
    Ok(())
}
