//! The versions that the device reports to its cloud.
//!
//! The cloud decides by them what a device may do, and refuses devices whose versions it cannot parse. So a device reports what
//! the cloud understands; the true names stand in the device's own state. The rules are those that open-balena-api 49 and
//! balena-sdk 23 were seen to have.

/// The supervisor whose API this agent serves: `balena push`, service verbs and local mode ask for it.
const SUPERVISOR: &str = "19.0.5";
/// The longest supervisor version that the cloud takes.
const SUPERVISOR_CHARS: usize = 20;
/// The longest version of a system that the cloud takes.
const OS_CHARS: usize = 70;
/// The oldest system that the cloud registers.
const OLDEST_OS: [u64; 3] = [2, 11, 0];

/// The versions that the device reports to its cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportedVersions {
    /// Of the host's system: `12.9.0`, `balenaOS 6.4.0`.
    pub os_version: String,
    /// `prod` or `dev`. The cloud permits local mode on the latter only.
    pub os_variant: String,
    /// Of the supervisor, with the agent's own behind `+`.
    pub supervisor_version: String,
}

impl ReportedVersions {
    /// What a device reports whose host says this of its system (`PRETTY_NAME`, `VERSION_ID`), with this version of the agent.
    #[must_use]
    pub fn of(pretty_name: &str, version_id: Option<&str>, is_development: bool, agent: &str) -> Self {
        Self {
            os_version: os_version(pretty_name, version_id),
            os_variant: if is_development { "dev" } else { "prod" }.to_owned(),
            supervisor_version: supervisor_version(agent),
        }
    }
}

fn supervisor_version(agent: &str) -> String {
    let whole = format!("{SUPERVISOR}+bk{agent}");
    if whole.len() <= SUPERVISOR_CHARS { whole } else { SUPERVISOR.to_owned() }
}

fn os_version(pretty_name: &str, version_id: Option<&str>) -> String {
    for name in ["balenaOS ", "Resin OS "] {
        let version = pretty_name.strip_prefix(name).and_then(parts);
        if pretty_name.len() <= OS_CHARS && !pretty_name.contains(['(', ')']) && version.is_some_and(|it| it >= OLDEST_OS) {
            return pretty_name.to_owned();
        }
    }
    let Some(version) = version_id.and_then(parts).or_else(|| pretty_name.split(' ').find_map(parts)) else {
        return text(OLDEST_OS);
    };
    // The cloud compares only what is before `+`; the rest is for people.
    if version >= OLDEST_OS { text(version) } else { format!("{}+{}", text(OLDEST_OS), text(version)) }
}

/// The numbers that a version begins with: `12`, `v12.9`, `6.4.0+rev1`.
fn parts(version: &str) -> Option<[u64; 3]> {
    let version = version.trim().trim_start_matches('v');
    let numbers = version.split(['+', '-', ' ']).next()?;
    let mut parts = [0; 3];
    for (index, part) in numbers.split('.').take(3).enumerate() {
        parts[index] = part.parse().ok()?;
    }
    Some(parts)
}

fn text([major, minor, patch]: [u64; 3]) -> String {
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_named_as_the_cloud_parses_it_whatever_the_host_says() {
        for (pretty_name, version_id, reported) in [
            ("Debian GNU/Linux 12 (bookworm)", Some("12"), "12.0.0"),
            ("Raspbian GNU/Linux 11 (bullseye)", Some("11"), "11.0.0"),
            ("Ubuntu 22.04.3 LTS", Some("22.04"), "22.4.0"),
            ("Alpine Linux v3.19", Some("3.19.1"), "3.19.1"),
            ("Debian GNU/Linux trixie/sid", None, "2.11.0"),
            ("Arch Linux", Some("rolling"), "2.11.0"),
            ("Linux", None, "2.11.0"),
            ("", None, "2.11.0"),
            ("Buildroot 2023.02.1", None, "2023.2.1"),
            ("Poky (Yocto) 1.7", Some("1.7"), "2.11.0+1.7.0"),
            ("balenaOS 6.4.0", Some("6.4.0"), "balenaOS 6.4.0"),
            ("balenaOS 6.4.0+rev1", Some("6.4.0"), "balenaOS 6.4.0+rev1"),
            ("Resin OS 2.12.0", None, "Resin OS 2.12.0"),
            ("Resin OS 2.0.3+rev1", None, "2.11.0+2.0.3"),
            ("balenaOS 6.4.0 (custom)", Some("6.4.0"), "6.4.0"),
            ("boardkeeper-os 6.4.0", Some("6.4.0"), "6.4.0"),
            ("X", Some("99999999999999999999999"), "2.11.0"),
        ] {
            let versions = ReportedVersions::of(pretty_name, version_id, false, "0.2.0");
            assert_eq!(versions.os_version, reported, "{pretty_name} {version_id:?}");
            assert!(versions.os_version.len() <= OS_CHARS && !versions.os_version.contains(['(', ')']));
            assert_eq!(versions.os_variant, "prod");
        }
    }

    #[test]
    fn the_supervisor_is_one_that_the_clouds_tools_know_with_the_agents_version_where_there_is_room() {
        let of = |agent| ReportedVersions::of("", None, true, agent);
        assert_eq!(of("0.2.0").supervisor_version, "19.0.5+bk0.2.0");
        assert_eq!(of("0.2.0").os_variant, "dev");
        assert_eq!(of("10.20.30").supervisor_version, "19.0.5+bk10.20.30");
        assert_eq!(of("10.20.30-beta.400").supervisor_version, "19.0.5");
    }
}
