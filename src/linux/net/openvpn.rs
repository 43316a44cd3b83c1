//! The cloud's VPN on a host that is not balenaOS: its configuration, as files for `boardkeeper-vpn.service`.
//!
//! The cloud's configuration is for balenaOS: it names that system's paths, users and scripts. Here only directives that are
//! known to concern the connection are taken from it, so that no line of it makes `OpenVPN` run a program or read a file. The
//! paths, the credentials and the scripts that report the VPN's state are ours.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::linux::{read_small, replace_file, sync_directory};
use crate::state::FlashPurpose;
use crate::state::cloud::{CloudAccount, VpnProfile};

/// The script by which `OpenVPN` says that the VPN is up or down.
const STATUS: &str = "status.sh";

/// Directives that concern the connection.
const TAKEN: [&str; 48] = [
    "client",
    "remote",
    "remote-random",
    "remote-random-hostname",
    "resolv-retry",
    "connect-retry",
    "connect-retry-max",
    "connect-timeout",
    "server-poll-timeout",
    "remote-cert-tls",
    "remote-cert-eku",
    "remote-cert-ku",
    "verify-x509-name",
    "tls-client",
    "tls-version-min",
    "tls-version-max",
    "tls-cipher",
    "tls-ciphersuites",
    "tls-groups",
    "tls-timeout",
    "hand-window",
    "auth-retry",
    "auth-nocache",
    "auth",
    "cipher",
    "data-ciphers",
    "data-ciphers-fallback",
    "comp-lzo",
    "compress",
    "allow-compression",
    "dev",
    "dev-type",
    "proto",
    "port",
    "nobind",
    "float",
    "persist-key",
    "persist-tun",
    "verb",
    "mute",
    "reneg-bytes",
    "reneg-pkts",
    "reneg-sec",
    "keepalive",
    "ping",
    "ping-restart",
    "ping-exit",
    "explicit-exit-notify",
];
/// Directives that have another value here, or none.
const OURS: [&str; 18] = [
    "ca",
    "auth-user-pass",
    "script-security",
    "up",
    "down",
    "up-restart",
    "user",
    "group",
    "chroot",
    "daemon",
    "log",
    "log-append",
    "writepid",
    "status",
    "syslog",
    "cd",
    "nice",
    "mlock",
];
/// Blocks `<name>` … `</name>` that hold keys and certificates themselves.
const BLOCKS: [&str; 6] = ["ca", "cert", "key", "tls-auth", "tls-crypt", "tls-crypt-v2"];

/// Writes the files in a directory. Returns whether one of them changed, and what of the cloud's configuration was not taken.
/// `active`: the file that is there while the VPN is up.
pub(super) fn write(
    dir: &Path,
    active: &Path,
    profile: &VpnProfile,
    account: &CloudAccount,
) -> io::Result<(bool, Vec<String>)> {
    if [dir, active].iter().any(|it| it.to_string_lossy().contains(['\'', '"', '\\', '\n'])) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "its path has quotes in it; choose another one with --state-dir",
        ));
    }
    let (config, left_out) = local(&profile.config, dir);
    let status = status_script(active);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let credentials = format!("{}\n{}\n", account.uuid, account.key.reveal());
    let mut changed = false;
    // The configuration last: the unit starts only where it is, and then the others are there.
    let files = [("ca.crt", profile.ca.as_str()), ("credentials", &credentials), (STATUS, &status), ("openvpn.conf", &config)];
    for (name, text) in files {
        changed |= keep(&dir.join(name), text)?;
    }
    sync_directory(dir, FlashPurpose::Vpn)?;
    Ok((changed, left_out))
}

/// Removes the files: the device has left its cloud.
pub fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes a file unless it has this text. Returns whether it was written.
fn keep(path: &Path, text: &str) -> io::Result<bool> {
    if read_small(path).is_ok_and(|it| it == text.as_bytes()) {
        return Ok(false);
    }
    replace_file(path, &draft(path), text, 0o600, Some(FlashPurpose::Vpn)).map(|()| true)
}

fn draft(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// The configuration for this host, and the names of directives that are not known.
fn local(given: &str, dir: &Path) -> (String, Vec<String>) {
    let (mut lines, mut left_out) = (Vec::new(), Vec::new());
    let mut block: Option<(String, bool)> = None;
    for line in given.lines().map(str::trim) {
        if let Some((end, is_taken)) = &block {
            lines.extend(is_taken.then(|| line.to_owned()));
            if line == end {
                block = None;
            }
            continue;
        }
        if let Some(name) = line.strip_prefix('<').and_then(|it| it.strip_suffix('>')) {
            let is_taken = BLOCKS.contains(&name);
            lines.extend(is_taken.then(|| line.to_owned()));
            left_out.extend((!is_taken).then(|| format!("<{name}>")));
            block = Some((format!("</{name}>"), is_taken));
            continue;
        }
        let name = line.split_whitespace().next().unwrap_or_default().trim_start_matches("--");
        if TAKEN.contains(&name) {
            lines.push(line.to_owned());
        } else if !name.is_empty() && !name.starts_with(['#', ';']) && !OURS.contains(&name) {
            left_out.push(name.to_owned());
        }
    }
    let path = |name: &str| dir.join(name).display().to_string();
    lines.push(format!("ca \"{}\"", path("ca.crt")));
    lines.push(format!("auth-user-pass \"{}\"", path("credentials")));
    lines.push("script-security 2".to_owned());
    for event in ["up", "down"] {
        lines.push(format!("{event} \"/bin/sh '{}'\"", path(STATUS)));
    }
    lines.push("up-restart".to_owned());
    (lines.join("\n") + "\n", left_out)
}

/// The script, which `OpenVPN` calls with `up` or `down` in `script_type`.
fn status_script(active: &Path) -> String {
    let active = active.display();
    format!("case $script_type in\nup) : > '{active}' ;;\n*) rm -f '{active}' ;;\nesac\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::linux::flash::assert_written;
    use crate::state::Secret;

    /// As open-balena-api 49 gives it.
    const GIVEN: &str = "\nclient\nremote vpn.lab.test 11943\nresolv-retry infinite\n\nremote-cert-tls server\n\
        tls-version-min 1.2\nca /etc/openvpn/ca.crt\nauth-user-pass /var/volatile/vpn-auth\nauth-retry none\nscript-security 2\n\
        up /etc/openvpn-misc/upscript.sh\nup-restart\ndown /etc/openvpn-misc/downscript.sh\n\ncomp-lzo\ndev resin-vpn\n\
        dev-type tun\nproto tcp\nnobind\n\npersist-key\npersist-tun\nverb 3\nuser openvpn\ngroup openvpn\n\nreneg-bytes 0\n\
        reneg-pkts 0\nreneg-sec 0\n";

    #[test]
    fn what_concerns_the_connection_is_taken_and_paths_users_and_scripts_are_ours() {
        let (config, left_out) = local(GIVEN, Path::new("/var/lib/my dir/vpn"));
        assert_eq!(left_out, [""; 0]);
        assert!(config.starts_with("client\nremote vpn.lab.test 11943\nresolv-retry infinite\nremote-cert-tls server\n"));
        assert!(config.contains("ca \"/var/lib/my dir/vpn/ca.crt\"\n"), "{config}");
        for gone in ["/etc/openvpn", "/var/volatile", "user openvpn", "group"] {
            assert!(!config.contains(gone), "{gone}: {config}");
        }
        assert_eq!(config.matches("script-security").count(), 1);
    }

    #[test]
    fn no_line_of_the_cloud_runs_a_program_or_reads_a_file() {
        let evil = "client\nplugin /tmp/x.so\n--up \"/bin/sh -c id\"\nroute-up /bin/sh\nconfig /etc/shadow\ntls-verify /bin/sh\n\
            <connection>\nremote a 1\nup /bin/sh\n</connection>\n<ca>\nPEM\n</ca>\nauth-user-pass-verify /bin/sh via-env\n";
        let (config, left_out) = local(evil, Path::new("/d"));
        assert_eq!(left_out, ["plugin", "route-up", "config", "tls-verify", "<connection>", "auth-user-pass-verify"]);
        assert!(!config.contains("/bin/sh -c") && !config.contains("-verify") && !config.contains("shadow"), "{config}");
        assert!(config.contains("<ca>\nPEM\n</ca>\n"), "{config}");
    }

    #[test]
    fn only_the_agent_can_read_the_credentials_and_the_same_files_are_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("vpn");
        let profile = VpnProfile { config: GIVEN.to_owned(), ca: "PEM\n".to_owned() };
        let account = |key: &str| CloudAccount {
            endpoint: String::new(),
            logs_endpoint: None,
            uuid: "abc".to_owned(),
            key: Secret::new(key.to_owned()),
        };
        assert_written(FlashPurpose::Vpn, profile.ca.len(), 5, || {
            assert!(write(&place, Path::new("/run/active"), &profile, &account("one")).unwrap().0);
        });
        assert!(!write(&place, Path::new("/run/active"), &profile, &account("one")).unwrap().0);
        assert!(write(&place, Path::new("/run/active"), &profile, &account("two")).unwrap().0);
        assert_eq!(fs::read_to_string(place.join("credentials")).unwrap(), "abc\ntwo\n");
        for (path, mode) in [("", 0o700), ("credentials", 0o600), ("openvpn.conf", 0o600)] {
            assert_eq!(fs::metadata(place.join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
        }
        remove(&place).unwrap();
        remove(&place).unwrap();
        assert!(!place.exists());
        let odd = write(Path::new("/it's"), Path::new("/run/active"), &profile, &account("one")).unwrap_err();
        assert!(odd.to_string().contains("--state-dir"), "{odd}");
    }
}
