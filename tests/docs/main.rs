//! The documentation says what the code says: its tables, links, commands and figures.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]

mod api;
mod files;
mod limits;
mod metrics;
mod page;
mod prose;
mod settings;
mod variables;
