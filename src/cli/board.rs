//! `boardkeeper board`: which board this is, how it was detected, and what may be driven on it.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::cli::led::{HEADS, LedRow};
use crate::cli::table::table;
use crate::cli::tool::{HostArgs, ToolResult, exit, say};
use crate::linux::leds::gpio::{Chip, LineInfo};
use crate::linux::leds::host::LedHost;

/// Shows which board this is, how it was recognised, its LEDs and GPIO lines
#[derive(Debug, Args)]
pub struct BoardArgs {
    #[command(flatten)]
    place: HostArgs,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// List every line of every chip, not only those with a name or a holder
    #[arg(long)]
    lines: bool,
}

#[derive(Debug, Serialize)]
struct BoardReport {
    schema: u32,
    id: Option<&'static str>,
    name: Option<&'static str>,
    recognised: String,
    perhaps: Vec<&'static str>,
    complaint: Option<String>,
    model: Option<String>,
    compatible: Vec<String>,
    simulated: bool,
    root: String,
    identify: Option<String>,
    identify_why: String,
    passed_over: Vec<PassedOver>,
    leds: Vec<LedRow>,
    chips: Vec<ChipRow>,
    chips_trouble: Option<String>,
}

#[derive(Debug, Serialize)]
struct PassedOver {
    name: String,
    why: String,
}

#[derive(Debug, Serialize)]
struct ChipRow {
    name: String,
    device: String,
    label: String,
    lines: Vec<LineRow>,
    trouble: Option<String>,
}

#[derive(Debug, Serialize)]
struct LineRow {
    offset: u32,
    name: Option<String>,
    consumer: Option<String>,
    used: bool,
    direction: String,
    active_low: Option<bool>,
}

/// Runs the command, and reports its outcome.
pub fn run(args: &BoardArgs) -> ExitCode {
    exit(show(args))
}

fn show(args: &BoardArgs) -> ToolResult {
    let report = BoardReport::of(&args.place.host()?);
    if args.json {
        say(&(serde_json::to_string_pretty(&report).expect("a board is strings, numbers and flags") + "\n"));
    } else {
        say(&report.text(args.lines));
    }
    Ok(())
}

impl BoardReport {
    fn of(host: &LedHost) -> Self {
        let (offer, detected) = (host.offer(), &host.detected);
        let choice = host.choice(&offer);
        let (chips, chips_trouble) = match host.gpio().chips() {
            Ok(chips) => (chips, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let passed = choice.passed_over.iter().map(|(name, why)| PassedOver { name: name.clone(), why: why.clone() });
        let items = host.items();
        Self {
            schema: 1,
            id: detected.board.map(|board| board.id),
            name: detected.board.map(|board| board.name),
            recognised: detected.to_string(),
            perhaps: detected.perhaps.iter().map(|board| board.name).collect(),
            complaint: detected.complaint.clone(),
            model: detected.model.clone(),
            compatible: detected.compatible.clone(),
            simulated: host.simulated,
            root: host.place.root.display().to_string(),
            identify: items.iter().find(|item| item.role == "identify").map(|item| item.location.to_string()),
            identify_why: choice.why.clone(),
            passed_over: passed.collect(),
            leds: items.iter().map(|item| LedRow::of(host, item)).collect(),
            chips: chips.iter().map(|chip| ChipRow::of(host, chip)).collect(),
            chips_trouble,
        }
    }

    // Writing to a string cannot fail, here and below.
    fn text(&self, every_line: bool) -> String {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
        let mut text = format!("board       {}\n", self.recognised);
        let _ = writeln!(text, "model       {}", or_none(&self.model));
        let _ = writeln!(text, "compatible  {}", self.compatible.join(", "));
        if self.simulated {
            let _ = writeln!(text, "simulated   in {}", self.root);
        }
        if let Some(complaint) = &self.complaint {
            let _ = writeln!(text, "note        {complaint}");
        }
        let _ = writeln!(text, "identify    {}: {}", or_none(&self.identify), self.identify_why);
        text += "\n";
        text += &table(&HEADS, self.leds.iter().map(LedRow::cells).collect());
        for chip in &self.chips {
            text += &chip.text(every_line);
        }
        if let Some(trouble) = &self.chips_trouble {
            let _ = writeln!(text, "\nGPIO        cannot be read: {trouble}");
        }
        text
    }
}

impl ChipRow {
    fn of(host: &LedHost, chip: &Chip) -> Self {
        let lines: Vec<_> = (0..chip.lines).map(|offset| host.gpio().line(chip, offset)).collect();
        let trouble = lines.iter().find_map(|line| line.as_ref().err().map(ToString::to_string));
        let (name, device, label) = (chip.name.clone(), chip.device.clone(), chip.label.clone());
        Self { name, device, label, lines: lines.into_iter().flatten().map(LineRow::of).collect(), trouble }
    }

    fn text(&self, every_line: bool) -> String {
        let mut text = format!("\n{}  device {}  label {}  {} lines\n", self.name, self.device, self.label, self.lines.len());
        let shown = self.lines.iter().filter(|line| every_line || line.name.is_some() || line.used);
        text += &table(&[], shown.map(LineRow::cells).collect());
        if let Some(trouble) = &self.trouble {
            let _ = writeln!(text, "  some lines cannot be read: {trouble}");
        }
        text
    }
}

impl LineRow {
    fn of(info: LineInfo) -> Self {
        let LineInfo { offset, name, consumer, used, direction, active_low } = info;
        Self { offset, name, consumer, used, direction: direction.to_string(), active_low }
    }

    fn cells(&self) -> Vec<String> {
        let polarity = match self.active_low {
            Some(true) => "active low",
            Some(false) => "active high",
            None => "",
        };
        let holder = match (&self.consumer, self.used) {
            (Some(consumer), _) => format!("held by {consumer}"),
            (None, true) => "held".to_owned(),
            (None, false) => "free".to_owned(),
        };
        let name = self.name.clone().unwrap_or_else(|| "-".into());
        vec![format!("  {}", self.offset), name, self.direction.clone(), polarity.to_owned(), holder]
    }
}
