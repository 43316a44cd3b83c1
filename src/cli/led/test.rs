//! `led test`: each LED blinks, the user says whether it did, and a report is written.
//!
//! The driver's result and the user's answer are kept apart: a driver may succeed while the LED is dark, and a user may look at
//! the wrong LED.

use std::io::{BufRead, stdin};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use crate::board::LedLocation;
use crate::cli::led::Which;
use crate::cli::led::report::{LedState, Sighting, TestReport, TestedLed};
use crate::cli::tool::{LedTool, OnExit, ToolResult, ToolStop, complain, say};
use crate::linux::leds::LedError;
use crate::linux::leds::host::{LedHost, ListedLed};
use crate::linux::leds::location::{find_line, look_at_line};
use crate::state::LedLevel;

/// How long each level is held: slow enough to follow, fast enough to tell from a heartbeat.
const HELD: Duration = Duration::from_millis(250);

/// How many times a LED blinks before the question.
const BLINKS: u32 = 5;

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[command(flatten)]
    which: Which,
    /// Ask no questions: only what the driver reports is tested
    #[arg(long)]
    assume_seen: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Write the report there as JSON, too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// A user's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    Again,
    Skip,
}

pub(super) fn run(host: &LedHost, args: &TestArgs) -> ToolResult {
    let items = host.pick(&args.which.names, args.which.force)?;
    let mut report = TestReport::new(host);
    let done = LedTool::work(host, OnExit::PutBack, async |bench| {
        for item in &items {
            let tested = test(host, bench, item, args.assume_seen).await?;
            report.leds.push(tested);
        }
        Ok(())
    });
    if let Some(path) = &args.report {
        let write = std::fs::write(path, report.json() + "\n");
        write.map_err(|error| ToolStop::Usage(format!("cannot write the report to {}: {error}", path.display())))?;
    }
    say(&if args.json { report.json() + "\n" } else { report.table() });
    done?;
    report.outcome()
}

/// Tests one LED. An error ends the whole test; a failure of the LED is in the result.
async fn test(host: &LedHost, bench: &LedTool, item: &ListedLed, assume_seen: bool) -> Result<TestedLed, ToolStop> {
    let mut tested = TestedLed::new(item);
    tested.before = look(host, &item.location);
    let seen = loop {
        if let Err(error) = blink(host, bench, &item.location, &mut tested).await {
            tested.fail(error);
            break None;
        }
        if assume_seen {
            break None;
        }
        match ask(item).await? {
            Answer::Yes => break Some(Sighting::Seen),
            Answer::No => break Some(Sighting::NotSeen),
            Answer::Skip => break None,
            Answer::Again => {}
        }
    };
    tested.operator = seen;
    if let Err(error) = bench.release(&item.location) {
        tested.fail(error);
    }
    tested.after = look(host, &item.location);
    tested.check_restored();
    Ok(tested)
}

/// Blinks by writing each change, and reads back what was written.
async fn blink(host: &LedHost, bench: &LedTool, location: &LedLocation, tested: &mut TestedLed) -> Result<(), LedError> {
    for level in (0..BLINKS).flat_map(|_| [LedLevel::Lit, LedLevel::Dark]) {
        bench.hold(location, level).await?;
        sleep(HELD).await;
        if let LedLocation::Class { dir, .. } = location {
            let class = host.class(dir);
            let expected = if level == LedLevel::Lit { class.max()? } else { 0 };
            tested.read_back(expected, class.brightness()?);
        }
    }
    Ok(())
}

/// The LED's state while no program of ours holds it.
fn look(host: &LedHost, location: &LedLocation) -> Option<LedState> {
    match location {
        LedLocation::Class { dir, .. } => host.class(dir).look().ok().map(LedState::Led),
        LedLocation::Line { .. } => {
            let (chip, info) = find_line(host.gpio(), location).ok()?;
            let (direction, level) = look_at_line(host.gpio(), &chip, &info).ok()?;
            Some(LedState::Line { direction, level })
        }
    }
}

/// Asks the user whether the LED blinked.
async fn ask(item: &ListedLed) -> Result<Answer, ToolStop> {
    let colour = item.colour.unwrap_or_default();
    let name = if item.label.is_some_and(|label| label != item.location.to_string()) {
        format!("{} ({})", item.location, item.label.unwrap_or_default())
    } else {
        item.location.to_string()
    };
    let question = format!("did the {colour} LED {name} {} blink? [y/n/r/s]", item.spot);
    let question = question.split_whitespace().collect::<Vec<_>>().join(" ") + " ";
    loop {
        complain_inline(&question);
        // On a thread of its own, so that a signal can interrupt the wait.
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            stdin().lock().read_line(&mut line).map(|bytes| (bytes > 0).then_some(line))
        });
        match line.await.ok().and_then(Result::ok).flatten() {
            None => {
                return Err(ToolStop::Usage(
                    "no answer can be read from standard input; --assume-seen asks no questions".into(),
                ));
            }
            Some(line) => match line.trim().to_lowercase().as_str() {
                "y" | "yes" => return Ok(Answer::Yes),
                "n" | "no" => return Ok(Answer::No),
                "r" | "repeat" => return Ok(Answer::Again),
                "s" | "skip" => return Ok(Answer::Skip),
                other => complain(&format!("`{other}` is neither y, n, r nor s")),
            },
        }
    }
}

/// Writes a question to standard error, so that a report on standard output stays clean.
fn complain_inline(text: &str) {
    use std::io::Write;
    let mut out = std::io::stderr();
    // A closed terminal gives no answer either; that is reported then.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
