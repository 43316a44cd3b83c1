//! Paths in a container that the agent uses for mounts of its own.

use crate::sorted::SortedSet;
use crate::state::service::Feature;

/// Where a service's lock directory is mounted, under the names of both generations.
pub(crate) const LOCK_MOUNTS: [&str; 2] = ["/tmp/resin", "/tmp/balena"];
/// Where the host keeps its journal.
pub(crate) const JOURNAL: [&str; 3] = ["/var/log/journal", "/run/log/journal", "/etc/machine-id"];
/// Where containers find the engine's socket.
pub(crate) const ENGINE_SOCKET: &str = "/host/run/balena-engine.sock";

/// Paths in a container at which something of the agent's or the host's is mounted, for a service with these features: no
/// engine accepts another mount at the same path.
pub fn supervisor_paths(features: &SortedSet<Feature>) -> impl Iterator<Item = &'static str> {
    let of = |feature: &Feature| -> &'static [&'static str] {
        match feature {
            Feature::JournalLogs => &JOURNAL,
            Feature::Dbus => &["/host/run/dbus"],
            Feature::KernelModules => &["/lib/modules"],
            Feature::Firmware => &["/lib/firmware"],
            Feature::BalenaSocket => &[ENGINE_SOCKET, "/var/run/balena.sock"],
            Feature::Sysfs => &["/sys"],
            Feature::Procfs => &["/proc"],
            Feature::ExtraFirmware => &["/extra-firmware"],
            Feature::SupervisorApi | Feature::BalenaApi | Feature::BoardRev | Feature::Gpu => &[],
        }
    };
    LOCK_MOUNTS.into_iter().chain(features.iter().flat_map(of).copied().collect::<Vec<_>>())
}
