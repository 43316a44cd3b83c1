//! Whether the device meets the contracts of a target.
//!
//! An unmet contract of a service that is `optional` leaves this service out; any other one rejects the target, because half a
//! release is not what its author tested.

use semver::{Version, VersionReq};

use crate::state::contract::{Contract, Requirement};
use crate::state::{App, Device, Target, TargetError};

/// Rejects a target of which a contract is unmet, and says which. Services that are optional reject nothing.
pub fn check_contracts(target: &Target, device: &Device) -> Result<(), TargetError> {
    let unmet = target.apps.values().flat_map(|app| {
        let required = app.contracts.iter().filter(|it| !it.optional);
        required.flat_map(|contract| unmet(contract, device).map(|it| sentence(app, contract, it, device)).collect::<Vec<_>>())
    });
    let unmet: Vec<String> = unmet.collect();
    if unmet.is_empty() { Ok(()) } else { Err(TargetError(unmet.join("; "))) }
}

/// Removes the optional services of which a contract is unmet; no other service waits for them then. Returns each, in words.
pub fn leave_out_unmet(target: &mut Target, device: &Device) -> Vec<String> {
    let mut left_out = Vec::new();
    for (_, app) in &mut target.apps {
        for contract in app.contracts.iter().filter(|it| it.optional) {
            let Some(name) = contract.service.as_ref().filter(|it| app.services.contains_key(*it)) else { continue };
            let Some(why) = unmet(contract, device).next() else { continue };
            left_out.push(format!("{}, so that it is left out", sentence(app, contract, why, device)));
            app.services.remove(name);
            for (_, service) in &mut app.services {
                service.depends_on.remove(name);
            }
        }
    }
    left_out
}

/// The requirements of a contract that the device does not meet.
fn unmet<'a>(contract: &'a Contract, device: &'a Device) -> impl Iterator<Item = &'a Requirement> {
    contract.requires.iter().filter(|it| !is_met(it, device))
}

fn sentence(app: &App, contract: &Contract, requirement: &Requirement, device: &Device) -> String {
    let whose = match &contract.service {
        Some(service) => format!("the service {service} of {}", app.name),
        None => format!("the release of {}", app.name),
    };
    let (os, supervisor) = (os_version(device), supervisor_version(device));
    format!(
        "{whose} requires {requirement}, and this device is a {} ({}) with supervisor {supervisor}{}",
        device.device_type,
        device.arch,
        os.map(|it| format!(" and system {it}")).unwrap_or_default()
    )
}

fn is_met(requirement: &Requirement, device: &Device) -> bool {
    match requirement {
        Requirement::Any(all) => all.iter().any(|it| is_met(it, device)),
        Requirement::Without(all) => !all.iter().any(|it| is_met(it, device)),
        Requirement::One { kind, slug, version } => {
            let (name, own) = match kind.as_str() {
                "sw.supervisor" => (None, Some(supervisor_version(device))),
                "sw.os" => (None, os_version(device)),
                "hw.device-type" => (Some(device.device_type.as_str()), None),
                "arch.sw" => (Some(device.arch.as_str()), None),
                // The device has none of what this agent does not know.
                _ => return false,
            };
            let is_named = slug.as_deref().zip(name).is_none_or(|(slug, own)| slug == own);
            // A requirement without a version is met by any; one with a version is not met by what has none.
            let is_in_range = version.as_deref().is_none_or(|range| own.is_some_and(|own| is_within(&own, range)));
            is_named && is_in_range
        }
    }
}

/// The version that the agent reports to the cloud, without its own behind `+`.
fn supervisor_version(device: &Device) -> Version {
    let text = device.reported.supervisor_version.split('+').next().unwrap_or_default();
    Version::parse(text).unwrap_or(Version::new(0, 0, 0))
}

/// The last word of `balenaOS 6.4.0`, or of `12.9.0`. `None`: the host's system has no version that can be compared.
fn os_version(device: &Device) -> Option<Version> {
    let text = device.reported.os_version.rsplit(' ').next()?;
    Version::parse(text.split('+').next()?).ok()
}

/// Whether a version is in a range as npm writes them: `>=1.2 <2`, `^1.2.3`, `1.x`, `1.2.3 - 2.0`, with `||` between.
fn is_within(version: &Version, range: &str) -> bool {
    range.split("||").any(|part| comparators(part.trim()).is_some_and(|it| it.matches(version)))
}

/// One alternative of a range. `None`: it is not a range.
fn comparators(range: &str) -> Option<VersionReq> {
    let range = range.replace(',', " ");
    let (low, high) = range.split_once(" - ").map_or((range.as_str(), None), |(low, high)| (low, Some(high)));
    let mut all: Vec<String> = Vec::new();
    for word in joined(low) {
        let bare = word.trim_start_matches('v').to_owned();
        all.push(match high {
            Some(_) => format!(">={bare}"),
            // npm takes a version without a sign as this one; with a part left out, as any that begins so.
            None if bare.starts_with(|it: char| it.is_ascii_digit()) => format!("={bare}"),
            None => bare,
        });
    }
    all.extend(high.map(|it| format!("<={}", it.trim().trim_start_matches('v'))));
    let text = if all.is_empty() { "*".to_owned() } else { all.join(", ") };
    VersionReq::parse(&text).ok()
}

/// The comparators of a range: a sign may stand apart from its version.
fn joined(range: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in range.split_whitespace() {
        match all.last_mut().filter(|it| it.ends_with(['<', '>', '=', '^', '~'])) {
            Some(sign) => sign.push_str(word.trim_start_matches('v')),
            None => all.push(word.to_owned()),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::cloud::ReportedVersions;

    #[test]
    fn ranges_are_those_of_npm() {
        let within = |range: &str, version: &str| is_within(&Version::parse(version).unwrap(), range);
        for (range, inside, outside) in [
            (">=10.6.17", "19.0.5", "10.6.16"),
            (">= 10.6.17 < 20", "19.0.5", "20.0.0"),
            (">=10.6.17,<20", "19.0.5", "20.0.0"),
            ("^19.0.0", "19.9.9", "20.0.0"),
            ("~19.0.1", "19.0.5", "19.1.0"),
            ("19.0.5", "19.0.5", "19.0.6"),
            ("19.0", "19.0.5", "19.1.0"),
            ("v19", "19.4.0", "20.0.0"),
            ("19.x", "19.4.0", "20.0.0"),
            ("*", "0.0.1", ""),
            ("", "0.0.1", ""),
            ("1.2.3 - 2.0.0", "2.0.0", "2.0.1"),
            ("1.x || >=2.5.0", "1.7.0", "2.4.0"),
            ("<1 || 5.0.0 - 7.2.3", "6.0.0", "1.0.0"),
            ("=19.0.5", "19.0.5", "19.0.4"),
        ] {
            assert!(within(range, inside), "{range} {inside}");
            assert!(outside.is_empty() || !within(range, outside), "{range} {outside}");
        }
        assert!(!within("nonsense", "1.0.0") && !within(">=", "1.0.0"));
    }

    fn device() -> Device {
        Device {
            reported: ReportedVersions::of("balenaOS 6.4.0", None, false, "0.2.0"),
            device_type: "raspberrypi3".into(),
            arch: "armv7hf".into(),
            ..Device::default()
        }
    }

    fn one(kind: &str, slug: Option<&str>, version: Option<&str>) -> Requirement {
        Requirement::One { kind: kind.into(), slug: slug.map(Into::into), version: version.map(Into::into) }
    }

    #[test]
    fn a_requirement_is_met_by_what_the_device_is() {
        for (requirement, met) in [
            (one("sw.supervisor", None, Some(">=10.6.17")), true),
            (one("sw.supervisor", None, Some(">=20")), false),
            (one("sw.os", None, Some(">=6")), true),
            (one("sw.os", Some("balena-os"), Some(">=7")), false),
            (one("hw.device-type", Some("raspberrypi3"), None), true),
            (one("hw.device-type", Some("jetson-tx2"), None), false),
            (one("hw.device-type", None, Some(">=1")), false),
            (one("arch.sw", Some("armv7hf"), None), true),
            (one("arch.sw", Some("aarch64"), None), false),
            (one("sw.l4t", None, Some(">=32")), false),
            (Requirement::Any(vec![one("arch.sw", Some("aarch64"), None), one("arch.sw", Some("armv7hf"), None)]), true),
            (Requirement::Any(Vec::new()), false),
            (Requirement::Without(vec![one("arch.sw", Some("aarch64"), None)]), true),
            (Requirement::Without(vec![one("arch.sw", Some("armv7hf"), None)]), false),
        ] {
            assert_eq!(is_met(&requirement, &device()), met, "{requirement}");
        }
        let unknown = Device { reported: ReportedVersions::default(), ..device() };
        assert!(!is_met(&one("sw.os", None, Some(">=2")), &unknown));
        assert!(is_met(&one("sw.os", None, None), &unknown));
    }
}
