//! The process that owns a port.

use std::fs;
use std::path::{Path, PathBuf};

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// The process that listens at a port, in words. `None`: `/proc` does not say, or we may not read it.
pub(in crate::linux) fn by(proc: &Path, port: u16) -> Option<String> {
    let tables = ["net/tcp", "net/tcp6"].map(|it| fs::read_to_string(proc.join(it)).unwrap_or_default());
    let sockets: Vec<_> = tables.iter().flat_map(|table| table.lines()).filter_map(|line| listens(line, port)).collect();
    let links: Vec<_> = sockets.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir(proc).ok()?.flatten().map(|entry| entry.path());
    // `/proc/self` is a process too, but its name is no process ID.
    let numbered = |it: &PathBuf| it.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let holder = processes.filter(numbered).find(|process| has_one_of(process, &links))?;
    let name = fs::read_to_string(holder.join("comm")).ok()?;
    Some(format!("`{}` (process {})", name.trim(), holder.file_name()?.display()))
}

/// The inode of the socket in a line, if it listens at the port.
fn listens(line: &str, port: u16) -> Option<&str> {
    let mut fields = line.split_whitespace();
    let (_, local_port) = fields.nth(1)?.split_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let here = u16::from_str_radix(local_port, 16).is_ok_and(|it| it == port);
    (here && state == LISTENS).then_some(inode)
}

fn has_one_of(process: &Path, links: &[String]) -> bool {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    files.filter_map(|it| fs::read_link(it.path()).ok()).any(|it| links.iter().any(|link| it.as_os_str() == link.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_have_the_port_we_have() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let said = by(Path::new("/proc"), listener.local_addr().unwrap().port()).unwrap();
        assert!(said.ends_with(&format!("(process {})", std::process::id())), "{said}");
    }

    #[test]
    fn a_line_of_the_kernels_table_is_read() {
        let line = "   0: 0100007F:BD64 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000";
        assert_eq!(listens(line, 48484), Some("4242"));
        assert_eq!(listens(line, 80), None);
        assert_eq!(listens("  sl  local_address rem_address   st", 48484), None);
    }
}
