//! The format of log lines: for a terminal, for a pipe, for the journal.

use std::fmt;
use std::io::{self, IsTerminal};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, Layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer as _, Registry, registry};

use crate::config::LogFilter;

/// A handle to change the log levels at run time.
#[derive(Debug, Clone)]
pub struct Verbosity(Handle<Targets, Registry>);

impl Verbosity {
    /// Sets the log levels from now on.
    pub fn set(&self, log: &LogFilter) {
        // This fails only if the logger has ended.
        let _ = self.0.reload(targets(log));
    }
}

fn targets(log: &LogFilter) -> Targets {
    Targets::new().with_default(log.all).with_targets(log.modules.clone())
}

/// Starts logging to standard error. Once per process.
#[must_use]
pub fn begin(log: &LogFilter) -> Verbosity {
    let (targets, handle) = reload::Layer::new(targets(log));
    let layer = Layer::default().with_writer(io::stderr);
    let begun = if is_journal() {
        registry().with(layer.with_ansi(false).event_format(Journal).with_filter(targets)).try_init()
    } else {
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        registry().with(layer.with_ansi(colour).with_filter(targets)).try_init()
    };
    // This fails only if the process logs already.
    let _ = begun;
    Verbosity(handle)
}

/// Whether standard error is the journal: systemd sets its device and inode, and a shell in between may have redirected it.
fn is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// A line that begins with its priority, and has no time, which the journal adds itself.
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let meta = event.metadata();
        write!(writer, "<{}>{}: ", priority(*meta.level()), meta.target())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// The level's syslog priority.
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}
