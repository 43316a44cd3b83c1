//! The host's journal, as `journalctl` prints it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::stream::{self, LocalBoxStream, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::port::HostError;
use crate::state::journal::JournalQuery;

/// How much is read at once.
const PART_BYTES: usize = 8 * 1024;
/// How much of what the program complains of is repeated.
const COMPLAINT_BYTES: u64 = 1024;
/// Whether the program fails shows within this time. One that follows a silent journal prints nothing for long.
const BEGINS: Duration = Duration::from_secs(1);
const PROGRAM: &str = "journalctl";
const ADVICE: &str = "run the agent as root or in the group systemd-journal, on the host itself";

/// Reads the journal of the host below `root`.
pub(super) async fn read(
    program: Option<&Path>,
    root: &Path,
    query: &JournalQuery,
) -> Result<LocalBoxStream<'static, Vec<u8>>, HostError> {
    let program = program.map_or_else(|| PathBuf::from(PROGRAM), Path::to_owned);
    let mut command = Command::new(&program);
    command.args(arguments(root, query)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Its colours and its pager are for terminals.
    command.env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "").kill_on_drop(true);
    let cannot = |why: &str| HostError(format!("the journal cannot be read: {why}; {ADVICE}"));
    let mut child = command.spawn().map_err(|why| cannot(&format!("{} cannot be run ({why})", program.display())))?;
    let mut output = child.stdout.take().ok_or_else(|| cannot("it has no output"))?;
    let first = match timeout(BEGINS, part(&mut output)).await {
        Ok(Some(first)) => first,
        Ok(None) => {
            let mut complaint = Vec::new();
            if let Some(errors) = child.stderr.take() {
                // What cannot be read is not repeated.
                let _ = errors.take(COMPLAINT_BYTES).read_to_end(&mut complaint).await;
            }
            let is_failure = child.wait().await.map_or(true, |status| !status.success());
            if is_failure {
                return Err(cannot(String::from_utf8_lossy(&complaint).trim()));
            }
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    // The child keeps the pipe for its complaints, which are few: without a reader's end, the next one would end it.
    let rest = stream::unfold((child, output), async |(child, mut output): (Child, ChildStdout)| {
        let part = part(&mut output).await?;
        Some((part, (child, output)))
    });
    Ok(stream::iter(Some(first).filter(|it| !it.is_empty())).chain(rest).boxed_local())
}

/// What is read next. `None`: the end.
async fn part(output: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut part = vec![0; PART_BYTES];
    let length = output.read(&mut part).await.ok().filter(|it| *it > 0)?;
    part.truncate(length);
    Some(part)
}

fn arguments(root: &Path, query: &JournalQuery) -> Vec<String> {
    let mut all = vec!["--no-pager".to_owned()];
    if root != Path::new("/") {
        all.push(format!("--root={}", root.display()));
    }
    all.extend(query.all.then(|| "--all".to_owned()));
    all.extend(query.follow.then(|| "--follow".to_owned()));
    let options = [
        ("unit", query.unit.clone()),
        ("identifier", query.identifier.clone()),
        ("lines", query.count.map(|it| it.to_string())),
        ("since", query.since.clone()),
        ("until", query.until.clone()),
        ("output", Some(query.format.clone().unwrap_or_else(|| "short".to_owned()))),
    ];
    // A value behind `=` is never taken for an option.
    all.extend(options.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value?))));
    all
}

#[cfg(test)]
mod tests;
