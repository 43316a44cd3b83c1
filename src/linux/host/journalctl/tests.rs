use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A program in place of journalctl.
fn script(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journalctl");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (dir, path)
}

async fn text(program: &Path, root: &str, query: &JournalQuery) -> Result<String, HostError> {
    let parts: Vec<Vec<u8>> = read(Some(program), Path::new(root), query).await?.collect().await;
    Ok(String::from_utf8(parts.concat()).unwrap())
}

#[tokio::test]
async fn each_field_is_an_argument_of_its_own() {
    let (_dir, program) = script("for it in \"$@\"; do echo \"$it\"; done");
    let given = text(&program, "/", &JournalQuery::default()).await.unwrap();
    assert_eq!(given, "--no-pager\n--output=short\n");
    let query = JournalQuery {
        all: true,
        follow: true,
        count: Some(5),
        unit: Some("a; echo b".to_owned()),
        identifier: Some("0123".to_owned()),
        since: Some("2026-01-01 00:00:00".to_owned()),
        until: Some("now".to_owned()),
        format: Some("json".to_owned()),
    };
    let given = text(&program, "/mnt/root", &query).await.unwrap();
    let expected = "--no-pager\n--root=/mnt/root\n--all\n--follow\n--unit=a; echo b\n--identifier=0123\n--lines=5\n\
                    --since=2026-01-01 00:00:00\n--until=now\n--output=json\n";
    assert_eq!(given, expected);
}

#[tokio::test]
async fn a_program_that_is_missing_or_may_not_read_says_what_to_do() {
    let why = text(Path::new("/nowhere/journalctl"), "/", &JournalQuery::default()).await.unwrap_err().0;
    assert!(why.contains("/nowhere/journalctl cannot be run") && why.contains("systemd-journal"), "{why}");
    let (_dir, program) = script("echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1");
    let why = text(&program, "/", &JournalQuery::default()).await.unwrap_err().0;
    assert!(why.contains("insufficient permissions") && why.contains("systemd-journal"), "{why}");
    // No line fits, and that is no failure.
    let (_dir, program) = script("exit 0");
    assert_eq!(text(&program, "/", &JournalQuery::default()).await, Ok(String::new()));
}

/// As of users whose messages it may not read.
#[tokio::test]
async fn a_program_that_complains_later_goes_on() {
    let (_dir, program) = script("echo first; sleep 0.1; for i in 1 2 3; do echo complaint >&2; done; echo last");
    assert_eq!(text(&program, "/", &JournalQuery::default()).await.unwrap(), "first\nlast\n");
}

#[tokio::test]
async fn the_program_ends_when_its_output_is_read_no_more() {
    let (dir, program) = script("echo $$; exec sleep 1000");
    let mut parts = read(Some(&program), dir.path(), &JournalQuery::default()).await.unwrap();
    let pid = String::from_utf8(parts.next().await.unwrap()).unwrap();
    let proc = Path::new("/proc").join(pid.trim());
    let is_alive = || fs::read_to_string(proc.join("stat")).is_ok_and(|it| !it.contains(") Z "));
    assert!(is_alive());
    drop(parts);
    while is_alive() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
