//! `led watch`: the LEDs, live in a terminal. Changes nothing, so it may run beside any other program.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::board::LedLocation;
use crate::cli::tool::{ToolResult, ToolStop, interrupted, say};
use crate::linux::leds::LedError;
use crate::linux::leds::host::{LedHost, ListedLed};

/// Polling interval: several times in the shortest blink that an eye follows.
const EVERY: Duration = Duration::from_millis(40);

/// Shows the LEDs for this long; without a length, until interrupted.
pub(super) fn run(host: &LedHost, length: Option<Duration>) -> ToolResult {
    let mut items = host.items();
    items.retain(|item| matches!(item.location, LedLocation::Class { .. }));
    if items.is_empty() {
        return Err(LedError::None(host.choice(&host.offer()).why).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| LedError::Failed(format!("cannot begin: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = interrupted() => Err(ToolStop::Interrupted),
            () = watch(host, &items, length) => Ok(()),
        }
    })
}

async fn watch(host: &LedHost, items: &[ListedLed], length: Option<Duration>) {
    let (begun, live) = (Instant::now(), stdout().is_terminal());
    let mut last = String::new();
    while length.is_none_or(|length| begun.elapsed() < length) {
        let picture: Vec<String> = items.iter().map(|item| picture_of(host, item, live)).collect();
        let picture = picture.join("   ");
        if picture != last {
            let secs = begun.elapsed().as_secs_f32();
            // On a terminal the line is overwritten; in a file each change has a line of its own, with the seconds since the
            // start.
            say(&if live { format!("\r\x1b[2K{picture}") } else { format!("{secs:8.2}  {picture}\n") });
            last = picture;
        }
        sleep(EVERY).await;
    }
    if live {
        say("\n");
    }
}

/// One LED: a disc in its colour, or a word if standard output is no terminal.
fn picture_of(host: &LedHost, item: &ListedLed, live: bool) -> String {
    let LedLocation::Class { name, dir } = &item.location else { return String::new() };
    let class = host.class(dir);
    let now = class.brightness().and_then(|now| Ok((now, class.max()?)));
    let disc = match (now, item.colour) {
        (Err(_), _) => "gone".to_owned(),
        (Ok((None, _)), _) => "?".to_owned(),
        (Ok((Some(0), _)), _) if live => "\x1b[2m\u{25cb}\x1b[0m".to_owned(),
        (Ok((Some(0), _)), _) => "dark".to_owned(),
        (Ok((Some(now), max)), _) if !live && now < max => format!("{now}/{max}"),
        (Ok((Some(_), _)), _) if !live => "lit".to_owned(),
        (Ok((Some(_), _)), Some("red")) => "\x1b[91m\u{25cf}\x1b[0m".to_owned(),
        (Ok((Some(_), _)), Some("blue")) => "\x1b[94m\u{25cf}\x1b[0m".to_owned(),
        (Ok((Some(_), _)), Some(_) | None) => "\x1b[92m\u{25cf}\x1b[0m".to_owned(),
    };
    format!("{name} {disc}")
}
