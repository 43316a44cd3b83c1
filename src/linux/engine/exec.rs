//! A hook is run: a command in a container, its exit code and the last lines of its output.
//!
//! The engine's API cannot end a command that it runs. One that takes too long goes on in the container, unheard, and ends with
//! that at the latest.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::linux::engine::errors::{is_conflict, is_missing, sort};
use crate::linux::engine::logs::{Framing, LogParser, ParsedLine};
use crate::linux::engine::{CALL, Engine, transport};
use crate::port::EngineError;
use crate::state::ContainerRef;
use crate::state::hook::UpdateHook;

/// How many of the last lines are kept.
const LINES: usize = 5;
/// The most characters of a line that is kept.
const LINE_CHARS: usize = 160;
/// Engines may say that a command runs still when its output has just ended: how often they are asked, and how long apart.
const LOOKS: u32 = 20;
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Engine {
    /// Runs a hook in a container, to its end or for as long as it may take.
    pub(super) async fn run_hook(&self, which: &ContainerRef, hook: &UpdateHook) -> Result<(), EngineError> {
        let what = format!("run the hook of {} ({})", which.key, hook.command.join(" "));
        let begun = self.within(CALL, self.begin_hook(which, hook, &what)).await?;
        let Some((id, host, path)) = begun else { return Ok(()) };
        let mut last = VecDeque::new();
        let heard = timeout(hook.timeout, async {
            let mut parts = Box::pin(transport::post(&host, &path, &json!({"Detach": false, "Tty": false})).await?);
            let mut parser = LogParser::new(Framing::Multiplexed);
            while let Some(part) = parts.next().await {
                // What is no frame ends the reading; the exit code counts all the same.
                if parser.parse(&part?, &mut |line| keep(&mut last, &line)).is_err() {
                    break;
                }
            }
            parser.finish(&mut |line| keep(&mut last, &line));
            Ok::<(), bollard::errors::Error>(())
        });
        match heard.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(sort(&what, &error)),
            Err(_) => {
                let secs = hook.timeout.as_secs();
                let output = output(&last);
                return Err(EngineError::Refused(format!(
                    "the hook did not end within {secs} s, and goes on in the container, unheard{output}"
                )));
            }
        }
        match self.within(CALL, self.exit_code(&id, &what)).await? {
            Some(0) => Ok(()),
            Some(code) => Err(EngineError::Refused(format!("the hook ended with exit code {code}{}", output(&last)))),
            None => Err(EngineError::Refused(format!("the engine does not say how the hook ended{}", output(&last)))),
        }
    }

    /// Creates the command. `None`: there is no container any more that could run it.
    async fn begin_hook(
        &self,
        which: &ContainerRef,
        hook: &UpdateHook,
        what: &str,
    ) -> Result<Option<(String, String, String)>, EngineError> {
        let connection = self.connection().await?;
        let body = json!({"Cmd": hook.command, "AttachStdout": true, "AttachStderr": true});
        match self.post(&connection, &format!("/containers/{}/exec", which.id.0), &body).await {
            Ok(made) => {
                let id = made.text("/Id").to_owned();
                let path = format!("{}/exec/{id}/start", connection.version_path());
                Ok(Some((id, connection.facts.host().to_owned(), path)))
            }
            // It does not run: it has nothing to be prepared.
            Err(error) if is_missing(&error) || is_conflict(&error) => Ok(None),
            Err(error) => Err(sort(what, &error)),
        }
    }

    async fn exit_code(&self, id: &str, what: &str) -> Result<Option<i64>, EngineError> {
        for _ in 0..LOOKS {
            let connection = self.connection().await?;
            let seen = self.get(&connection, &format!("/exec/{id}/json")).await.map_err(|error| sort(what, &error))?;
            if !seen.is("/Running") {
                return Ok(Some(seen.number("/ExitCode")));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(None)
    }
}

fn keep(last: &mut VecDeque<String>, line: &ParsedLine) {
    if last.len() == LINES {
        last.pop_front();
    }
    let text = line.text.trim_end();
    last.push_back(match text.char_indices().nth(LINE_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    });
}

/// The last lines, as the end of a sentence.
fn output(last: &VecDeque<String>) -> String {
    let lines: Vec<&str> = last.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
    if lines.is_empty() { String::new() } else { format!("; it said: {}", lines.join(" / ")) }
}
