//! The host's name and proxy, in the files that the host's scripts read.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tracing::info;

use super::redsocks;
use crate::linux::systemd::{Systemd, UnitAction};
use crate::linux::{read_small_text, replace_file, sync_directory};
use crate::state::FlashPurpose;
use crate::state::host::{HostConfig, HostPatch, Proxy, ProxyPatch};

/// Systemd restarts the units of this target together with it.
const TARGET: &str = "redsocks-conf.target";
/// The service that applies the proxy's file, under its two names; then the proxy itself.
const UNITS: [&[&str]; 2] = [&["balena-proxy-config.service", "resin-proxy-config.service"], &["redsocks.service"]];

/// The paths of the files.
#[derive(Debug, Clone)]
pub(super) struct HostConfigFiles {
    /// `/etc/hostname`, which the host's scripts write.
    pub(super) hostname: PathBuf,
    /// The provisioning file.
    pub(super) config: PathBuf,
    /// `system-proxy` on the boot partition.
    pub(super) proxy: PathBuf,
}

/// Whether the proxy's files on the disk changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProxyChange {
    /// The proxy's files changed.
    Changed,
    /// They did not.
    Unchanged,
}

impl HostConfigFiles {
    pub(super) fn read(&self) -> Result<HostConfig, String> {
        let hostname = read_small_text(&self.hostname).map_err(|why| failed("read", &self.hostname, &why))?;
        Ok(HostConfig { hostname: hostname.trim().to_owned(), proxy: self.read_proxy()?.1 })
    }

    /// The proxy's file, and its contents.
    fn read_proxy(&self) -> Result<(String, Option<Proxy>), String> {
        let text = optional(&self.redsocks())?;
        let mut proxy = if text.is_empty() { None } else { redsocks::parse(&text) };
        if let Some(proxy) = &mut proxy {
            let excepted = optional(&self.no_proxy())?;
            proxy.no_proxy = excepted.lines().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
        }
        Ok((text, proxy))
    }

    /// Writes what changes. The hostname first: it is the last step that can fail before anything has changed.
    pub(super) fn write(&self, patch: &HostPatch) -> Result<ProxyChange, String> {
        if let Some(hostname) = &patch.hostname {
            self.write_hostname(hostname)?;
        }
        match &patch.proxy {
            None => Ok(ProxyChange::Unchanged),
            Some(ProxyPatch::Remove) => remove(&self.redsocks()),
            Some(ProxyPatch::Merge { proxy, drop_dns, set_no_proxy }) => {
                let mut changed = self.merge(proxy, *drop_dns)?;
                if *set_no_proxy && self.write_no_proxy(&proxy.no_proxy)? == ProxyChange::Changed {
                    changed = ProxyChange::Changed;
                }
                Ok(changed)
            }
        }
    }

    fn merge(&self, new: &Proxy, drop_dns: bool) -> Result<ProxyChange, String> {
        if new.fields.is_empty() && new.dns.is_none() && !drop_dns {
            return Ok(ProxyChange::Unchanged);
        }
        let (before, proxy) = self.read_proxy()?;
        let mut proxy = proxy.unwrap_or_default();
        for (field, value) in &new.fields {
            proxy.set(*field, value.clone());
        }
        proxy.dns = if drop_dns { None } else { new.dns.clone().or(proxy.dns) };
        let text = redsocks::file(&proxy);
        // Without a proxy there is no server through which to resolve names.
        if text.is_empty() || text == before {
            return Ok(ProxyChange::Unchanged);
        }
        self.replace(&self.redsocks(), &text, 0o600)
    }

    fn write_no_proxy(&self, addresses: &[String]) -> Result<ProxyChange, String> {
        let text = addresses.join("\n");
        match text.as_str() {
            "" => remove(&self.no_proxy()),
            text if text == optional(&self.no_proxy())? => Ok(ProxyChange::Unchanged),
            text => self.replace(&self.no_proxy(), text, 0o644),
        }
    }

    fn write_hostname(&self, hostname: &str) -> Result<(), String> {
        let path = &self.config;
        let text = optional(path)?;
        let wrong =
            |why: &str| format!("cannot change `{}`: {why}; write the device's config.json there again", path.display());
        let mut fields = match serde_json::from_slice(if text.is_empty() { b"{}" } else { text.as_bytes() }) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(wrong("it is not a JSON object")),
            Err(why) => return Err(wrong(&why.to_string())),
        };
        if fields.get("hostname").and_then(Value::as_str) == Some(hostname) {
            return Ok(());
        }
        fields.insert("hostname".to_owned(), hostname.into());
        let text = Value::Object(fields).to_string();
        replace(path, &text, 0o600, Writer::Agent, FlashPurpose::Provisioning).map_err(|why| failed("write", path, &why))
    }

    fn replace(&self, path: &Path, text: &str, mode: u32) -> Result<ProxyChange, String> {
        let directory = fs::create_dir(&self.proxy).or_else(|why| if self.proxy.is_dir() { Ok(()) } else { Err(why) });
        directory.map_err(|why| failed("make", &self.proxy, &why))?;
        replace(path, text, mode, Writer::Agent, FlashPurpose::HostConfig).map_err(|why| failed("write", path, &why))?;
        Ok(ProxyChange::Changed)
    }

    fn redsocks(&self) -> PathBuf {
        self.proxy.join("redsocks.conf")
    }

    fn no_proxy(&self) -> PathBuf {
        self.proxy.join("no_proxy")
    }
}

/// Makes the host use its proxy's files as they are now.
pub(super) async fn apply(systemd: &Systemd) -> Result<(), String> {
    let failed = |why: String| format!("the proxy's files are written, but not used before the next boot: {why}");
    for names in UNITS {
        let mut found = None;
        for name in names {
            if let Some(unit) = systemd.unit(name).await.map_err(failed)? {
                found = Some((name, unit));
                break;
            }
        }
        match found {
            Some((name, unit)) if unit.part_of.iter().any(|it| it == TARGET) => info!("{name} is restarted by {TARGET}"),
            Some((name, _)) => systemd.control(name, UnitAction::Restart).await.map_err(failed)?,
            None => return Err(failed(format!("this host has no {}", names.join(" or ")))),
        }
    }
    Ok(())
}

/// A whole file; empty if it does not exist.
fn optional(path: &Path) -> Result<String, String> {
    match read_small_text(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(|why| failed("read", path, &why)),
    }
}

fn remove(path: &Path) -> Result<ProxyChange, String> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory(path.parent().unwrap_or(Path::new("/")), FlashPurpose::HostConfig)
            .map(|()| ProxyChange::Changed)
            .map_err(|why| failed("remove", path, &why)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(ProxyChange::Unchanged),
        Err(why) => Err(failed("remove", path, &why)),
    }
}

/// The program that replaces a file. Each has a draft of its own: the agent and a command may write at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// The agent.
    Agent,
    /// A command of its binary, such as `join`.
    Command,
}

/// Replaces a file atomically: after a power cut it is the old one or the new one. It keeps its mode.
pub(super) fn replace(path: &Path, text: &str, mode: u32, writer: Writer, purpose: FlashPurpose) -> io::Result<()> {
    let mode = fs::metadata(path).map_or(mode, |it| it.permissions().mode() & 0o777);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(match writer {
        Writer::Agent => ".boardkeeper-new",
        Writer::Command => ".boardkeeper-command",
    });
    replace_file(path, &path.with_file_name(name), text, mode, Some(purpose))?;
    sync_directory(path.parent().unwrap_or(Path::new("/")), purpose)
}

fn failed(verb: &str, path: &Path, why: &io::Error) -> String {
    format!("cannot {verb} `{}`: {why}; see that the boot partition is mounted and may be written", path.display())
}

#[cfg(test)]
mod tests;
