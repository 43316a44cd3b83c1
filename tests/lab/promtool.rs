//! Prometheus' own tool, which reads metrics as a Prometheus does.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Fails if promtool has anything to say of the older format, or cannot read the other one.
pub(crate) fn reads(classic: &str, open_metrics: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checks = promtool.spawn().unwrap();
    checks.stdin.take().unwrap().write_all(classic.as_bytes()).unwrap();
    let checked = checks.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.is_empty(), "{said}\n{classic}");
    // What checks metrics does not know OpenMetrics. What makes blocks does, and wants a time at each sample.
    let timed =
        open_metrics.lines().map(|it| if it.starts_with('#') { format!("{it}\n") } else { format!("{it} 1700000000\n") });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("metrics");
    std::fs::write(&file, timed.collect::<String>()).unwrap();
    let mut promtool = Command::new("promtool");
    promtool.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&file).arg(dir.path().join("blocks"));
    let read = promtool.output().unwrap();
    assert!(read.status.success(), "{}\n{open_metrics}", String::from_utf8_lossy(&read.stderr));
}
